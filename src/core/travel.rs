//! How long a way takes, for now: straight line times a detour factor, at the speed of the hour in Manila.

use std::time::Duration;

use super::geo::{LatLng, Meters};
use super::time::Timestamp;

/// Nobody gets on faster than this through Metro Manila for long, km/h: how far one may be from where he was last seen.
pub const TOP_SPEED_KMH: f64 = 60.0;

/// Streets are this much longer than the straight line between their ends. Published means for cities lie between 1.2
/// and 1.5; Metro Manila's rivers, gated villages and one-way streets put it near the upper end.
pub const DETOUR: f64 = 1.4;

/// Mean speed of vehicles by local hour, km/h: Metro Manila, Friday 2016-08-05, weighted by the number of
/// observations, readings above 120 km/h left out. Source: Grab / World Bank / Mapzen Open Traffic.
pub const SPEED_KMH: [f64; 24] = [
    41.7, 43.5, 45.0, 44.8, 43.6, 39.1, 32.6, 29.6, 30.2, 30.7, 30.0, 30.0, 30.5, 30.4, 29.8, 29.6, 29.0, 27.2, 24.8,
    25.4, 28.2, 30.6, 31.6, 33.9,
];

/// Travel time from one place to another for who sets out at `at`. The hour of departure counts for the whole way.
pub fn travel_time(from: LatLng, to: LatLng, at: Timestamp) -> Duration {
    travel_time_over(from.distance(to), at)
}

/// The same where only the straight line between the two is known (an offer's `distance_km`).
pub fn travel_time_over(distance: Meters, at: Timestamp) -> Duration {
    let hour =
        at.micros().div_euclid(3_600_000_000).saturating_add(super::schedule::MANILA_OFFSET_HOURS).rem_euclid(24);
    Duration::from_secs_f64(distance.km() * DETOUR / SPEED_KMH[hour as usize] * 3_600.0)
}

/// Travel time in whole minutes, rounded up, at least one: what an app shows.
pub fn eta_minutes(from: LatLng, to: LatLng, at: Timestamp) -> u32 {
    whole_minutes(travel_time(from, to, at))
}

/// A travel time as an app shows it: whole minutes, rounded up, at least one.
pub fn whole_minutes(travel: Duration) -> u32 {
    (travel.as_secs_f64() / 60.0).ceil().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manila(hour: i64, minute: i64) -> Timestamp {
        Timestamp::from_secs((hour - 8) * 3_600 + minute * 60)
    }

    #[test]
    fn ten_kilometres_take_longer_in_the_evening_than_at_night() {
        let (from, to) = (LatLng::new(14.5, 121.0).unwrap(), LatLng::new(14.5, 121.0929).unwrap());
        assert_eq!([2, 12, 18].map(|hour| eta_minutes(from, to, manila(hour, 30))), [19, 28, 34]);
        assert_eq!(
            eta_minutes(from, to, Timestamp::from_secs(-6 * 3_600)),
            19,
            "before 1970 the clock still has 24 hours"
        );
    }

    #[test]
    fn next_door_is_one_minute_away_not_none() {
        let here = LatLng::new(14.5, 121.0).unwrap();
        assert_eq!(travel_time(here, here, manila(12, 0)), Duration::ZERO);
        assert_eq!(eta_minutes(here, here, manila(12, 0)), 1);
    }
}
