//! The atomics of the index: std's, or those of loom, which tries many orders in which threads could see them.

#[cfg(feature = "loom")]
pub(super) use loom::sync::atomic::{AtomicI32, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(feature = "loom"))]
pub(super) use std::sync::atomic::{AtomicI32, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
