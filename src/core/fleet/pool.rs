//! Things by small numbers that stay where they are while more are added, so that readers need no lock to reach them.

use std::sync::OnceLock;

/// Segments of 2^`BITS` things each, made when first needed.
#[derive(Debug)]
pub(super) struct Pool<T, const BITS: u32> {
    segments: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default, const BITS: u32> Pool<T, BITS> {
    /// For up to `capacity` things. They take no room until they are added.
    pub(super) fn new(capacity: usize) -> Self {
        Self { segments: (0..capacity.div_ceil(1 << BITS)).map(|_| OnceLock::new()).collect() }
    }

    /// How many there can be.
    pub(super) fn capacity(&self) -> usize {
        self.segments.len() << BITS
    }

    /// Makes sure that the thing exists; the number is below the capacity.
    pub(super) fn ensure(&self, index: u32) {
        self.segments[(index >> BITS) as usize].get_or_init(|| (0..1usize << BITS).map(|_| T::default()).collect());
    }

    /// The thing, if it was added.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let segment = self.segments.get((index >> BITS) as usize)?.get()?;
        segment.get((index & ((1 << BITS) - 1)) as usize)
    }
}
