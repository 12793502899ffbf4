//! Points side by side: what a search reads of those in a cell, and how they lie in memory.

use super::chain::{Chunk, Link};
use super::sync::{AtomicU16, AtomicU64, Ordering};
use super::tiling::Corner;
use crate::core::geo::LatLng;

/// Points to a chunk; fewer than 16.
pub(super) const ROOM: usize = 12;
/// Relaxed everywhere: the words order what readers see.
pub(super) const FREE: Ordering = Ordering::Relaxed;

/// Bits of a place's distance from the corner of its cell in 1e-7 degree, northward and eastward (cells are up to
/// 180,000 high and a million wide), and of a slot.
const NORTH: u32 = 18;
const EAST: u32 = 20;
/// More slots than this cannot be told apart.
pub(super) const SLOTS: u32 = 1 << (64 - NORTH - EAST);

/// Up to [`ROOM`] points of one cell, structure of arrays: two cache lines.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Spots {
    /// Of a cell: block * 256 + number.
    link: Link,
    /// North and east of the cell's corner, and the slot: nobody sees one without the other.
    spots: [AtomicU64; ROOM],
    /// See [`Classes`](super::classes::Classes).
    classes: [AtomicU16; ROOM],
}

/// A point as a search meets it.
#[derive(Clone, Copy)]
pub(super) struct Point {
    /// [`pack`]ed.
    pub(super) place: u64,
    pub(super) slot: u32,
}

/// The points of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Points<'t> {
    pub(super) chunk: &'t Spots,
    pub(super) corner: Corner,
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
        let spots: [u64; ROOM] = std::array::from_fn(|at| self.chunk.spots[at].load(FREE));
        (spots.map(|spot| self.corner.plus(spot).0), spots.map(|spot| self.corner.plus(spot).1))
    }

    /// Who it is, for [`Tables`](super::tables::Tables).
    #[inline]
    pub(super) fn slot(&self, at: usize) -> u32 {
        slot_of(self.chunk.spots[at].load(FREE))
    }

    #[inline]
    pub(super) fn class(&self, at: usize) -> u16 {
        self.chunk.classes[at].load(FREE)
    }

    /// One of them, whole.
    pub(super) fn get(&self, at: usize) -> Point {
        self.chunk.get(at, self.corner)
    }

    /// Each, whole.
    pub(super) fn iter(self) -> impl Iterator<Item = Point> + 't {
        (0..self.len).map(move |at| self.get(at))
    }
}

/// Latitude and longitude in 1e-7 degree, as one number.
pub(super) fn pack(place: LatLng) -> u64 {
    packed(place.lat_e7(), place.lng_e7())
}

fn packed(lat_e7: i32, lng_e7: i32) -> u64 {
    u64::from(lat_e7 as u32) << 32 | u64::from(lng_e7 as u32)
}

/// And back.
pub(super) const fn unpack(place: u64) -> (i32, i32) {
    ((place >> 32) as i32, place as i32)
}

/// The place that was packed.
pub(super) fn place_of(packed: u64) -> Option<LatLng> {
    let (lat_e7, lng_e7) = unpack(packed);
    LatLng::from_e7(lat_e7, lng_e7).ok()
}

const fn slot_of(spot: u64) -> u32 {
    (spot >> (NORTH + EAST)) as u32
}

impl Corner {
    /// The place of a spot, in 1e-7 degree. What stands in an empty place may be anything, and wraps.
    #[inline]
    const fn plus(self, spot: u64) -> (i32, i32) {
        let (north, east) = (spot & ((1 << NORTH) - 1), spot >> NORTH & ((1 << EAST) - 1));
        (self.south_e7.wrapping_add(north as i32), self.west_e7.wrapping_add(east as i32))
    }

    /// How far north and east of it a place is, 1e-7 degree; if it is south or west, more than any cell is large (for less
    /// than 0.6 of what a number holds is on the Earth).
    #[inline]
    pub(super) const fn to(self, place: LatLng) -> (u32, u32) {
        let east = place.lng_e7().wrapping_sub(self.west_e7);
        (place.lat_e7().wrapping_sub(self.south_e7).cast_unsigned(), east.cast_unsigned())
    }

    /// And back.
    #[inline]
    fn spot(self, place: LatLng, slot: u32) -> u64 {
        let (north, east) = self.to(place);
        debug_assert!(north < 1 << NORTH && east < 1 << EAST && slot < SLOTS);
        u64::from(slot) << (NORTH + EAST) | u64::from(east) << NORTH | u64::from(north)
    }
}

impl Spots {
    pub(super) fn get(&self, at: usize, corner: Corner) -> Point {
        let spot = self.spots[at].load(FREE);
        let (lat_e7, lng_e7) = corner.plus(spot);
        Point { place: packed(lat_e7, lng_e7), slot: slot_of(spot) }
    }

    /// A place, in the cell that begins at `corner`.
    pub(super) fn set_place(&self, at: usize, corner: Corner, place: LatLng, slot: u32) {
        self.spots[at].store(corner.spot(place, slot), FREE);
    }

    pub(super) fn set_class(&self, at: usize, class: u16) {
        self.classes[at].store(class, FREE);
    }
}

impl Chunk for Spots {
    const ROOM: usize = ROOM;

    fn link(&self) -> &Link {
        &self.link
    }

    fn copy(&self, at: usize, from: &Self, last: usize) -> u32 {
        let spot = from.spots[last].load(FREE);
        self.spots[at].store(spot, FREE);
        self.classes[at].store(from.classes[last].load(FREE), FREE);
        slot_of(spot)
    }
}
