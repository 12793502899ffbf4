//! Which cells can hold somebody within a distance: the part of the search where geometry meets the grid.

use super::tiling::{CIRCLE_E7, SIDE, Tiling};
use crate::core::geo::{E7_RAD, EARTH_RADIUS_M, LatLng, Meters, arc_sine, cosine, sine};

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
    place: LatLng,
    /// Whether a cell that meets the window may lie across the antimeridian, or at it.
    crosses: bool,
    lower: LowerBound,
}

/// A cheap lower bound of the haversine of the distance from the window's place to a point in its cells:
/// hav d = hav Δφ + cos φ₁ cos φ₂ hav Δλ, with cos φ₂ at its least in the window, and sin² y >= y² (1 - y² / 3).
///
/// In single precision, of which twice as many are computed at once: six roundings of 2^-24 each are covered by
/// [`ROUNDED`].
#[derive(Clone, Copy, Debug)]
struct LowerBound {
    per_lat: f32,
    per_lng: f32,
}

const ROUNDED: f64 = 1.0 - 1e-6;
const WHOLE_EARTH_FROM_M: f64 = 15_000_000.0;

impl Window {
    /// The window of everybody within `distance` of `place`, that distance included, and of all of `former`: a smaller
    /// window of the same place (without it rounding might leave out a cell that was in the smaller).
    pub(super) fn around(tiling: &Tiling, place: LatLng, distance: Meters, former: Option<&Self>) -> Self {
        let all_rows = tiling.rows();
        let lat_e7 = i64::from(place.lat_e7());
        let centre_e7 = i64::from(place.lng_e7()) + CIRCLE_E7 / 2;
        if distance.get() >= WHOLE_EARTH_FROM_M {
            let lower = LowerBound { per_lat: 0.0, per_lng: 0.0 };
            return Self { rows: (0, all_rows - 1), all_rows, centre_e7, half_e7: None, place, crosses: true, lower };
        }
        let angle = distance.get() / EARTH_RADIUS_M * (1.0 + 1e-9) + 2e-9;
        let high_e7 = (angle / E7_RAD).ceil() as i64 + 1;
        let mut rows = (tiling.row_of(lat_e7 - high_e7), tiling.row_of(lat_e7 + high_e7));
        let no_pole = lat_e7 - high_e7 > -900_000_000 && lat_e7 + high_e7 < 900_000_000;
        let cos = cosine(place.lat_e7());
        let mut half_e7 = no_pole
            .then(|| sine(angle) / cos)
            // Near 1 the arc sine loses digits; there the cap all but touches a pole.
            .filter(|ratio| *ratio < 1.0 - 1e-6)
            .map(|ratio| (arc_sine(ratio) * (1.0 + 1e-9) / E7_RAD).ceil() as i64 + 1);
        if let Some(former) = former {
            rows = (rows.0.min(former.rows.0), rows.1.max(former.rows.1));
            half_e7 = half_e7.zip(former.half_e7).map(|(half, former)| half.max(former));
        }
        // A cell that meets the window reaches beyond it by less than its own size.
        let width_e7 = tiling.width_e7(rows.0 / SIDE).max(tiling.width_e7(rows.1 / SIDE));
        let (south_e7, north_e7) =
            (rows.0 * tiling.row_e7() - 900_000_000, (rows.1 + 1) * tiling.row_e7() - 900_000_000);
        let dlat = (lat_e7 - south_e7).max(north_e7 - lat_e7) as f64 * E7_RAD;
        let reach_e7 = half_e7.map(|half| half + width_e7 + 1);
        let crosses = reach_e7.is_none_or(|reach| centre_e7 < reach || centre_e7 + reach > CIRCLE_E7);
        // The cosine changes by no more than the angle.
        let lower = LowerBound::within(dlat, cos * (cos - dlat).max(0.0), reach_e7);
        Self { rows, all_rows, centre_e7, half_e7, place, crosses, lower }
    }

    /// First and last row.
    pub(super) const fn rows(&self) -> (i64, i64) {
        self.rows
    }

    /// Whether nobody can be outside.
    pub(super) const fn is_whole_earth(&self) -> bool {
        self.half_e7.is_none() && self.rows.0 == 0 && self.rows.1 == self.all_rows - 1
    }

    /// Never more than the haversines of the distances to points of the window's cells.
    #[inline]
    pub(super) fn haversines_at_least<const N: usize>(&self, lat_e7: &[i32; N], lng_e7: &[i32; N]) -> [f32; N] {
        let (here_lat, here_lng) = (self.place.lat_e7(), self.place.lng_e7());
        let bound = |dlat: f32, dlng: f32| dlat * dlat * self.lower.per_lat + dlng * dlng * self.lower.per_lng;
        if self.crosses {
            return std::array::from_fn(|at| {
                let dlng = (i64::from(lng_e7[at]) - i64::from(here_lng)).abs();
                bound(lat_e7[at].wrapping_sub(here_lat) as f32, dlng.min(CIRCLE_E7 - dlng) as f32)
            });
        }
        // What stands in an empty place may be anything, and wraps.
        let near = |there: i32, here: i32| there.wrapping_sub(here) as f32;
        std::array::from_fn(|at| bound(near(lat_e7[at], here_lat), near(lng_e7[at], here_lng)))
    }
}

/// The haversine of `distance`, rounded up: a point whose lower bound is above it is farther, whatever the rounding.
/// The absolute part stands for 1.3 cm and covers the cosine's error next to the poles.
pub(super) fn haversine_at_most(distance: Meters) -> f32 {
    let half = (distance.get() / (2.0 * EARTH_RADIUS_M)).min(std::f64::consts::FRAC_PI_2);
    // From here on the computed distance of a point may round to less than this one: nothing is ruled out.
    if distance.get() >= WHOLE_EARTH_FROM_M {
        return f32::INFINITY;
    }
    let sine = sine(half);
    ((sine * sine * (1.0 + 1e-9) + 1e-18) as f32).next_up()
}

impl LowerBound {
    /// For differences of latitude up to `dlat`, in radians, of longitude up to `reach_e7` (`None`: any), and where the
    /// product of the cosines is at least `cosines`.
    fn within(dlat: f64, cosines: f64, reach_e7: Option<i64>) -> Self {
        // hav x = sin²(x/2) >= x²/4 (1 - x²/12); squared here once, in units of 1e-7 degree.
        let curve = |x: f64| (1.0 - x * x / 12.0).max(0.0) / 4.0 * E7_RAD * E7_RAD * ROUNDED;
        let dlng = reach_e7.map(|reach| reach as f64 * E7_RAD);
        let per_lng = dlng.map_or(0.0, |dlng| curve(dlng) * cosines);
        Self { per_lat: curve(dlat) as f32, per_lng: per_lng as f32 }
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
        let (circle, width_e7) = (tiling.columns_of(band), tiling.width_e7(band));
        let span = |window: &Window| {
            let column = |e7: i64| e7.div_euclid(width_e7);
            let (from, to) = match window.half_e7 {
                // One more to the west: 180 degrees east belongs to the last column, not to the first.
                Some(half) => (column(window.centre_e7 - half - 1), column(window.centre_e7 + half)),
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
