//! Which cells can hold somebody within a distance: the part of the search where geometry meets the grid.

use super::tiling::{CIRCLE_E7, SIDE, Tiling};
use crate::core::geo::{EARTH_RADIUS_M, LatLng, Meters};

/// Latitudes and longitudes around a place that hold everybody within a distance of it.
///
/// The bounding box of a spherical cap of angle a around latitude φ: latitudes φ ± a; longitudes ± asin(sin a / cos φ)
/// if no pole is in the cap, else all (J. P. Matuschek, "Finding points within a distance of a latitude/longitude").
/// Conservative against rounding: a is enlarged by 1e-9 of itself and 2e-9 rad (1.3 cm), far more than the metric's own
/// error up to 15,000 km (under a micrometre); beyond, where haversine loses digits, the window is the whole Earth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    rows: (i64, i64),
    all_rows: i64,
    /// Longitude of the place, 0 to [`CIRCLE_E7`], from 180 degrees west.
    centre_e7: i64,
    /// Longitudes to either side; `None`: all.
    half_e7: Option<i64>,
    lower: LowerBound,
}

/// A cheap lower bound of the haversine of the distance from the window's place to a point in its cells:
/// hav d = hav Δφ + cos φ₁ cos φ₂ hav Δλ, with cos φ₂ at its least in the window, and sin² y >= y² (1 - y² / 3).
#[derive(Clone, Copy, Debug)]
struct LowerBound {
    per_lat: f64,
    per_lng: f64,
}

const WHOLE_EARTH_FROM_M: f64 = 15_000_000.0;
const E7_RAD: f64 = std::f64::consts::PI / 1_800_000_000.0;

impl Window {
    /// The window of everybody within `distance` of `place`, that distance included, and of all of `former`: a smaller
    /// window of the same place (without it rounding might leave out a cell that was in the smaller).
    pub(super) fn around(tiling: &Tiling, place: LatLng, distance: Meters, former: Option<&Self>) -> Self {
        let all_rows = tiling.rows();
        let lat_e7 = i64::from(place.lat_e7());
        let centre_e7 = (i64::from(place.lng_e7()) + CIRCLE_E7 / 2) % CIRCLE_E7;
        if distance.get() >= WHOLE_EARTH_FROM_M {
            let lower = LowerBound { per_lat: 0.0, per_lng: 0.0 };
            return Self { rows: (0, all_rows - 1), all_rows, centre_e7, half_e7: None, lower };
        }
        let angle = distance.get() / EARTH_RADIUS_M * (1.0 + 1e-9) + 2e-9;
        let high_e7 = (angle / E7_RAD).ceil() as i64 + 1;
        let mut rows = (tiling.row_of(lat_e7 - high_e7), tiling.row_of(lat_e7 + high_e7));
        let no_pole = lat_e7 - high_e7 > -900_000_000 && lat_e7 + high_e7 < 900_000_000;
        let cos = (lat_e7 as f64 * E7_RAD).cos();
        let mut half_e7 = no_pole
            .then(|| angle.sin() / cos)
            // Near 1 the arc sine loses digits; there the cap all but touches a pole.
            .filter(|sine| *sine < 1.0 - 1e-6)
            .map(|sine| (sine.asin() * (1.0 + 1e-9) / E7_RAD).ceil() as i64 + 1);
        if let Some(former) = former {
            rows = (rows.0.min(former.rows.0), rows.1.max(former.rows.1));
            half_e7 = half_e7.zip(former.half_e7).map(|(half, former)| half.max(former));
        }
        let lower = LowerBound::within(tiling, rows, cos, lat_e7, half_e7);
        Self { rows, all_rows, centre_e7, half_e7, lower }
    }

    /// First and last row.
    pub(super) const fn rows(&self) -> (i64, i64) {
        self.rows
    }

    /// Whether nobody can be outside.
    pub(super) const fn is_whole_earth(&self) -> bool {
        self.half_e7.is_none() && self.rows.0 == 0 && self.rows.1 == self.all_rows - 1
    }

    /// Never more than the haversine of the distance to a point of the window's cells, the differences in 1e-7 degree.
    #[inline]
    pub(super) fn haversine_at_least(&self, dlat: f64, dlng: f64) -> f64 {
        let dlng = dlng.abs().min(CIRCLE_E7 as f64 - dlng.abs());
        dlat * dlat * self.lower.per_lat + dlng * dlng * self.lower.per_lng
    }
}

/// The haversine of `distance`, rounded up: a point whose lower bound is above it is farther, whatever the rounding.
/// The absolute part stands for 1.3 cm and covers the cosine's error next to the poles.
pub(super) fn haversine_at_most(distance: Meters) -> f64 {
    let half = (distance.get() / (2.0 * EARTH_RADIUS_M)).min(std::f64::consts::FRAC_PI_2);
    // From here on the computed distance of a point may round to less than this one: nothing is ruled out.
    if distance.get() >= WHOLE_EARTH_FROM_M { f64::INFINITY } else { half.sin().powi(2) * (1.0 + 1e-9) + 1e-18 }
}

impl LowerBound {
    fn within(tiling: &Tiling, rows: (i64, i64), cos: f64, lat_e7: i64, half_e7: Option<i64>) -> Self {
        let row_e7 = tiling.row_e7();
        let (south_e7, north_e7) = (rows.0 * row_e7 - 900_000_000, (rows.1 + 1) * row_e7 - 900_000_000);
        let least_cos = (south_e7 as f64 * E7_RAD).cos().min((north_e7 as f64 * E7_RAD).cos()).max(0.0);
        // A cell that meets the window reaches beyond it by less than its own size.
        let dlat = (lat_e7 - south_e7).max(north_e7 - lat_e7) as f64 * E7_RAD;
        let columns = tiling.columns_of(rows.0 / SIDE).min(tiling.columns_of(rows.1 / SIDE));
        let dlng = half_e7.map_or(f64::INFINITY, |half| (half + CIRCLE_E7 / columns + 1) as f64 * E7_RAD);
        // hav x = sin²(x/2) >= x²/4 (1 - x²/12); squared here once, in units of 1e-7 degree.
        let curve = |x: f64| (1.0 - x * x / 12.0).max(0.0) / 4.0 * E7_RAD * E7_RAD;
        Self { per_lat: curve(dlat), per_lng: if dlng.is_finite() { curve(dlng) * cos * least_cos } else { 0.0 } }
    }
}

/// What of one band lies in a window. Columns are counted eastward without wrapping at the antimeridian: they may be
/// negative or pass the band's number, but never span more than the circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// First and last row of the window, in any band.
    pub(super) rows: (i64, i64),
    /// First and last column.
    pub(super) all: (i64, i64),
    /// Rows that were scanned before; empty if none.
    pub(super) done_rows: (i64, i64),
    /// Columns that were scanned before in those rows.
    pub(super) done: Option<(i64, i64)>,
}

impl Columns {
    /// Of `band`, in `window`, where `done` (around the same place, no larger) was scanned before.
    pub(super) fn of(tiling: &Tiling, band: i64, window: &Window, done: Option<&Window>) -> Self {
        let circle = tiling.columns_of(band);
        let span = |window: &Window| {
            let column = |e7: i64| (e7 * circle).div_euclid(CIRCLE_E7);
            let (from, to) = match window.half_e7 {
                Some(half) => (column(window.centre_e7 - half), column(window.centre_e7 + half)),
                None => (0, circle - 1),
            };
            (from, to.min(from + circle - 1), to - from + 1 >= circle)
        };
        let (from, to, whole) = span(window);
        let done_rows = done.map_or((0, -1), |done| done.rows);
        let done = done.map(span).map(|(from, to, _)| (from, to));
        // A whole circle is counted from where the former window began, so that each column has one number.
        let from_done = done.map_or(from, |(from, _)| from);
        let all = if whole { (from_done, from_done + circle - 1) } else { (from, to) };
        Self { rows: window.rows, all, done_rows, done }
    }
}
