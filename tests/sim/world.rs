//! Everything around the machine, in the order in which it happens.

use std::collections::BTreeMap;

use spacall::core::dispatch::{Decided, Defect, Dispatch, Effect, EndReason, Input};
use spacall::core::ids::{BookingId, OfferId, ProviderId};
use spacall::core::time::Timestamp;

use super::rng::Rng;
use super::store::{Status, Store, Therapist};

pub(crate) const SECOND: i64 = 1_000_000;

/// What happens next to somebody. `u64`: of which life of the service; a crash ends all that was under way in it.
#[derive(Debug)]
pub(crate) enum Event {
    Perform(u64, Effect),
    Deliver(u64, Input),
    Book,
    Toggle(ProviderId),
    Shown(OfferId),
    Answer(OfferId),
    Cancel(BookingId),
    GiveBack(BookingId),
    SetOut(BookingId),
    Complete(BookingId),
    /// The shell's own: tells of every booking that is not over, for the case that news was lost.
    Reconcile,
    Crash,
    /// The service is back, and has read where every booking stands.
    Restart,
    ClockJump,
    Outage,
    Recovery,
}

/// How often what happened, over all runs: a simulation that never reaches a case proves nothing about it.
pub(crate) type Tally = BTreeMap<&'static str, u64>;

pub(crate) struct World {
    pub(crate) rng: Rng,
    /// Time that really passed since the run began, microseconds.
    pub(crate) elapsed: i64,
    /// What the service's clock shows more than that.
    clock_offset: i64,
    /// What the database's clock shows more than the service's.
    database_ahead: i64,
    pub(crate) queue: BTreeMap<(i64, u64), Event>,
    events: u64,
    pub(crate) life: u64,
    pub(crate) machine: Dispatch,
    pub(crate) store: Store,
    pub(crate) outage: bool,
    /// Between crash and restart.
    pub(crate) down: bool,
    /// News may be lost; every 30 s the shell compares with the database.
    reconciles: bool,
    /// No more faults and no new bookings: everything must come to an end.
    pub(crate) calm: bool,
    pub(crate) tally: Tally,
    pub(crate) effects: u64,
    /// When a booking last had to let another one have a therapist.
    pub(crate) gave_way: BTreeMap<BookingId, i64>,
    /// Bookings whose search was given up, until they are searched for anew; and until when whom they name might have answered.
    pub(crate) given_up: BTreeMap<BookingId, Timestamp>,
    pub(crate) trace: bool,
    /// Of every booking of this run: 0 sequential, 1 broadcast, 2 batched; `None`: each has its own.
    pub(crate) policy: Option<i64>,
    /// Planted in the machine.
    pub(crate) defect: Option<Defect>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let database_ahead = rng.between(-300_000, 300_000);
        let reconciles = rng.chance(50);
        let mut world = Self {
            rng,
            elapsed: 0,
            clock_offset: 1_795_000_000 * SECOND,
            database_ahead,
            queue: BTreeMap::new(),
            events: 0,
            life: 0,
            machine: Dispatch::new(),
            store: Store::default(),
            outage: false,
            down: false,
            reconciles,
            calm: false,
            tally: Tally::new(),
            effects: 0,
            gave_way: BTreeMap::new(),
            given_up: BTreeMap::new(),
            trace,
            policy: (seed % 4 < 3).then_some((seed % 4) as i64),
            defect: None,
        };
        for id in 1..=world.rng.between(1, 7) {
            let place = world.rng.between(0, 10_000) as f64;
            let base = world.rng.between(0, 10_000) as f64;
            let therapist = Therapist { online: world.rng.chance(80), place, base };
            world.store.therapists.insert(ProviderId(id), therapist);
            let at = world.rng.between(0, 400) * SECOND;
            world.plan(at, Event::Toggle(ProviderId(id)));
        }
        for _ in 0..world.rng.between(1, 8) {
            let at = world.rng.between(0, 120) * SECOND;
            world.plan(at, Event::Book);
        }
        if reconciles {
            world.plan(30 * SECOND, Event::Reconcile);
        }
        for (event, percent) in [(Event::Crash, 60), (Event::ClockJump, 50), (Event::Outage, 40)] {
            if world.rng.chance(percent) {
                let at = world.rng.between(1, 120) * SECOND;
                world.plan(at, event);
            }
        }
        world
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.elapsed + self.clock_offset)
    }

    pub(crate) fn database_now(&self) -> Timestamp {
        Timestamp::from_micros(self.elapsed + self.clock_offset + self.database_ahead)
    }

    /// Given up at its deadline, which is to come again since the clock was set back: it ends then.
    pub(crate) fn is_to_end(&self, booking: BookingId) -> bool {
        let reason = EndReason::ProviderDidNotAnswer;
        let early = |&by: &Timestamp| self.store.ends_too_early(booking, reason, by, self.database_now());
        self.given_up.get(&booking).is_some_and(early)
    }

    pub(crate) fn plan(&mut self, after: i64, event: Event) {
        self.events += 1;
        self.queue.insert((self.elapsed + after, self.events), event);
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Most things are quick; a few take longer than anybody's patience.
    pub(crate) fn delay(&mut self) -> i64 {
        match self.rng.between(0, 99) {
            _ if self.calm => self.rng.between(0, 20_000),
            0..=1 => self.rng.between(0, 15 * SECOND),
            2..=14 => self.rng.between(0, 2 * SECOND),
            _ => self.rng.between(0, 50_000),
        }
    }

    /// One event, or what is due at the machine.
    pub(crate) fn step(&mut self) {
        let due = self.machine.next_deadline().map(|at| (at.micros() - self.clock_offset).max(self.elapsed));
        let next = self.queue.first_key_value().map_or(i64::MAX, |(&(at, _), _)| at);
        if let Some(at) = due.filter(|&at| at <= next) {
            self.elapsed = at;
            let late = if self.calm || self.rng.chance(80) { 0 } else { self.rng.between(0, 100_000) };
            self.elapsed = (self.elapsed + late).min(next);
            self.say(|_| "due".to_owned());
            self.machine.on_deadline(self.now());
            let left = self.machine.next_deadline().filter(|&at| at <= self.now());
            assert!(left.is_none(), "a deadline is left over: {left:?}");
        } else if let Some((at, event)) = self.queue.pop_first() {
            self.elapsed = at.0;
            self.say(|_| format!("{event:?}"));
            self.happen(event);
        }
        self.drain();
    }

    /// A call that nothing asked for.
    pub(crate) fn wake_up_for_nothing(&mut self) {
        let before = self.machine.next_deadline();
        if before.is_some_and(|at| at <= self.now()) {
            return;
        }
        self.machine.on_deadline(self.now());
        assert_eq!(self.machine.next_deadline(), before, "a spurious call moved a deadline");
        assert_eq!(self.machine.poll_effect(), None, "a spurious call had an effect");
    }

    fn say(&self, line: impl FnOnce(&Self) -> String) {
        if self.trace {
            println!("{:>12.6} {}", self.elapsed as f64 / 1e6, line(self));
        }
    }

    fn drain(&mut self) {
        for polled in 0.. {
            assert!(polled < 1_000, "the machine never comes to rest");
            let Some(effect) = self.machine.poll_effect() else { break };
            self.say(|_| format!("    -> {effect:?}"));
            if let Effect::Log(decision) = &effect {
                if let Decided::GivenUp { reason } = decision.what {
                    self.check_ending(decision.booking, reason);
                }
                if matches!(decision.what, Decided::Searching { .. }) {
                    self.given_up.remove(&decision.booking);
                }
                if matches!(decision.what, Decided::Skipped { .. } | Decided::Matched { provider: None, .. }) {
                    self.gave_way.insert(decision.booking, self.elapsed);
                }
                self.count(match decision.what {
                    Decided::InDoubt => "in doubt",
                    Decided::Skipped { .. } => "skipped",
                    Decided::Waiting => "waiting",
                    Decided::Overdue { .. } => "overdue",
                    Decided::Matched { provider: Some(_), .. } => "matched",
                    Decided::Matched { provider: None, .. } => "not matched",
                    _ => continue,
                });
                continue;
            }
            if let Effect::EndBooking { booking, answer_by, .. } = effect {
                self.given_up.insert(booking, answer_by);
            }
            self.effects += 1;
            let after = self.delay();
            self.plan(after, Event::Perform(self.life, effect));
        }
    }

    /// News reaches the machine late, twice, or (where a reconciliation makes up for it) not at all.
    pub(crate) fn tell(&mut self, input: Input) {
        if self.reconciles && !self.calm && self.rng.chance(1) {
            self.count("news lost");
            return;
        }
        self.deliver(input);
    }

    /// The answer to an effect gets lost, too; the machine makes up for that by itself.
    pub(crate) fn answer(&mut self, input: Input) {
        if !self.calm && self.rng.chance(2) {
            self.count("answer lost");
            return;
        }
        self.deliver(input);
    }

    fn deliver(&mut self, input: Input) {
        if self.down {
            return;
        }
        if !self.calm && self.rng.chance(8) {
            self.count("told twice");
            let after = self.delay() + self.delay();
            self.plan(after, Event::Deliver(self.life, input.clone()));
        }
        let after = self.delay();
        self.plan(after, Event::Deliver(self.life, input));
    }

    fn happen(&mut self, event: Event) {
        let now = self.database_now();
        let own = matches!(event, Event::Perform(..) | Event::Deliver(..) | Event::Restart | Event::Recovery);
        if self.down && !own {
            return self.plan(2 * SECOND, event); // apps try again
        }
        match event {
            Event::Perform(life, effect) if life == self.life => self.perform(effect),
            // Sent just before the crash: the database may still do it.
            Event::Perform(_, effect) if self.down && self.rng.chance(50) => self.perform(effect),
            Event::Deliver(life, input) if life == self.life => self.machine.handle(input, self.now()),
            Event::Perform(..) | Event::Deliver(..) => {}
            Event::Book => self.book(),
            Event::Toggle(id) => self.toggle(id),
            Event::Shown(offer) => self.shown(offer),
            Event::Answer(offer) => self.decide(offer),
            Event::Cancel(booking) => {
                let input = if self.rng.chance(70) { Input::Ended { booking } } else { Input::Changed { booking } };
                if self.store.end(booking, None) {
                    self.count("cancelled");
                    self.tell(input);
                    self.tell(Input::SupplyAppeared);
                }
            }
            Event::GiveBack(booking) => {
                if self.store.give_back(booking, now) {
                    self.count("given back");
                    self.tell_wanted(booking);
                    self.tell(Input::SupplyAppeared);
                }
            }
            Event::SetOut(booking) => {
                if self.store.set_out(booking) {
                    self.tell(Input::SetOut { booking });
                    let after = self.rng.between(10, 200) * SECOND;
                    self.plan(after, Event::Complete(booking));
                } else if self.store.bookings.get(&booking).is_some_and(|row| row.status == Status::Accepted) {
                    self.count("set out late");
                    self.plan(10 * SECOND, Event::SetOut(booking)); // he is on another one
                }
            }
            Event::Complete(booking) => {
                if self.store.move_on(booking, Status::EnRoute, Status::Completed) {
                    self.count("completed");
                    self.tell(Input::Ended { booking });
                    self.tell(Input::SupplyAppeared);
                }
            }
            Event::Reconcile => self.reconcile(),
            Event::Crash => self.crash(),
            Event::Restart => self.restart(),
            Event::ClockJump => {
                self.count("clock jump");
                self.clock_offset += self.rng.between(-200, 400) * SECOND;
                // The shell never sleeps longer than a second or so; shortened to nothing here.
                self.machine.on_deadline(self.now());
            }
            Event::Outage => {
                self.outage = true;
                let after = self.rng.between(1, 120) * SECOND;
                self.plan(after, Event::Recovery);
            }
            Event::Recovery => self.outage = false,
        }
    }
}
