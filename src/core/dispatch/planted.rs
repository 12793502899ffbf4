//! Defects that tests plant, to show that the simulation finds them. Without the feature `planted` none can be.

// Without the feature nobody can name them.
#![cfg_attr(not(feature = "planted"), allow(unreachable_pub))]

use super::Dispatch;

/// One mistake that a machine like this can make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "planted"), expect(dead_code))]
pub enum Defect {
    /// Believes any accept, also one older than a give-back.
    OldAcceptBelieved,
    /// A search that is past its deadline goes on.
    MissingDeadline,
    /// An offer that is to be closed, and whose closing has no answer, is not closed again.
    LostWithdraw,
    /// One therapist more is asked at a time than the policy says, and the store is told so.
    OneTooMany,
    /// A second try of a write has a new rank, so that the store takes it for another offer.
    DoubleEffect,
    /// An answer to an older question starts the search over, whatever it does by now.
    StaleCandidates,
    /// Who said no is asked again.
    NoForgotten,
    /// Waiting bookings do not hear of new supply.
    DeafToSupply,
    /// A write without an answer is not tried again.
    NoSecondTry,
    /// An index keeps what is gone.
    StaleIndex,
    /// Pauses counted from a clock that was set back are kept.
    ClockTrusted,
    /// A search ends when nobody is left, not at its deadline.
    EndedEarly,
    /// Who goes without in a matching is not looked at again.
    LoserForgotten,
    /// What does not fit is believed instead of read anew.
    NeverInDoubt,
}

impl Dispatch {
    /// A machine with a defect.
    #[cfg(feature = "planted")]
    pub fn with_defect(defect: Defect) -> Self {
        let mut machine = Self { defect: Some(defect), ..Self::default() };
        machine.table.keeps_stale = defect == Defect::StaleIndex;
        machine
    }

    #[cfg(feature = "planted")]
    pub(super) fn planted(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) const fn planted(&self, _defect: Defect) -> bool {
        false
    }
}
