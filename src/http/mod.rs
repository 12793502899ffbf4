//! HTTP and the websocket.

pub mod access;
pub mod auth;
pub mod extract;
pub mod guard;
pub mod problem;
pub mod page;
pub mod rate_limit;
pub mod revocation;

/// Longest body of a request, bytes.
pub const BODY_LIMIT: usize = 256 * 1024;
