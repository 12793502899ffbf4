//! What trackers that exist today send, read as fixes: OwnTracks ([`owntracks`]), Traccar Client and OsmAnd ([`osmand`]).
//!
//! These apps cannot be changed, so an extra (accuracy, heading, speed, battery) that makes no sense is left out and the
//! place is kept. Time and place decide: a fix without either is refused, never stamped or placed by a guess.

pub mod osmand;
pub mod owntracks;

use super::fix::{Fault, MAX_ACCURACY_M, MAX_SPEED_KMH, check_time, place};
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

/// One position of a message: a fix, or a code and a text that says why it is none.
pub type Read = Result<Fix, Fault>;

/// Of one position, in our units, unchecked.
#[derive(Default)]
struct Told {
    at: Option<Timestamp>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    accuracy_m: Option<f64>,
    heading: Option<f64>,
    speed_kmh: Option<f64>,
    moving: Option<bool>,
    battery_percent: Option<f64>,
}

impl Told {
    /// `names`: what this protocol calls time, latitude and longitude.
    fn judge(self, names: [&str; 3], now: Timestamp, limits: &PingLimits) -> Read {
        let missing = |name: &str| ("missing_field", format!("{name} is missing"));
        let at = self.at.ok_or_else(|| missing(names[0]))?;
        let latitude = self.latitude.ok_or_else(|| missing(names[1]))?;
        let place = place(latitude, self.longitude.ok_or_else(|| missing(names[2]))?)?;
        check_time(at, now, limits)?;
        let within = |value: Option<f64>, high: f64| value.filter(|v| (0.0..=high).contains(v));
        let speed_kmh = within(self.speed_kmh, MAX_SPEED_KMH);
        Ok(Fix {
            at,
            place,
            accuracy_m: within(self.accuracy_m, MAX_ACCURACY_M),
            heading: within(self.heading, 360.0).map(|degrees| degrees % 360.0),
            speed_kmh,
            moving: self.moving.unwrap_or(speed_kmh.is_some_and(|kmh| kmh > 0.0)),
            battery_percent: within(self.battery_percent, 100.0).map(|percent| percent.round() as u8),
        })
    }
}

/// Unix time in seconds.
fn seconds(value: f64) -> Timestamp {
    // `as` saturates: what is out of range is out of every limit too.
    Timestamp::from_micros((value * 1e6).round() as i64)
}
