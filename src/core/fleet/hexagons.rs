//! The H3 cells in which somebody stands, and who: what public answers are made of, and of nothing else.
//!
//! Their middles are points of a [`Grid`] of their own, in which each has its *number*. On each hangs a [list](super::chain)
//! of those who stand there for each layer: newest fixes and base locations.

use std::collections::HashMap;

use super::chain::{Chains, Chunk, Full, Head, Link, Stock};
use super::chunk::{FREE, pack, place_of};
use super::classes::ANY;
use super::grid::{Grid, Spot};
use super::pool::Pool;
use super::prefetch::prefetch;
use super::sync::{AtomicU16, AtomicU32, AtomicU64};
use super::tables::{LAYERS, Layer};
use super::tiling::Tiling;
use super::word::{Change, Overlap, Witness, Word};
use crate::core::geo::{LatLng, Outline, PublicPosition, SIDES, public_position};

/// People to a chunk.
const ROOM: usize = 9;

/// Up to [`ROOM`] people of one list, on a cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct People {
    link: Link,
    slots: [AtomicU32; ROOM],
    /// See [`Classes`](super::classes::Classes).
    classes: [AtomicU16; ROOM],
}

impl Chunk for People {
    const ROOM: usize = ROOM;

    fn link(&self) -> &Link {
        &self.link
    }

    fn copy(&self, at: usize, from: &Self, last: usize) -> u32 {
        let slot = from.slots[last].load(FREE);
        self.slots[at].store(slot, FREE);
        self.classes[at].store(from.classes[last].load(FREE), FREE);
        slot
    }
}

/// One cell.
#[derive(Debug, Default)]
struct Hexagon {
    cell: AtomicU64,
    /// [`pack`]ed.
    centre: AtomicU64,
    /// By layer: who stands there.
    people: [Word; LAYERS],
}

/// All of them.
#[derive(Debug)]
pub(super) struct Hexagons {
    middles: Grid,
    cells: Pool<Hexagon, 64>,
    people: [Chains<People>; LAYERS],
}

/// What the writer knows of one: in which cell the next fix of somebody there is.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Surroundings {
    /// `None`: H3 has to be asked, or it was forgotten.
    outline: Option<Outline>,
    /// By side: one more than the number of the cell that was found there last, 0 if none was. It may have become
    /// another's: its outline tells.
    beyond: [u32; SIDES],
}

/// Which cell somebody goes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    /// One that is there, by number.
    Number(u32),
    /// This one, known or not.
    Cell(PublicPosition),
}

/// The writer's book of them.
#[derive(Debug, Default)]
pub(super) struct HexagonBook {
    /// By number.
    cells: Vec<Surroundings>,
    known: HashMap<u64, u32>,
    free: Vec<u32>,
    middles: Stock,
    people: [Stock; LAYERS],
}

impl HexagonBook {
    /// Asks for what [`Self::holds`] reads.
    pub(super) fn prefetch(&self, number: u32) {
        self.cells.get(number as usize).into_iter().for_each(prefetch);
    }

    /// Whether a place is surely in this cell.
    pub(super) fn holds(&self, number: u32, place: LatLng) -> bool {
        let known = self.cells.get(number as usize).and_then(|known| known.outline.as_ref());
        known.is_some_and(|outline| outline.holds(place))
    }

    /// The cell that a place is in. H3 is asked if it is not surely `from` or the one beside it on that side.
    pub(super) fn find(&self, from: Option<u32>, place: LatLng) -> To {
        from.and_then(|from| self.beside(from, place)).map_or_else(|| To::Cell(public_position(place)), To::Number)
    }

    fn beside(&self, from: u32, place: LatLng) -> Option<u32> {
        let here = self.cells.get(from as usize)?;
        let Some(side) = here.outline.as_ref()?.side_towards(place) else { return Some(from) };
        here.beyond[side].checked_sub(1).filter(|beside| self.holds(*beside, place))
    }

    /// Remembers which cell lies there beside another, unless that is farther than beside it.
    pub(super) fn note_way(&mut self, from: u32, to: u32, place: LatLng) {
        let outline = |number: u32| self.cells.get(number as usize)?.outline;
        let Some((left, entered)) = outline(from).zip(outline(to)) else { return };
        let Some(side) = left.side_towards(place) else { return };
        let known = &mut self.cells[from as usize].beyond[side];
        if *known != to + 1 && left.is_beside(&entered) {
            *known = to + 1;
        }
    }
}

impl Hexagons {
    /// For so many therapists; their middles in up to `blocks` blocks of this tiling.
    pub(super) fn new(tiling: Tiling, capacity: usize, blocks: usize) -> Self {
        // Nobody stands in more than one for each layer, and one may be on his way to another.
        let most = LAYERS * capacity + 1;
        let people = std::array::from_fn(|_| Chains::new(capacity));
        Self { middles: Grid::new(tiling, most, blocks), cells: Pool::new(most), people }
    }

    /// Their middles by number.
    pub(super) const fn middles(&self) -> &Grid {
        &self.middles
    }

    /// How many stand in the average one.
    pub(super) fn crowd(&self, layer: Layer) -> f64 {
        self.people[layer as usize].len() as f64 / self.middles.len().max(1) as f64
    }

    /// Visits the slots and classes of those who stand in one.
    pub(super) fn visit<'t>(
        &'t self,
        number: u32,
        layer: Layer,
        witness: &mut Witness<'t>,
        mut visit: impl FnMut(u32, u16),
    ) -> Result<(), Overlap> {
        let Some(word) = self.word(number, layer) else { return Ok(()) };
        let head = Head(witness.note(word)?);
        let (note, people) = (witness.last(), &self.people[layer as usize]);
        let mut next = head.chunk();
        let mut len = head.len() as usize;
        while let Some(chunk) = next.and_then(|index| people.chunk(index)) {
            next = chunk.link().next();
            if let Some(next) = next.and_then(|index| people.chunk(index)) {
                // In a chunk that went elsewhere meanwhile this could lead round in a circle.
                witness.still_stands(note)?;
                prefetch(next);
            }
            for at in 0..len.min(ROOM) {
                visit(chunk.slots[at].load(FREE), chunk.classes[at].load(FREE));
            }
            len = ROOM;
        }
        Ok(())
    }

    /// Asks for what [`Self::visit`] reads next: the first of those who stand there.
    pub(super) fn prefetch_people(&self, number: u32, layer: Layer) {
        self.word(number, layer).into_iter().for_each(|word| self.people[layer as usize].prefetch_first(word));
    }

    /// Asks for what [`Self::visit`] reads first.
    pub(super) fn prefetch(&self, number: u32) {
        if let Some(hexagon) = self.cells.get(number) {
            prefetch(hexagon);
        }
    }

    /// The word on which those in a cell hang.
    pub(super) fn word(&self, number: u32, layer: Layer) -> Option<&Word> {
        Some(&self.cells.get(number)?.people[layer as usize])
    }

    /// A cell by its number. Within a search that has met somebody in it.
    pub(super) fn position(&self, number: u32) -> Option<PublicPosition> {
        let hexagon = self.cells.get(number)?;
        Some(PublicPosition { cell: hexagon.cell.load(FREE), centre: place_of(hexagon.centre.load(FREE))? })
    }

    // ---- for the writer

    /// Asks for where somebody is noted to stand.
    pub(super) fn prefetch_note(&self, slot: u32, layer: Layer) {
        self.people[layer as usize].prefetch_note(slot);
    }

    /// The number of the cell that somebody stands in.
    pub(super) fn number_of(&self, slot: u32, layer: Layer) -> Option<u32> {
        self.people[layer as usize].owner_of(slot)
    }

    /// The number of a cell, and room for one more in it. It is there, though nobody stands in it yet.
    pub(super) fn prepare(&self, slot: u32, layer: Layer, to: To, book: &mut HexagonBook) -> Result<u32, Full> {
        self.people[layer as usize].prepare(slot, &mut book.people[layer as usize])?;
        let public = match to {
            To::Number(number) => return Ok(number),
            To::Cell(public) => public,
        };
        if let Some(number) = book.known.get(&public.cell) {
            return Ok(*number);
        }
        let number = book.free.last().copied().unwrap_or(book.cells.len() as u32);
        if number as usize >= self.cells.capacity() {
            return Err(Full);
        }
        let middle = self.middles.prepare(number, public.centre, &mut book.middles)?;
        self.cells.ensure(number);
        if book.free.pop().is_none() {
            book.cells.push(Surroundings::default());
        }
        book.cells[number as usize] = Surroundings { outline: Outline::of(&public), beyond: [0; SIDES] };
        book.known.insert(public.cell, number);
        if let Some(hexagon) = self.cells.get(number) {
            hexagon.cell.store(public.cell, FREE);
            hexagon.centre.store(pack(public.centre), FREE);
        }
        let _change = Change::of([[self.middles.word(middle)]]);
        self.middles.relocate(number, &Spot { place: public.centre, class: ANY }, middle, &mut book.middles, || ());
        Ok(number)
    }

    /// Puts somebody into a cell that was prepared for him, out of the one that he is in, if any. Within the change of both.
    pub(super) fn relocate(&self, slot: u32, layer: Layer, to: Option<u32>, class: u16, book: &mut HexagonBook) {
        let (people, stock) = (&self.people[layer as usize], &mut book.people[layer as usize]);
        if let Some(word) = self.number_of(slot, layer).and_then(|from| self.word(from, layer)) {
            people.remove(slot, word, stock);
        }
        if let Some(to) = to
            && let Some(word) = self.word(to, layer)
            && let Some((chunk, at)) = people.insert(slot, word, to, stock)
        {
            chunk.slots[at].store(slot, FREE);
            chunk.classes[at].store(class, FREE);
        }
    }

    /// Changes the class of somebody, if he is there.
    pub(super) fn set_class(&self, slot: u32, layer: Layer, class: u16) {
        if let Some((chunk, at)) = self.people[layer as usize].here(slot) {
            chunk.classes[at].store(class, FREE);
        }
    }

    /// Forgets a cell if nobody stands in it any more. Its number will be another's.
    pub(super) fn forget_if_empty(&self, number: u32, book: &mut HexagonBook) {
        let Some(hexagon) = self.cells.get(number) else { return };
        let is_empty = hexagon.people.iter().all(|word| word.payload() == 0);
        // Who leaves it in both layers asks twice.
        if !is_empty || book.known.remove(&hexagon.cell.load(FREE)).is_none() {
            return;
        }
        let from = self.middles.cell_of(number).and_then(|cell| self.middles.word(cell));
        let _change = Change::of([[from]]);
        self.middles.remove(number, &mut book.middles);
        book.cells[number as usize] = Surroundings::default();
        book.free.push(number);
    }
}
