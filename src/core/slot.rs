//! The time that a booking takes from its therapist: the way, the service, the buffer after it. Matching, the accept and
//! the database's exclusion constraint all go by this.

use std::time::Duration;

use super::geo::Meters;
use super::time::Timestamp;
use super::travel::travel_time_over;

/// When a therapist has to do with a booking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// He sets out.
    pub from: Timestamp,
    /// He is there, and begins.
    pub start: Timestamp,
    /// Service and buffer are over: free again, this moment included.
    pub until: Timestamp,
    /// How long the way takes.
    pub travel: Duration,
}

impl Slot {
    /// Of a booking that is taken at `now`: to begin at `wanted` (`None`: as soon as he can be there), or as soon after
    /// it as he can be there. The traffic is that of the hour at which he is on the way.
    pub fn of(wanted: Option<Timestamp>, now: Timestamp, way: Meters, service: Duration, buffer_minutes: u32) -> Self {
        let travel = travel_time_over(way, wanted.unwrap_or(now).max(now));
        let soonest = now.plus(travel);
        let start = wanted.map_or(soonest, |wanted| wanted.max(soonest));
        let buffer = Duration::from_secs(u64::from(buffer_minutes) * 60);
        Self { from: start.minus(travel), start, until: start.plus(service).plus(buffer), travel }
    }

    /// Whether any of it falls into `from..until`.
    pub fn overlaps(&self, from: Timestamp, until: Timestamp) -> bool {
        self.from < until && from < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const BUFFER: Duration = Duration::from_secs(900);
    /// 08:00 in Manila.
    const NOW: Timestamp = Timestamp::from_secs(1_795_996_800);

    fn slot(wanted: Option<Timestamp>) -> Slot {
        Slot::of(wanted, NOW, Meters::from_km(5.0), HOUR, 15)
    }

    #[test]
    fn now_begins_when_he_can_be_there() {
        let taken = slot(None);
        assert_eq!((taken.from, taken.start), (NOW, NOW.plus(taken.travel)));
        assert_eq!(taken.until, taken.start.plus(HOUR).plus(BUFFER));
        assert_eq!(taken.travel, travel_time_over(Meters::from_km(5.0), NOW));
    }

    #[test]
    fn a_scheduled_one_begins_at_its_time_and_he_sets_out_before_by_the_traffic_of_then() {
        let at = NOW.plus(HOUR * 11); // the evening's traffic
        let taken = slot(Some(at));
        assert_eq!((taken.start, taken.from), (at, at.minus(taken.travel)));
        assert!(taken.travel > slot(None).travel);
    }

    #[test]
    fn one_that_is_too_near_or_past_begins_as_soon_as_he_can_be_there() {
        for wanted in [NOW.plus(Duration::from_secs(60)), NOW.minus(HOUR)] {
            let late = slot(Some(wanted));
            assert_eq!((late.from, late.start), (NOW, NOW.plus(late.travel)));
        }
    }

    #[test]
    fn what_ends_when_the_other_begins_does_not_overlap() {
        let taken = slot(None);
        assert!(!taken.overlaps(taken.until, taken.until.plus(HOUR)));
        assert!(!taken.overlaps(NOW.minus(HOUR), NOW));
        let moment = Duration::from_micros(1);
        assert!(taken.overlaps(taken.until.minus(moment), taken.until.plus(HOUR)));
        assert!(taken.overlaps(NOW.minus(HOUR), NOW.plus(moment)));
    }
}
