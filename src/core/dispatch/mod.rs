//! The dispatch machine: bookings, candidates, answers and time in; offers, withdrawals, endings out.
//!
//! It knows no clock and does no I/O. The shell feeds [`Input`]s with [`Dispatch::handle`], performs what
//! [`Dispatch::poll_effect`] gives until it gives nothing, and calls [`Dispatch::on_deadline`] once
//! [`Dispatch::next_deadline`] has come. Same inputs, same `now`: same effects.
//!
//! **Policy**: which of the candidates is asked when.
//! *Sequential*: best first, one offer at a time per booking. *Broadcast*: several at a time, the first accept wins.
//! *Batched*: at the end of each window everybody who waits is matched with who is free, at least total cost.
//! Under each, a therapist has one live offer, and who declines or is silent is not asked again for this booking. When
//! nobody is left, the next round looks farther, up to the widest radius; there a booking waits, asks again every 2 s
//! (batched: every window), and at once when supply appears, the oldest booking first.
//! A *scheduled* booking is not about who is free now: its offers rule out no other, it hears of no supply and asks again
//! every 10 s.
//! At its deadline a booking is ended with a reason. A booking that names its therapist is offered to nobody else, and one for
//! now ends when he would be silent had he been asked at once, also if he could not be: that depends on exactly where he is. One
//! at a store is offered to nobody: its owner answers, or its deadline does.
//!
//! **Truth** is the database: effects are guarded writes that may lose a race, inputs are facts already committed. The
//! machine saves work and decides *when*; it never relies on knowing the newest state. What does not fit makes it read
//! ([`Effect::Reload`]), what fails is tried again with growing pauses, what stays unanswered is asked again.

mod cost;
mod doubt;
mod log;
mod messages;
mod over;
mod pending;
mod planted;
mod pool;
pub mod promises;
mod search;
mod state;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use cost::{Merit, Weights};
pub use log::{Decided, Decision, Seen};
pub use messages::{Effect, EndReason, Found, Input, Job, LiveOffer, NotPersisted, Policy, Rules, Standing};

#[cfg(not(feature = "planted"))]
use self::planted::Defect;
#[cfg(feature = "planted")]
pub use self::planted::Defect;

use self::over::Over;
use self::search::Next;
use self::state::{Attempt, Pending, Stage, Step};
use self::table::Table;
use crate::core::geo::Meters;
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::time::Timestamp;

const CLOCK_JITTER: Duration = Duration::from_secs(1);

/// The machine.
#[derive(Default, Debug)]
pub struct Dispatch {
    table: Table,
    over: Over,
    effects: VecDeque<Effect>,
    asks: u64,
    /// The newest time heard of, to notice a clock that was set back.
    latest: Option<Timestamp>,
    #[cfg(feature = "planted")]
    defect: Option<Defect>,
}

impl Dispatch {
    /// With no bookings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one input in. Anything is allowed at any time; what is out of date changes nothing.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        self.notice_clock(now);
        self.over.forget_old(now);
        let Some(booking) = input.booking() else {
            self.wake(now, |search| !search.job.scheduled);
            return self.match_pool(false, now);
        };
        let stage = self.table.take(booking);
        let held = stage.as_ref().map(Stage::holds).unwrap_or_default();
        let next = match stage {
            None => self.unknown(booking, input, now),
            Some(Stage::Pending(search)) => self.pending(search, input, now),
            Some(stage @ (Stage::Accepted { provider, .. } | Stage::Releasing { provider, .. })) => {
                self.accepted(booking, provider, stage, input, now)
            }
            Some(Stage::Checking { attempt, was }) => self.checking(booking, attempt, was, input, now),
            Some(Stage::AtStore { deadline, attempt }) => self.at_store(booking, deadline, attempt, input, now),
        };
        self.settle(booking, &held, next, now);
        self.match_pool(false, now);
    }

    /// The next thing to do, in the order decided.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::on_deadline`] is next to be called; `None`: not before another input.
    /// (Sleep a second at most, then ask again: a wall clock may be set.)
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.table.next_deadline()
    }

    /// Does what is due at `now`. A call too early, or too often, does nothing.
    pub fn on_deadline(&mut self, now: Timestamp) {
        self.notice_clock(now);
        for booking in self.table.due(now) {
            // What was done for another booking may have moved this one on.
            if self.table.get(booking).is_none_or(|stage| stage.due() > now) {
                continue;
            }
            let Some(stage) = self.table.take(booking) else { continue };
            let held = stage.holds();
            let pooled = stage.in_window().is_some_and(|(_, asking)| !asking);
            let next = match stage {
                Stage::Pending(search) => self.pending_due(search, now),
                Stage::Accepted { provider, .. } => {
                    self.log(booking, now, Decided::Overdue { provider });
                    self.effects.push_back(Effect::Release { booking });
                    Some(Stage::Releasing { provider, attempt: Attempt::first(0, now) })
                }
                Stage::Releasing { provider, attempt } => {
                    self.effects.push_back(Effect::Release { booking });
                    Some(Stage::Releasing { provider, attempt: attempt.again(0, now) })
                }
                Stage::Checking { attempt, was } => self.checking_due(booking, attempt, was, now),
                Stage::AtStore { deadline, attempt } => self.store_due(booking, deadline, attempt, now),
            };
            self.settle(booking, &held, next, now);
            if pooled {
                self.match_pool(true, now);
            }
        }
        self.match_pool(false, now);
    }

    /// Every booking that is searched for, or watched until its therapist sets out. The shell's reconciliation tells
    /// [`Input::Changed`] of these, and of every pending and accepted booking of the database: then no lost news matters.
    pub fn bookings(&self) -> Vec<BookingId> {
        self.table.ids()
    }

    /// How many these are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Whether the indexes agree with the bookings; says what does not. O(n log n). For tests, and for the service's
    /// own metric.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        self.table.check()
    }

    /// A booking that the machine does not know.
    fn unknown(&mut self, booking: BookingId, input: Input, now: Timestamp) -> Next {
        match input {
            Input::Ended { .. } | Input::SetOut { .. } => {
                self.over.note(booking, now);
                None
            }
            // Older than its end.
            Input::Wanted { .. } | Input::Accepted { .. } | Input::StoreAsked { .. } if self.over.contains(booking) => {
                None
            }
            Input::Wanted { job, live } => self.start(job, live, now),
            Input::Accepted { provider, set_out_by, .. } => self.taken(booking, provider, set_out_by, now),
            Input::StoreAsked { deadline, .. } => Self::wait_for_store(deadline, deadline),
            Input::Changed { .. } => self.check_with(booking, None, now),
            Input::OfferPersisted { offer, .. } => {
                // What ended the booking has withdrawn it, or refused it. If neither, it must not block its therapist.
                self.effects.push_back(Effect::ExpireOffer { booking, offer });
                None
            }
            _ => None,
        }
    }

    /// Puts the booking's next stage in its place. `held`: the therapists it held before.
    fn settle(&mut self, booking: BookingId, held: &[ProviderId], next: Next, now: Timestamp) {
        let holds = next.as_ref().map(Stage::holds).unwrap_or_default();
        let live = next.as_ref().map(Stage::offered).unwrap_or_default();
        if let Some(stage) = next {
            self.table.put(booking, stage);
        }
        for live in live {
            self.evict_rivals(booking, live, now);
        }
        let freed: Vec<_> = held.iter().filter(|provider| !holds.contains(provider)).collect();
        if !freed.is_empty() {
            // Not itself: it has let them go because it may not have them.
            let missed = |search: &Pending| freed.iter().any(|provider| search.missed(**provider));
            self.wake(now, |search| search.job.booking != booking && missed(search));
        }
    }

    /// A therapist has one live offer of a booking for now: another one's, thought to be live, is over.
    fn evict_rivals(&mut self, booking: BookingId, live: LiveOffer, now: Timestamp) {
        let rivals: Vec<_> = self.table.held_by(live.provider).filter(|&other| other != booking).collect();
        for rival in rivals {
            let thinks_so = |stage: &Stage| stage.offered().iter().any(|offered| offered.provider == live.provider);
            if !self.table.get(rival).is_some_and(thinks_so) {
                continue;
            }
            if let Some(Stage::Pending(search)) = self.table.take(rival)
                && let Some(stage) = self.doubt(search, now)
            {
                self.table.put(rival, stage);
            }
        }
    }

    /// Bookings that found nobody, and whom this concerns, ask again, the oldest first. (Batched ones ask at the end of
    /// their window, all together.)
    fn wake(&mut self, now: Timestamp, concerns: impl Fn(&Pending) -> bool) {
        if self.planted(Defect::DeafToSupply) {
            return;
        }
        for booking in self.table.seeking(concerns) {
            let Some(Stage::Pending(mut search)) = self.table.take(booking) else { continue };
            let batched = search.window().is_some();
            let next = match &mut search.step {
                Step::Asking { supply, .. } => {
                    *supply = true;
                    Some(Stage::Pending(search))
                }
                _ if batched => Some(Stage::Pending(search)),
                _ => self.ask(search, now),
            };
            self.settle(booking, &[], next, now);
        }
    }

    fn notice_clock(&mut self, now: Timestamp) {
        // A little earlier is only the order in which callers read the clock.
        let latest = self.latest.unwrap_or(now);
        if now >= latest.minus(CLOCK_JITTER) {
            self.latest = Some(latest.max(now));
            return;
        }
        self.latest = Some(now);
        self.over = Over::default();
        if self.planted(Defect::ClockTrusted) {
            return;
        }
        for booking in self.table.ids() {
            if let Some(mut stage) = self.table.take(booking) {
                stage.clock_set_back(now);
                self.table.put(booking, stage);
            }
        }
    }

    /// Nothing more to dispatch: the booking is over, or its therapist is on the way.
    fn ended(&mut self, booking: BookingId, now: Timestamp) -> Next {
        self.log(booking, now, Decided::Ended);
        self.over.note(booking, now);
        None
    }

    fn next_ask(&mut self) -> u64 {
        self.asks += 1;
        self.asks
    }

    fn log(&mut self, booking: BookingId, at: Timestamp, what: Decided) {
        self.effects.push_back(Effect::Log(Decision { booking, at, what }));
    }
}
