//! Points by cell: a grid over the whole Earth, dense where somebody is and absent elsewhere.
//!
//! Rows of cells have one height everywhere. Sixteen rows are a *band*; within a band all rows have the same number of
//! columns, so that cells stay about square towards the poles. Sixteen by sixteen cells are a *block*; only blocks with
//! somebody in them exist. A cell is a chain of chunks, each four cache lines of coordinates and ids.
//!
//! The grid knows integers only; what distance means is [`Window`]'s business.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use super::window::{Columns, Window};
use crate::core::geo::LatLng;

/// Height of a row in 1e-7 degree, about 500 m: with 100,000 therapists in a city some forty to a cell.
pub(super) const ROW_E7: i64 = 45_000;
/// Rows from pole to pole; the North Pole itself belongs to the last.
pub(super) const ROWS: i64 = 1_800_000_000 / ROW_E7;
/// Rows to a band, columns to a block.
pub(super) const SIDE: i64 = 16;
/// Longitudes, in 1e-7 degree.
pub(super) const CIRCLE_E7: i64 = 3_600_000_000;

const SLOTS: usize = 20;
const NONE: u32 = u32::MAX;

/// Columns of each band, a multiple of [`SIDE`]; about square cells at the band's middle.
static COLUMNS: LazyLock<Vec<i64>> = LazyLock::new(|| {
    (0..ROWS / SIDE)
        .map(|band| {
            let middle = ((band * SIDE + SIDE / 2) * ROW_E7) as f64 / 1e7 - 90.0;
            let blocks = (CIRCLE_E7 / (ROW_E7 * SIDE)) as f64 * middle.to_radians().cos();
            (blocks.round() as i64).max(1) * SIDE
        })
        .collect()
});

/// The number of columns of a band; it falls towards the poles.
pub(super) fn columns_of(band: i64) -> i64 {
    COLUMNS[band as usize]
}

/// The row of a latitude.
pub(super) fn row_of(lat_e7: i64) -> i64 {
    ((lat_e7 + 900_000_000) / ROW_E7).clamp(0, ROWS - 1)
}

/// Up to [`SLOTS`] points of one cell, structure of arrays.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Chunk {
    lat_e7: [i32; SLOTS],
    lng_e7: [i32; SLOTS],
    ids: [u32; SLOTS],
    len: u32,
    next: u32,
}

impl Chunk {
    const EMPTY: Self = Self { lat_e7: [0; SLOTS], lng_e7: [0; SLOTS], ids: [0; SLOTS], len: 0, next: NONE };

    /// Latitude and longitude in 1e-7 degree, and the id.
    pub(super) fn points(&self) -> impl Iterator<Item = (i32, i32, u32)> + '_ {
        (0..self.len as usize).map(|slot| (self.lat_e7[slot], self.lng_e7[slot], self.ids[slot]))
    }

    fn write(&mut self, slot: usize, point: (i32, i32, u32)) {
        (self.lat_e7[slot], self.lng_e7[slot], self.ids[slot]) = point;
    }
}

#[derive(Debug)]
struct Block {
    band: i64,
    /// Of the block, not of its cells.
    column: i64,
    /// By row: which of the sixteen cells hold somebody.
    occupied: [u16; SIDE as usize],
    /// By cell: its first chunk.
    heads: [u32; (SIDE * SIDE) as usize],
}

/// Points with small ids, by place.
#[derive(Debug, Default)]
pub(super) struct Grid {
    blocks: Vec<Block>,
    block_at: HashMap<(u32, u32), u32, BuildHasherDefault<Mix>>,
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    /// By id: chunk * 32 + slot.
    at: Vec<u32>,
}

/// A cell: its block, and its number within.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cell {
    band: i64,
    block: i64,
    number: usize,
}

fn cell_of(place: LatLng) -> Cell {
    let row = row_of(i64::from(place.lat_e7()));
    let band = row / SIDE;
    // 180 degrees east is 180 degrees west.
    let east = (i64::from(place.lng_e7()) + CIRCLE_E7 / 2) % CIRCLE_E7;
    let column = east * columns_of(band) / CIRCLE_E7;
    Cell { band, block: column / SIDE, number: (row % SIDE * SIDE + column % SIDE) as usize }
}

impl Grid {
    #[cfg(test)]
    pub(super) const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Where a point is; `None` if it is not in the grid.
    pub(super) fn place(&self, id: u32) -> Option<LatLng> {
        let (chunk, slot) = self.slot(id)?;
        let chunk = &self.chunks[chunk];
        Some(LatLng::from_e7(chunk.lat_e7[slot], chunk.lng_e7[slot]).expect("only places are written into chunks"))
    }

    fn slot(&self, id: u32) -> Option<(usize, usize)> {
        let at = self.at.get(id as usize).copied().filter(|&at| at != NONE)?;
        Some(((at / 32) as usize, (at % 32) as usize))
    }

    /// Puts a point somewhere, or moves it there. Constant time; within its cell nothing but two numbers is written.
    pub(super) fn set(&mut self, id: u32, place: LatLng) {
        if let Some(old) = self.place(id) {
            if cell_of(old) == cell_of(place)
                && let Some((chunk, slot)) = self.slot(id)
            {
                self.chunks[chunk].write(slot, (place.lat_e7(), place.lng_e7(), id));
                return;
            }
            self.remove(id);
        }
        self.insert(id, place);
    }

    fn insert(&mut self, id: u32, place: LatLng) {
        let cell = cell_of(place);
        let block = self.block_or_new(cell);
        let head = self.blocks[block].heads[cell.number];
        let chunk = if head == NONE || self.chunks[head as usize].len as usize == SLOTS {
            let chunk = self.new_chunk(head);
            self.blocks[block].heads[cell.number] = chunk;
            self.blocks[block].occupied[cell.number / SIDE as usize] |= 1 << (cell.number % SIDE as usize);
            chunk
        } else {
            head
        };
        let slot = self.chunks[chunk as usize].len;
        self.chunks[chunk as usize].write(slot as usize, (place.lat_e7(), place.lng_e7(), id));
        self.chunks[chunk as usize].len += 1;
        if self.at.len() <= id as usize {
            self.at.resize(id as usize + 1, NONE);
        }
        self.at[id as usize] = chunk * 32 + slot;
    }

    /// Takes a point out. Constant time: the last point of the cell's first chunk takes its slot.
    pub(super) fn remove(&mut self, id: u32) {
        let (Some(place), Some((chunk, slot))) = (self.place(id), self.slot(id)) else { return };
        let cell = cell_of(place);
        let block = self.block_or_new(cell);
        // Only the first chunk of a cell may have room, so the hole is filled from there.
        let head = self.blocks[block].heads[cell.number];
        let first = &mut self.chunks[head as usize];
        first.len -= 1;
        let last = first.len as usize;
        let moved = (first.lat_e7[last], first.lng_e7[last], first.ids[last]);
        let (empty, next) = (first.len == 0, first.next);
        self.chunks[chunk].write(slot, moved);
        self.at[moved.2 as usize] = self.at[id as usize];
        self.at[id as usize] = NONE;
        if empty {
            self.free.push(head);
            self.blocks[block].heads[cell.number] = next;
            if next == NONE {
                self.blocks[block].occupied[cell.number / SIDE as usize] &= !(1 << (cell.number % SIDE as usize));
                self.drop_block_if_empty(block);
            }
        }
    }

    fn new_chunk(&mut self, next: u32) -> u32 {
        let chunk = Chunk { next, ..Chunk::EMPTY };
        if let Some(index) = self.free.pop() {
            self.chunks[index as usize] = chunk;
            return index;
        }
        self.chunks.push(chunk);
        (self.chunks.len() - 1) as u32
    }

    fn block_or_new(&mut self, cell: Cell) -> usize {
        let new = self.blocks.len() as u32;
        let index = *self.block_at.entry((cell.band as u32, cell.block as u32)).or_insert(new);
        if index == new {
            let heads = [NONE; (SIDE * SIDE) as usize];
            self.blocks.push(Block { band: cell.band, column: cell.block, occupied: [0; SIDE as usize], heads });
        }
        index as usize
    }

    fn drop_block_if_empty(&mut self, index: usize) {
        let key = |block: &Block| (block.band as u32, block.column as u32);
        if self.blocks[index].occupied == [0; SIDE as usize] {
            let gone = self.blocks.swap_remove(index);
            self.block_at.remove(&key(&gone));
            if let Some(moved) = self.blocks.get(index) {
                self.block_at.insert(key(moved), index as u32);
            }
        }
    }

    /// Visits each chunk of every occupied cell that meets `window`, except the cells that meet `done`, a window around
    /// the same place that is no larger. Each cell once. O(rows + occupied cells + min(blocks in the window, blocks)).
    pub(super) fn scan(&self, window: &Window, done: Option<&Window>, mut visit: impl FnMut(&Chunk)) {
        let bands = window.rows().0 / SIDE..=window.rows().1 / SIDE;
        let mut lookups = 0;
        for band in bands.clone() {
            let (from, to) = Columns::of(band, window, done).all;
            lookups += to.div_euclid(SIDE) - from.div_euclid(SIDE) + 1;
            if lookups > self.blocks.len() as i64 {
                return self.scan_all_blocks(window, done, visit);
            }
        }
        for band in bands {
            let columns = Columns::of(band, window, done);
            let blocks = columns_of(band) / SIDE;
            for block in columns.all.0.div_euclid(SIDE)..=columns.all.1.div_euclid(SIDE) {
                if let Some(&index) = self.block_at.get(&(band as u32, block.rem_euclid(blocks) as u32)) {
                    self.scan_block(&self.blocks[index as usize], block * SIDE, &columns, &mut visit);
                }
            }
        }
    }

    /// The same for a window with more room for blocks than there are blocks.
    fn scan_all_blocks(&self, window: &Window, done: Option<&Window>, mut visit: impl FnMut(&Chunk)) {
        for block in &self.blocks {
            if !(window.rows().0 / SIDE..=window.rows().1 / SIDE).contains(&block.band) {
                continue;
            }
            let columns = Columns::of(block.band, window, done);
            let circle = columns_of(block.band);
            // Columns are counted on past the antimeridian; a block can be met at both ends of the window.
            let mut first = block.column * SIDE;
            first += (columns.all.0 - (first + SIDE - 1)).div_euclid(circle) * circle;
            while first <= columns.all.1 {
                if first + SIDE > columns.all.0 {
                    self.scan_block(block, first, &columns, &mut visit);
                }
                first += circle;
            }
        }
    }

    /// `first`: the column of the block's west side, counted as `columns` are.
    fn scan_block(&self, block: &Block, first: i64, columns: &Columns, visit: &mut impl FnMut(&Chunk)) {
        let all = bits(columns.all, first);
        let fresh = all & !columns.done.map_or(0, |done| bits(done, first));
        let south = block.band * SIDE;
        for row in columns.rows.0.max(south)..=columns.rows.1.min(south + SIDE - 1) {
            let index = (row - south) as usize;
            let partly = row >= columns.done_rows.0 && row <= columns.done_rows.1;
            let mut cells = block.occupied[index] & if partly { fresh } else { all };
            while cells != 0 {
                let mut chunk = block.heads[index * SIDE as usize + cells.trailing_zeros() as usize];
                cells &= cells - 1;
                while chunk != NONE {
                    let here = &self.chunks[chunk as usize];
                    visit(here);
                    chunk = here.next;
                }
            }
        }
    }
}

/// The columns `from..=to` as bits of the sixteen that begin with `first`.
fn bits((from, to): (i64, i64), first: i64) -> u16 {
    let (from, to) = ((from - first).max(0), (to - first).min(SIDE - 1));
    if from > to { 0 } else { (u16::MAX >> (15 - (to - from))) << from }
}

/// Hashes the two small numbers of a block: Fibonacci hashing (Knuth, TAOCP 3, 6.4). The keys come from coordinates
/// inside the service's own grid; an attacker who moves therapists about could at worst slow one bucket down.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0.rotate_left(32) ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
