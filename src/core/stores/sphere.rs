//! Places as points of the unit sphere in space, where an R-tree knows no seam: the antimeridian and the poles are places
//! like any other, and the straight line through the Earth (the chord) grows with the way around it.
//!
//! With θ the angle between two places, the chord is 2 sin(θ/2), so a quarter of its square is sin²(θ/2): the very
//! haversine from which [`LatLng::distance`] takes its square root and arcsine. The two are computed differently and
//! round differently; [`SLACK`] bounds by how much.

use crate::core::geo::{EARTH_RADIUS_M, LatLng, Meters};

/// More than the haversine from a chord and the haversine from the metric ever differ.
///
/// A unit vector's coordinates are wrong by less than 4e-16 each (three roundings and the argument's), so the square of a
/// chord, at most 4, by less than 4 · √3 · 8e-16 and a quarter of it by 1.4e-15. The haversine of the metric is wrong by
/// a few times 2⁻⁵³ of its terms, each at most 1, likewise. Several times their sum; on the ground it is 1.3 m around a
/// place and less than a millimetre a kilometre away, so it costs a search next to nothing.
pub(super) const SLACK: f64 = 1e-14;

/// Where the place is on the unit sphere.
pub(super) fn unit(place: LatLng) -> [f64; 3] {
    let (latitude, longitude) = (place.latitude().to_radians(), place.longitude().to_radians());
    let equator = latitude.cos();
    [equator * longitude.cos(), equator * longitude.sin(), latitude.sin()]
}

/// The haversine of two places from the square of their chord.
pub(super) fn haversine_of_chord(chord_squared: f64) -> f64 {
    chord_squared / 4.0
}

/// The haversine of two places from their distance: grows with it until half around the Earth, and stays there.
pub(super) fn haversine_of(distance: Meters) -> f64 {
    (distance.get() / (2.0 * EARTH_RADIUS_M)).min(std::f64::consts::FRAC_PI_2).sin().powi(2)
}
