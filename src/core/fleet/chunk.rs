//! Points side by side: what a search reads of those in a cell, and how they lie in memory.

use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::traits::Traits;
use crate::core::geo::LatLng;

/// Points to a chunk; fewer than 16.
pub(super) const ROOM: usize = 12;
/// Relaxed everywhere: the words order what readers see.
pub(super) const FREE: Ordering = Ordering::Relaxed;

/// Up to [`ROOM`] points of one cell, structure of arrays: four cache lines.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// One more than the next chunk of the cell; 0: none. All but the first are full.
    pub(super) next: AtomicU32,
    /// Block * 256 + number. On the line of the first places: a move within the cell touches little else.
    pub(super) cell: AtomicU32,
    /// Latitude and longitude in 1e-7 degree, together: nobody sees one without the other.
    pub(super) places: [AtomicU64; ROOM],
    pub(super) traits: [AtomicU64; ROOM],
    pub(super) slots: [AtomicU32; ROOM],
}

/// A point as a search meets it.
#[derive(Clone, Copy)]
pub(super) struct Point {
    /// [`pack`]ed.
    pub(super) place: u64,
    pub(super) traits: Traits,
    pub(super) slot: u32,
}

/// The points of a chunk. Each of its arrays is a line or two: who needs no traits does not touch them.
#[derive(Clone, Copy)]
pub(super) struct Points<'t> {
    pub(super) chunk: &'t Chunk,
    pub(super) len: usize,
}

impl<'t> Points<'t> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Latitudes and longitudes in 1e-7 degree; what is beyond [`Self::len`] means nothing. Read one by one, so that
    /// what is computed of them can be computed of several at once.
    #[inline]
    pub(super) fn coordinates(&self) -> ([i32; ROOM], [i32; ROOM]) {
        let (mut lat_e7, mut lng_e7) = ([0; ROOM], [0; ROOM]);
        for (at, place) in self.chunk.places.iter().enumerate() {
            (lat_e7[at], lng_e7[at]) = unpack(place.load(FREE));
        }
        (lat_e7, lng_e7)
    }

    /// Who it is, for [`Tables`](super::tables::Tables).
    #[inline]
    pub(super) fn slot(&self, at: usize) -> u32 {
        self.chunk.slots[at].load(FREE)
    }

    #[inline]
    pub(super) fn traits(&self, at: usize) -> Traits {
        Traits::from_bits(self.chunk.traits[at].load(FREE))
    }

    /// One of them, whole.
    pub(super) fn get(&self, at: usize) -> Point {
        self.chunk.get(at)
    }

    /// Each, whole.
    pub(super) fn iter(self) -> impl Iterator<Item = Point> + 't {
        (0..self.len).map(move |at| self.get(at))
    }
}

/// Latitude and longitude in 1e-7 degree, as one number.
pub(super) fn pack(place: LatLng) -> u64 {
    u64::from(place.lat_e7() as u32) << 32 | u64::from(place.lng_e7() as u32)
}

/// And back.
pub(super) fn unpack(place: u64) -> (i32, i32) {
    ((place >> 32) as i32, place as i32)
}

/// The place that was packed.
pub(super) fn place_of(packed: u64) -> Option<LatLng> {
    let (lat_e7, lng_e7) = unpack(packed);
    LatLng::from_e7(lat_e7, lng_e7).ok()
}

impl Chunk {
    pub(super) fn get(&self, at: usize) -> Point {
        let traits = Traits::from_bits(self.traits[at].load(FREE));
        Point { place: self.places[at].load(FREE), traits, slot: self.slots[at].load(FREE) }
    }

    pub(super) fn put(&self, at: usize, point: Point) {
        self.places[at].store(point.place, FREE);
        self.traits[at].store(point.traits.bits(), FREE);
        self.slots[at].store(point.slot, FREE);
    }
}
