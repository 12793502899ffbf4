//! Moves a recorded day of one city onto another, distances kept true.

use spacall::cities::MANILA_CENTRE;
use spacall::core::geo::LatLng;

/// A translation of latitude, and of longitude scaled by the ratio of the two parallels' lengths.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Onto {
    from: (f64, f64),
    to: (f64, f64),
    longitude_scale: f64,
}

impl Onto {
    /// So that the middle of the recording's core (from the 1st to the 99th percentile on each axis, so that a few
    /// strays do not pull it along) comes to lie on `to`. `None` for a recording without places.
    pub(crate) fn core_of(places: impl Iterator<Item = LatLng>, to: (f64, f64)) -> Option<Self> {
        let (mut lat, mut lng): (Vec<i32>, Vec<i32>) = places.map(|p| (p.lat_e7(), p.lng_e7())).unzip();
        let from = (middle(&mut lat)?, middle(&mut lng)?);
        Some(Self { from, to, longitude_scale: from.0.to_radians().cos() / to.0.to_radians().cos() })
    }

    /// Where a recorded place comes to lie; `None` when that is nowhere on Earth.
    pub(crate) fn place(&self, recorded: LatLng) -> Option<LatLng> {
        let latitude = self.to.0 + recorded.latitude() - self.from.0;
        let longitude = self.to.1 + (recorded.longitude() - self.from.1) * self.longitude_scale;
        LatLng::new(latitude, longitude).ok()
    }
}

/// Of the 1st and the 99th percentile, degrees.
fn middle(values: &mut [i32]) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    values.sort_unstable();
    let at = |share: f64| f64::from(values[(last as f64 * share).round() as usize]);
    Some((at(0.01) + at(0.99)) / 2.0 / 1e7)
}

/// `manila`, or `LATITUDE,LONGITUDE`.
pub(crate) fn parse_target(text: &str) -> Result<(f64, f64), String> {
    if text.eq_ignore_ascii_case("manila") {
        return Ok(MANILA_CENTRE);
    }
    let wrong = || format!("{text:?} is neither `manila` nor a place like 13.1391,123.7438");
    let (latitude, longitude) = text.split_once(',').ok_or_else(wrong)?;
    let degrees = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
    let place = LatLng::new(degrees(latitude)?, degrees(longitude)?).map_err(|e| e.to_string())?;
    Ok((place.latitude(), place.longitude()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(latitude: f64, longitude: f64) -> LatLng {
        LatLng::new(latitude, longitude).expect("a place")
    }

    #[test]
    fn the_core_lands_on_the_target_and_distances_stay_true() {
        // A grid of 20 by 10 km in San Francisco, and one stray far away.
        let mut places: Vec<LatLng> =
            (0..400).map(|i| place(37.6 + f64::from(i / 20) * 0.01, -122.5 + f64::from(i % 20) * 0.006)).collect();
        places.push(place(10.0, 50.0));
        let onto = Onto::core_of(places.iter().copied(), MANILA_CENTRE).expect("places");
        let middle = onto.place(place(37.695, -122.443)).expect("on Earth");
        assert!(middle.distance(place(MANILA_CENTRE.0, MANILA_CENTRE.1)).km() < 1.0, "{middle}");
        let (a, b) = (place(37.65, -122.45), place(37.75, -122.40));
        let (there, here) = (a.distance(b).get(), onto.place(a).expect("a").distance(onto.place(b).expect("b")).get());
        assert!((there / here - 1.0).abs() < 0.005, "{there} m became {here} m");
    }

    #[test]
    fn a_target_is_manila_or_a_place() {
        assert_eq!(parse_target("Manila"), Ok(MANILA_CENTRE));
        assert_eq!(parse_target("13.5, 123.7"), Ok((13.5, 123.7)));
        assert!(parse_target("95,10").is_err_and(|e| e.contains("latitude 95")));
        assert!(parse_target("cebu").is_err());
    }
}
