//! HTTP and the websocket: a router, a guard before it, one file per resource.
//!
//! A handler reads: who asks (the guard has let him in), what is asked (every wrong value named), the store or the
//! engine, the answer. [`access::ROUTES`] says who may call what; the OpenAPI document is made from the handlers.

pub mod access;
pub mod app;
pub mod auth;
pub mod bookings;
mod credentials;
mod desk;
pub mod docs;
pub mod events;
pub mod extract;
mod fields;
pub mod guard;
pub mod health;
pub mod heat;
pub mod idempotency;
mod json;
mod listen;
pub mod locations;
pub mod me;
mod measures;
pub mod nearby;
pub mod new_booking;
mod new_visit;
pub mod offers;
pub mod ops;
pub mod page;
mod payment;
pub mod problem;
pub mod rate_limit;
pub mod revocation;
pub mod scheduling;
pub mod services;
pub mod settings;
mod sse;
pub mod stores;
pub mod stream;
mod trackers;

pub use app::{App, openapi};
pub use docs::{asyncapi_json, openapi_json};

/// Longest body of a request, bytes.
pub const BODY_LIMIT: usize = 512 * 1024;
