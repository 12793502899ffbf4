//! `spacall-load run` and `pings`: a made-up fleet that goes about town.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spacall::cities::offset;
use spacall::client::CancellationToken;
use spacall::core::geo::LatLng;
use spacall::wire::roster::{Roster, RosterEntry};

use crate::answers::{Rule, mix};
use crate::args::{Behaviour, Common, PingsOnly, Run};
use crate::cast::{LastPlace, Ride, Source, Stage, Wandering};
use crate::demand::Probes;
use crate::process::Process;
use crate::report::Report;
use crate::run::{self, Play, first_of};
use crate::visible::Probe;

/// Customers book from within this distance of home, km.
const OUT_AND_ABOUT_KM: f64 = 1.0;

/// Fixes, bookings and nearby requests.
pub(crate) async fn run(options: &Run, stop: CancellationToken) -> Result<Report> {
    let roster = Roster::read(&options.common.tokens)?;
    let therapists = first_of(&roster.therapists, options.therapists.unwrap_or(roster.therapists.len()), "therapists")?;
    let customers = first_of(&roster.customers, options.customers.unwrap_or(roster.customers.len()), "customers")?;
    let rule = options.behaviour.rule(options.common.seed, options.haste);
    let length = Duration::from_secs(options.duration);
    let homes = homes(&customers)?;
    let service_s = options.service_s * options.haste;
    let rides = rides(options.common.seed, options.bookings_per_s, length, &homes, service_s);
    let probes = Probes { per_s: options.nearby_per_s, places: homes, until: length, seed: options.common.seed };
    let every = Duration::from_secs_f64(options.interval);
    let settle = Duration::from_secs(options.settle);
    let mut play = fleet("run", &options.common, rule, rides, therapists, every, length)?;
    play.customers = customers;
    play.probes = probes;
    play.service.clone_from(&options.service);
    play.settle = settle;
    run::play(play, stop).await
}

/// Fixes alone.
pub(crate) async fn pings(options: &PingsOnly, stop: CancellationToken) -> Result<Report> {
    let mut roster = Roster::read(&options.common.tokens)?;
    let (url, wire) = (&options.common.url, options.common.wire.into());
    let visible = Probe::new(&mut roster, url, wire, &options.service, options.visible_per_s)?;
    let therapists = first_of(&roster.therapists, options.sockets.unwrap_or(roster.therapists.len()), "therapists")?;
    let every = Duration::from_secs_f64(therapists.len() as f64 / options.rate);
    let rule = nobody_books(options.common.seed);
    let length = Duration::from_secs(options.duration);
    let play = fleet("pings", &options.common, rule, Vec::new(), therapists, every, length)?;
    run::play(run::Play { process: options.pid.map(Process), visible, ..play }, stop).await
}

fn nobody_books(seed: u64) -> Rule {
    let behaviour =
        Behaviour { accept: 0.0, silent: 0.0, think_from: 1.0, think_to: 1.0, at_door: 0.0, travel_kmh: 20.0 };
    behaviour.rule(seed, 1.0)
}

fn fleet(
    scenario: &'static str,
    common: &Common,
    rule: Rule,
    rides: Vec<Ride>,
    therapists: Vec<RosterEntry>,
    every: Duration,
    length: Duration,
) -> Result<Play> {
    let stage = Arc::new(Stage::new(rule, rides, common.database_url.is_some()));
    let share = 1.0 / therapists.len().max(1) as f64;
    let mut cast = Vec::with_capacity(therapists.len());
    for (nth, (entry, home)) in therapists.iter().zip(homes(&therapists)?).enumerate() {
        let seed = mix(common.seed ^ mix(nth as u64));
        let source = Wandering::new(Arc::clone(&stage), home, seed, every, length, nth as f64 * share);
        let last: LastPlace = Arc::clone(&source.last);
        cast.push((entry.clone(), Source::Wandering(Box::new(source)), last));
    }
    Ok(Play {
        scenario,
        url: common.url.clone(),
        wire: common.wire.into(),
        stage,
        therapists: cast,
        customers: Vec::new(),
        service: String::new(),
        probes: Probes { per_s: 0.0, places: Vec::new(), until: length, seed: common.seed },
        visible: None,
        length,
        settle: Duration::ZERO,
        clock_from_s: None,
        database_url: common.database_url.clone(),
        process: None,
        bad_rows: 0,
        quiet: common.quiet,
    })
}

fn homes(people: &[RosterEntry]) -> Result<Vec<LatLng>> {
    people.iter().map(|p| LatLng::new(p.latitude, p.longitude).context("the tokens file")).collect()
}

/// Requests at random times (a Poisson process), near the homes of the customers in turn.
fn rides(seed: u64, per_s: f64, length: Duration, homes: &[LatLng], service_s: f64) -> Vec<Ride> {
    let mut rng = StdRng::seed_from_u64(mix(seed));
    let (mut after, mut rides) = (0.0, Vec::new());
    if per_s <= 0.0 || homes.is_empty() {
        return rides;
    }
    loop {
        after -= (1.0 - rng.random::<f64>()).ln() / per_s;
        if after >= length.as_secs_f64() {
            return rides;
        }
        let bearing = rng.random_range(0.0..std::f64::consts::TAU);
        let place = offset(homes[rides.len() % homes.len()], bearing, OUT_AND_ABOUT_KM * rng.random::<f64>());
        rides.push(Ride { after: Duration::from_secs_f64(after), place, service_s });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_at_the_rate_asked_for_near_the_customers() {
        let homes = [LatLng::new(14.55, 121.02).expect("a place")];
        let rides = rides(1, 10.0, Duration::from_secs(100), &homes, 60.0);
        assert!((850..1_150).contains(&rides.len()), "{}", rides.len());
        assert!(rides.is_sorted_by_key(|ride| ride.after));
        assert!(rides.iter().all(|ride| ride.place.distance(homes[0]).km() <= OUT_AND_ABOUT_KM + 0.001));
        assert!(super::rides(1, 0.0, Duration::from_secs(100), &homes, 60.0).is_empty());
    }
}
