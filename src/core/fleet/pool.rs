//! Things by small numbers that stay where they are while more are added, so that readers need no lock to reach them.

use std::sync::OnceLock;

/// Segments of so many things, made when first needed.
#[derive(Debug)]
pub(super) struct Pool<T> {
    segments: Box<[OnceLock<Box<[T]>>]>,
    /// Things to a segment, as a power of two.
    bits: u32,
}

impl<T: Default> Pool<T> {
    /// For up to `capacity` things in segments of 2^`bits`. The things themselves take no room until they are added.
    pub(super) fn new(capacity: usize, bits: u32) -> Self {
        let segments = (0..capacity.div_ceil(1 << bits)).map(|_| OnceLock::new()).collect();
        Self { segments, bits }
    }

    /// How many there can be.
    pub(super) fn capacity(&self) -> usize {
        self.segments.len() << self.bits
    }

    /// Makes sure that the thing exists; the number is below the capacity.
    pub(super) fn ensure(&self, index: u32) {
        self.segments[(index >> self.bits) as usize]
            .get_or_init(|| (0..1usize << self.bits).map(|_| T::default()).collect());
    }

    /// The thing, if it was added.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let segment = self.segments.get((index >> self.bits) as usize)?.get()?;
        segment.get((index & ((1 << self.bits) - 1)) as usize)
    }
}
