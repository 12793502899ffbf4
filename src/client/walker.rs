//! A therapist on the move, for simulated fleets: straight legs at a steady speed.

use crate::cities::offset;
use crate::core::geo::LatLng;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

/// Where somebody is, and where to.
#[derive(Clone, Debug)]
pub struct Walker {
    at: LatLng,
    to: LatLng,
    speed_kmh: f64,
}

impl Walker {
    /// Stands still.
    pub fn new(at: LatLng, speed_kmh: f64) -> Self {
        Self { at, to: at, speed_kmh }
    }

    /// Sets out for `to`.
    pub fn head_for(&mut self, to: LatLng) {
        self.to = to;
    }

    /// Where.
    pub fn at(&self) -> LatLng {
        self.at
    }

    /// Whether the leg is done.
    pub fn is_there(&self) -> bool {
        self.at == self.to
    }

    /// Goes on for `seconds`, and says what a phone would: its time is left to the app.
    pub fn advance(&mut self, seconds: f64) -> Fix {
        let left = self.at.distance(self.to);
        let step = self.speed_kmh / 3.6 * seconds;
        let bearing = bearing(self.at, self.to);
        let moving = left.get() > 0.0;
        self.at = if step >= left.get() { self.to } else { offset(self.at, bearing, step / 1_000.0) };
        Fix {
            at: Timestamp::from_micros(0),
            place: self.at,
            accuracy_m: Some(8.0),
            heading: moving.then(|| bearing.to_degrees().rem_euclid(360.0) % 360.0),
            speed_kmh: Some(if moving { self.speed_kmh } else { 0.0 }),
            moving,
            battery_percent: Some(80),
        }
    }
}

/// Initial bearing of the great circle, radians clockwise from north.
fn bearing(from: LatLng, to: LatLng) -> f64 {
    let (lat1, lat2) = (from.latitude().to_radians(), to.latitude().to_radians());
    let dlng = (to.longitude() - from.longitude()).to_radians();
    (dlng.sin() * lat2.cos()).atan2(lat1.cos() * lat2.sin() - lat1.sin() * lat2.cos() * dlng.cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_straight_at_its_speed_and_stops_at_the_end() {
        let (from, to) = (LatLng::new(14.55, 121.0).expect("a place"), LatLng::new(14.55, 121.01).expect("a place"));
        let mut walker = Walker::new(from, 36.0);
        walker.head_for(to);
        let fix = walker.advance(10.0);
        assert!((from.distance(fix.place).get() - 100.0).abs() < 0.1);
        assert!(fix.heading.is_some_and(|h| (h - 90.0).abs() < 0.1));
        for _ in 0..20 {
            walker.advance(10.0);
        }
        assert!(walker.is_there());
        assert_eq!((walker.at(), walker.advance(10.0).moving), (to, false));
    }
}
