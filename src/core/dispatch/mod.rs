//! The dispatch machine: bookings, candidates, answers and time in; offers, withdrawals, endings out.
//!
//! It knows no clock and does no I/O. The shell feeds [`Input`]s with [`Dispatch::handle`], performs what
//! [`Dispatch::poll_effect`] gives until it gives nothing, and calls [`Dispatch::on_deadline`] once
//! [`Dispatch::next_deadline`] has come. Same inputs, same `now`: same effects.

mod log;
mod messages;

use std::collections::VecDeque;

pub use log::{Decided, Decision, Seen};
pub use messages::{Effect, EndReason, Found, Input, Job, LiveOffer, NotPersisted, Rules, Standing};

use crate::core::time::Timestamp;

/// The machine.
#[derive(Default, Debug)]
pub struct Dispatch {
    effects: VecDeque<Effect>,
}

impl Dispatch {
    /// With no bookings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one input in. Anything is allowed at any time; what is out of date changes nothing.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        let _ = (input, now);
    }

    /// The next thing to do, in the order decided.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::on_deadline`] is next to be called; `None`: not before another input.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Does what is due at `now`. A call too early, or too often, does nothing.
    pub fn on_deadline(&mut self, now: Timestamp) {
        let _ = now;
    }

    /// Whether the indexes agree with the bookings; says what does not. For tests, and for the service's own metric.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
