//! Bookings that ended a moment ago: what is still told of them is older than their end.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::core::ids::BookingId;
use crate::core::time::Timestamp;

/// Far longer than news is on its way.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Holds what ended within [`REMEMBERED`].
#[derive(Default, Debug)]
pub(super) struct Over {
    bookings: BTreeSet<BookingId>,
    /// In the order of their ends.
    since: VecDeque<(Timestamp, BookingId)>,
}

impl Over {
    pub(super) fn note(&mut self, booking: BookingId, now: Timestamp) {
        if self.bookings.insert(booking) {
            self.since.push_back((now, booking));
        }
    }

    pub(super) fn contains(&self, booking: BookingId) -> bool {
        self.bookings.contains(&booking)
    }

    /// Amortized O(log n).
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        while let Some(&(_, booking)) = self.since.front().filter(|(at, _)| at.plus(REMEMBERED) < now) {
            self.since.pop_front();
            self.bookings.remove(&booking);
        }
    }
}
