//! Asking the memory early for what will be read soon, so that many lines are on their way at once. Only speed depends
//! on it.

/// Bytes that the memory gives at once.
const LINE: usize = 64;

/// Asks for the line on which a thing begins.
#[inline]
pub(super) fn prefetch<T>(thing: &T) {
    ask_for(std::ptr::from_ref(thing).cast());
}

/// Asks for all lines of a thing.
#[inline]
pub(super) fn prefetch_whole<T>(thing: &T) {
    let start = std::ptr::from_ref(thing).cast::<u8>();
    (0..size_of::<T>()).step_by(LINE).for_each(|at| ask_for(start.wrapping_add(at)));
    // What does not begin on a line may end on one more.
    if align_of::<T>() < LINE {
        ask_for(start.wrapping_add(size_of::<T>().saturating_sub(1)));
    }
}

#[inline]
fn ask_for(at: *const u8) {
    // SAFETY: `prefetcht0` is a hint: it reads and writes nothing that a program can see, and faults at no address. It is
    // part of SSE, which every x86_64 has.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
