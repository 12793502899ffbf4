//! HTTP and the websocket: a router, a guard before it, one file per resource.
//!
//! A handler reads: who asks (the guard has let him in), what is asked (every wrong value named), the store or the
//! engine, the answer. [`access::ROUTES`] says who may call what; the OpenAPI document is made from the handlers.

pub mod access;
pub mod accounts;
pub mod addresses;
pub mod app;
pub mod attempts;
pub mod audit_logs;
pub mod auth;
pub mod blocks;
pub mod bookings;
mod columns;
mod credentials;
mod desk;
pub mod device_tokens;
pub mod docs;
pub mod door;
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
pub mod messages;
pub mod nearby;
pub mod new_booking;
mod new_visit;
pub mod notes;
pub mod notifications;
pub mod offers;
pub mod ops;
pub mod page;
pub mod passwords;
mod payment;
pub mod payouts;
pub mod peer;
mod person;
pub mod problem;
pub mod promo_codes;
pub mod providers;
pub mod rate_limit;
mod readers;
pub mod reviews;
pub mod revocation;
pub mod roles;
pub mod scheduling;
pub mod service_categories;
pub mod services;
pub mod settings;
mod sse;
pub mod stores;
pub mod stream;
pub mod tips;
pub mod tokens;
mod trackers;
pub mod transactions;
pub mod turns;
pub mod users;
pub mod wallet;

pub use app::{App, openapi};
pub use docs::{asyncapi_json, openapi_json};

/// Longest body of a request, bytes.
pub const BODY_LIMIT: usize = 512 * 1024;
