//! What ties a therapist: what he does now, the time that is taken, and customers he is not to meet. Most have nothing of
//! it most of the time, and then it takes no more than the eight bytes that say so.

use uuid::Uuid;

use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, UserId};
use crate::core::time::Timestamp;

/// What a therapist does now. One of these, so nobody is both idle and on a booking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// Nothing.
    Idle,
    /// Is asked to take a booking.
    Offered {
        /// The offer is live before this; from then on he counts as idle.
        until: Timestamp,
    },
    /// Is on a booking.
    Booked {
        /// Which.
        booking: BookingId,
        /// Its public id.
        booking_uuid: Uuid,
        /// Whose.
        customer: UserId,
        /// Where to, while on the way: then the customer is told each new position.
        en_route_to: Option<LatLng>,
    },
}

impl Duty {
    /// Whether he does nothing by now: an offer that is over is no offer, whoever has noticed.
    pub fn is_idle(self, now: Timestamp) -> bool {
        match self {
            Self::Idle => true,
            Self::Offered { until } => until <= now,
            Self::Booked { .. } => false,
        }
    }
}

/// From, to (not included).
pub type Span = (Timestamp, Timestamp);

/// All that ties one therapist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ties(
    /// Never a box of nothing: who is tied by nothing is equal to whoever else is.
    Option<Box<Tied>>,
);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Tied {
    duty: Duty,
    busy: Box<[Span]>,
    blocked: Box<[UserId]>,
}

impl Ties {
    /// Idle, all time free, nobody blocked.
    pub const NONE: Self = Self(None);

    /// `busy`: `busy_during` of accepted bookings. `blocked`: customers that he blocked or who blocked him.
    pub fn new(duty: Duty, busy: impl Into<Box<[Span]>>, blocked: impl Into<Box<[UserId]>>) -> Self {
        let (busy, blocked) = (busy.into(), blocked.into());
        if duty == Duty::Idle && busy.is_empty() && blocked.is_empty() {
            return Self::NONE;
        }
        Self(Some(Box::new(Tied { duty, busy, blocked })))
    }

    /// What he does now.
    pub fn duty(&self) -> Duty {
        self.0.as_ref().map_or(Duty::Idle, |tied| tied.duty)
    }

    /// The time that accepted bookings take.
    pub fn busy(&self) -> &[Span] {
        self.0.as_ref().map_or(&[], |tied| &tied.busy)
    }

    /// Customers that he blocked or who blocked him.
    pub fn blocked(&self) -> &[UserId] {
        self.0.as_ref().map_or(&[], |tied| &tied.blocked)
    }

    /// Says what he does now; the rest stays.
    pub fn set_duty(&mut self, duty: Duty) {
        *self = match self.0.take() {
            Some(tied) => Self::new(duty, tied.busy, tied.blocked),
            None => Self::new(duty, [], []),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKED: Duty =
        Duty::Booked { booking: BookingId(1), booking_uuid: Uuid::nil(), customer: UserId(2), en_route_to: None };

    #[test]
    fn nothing_is_the_same_however_it_came_about() {
        assert_eq!(size_of::<Ties>(), 8);
        let mut ties = Ties::default();
        assert_eq!((ties.duty(), ties.busy(), ties.blocked()), (Duty::Idle, &[][..], &[][..]));
        for duty in [BOOKED, Duty::Offered { until: Timestamp::from_secs(1) }] {
            ties.set_duty(duty);
            assert_eq!(ties, Ties::new(duty, [], []));
            assert_eq!(ties.duty(), duty);
            ties.set_duty(Duty::Idle);
            assert_eq!(ties, Ties::NONE);
        }
        assert_eq!(Ties::new(Duty::Idle, [], []), Ties::NONE);
    }

    #[test]
    fn a_change_of_duty_leaves_bookings_and_blocks() {
        let (from, to) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
        let mut ties = Ties::new(Duty::Idle, [(from, to)], [UserId(7)]);
        for duty in [BOOKED, Duty::Idle] {
            ties.set_duty(duty);
            assert_eq!((ties.duty(), ties.busy(), ties.blocked()), (duty, &[(from, to)][..], &[UserId(7)][..]));
        }
        assert_ne!(Ties::new(Duty::Idle, [(from, to)], []), Ties::NONE);
        assert_ne!(Ties::new(Duty::Idle, [], [UserId(7)]), Ties::NONE);
    }
}
