//! The fleet of a simulated day, and how therapists behave.

use std::time::Duration;

use super::chance;
use super::demand::Demand;
use crate::core::dispatch::Merit;
use crate::core::fleet::{Duty, Fleet, Therapist};
use crate::core::geo::LatLng;
use crate::core::hundredths::Rating;
use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::matching::{Candidate, Filters, Precision, Request, When};
use crate::core::money::Money;
use crate::core::offerings::Offerings;
use crate::core::pricing::Offering;
use crate::core::time::Timestamp;
use crate::core::track::Fix;
use crate::core::travel::{travel_time, travel_time_over};

/// The one service of the town.
const SERVICE: ServiceId = ServiceId(1);
/// As everybody offers it.
const OFFERING: Offering = Offering {
    service: SERVICE,
    price: Money::ZERO,
    base_distance_km: 0,
    per_km_surcharge: Money::ZERO,
    max_travel_km: 500,
    home: true,
    store: false,
};
/// Nobody of the town has no position: an idle therapist stands where he is.
const NEVER_STALE: Duration = Duration::from_secs(10 * 366 * 86_400);
/// As dispatch asks the index.
const CANDIDATES: usize = 20;

/// How therapists behave, and how fast they are.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Behaviour {
    /// Share of offers that are accepted.
    pub accepts: f64,
    /// Share of offers that are declined; the rest has no answer.
    pub declines: f64,
    /// An answer takes between this and five times as long, seconds; 0: none at all.
    pub answer_s: f64,
    /// Real ways take between 1 - this and 1 + this of the expected time.
    pub travel_noise: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { accepts: 0.80, declines: 0.12, answer_s: 2.0, travel_noise: 0.2 }
    }
}

impl Behaviour {
    /// Everybody takes everything at once, and ways take as long as expected.
    pub const EAGER: Self = Self { accepts: 1.0, declines: 0.0, answer_s: 0.0, travel_noise: 0.0 };
}

/// What a therapist says to an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Yes,
    No,
    Nothing,
}

/// The fleet and its memory.
pub(super) struct Town {
    pub(super) fleet: Fleet,
    behaviour: Behaviour,
    seed: u64,
    /// By therapist, from 1: idle since, busy so far in seconds, travelled so far in seconds, jobs.
    pub(super) records: Vec<Record>,
    /// How many do nothing: when there are none, nobody need be looked for.
    idle: usize,
}

/// One therapist's day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) idle_since: Timestamp,
    pub(super) busy_s: f64,
    pub(super) jobs: u32,
    rating: Rating,
}

impl Town {
    pub(super) fn new(demand: &Demand, therapists: usize, behaviour: Behaviour, seed: u64, start: Timestamp) -> Self {
        let fleet = Fleet::new();
        let mut records = Vec::with_capacity(therapists);
        let mut fixes = Vec::with_capacity(therapists);
        for n in 0..therapists {
            let provider = ProviderId(n as i64 + 1);
            let home = (chance(seed, [1, n as u64, 0]) * demand.homes.len() as f64) as usize;
            let rating = 350 + (chance(seed, [2, n as u64, 0]) * 150.0) as u16;
            let rating = Rating::from_hundredths(rating).expect("at most 500");
            fleet.put(therapist(provider, rating));
            fixes.extend(demand.homes.get(home).map(|place| (provider, Fix::new(start, *place))));
            records.push(Record { idle_since: start, busy_s: 0.0, jobs: 0, rating });
        }
        fleet.restore_all(&fixes);
        Self { fleet, behaviour, seed, records, idle: therapists }
    }

    pub(super) fn record(&mut self, provider: ProviderId) -> Option<&mut Record> {
        self.records.get_mut(usize::try_from(provider.0 - 1).ok()?)
    }

    /// Who could take a booking at `place`, nearest first.
    pub(super) fn near(
        &self,
        booking: BookingId,
        place: LatLng,
        radius: crate::core::geo::Meters,
        exclude: std::collections::BTreeSet<ProviderId>,
        now: Timestamp,
    ) -> Vec<Candidate> {
        if self.idle == 0 {
            return Vec::new();
        }
        let request = Request {
            service: SERVICE,
            place,
            when: When::Now,
            duration: Duration::ZERO, // nobody has a booking that comes later
            customer: UserId(-booking.0),
            customer_gender: None,
            radius,
            stale_after: NEVER_STALE,
            limit: CANDIDATES,
            filters: Filters::default(),
            exclude,
            only: None,
            precision: Precision::Exact,
        };
        self.fleet.nearest(&request, now).candidates
    }

    pub(super) fn merit(&self, candidate: &Candidate, now: Timestamp) -> Merit {
        let record = usize::try_from(candidate.therapist.provider.0 - 1).ok().and_then(|at| self.records.get(at));
        let millis = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        Merit {
            travel_ms: millis(travel_time_over(candidate.distance, now)),
            idle_ms: record.map_or(0, |record| millis(now.since(record.idle_since))),
            rating: record.map(|record| record.rating.hundredths()),
            acceptance: None,
            preferred: false,
        }
    }

    pub(super) fn set_duty(&mut self, provider: ProviderId, duty: Duty) {
        let was = self.idle(provider);
        self.fleet.set_duty(provider, duty);
        match (was, duty == Duty::Idle) {
            (true, false) => self.idle -= 1,
            (false, true) => self.idle += 1,
            _ => {}
        }
    }

    /// He is on a booking: nobody need look at him until he is back.
    pub(super) fn leave(&mut self, provider: ProviderId) {
        if self.idle(provider) {
            self.idle -= 1;
        }
        self.fleet.remove(provider);
    }

    /// His booking is over, and he is free at this place.
    pub(super) fn back(&mut self, provider: ProviderId, place: LatLng, now: Timestamp) {
        let Some(record) = self.record(provider) else { return };
        record.idle_since = now;
        let rating = record.rating;
        self.fleet.put(therapist(provider, rating));
        self.fleet.restore_position(provider, Fix::new(now, place));
        self.idle += 1;
    }

    pub(super) fn idle(&self, provider: ProviderId) -> bool {
        self.fleet.therapist(provider).is_some_and(|t| t.ties.duty() == Duty::Idle)
    }

    /// The same pair answers alike whenever it is asked, and under every policy.
    pub(super) fn answer(&self, booking: BookingId, provider: ProviderId) -> (Answer, Duration) {
        let about = |what: u64| [what, booking.0 as u64, provider.0 as u64];
        let says = chance(self.seed, about(3));
        let answer = match says {
            says if says < self.behaviour.accepts => Answer::Yes,
            says if says < self.behaviour.accepts + self.behaviour.declines => Answer::No,
            _ => Answer::Nothing,
        };
        let takes = self.behaviour.answer_s * (1.0 + 4.0 * chance(self.seed, about(4)));
        (answer, Duration::from_secs_f64(takes))
    }

    /// How long his way to a booking really takes.
    pub(super) fn way(&self, booking: BookingId, provider: ProviderId, to: LatLng, now: Timestamp) -> Duration {
        let from = self.fleet.position(provider).map_or(to, |(place, _)| place);
        let noise = chance(self.seed, [5, booking.0 as u64, provider.0 as u64]) * 2.0 - 1.0;
        travel_time(from, to, now).mul_f64(1.0 + noise * self.behaviour.travel_noise)
    }
}

fn therapist(provider: ProviderId, rating: Rating) -> Therapist {
    let services = Offerings::new([OFFERING]).expect("within the columns");
    Therapist { total_reviews: 10, average_rating: rating, ..Therapist::plain(provider, services, 500) }
}
