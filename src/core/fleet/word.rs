//! How a reader knows that what it read was true at one instant, without a lock.
//!
//! Whatever is shared hangs on [`Word`]s: 32 bits of payload (the first chunk of a cell, which cells of a row hold
//! somebody) and a version that every change moves on. A writer makes the words of all that it is about to change odd,
//! changes it, and makes them even again ([`Change`]). A reader notes each word before it reads what hangs on it
//! ([`Witness`]) and looks at all of them again at the end: if none has moved, then nothing that it read changed
//! between its last reading and this look, so all of it was true together at that instant. Otherwise it reads again.
//!
//! This is optimistic concurrency control (Kung and Robinson, 1981) over sequence locks, with the fences of H.-J. Boehm,
//! "Can seqlocks get along with programming language memory models?" (2012). Only atomics: no `unsafe`.

use smallvec::SmallVec;

use super::sync::{AtomicU64, Ordering, fence};

/// One step of the version, which is the upper half.
const STEP: u64 = 1 << 32;

/// A payload of 32 bits with a version; odd while what hangs on it is being changed.
#[derive(Debug, Default)]
pub(super) struct Word(AtomicU64);

impl Word {
    /// The payload, for the one writer.
    pub(super) fn payload(&self) -> u32 {
        self.0.load(Ordering::Relaxed) as u32
    }

    /// Changes the payload of a word that is being changed; the version stays.
    pub(super) fn set(&self, payload: u32) {
        let word = self.0.load(Ordering::Relaxed);
        self.0.store(word & !(STEP - 1) | u64::from(payload), Ordering::Relaxed);
    }

    /// Changes payload and version at once, for a word on which nothing else hangs. Within a [`Change`] of what it
    /// tells of.
    pub(super) fn publish(&self, payload: u32) {
        let word = self.0.load(Ordering::Relaxed);
        self.0.store((word & !(STEP - 1)).wrapping_add(2 * STEP) | u64::from(payload), Ordering::Release);
    }

    fn step(&self, order: Ordering) {
        let word = self.0.load(Ordering::Relaxed);
        self.0.store(word.wrapping_add(STEP), order);
    }
}

/// A change of several cells that no reader sees in part: the words are odd while it lives.
pub(super) struct Change<'t, const M: usize, const N: usize> {
    words: [[Option<&'t Word>; M]; N],
}

impl<'t, const M: usize, const N: usize> Change<'t, M, N> {
    /// Of what hangs on these words; each may be named more than once. For the one writer.
    pub(super) fn of(mut words: [[Option<&'t Word>; M]; N]) -> Self {
        let all = words.as_flattened_mut();
        for at in 0..all.len() {
            let (before, rest) = all.split_at_mut(at);
            let Some(word) = rest[0] else { continue };
            if before.iter().flatten().any(|other| std::ptr::eq(*other, word)) {
                rest[0] = None;
            } else {
                word.step(Ordering::Relaxed);
            }
        }
        // Whoever sees any of what follows sees the words odd, or later.
        fence(Ordering::Release);
        Self { words }
    }
}

impl<const M: usize, const N: usize> Drop for Change<'_, M, N> {
    fn drop(&mut self) {
        for word in self.words.as_flattened().iter().flatten() {
            word.step(Ordering::Release);
        }
    }
}

/// A change was going on: what was read may never have been true.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overlap;

/// One word that a reader noted.
#[derive(Clone, Copy)]
pub(super) struct Note(usize);

/// What a reader has relied on.
#[derive(Debug, Default)]
pub(super) struct Witness<'t> {
    /// Room for a search of a few cells.
    seen: SmallVec<[(&'t Word, u64); 64]>,
}

impl<'t> Witness<'t> {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Notes a word and gives its payload. Read what hangs on it afterwards.
    pub(super) fn note(&mut self, word: &'t Word) -> Result<u32, Overlap> {
        let value = word.0.load(Ordering::Acquire);
        if value & STEP != 0 {
            return Err(Overlap);
        }
        self.seen.push((word, value));
        Ok(value as u32)
    }

    /// What was noted last.
    pub(super) fn last(&self) -> Note {
        Note(self.seen.len() - 1)
    }

    /// Whether that word stands as it did: what was read from it so far can be followed.
    pub(super) fn still_stands(&self, Note(at): Note) -> Result<(), Overlap> {
        fence(Ordering::Acquire);
        let (word, value) = self.seen[at];
        if word.0.load(Ordering::Relaxed) == value { Ok(()) } else { Err(Overlap) }
    }

    /// Whether all that was read since the words were noted was true at one instant: this one.
    pub(super) fn stands(&self) -> Result<(), Overlap> {
        fence(Ordering::Acquire);
        let stands = self.seen.iter().all(|(word, value)| word.0.load(Ordering::Relaxed) == *value);
        if stands { Ok(()) } else { Err(Overlap) }
    }
}
