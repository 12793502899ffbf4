//! HTTP and the websocket.

pub mod access;
pub mod auth;
pub mod extract;
pub mod guard;
pub mod locations;
pub mod problem;
pub mod rate_limit;
pub mod stream;

/// Longest body of a request, bytes.
pub const BODY_LIMIT: usize = 256 * 1024;
