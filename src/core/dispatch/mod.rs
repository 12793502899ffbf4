//! The dispatch machine: bookings, candidates, answers and time in; offers, withdrawals, endings out.
//!
//! It knows no clock and does no I/O. The shell feeds [`Input`]s with [`Dispatch::handle`], performs what
//! [`Dispatch::poll_effect`] gives until it gives nothing, and calls [`Dispatch::on_deadline`] once
//! [`Dispatch::next_deadline`] has come. Same inputs, same `now`: same effects.
//!
//! **Policy** (sequential): best first, one offer at a time per booking, one live offer per therapist. Who declines or is
//! silent is not asked again for this booking. When nobody is left, the next round looks farther, up to the widest
//! radius; there a booking waits, asks again every 2 s, and at once when supply appears, the oldest booking first.
//! At its deadline a booking is ended with a reason. A booking that names its therapist is offered to nobody else.
//!
//! **Truth** is the database: effects are guarded writes that may lose a race, inputs are facts already committed. The
//! machine saves work and decides *when*; it never relies on knowing the newest state. What does not fit makes it read
//! ([`Effect::Reload`]), what fails is tried again with growing pauses, what stays unanswered is asked again.

mod doubt;
mod log;
mod messages;
mod pending;
mod search;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use log::{Decided, Decision, Seen};
pub use messages::{Effect, EndReason, Found, Input, Job, LiveOffer, NotPersisted, Rules, Standing};

use self::search::Next;
use self::state::{Attempt, Stage, Step};
use self::table::Table;
use crate::core::geo::Meters;
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::time::Timestamp;

const CLOCK_JITTER: Duration = Duration::from_secs(1);

/// The machine.
#[derive(Default, Debug)]
pub struct Dispatch {
    table: Table,
    effects: VecDeque<Effect>,
    asks: u64,
    /// The newest time heard of, to notice a clock that was set back.
    latest: Option<Timestamp>,
}

impl Dispatch {
    /// With no bookings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one input in. Anything is allowed at any time; what is out of date changes nothing.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        self.notice_clock(now);
        let Some(booking) = input.booking() else { return self.supply_appeared(now) };
        let next = match self.table.take(booking) {
            None => self.unknown(booking, input, now),
            Some(Stage::Pending(search)) => self.pending(search, input, now),
            Some(stage @ (Stage::Accepted { provider, .. } | Stage::Releasing { provider, .. })) => {
                self.accepted(booking, provider, stage, input, now)
            }
            Some(Stage::Checking { attempt, was }) => self.checking(booking, attempt, was, input, now),
        };
        self.settle(booking, next, now);
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
            let next = match self.table.take(booking) {
                None => continue,
                Some(Stage::Pending(search)) => self.pending_due(search, now),
                Some(Stage::Accepted { provider, .. }) => {
                    self.log(booking, now, Decided::Overdue { provider });
                    self.effects.push_back(Effect::Release { booking });
                    Some(Stage::Releasing { provider, attempt: Attempt::first(0, now) })
                }
                Some(Stage::Releasing { provider, attempt }) => {
                    self.effects.push_back(Effect::Release { booking });
                    Some(Stage::Releasing { provider, attempt: attempt.again(0, now) })
                }
                Some(Stage::Checking { attempt, was }) => self.checking_due(booking, attempt, was, now),
            };
            self.settle(booking, next, now);
        }
    }

    /// Bookings that are searched for, or watched until their therapist sets out.
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
            Input::Wanted { job, live } => self.start(job, live, now),
            Input::Accepted { provider, set_out_by, .. } => self.taken(booking, provider, set_out_by, now),
            Input::Changed { .. } => self.check_with(booking, None, now),
            Input::OfferPersisted { offer, .. } => {
                // What ended the booking has withdrawn it, or refused it. If neither, it must not block its therapist.
                self.effects.push_back(Effect::ExpireOffer { booking, offer });
                None
            }
            _ => None,
        }
    }

    /// Puts the booking's next stage in its place.
    fn settle(&mut self, booking: BookingId, next: Next, now: Timestamp) {
        let Some(stage) = next else { return };
        let live = stage.offered();
        self.table.put(booking, stage);
        let Some(live) = live else { return };
        // A therapist has one live offer: another booking's, thought to be live, is over.
        let rivals: Vec<_> = self.table.held_by(live.provider).filter(|&other| other != booking).collect();
        for rival in rivals {
            if self.table.get(rival).is_none_or(|stage| stage.offered().is_none()) {
                continue;
            }
            if let Some(Stage::Pending(search)) = self.table.take(rival)
                && let Some(stage) = self.doubt(search, now)
            {
                self.table.put(rival, stage);
            }
        }
    }

    /// Bookings that found nobody ask again, the oldest first.
    fn supply_appeared(&mut self, now: Timestamp) {
        for booking in self.table.seeking() {
            let Some(Stage::Pending(mut search)) = self.table.take(booking) else { continue };
            let next = match &mut search.step {
                Step::Asking { supply, .. } => {
                    *supply = true;
                    Some(Stage::Pending(search))
                }
                _ => self.ask(search, now),
            };
            self.settle(booking, next, now);
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
        for booking in self.table.ids() {
            if let Some(mut stage) = self.table.take(booking) {
                stage.clock_set_back(now);
                self.table.put(booking, stage);
            }
        }
    }

    fn next_ask(&mut self) -> u64 {
        self.asks += 1;
        self.asks
    }

    fn log(&mut self, booking: BookingId, at: Timestamp, what: Decided) {
        self.effects.push_back(Effect::Log(Decision { booking, at, what }));
    }
}
