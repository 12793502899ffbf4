//! Things by small numbers that stay where they are while more are added, so that readers need no lock to reach them.

use std::sync::OnceLock;

/// Segments of `N` things each, a power of two, made when first needed.
#[derive(Debug)]
pub(super) struct Pool<T, const N: usize> {
    segments: Box<[OnceLock<Box<[T; N]>>]>,
}

impl<T: Default, const N: usize> Pool<T, N> {
    /// For up to `capacity` things. They take no room until they are added.
    pub(super) fn new(capacity: usize) -> Self {
        const { assert!(N.is_power_of_two(), "a number is parted by a shift") };
        Self { segments: (0..capacity.div_ceil(N)).map(|_| OnceLock::new()).collect() }
    }

    /// How many there can be.
    pub(super) fn capacity(&self) -> usize {
        self.segments.len() * N
    }

    /// Makes sure that the thing exists; the number is below the capacity.
    pub(super) fn ensure(&self, index: u32) {
        self.segments[index as usize / N].get_or_init(|| {
            let things: Box<[T]> = (0..N).map(|_| T::default()).collect();
            things.try_into().unwrap_or_else(|_| unreachable!("they are as many"))
        });
    }

    /// The thing, if it was added.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let segment = self.segments.get(index as usize / N)?.get()?;
        Some(&segment[index as usize % N])
    }
}
