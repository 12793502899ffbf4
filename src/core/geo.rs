//! Places and distances.
//!
//! **The one metric** is the great-circle distance on a sphere of the Earth's mean radius ([`EARTH_RADIUS_M`], the one
//! that PostGIS uses for `ST_Distance(a, b, use_spheroid => false)`), by the haversine formula (R. W. Sinnott, 1984):
//! well-conditioned for the short distances that matter here, defined everywhere, cheap to bound from below.
//! It differs from PostGIS' spheroid by at most 0.57 %, from its sphere by less than a centimetre over Metro Manila.

mod public;

use std::fmt;
use std::num::NonZeroU32;

use rust_decimal::Decimal;

pub(crate) use public::{CELL_REACH, SIDES};
pub use public::{Neighbours, Outline, PublicPosition, area, area_cell, public_position};

/// Mean radius of WGS84, (2a + b) / 3, in metres.
pub const EARTH_RADIUS_M: f64 = 6_371_008.771_415_06;

/// A place on Earth, kept in 1e-7 degree (about 1 cm), the resolution of the binary wire format.
/// Every place that enters the service is rounded to it once, so index, wire and database hold the same numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LatLng {
    /// The latitude above -2^31, in 1e-7 degree: in the order of latitudes, and never 0, so that an `Option<LatLng>` is as
    /// small as a place.
    lat_shifted: NonZeroU32,
    lng_e7: i32,
}

/// Turns an `i32` into a `u32` of the same order, and back.
const SHIFT: u32 = 1 << 31;

/// Why a pair of numbers is not a place.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum InvalidLatLng {
    /// Latitude, in degrees, as given.
    #[error("latitude {0} is outside -90..90")]
    Latitude(f64),
    /// Longitude, in degrees, as given.
    #[error("longitude {0} is outside -180..180")]
    Longitude(f64),
}

impl LatLng {
    /// From degrees. NaN and infinities are refused like any other value outside the range.
    pub fn new(latitude: f64, longitude: f64) -> Result<Self, InvalidLatLng> {
        if !(-90.0..=90.0).contains(&latitude) {
            return Err(InvalidLatLng::Latitude(latitude));
        }
        if !(-180.0..=180.0).contains(&longitude) {
            return Err(InvalidLatLng::Longitude(longitude));
        }
        Ok(Self::within((latitude * 1e7).round() as i32, (longitude * 1e7).round() as i32))
    }

    /// From 1e-7 degrees, as the binary wire format carries them.
    #[inline]
    pub fn from_e7(lat_e7: i32, lng_e7: i32) -> Result<Self, InvalidLatLng> {
        if lat_e7.unsigned_abs() > 900_000_000 {
            return Err(InvalidLatLng::Latitude(f64::from(lat_e7) / 1e7));
        }
        if lng_e7.unsigned_abs() > 1_800_000_000 {
            return Err(InvalidLatLng::Longitude(f64::from(lng_e7) / 1e7));
        }
        Ok(Self::within(lat_e7, lng_e7))
    }

    /// Of numbers that are within the ranges.
    fn within(lat_e7: i32, lng_e7: i32) -> Self {
        // Only -2^31 would come to 0, and no latitude is that far south.
        let lat_shifted = NonZeroU32::new(lat_e7.cast_unsigned() ^ SHIFT).unwrap_or(NonZeroU32::MIN);
        Self { lat_shifted, lng_e7 }
    }

    /// Latitude in degrees, north positive.
    pub fn latitude(self) -> f64 {
        f64::from(self.lat_e7()) / 1e7
    }

    /// Longitude in degrees, east positive.
    pub fn longitude(self) -> f64 {
        f64::from(self.lng_e7) / 1e7
    }

    /// Latitude in 1e-7 degree.
    pub const fn lat_e7(self) -> i32 {
        (self.lat_shifted.get() ^ SHIFT).cast_signed()
    }

    /// Longitude in 1e-7 degree.
    pub const fn lng_e7(self) -> i32 {
        self.lng_e7
    }

    /// The one metric (see the module). Symmetric to the last bit: it depends on the differences and on a product.
    pub fn distance(self, other: Self) -> Meters {
        Vantage::of(self).distance(other)
    }

    /// True only if the other place is no farther than that. Cheap: degrees of longitude count as if they were at the
    /// equator, where they are longest.
    pub fn is_surely_within(self, distance: Meters, other: Self) -> bool {
        let dlat = f64::from(self.lat_e7()) - f64::from(other.lat_e7());
        let dlng = f64::from(self.lng_e7) - f64::from(other.lng_e7);
        let reach_e7 = distance.get() * SURELY_E7_IN_METRE;
        dlat * dlat + dlng * dlng <= reach_e7 * reach_e7
    }
}

/// A place from which many distances are measured; the same numbers as [`LatLng::distance`], a little faster.
#[derive(Clone, Copy, Debug)]
pub struct Vantage {
    place: LatLng,
    cos_lat: f64,
}

impl Vantage {
    /// From here.
    pub fn of(place: LatLng) -> Self {
        Self { place, cos_lat: cosine(place.lat_e7()) }
    }

    /// The one metric.
    pub fn distance(&self, other: LatLng) -> Meters {
        let half = |a: i32, b: i32| (f64::from(a) - f64::from(b)) * (E7_RAD / 2.0);
        let (half_dlat, half_dlng) = (half(self.place.lat_e7(), other.lat_e7()), half(self.place.lng_e7, other.lng_e7));
        let cosines = self.cos_lat * cosine(other.lat_e7());
        let (sin_lat, sin_lng) = (sine(half_dlat), sine(half_dlng));
        let h = sin_lat * sin_lat + cosines * (sin_lng * sin_lng);
        Meters(2.0 * EARTH_RADIUS_M * arc_sine(h.sqrt().min(1.0)))
    }
}

/// A little less than 1e-7 degrees of latitude in a metre.
const SURELY_E7_IN_METRE: f64 = (1.0 - 1e-9) / (EARTH_RADIUS_M * E7_RAD);

/// Radians in 1e-7 degree.
pub(crate) const E7_RAD: f64 = std::f64::consts::PI / 1_800_000_000.0;

/// Of a latitude in 1e-7 degree. Not the platform's: it is the same everywhere, and does not switch rounding modes.
pub(crate) fn cosine(e7: i32) -> f64 {
    libm::cos(f64::from(e7) * E7_RAD)
}

/// Below this angle (57 km on the Earth) a few terms of the series are exact to the last bits of a double, and cheaper.
const SMALL: f64 = 0.009;

/// x - x³/3! + x⁵/5! - x⁷/7!: the next term is below 1e-21 x.
pub(crate) fn sine(x: f64) -> f64 {
    const TERMS: [f64; 3] = [1.0 / 6.0, 1.0 / 120.0, 1.0 / 5_040.0];
    let square = x * x;
    if square > SMALL * SMALL {
        return libm::sin(x);
    }
    x - x * square * (TERMS[0] - square * (TERMS[1] - square * TERMS[2]))
}

/// x + x³/6 + 3x⁵/40 + 15x⁷/336: the next term is below 1e-17 x.
pub(crate) fn arc_sine(x: f64) -> f64 {
    const TERMS: [f64; 3] = [1.0 / 6.0, 3.0 / 40.0, 15.0 / 336.0];
    let square = x * x;
    if square > SMALL * SMALL {
        return libm::asin(x);
    }
    x + x * square * (TERMS[0] + square * (TERMS[1] + square * TERMS[2]))
}

impl fmt::Debug for LatLng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatLng").field("lat_e7", &self.lat_e7()).field("lng_e7", &self.lng_e7).finish()
    }
}

impl fmt::Display for LatLng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.7},{:.7}", self.latitude(), self.longitude())
    }
}

/// A length in metres: never NaN, never negative.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Meters(f64);

impl Meters {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);

    /// From metres; NaN and negative numbers have no meaning here and become zero.
    pub fn new(meters: f64) -> Self {
        Self(meters.max(0.0))
    }

    /// From kilometres.
    pub fn from_km(km: f64) -> Self {
        Self::new(km * 1_000.0)
    }

    /// In metres.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// In kilometres.
    pub fn km(self) -> f64 {
        self.0 / 1_000.0
    }

    /// The shorter of two lengths.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }
}

impl Eq for Meters {}

// Total because NaN cannot be made.
#[allow(clippy::derive_ord_xor_partial_ord)]
impl Ord for Meters {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Kilometres to two decimals, half away from zero: the distance that a surcharge is computed from.
pub fn km_2(distance: Meters) -> Decimal {
    // No distance here reaches i64's range: the cast saturates and the Earth ends at 20,016 km.
    Decimal::new((distance.get() / 10.0).round() as i64, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_to_the_last_digit_in_the_order_of_latitudes_and_one_that_may_be_missing_is_as_small() {
        assert_eq!(size_of::<Option<LatLng>>(), 8);
        let latitudes = [-900_000_000, -899_999_999, -1, 0, 1, 145_500_000, 899_999_999, 900_000_000];
        let places: Vec<_> = latitudes
            .into_iter()
            .flat_map(|lat| [-1_800_000_000, -1, 0, 1_210_000_000, 1_800_000_000].map(|lng| (lat, lng)))
            .collect();
        for (n, &(lat, lng)) in places.iter().enumerate() {
            let place = LatLng::from_e7(lat, lng).expect("a place");
            assert_eq!((place.lat_e7(), place.lng_e7()), (lat, lng));
            assert_eq!((place.latitude(), place.longitude()), (f64::from(lat) / 1e7, f64::from(lng) / 1e7));
            assert_eq!(LatLng::new(place.latitude(), place.longitude()), Ok(place));
            assert_eq!(format!("{place:?}"), format!("LatLng {{ lat_e7: {lat}, lng_e7: {lng} }}"));
            for &(north, east) in &places[n + 1..] {
                assert!(place < LatLng::from_e7(north, east).expect("a place"), "{place} < {north} {east}");
            }
        }
    }
}
