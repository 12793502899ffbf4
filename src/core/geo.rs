//! Places and distances.
//!
//! **The one metric** is the great-circle distance on a sphere of the Earth's mean radius ([`EARTH_RADIUS_M`], the one
//! that PostGIS uses for `ST_Distance(a, b, use_spheroid => false)`), by the haversine formula (R. W. Sinnott, 1984):
//! well-conditioned for the short distances that matter here, defined everywhere, cheap to bound from below.
//! It differs from PostGIS' spheroid by at most 0.57 %, from its sphere by less than a centimetre over Metro Manila.

use std::fmt;

use h3o::Resolution;
use rust_decimal::Decimal;

/// Mean radius of WGS84, (2a + b) / 3, in metres.
pub const EARTH_RADIUS_M: f64 = 6_371_008.771_415_06;

/// A place on Earth, kept in 1e-7 degree (about 1 cm), the resolution of the binary wire format.
/// Every place that enters the service is rounded to it once, so index, wire and database hold the same numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LatLng {
    lat_e7: i32,
    lng_e7: i32,
}

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
        Ok(Self { lat_e7: (latitude * 1e7).round() as i32, lng_e7: (longitude * 1e7).round() as i32 })
    }

    /// From 1e-7 degrees, as the binary wire format carries them.
    pub fn from_e7(lat_e7: i32, lng_e7: i32) -> Result<Self, InvalidLatLng> {
        if !(-900_000_000..=900_000_000).contains(&lat_e7) {
            return Err(InvalidLatLng::Latitude(f64::from(lat_e7) / 1e7));
        }
        if !(-1_800_000_000..=1_800_000_000).contains(&lng_e7) {
            return Err(InvalidLatLng::Longitude(f64::from(lng_e7) / 1e7));
        }
        Ok(Self { lat_e7, lng_e7 })
    }

    /// Latitude in degrees, north positive.
    pub fn latitude(self) -> f64 {
        f64::from(self.lat_e7) / 1e7
    }

    /// Longitude in degrees, east positive.
    pub fn longitude(self) -> f64 {
        f64::from(self.lng_e7) / 1e7
    }

    /// Latitude in 1e-7 degree.
    pub const fn lat_e7(self) -> i32 {
        self.lat_e7
    }

    /// Longitude in 1e-7 degree.
    pub const fn lng_e7(self) -> i32 {
        self.lng_e7
    }

    /// The one metric (see the module). Symmetric to the last bit: it depends on the differences and on a product.
    pub fn distance(self, other: Self) -> Meters {
        let (lat1, lat2) = (self.latitude().to_radians(), other.latitude().to_radians());
        let half_dlat = ((f64::from(self.lat_e7) - f64::from(other.lat_e7)) / 1e7).to_radians() / 2.0;
        let half_dlng = ((f64::from(self.lng_e7) - f64::from(other.lng_e7)) / 1e7).to_radians() / 2.0;
        let h = half_dlat.sin().powi(2) + lat1.cos() * lat2.cos() * half_dlng.sin().powi(2);
        Meters(2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin())
    }
}

impl fmt::Display for LatLng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.7},{:.7}", self.latitude(), self.longitude())
    }
}

/// A length in metres: never NaN, never negative.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
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

/// Where a therapist is, as far as the public may know: the H3 cell of resolution 9 (about 0.1 km²) and its centre.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicPosition {
    /// The cell's H3 index.
    pub cell: u64,
    /// Its centre, rounded like every place here.
    pub centre: LatLng,
}

/// No place is farther from the centre of its H3 cell of resolution 9 than this.
///
/// H3 draws equal hexagons on the planes of an icosahedron's faces, centres 0.381966 / √7⁹ apart at resolution 9, that
/// is 383.08 m on the Earth, corners 221.17 m from the centre. Projecting a plane back onto the sphere only shortens
/// (cos θ across, cos² θ along), a cell folded over an edge of the icosahedron included. The rest is for rounding.
pub const PUBLIC_CELL_CIRCUMRADIUS: Meters = Meters(222.0);

/// A place this near to the centre of an H3 cell of resolution 9 lies in that cell: the inner radius in the plane,
/// 191.54 m, shortened by at most cos² 37.377° (a corner of the icosahedron's face) is 120.95 m.
pub const PUBLIC_CELL_INRADIUS: Meters = Meters(120.0);

/// The public position of a place.
pub fn public_position(place: LatLng) -> PublicPosition {
    let cell = cell_of(place, Resolution::Nine);
    PublicPosition { cell: cell.into(), centre: centre_of(cell) }
}

fn centre_of(cell: h3o::CellIndex) -> LatLng {
    let centre = h3o::LatLng::from(cell);
    LatLng::new(centre.lat(), centre.lng()).expect("h3o's centres are within the ranges")
}

/// The H3 cell of resolution 8 (about 0.7 km²) around a place: where an offer shows the customer to be.
pub fn area_cell(place: LatLng) -> u64 {
    area(place).cell
}

/// That cell and its centre.
pub fn area(place: LatLng) -> PublicPosition {
    let cell = cell_of(place, Resolution::Eight);
    PublicPosition { cell: cell.into(), centre: centre_of(cell) }
}

fn cell_of(place: LatLng, resolution: Resolution) -> h3o::CellIndex {
    h3o::LatLng::new(place.latitude(), place.longitude()).expect("degrees of a place are finite").to_cell(resolution)
}

/// Kilometres to two decimals, half away from zero: the distance that a surcharge is computed from.
pub fn km_2(distance: Meters) -> Decimal {
    // No distance here reaches i64's range: the cast saturates and the Earth ends at 20,016 km.
    Decimal::new((distance.get() / 10.0).round() as i64, 2)
}
