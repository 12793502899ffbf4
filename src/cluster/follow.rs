//! Who follows which booking.

use std::collections::HashMap;

use tokio::sync::broadcast;

use super::BookingHint;
use crate::core::ids::BookingId;

/// Hints that wait for one follower before the oldest is lost to it.
const BACKLOG: usize = 16;

/// Below this many bookings nothing is swept.
const SWEEP_FLOOR: usize = 64;

/// Channels of followed bookings. One whose followers are all gone goes at the next hint, or at the next sweep:
/// memory is bounded by twice the bookings that are followed, plus [`SWEEP_FLOOR`].
pub(super) struct Followers {
    channels: HashMap<BookingId, broadcast::Sender<BookingHint>>,
    sweep_at: usize,
}

impl Default for Followers {
    fn default() -> Self {
        Self { channels: HashMap::new(), sweep_at: SWEEP_FLOOR }
    }
}

impl Followers {
    pub(super) fn add(&mut self, booking: BookingId) -> broadcast::Receiver<BookingHint> {
        if self.channels.len() >= self.sweep_at {
            self.channels.retain(|_, channel| channel.receiver_count() > 0);
            self.sweep_at = (self.channels.len() * 2).max(SWEEP_FLOOR);
        }
        self.channels.entry(booking).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    pub(super) fn tell(&mut self, booking: BookingId, hint: BookingHint) {
        if let Some(channel) = self.channels.get(&booking)
            && channel.send(hint).is_err()
        {
            self.channels.remove(&booking);
        }
    }

    pub(super) fn any(&self, booking: BookingId) -> bool {
        self.channels.get(&booking).is_some_and(|channel| channel.receiver_count() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_hear_their_booking_and_leave_nothing_behind() {
        let mut followers = Followers::default();
        let mut one = followers.add(BookingId(1));
        let mut two = followers.add(BookingId(1));
        let mut other = followers.add(BookingId(2));
        followers.tell(BookingId(1), BookingHint::Changed);
        assert!(matches!(one.try_recv(), Ok(BookingHint::Changed)));
        assert!(matches!(two.try_recv(), Ok(BookingHint::Changed)));
        assert!(other.try_recv().is_err());
        drop((one, two));
        assert!(!followers.any(BookingId(1)));
        followers.tell(BookingId(1), BookingHint::Changed);
        assert_eq!(followers.channels.len(), 1);
    }

    #[test]
    fn bookings_that_nobody_follows_any_more_are_swept() {
        let mut followers = Followers::default();
        for booking in 0..10_000 {
            drop(followers.add(BookingId(booking)));
        }
        assert!(followers.channels.len() <= SWEEP_FLOOR);
    }
}
