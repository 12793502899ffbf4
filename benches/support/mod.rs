//! What the benches share: the people they measure with, the grid and the tree they measure against, the table they print.
#![allow(dead_code, unreachable_pub)] // each bench uses its part

pub mod floor;
pub mod table;
pub mod tree;
pub mod world;
