//! Spacall dispatch: where every therapist is, who is nearest, who takes the booking.
//!
//! A pure [`core`] (live index, matcher, dispatch machine) in a thin shell. Imports run one way:
//! `http`, `engine` -> `store`, `cluster`, `wire` -> `core`. `ARCHITECTURE.md` walks a request through the crate.

pub mod cities;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod core;
pub mod demo;
pub mod engine;
pub mod http;
pub mod node;
pub mod postgres;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod wire;
