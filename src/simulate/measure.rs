//! Numbers of a simulated day.

use std::time::Duration;

use serde::Serialize;

use super::seconds;
use crate::core::time::Timestamp;

/// What became of one booking.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Journey {
    /// Made.
    pub requested_at: Timestamp,
    /// `None`: nobody took it in time.
    pub accepted_at: Option<Timestamp>,
    /// The therapist is at the door.
    pub arrived_at: Option<Timestamp>,
    /// His way, seconds.
    pub travel_s: f64,
    /// Offers that were made for it.
    pub offers: u32,
}

impl Journey {
    /// One that is just made.
    pub const fn new(requested_at: Timestamp) -> Self {
        Self { requested_at, accepted_at: None, arrived_at: None, travel_s: 0.0, offers: 0 }
    }
}

/// A day, as it went.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// By booking.
    pub journeys: Vec<Journey>,
    /// By therapist: on the way and at work, seconds.
    pub busy_s: Vec<f64>,
    /// From the first booking to the last therapist's end.
    pub day: Duration,
}

/// How a quantity is spread.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Half is below.
    pub p50: f64,
    /// Nine tenths are below.
    pub p90: f64,
}

/// What a policy did to a day. Times in seconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Measures {
    /// Bookings made.
    pub bookings: usize,
    /// Share that found a therapist.
    pub matched: f64,
    /// From the request to the accept, of those.
    pub to_accept_s: Spread,
    /// From the request to the door, of those.
    pub to_arrival_s: Spread,
    /// On the way, of those.
    pub travel_s: Spread,
    /// Offers for each booking.
    pub offers: f64,
    /// Of idle time over therapists: 0: all alike, 1: one has it all.
    pub idle_gini: f64,
    /// Share of the therapists' day on the way or at work.
    pub busy: f64,
}

impl Outcome {
    /// The numbers of this day.
    pub fn measures(&self) -> Measures {
        let matched: Vec<_> = self.journeys.iter().filter(|journey| journey.accepted_at.is_some()).collect();
        let waits = |until: fn(&Journey) -> Option<Timestamp>| {
            spread(matched.iter().filter_map(|j| Some(seconds(j.requested_at, until(j)?))).collect())
        };
        let day = self.day.as_secs_f64().max(1.0);
        let idle = self.busy_s.iter().map(|busy| (day - busy).max(0.0)).collect();
        let bookings = self.journeys.len();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Measures {
            bookings,
            matched: share(matched.len() as f64, bookings as f64),
            to_accept_s: waits(|journey| journey.accepted_at),
            to_arrival_s: waits(|journey| journey.arrived_at),
            travel_s: spread(matched.iter().map(|journey| journey.travel_s).collect()),
            offers: share(self.journeys.iter().map(|j| f64::from(j.offers)).sum(), bookings as f64),
            idle_gini: gini(idle),
            busy: share(self.busy_s.iter().sum(), day * self.busy_s.len() as f64),
        }
    }
}

/// Mean and the values below which half and nine tenths are (nearest rank).
pub fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let at = (share * values.len() as f64).ceil() as usize;
        values.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    let mean = if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 };
    Spread { mean, p50: rank(0.5), p90: rank(0.9) }
}

/// Gini's coefficient: half the mean difference between two, relative to the mean.
pub fn gini(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (n, sum) = (values.len() as f64, values.iter().sum::<f64>());
    if sum <= 0.0 {
        return 0.0;
    }
    let ranked: f64 = values.iter().enumerate().map(|(i, value)| (i as f64 + 1.0) * value).sum();
    2.0 * ranked / (n * sum) - (n + 1.0) / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_and_gini_are_what_textbooks_say() {
        let ten = (1..=10).map(f64::from).collect();
        assert_eq!(spread(ten), Spread { mean: 5.5, p50: 5.0, p90: 9.0 });
        assert_eq!(spread(Vec::new()), Spread::default());
        assert!(gini(vec![3.0; 7]).abs() < 1e-12);
        assert!((gini(vec![0.0, 0.0, 0.0, 8.0]) - 0.75).abs() < 1e-12);
    }
}
