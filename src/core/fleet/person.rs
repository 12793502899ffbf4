//! What the index knows of one therapist besides where he is, on half a cache line: what the next fix is judged by, and
//! what decides most requests. All of him is read for those alone who are in the answer or whom this does not settle.

use super::classes::ANY;
use super::sync::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use super::traits::has_own_bit;
use super::{Therapist, Ties};
use crate::core::geo::{LatLng, Meters};
use crate::core::ids::{ProviderId, UserId};
use crate::core::matching::{Request, When};
use crate::core::time::Timestamp;
use crate::core::track::Mark;

/// Relaxed everywhere: the words of the grids order what readers see.
const FREE: Ordering = Ordering::Relaxed;
/// The id of who was removed.
const NOBODY: i64 = i64::MIN;

/// Of one slot. Readers read it within a search; the writer writes it within a change of every cell that he is in. (Of
/// the H3 cell only if more than time and accuracy of the fix change.)
#[derive(Debug, Default)]
#[repr(align(32))]
pub(super) struct Person {
    provider: AtomicU64,
    /// Time of the newest fix, microseconds since 1970.
    fix_at: AtomicU64,
    /// Of the fix: the number of the H3 cell that the public may know.
    hexagon: AtomicU32,
    /// [`short`] of the person's id.
    user: AtomicU32,
    /// Of the fix, in metres: an `f32`; not a number if it is not known.
    accuracy: AtomicU32,
    /// One more than the kilometres that he goes for each of his services; 0 if more than traits and distance decides.
    reach: AtomicU16,
    /// As wherever he is met.
    class: AtomicU16,
}

/// Whether a request asks nothing but what traits and this line tell exactly.
pub(super) fn is_quick(request: &Request) -> bool {
    let filters = &request.filters;
    let inexact = filters.language.is_some() || filters.specialization.is_some() || filters.min_rating.is_some();
    request.when == When::Now && has_own_bit(request.service) && !inexact && filters.max_price.is_none()
}

impl Person {
    /// Who it is.
    pub(super) fn provider(&self) -> ProviderId {
        ProviderId(self.provider.load(FREE).cast_signed())
    }

    /// The same, if he was not removed.
    pub(super) fn known(&self) -> Option<ProviderId> {
        Some(self.provider()).filter(|provider| provider.0 != NOBODY)
    }

    /// Whether it is he, and he was not removed.
    pub(super) fn is(&self, provider: ProviderId) -> bool {
        self.known() == Some(provider)
    }

    /// The time of the fix that such a request is answered from; `None` if it is answered from the base location.
    pub(super) fn fix_for(&self, when: When) -> Option<Timestamp> {
        if when == When::Now { Some(self.fix_at()) } else { None }
    }

    /// Whether he surely has neither booking nor offer.
    pub(super) fn is_idle(&self) -> bool {
        self.reach().is_some()
    }

    /// How far he surely goes, km, if traits and distance are all that decides.
    fn reach(&self) -> Option<u16> {
        self.reach.load(FREE).checked_sub(1)
    }

    /// Whether he surely may take a quick request whose needed traits he has, if his fix is young enough. If not, all of
    /// him must be judged.
    pub(super) fn surely_may_take(&self, request: &Request, distance: Meters) -> bool {
        // Whoever is of no class of his own has passed the sieve without being asked.
        self.class() != ANY
            && self.reach().is_some_and(|km| Meters::from_km(f64::from(km)) >= distance)
            && self.user.load(FREE) != short(request.customer)
            && !request.exclude.contains(&self.provider())
            && request.only.is_none_or(|only| only == self.provider())
    }

    // ---- for the writer

    /// The number of the H3 cell that his fix is in.
    pub(super) fn hexagon(&self) -> u32 {
        self.hexagon.load(FREE)
    }

    pub(super) fn set_hexagon(&self, number: u32) {
        self.hexagon.store(number, FREE);
    }

    pub(super) fn class(&self) -> u16 {
        self.class.load(FREE)
    }

    pub(super) fn set_class(&self, class: u16) {
        self.class.store(class, FREE);
    }

    /// The newest fix; it was at `place`.
    pub(super) fn mark(&self, place: LatLng) -> Mark {
        let accuracy = f32::from_bits(self.accuracy.load(FREE));
        Mark { at: self.fix_at(), place, accuracy_m: Some(accuracy).filter(|metres| !metres.is_nan()) }
    }

    pub(super) fn fix_at(&self) -> Timestamp {
        Timestamp::from_micros(self.fix_at.load(FREE).cast_signed())
    }

    pub(super) fn set_fix(&self, mark: &Mark) {
        self.fix_at.store(mark.at.micros().cast_unsigned(), FREE);
        self.accuracy.store(mark.accuracy_m.unwrap_or(f32::NAN).to_bits(), FREE);
    }

    pub(super) fn set_therapist(&self, therapist: &Therapist) {
        self.provider.store(therapist.provider.0.cast_unsigned(), FREE);
        self.user.store(short(therapist.user), FREE);
        self.reach.store(reach_and_one(therapist), FREE);
    }

    /// He was removed.
    pub(super) fn forget(&self) {
        self.provider.store(NOBODY.cast_unsigned(), FREE);
    }

    /// Becomes equal to another, apart from the numbers of class and H3 cell.
    pub(super) fn take_over(&self, other: &Self) {
        let copy = |to: &AtomicU64, from: &AtomicU64| to.store(from.load(FREE), FREE);
        copy(&self.provider, &other.provider);
        copy(&self.fix_at, &other.fix_at);
        self.user.store(other.user.load(FREE), FREE);
        self.accuracy.store(other.accuracy.load(FREE), FREE);
        self.reach.store(other.reach.load(FREE), FREE);
    }
}

/// Half of what there is: who has another is another, who has the same must be looked at.
const fn short(UserId(id): UserId) -> u32 {
    (id ^ id >> 32) as u32
}

fn reach_and_one(t: &Therapist) -> u16 {
    let settled = t.ties == Ties::NONE && t.services.iter().all(|offering| has_own_bit(offering.service));
    let farthest = t.services.iter().filter(|o| o.home).map(|o| o.max_travel_km).min().unwrap_or(0);
    // Farther than around the Earth is all the same.
    let reach =
        u16::try_from(farthest.min(t.profile.service_radius_km.into())).unwrap_or(u16::MAX - 1).min(u16::MAX - 1);
    if settled { reach + 1 } else { 0 }
}
