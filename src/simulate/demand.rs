//! Who wants what when: recorded rides of San Francisco, or bookings drawn over Metro Manila by population.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::NaiveDate;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cities::{Places, metro_manila, offset};
use crate::core::geo::LatLng;
use crate::core::time::Timestamp;

/// Draws a place.
type Draw = dyn FnMut(&mut StdRng) -> LatLng;

/// One booking to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wish {
    /// Made at.
    pub at: Timestamp,
    /// Where the therapist is wanted.
    pub place: LatLng,
    /// How long it takes once he is there.
    pub service: Duration,
    /// Where he is afterwards.
    pub ends_at: LatLng,
}

/// A day's bookings in the order they are made, and places to begin a shift at.
#[derive(Clone, PartialEq, Debug)]
pub struct Demand {
    /// For people.
    pub name: String,
    /// In order of time.
    pub wishes: Vec<Wish>,
    /// Therapists begin at these.
    pub homes: Vec<LatLng>,
}

/// Bookings by local hour, of a day's 1,000: an assumption (no Philippine data is at hand): massages are an evening matter.
const BY_HOUR: [u32; 24] = [12, 8, 5, 3, 3, 4, 8, 14, 24, 34, 42, 46, 46, 48, 52, 56, 60, 66, 80, 95, 98, 84, 70, 42];
const HOUR: i64 = 3_600_000_000;
/// 2026-01-05, a Monday, 0 h in Manila.
const MANILA_MIDNIGHT: i64 = 1_767_542_400_000_000;

/// The rides of one local day (`2008-05-30`) of `demand/sf_trips_*.csv.gz` in `data`: a ride's pickup is the place, its
/// length the service, its drop-off where the therapist is afterwards. Hours stay local: travel is as slow as in Manila.
///
/// # Errors
/// When the file is missing or is not what its README says.
pub fn san_francisco(data: &Path, day: NaiveDate) -> anyhow::Result<Demand> {
    let file = data.join("demand/sf_trips_2008-05-17_to_05-31.csv.gz");
    let text = unzipped(&file)?;
    // Midnight of San Francisco (UTC-7) becomes midnight of Manila (UTC+8), 15 hours earlier.
    let midnight = day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp() + 7 * 3_600;
    let mut wishes = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |at: usize| -> anyhow::Result<f64> {
            let value = fields.get(at).copied().unwrap_or_default();
            value.parse().with_context(|| format!("{}, line {}: {value:?} is not a number", file.display(), number + 1))
        };
        let picked = field(2)? as i64;
        if !(midnight..midnight + 86_400).contains(&picked) {
            continue;
        }
        wishes.push(Wish {
            at: Timestamp::from_secs(picked - 15 * 3_600),
            place: LatLng::new(field(3)?, field(4)?)?,
            service: Duration::from_secs_f64(field(8)?.max(0.0)),
            ends_at: LatLng::new(field(6)?, field(7)?)?,
        });
    }
    wishes.sort_by_key(|wish| (wish.at, wish.place));
    if wishes.is_empty() {
        bail!("no rides on {day} in {}", file.display());
    }
    let homes = wishes.iter().map(|wish| wish.place).collect();
    Ok(Demand { name: format!("San Francisco, rides of {day}"), wishes, homes })
}

/// `bookings` of an hour or an hour and a half over a day in Metro Manila, more where more people live: by barangay from
/// the places in `data`, without it by city. Therapists live where customers do.
///
/// # Errors
/// When the file of barangays is there and is not what its README says.
pub fn manila(data: Option<&Path>, bookings: usize, seed: u64) -> anyhow::Result<Demand> {
    let mut rng = StdRng::seed_from_u64(seed);
    let barangays = data.map(|data| data.join("places/ph_barangays_psgc_2026q1.csv.gz"));
    let (name, mut draw): (_, Box<Draw>) = match barangays {
        Some(file) => {
            let places = barangays_of_manila(&file)?;
            let total = places.last().map_or(0, |(upto, ..)| *upto);
            let draw = move |rng: &mut StdRng| {
                let at = rng.random_range(0..total.max(1));
                let (_, centre, spread_km) = places[places.partition_point(|(upto, ..)| *upto <= at)];
                around(rng, centre, spread_km)
            };
            ("Metro Manila by barangay", Box::new(draw))
        }
        None => {
            let places = Places::new(metro_manila())?;
            ("Metro Manila by city", Box::new(move |rng: &mut StdRng| places.draw(rng).1))
        }
    };
    let all: u32 = BY_HOUR.iter().sum();
    let wish = |rng: &mut StdRng, draw: &mut Draw| {
        let mut left = rng.random_range(0..all);
        let hour = BY_HOUR.iter().position(|&share| {
            let here = left < share;
            left = left.saturating_sub(share);
            here
        });
        let at = MANILA_MIDNIGHT + hour.unwrap_or(0) as i64 * HOUR + rng.random_range(0..HOUR);
        let place = draw(rng);
        let minutes = if rng.random_bool(0.6) { 60 } else { 90 };
        let service = Duration::from_secs(minutes * 60);
        Wish { at: Timestamp::from_micros(at), place, service, ends_at: place }
    };
    let mut wishes: Vec<Wish> = (0..bookings).map(|_| wish(&mut rng, &mut *draw)).collect();
    wishes.sort_by_key(|wish| (wish.at, wish.place));
    let homes = (0..10_000).map(|_| draw(&mut rng)).collect();
    Ok(Demand { name: format!("{name}, {bookings} bookings"), wishes, homes })
}

/// Barangays of the capital region: people up to and with this one, centre, and how far its people live from it, km.
fn barangays_of_manila(file: &Path) -> anyhow::Result<Vec<(u64, LatLng, f64)>> {
    let text = unzipped(file)?;
    let (mut places, mut upto) = (Vec::new(), 0_u64);
    for (number, line) in text.lines().enumerate().skip(1) {
        // Names may hold commas, within quotes: what is wanted stands before and after them, and 13 is the region.
        if !line.starts_with("13") {
            continue;
        }
        let plain = unquoted(line);
        let fields: Vec<&str> = plain.split(',').collect();
        let field = |at: usize| -> anyhow::Result<f64> {
            let value = fields.get(at).copied().unwrap_or_default();
            value.parse().with_context(|| format!("{}, line {}: {value:?} is not a number", file.display(), number + 1))
        };
        let people = field(2)? as u64;
        if people == 0 {
            continue;
        }
        upto += people;
        let spread = (field(6).unwrap_or(0.2).max(0.01) / std::f64::consts::PI).sqrt();
        places.push((upto, LatLng::new(field(3)?, field(4)?)?, spread.min(2.0)));
    }
    if places.is_empty() {
        bail!("{} has no barangays of the capital region", file.display());
    }
    Ok(places)
}

/// A line without what is in quotes.
fn unquoted(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("quoted")
}

fn around(rng: &mut StdRng, centre: LatLng, spread_km: f64) -> LatLng {
    let bearing = rng.random_range(0.0..std::f64::consts::TAU);
    offset(centre, bearing, spread_km * rng.random::<f64>().sqrt())
}

fn unzipped(file: &Path) -> anyhow::Result<String> {
    let zipped = std::fs::File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(zipped)
        .read_to_string(&mut text)
        .with_context(|| format!("{} cannot be unzipped", file.display()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_day_is_in_order_within_a_day_and_the_same_for_a_seed() {
        let day = manila(None, 500, 7).expect("built in");
        assert_eq!(day, manila(None, 500, 7).expect("built in"));
        assert_ne!(day.wishes, manila(None, 500, 8).expect("built in").wishes);
        assert!(day.wishes.windows(2).all(|two| two[0].at <= two[1].at));
        let (first, last) = (day.wishes[0].at, day.wishes[499].at);
        assert!(last.since(first) < Duration::from_secs(86_400));
    }

    #[test]
    fn a_name_with_a_comma_is_one_field() {
        assert_eq!(unquoted(r#"13,"A, B",5"#).split(',').count(), 3);
    }
}
