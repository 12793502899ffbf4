//! Time as the core sees it: microseconds since 1970 UTC, always handed in, never asked for.

use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z: PostgreSQL's own resolution, so that a time survives the round trip.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since 1970 UTC; saturates (the wire carries any i64).
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// From whole seconds since 1970 UTC; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since 1970 UTC.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This time and `by` more; saturates.
    #[must_use]
    pub const fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(by)))
    }

    /// This time and `by` less; saturates.
    #[must_use]
    pub const fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(by)))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub const fn since(self, earlier: Self) -> Duration {
        let d = self.0.saturating_sub(earlier.0);
        if d <= 0 { Duration::ZERO } else { Duration::from_micros(d as u64) }
    }
}

const fn micros_of(d: Duration) -> i64 {
    let m = d.as_micros();
    if m > i64::MAX as u128 { i64::MAX } else { m as i64 }
}
