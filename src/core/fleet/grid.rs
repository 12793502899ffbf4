//! Points by cell: a grid over the whole Earth, dense where somebody is and absent elsewhere, for one writer and any
//! number of readers at once.
//!
//! Only blocks in which somebody has been exist. A cell is a chain of chunks, each three cache lines of coordinates and
//! slots; it hangs on its [`Word`]. The writer prepares what he needs, opens a [`Change`](super::word::Change) of the
//! cells concerned, and then writes; readers note the words they pass in a [`Witness`].
//!
//! The grid knows integers only; what distance means is [`Window`]'s business.

use super::pool::Pool;
use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::tiling::{CELLS, SIDE, Tile, Tiling};
use super::window::{Columns, Window};
use super::word::{Overlap, Witness, Word};
use crate::core::geo::LatLng;

/// Points to a chunk.
const ROOM: usize = 15;
/// Relaxed everywhere: the words order what readers see.
const FREE: Ordering = Ordering::Relaxed;

/// Up to [`ROOM`] points of one cell, structure of arrays.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Chunk {
    /// Latitude and longitude in 1e-7 degree, together: nobody sees one without the other.
    places: [AtomicU64; ROOM],
    slots: [AtomicU32; ROOM],
    len: AtomicU32,
    /// One more than the next chunk of the cell; 0: none.
    next: AtomicU32,
    /// Block * 256 + number.
    cell: AtomicU32,
}

/// Latitude and longitude in 1e-7 degree, as one number.
pub(super) fn pack(place: LatLng) -> u64 {
    u64::from(place.lat_e7() as u32) << 32 | u64::from(place.lng_e7() as u32)
}

/// And back.
pub(super) fn unpack(place: u64) -> (i32, i32) {
    ((place >> 32) as i32, place as i32)
}

impl Chunk {
    /// The packed places and slots.
    pub(super) fn points(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let len = (self.len.load(FREE) as usize).min(ROOM);
        self.places[..len].iter().zip(&self.slots[..len]).map(|(place, slot)| (place.load(FREE), slot.load(FREE)))
    }

    fn write(&self, at: usize, place: u64, slot: u32) {
        self.places[at].store(place, FREE);
        self.slots[at].store(slot, FREE);
    }
}

/// Sixteen by sixteen cells.
#[derive(Debug)]
struct Block {
    /// Band and column of blocks, from which its place follows.
    band: AtomicU32,
    column: AtomicU32,
    /// By row: which of the sixteen cells hold somebody.
    rows: [Word; SIDE as usize],
    /// By cell: one more than its first chunk; 0: none.
    cells: [Word; CELLS],
}

impl Default for Block {
    fn default() -> Self {
        Self {
            band: AtomicU32::new(0),
            column: AtomicU32::new(0),
            rows: std::array::from_fn(|_| Word::default()),
            cells: std::array::from_fn(|_| Word::default()),
        }
    }
}

/// There is no more room: the index must be built anew, larger.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Points with small slots, by place.
#[derive(Debug)]
pub(super) struct Grid {
    tiling: Tiling,
    /// Open addressing: band and column of a block, plus one, above its number.
    directory: Box<[AtomicU64]>,
    blocks: Pool<Block>,
    /// How many blocks there are.
    block_count: Word,
    chunks: Pool<Chunk>,
    /// By slot: chunk * 16 + place in it, plus one; 0: not in the grid.
    at: Pool<AtomicU32>,
    /// How many points there are.
    len: AtomicU32,
}

/// What only the writer knows of a grid.
#[derive(Debug, Default)]
pub(super) struct Stock {
    free: Vec<u32>,
    used: u32,
}

impl Grid {
    /// For up to `slots` points in up to `blocks` blocks.
    pub(super) fn new(tiling: Tiling, slots: usize, blocks: usize) -> Self {
        Self {
            tiling,
            directory: (0..2 * blocks.next_power_of_two()).map(|_| AtomicU64::new(0)).collect(),
            blocks: Pool::new(blocks, 3),
            block_count: Word::default(),
            // Each in a cell of his own is the worst.
            chunks: Pool::new(slots + 1, 8),
            at: Pool::new(slots, 12),
            len: AtomicU32::new(0),
        }
    }

    pub(super) const fn tiling(&self) -> &Tiling {
        &self.tiling
    }

    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.len.load(FREE) as usize
    }

    fn position(&self, slot: u32) -> Option<(u32, usize)> {
        let at = self.at.get(slot)?.load(FREE).checked_sub(1)?;
        Some((at / 16, (at % 16) as usize))
    }

    fn chunk(&self, index: u32) -> Option<&Chunk> {
        self.chunks.get(index)
    }

    /// The word of a cell.
    pub(super) fn word(&self, cell: u32) -> Option<&Word> {
        self.blocks.get(cell / CELLS as u32)?.cells.get(cell as usize % CELLS)
    }

    // ---- for the writer

    /// The cell that a point is in.
    pub(super) fn cell_of(&self, slot: u32) -> Option<u32> {
        let (chunk, _) = self.position(slot)?;
        Some(self.chunk(chunk)?.cell.load(FREE))
    }

    /// The cell of a place, whose block is added if need be, and room for one more point in it.
    pub(super) fn prepare(&self, slot: u32, place: LatLng, stock: &mut Stock) -> Result<u32, Full> {
        if slot as usize >= self.at.capacity() || (stock.free.is_empty() && !self.add_chunk(stock)) {
            return Err(Full);
        }
        self.at.ensure(slot);
        let tile = self.tiling.tile_of(place);
        let block = match self.block_at(tile.band, tile.block) {
            Some(block) => block,
            None => self.add_block(tile)?,
        };
        Ok(block * CELLS as u32 + tile.number as u32)
    }

    fn add_chunk(&self, stock: &mut Stock) -> bool {
        if stock.used as usize >= self.chunks.capacity() {
            return false;
        }
        self.chunks.ensure(stock.used);
        stock.free.push(stock.used);
        stock.used += 1;
        true
    }

    fn add_block(&self, tile: Tile) -> Result<u32, Full> {
        let count = self.block_count.payload();
        if count as usize >= self.blocks.capacity() {
            return Err(Full);
        }
        self.blocks.ensure(count);
        let block = self.blocks.get(count).ok_or(Full)?;
        block.band.store(tile.band, FREE);
        block.column.store(tile.block, FREE);
        let key = key(tile.band, tile.block);
        let mut at = home(key, self.directory.len());
        while self.directory[at].load(FREE) != 0 {
            at = (at + 1) % self.directory.len();
        }
        self.directory[at].store(u64::from(key + 1) << 32 | u64::from(count), Ordering::Release);
        // Nobody is in it yet: that readers who looked for it in vain begin again is all that the count is for.
        self.block_count.publish(count + 1);
        Ok(count)
    }

    /// Puts a point, which is not there, into a cell that was prepared for it. Constant time.
    pub(super) fn insert(&self, slot: u32, place: LatLng, cell: u32, stock: &mut Stock) {
        let (Some(word), Some(at)) = (self.word(cell), self.at.get(slot)) else { return };
        let first = word.payload().checked_sub(1).and_then(|first| Some((first, self.chunk(first)?)));
        let (index, chunk) = match first {
            Some((index, chunk)) if (chunk.len.load(FREE) as usize) < ROOM => (index, chunk),
            _ => {
                let Some(index) = stock.free.pop() else { return };
                let Some(chunk) = self.chunk(index) else { return };
                chunk.len.store(0, FREE);
                chunk.next.store(word.payload(), FREE);
                chunk.cell.store(cell, FREE);
                if word.payload() == 0 {
                    self.mark(cell, true);
                }
                word.set(index + 1);
                (index, chunk)
            }
        };
        let len = chunk.len.load(FREE);
        chunk.write(len as usize, pack(place), slot);
        chunk.len.store(len + 1, FREE);
        at.store(index * 16 + len + 1, FREE);
        self.len.store(self.len.load(FREE) + 1, FREE);
    }

    /// Moves a point within its cell.
    pub(super) fn overwrite(&self, slot: u32, place: LatLng) {
        if let Some((chunk, at)) = self.position(slot)
            && let Some(chunk) = self.chunk(chunk)
        {
            chunk.places[at].store(pack(place), FREE);
        }
    }

    /// Takes a point out. Constant time: the last point of the cell's first chunk takes its place.
    pub(super) fn remove(&self, slot: u32, stock: &mut Stock) {
        let Some((index, at)) = self.position(slot) else { return };
        let Some(chunk) = self.chunk(index) else { return };
        let cell = chunk.cell.load(FREE);
        // Only the first chunk of a cell may have room, so the hole is filled from there.
        let Some(word) = self.word(cell) else { return };
        let Some(first) = word.payload().checked_sub(1) else { return };
        let Some(head) = self.chunk(first) else { return };
        let last = head.len.load(FREE) as usize - 1;
        let moved = head.slots[last].load(FREE);
        chunk.write(at, head.places[last].load(FREE), moved);
        head.len.store(last as u32, FREE);
        if let Some(at_of) = self.at.get(moved) {
            at_of.store(index * 16 + at as u32 + 1, FREE);
        }
        if let Some(at_of) = self.at.get(slot) {
            at_of.store(0, FREE);
        }
        self.len.store(self.len.load(FREE) - 1, FREE);
        if last == 0 {
            word.set(head.next.load(FREE));
            stock.free.push(first);
            if word.payload() == 0 {
                self.mark(cell, false);
            }
        }
    }

    fn mark(&self, cell: u32, occupied: bool) {
        let Some(block) = self.blocks.get(cell / CELLS as u32) else { return };
        let (row, bit) = ((cell as usize % CELLS) / SIDE as usize, 1 << (cell % SIDE as u32));
        let word = &block.rows[row];
        word.publish(if occupied { word.payload() | bit } else { word.payload() & !bit });
    }

    /// Where a point is, packed; for the writer.
    pub(super) fn packed(&self, slot: u32) -> Option<u64> {
        let (chunk, at) = self.position(slot)?;
        Some(self.chunk(chunk)?.places[at].load(FREE))
    }

    /// Where a point is, for the writer.
    pub(super) fn place(&self, slot: u32) -> Option<LatLng> {
        place_of(self.packed(slot)?)
    }

    /// How many blocks hold somebody.
    pub(super) fn blocks_in_use(&self) -> usize {
        let blocks = (0..self.block_count.payload()).filter_map(|index| self.blocks.get(index));
        blocks.filter(|block| block.rows.iter().any(|row| row.payload() != 0)).count()
    }

    /// How many share the average point's cell, himself included.
    pub(super) fn company(&self) -> f64 {
        let in_cell = |word: &Word| {
            let (mut sum, mut next) = (0u64, word.payload());
            while let Some(chunk) = next.checked_sub(1).and_then(|index| self.chunk(index)) {
                sum += u64::from(chunk.len.load(FREE));
                next = chunk.next.load(FREE);
            }
            sum
        };
        let blocks = (0..self.block_count.payload()).filter_map(|index| self.blocks.get(index));
        let squares: u64 = blocks.flat_map(|block| &block.cells).map(|word| in_cell(word).pow(2)).sum();
        squares as f64 / self.len().max(1) as f64
    }

    // ---- for readers

    fn block_at(&self, band: u32, column: u32) -> Option<u32> {
        let key = key(band, column);
        let mut at = home(key, self.directory.len());
        loop {
            let entry = self.directory[at].load(Ordering::Acquire);
            if entry == 0 {
                return None;
            }
            if (entry >> 32) as u32 == key + 1 {
                return Some(entry as u32);
            }
            at = (at + 1) % self.directory.len();
        }
    }

    /// Visits each chunk of every occupied cell that meets `window`, except the cells that meet `done`, a window around
    /// the same place that is no larger. Each cell once. O(rows + occupied cells + min(blocks in the window, blocks)).
    pub(super) fn scan<'t>(
        &'t self,
        window: &Window,
        done: Option<&Window>,
        witness: &mut Witness<'t>,
        mut visit: impl FnMut(&'t Chunk),
    ) -> Result<(), Overlap> {
        let block_count = i64::from(witness.note(&self.block_count)?);
        let bands = window.rows().0 / SIDE..=window.rows().1 / SIDE;
        let mut lookups = 0;
        for band in bands.clone() {
            let (from, to) = Columns::of(&self.tiling, band, window, done).all;
            lookups += to.div_euclid(SIDE) - from.div_euclid(SIDE) + 1;
            if lookups > block_count {
                return self.scan_all_blocks(block_count as u32, window, done, witness, visit);
            }
        }
        for band in bands {
            let columns = Columns::of(&self.tiling, band, window, done);
            let blocks = self.tiling.columns_of(band) / SIDE;
            for block in columns.all.0.div_euclid(SIDE)..=columns.all.1.div_euclid(SIDE) {
                let found = self.block_at(band as u32, block.rem_euclid(blocks) as u32);
                if let Some(found) = found.and_then(|index| self.blocks.get(index)) {
                    self.scan_block(found, block * SIDE, &columns, witness, &mut visit)?;
                }
            }
        }
        Ok(())
    }

    /// The same for a window with more room for blocks than there are blocks.
    fn scan_all_blocks<'t>(
        &'t self,
        count: u32,
        window: &Window,
        done: Option<&Window>,
        witness: &mut Witness<'t>,
        mut visit: impl FnMut(&'t Chunk),
    ) -> Result<(), Overlap> {
        for block in (0..count).filter_map(|index| self.blocks.get(index)) {
            let band = i64::from(block.band.load(FREE));
            if !(window.rows().0 / SIDE..=window.rows().1 / SIDE).contains(&band) {
                continue;
            }
            let columns = Columns::of(&self.tiling, band, window, done);
            let circle = self.tiling.columns_of(band);
            // Columns are counted on past the antimeridian; a block can be met at both ends of the window.
            let mut first = i64::from(block.column.load(FREE)) * SIDE;
            first += (columns.all.0 - (first + SIDE - 1)).div_euclid(circle) * circle;
            while first <= columns.all.1 {
                if first + SIDE > columns.all.0 {
                    self.scan_block(block, first, &columns, witness, &mut visit)?;
                }
                first += circle;
            }
        }
        Ok(())
    }

    /// `first`: the column of the block's west side, counted as `columns` are.
    fn scan_block<'t>(
        &'t self,
        block: &'t Block,
        first: i64,
        columns: &Columns,
        witness: &mut Witness<'t>,
        visit: &mut impl FnMut(&'t Chunk),
    ) -> Result<(), Overlap> {
        let all = bits(columns.all, first);
        let fresh = all & !columns.done.map_or(0, |done| bits(done, first));
        let south = i64::from(block.band.load(FREE)) * SIDE;
        for row in columns.rows.0.max(south)..=columns.rows.1.min(south + SIDE - 1) {
            let index = (row - south) as usize;
            let partly = row >= columns.done_rows.0 && row <= columns.done_rows.1;
            let mut cells = witness.note(&block.rows[index])? as u16 & if partly { fresh } else { all };
            while cells != 0 {
                let word = &block.cells[index * SIDE as usize + cells.trailing_zeros() as usize];
                cells &= cells - 1;
                self.scan_cell(word, witness, visit)?;
            }
        }
        Ok(())
    }

    fn scan_cell<'t>(
        &'t self,
        word: &'t Word,
        witness: &mut Witness<'t>,
        visit: &mut impl FnMut(&'t Chunk),
    ) -> Result<(), Overlap> {
        let mut next = witness.note(word)?;
        while let Some(chunk) = next.checked_sub(1).and_then(|index| self.chunk(index)) {
            visit(chunk);
            next = chunk.next.load(FREE);
            if next != 0 {
                // In a chunk that went elsewhere meanwhile this could lead round in a circle.
                witness.last_stands()?;
            }
        }
        Ok(())
    }
}

/// The place that was packed.
pub(super) fn place_of(packed: u64) -> Option<LatLng> {
    let (lat_e7, lng_e7) = unpack(packed);
    LatLng::from_e7(lat_e7, lng_e7).ok()
}

/// Band (below 2^14) and column of blocks (below 2^15) as one number.
const fn key(band: u32, column: u32) -> u32 {
    band << 16 | column
}

/// Fibonacci hashing (Knuth, TAOCP 3, 6.4); `len` is a power of two. The keys come from coordinates inside the
/// service's own grid; an attacker who moves therapists about could at worst make a few look-ups longer.
const fn home(key: u32, len: usize) -> usize {
    ((key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (len - 1)
}

/// The columns `from..=to` as bits of the sixteen that begin with `first`.
fn bits((from, to): (i64, i64), first: i64) -> u16 {
    let (from, to) = ((from - first).max(0), (to - first).min(SIDE - 1));
    if from > to { 0 } else { (u16::MAX >> (15 - (to - from))) << from }
}
