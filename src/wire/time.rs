//! Times on the wire: RFC 3339 with an offset in, UTC out.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::time::Timestamp;

/// A [`Timestamp`] as the wire writes it. A text without an offset is refused: nobody can know what it means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WireTime(pub Timestamp);

impl WireTime {
    /// Reads RFC 3339; `None` for anything else, a missing offset included. Finer than a microsecond is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let at = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(Timestamp::from_micros(at.timestamp_micros())))
    }
}

/// The same instant for sqlx; `None` outside chrono's years (±262,000).
pub fn to_chrono(at: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at.micros())
}

/// The same instant for the core.
pub fn from_chrono(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
}

impl std::fmt::Display for WireTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match to_chrono(self.0) {
            Some(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} us since 1970", self.0.micros()),
        }
    }
}

impl Serialize for WireTime {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is not a time like 2026-11-22T09:00:00Z, with an offset"))
        })
    }
}

impl From<DateTime<Utc>> for WireTime {
    fn from(at: DateTime<Utc>) -> Self {
        Self(from_chrono(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_offsets_and_writes_utc() {
        let at = WireTime::parse("2026-11-22T17:00:00.123456+08:00").expect("RFC 3339");
        assert_eq!(at.to_string(), "2026-11-22T09:00:00.123456Z");
    }

    #[test]
    fn a_time_without_an_offset_is_refused() {
        assert_eq!(WireTime::parse("2026-11-22T09:00:00"), None);
    }
}
