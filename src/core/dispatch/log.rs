//! What was decided and why, for `explain`.

use serde::{Deserialize, Serialize};

use super::cost::{Merit, Weights};
use super::messages::{EndReason, Found, NotPersisted, Rules};
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::time::Timestamp;

/// One line of a booking's story.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Which.
    pub booking: BookingId,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: Decided,
}

/// What was decided, or learned.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Decided {
    /// The search begins, or begins again after a give-back or a restart.
    Searching {
        /// It ends here.
        deadline: Timestamp,
        /// First round.
        round: u16,
        /// For a time that was named.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        scheduled: bool,
        /// Nobody else is asked.
        chosen: Option<ProviderId>,
        /// Never asked.
        excluded: Vec<ProviderId>,
        /// What it goes by. (Logs of earlier versions do not say.)
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rules: Option<Rules>,
    },
    /// The index was asked, and answered. While a booking waits, only the answer that ends its wait.
    Asked {
        /// Round.
        round: u16,
        /// Within.
        radius_m: f64,
        /// Best first.
        found: Vec<Seen>,
    },
    /// A candidate has another booking's offer right now. Told once a search.
    Skipped {
        /// Who.
        provider: ProviderId,
        /// Whose offer it is.
        offered: BookingId,
    },
    /// A candidate's app is not connected, and the rules say to pass him over until it is. Told once a search.
    Disconnected {
        /// Who.
        provider: ProviderId,
    },
    /// A candidate could not be offered.
    NotOffered {
        /// Who.
        provider: ProviderId,
        /// Why not.
        why: NotPersisted,
    },
    /// Batched: whom the window's matching gave it.
    Matched {
        /// Bookings that were matched together.
        bookings: u32,
        /// Therapists who were free for one of them.
        therapists: u32,
        /// To be offered to him; `None`: to nobody of those.
        provider: Option<ProviderId>,
    },
    /// Offered; committed.
    Offered {
        /// To whom.
        provider: ProviderId,
        /// `booking_offers.id`
        offer: OfferId,
        /// Unless answered.
        expires_at: Timestamp,
    },
    /// He does not want it.
    Declined {
        /// Who.
        provider: ProviderId,
        /// `booking_offers.id`
        offer: OfferId,
    },
    /// He did not answer.
    Expired {
        /// Who.
        provider: ProviderId,
        /// `booking_offers.id`
        offer: OfferId,
    },
    /// Nobody is left within the widest radius: ask again soon, and when supply appears.
    Waiting,
    /// Somebody took it.
    Accepted {
        /// Who.
        provider: ProviderId,
    },
    /// He did not set out in time: to be given back.
    Overdue {
        /// Who.
        provider: ProviderId,
    },
    /// The search is given up; the booking is to be ended.
    GivenUp {
        /// Why.
        reason: EndReason,
    },
    /// It is over, by whomever, or its therapist is on the way.
    Ended,
    /// What was heard does not fit what is known: the database is asked.
    InDoubt,
}

/// A candidate, as logged.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Who.
    pub provider: ProviderId,
    /// To the booking's place.
    pub distance_m: f64,
    /// What else counts.
    #[serde(flatten)]
    pub merit: Merit,
    /// What sending him costs by the weights of then: milliseconds of travel, lower is better.
    pub cost: i64,
    /// His app had a live connection. (Logs of earlier versions do not say.)
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub connected: bool,
}

const fn yes() -> bool {
    true
}

impl Seen {
    /// A candidate, judged.
    pub fn new(found: &Found, weights: &Weights) -> Self {
        let Found { provider, distance, merit, connected } = *found;
        Self { provider, distance_m: distance.get(), merit, cost: weights.cost(&merit), connected }
    }
}
