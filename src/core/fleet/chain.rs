//! Lists of points that grow and shrink by one: chunks one after the other, all but the first full. Each list hangs on a
//! [`Word`]; the writer changes it within a [`Change`](super::word::Change) of that word.

use super::chunk::FREE;
use super::pool::Pool;
use super::prefetch::{prefetch, prefetch_whole};
use super::sync::AtomicU32;
use super::word::Word;

/// Things are added by segments of so many; one by one where loom keeps a history of each.
const SEGMENT: usize = if cfg!(feature = "loom") { 1 } else { 4_096 };
/// The same of chunks.
const CHUNKS: usize = if cfg!(feature = "loom") { 1 } else { 256 };

/// There is no more room: the index must be built anew, larger.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What a list's word says: one more than its first chunk, 0 if there is none, and how many points are in that.
#[derive(Clone, Copy)]
pub(super) struct Head(pub(super) u32);

impl Head {
    const fn new(chunk: u32, len: u32) -> Self {
        Self((chunk + 1) << 4 | len)
    }

    pub(super) const fn chunk(self) -> Option<u32> {
        (self.0 >> 4).checked_sub(1)
    }

    pub(super) const fn len(self) -> u32 {
        self.0 & 15
    }
}

/// Where the next chunk is and whose the list is.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// One more than the next chunk; 0: none.
    next: AtomicU32,
    owner: AtomicU32,
}

impl Link {
    pub(super) fn next(&self) -> Option<u32> {
        self.next.load(FREE).checked_sub(1)
    }

    /// Whose the list is, for the writer.
    pub(super) fn owner(&self) -> u32 {
        self.owner.load(FREE)
    }
}

/// Some points of a list.
pub(super) trait Chunk: Default {
    /// So many; fewer than 16.
    const ROOM: usize;

    fn link(&self) -> &Link;

    /// Makes a point what another of the same list is, and says whose slot that is.
    fn copy(&self, at: usize, from: &Self, last: usize) -> u32;
}

/// The lists' chunks, and who is where in them.
#[derive(Debug)]
pub(super) struct Chains<C> {
    chunks: Pool<C, CHUNKS>,
    /// By slot: chunk * 16 + place in it, plus one; 0: in no list.
    at: Pool<AtomicU32, SEGMENT>,
    /// How many points there are.
    len: AtomicU32,
}

/// What only the writer knows of them.
#[derive(Debug, Default)]
pub(super) struct Stock {
    free: Vec<u32>,
    used: u32,
}

impl<C: Chunk> Chains<C> {
    /// For up to `slots` points.
    pub(super) fn new(slots: usize) -> Self {
        // Each in a list of his own is the worst.
        Self { chunks: Pool::new(slots + 1), at: Pool::new(slots), len: AtomicU32::new(0) }
    }

    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.len.load(FREE) as usize
    }

    #[inline]
    pub(super) fn chunk(&self, index: u32) -> Option<&C> {
        self.chunks.get(index)
    }

    /// Where a point is.
    #[inline]
    pub(super) fn here(&self, slot: u32) -> Option<(&C, usize)> {
        let at = self.at.get(slot)?.load(FREE).checked_sub(1)?;
        Some((self.chunk(at / 16)?, (at % 16) as usize))
    }

    /// Whose list a point is in.
    pub(super) fn owner_of(&self, slot: u32) -> Option<u32> {
        let (chunk, _) = self.here(slot)?;
        Some(chunk.link().owner())
    }

    /// How many are in a list.
    pub(super) fn count(&self, head: Head) -> u64 {
        let mut sum = u64::from(head.len());
        let mut at = head.chunk().and_then(|index| self.chunk(index));
        while let Some(next) = at.and_then(|chunk| chunk.link().next()) {
            sum += C::ROOM as u64;
            at = self.chunk(next);
        }
        sum
    }

    // ---- for the writer

    /// Makes room for one more point.
    pub(super) fn prepare(&self, slot: u32, stock: &mut Stock) -> Result<(), Full> {
        if slot as usize >= self.at.capacity() || (stock.free.is_empty() && !self.add_chunk(stock)) {
            return Err(Full);
        }
        self.at.ensure(slot);
        Ok(())
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

    /// Puts a point that was prepared for, and is in no list, into one; says where. Constant time.
    pub(super) fn insert(&self, slot: u32, word: &Word, owner: u32, stock: &mut Stock) -> Option<(&C, usize)> {
        let at = self.at.get(slot)?;
        let head = Head(word.payload());
        let (index, len) = match head.chunk() {
            Some(first) if (head.len() as usize) < C::ROOM => (first, head.len()),
            first => {
                let index = stock.free.pop()?;
                let link = self.chunk(index)?.link();
                link.next.store(first.map_or(0, |first| first + 1), FREE);
                link.owner.store(owner, FREE);
                (index, 0)
            }
        };
        word.set(Head::new(index, len + 1).0);
        at.store(index * 16 + len + 1, FREE);
        self.len.store(self.len.load(FREE) + 1, FREE);
        Some((self.chunk(index)?, len as usize))
    }

    /// Takes a point out of the list on this word. Constant time: the last of the first chunk takes its place.
    pub(super) fn remove(&self, slot: u32, word: &Word, stock: &mut Stock) -> Option<()> {
        let (chunk, at) = self.here(slot)?;
        // Only the first chunk may have room, so the hole is filled from there.
        let (head, first) = (Head(word.payload()), Head(word.payload()).chunk()?);
        let (first_chunk, last) = (self.chunk(first)?, head.len() - 1);
        let moved = chunk.copy(at, first_chunk, last as usize);
        let freed = self.at.get(slot)?;
        self.at.get(moved)?.store(freed.load(FREE), FREE);
        freed.store(0, FREE);
        self.len.store(self.len.load(FREE) - 1, FREE);
        if last > 0 {
            word.set(Head::new(first, last).0);
            return Some(());
        }
        stock.free.push(first);
        word.set(first_chunk.link().next().map_or(0, |next| Head::new(next, C::ROOM as u32).0));
        Some(())
    }

    /// Asks for the first points of the list on this word.
    pub(super) fn prefetch_first(&self, word: &Word) {
        if let Some(chunk) = Head(word.payload()).chunk().and_then(|index| self.chunk(index)) {
            prefetch_whole(chunk);
        }
    }

    /// Asks for where a point is noted to be: the first of two steps towards it.
    pub(super) fn prefetch_note(&self, slot: u32) {
        if let Some(at) = self.at.get(slot) {
            prefetch(at);
        }
    }
}
