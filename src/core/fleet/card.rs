//! What of a therapist decides most requests, on one cache line beside his position: the rest of him is read for those
//! alone who are in the answer, or whom the card does not settle.

use super::sync::{AtomicU64, Ordering};
use super::{Duty, Therapist};
use crate::core::geo::Meters;
use crate::core::ids::{ProviderId, UserId};
use crate::core::matching::{Request, When};

/// Services with ids below this have a bit of their own among the traits.
const OWN_BIT: std::ops::Range<i64> = 0..32;

/// Of one therapist.
#[derive(Debug, Default)]
pub(super) struct Card {
    provider: AtomicU64,
    user: AtomicU64,
    /// One more than the metres that he goes for each of his services; 0 if more than traits and distance decides.
    reach: AtomicU64,
}

/// Whether a request asks nothing but what traits and cards tell exactly.
pub(super) fn is_quick(request: &Request) -> bool {
    let filters = &request.filters;
    let inexact = filters.language.is_some() || filters.specialization.is_some() || filters.min_rating.is_some();
    request.when == When::Now && OWN_BIT.contains(&request.service.0) && !inexact && filters.max_price.is_none()
}

impl Card {
    /// Of whom.
    pub(super) fn provider(&self) -> ProviderId {
        ProviderId(self.provider.load(Ordering::Relaxed).cast_signed())
    }

    /// Whether he surely has neither booking nor offer.
    pub(super) fn is_idle(&self) -> bool {
        self.reach().is_some()
    }

    /// Metres that he surely goes, if traits and distance are all that decides.
    pub(super) fn reach(&self) -> Option<u64> {
        self.reach.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether he surely may take a quick request whose needed traits he has, if his fix is young enough. If not, all of
    /// him must be judged.
    pub(super) fn surely_may_take(&self, request: &Request, distance: Meters) -> bool {
        self.reach().is_some_and(|reach| reach as f64 >= distance.get())
            && self.user.load(Ordering::Relaxed).cast_signed() != request.customer.0
            && !request.exclude.contains(&self.provider())
            && request.only.is_none_or(|only| only == self.provider())
    }

    /// Writes it.
    pub(super) fn write(&self, therapist: &Therapist) {
        let UserId(user) = therapist.user;
        self.provider.store(therapist.provider.0.cast_unsigned(), Ordering::Relaxed);
        self.user.store(user.cast_unsigned(), Ordering::Relaxed);
        self.reach.store(reach_and_one(therapist), Ordering::Relaxed);
    }
}

fn reach_and_one(t: &Therapist) -> u64 {
    let settled = t.blocked.is_empty()
        && t.busy.is_empty()
        && t.duty == Duty::Idle
        && t.services.iter().all(|offering| OWN_BIT.contains(&offering.service.0));
    let farthest = t.services.iter().filter(|o| o.home).map(|o| o.max_travel_km).min().unwrap_or(0);
    if settled { u64::from(farthest.min(t.service_radius_km)) * 1_000 + 1 } else { 0 }
}
