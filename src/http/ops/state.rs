//! What ops see a therapist do.

use serde::Serialize;
use std::time::Duration;
use uuid::Uuid;

use crate::core::fleet::{Duty, Therapist};
use crate::core::time::Timestamp;

/// One of these; what ties him comes before what keeps him from being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Can be asked.
    Idle,
    /// Is asked.
    Offered,
    /// On his way to a customer.
    EnRoute,
    /// On a booking otherwise: accepted, at the door, at work.
    Booked,
    /// Not available.
    OffDuty,
    /// Not verified, or not active.
    Barred,
}

impl State {
    /// Of a therapist, and the booking that he is on.
    pub(super) fn of(therapist: &Therapist, now: Timestamp) -> (Self, Option<Uuid>) {
        match therapist.ties.duty() {
            Duty::Booked { booking_uuid, en_route_to: Some(_), .. } => (Self::EnRoute, Some(booking_uuid)),
            Duty::Booked { booking_uuid, .. } => (Self::Booked, Some(booking_uuid)),
            Duty::Offered { until } if until > now => (Self::Offered, None),
            Duty::Idle | Duty::Offered { .. } => {
                let may_work = therapist.profile.verified && therapist.profile.active;
                let state = match (may_work, therapist.available) {
                    (false, _) => Self::Barred,
                    (true, false) => Self::OffDuty,
                    (true, true) => Self::Idle,
                };
                (state, None)
            }
        }
    }
}

/// Whether a fix of then is too old for matching.
pub(super) fn is_stale(seen: Timestamp, now: Timestamp, stale_after: Duration) -> bool {
    now.since(seen) > stale_after
}
