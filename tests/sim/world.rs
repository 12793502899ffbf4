//! Everything around the machine: a shell with a slow, failing store, therapists and customers, a clock that jumps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spacall::core::dispatch::{Decided, Dispatch, Effect, Found, Input, NotPersisted, Rules, Standing};
use spacall::core::geo::Meters;
use spacall::core::ids::{BookingId, OfferId, ProviderId};
use spacall::core::time::Timestamp;

use super::rng::Rng;
use super::store::{Booking, PENDING_FOR, Status, Store, Therapist, Wish};

const SECOND: i64 = 1_000_000;

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
    queue: BTreeMap<(i64, u64), Event>,
    events: u64,
    pub(crate) life: u64,
    pub(crate) machine: Dispatch,
    pub(crate) store: Store,
    pub(crate) outage: bool,
    /// News may be lost; every 30 s the shell compares with the database.
    reconciles: bool,
    /// No more faults and no new bookings: everything must come to an end.
    pub(crate) calm: bool,
    pub(crate) tally: Tally,
    pub(crate) effects: u64,
    pub(crate) trace: bool,
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
            reconciles,
            calm: false,
            tally: Tally::new(),
            effects: 0,
            trace,
        };
        for id in 1..=world.rng.between(1, 7) {
            let therapist = Therapist { online: world.rng.chance(80), place: world.rng.between(0, 10_000) as f64 };
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

    fn plan(&mut self, after: i64, event: Event) {
        self.events += 1;
        self.queue.insert((self.elapsed + after, self.events), event);
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Most things are quick; a few take longer than anybody's patience.
    fn delay(&mut self) -> i64 {
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
                self.count(match decision.what {
                    Decided::InDoubt => "in doubt",
                    Decided::Skipped { .. } => "skipped",
                    Decided::Waiting => "waiting",
                    Decided::Overdue { .. } => "overdue",
                    _ => continue,
                });
                continue;
            }
            self.effects += 1;
            let after = self.delay();
            self.plan(after, Event::Perform(self.life, effect));
        }
    }

    /// News reaches the machine late, twice, or (where a reconciliation makes up for it) not at all.
    fn tell(&mut self, input: Input) {
        if self.reconciles && !self.calm && self.rng.chance(1) {
            self.count("news lost");
            return;
        }
        self.deliver(input);
    }

    /// The answer to an effect gets lost, too; the machine makes up for that by itself.
    fn answer(&mut self, input: Input) {
        if !self.calm && self.rng.chance(2) {
            self.count("answer lost");
            return;
        }
        self.deliver(input);
    }

    fn deliver(&mut self, input: Input) {
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
        match event {
            Event::Perform(life, effect) if life == self.life => self.perform(effect),
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
                if self.store.move_on(booking, Status::Accepted, Status::EnRoute) {
                    self.tell(Input::SetOut { booking });
                    let after = self.rng.between(10, 200) * SECOND;
                    self.plan(after, Event::Complete(booking));
                }
            }
            Event::Complete(booking) => {
                if self.store.move_on(booking, Status::EnRoute, Status::Completed) {
                    self.count("completed");
                    self.tell(Input::Ended { booking });
                    self.tell(Input::SupplyAppeared);
                }
            }
            Event::Reconcile => {
                let open = |row: &Booking| matches!(row.status, Status::Pending | Status::Accepted);
                let open = self.store.bookings.iter().filter(|(_, row)| open(row)).map(|(&id, _)| id);
                let known = self.machine.bookings();
                for booking in open.chain(known).collect::<BTreeSet<_>>() {
                    self.tell(Input::Changed { booking });
                }
                self.plan(30 * SECOND, Event::Reconcile);
            }
            Event::Crash => self.crash(),
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

    fn book(&mut self) {
        if self.calm {
            return;
        }
        let id = BookingId(self.store.bookings.len() as i64 + 1);
        let chosen = self.rng.chance(25).then(|| ProviderId(self.rng.between(1, self.store.therapists.len() as i64)));
        let rules = Rules {
            offer_ttl: Duration::from_secs(20),
            chosen_ttl: Duration::from_secs(60),
            receipt_grace: Duration::from_secs(5),
            radius_start: Meters::new(self.rng.between(500, 12_000) as f64),
            radius_step: Meters::new(self.rng.between(0, 6) as f64 * 500.0),
            radius_max: Meters::new(self.rng.between(2_000, 10_000) as f64),
        };
        let now = self.database_now();
        let row = Booking {
            status: Status::Pending,
            place: self.rng.between(0, 10_000) as f64,
            created_at: now,
            deadline: now.plus(PENDING_FOR),
            chosen,
            rules,
            provider: None,
            set_out_by: now,
            reason: None,
        };
        self.store.bookings.insert(id, row);
        self.tell_wanted(id);
        if self.rng.chance(25) {
            let after = self.rng.between(0, 150) * SECOND;
            self.plan(after, Event::Cancel(id));
        }
        let after = self.rng.between(1, 100) * SECOND;
        self.plan(after, Event::Book);
    }

    fn tell_wanted(&mut self, booking: BookingId) {
        if let Standing::Pending { job, live } = self.store.load(booking) {
            self.tell(Input::Wanted { job, live });
        }
    }

    fn toggle(&mut self, id: ProviderId) {
        let place = self.rng.between(0, 10_000) as f64;
        let Some(therapist) = self.store.therapists.get_mut(&id) else { return };
        therapist.online = !therapist.online;
        therapist.place = place;
        if therapist.online {
            self.tell(Input::SupplyAppeared);
        }
        let after = self.rng.between(5, 500) * SECOND;
        self.plan(after, Event::Toggle(id));
    }

    /// The therapist's app has the offer.
    fn shown(&mut self, offer: OfferId) {
        let Some(booking) = self.store.offers.get(&offer).map(|row| row.booking) else { return };
        if let Some(expires_at) = self.store.receive(offer, self.database_now()) {
            self.tell(Input::Received { booking, offer, expires_at });
        }
        let after = self.rng.between(100_000, 24 * SECOND);
        self.plan(after, Event::Answer(offer));
    }

    fn decide(&mut self, offer: OfferId) {
        let now = self.database_now();
        let Some(row) = self.store.offers.get(&offer).copied() else { return };
        let (booking, provider) = (row.booking, row.provider);
        match self.rng.between(0, 99) {
            0..=39 => {
                let Some(set_out_by) = self.store.accept(offer, now) else { return };
                self.count("accepted");
                self.tell(Input::Accepted { booking, provider, set_out_by: Some(set_out_by) });
                let (after, then) = match self.rng.between(0, 9) {
                    0..=1 => (self.rng.between(0, 60), Event::GiveBack(booking)),
                    2 => (self.rng.between(0, 60), Event::Cancel(booking)),
                    3..=4 => return, // never sets out
                    _ => (self.rng.between(0, 120), Event::SetOut(booking)),
                };
                self.plan(after * SECOND, then);
            }
            40..=74 if self.store.decline(offer) => {
                self.count("declined");
                self.tell(Input::Declined { booking, offer });
                self.tell(Input::SupplyAppeared);
            }
            _ => {} // lazy
        }
    }

    fn crash(&mut self) {
        self.count("crash");
        self.life += 1;
        self.machine = Dispatch::new();
        let ids: Vec<_> = self.store.bookings.keys().copied().collect();
        for booking in ids {
            let input = match self.store.load(booking) {
                Standing::Pending { job, live } => Input::Wanted { job, live },
                Standing::Accepted { provider, set_out_by } => Input::Accepted { booking, provider, set_out_by },
                Standing::Settled => continue,
            };
            self.machine.handle(input, self.now());
        }
        let after = self.rng.between(20, 300) * SECOND;
        self.plan(after, Event::Crash);
    }

    /// In calm weather those who have a booking get going, and nothing breaks any more.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.outage = false;
        self.queue.retain(|_, event| !matches!(event, Event::Crash | Event::ClockJump | Event::Outage | Event::Book));
        let accepted = |row: &Booking| row.status == Status::Accepted;
        let ids: Vec<_> = self.store.bookings.iter().filter(|(_, row)| accepted(row)).map(|(&id, _)| id).collect();
        for id in ids {
            self.plan(SECOND, Event::SetOut(id));
        }
    }

    fn perform(&mut self, effect: Effect) {
        let now = self.database_now();
        let fails = self.outage || (!self.calm && self.rng.chance(4));
        // The write happens, its answer is an error: the connection went away in between.
        let lost_answer = !fails && !self.calm && self.rng.chance(3);
        if fails || lost_answer {
            self.count(if fails { "store failed" } else { "connection lost" });
        }
        match effect {
            Effect::FindCandidates { booking, ask, radius, exclude, only } => {
                let stale = !self.calm && self.rng.chance(15);
                let found = self.store.nearest(booking, radius, &exclude, only, stale, now);
                let list =
                    found.into_iter().map(|(provider, d)| Found { provider, distance: Meters::new(d) }).collect();
                self.answer(Input::Candidates { booking, ask, list });
            }
            Effect::PersistOffer { booking, ask, provider, round, rank, ttl, grace, deadline, .. } => {
                let wish = Wish { booking, provider, round, rank, life: ttl + grace, deadline };
                let written = if fails { Err(NotPersisted::StoreFailed) } else { self.store.persist_offer(&wish, now) };
                if let Ok((offer, _)) = written {
                    self.count("offered");
                    if self.rng.chance(90) {
                        let after = self.delay();
                        self.plan(after, Event::Shown(offer));
                    }
                }
                let written = if lost_answer { Err(NotPersisted::StoreFailed) } else { written };
                let input = match written {
                    Ok((offer, expires_at)) => Input::OfferPersisted { booking, ask, provider, offer, expires_at },
                    Err(why) => {
                        self.count(match why {
                            NotPersisted::ProviderTaken => "taken",
                            NotPersisted::ProviderUnfit => "unfit",
                            NotPersisted::BookingGone => "booking gone",
                            NotPersisted::StoreFailed => "offer not stored",
                        });
                        Input::OfferNotPersisted { booking, ask, provider, why }
                    }
                };
                self.answer(input);
            }
            Effect::ExpireOffer { booking, offer } => {
                let expired = !fails && self.store.expire_offer(offer);
                self.answer(match () {
                    () if fails || lost_answer => Input::ExpireFailed { booking, offer },
                    () if expired => Input::Expired { booking, offer },
                    () => Input::ExpireRefused { booking, offer },
                });
                if expired {
                    self.count("expired");
                    self.tell(Input::SupplyAppeared);
                }
            }
            Effect::EndBooking { booking, reason } => {
                self.check_ending(booking, reason);
                let ended = !fails && self.store.end(booking, Some(reason));
                if ended {
                    self.count(reason.as_str());
                    self.tell(Input::SupplyAppeared);
                }
                self.answer(match () {
                    () if fails || lost_answer => Input::EndFailed { booking },
                    () if ended => Input::Ended { booking },
                    () => Input::Changed { booking },
                });
            }
            Effect::Release { booking } => {
                let released = !fails && self.store.give_back(booking, now);
                if released {
                    self.count("released");
                    self.tell(Input::SupplyAppeared);
                }
                match () {
                    () if fails || lost_answer => self.answer(Input::ReleaseFailed { booking }),
                    () if released => self.tell_wanted(booking),
                    () => self.answer(Input::Changed { booking }),
                }
            }
            Effect::Reload { booking, ask } => {
                let standing = Box::new(self.store.load(booking));
                self.answer(if fails || lost_answer {
                    Input::LoadFailed { booking, ask }
                } else {
                    Input::Loaded { booking, ask, standing }
                });
            }
            Effect::Log(_) => {}
        }
    }
}
