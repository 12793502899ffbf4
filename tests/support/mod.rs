//! What the integration tests share: one private cluster per test process, a database per test.

pub mod cluster;

pub use cluster::database;
