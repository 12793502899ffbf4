//! The only place that asks what time it is (`clippy.toml` bans it elsewhere).
#![allow(clippy::disallowed_methods)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::time::Timestamp;

/// Wall clock, microseconds since 1970 UTC.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// For durations: never steps back.
pub fn monotonic() -> Instant {
    Instant::now()
}
