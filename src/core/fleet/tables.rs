//! All that searches read: four grids (newest fixes and base locations, exact and public) and, by slot, what else they
//! ask of everybody. A slot is a small number for one therapist, used again after a removal.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Therapist;
use super::card::Card;
use super::grid::{Grid, pack, place_of};
use super::pool::Pool;
use super::sync::{AtomicU64, Ordering};
use super::traits::Traits;
use crate::core::geo::PublicPosition;
use crate::core::matching::{Precision, When};
use crate::core::time::Timestamp;

/// Which grid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layer {
    /// Newest fixes.
    Fix,
    /// The centres of their H3 cells.
    FixPublic,
    /// Base locations.
    Base,
    /// The centres of their H3 cells.
    BasePublic,
}

/// How many layers there are.
pub(super) const LAYERS: usize = 4;

impl Layer {
    /// The one that a request is answered from.
    pub(super) const fn of(when: When, precision: Precision) -> Self {
        match (when, precision) {
            (When::Now, Precision::Exact) => Self::Fix,
            (When::Now, Precision::Public { .. }) => Self::FixPublic,
            (When::At { .. }, Precision::Exact) => Self::Base,
            (When::At { .. }, Precision::Public { .. }) => Self::BasePublic,
        }
    }
}

/// What searches read.
#[derive(Debug)]
pub(super) struct Tables {
    grids: [Grid; LAYERS],
    people: Pool<Person>,
    capacity: usize,
}

/// What is known of a slot, besides places.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Person {
    /// Time of the newest fix, microseconds since 1970.
    fix_at: AtomicU64,
    card: Card,
    /// As in each grid that he is in; for the writer, who puts him into another.
    traits: AtomicU64,
    /// Of the fix: the H3 cell that the public may know, and its packed centre.
    public: [AtomicU64; 2],
    therapist: ArcSwapOption<Therapist>,
}

impl Person {
    pub(super) fn fix_at(&self) -> Timestamp {
        Timestamp::from_micros(self.fix_at.load(Ordering::Relaxed).cast_signed())
    }

    /// Where the public may know him to be, if he has a fix.
    pub(super) fn fix_public(&self) -> Option<PublicPosition> {
        let [cell, centre] = &self.public;
        Some(PublicPosition { cell: cell.load(Ordering::Relaxed), centre: place_of(centre.load(Ordering::Relaxed))? })
    }

    pub(super) const fn card(&self) -> &Card {
        &self.card
    }

    pub(super) const fn therapist(&self) -> &ArcSwapOption<Therapist> {
        &self.therapist
    }

    // ---- for the writer, within a change of every cell that he is in

    pub(super) fn set_fix_at(&self, at: Timestamp) {
        self.fix_at.store(at.micros().cast_unsigned(), Ordering::Relaxed);
    }

    pub(super) fn set_fix_public(&self, public: PublicPosition) {
        let [cell, centre] = &self.public;
        cell.store(public.cell, Ordering::Relaxed);
        centre.store(pack(public.centre), Ordering::Relaxed);
    }

    pub(super) fn traits(&self) -> Traits {
        Traits::from_bits(self.traits.load(Ordering::Relaxed))
    }

    pub(super) fn set_therapist(&self, therapist: Option<Arc<Therapist>>) {
        if let Some(therapist) = &therapist {
            self.card.write(therapist);
            self.traits.store(Traits::of(therapist).bits(), Ordering::Relaxed);
        }
        self.therapist.store(therapist);
    }

    pub(super) fn take_over(&self, other: &Self) {
        self.set_fix_at(other.fix_at());
        for (to, from) in self.public.iter().zip(&other.public) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.set_therapist(other.therapist.load_full());
    }
}

impl Tables {
    /// Of these grids, for up to `capacity` therapists; what is not needed yet takes little room.
    pub(super) fn new(grids: [Grid; LAYERS], capacity: usize) -> Self {
        Self { grids, people: Pool::new(capacity, 9), capacity }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) const fn grid(&self, layer: Layer) -> &Grid {
        &self.grids[layer as usize]
    }

    pub(super) fn person(&self, slot: u32) -> Option<&Person> {
        self.people.get(slot)
    }

    /// Makes room for a slot below the capacity.
    pub(super) fn ensure(&self, slot: u32) {
        self.people.ensure(slot);
    }
}
