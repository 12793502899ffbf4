//! What the index knows of one therapist besides where he is, on one cache line: what the next fix is judged by, what
//! decides most requests, and the way to all of him, which is read for those alone who are in the answer or whom the
//! line does not settle.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::chunk::{pack, place_of};
use super::sync::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use super::traits::{Traits, has_own_bit};
use super::{Therapist, Ties};
use crate::core::geo::{InnerCircle, LatLng, Meters, PublicPosition};
use crate::core::ids::{ProviderId, UserId};
use crate::core::matching::{Request, When};
use crate::core::time::Timestamp;
use crate::core::track::Mark;

/// Relaxed everywhere: the words of the grids order what readers see.
const FREE: Ordering = Ordering::Relaxed;
/// The id of who was removed.
const NOBODY: i64 = i64::MIN;

/// Of one slot. Readers read it within a search; the writer writes it within a change of every cell that he is in.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Person {
    provider: AtomicU64,
    user: AtomicU64,
    therapist: ArcSwapOption<Therapist>,
    /// As in each grid that he is in; for the writer, who puts him into another.
    traits: AtomicU64,
    /// Time of the newest fix, microseconds since 1970.
    fix_at: AtomicU64,
    /// Of the fix: the H3 cell that the public may know, and its packed centre.
    public: [AtomicU64; 2],
    /// Of the fix, in metres: an `f32`; not a number if it is not known.
    accuracy: AtomicU32,
    /// Of the circle in that cell, in decimetres: within it the next fix is surely in the same cell.
    circle: AtomicU16,
    /// One more than the kilometres that he goes for each of his services; 0 if more than traits and distance decides.
    reach: AtomicU16,
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

    /// Whether it is he, and he was not removed.
    pub(super) fn is(&self, provider: ProviderId) -> bool {
        self.provider() == provider && provider.0 != NOBODY
    }

    /// Whether there is anybody.
    pub(super) fn is_somebody(&self) -> bool {
        self.therapist.load().is_some()
    }

    pub(super) const fn therapist(&self) -> &ArcSwapOption<Therapist> {
        &self.therapist
    }

    /// The time of the fix that such a request is answered from; `None` if it is answered from the base location.
    pub(super) fn fix_for(&self, when: When) -> Option<Timestamp> {
        if when == When::Now { Some(self.fix_at()) } else { None }
    }

    /// Where the public may know him to be, if he has a fix.
    pub(super) fn fix_public(&self) -> Option<PublicPosition> {
        let [cell, centre] = &self.public;
        Some(PublicPosition { cell: cell.load(FREE), centre: place_of(centre.load(FREE))? })
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
        self.reach().is_some_and(|km| Meters::from_km(f64::from(km)) >= distance)
            && self.user.load(FREE).cast_signed() != request.customer.0
            && !request.exclude.contains(&self.provider())
            && request.only.is_none_or(|only| only == self.provider())
    }

    // ---- for the writer

    pub(super) fn traits(&self) -> Traits {
        Traits::from_bits(self.traits.load(FREE))
    }

    /// The newest fix; it was at `place`.
    pub(super) fn mark(&self, place: LatLng) -> Mark {
        let accuracy = f32::from_bits(self.accuracy.load(FREE));
        Mark { at: self.fix_at(), place, accuracy_m: Some(accuracy).filter(|metres| !metres.is_nan()) }
    }

    pub(super) fn fix_at(&self) -> Timestamp {
        Timestamp::from_micros(self.fix_at.load(FREE).cast_signed())
    }

    /// Whether a fix at this place is surely in the cell that the last was in, if there was one.
    pub(super) fn stays_in_cell(&self, place: LatLng) -> bool {
        let circle = |centre| InnerCircle::new(centre, self.circle.load(FREE));
        place_of(self.public[1].load(FREE)).is_some_and(|centre| circle(centre).holds(place))
    }

    pub(super) fn set_fix(&self, mark: &Mark) {
        self.fix_at.store(mark.at.micros().cast_unsigned(), FREE);
        self.accuracy.store(mark.accuracy_m.unwrap_or(f32::NAN).to_bits(), FREE);
    }

    pub(super) fn set_fix_public(&self, public: PublicPosition, circle: InnerCircle) {
        let [cell, centre] = &self.public;
        cell.store(public.cell, FREE);
        centre.store(pack(public.centre), FREE);
        self.circle.store(circle.radius_dm(), FREE);
    }

    pub(super) fn set_therapist(&self, therapist: Arc<Therapist>) {
        let UserId(user) = therapist.user;
        self.provider.store(therapist.provider.0.cast_unsigned(), FREE);
        self.user.store(user.cast_unsigned(), FREE);
        self.reach.store(reach_and_one(&therapist), FREE);
        self.traits.store(Traits::of(&therapist).bits(), FREE);
        self.therapist.store(Some(therapist));
    }

    /// He was removed.
    pub(super) fn forget(&self) {
        self.provider.store(NOBODY.cast_unsigned(), FREE);
        self.therapist.store(None);
    }

    /// Becomes equal to another.
    pub(super) fn take_over(&self, other: &Self) {
        let copy = |to: &AtomicU64, from: &AtomicU64| to.store(from.load(FREE), FREE);
        copy(&self.provider, &other.provider);
        copy(&self.user, &other.user);
        copy(&self.traits, &other.traits);
        copy(&self.fix_at, &other.fix_at);
        copy(&self.public[0], &other.public[0]);
        copy(&self.public[1], &other.public[1]);
        self.accuracy.store(other.accuracy.load(FREE), FREE);
        self.circle.store(other.circle.load(FREE), FREE);
        self.reach.store(other.reach.load(FREE), FREE);
        self.therapist.store(other.therapist.load_full());
    }
}

fn reach_and_one(t: &Therapist) -> u16 {
    let settled = t.ties == Ties::NONE && t.services.iter().all(|offering| has_own_bit(offering.service));
    let farthest = t.services.iter().filter(|o| o.home).map(|o| o.max_travel_km).min().unwrap_or(0);
    // Farther than around the Earth is all the same.
    let reach =
        u16::try_from(farthest.min(t.profile.service_radius_km.into())).unwrap_or(u16::MAX - 1).min(u16::MAX - 1);
    if settled { reach + 1 } else { 0 }
}
