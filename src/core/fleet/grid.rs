//! Points by cell: a grid over the whole Earth, dense where somebody is and absent elsewhere, for one writer and any
//! number of readers at once.
//!
//! Only blocks in which somebody has been exist. A cell is a [list](super::chain) of chunks, each two cache lines of
//! places, slots and classes; it hangs on its [`Word`]. The writer prepares what he needs, opens a [`Change`](super::word::Change) of the
//! cells concerned, and then writes; readers note the words they pass in a [`Witness`].
//!
//! The grid knows integers only; what distance means is [`Window`]'s business.

use smallvec::SmallVec;

use super::chain::{Chains, Chunk, Full, Head, Stock};
use super::chunk::{FREE, Points, ROOM, SLOTS, Spots, place_of};
use super::pool::Pool;
use super::prefetch::{prefetch, prefetch_whole};
use super::sync::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use super::tiling::{CELLS, Corner, SIDE, Tile, Tiling};
use super::window::{Columns, Window};
use super::word::{Note, Overlap, Witness, Word};
use crate::core::geo::LatLng;

/// Blocks are added by segments of so many.
const BLOCKS: usize = if cfg!(feature = "loom") { 1 } else { 8 };

/// A scan meets so many cells without asking for memory.
const FEW: usize = 32;

/// Sixteen by sixteen cells.
#[derive(Debug)]
struct Block {
    /// Band and column of blocks.
    band: AtomicU32,
    column: AtomicU32,
    /// What follows from these: where it begins, and how wide its cells are, 1e-7 degree.
    south_e7: AtomicI32,
    west_e7: AtomicI32,
    width_e7: AtomicU32,
    /// By row: which of the sixteen cells hold somebody.
    rows: [Word; SIDE as usize],
    /// By cell: its [`Head`].
    cells: [Word; CELLS],
}

impl Default for Block {
    fn default() -> Self {
        Self {
            band: AtomicU32::new(0),
            column: AtomicU32::new(0),
            south_e7: AtomicI32::new(0),
            west_e7: AtomicI32::new(0),
            width_e7: AtomicU32::new(0),
            rows: std::array::from_fn(|_| Word::default()),
            cells: std::array::from_fn(|_| Word::default()),
        }
    }
}

impl Block {
    /// Where a cell begins.
    #[inline]
    fn corner(&self, number: u32, height_e7: u32) -> Corner {
        let (row, column) = (number / SIDE as u32, number % SIDE as u32);
        Corner {
            south_e7: self.south_e7.load(FREE).wrapping_add_unsigned(row * height_e7),
            west_e7: self.west_e7.load(FREE).wrapping_add_unsigned(column * self.width_e7.load(FREE)),
        }
    }
}

/// What a point is put down with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) place: LatLng,
    pub(super) class: u16,
}

/// A cell's word, where it begins, and how large it is.
#[derive(Clone, Copy, Debug)]
struct Site<'t> {
    word: &'t Word,
    corner: Corner,
    height_e7: u32,
    width_e7: u32,
}

/// Where a point is: its place in a chunk, and the cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'t> {
    chunk: &'t Spots,
    at: usize,
    slot: u32,
    cell: u32,
    site: Site<'t>,
}

impl<'t> Seat<'t> {
    /// The word of the cell.
    pub(super) const fn word(&self) -> &'t Word {
        self.site.word
    }

    /// Where the point is.
    #[inline]
    pub(super) fn place(&self) -> Option<LatLng> {
        place_of(self.chunk.get(self.at, self.site.corner).place)
    }

    /// Whether a place is surely in the same cell.
    #[inline]
    pub(super) fn holds(&self, place: LatLng) -> bool {
        let (north_e7, east_e7) = self.site.corner.to(place);
        north_e7 < self.site.height_e7 && east_e7 < self.site.width_e7
    }

    /// Moves the point within its cell. Within a change of it.
    #[inline]
    pub(super) fn set(&self, place: LatLng) {
        self.chunk.set_place(self.at, self.site.corner, place, self.slot);
    }
}

/// Points with small slots, by place.
#[derive(Debug)]
pub(super) struct Grid {
    tiling: Tiling,
    /// Open addressing: band and column of a block, plus one, above its number.
    directory: Box<[AtomicU64]>,
    blocks: Pool<Block, BLOCKS>,
    /// How many blocks there are.
    block_count: Word,
    points: Chains<Spots>,
}

impl Grid {
    /// For up to `slots` points in up to `blocks` blocks.
    pub(super) fn new(tiling: Tiling, slots: usize, blocks: usize) -> Self {
        let blocks = Pool::new(blocks);
        Self {
            tiling,
            directory: (0..2 * blocks.capacity().next_power_of_two()).map(|_| AtomicU64::new(0)).collect(),
            blocks,
            block_count: Word::default(),
            points: Chains::new(slots),
        }
    }

    pub(super) const fn tiling(&self) -> &Tiling {
        &self.tiling
    }

    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The word of a cell.
    #[inline]
    pub(super) fn word(&self, cell: u32) -> Option<&Word> {
        Some(&self.blocks.get(cell / CELLS as u32)?.cells[cell as usize % CELLS])
    }

    // ---- for the writer

    /// The cell that a point is in.
    pub(super) fn cell_of(&self, slot: u32) -> Option<u32> {
        self.points.owner_of(slot)
    }

    /// What a cell is made of.
    #[inline]
    fn site(&self, cell: u32) -> Option<Site<'_>> {
        let block = self.blocks.get(cell / CELLS as u32)?;
        let (number, height_e7) = (cell % CELLS as u32, self.tiling.row_e7() as u32);
        Some(Site {
            word: &block.cells[number as usize],
            corner: block.corner(number, height_e7),
            height_e7,
            width_e7: block.width_e7.load(FREE),
        })
    }

    /// Where a point is, with all that a move within its cell needs.
    #[inline]
    pub(super) fn seat(&self, slot: u32) -> Option<Seat<'_>> {
        let (chunk, at) = self.points.here(slot)?;
        let cell = chunk.link().owner();
        Some(Seat { chunk, at, slot, cell, site: self.site(cell)? })
    }

    /// The cell of a place, whose block is added if need be, and room for one more point in it.
    pub(super) fn prepare(&self, slot: u32, place: LatLng, stock: &mut Stock) -> Result<u32, Full> {
        // Most moves stay in their cell.
        if let Some(seat) = self.seat(slot).filter(|seat| seat.holds(place)) {
            return Ok(seat.cell);
        }
        if slot >= SLOTS {
            return Err(Full);
        }
        self.points.prepare(slot, stock)?;
        let tile = self.tiling.tile_of(place);
        let block = match self.block_at(tile.band, tile.block) {
            Some(block) => block,
            None => self.add_block(tile)?,
        };
        Ok(block * CELLS as u32 + tile.number as u32)
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
        let corner = self.tiling.corner_of(tile);
        block.south_e7.store(corner.south_e7, FREE);
        block.west_e7.store(corner.west_e7, FREE);
        block.width_e7.store(self.tiling.width_e7(tile.band.into()) as u32, FREE);
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

    /// Puts a point into a cell that was prepared for it, out of the one that it is in, if any. Within the change of both.
    /// `look` is called after each step (tests look at the grid then).
    pub(super) fn relocate(&self, slot: u32, spot: &Spot, to: u32, stock: &mut Stock, mut look: impl FnMut()) {
        // First the new cell is marked in its row: whoever then finds the old one empty, or not marked any more, has met
        // the mark and the odd word of the new one, or finds at the end that its row has moved.
        self.mark(to, true);
        look();
        self.remove(slot, stock);
        look();
        self.insert(slot, spot, to, stock);
        look();
    }

    /// Puts a point, which is not there, into a cell that was prepared for it and is marked. Constant time.
    fn insert(&self, slot: u32, spot: &Spot, cell: u32, stock: &mut Stock) {
        let Some(site) = self.site(cell) else { return };
        if let Some((chunk, at)) = self.points.insert(slot, site.word, cell, stock) {
            chunk.set_place(at, site.corner, spot.place, slot);
            chunk.set_class(at, spot.class);
        }
    }

    /// Changes the class of a point, if it is in the grid.
    pub(super) fn set_class(&self, slot: u32, class: u16) {
        if let Some((chunk, at)) = self.points.here(slot) {
            chunk.set_class(at, class);
        }
    }

    /// Takes a point out, if it is in. Constant time.
    pub(super) fn remove(&self, slot: u32, stock: &mut Stock) {
        let Some(cell) = self.cell_of(slot) else { return };
        let Some(word) = self.word(cell) else { return };
        self.points.remove(slot, word, stock);
        if word.payload() == 0 {
            self.mark(cell, false);
        }
    }

    fn mark(&self, cell: u32, occupied: bool) {
        let Some(block) = self.blocks.get(cell / CELLS as u32) else { return };
        let (row, bit) = ((cell as usize % CELLS) / SIDE as usize, 1 << (cell % SIDE as u32));
        let word = &block.rows[row];
        let marked = if occupied { word.payload() | bit } else { word.payload() & !bit };
        if marked != word.payload() {
            word.publish(marked);
        }
    }

    /// Where a point is, for the writer.
    pub(super) fn place(&self, slot: u32) -> Option<LatLng> {
        self.seat(slot)?.place()
    }

    /// The first two steps towards a move.
    pub(super) const fn points(&self) -> &Chains<Spots> {
        &self.points
    }

    /// The third: asks for the word of the cell.
    pub(super) fn prefetch_word(&self, chunk: &Spots) {
        if let Some(word) = self.word(chunk.link().owner()) {
            prefetch(word);
        }
    }

    /// Asks for the first points of a cell.
    pub(super) fn prefetch_first(&self, cell: u32) {
        self.word(cell).into_iter().for_each(|word| self.points.prefetch_first(word));
    }

    /// How many blocks hold somebody.
    pub(super) fn blocks_in_use(&self) -> usize {
        let blocks = (0..self.block_count.payload()).filter_map(|index| self.blocks.get(index));
        blocks.filter(|block| block.rows.iter().any(|row| row.payload() != 0)).count()
    }

    /// The tiling that suits so many, if there are enough to tell.
    pub(super) fn suited_tiling(&self) -> Tiling {
        const ENOUGH: usize = 1_024;
        if self.len() < ENOUGH { self.tiling.clone() } else { self.tiling.suited_to(self.company()) }
    }

    /// Whether that is the present one.
    pub(super) fn is_suited(&self) -> bool {
        self.suited_tiling().row_e7() == self.tiling.row_e7()
    }

    /// How many share the average point's cell, himself included.
    fn company(&self) -> f64 {
        let blocks = (0..self.block_count.payload()).filter_map(|index| self.blocks.get(index));
        let squares: u64 =
            blocks.flat_map(|block| &block.cells).map(|word| self.points.count(Head(word.payload())).pow(2)).sum();
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

    /// Visits the points, by chunk, of every occupied cell that meets `window`, except the cells that meet `done`, a window around
    /// the same place that is no larger. Each cell once. O(rows + occupied cells + min(blocks in the window, blocks)).
    pub(super) fn scan<'t>(
        &'t self,
        window: &Window,
        done: Option<&Window>,
        witness: &mut Witness<'t>,
        mut visit: impl FnMut(Points<'t>),
    ) -> Result<(), Overlap> {
        let mut cells = SmallVec::<[_; FEW]>::new();
        self.scan_words(window, done, witness, |head, corner, note| {
            if let Some(chunk) = head.chunk().and_then(|index| self.points.chunk(index)) {
                let points = Points { chunk, corner, len: (head.len() as usize).min(ROOM) };
                prefetch_whole(chunk);
                cells.push((points, note));
            }
        })?;
        // The first chunk of each, then the second of each: what follows is on its way while others are looked at.
        let mut left = cells.len();
        while left > 0 {
            let mut more = 0;
            for at in 0..left {
                let (points, note) = cells[at];
                visit(points);
                if let Some(chunk) = points.chunk.link().next().and_then(|index| self.points.chunk(index)) {
                    // In a chunk that went elsewhere meanwhile this could lead round in a circle.
                    witness.still_stands(note)?;
                    prefetch_whole(chunk);
                    cells[more] = (Points { chunk, len: ROOM, ..points }, note);
                    more += 1;
                }
            }
            left = more;
        }
        Ok(())
    }

    /// Visits the words of those cells: what each says, where the cell begins, and how the word was noted.
    fn scan_words<'t>(
        &'t self,
        window: &Window,
        done: Option<&Window>,
        witness: &mut Witness<'t>,
        mut visit: impl FnMut(Head, Corner, Note),
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
        mut visit: impl FnMut(Head, Corner, Note),
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
        visit: &mut impl FnMut(Head, Corner, Note),
    ) -> Result<(), Overlap> {
        let all = bits(columns.all, first);
        let fresh = all & !columns.done.map_or(0, |done| bits(done, first));
        let (south, height_e7) = (i64::from(block.band.load(FREE)) * SIDE, self.tiling.row_e7() as u32);
        let west = (all.trailing_zeros() as usize).min(SIDE as usize - 1);
        for row in columns.rows.0.max(south)..=columns.rows.1.min(south + SIDE - 1) {
            prefetch(&block.cells[(row - south) as usize * SIDE as usize + west]);
        }
        for row in columns.rows.0.max(south)..=columns.rows.1.min(south + SIDE - 1) {
            let index = (row - south) as usize;
            let partly = row >= columns.done_rows.0 && row <= columns.done_rows.1;
            let mut cells = witness.note(&block.rows[index])? as u16 & if partly { fresh } else { all };
            while cells != 0 {
                let place = cells.trailing_zeros();
                let word = &block.cells[index * SIDE as usize + place as usize];
                cells &= cells - 1;
                let head = Head(witness.note(word)?);
                visit(head, block.corner(index as u32 * SIDE as u32 + place, height_e7), witness.last());
            }
        }
        Ok(())
    }
}

/// Band (below 2^15) and column of blocks (below 2^16) as one number.
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
