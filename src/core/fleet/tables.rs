//! All that searches read: the grid of newest fixes, the H3 cells of fixes and base locations, and, by slot, what else they
//! ask of everybody. A slot is a small number for one therapist, used again after a removal.

use arc_swap::ArcSwapOption;

use super::Therapist;
use super::chain::Full;
use super::classes::Classes;
use super::grid::Grid;
use super::hexagons::Hexagons;
use super::person::Person;
use super::pool::Pool;
use super::prefetch::prefetch;
use super::sync::{AtomicU32, Ordering};
use crate::core::ids::ProviderId;
use crate::core::matching::When;

/// Which of a therapist's positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layer {
    /// Newest fixes.
    Fix,
    /// Base locations.
    Base,
}

/// How many layers there are.
pub(super) const LAYERS: usize = 2;

impl Layer {
    /// The one that a request is answered from.
    pub(super) const fn of(when: When) -> Self {
        match when {
            When::Now => Self::Fix,
            When::At { .. } => Self::Base,
        }
    }
}

/// All of a therapist.
pub(super) type Row = ArcSwapOption<Therapist>;

/// What searches read.
#[derive(Debug)]
pub(super) struct Tables {
    /// Of newest fixes.
    fixes: Grid,
    people: Pool<Person, 512>,
    rows: Pool<Row, 512>,
    classes: Classes,
    hexagons: Hexagons,
    /// Open addressing by id: one more than a slot. An entry stays when its therapist goes: whoever the slot is then,
    /// he has another id.
    slots: Box<[AtomicU32]>,
    /// So many entries were made.
    entries: AtomicU32,
    capacity: usize,
}

impl Tables {
    /// Of these grids, for up to `capacity` therapists; what is not needed yet takes little room.
    pub(super) fn new(fixes: Grid, hexagons: Hexagons, capacity: usize) -> Self {
        // Entries of who has gone count too, so there is more room than for the capacity.
        let slots = (0..capacity * 4 / 3).map(|_| AtomicU32::new(0)).collect();
        Self {
            fixes,
            people: Pool::new(capacity),
            rows: Pool::new(capacity),
            classes: Classes::new(),
            hexagons,
            slots,
            entries: AtomicU32::new(0),
            capacity,
        }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) const fn fixes(&self) -> &Grid {
        &self.fixes
    }

    pub(super) fn person(&self, slot: u32) -> Option<&Person> {
        self.people.get(slot)
    }

    pub(super) fn row(&self, slot: u32) -> Option<&Row> {
        self.rows.get(slot)
    }

    pub(super) const fn classes(&self) -> &Classes {
        &self.classes
    }

    pub(super) const fn hexagons(&self) -> &Hexagons {
        &self.hexagons
    }

    /// Asks for what [`Self::person`] will read.
    pub(super) fn prefetch_person(&self, slot: u32) {
        if let Some(person) = self.person(slot) {
            prefetch(person);
        }
    }

    /// Asks for what [`Self::find`] reads first.
    pub(super) fn prefetch_entry(&self, provider: ProviderId) {
        prefetch(&self.slots[home(provider, self.slots.len())]);
    }

    /// The slot that [`Self::find`] looks at first, which mostly is the one.
    pub(super) fn first_guess(&self, provider: ProviderId) -> Option<u32> {
        self.slots[home(provider, self.slots.len())].load(Ordering::Relaxed).checked_sub(1)
    }

    /// The slot of a therapist. Constant time.
    pub(super) fn find(&self, provider: ProviderId) -> Option<u32> {
        let mut at = home(provider, self.slots.len());
        loop {
            let slot = self.slots[at].load(Ordering::Acquire).checked_sub(1)?;
            if self.person(slot).is_some_and(|person| person.is(provider)) {
                return Some(slot);
            }
            at = (at + 1) % self.slots.len();
        }
    }

    /// Lets [`Self::find`] find the therapist in a slot, who was not known. For the writer.
    pub(super) fn learn(&self, provider: ProviderId, slot: u32) -> Result<(), Full> {
        let entries = self.entries.load(Ordering::Relaxed);
        // Some stay empty, else a search for somebody unknown would not end.
        if entries as usize >= self.slots.len() / 8 * 7 {
            return Err(Full);
        }
        let mut at = home(provider, self.slots.len());
        loop {
            match self.slots[at].load(Ordering::Relaxed) {
                0 => break,
                // Who comes and goes mostly gets the slot that he left, and his entry is there still.
                known if known == slot + 1 => return Ok(()),
                _ => at = (at + 1) % self.slots.len(),
            }
        }
        self.entries.store(entries + 1, Ordering::Relaxed);
        self.slots[at].store(slot + 1, Ordering::Release);
        Ok(())
    }

    /// Makes room for a slot below the capacity.
    pub(super) fn ensure(&self, slot: u32) {
        self.people.ensure(slot);
        self.rows.ensure(slot);
    }
}

/// Fibonacci hashing (Knuth, TAOCP 3, 6.4) of ids that the database gives out in order: nobody chooses them. The upper
/// bits, which spread ids in a row evenly, are brought below `len` by a multiplication.
const fn home(ProviderId(id): ProviderId, len: usize) -> usize {
    let hash = id.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((hash * len as u64) >> 32) as usize
}
