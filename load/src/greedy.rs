//! What a brute-force greedy matcher reaches over the same day and rules: the yardstick of the matched share.
//!
//! Everything that happens in a run happens here in virtual time, without a server: fixes move vehicles, requests are
//! offered to the nearest free vehicle by a scan of all, answers follow the same seeded rule, journeys take as long.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use spacall::client::therapist::Answer;
use spacall::core::geo::{EARTH_RADIUS_M, LatLng, Meters};
use spacall::core::people::Gender;
use spacall::core::settings::Settings;
use spacall::core::time::Timestamp;
use spacall::core::track::{Fix, Track};

use crate::answers::Rule;
use crate::cast::Ride;
use crate::recorded::RecordedFix;
use crate::tally::{Latencies, Percentiles};

/// A vehicle and its therapist's limits.
pub(crate) struct Vehicle<'a> {
    pub(crate) fixes: &'a [RecordedFix],
    /// The smaller of own radius and the service's travel distance; zero: does not offer the service.
    pub(crate) reach: Meters,
    /// Whom the therapist serves; `None`: everyone.
    pub(crate) serves: Option<&'a [Gender]>,
}

/// The outcome.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Outcome {
    pub(crate) requested: u64,
    pub(crate) matched: u64,
    /// Of the matched ones, in the run's own time.
    pub(crate) request_to_accept: Percentiles,
}

/// Between two looks for a therapist when there was none, as the service does it.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// Vehicle, and which of its fixes.
    Fix(usize, usize),
    Request(usize),
    /// Ride, vehicle: the offer is answered, or its time is over.
    Answered(usize, usize),
    /// Ride, and which of its looks: a newer one makes the older ones void.
    LookAgain(usize, u32),
    Deadline(usize),
    Free(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Searching,
    /// To this vehicle.
    Offered(usize),
    Waiting,
    Over,
}

struct Town<'a> {
    rule: Rule,
    settings: &'a Settings,
    vehicles: &'a [Vehicle<'a>],
    rides: &'a [Ride],
    /// Customer's gender, by ride.
    genders: &'a [Option<Gender>],
    tracks: Vec<Track>,
    free: Vec<bool>,
    states: Vec<State>,
    refused_by: Vec<BTreeSet<usize>>,
    waiting: BTreeSet<usize>,
    looks: Vec<u32>,
    /// Time in microseconds, then the order of insertion: ties are played as they came.
    agenda: BinaryHeap<Reverse<(i64, u64, Event)>>,
    inserted: u64,
    matched: u64,
    waits: Latencies,
}

/// Plays the day.
pub(crate) fn play(
    rule: Rule,
    settings: &Settings,
    vehicles: &[Vehicle<'_>],
    rides: &[Ride],
    genders: &[Option<Gender>],
) -> Outcome {
    let mut town = Town {
        rule,
        settings,
        vehicles,
        rides,
        genders,
        tracks: vec![Track::default(); vehicles.len()],
        free: vec![true; vehicles.len()],
        states: vec![State::Searching; rides.len()],
        refused_by: vec![BTreeSet::new(); rides.len()],
        waiting: BTreeSet::new(),
        looks: vec![0; rides.len()],
        agenda: BinaryHeap::new(),
        inserted: 0,
        matched: 0,
        waits: Latencies::default(),
    };
    for (vehicle, of) in vehicles.iter().enumerate() {
        if let Some(first) = of.fixes.first() {
            town.plan(rule.faster(f64::from(first.after_s)), Event::Fix(vehicle, 0));
        }
    }
    for (ride, of) in rides.iter().enumerate() {
        town.plan(of.after, Event::Request(ride));
    }
    while let Some(Reverse((now, _, event))) = town.agenda.pop() {
        town.happen(event, Duration::from_micros(now.unsigned_abs()));
    }
    Outcome { requested: rides.len() as u64, matched: town.matched, request_to_accept: town.waits.percentiles() }
}

impl Town<'_> {
    fn plan(&mut self, at: Duration, event: Event) {
        self.inserted += 1;
        self.agenda.push(Reverse((i64::try_from(at.as_micros()).unwrap_or(i64::MAX), self.inserted, event)));
    }

    fn happen(&mut self, event: Event, now: Duration) {
        match event {
            Event::Fix(vehicle, nth) => self.fix(vehicle, nth, now),
            Event::Request(ride) => {
                let pending = Duration::from_secs(u64::from(self.settings.booking_timeout.pending));
                self.plan(now + pending, Event::Deadline(ride));
                self.search(ride, now);
            }
            Event::LookAgain(ride, look) if self.states[ride] == State::Waiting && self.looks[ride] == look => {
                self.search(ride, now);
            }
            Event::Answered(ride, vehicle) if self.states[ride] == State::Offered(vehicle) => {
                self.answered(ride, vehicle, now);
            }
            Event::Deadline(ride) => {
                if let State::Offered(vehicle) = self.states[ride] {
                    self.free_again(vehicle, now);
                }
                self.states[ride] = State::Over;
                self.waiting.remove(&ride);
            }
            Event::Free(vehicle) => self.free_again(vehicle, now),
            Event::LookAgain(..) | Event::Answered(..) => {}
        }
    }

    fn fix(&mut self, vehicle: usize, nth: usize, now: Duration) {
        let fixes = self.vehicles[vehicle].fixes;
        let fix = Fix::new(timestamp(now), fixes[nth].place);
        self.tracks[vehicle].apply(&fix, &self.settings.pings);
        if let Some(next) = fixes.get(nth + 1) {
            let at = self.rule.faster(f64::from(next.after_s));
            // Two fixes of one second: the later one still is the later one.
            self.plan(at.max(now + Duration::from_micros(1)), Event::Fix(vehicle, nth + 1));
        }
    }

    /// Offers the ride to the nearest free vehicle of the smallest radius that has one; waits when there is none.
    fn search(&mut self, ride: usize, now: Duration) {
        let most = Meters::from_km(f64::from(self.settings.service_radius_max_km));
        let mut radius = Meters::from_km(self.settings.dispatch.radius_start_km);
        let found = loop {
            let within = radius.min(most);
            match self.nearest(ride, within, now) {
                None if within < most => {
                    radius = Meters::new(within.get() + self.settings.dispatch.radius_step_km * 1_000.0);
                }
                found => break found,
            }
        };
        let Some(vehicle) = found else {
            self.states[ride] = State::Waiting;
            self.waiting.insert(ride);
            return self.look_again(ride, now + LOOK_AGAIN);
        };
        self.waiting.remove(&ride);
        self.states[ride] = State::Offered(vehicle);
        self.free[vehicle] = false;
        let after = match self.rule.answer(ride as u64, vehicle as u64) {
            (Answer::Silence, _) => Duration::from_secs(u64::from(self.settings.dispatch.offer_ttl_s)),
            (_, after) => after,
        };
        self.plan(now + after, Event::Answered(ride, vehicle));
    }

    fn look_again(&mut self, ride: usize, at: Duration) {
        self.looks[ride] += 1;
        self.plan(at, Event::LookAgain(ride, self.looks[ride]));
    }

    /// By distance, then number.
    fn nearest(&self, ride: usize, within: Meters, now: Duration) -> Option<usize> {
        let place = self.rides[ride].place;
        let gender = self.genders.get(ride).copied().flatten();
        let mut best: Option<(Meters, usize)> = None;
        for (vehicle, of) in self.vehicles.iter().enumerate() {
            if !self.free[vehicle] || self.refused_by[ride].contains(&vehicle) {
                continue;
            }
            if of.serves.is_some_and(|serves| gender.is_none_or(|gender| !serves.contains(&gender))) {
                continue;
            }
            let Some(at) = self.fresh_place(vehicle, now) else { continue };
            // Nothing is nearer than its difference in latitude; the sines below are what takes long.
            let nearest = best.map_or(within, |(b, _)| b).min(of.reach);
            if (at.latitude() - place.latitude()).abs().to_radians() * EARTH_RADIUS_M > nearest.get() {
                continue;
            }
            let distance = at.distance(place);
            if distance <= within.min(of.reach) && of.reach > Meters::ZERO && best.is_none_or(|(b, _)| distance < b) {
                best = Some((distance, vehicle));
            }
        }
        best.map(|(_, vehicle)| vehicle)
    }

    fn fresh_place(&self, vehicle: usize, now: Duration) -> Option<LatLng> {
        let last = self.tracks[vehicle].last()?;
        (timestamp(now).since(last.at) <= self.settings.stale_after()).then_some(last.place)
    }

    fn answered(&mut self, ride: usize, vehicle: usize, now: Duration) {
        if self.rule.answer(ride as u64, vehicle as u64).0 != Answer::Accept {
            self.refused_by[ride].insert(vehicle);
            self.states[ride] = State::Searching;
            // First this ride looks on, then those that wait see the vehicle free.
            self.search(ride, now);
            return self.free_again(vehicle, now);
        }
        self.states[ride] = State::Over;
        self.matched += 1;
        self.waits.record(now.saturating_sub(self.rides[ride].after));
        let from = self.tracks[vehicle].last().map(|fix| fix.place);
        let distance = from.map_or(Meters::ZERO, |from| from.distance(self.rides[ride].place));
        let journey = self.rule.journey(distance, self.rides[ride].service_s);
        let until = now + journey.set_out + journey.travel + journey.at_door + journey.service;
        self.plan(until, Event::Free(vehicle));
    }

    fn free_again(&mut self, vehicle: usize, now: Duration) {
        self.free[vehicle] = true;
        for ride in self.waiting.clone() {
            self.look_again(ride, now);
        }
    }
}

/// The run's own time, as a time of day that no limit minds.
fn timestamp(at: Duration) -> Timestamp {
    Timestamp::from_micros(0).plus(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::tests::RULE;

    fn place(km_east: f64) -> LatLng {
        LatLng::new(0.0, km_east / 111.195).expect("a place")
    }

    fn at(after_s: u32, km_east: f64) -> RecordedFix {
        RecordedFix { after_s, place: place(km_east) }
    }

    fn ride(after_s: u64, km_east: f64) -> Ride {
        Ride { after: Duration::from_secs(after_s), place: place(km_east), service_s: 100.0 }
    }

    fn matched(accept: f64, fleet: &[(&[RecordedFix], f64)], rides: &[Ride]) -> u64 {
        let rule = Rule { speed: 1.0, accept, silent: 0.0, ..RULE };
        let vehicles: Vec<_> =
            fleet.iter().map(|(fixes, km)| Vehicle { fixes, reach: Meters::from_km(*km), serves: None }).collect();
        play(rule, &Settings::default(), &vehicles, rides, &[]).matched
    }

    #[test]
    fn one_vehicle_serves_one_ride_at_a_time_and_the_next_one_waits_for_it() {
        let fixes = [at(0, 0.0), at(300, 0.0), at(600, 0.0)];
        // Answer within 12 s, no way, a minute at the door, 100 s of service: free before the second ride gives up.
        assert_eq!(matched(1.0, &[(&fixes, 5.0)], &[ride(10, 0.0), ride(11, 0.0)]), 2);
        // Four at once: 300 s are enough for two.
        assert_eq!(matched(1.0, &[(&fixes, 5.0)], &[ride(10, 0.0), ride(10, 0.0), ride(10, 0.0), ride(10, 0.0)]), 2);
    }

    #[test]
    fn nobody_goes_farther_than_his_reach() {
        let fixes = [at(0, 0.0), at(300, 0.0)];
        assert_eq!(matched(1.0, &[(&fixes, 5.0)], &[ride(10, 4.9)]), 1);
        assert_eq!(matched(1.0, &[(&fixes, 5.0)], &[ride(10, 5.1)]), 0);
        assert_eq!(matched(1.0, &[(&fixes, 0.0)], &[ride(10, 0.0)]), 0);
    }

    #[test]
    fn a_silent_vehicle_goes_stale() {
        let fixes = [at(0, 0.0)];
        assert_eq!(matched(1.0, &[(&fixes, 5.0)], &[ride(600, 0.0)]), 1);
        assert_eq!(matched(1.0, &[(&fixes, 5.0)], &[ride(601, 0.0)]), 0);
    }

    #[test]
    fn a_ride_that_everyone_declines_ends_unmatched() {
        let fixes = [at(0, 0.0), at(300, 0.0)];
        assert_eq!(matched(0.0, &[(&fixes, 5.0), (&fixes, 5.0)], &[ride(10, 0.0)]), 0);
    }

    #[test]
    fn who_serves_women_only_is_not_asked_by_a_man() {
        let fixes = [at(0, 0.0)];
        let vehicle = || [Vehicle { fixes: &fixes, reach: Meters::from_km(5.0), serves: Some(&[Gender::Female]) }];
        let rule = Rule { speed: 1.0, accept: 1.0, silent: 0.0, ..RULE };
        for (gender, matched) in [(Some(Gender::Female), 1), (Some(Gender::Male), 0), (None, 0)] {
            let outcome = play(rule, &Settings::default(), &vehicle(), &[ride(10, 0.0)], &[gender]);
            assert_eq!((outcome.requested, outcome.matched), (1, matched), "{gender:?}");
        }
    }

    #[test]
    fn the_same_day_gives_the_same_outcome() {
        let fixes: Vec<_> = (0..100).map(|i| at(i * 30, f64::from(i % 7))).collect();
        let rides: Vec<_> = (0..200_u32).map(|i| ride(u64::from(i) * 10, f64::from(i % 9))).collect();
        let fleet: Vec<(&[RecordedFix], f64)> = (0..5).map(|i| (&fixes[i..], 3.0 + i as f64)).collect();
        assert_eq!(matched(0.7, &fleet, &rides), matched(0.7, &fleet, &rides));
    }
}
