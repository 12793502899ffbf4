//! Therapists and customers over Metro Manila, as densely as people live there; the same seed draws the same ones.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use spacall::cities::{City, Places, metro_manila, offset};
use spacall::core::fleet::{Fleet, Profile, Shared, Therapist, Ties};
use spacall::core::geo::{LatLng, Meters};
use spacall::core::hundredths::{Percent, Rating};
use spacall::core::ids::{ProviderId, ServiceId, UserId};
use spacall::core::matching::{Filters, Precision, Request, When};
use spacall::core::money::Money;
use spacall::core::offerings::Offerings;
use spacall::core::people::{Gender, GendersServed};
use spacall::core::pricing::Offering;
use spacall::core::schedule::Schedule;
use spacall::core::time::Timestamp;
use spacall::core::track::Fix;
use uuid::Uuid;

/// The moment of every question.
pub const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);
/// What is asked for; everybody offers it.
pub const SERVICE: ServiceId = ServiceId(1);
/// The question of the table.
pub const K: usize = 10;
/// See [`K`].
pub const RADIUS_M: f64 = 5_000.0;

const SEED: u64 = 20_261_122;
/// Customers who ask, in turn.
const CUSTOMERS: usize = 4_096;
/// Region code of Metro Manila.
const NCR: &str = "1300000000";

/// One therapist: the row, and the fix that stands for his position.
#[derive(Clone)]
pub struct Person {
    pub row: Therapist,
    pub fix: Fix,
}

/// Where people are, and what the tables call it.
pub struct Town {
    places: Places,
    pub source: String,
}

impl Town {
    /// The barangays of `SPACALL_DATA` if that is set, else the 17 cities that the service itself knows.
    pub fn open() -> Self {
        let (cities, source) = match std::env::var_os("SPACALL_DATA") {
            Some(data) => {
                let cities = barangays(&Path::new(&data).join("places/ph_barangays_psgc_2026q1.csv.gz"));
                let source = format!("{} barangays of Metro Manila by population (SPACALL_DATA)", cities.len());
                (cities, source)
            }
            None => {
                (metro_manila(), "the 17 cities of Metro Manila by population (SPACALL_DATA is not set)".to_owned())
            }
        };
        Self { places: Places::new(cities).expect("somebody lives there"), source }
    }

    fn draw(&self, rng: &mut StdRng) -> LatLng {
        self.places.draw(rng).1
    }

    /// The first `n` therapists.
    pub fn therapists(&self, n: usize) -> impl Iterator<Item = Person> + '_ {
        let (mut rng, mut shared) = (StdRng::seed_from_u64(SEED), Shared::default());
        (0..n).map(move |i| {
            let mut person = self.person(i as i64 + 1, &mut rng);
            // As they are read from SQL.
            shared.share(&mut person.row);
            person
        })
    }

    /// Where the questions come from.
    pub fn customers(&self) -> Vec<LatLng> {
        let mut rng = StdRng::seed_from_u64(SEED + 1);
        (0..CUSTOMERS).map(|_| self.draw(&mut rng)).collect()
    }

    /// Shares: female 50 %, Japanese 5 %, watsu 1 %; each drawn for itself.
    fn person(&self, id: i64, rng: &mut StdRng) -> Person {
        let place = self.draw(rng);
        let mut languages = vec!["Filipino".to_owned(), "English".to_owned()];
        if rng.random_bool(0.05) {
            languages.push("Japanese".to_owned());
        }
        let mut specializations = vec!["Deep tissue".to_owned(), "Hilot".to_owned()];
        if rng.random_bool(0.01) {
            specializations.push("Watsu".to_owned());
        }
        let offering = |service: i64, rng: &mut StdRng| Offering {
            service: ServiceId(service),
            price: Money::centavos(rng.random_range(60_000..120_000)),
            base_distance_km: 5,
            per_km_surcharge: Money::centavos(2_000),
            max_travel_km: 15,
            home: true,
            store: false,
        };
        // The order of the draws decides who is drawn.
        let uuid = Uuid::from_u128(rng.random());
        let gender = if rng.random_bool(0.5) { Gender::Female } else { Gender::Male };
        let average_rating = Rating::from_hundredths(rng.random_range(300..=500_i64) as u16).expect("at most 500");
        let total_reviews = rng.random_range(0..400);
        let profile = Profile {
            specializations: specializations.into(),
            languages: languages.into(),
            schedule: Schedule::always(),
            buffer_minutes: 30,
            service_radius_km: rng.random_range(8..=15_u32) as u16,
            commission_rate: Percent::from_hundredths(1_500).expect("a percentage"),
            accepts_genders: GendersServed::ALL,
            verified: true,
            active: true,
            accepts_home_service: true,
        };
        let row = Therapist {
            services: Offerings::new([1, 2, 3].map(|service| offering(service, rng))).expect("within the columns"),
            first_name: "Maricel".into(),
            profile: Arc::new(profile),
            uuid,
            total_reviews,
            average_rating,
            gender: Some(gender),
            available: true,
            ties: Ties::NONE,
            base_location: Some(place),
            provider: ProviderId(id),
            user: UserId(id + 1_000_000_000),
        };
        let age = Duration::from_secs(rng.random_range(1..300));
        Person { row, fix: Fix::new(NOW.minus(age), place) }
    }
}

/// Cities of a barangay each: its people, on a disc of its area.
fn barangays(path: &Path) -> Vec<City> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("SPACALL_DATA: {}: {e}", path.display()));
    let mut table = csv::Reader::from_reader(GzDecoder::new(file));
    let columns = table.headers().expect("a header").clone();
    let column = |name: &str| columns.iter().position(|c| c == name).unwrap_or_else(|| panic!("no column {name}"));
    let (name, people, lat, lng, area, region) = (
        column("name"),
        column("population_2024"),
        column("lat"),
        column("lon"),
        column("area_km2"),
        column("region_code"),
    );
    let rows = table.records().map(|row| row.expect("a row"));
    let here = rows.filter(|row| &row[region] == NCR).filter_map(|row| {
        let area: f64 = row[area].parse().ok()?;
        Some(City {
            name: row[name].to_owned(),
            centre: LatLng::new(row[lat].parse().ok()?, row[lng].parse().ok()?).ok()?,
            population: row[people].parse().ok()?,
            spread_km: (area / std::f64::consts::PI).sqrt(),
        })
    });
    here.collect()
}

/// A fleet of these.
pub fn fleet_of(people: impl Iterator<Item = Person>) -> Fleet {
    let fleet = Fleet::new();
    let (fixes, rows): (Vec<_>, Vec<_>) = people.map(|person| ((person.row.provider, person.fix), person.row)).unzip();
    fleet.put_all(rows);
    fleet.restore_all(&fixes);
    fleet
}

/// The question of the table.
pub fn question(place: LatLng) -> Request {
    Request {
        service: SERVICE,
        place,
        when: When::Now,
        duration: Duration::from_secs(3_600),
        customer: UserId(1),
        customer_gender: Some(Gender::Female),
        radius: Meters::new(RADIUS_M),
        stale_after: Duration::from_secs(600),
        limit: K,
        filters: Filters::default(),
        exclude: BTreeSet::new(),
        only: None,
        precision: Precision::Exact,
    }
}

/// Filters that pass about this share of everybody: percent.
pub fn filters(percent: u32) -> Filters {
    match percent {
        50 => Filters { gender: Some(Gender::Female), ..Filters::default() },
        5 => Filters { language: Some("Japanese".to_owned()), ..Filters::default() },
        1 => Filters { specialization: Some("Watsu".to_owned()), ..Filters::default() },
        _ => Filters::default(),
    }
}

/// Moves of 5 to 50 m in any direction, everyone in turn in an order of no meaning: there, and in the next round back.
pub struct Moves {
    ends: Vec<[LatLng; 2]>,
    order: Vec<u32>,
    next: usize,
    round: i64,
}

/// One move. Therapist `index` has the provider id `index + 1`.
#[derive(Clone, Copy)]
pub struct Move {
    pub index: u32,
    pub from: LatLng,
    pub to: LatLng,
    pub at: Timestamp,
}

/// Between two fixes of a therapist.
const ROUND_S: i64 = 5;

impl Moves {
    /// Of everybody at `places`.
    pub fn of(places: &[LatLng]) -> Self {
        let mut rng = StdRng::seed_from_u64(SEED + 2);
        let mut there = |from: LatLng| {
            let bearing = rng.random_range(0.0..std::f64::consts::TAU);
            [from, offset(from, bearing, rng.random_range(0.005..0.050))]
        };
        let ends = places.iter().map(|&from| there(from)).collect();
        let mut order: Vec<u32> = (0..places.len() as u32).collect();
        order.shuffle(&mut rng);
        Self { ends, order, next: 0, round: 0 }
    }

    /// The share of moves that cross from one H3 cell of resolution 9 into another.
    pub fn h3_crossings(&self) -> f64 {
        use spacall::core::geo::public_position;
        let sample = &self.ends[..self.ends.len().min(20_000)];
        let crossed = sample.iter().filter(|[a, b]| public_position(*a).cell != public_position(*b).cell).count();
        crossed as f64 / sample.len() as f64
    }

    /// Both ends of everybody's move.
    pub fn ends(&self) -> &[[LatLng; 2]] {
        &self.ends
    }

    /// The next one. Times grow from round to round.
    pub fn advance(&mut self) -> Move {
        if self.next == self.order.len() {
            (self.next, self.round) = (0, self.round + 1);
        }
        let index = self.order[self.next];
        self.next += 1;
        let [a, b] = self.ends[index as usize];
        let (from, to) = if self.round % 2 == 0 { (a, b) } else { (b, a) };
        Move { index, from, to, at: NOW.plus(Duration::from_secs(((self.round + 1) * ROUND_S) as u64)) }
    }
}
