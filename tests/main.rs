//! Integration tests: one binary, one private PostgreSQL cluster.
// A test binary exports nothing, so `pub` here only means "to the other test modules".
#![allow(unreachable_pub)]

mod schema;
mod support;
