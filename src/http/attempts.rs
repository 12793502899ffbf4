//! How often somebody may try: at most so many in any minute, counted in a table that never grows.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rate_limit::Allowance;
use crate::clock;

const WINDOW: Duration = Duration::from_secs(60);

/// Who shares a cell shares its limit: among a thousand who try within a minute, one in sixty-five does.
pub const CELLS: usize = 1 << 16;

/// Of a limit that is much higher: where many try, but few so often.
pub const FEWER_CELLS: usize = 1 << 14;

/// What was tried within the last minute. Memory is bounded whoever tries how often: a cell belongs to all whose hash leads
/// there, and nobody can know (the hash is keyed) who they are.
pub struct Attempts {
    limit: usize,
    count: usize,
    begin: Instant,
    key: RandomState,
    /// By segment of cells: when, milliseconds after `begin` and one more; 0 is never. `limit` of them are a cell. Where nobody has
    /// tried there is no memory.
    segments: Mutex<Box<[Option<Segment>]>>,
}

type Segment = Box<[u64]>;

/// Cells to a segment.
const SEGMENT: usize = 64;

impl Attempts {
    /// At most so many in any minute, counted in so many cells.
    pub fn new(limit: usize, count: usize) -> Self {
        Self {
            limit,
            count,
            begin: clock::monotonic(),
            key: RandomState::new(),
            segments: Mutex::new((0..count.div_ceil(SEGMENT)).map(|_| None).collect()),
        }
    }

    /// Counts one more attempt, unless there were too many. O(limit).
    pub fn take(&self, who: &impl Hash, now: Instant) -> Allowance {
        let (at, window) = (self.millis(now), millis(WINDOW));
        let (segment, place) = self.cell(who);
        let mut segments = self.lock();
        let segment = segments[segment].get_or_insert_with(|| vec![0; SEGMENT * self.limit].into());
        let cell = &mut segment[place];
        for past in cell.iter_mut() {
            if *past + window <= at {
                *past = 0;
            }
        }
        let limit = u32::try_from(self.limit).unwrap_or(u32::MAX);
        match cell.iter_mut().find(|past| **past == 0) {
            Some(free) => {
                *free = at;
                let left = cell.iter().filter(|past| **past == 0).count();
                Allowance { limit, remaining: u32::try_from(left).unwrap_or(u32::MAX), wait: None }
            }
            None => {
                let oldest = cell.iter().copied().min().unwrap_or(at);
                let wait = Duration::from_millis((oldest + window).saturating_sub(at));
                Allowance { limit, remaining: 0, wait: Some(wait) }
            }
        }
    }

    /// That the attempt counted at that time does not count.
    pub fn give_back(&self, who: &impl Hash, taken: Instant) {
        let (at, (segment, place)) = (self.millis(taken), self.cell(who));
        let mut segments = self.lock();
        let cell = segments[segment].as_mut().map(|segment| &mut segment[place]);
        if let Some(past) = cell.and_then(|cell| cell.iter_mut().find(|past| **past == at)) {
            *past = 0;
        }
    }

    /// The segment of somebody's cell, and where it is in there.
    fn cell(&self, who: &impl Hash) -> (usize, Range<usize>) {
        let cell = (self.key.hash_one(who) % self.count as u64) as usize;
        let at = cell % SEGMENT * self.limit;
        (cell / SEGMENT, at..at + self.limit)
    }

    fn millis(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.begin)) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Box<[Option<Segment>]>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_in_any_minute_and_the_wait_is_told() {
        let attempts = Attempts::new(5, CELLS);
        let start = clock::monotonic();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let wait = |seconds| attempts.take(&"maria", at(seconds)).wait.map(|wait| wait.as_secs());
        for (seconds, expected) in [
            (0, None),
            (10, None),
            (20, None),
            (30, None),
            (40, None),
            (41, Some(19)),
            (59, Some(1)),
            (60, None),
            (61, Some(9)),
            (70, None),
            (500, None),
        ] {
            assert_eq!(wait(seconds), expected, "at {seconds} s");
        }
        let first = attempts.take(&"jose", at(0));
        assert_eq!((first.limit, first.remaining, first.wait), (5, 4, None), "another has his own");
    }

    #[test]
    fn what_is_given_back_does_not_count() {
        let attempts = Attempts::new(5, CELLS);
        let start = clock::monotonic();
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            assert_eq!(attempts.take(&1, now).wait, None, "{second}");
            attempts.give_back(&1, now);
        }
    }

    #[test]
    fn a_flood_of_accounts_takes_no_more_memory() {
        let attempts = Attempts::new(5, CELLS);
        let now = clock::monotonic();
        for account in 0..(3 * CELLS) {
            attempts.take(&account, now);
        }
        let cells = |attempts: &Attempts| attempts.lock().iter().flatten().map(|segment| segment.len()).sum::<usize>();
        assert_eq!(cells(&attempts), 5 * CELLS);
        let quiet = Attempts::new(5, CELLS);
        quiet.take(&1, now);
        assert_eq!(cells(&quiet), 5 * SEGMENT, "whoever has not tried takes none");
    }
}
