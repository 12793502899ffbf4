//! The index against brute force: over the whole Earth, while everything changes, and from several threads.

mod attributes;
mod concurrent;
mod exact;
mod fixes;
mod geometry;
#[cfg(feature = "loom")]
mod loom;
mod world;
