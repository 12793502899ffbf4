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
    /// When, milliseconds after `begin` and one more; 0 is never. `limit` of them are a cell. (What nobody has tried is memory that
    /// nobody has touched.)
    cells: Mutex<Vec<u64>>,
}

impl Attempts {
    /// At most so many in any minute, counted in so many cells.
    pub fn new(limit: usize, count: usize) -> Self {
        Self {
            limit,
            count,
            begin: clock::monotonic(),
            key: RandomState::new(),
            cells: Mutex::new(vec![0; limit * count]),
        }
    }

    /// Counts one more attempt, unless there were too many. O(limit).
    pub fn take(&self, who: &impl Hash, now: Instant) -> Allowance {
        let (at, window) = (self.millis(now), millis(WINDOW));
        let mut cells = self.lock();
        let cell = &mut cells[self.cell(who)];
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
        let at = self.millis(taken);
        if let Some(past) = self.lock()[self.cell(who)].iter_mut().find(|past| **past == at) {
            *past = 0;
        }
    }

    fn cell(&self, who: &impl Hash) -> Range<usize> {
        let at = (self.key.hash_one(who) % self.count as u64) as usize * self.limit;
        at..at + self.limit
    }

    fn millis(&self, at: Instant) -> u64 {
        millis(at.saturating_duration_since(self.begin)) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(attempts.lock().len(), 5 * CELLS);
    }
}
