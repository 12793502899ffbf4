//! The seeded fleet, and the demo that plays with it.

mod demo;
mod fleet;
