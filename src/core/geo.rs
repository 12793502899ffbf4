//! Places and distances.
//!
//! **The one metric** is the great-circle distance on a sphere of the Earth's mean radius ([`EARTH_RADIUS_M`], the one
//! that PostGIS uses for `ST_Distance(a, b, use_spheroid => false)`), by the haversine formula (R. W. Sinnott, 1984):
//! well-conditioned for the short distances that matter here, defined everywhere, cheap to bound from below.
//! It differs from PostGIS' spheroid by at most 0.57 %, from its sphere by less than a centimetre over Metro Manila.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use h3o::Resolution;
use rust_decimal::Decimal;

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
    pub fn from_e7(lat_e7: i32, lng_e7: i32) -> Result<Self, InvalidLatLng> {
        if !(-900_000_000..=900_000_000).contains(&lat_e7) {
            return Err(InvalidLatLng::Latitude(f64::from(lat_e7) / 1e7));
        }
        if !(-1_800_000_000..=1_800_000_000).contains(&lng_e7) {
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
        let reach_e7 = distance.get() / EARTH_RADIUS_M / 1e-7f64.to_radians() * (1.0 - 1e-9);
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

/// Where a therapist is, as far as the public may know: the H3 cell of resolution 9 (about 0.1 km²) and its centre.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicPosition {
    /// The cell's H3 index.
    pub cell: u64,
    /// Its centre, rounded like every place here.
    pub centre: LatLng,
}

/// A circle around the centre of an H3 cell of resolution 9 that lies within the cell: while somebody moves in it, his
/// public position is known without asking H3, which costs more than all the rest of a move.
///
/// H3 draws equal hexagons on the planes that touch an icosahedron at the middles of its faces, centres
/// 0.381966 / √7⁹ apart at resolution 9: 383.08 m on the Earth, so 191.54 m from the centre to a side. Projected back
/// onto the sphere lengths at an angle θ from the middle of the face shrink by cos θ across and cos² θ along.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct InnerCircle {
    centre: LatLng,
    radius_dm: u16,
}

const PLANE_INRADIUS_M: f64 = 191.54;

/// Nobody in an H3 cell of resolution 9 is farther than this from its centre: on the plane a corner is 191.54 m 2/√3 =
/// 221.17 m away, and lengths only shrink on the way to the sphere.
pub(crate) const CELL_REACH: Meters = Meters(222.0);

/// For rounding, and for θ being a little more at the side of the cell than at its centre.
const CAUTION: f64 = 0.998;

/// The middles of the icosahedron's faces, latitude and longitude in radians (H3, `faceCenterGeo`).
const FACES: [(f64, f64); 20] = [
    (0.803_582_649_718_989_9, 1.248_397_419_617_396),
    (1.307_747_883_455_638_2, 2.536_945_009_877_921),
    (1.054_751_253_523_952, -1.347_517_358_900_396_6),
    (0.600_191_595_538_186_8, -0.450_603_909_469_755_74),
    (0.491_715_428_198_773_9, 0.401_988_202_911_306_94),
    (0.172_745_327_415_618_7, 1.678_146_885_280_433_7),
    (0.605_929_321_571_350_7, 2.953_923_329_812_411_6),
    (0.427_370_518_328_979_64, -1.888_876_200_336_285_4),
    (-0.079_066_118_549_212_83, -0.733_429_513_380_867_7),
    (-0.230_961_644_455_383_64, 0.506_495_587_332_349),
    (0.079_066_118_549_212_83, 2.408_163_140_208_925_5),
    (0.230_961_644_455_383_64, -2.635_097_066_257_444),
    (-0.172_745_327_415_618_7, -1.463_445_768_309_359_6),
    (-0.605_929_321_571_350_7, -0.187_669_323_777_381_62),
    (-0.427_370_518_328_979_64, 1.252_716_453_253_508),
    (-0.600_191_595_538_186_8, 2.690_988_744_120_037_5),
    (-0.491_715_428_198_773_9, -2.739_604_450_678_486_3),
    (-0.803_582_649_718_989_9, -1.893_195_233_972_397),
    (-1.307_747_883_455_638_2, -0.604_647_643_711_872),
    (-1.054_751_253_523_952, 1.794_075_294_689_396_6),
];

/// The same as unit vectors.
static FACE_VECTORS: LazyLock<[[f64; 3]; 20]> = LazyLock::new(|| FACES.map(|(lat, lng)| unit_vector(lat, lng)));

fn unit_vector(lat: f64, lng: f64) -> [f64; 3] {
    [lat.cos() * lng.cos(), lat.cos() * lng.sin(), lat.sin()]
}

impl InnerCircle {
    /// Of the cell with this centre.
    pub fn of(centre: LatLng) -> Self {
        let [x, y, z] = unit_vector(centre.latitude().to_radians(), centre.longitude().to_radians());
        let cos = FACE_VECTORS.iter().map(|[a, b, c]| a * x + b * y + c * z).fold(0.0, f64::max);
        // The cast rounds down.
        Self { centre, radius_dm: (PLANE_INRADIUS_M * CAUTION * cos * cos * 10.0) as u16 }
    }

    /// One that was computed before.
    pub const fn new(centre: LatLng, radius_dm: u16) -> Self {
        Self { centre, radius_dm }
    }

    /// Its radius in decimetres, rounded down.
    pub const fn radius_dm(self) -> u16 {
        self.radius_dm
    }

    /// True only if the place is in the circle.
    pub fn holds(self, place: LatLng) -> bool {
        self.centre.is_surely_within(Meters(f64::from(self.radius_dm) / 10.0), place)
    }
}

/// Public positions of many places near each other: asks H3 only where no neighbour's inner circle tells.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// By [`Self::square`]: the cell that was found there last.
    squares: HashMap<(i32, i32), (PublicPosition, InnerCircle)>,
    /// The last answer.
    last: Option<(PublicPosition, InnerCircle)>,
}

impl Neighbours {
    /// A square of some 90 m, by row and column: places in one have much in common.
    pub const fn square(place: LatLng) -> (i32, i32) {
        (place.lat_e7() >> 13, place.lng_e7 >> 13)
    }

    /// The public position of a place.
    pub fn position(&mut self, place: LatLng) -> PublicPosition {
        let holds = |known: &&(PublicPosition, InnerCircle)| known.1.holds(place);
        // Mostly whoever is asked for next is near. A cell is some eleven squares large.
        if let Some(last) = self.last.as_ref().filter(holds) {
            return last.0;
        }
        let (row, column) = Self::square(place);
        let known = [(row, column), (row - 1, column), (row, column - 1)].map(|square| self.squares.get(&square));
        let found = known.into_iter().flatten().find(holds).copied().unwrap_or_else(|| {
            let public = public_position(place);
            (public, InnerCircle::of(public.centre))
        });
        self.squares.insert((row, column), found);
        self.last = Some(found);
        found.0
    }
}

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
