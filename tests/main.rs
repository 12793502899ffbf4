//! Integration tests: one binary, one private PostgreSQL cluster.
// A test binary exports nothing, so `pub` here only means "to the other test modules".
#![allow(unreachable_pub)]
// A test that cannot go on panics; clippy's own exception covers only functions marked as tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod api;
mod apps;
mod assignment;
mod bookings;
mod chaos;
mod pings;
mod postgis;
mod postgres;
mod schema;
mod sim;
mod support;
mod tidy;
