//! Whether a store can take somebody in: it is open for the whole of the service, and a room is free all that time.
//!
//! A booking has no room of its own until the customer is there, so rooms are counted: n stays fit into n rooms exactly
//! when no moment has more than n of them.

use std::time::Duration;

use crate::core::schedule::Schedule;
use crate::core::time::Timestamp;

/// A time in which a room is taken: from its first moment to before its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stay {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

impl Stay {
    /// A stay of this length.
    pub const fn new(from: Timestamp, length: Duration) -> Self {
        Self { from, until: from.plus(length) }
    }
}

/// Why a store cannot take somebody in at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoRoom {
    /// It is closed at the start.
    #[error("the store is closed then")]
    Closed {
        /// When it opens next; `None`: never.
        opens_at: Option<Timestamp>,
    },
    /// It closes before the service ends.
    #[error("the store closes before the service ends")]
    ClosesBefore {
        /// When.
        closes_at: Option<Timestamp>,
    },
    /// Every room is taken for at least a part of the time.
    #[error("every room of the store is taken then")]
    Full {
        /// How many it has.
        rooms: u32,
        /// From when on, by what is known now, a room is free for as long; `None`: not within its hours.
        free_from: Option<Timestamp>,
    },
}

/// Whether a store with these `hours` (`None`: not known, then its owner alone judges) and so many `rooms`, of which
/// `taken` are spoken for, can take `wanted`. O(n log n) in the number of stays; O(n² log n) when it is full.
///
/// # Errors
/// [`NoRoom`]; hours are judged before rooms.
pub fn admits(hours: Option<&Schedule>, rooms: u32, taken: &[Stay], wanted: Stay) -> Result<(), NoRoom> {
    let length = wanted.until.since(wanted.from);
    if let Some(hours) = hours
        && !hours.covers(wanted.from, length)
    {
        let next = hours.next_change(wanted.from);
        return Err(if hours.is_open(wanted.from) {
            NoRoom::ClosesBefore { closes_at: next }
        } else {
            NoRoom::Closed { opens_at: next }
        });
    }
    let fits = |stay: Stay| most_at_once(taken, stay) < i64::from(rooms);
    if fits(wanted) {
        return Ok(());
    }
    let mut ends: Vec<_> = taken.iter().map(|stay| stay.until).filter(|&end| end > wanted.from).collect();
    ends.sort_unstable();
    let open = |at: Timestamp| hours.is_none_or(|hours| hours.covers(at, length));
    let free_from = ends.into_iter().find(|&at| open(at) && fits(Stay::new(at, length)));
    Err(NoRoom::Full { rooms, free_from })
}

/// The most stays that any moment of `during` has.
fn most_at_once(stays: &[Stay], during: Stay) -> i64 {
    let within =
        stays.iter().filter(|stay| stay.from < stay.until && stay.from < during.until && during.from < stay.until);
    let mut edges: Vec<_> = within.flat_map(|stay| [(stay.from, 1i64), (stay.until, -1)]).collect();
    // Who leaves at a moment makes room for who comes at it: -1 sorts first.
    edges.sort_unstable();
    let mut now = 0;
    edges
        .iter()
        .map(|(_, change)| {
            now += change;
            now
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::stores::hours;

    fn minute(m: i64) -> Timestamp {
        Timestamp::from_secs(m * 60)
    }

    fn stay(from: i64, until: i64) -> Stay {
        Stay { from: minute(from), until: minute(until) }
    }

    #[test]
    fn rooms_are_counted_moment_by_moment() {
        // rooms, taken, wanted, and when a room is free if none is
        for (rooms, taken, wanted, free_from) in [
            (1, vec![], (0, 60), Ok(())),
            (1, vec![(0, 60)], (60, 120), Ok(())),
            (1, vec![(0, 60)], (30, 90), Err(Some(60))),
            (1, vec![(60, 120)], (30, 90), Err(Some(120))),
            (1, vec![(20, 40)], (0, 60), Err(Some(40))),
            (2, vec![(0, 30), (30, 60)], (0, 60), Ok(())), // one after the other in one room
            (2, vec![(0, 31), (30, 60)], (0, 60), Err(Some(31))),
            (2, vec![(0, 60), (0, 90), (60, 120)], (10, 70), Err(Some(90))),
            (1, vec![(30, 30)], (0, 60), Ok(())), // no time at all
            (0, vec![], (0, 60), Err(None)),
        ] {
            let taken: Vec<_> = taken.into_iter().map(|(from, until)| stay(from, until)).collect();
            let expected = free_from.map_err(|at| NoRoom::Full { rooms, free_from: at.map(minute) });
            assert_eq!(admits(None, rooms, &taken, stay(wanted.0, wanted.1)), expected, "{rooms} {taken:?} {wanted:?}");
        }
    }

    #[test]
    fn a_store_is_open_for_all_of_the_service_also_past_midnight() {
        // 1970-01-01 was a Thursday; 16:00 UTC of the day before is its midnight in Manila.
        let at = |day: i64, hour: i64, min: i64| minute(((day * 24) + hour - 8) * 60 + min);
        let hours = hours::parse(&serde_json::json!({
            "thursday": {"open": "13:00", "close": "03:00"}, "friday": {"open": "10:00", "close": "12:00"}
        }));
        let hours = hours.expect("hours").expect("known");
        let asked = |from, rooms, taken: &[Stay]| {
            admits(Some(&hours), rooms, taken, Stay::new(from, Duration::from_secs(3_600)))
        };
        assert_eq!(asked(at(0, 13, 0), 1, &[]), Ok(()));
        assert_eq!(asked(at(0, 23, 30), 1, &[]), Ok(()));
        assert_eq!(asked(at(1, 2, 0), 1, &[]), Ok(()));
        assert_eq!(asked(at(1, 2, 1), 1, &[]), Err(NoRoom::ClosesBefore { closes_at: Some(at(1, 3, 0)) }));
        assert_eq!(asked(at(0, 12, 59), 1, &[]), Err(NoRoom::Closed { opens_at: Some(at(0, 13, 0)) }));
        assert_eq!(asked(at(1, 12, 0), 1, &[]), Err(NoRoom::Closed { opens_at: Some(at(7, 13, 0)) }));
        // Full until after it closes: there is no such time that evening.
        let evening = Stay { from: at(0, 13, 0), until: at(1, 2, 30) };
        assert_eq!(asked(at(0, 20, 0), 1, &[evening]), Err(NoRoom::Full { rooms: 1, free_from: None }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn it_is_what_counting_every_moment_gives(
            stays in proptest::collection::vec((0i64..40, 0i64..15), 0..12), from in 0i64..40, length in 1i64..15, rooms in 0u32..5,
        ) {
            let taken: Vec<_> = stays.iter().map(|&(from, length)| stay(from, from + length)).collect();
            let at_once = |m: i64| stays.iter().filter(|(from, length)| *from <= m && m < from + length).count();
            let free = |from: i64| (from..from + length).all(|m| at_once(m) < rooms as usize);
            match admits(None, rooms, &taken, stay(from, from + length)) {
                Ok(()) => prop_assert!(free(from)),
                Err(NoRoom::Full { free_from, .. }) => {
                    prop_assert!(!free(from));
                    let first = (from..60).find(|&m| free(m)).filter(|_| rooms > 0);
                    prop_assert_eq!(free_from, first.map(minute));
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
