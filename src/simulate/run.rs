//! One day under one policy: the machine, the index, and everybody's part, in the order in which it happens.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use super::demand::{Demand, Wish};
use super::measure::{Journey, Outcome};
pub use super::town::Behaviour;
use super::town::{Answer, Town};
use crate::core::dispatch::{Decision, Dispatch, Effect, Found, Input, Job, LiveOffer, NotPersisted, Rules, Standing};
use crate::core::fleet::Duty;
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::time::Timestamp;

/// What is simulated, besides demand and policy.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scenario {
    /// Therapists, on shift all day.
    pub therapists: usize,
    /// How they behave.
    pub behaviour: Behaviour,
    /// A booking nobody takes ends after this: `booking_timeout.pending`.
    pub patience: Duration,
    /// The same seed, the same day.
    pub seed: u64,
}

/// What happens at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Book(usize),
    Answer(OfferId),
    Finish(usize, ProviderId),
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    booking: usize,
    provider: ProviderId,
    expires_at: Timestamp,
    live: bool,
}

/// A booking as the store would have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Unborn,
    Pending,
    Accepted,
    Over,
}

struct World<'a> {
    demand: &'a Demand,
    scenario: Scenario,
    rules: Rules,
    now: Timestamp,
    machine: Dispatch,
    town: Town,
    queue: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    events: u64,
    status: Vec<Status>,
    offers: BTreeMap<OfferId, Offer>,
    offers_made: i64,
    journeys: Vec<Journey>,
    /// What was decided, if it is to be kept.
    log: Option<Vec<Decision>>,
}

/// The same, and every decision on the way.
pub fn run_logged(demand: &Demand, scenario: &Scenario, rules: Rules) -> (Outcome, Vec<Decision>) {
    let (outcome, log) = live(demand, scenario, rules, Some(Vec::new()));
    (outcome, log.unwrap_or_default())
}

/// Lets the demand's bookings be dispatched under `rules` until the last is over.
pub fn run(demand: &Demand, scenario: &Scenario, rules: Rules) -> Outcome {
    live(demand, scenario, rules, None).0
}

fn live(
    demand: &Demand,
    scenario: &Scenario,
    rules: Rules,
    log: Option<Vec<Decision>>,
) -> (Outcome, Option<Vec<Decision>>) {
    let start = demand.wishes.first().map_or(Timestamp::from_micros(0), |wish| wish.at);
    let mut world = World {
        demand,
        scenario: *scenario,
        rules,
        now: start,
        machine: Dispatch::new(),
        town: Town::new(demand, scenario.therapists, scenario.behaviour, scenario.seed, start),
        queue: BinaryHeap::new(),
        events: 0,
        status: vec![Status::Unborn; demand.wishes.len()],
        offers: BTreeMap::new(),
        offers_made: 0,
        journeys: demand.wishes.iter().map(|wish| Journey::new(wish.at)).collect(),
        log,
    };
    for (booking, wish) in demand.wishes.iter().enumerate() {
        world.plan(wish.at, Event::Book(booking));
    }
    while world.step() {}
    let day = world.now.since(start);
    let busy = world.town.records.iter().map(|record| record.busy_s).collect();
    (Outcome { journeys: world.journeys, busy_s: busy, day }, world.log)
}

fn id(booking: usize) -> BookingId {
    BookingId(booking as i64 + 1)
}

impl World<'_> {
    fn plan(&mut self, at: Timestamp, event: Event) {
        self.events += 1;
        self.queue.push(Reverse((at, self.events, event)));
    }

    fn wish(&self, booking: usize) -> &Wish {
        &self.demand.wishes[booking]
    }

    fn index(&self, booking: BookingId) -> Option<usize> {
        usize::try_from(booking.0 - 1).ok().filter(|&at| at < self.status.len())
    }

    /// One event, or what is due at the machine; false: nothing more will happen.
    fn step(&mut self) -> bool {
        let due = self.machine.next_deadline();
        let next = self.queue.peek().map(|Reverse((at, ..))| *at);
        match (due, next) {
            (None, None) => return false,
            (Some(due), next) if next.is_none_or(|next| due <= next) => {
                self.now = self.now.max(due);
                self.machine.on_deadline(self.now);
            }
            _ => {
                let Some(Reverse((at, _, event))) = self.queue.pop() else { return false };
                self.now = self.now.max(at);
                self.happen(event);
            }
        }
        self.drain();
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Book(booking) => {
                self.status[booking] = Status::Pending;
                self.machine.handle(Input::Wanted { job: self.job(booking), live: Vec::new() }, self.now);
            }
            Event::Answer(offer) => self.answered(offer),
            Event::Finish(booking, provider) => {
                self.status[booking] = Status::Over;
                let place = self.wish(booking).ends_at;
                self.town.back(provider, place, self.now);
                self.machine.handle(Input::SupplyAppeared, self.now);
            }
        }
    }

    fn job(&self, booking: usize) -> Job {
        let created_at = self.wish(booking).at;
        Job {
            booking: id(booking),
            created_at,
            deadline: created_at.plus(self.scenario.patience),
            scheduled: false,
            chosen: None,
            rules: self.rules,
            excluded: Default::default(),
            silent: false,
            round: 1,
        }
    }

    fn answered(&mut self, offer: OfferId) {
        let Some(row) = self.offers.get(&offer).copied() else { return };
        if !row.live || row.expires_at <= self.now {
            return;
        }
        let (answer, _) = self.town.answer(id(row.booking), row.provider);
        match answer {
            Answer::Yes => self.accepted(row),
            Answer::No => {
                self.offers.remove(&offer);
                self.town.set_duty(row.provider, Duty::Idle);
                self.machine.handle(Input::Declined { booking: id(row.booking), offer }, self.now);
                self.machine.handle(Input::SupplyAppeared, self.now);
            }
            Answer::Nothing => {}
        }
    }

    /// One transaction: he has it, and what else was live is withdrawn.
    fn accepted(&mut self, row: Offer) {
        let (booking, provider) = (row.booking, row.provider);
        let losers: Vec<_> = self
            .offers
            .iter()
            .filter(|(_, o)| o.booking == booking && o.live)
            .map(|(&o, row)| (o, row.provider))
            .collect();
        for (offer, loser) in &losers {
            self.offers.remove(offer);
            self.town.set_duty(*loser, Duty::Idle);
        }
        let wish = *self.wish(booking);
        let way = self.town.way(id(booking), provider, wish.place, self.now);
        let arrives = self.now.plus(way);
        self.status[booking] = Status::Accepted;
        let journey = &mut self.journeys[booking];
        (journey.accepted_at, journey.arrived_at) = (Some(self.now), Some(arrives));
        journey.travel_s = way.as_secs_f64();
        if let Some(record) = self.town.record(provider) {
            record.busy_s += (way + wish.service).as_secs_f64();
            record.jobs += 1;
        }
        self.town.leave(provider);
        self.plan(arrives.plus(wish.service), Event::Finish(booking, provider));
        self.machine.handle(Input::Accepted { booking: id(booking), provider, set_out_by: None }, self.now);
        if losers.len() > 1 {
            self.machine.handle(Input::SupplyAppeared, self.now);
        }
    }

    /// Performs what the machine wants until it wants nothing: here a write takes no time.
    fn drain(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            if let Some(input) = self.perform(effect) {
                self.machine.handle(input, self.now);
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        Some(match effect {
            Effect::FindCandidates { booking, ask, radius, exclude, only: _ } => {
                let place = self.wish(self.index(booking)?).place;
                let found = self.town.near(booking, place, radius, exclude, self.now);
                let list = found
                    .iter()
                    .map(|c| Found {
                        provider: c.therapist.provider,
                        distance: c.distance,
                        merit: self.town.merit(c, self.now),
                        connected: true,
                    })
                    .collect();
                Input::Candidates { booking, ask, list }
            }
            Effect::PersistOffer { booking, ask, provider, ttl, deadline, .. } => {
                self.offer(booking, ask, provider, ttl, deadline)?
            }
            Effect::ExpireOffer { booking, offer } => match self.offers.remove(&offer) {
                Some(row) => {
                    self.town.set_duty(row.provider, Duty::Idle);
                    self.machine.handle(Input::Expired { booking, offer }, self.now);
                    Input::SupplyAppeared
                }
                None => Input::ExpireRefused { booking, offer },
            },
            Effect::EndBooking { booking, .. } => {
                let at = self.index(booking)?;
                self.status[at] = Status::Over;
                let live: Vec<_> = self.offers.iter().filter(|(_, o)| o.booking == at).map(|(&o, _)| o).collect();
                for offer in live {
                    if let Some(row) = self.offers.remove(&offer) {
                        self.town.set_duty(row.provider, Duty::Idle);
                    }
                }
                self.machine.handle(Input::Ended { booking }, self.now);
                Input::SupplyAppeared
            }
            Effect::Release { booking } => Input::ReleaseFailed { booking },
            Effect::Reload { booking, ask } => {
                let standing = Box::new(self.standing(booking));
                Input::Loaded { booking, ask, standing }
            }
            Effect::Log(decision) => {
                self.log.as_mut()?.push(decision);
                return None;
            }
        })
    }

    fn offer(
        &mut self,
        booking: BookingId,
        ask: u64,
        provider: ProviderId,
        ttl: Duration,
        deadline: Timestamp,
    ) -> Option<Input> {
        let at = self.index(booking)?;
        let not = |why| Some(Input::OfferNotPersisted { booking, ask, provider, why });
        if self.status[at] != Status::Pending {
            return not(NotPersisted::BookingGone);
        }
        if !self.town.idle(provider) {
            return not(NotPersisted::ProviderTaken);
        }
        self.offers_made += 1;
        let offer = OfferId(self.offers_made);
        let expires_at = deadline.min(self.now.plus(ttl));
        self.offers.insert(offer, Offer { booking: at, provider, expires_at, live: true });
        self.town.set_duty(provider, Duty::Offered { until: expires_at });
        self.journeys[at].offers += 1;
        let (_, takes) = self.town.answer(booking, provider);
        self.plan(self.now.plus(takes), Event::Answer(offer));
        Some(Input::OfferPersisted { booking, ask, provider, offer, expires_at })
    }

    fn standing(&self, booking: BookingId) -> Standing {
        let Some(at) = self.index(booking).filter(|&at| self.status[at] == Status::Pending) else {
            return Standing::Settled;
        };
        let live = self.offers.iter().filter(|(_, row)| row.booking == at && row.live);
        let live = live.map(|(&offer, row)| LiveOffer { provider: row.provider, offer, expires_at: row.expires_at });
        Standing::Pending { job: self.job(at), live: live.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dispatch::Policy;
    use crate::core::geo::Meters;
    use crate::core::settings::Settings;
    use crate::simulate::demand::manila;
    use crate::simulate::measure::Measures;

    fn day(policy: Policy) -> (Outcome, Measures) {
        let demand = manila(None, 1_500, 5).expect("built in");
        let scenario =
            Scenario { therapists: 150, behaviour: Behaviour::default(), patience: Duration::from_secs(300), seed: 5 };
        let rules = Settings::default().dispatch.rules("", None, Meters::from_km(20.0));
        let outcome = run(&demand, &scenario, Rules { policy, ..rules });
        let measures = outcome.measures();
        (outcome, measures)
    }

    const BATCHED: Policy = Policy::Batched { window: Duration::from_secs(2) };

    #[test]
    fn a_seed_is_a_day() {
        assert_eq!(day(BATCHED), day(BATCHED));
    }

    #[test]
    fn near_the_limit_a_window_serves_more_bookings_sooner() {
        let (sequential, batched) = (day(Policy::Sequential).1, day(BATCHED).1);
        assert!(sequential.matched < 1.0, "the load is high: {sequential:?}");
        assert!(batched.matched >= sequential.matched, "{batched:?} {sequential:?}");
        assert!(batched.to_arrival_s.mean < sequential.to_arrival_s.mean, "{batched:?} {sequential:?}");
    }

    #[test]
    fn a_broadcast_is_accepted_sooner_and_costs_more_offers() {
        let broadcast = day(Policy::Broadcast { width: 3, stagger: Duration::ZERO }).1;
        let sequential = day(Policy::Sequential).1;
        assert!(broadcast.to_accept_s.p50 < sequential.to_accept_s.p50);
        assert!(broadcast.offers > sequential.offers);
    }
}
