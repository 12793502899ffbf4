//! The comparison that goes round the fleet, over and over: it finds what a lost notification would have told. It takes a small
//! part at a time, evenly over the period, because reading many rows at once holds up everybody who asks meanwhile.
//!
//! The applier does it, a part in one turn: what it hears of between two parts is applied between them, and rows are put in the
//! order in which they are read. A new connection begins a new round.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::{Engine, rebuild};
use crate::clock;
use crate::core::ids::ProviderId;
use crate::store::{StoreError, therapists};

/// So often the whole index is compared with the database.
pub const COMPARED_EVERY: Duration = Duration::from_secs(60);
/// Therapists of a part: so few that a request which comes in between hardly waits, and no fewer, because each part costs three
/// statements.
const PART: usize = 200;
/// Parts do not follow each other faster than this, however late they are, so that what is heard gets its turn: a fleet too large
/// for that goes in larger parts.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
/// When a part could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// Of the period, that the parts are spread over: what remains is for a slow database, and for newcomers.
const SPREAD_PERCENT: u32 = 90;

/// One comparison of the whole fleet.
pub(super) struct Round {
    began: Instant,
    period: Duration,
    pace: Pace,
    /// Parts that were compared.
    done: u32,
    /// The next is not to be compared before.
    not_before: Instant,
    /// All up to this id are compared.
    after: ProviderId,
    /// The others of the index when the round began, in order of id: whoever was deleted is in no table.
    known: VecDeque<ProviderId>,
}

impl Round {
    /// The first part comes a pause from `began` on: all has just been compared.
    pub(super) fn new(engine: &Engine, began: Instant, period: Duration) -> Self {
        let known: VecDeque<_> = engine.fleet.providers().into();
        Self {
            began,
            period,
            pace: Pace::of(known.len(), period * SPREAD_PERCENT / 100),
            done: 0,
            not_before: began,
            after: ProviderId(i64::MIN),
            known,
        }
    }

    /// The one after this: it begins when its time has come, or late.
    pub(super) fn next(&mut self, engine: &Engine) {
        *self = Self::new(engine, (self.began + self.period).max(clock::monotonic()), self.period);
    }

    /// When the next part is to be compared.
    pub(super) fn due(&self) -> Instant {
        (self.began + self.pace.offset(self.done)).max(self.not_before)
    }

    /// The same part is compared again a little later.
    pub(super) fn put_off(&mut self) {
        self.not_before = clock::monotonic() + RETRY;
    }

    /// Makes the index show what the rows of the next part say. True after the last one.
    ///
    /// # Errors
    /// When not all could be read; the part is the next one still.
    pub(super) async fn part(&mut self, engine: &Engine) -> Result<bool, StoreError> {
        let stored = therapists::ids_after(&engine.pool, self.after, self.pace.part).await?;
        let part = first(&stored, &self.known, self.pace.part);
        let read = rebuild::part(&engine.pool, &engine.fleet, &part, &engine.settings(), clock::now()).await?;
        if read.supply {
            engine.dispatcher.supply_appeared();
        }
        self.done += 1;
        self.not_before = clock::monotonic() + LEAST_PAUSE;
        if let Some(&last) = part.last() {
            self.after = last;
            while self.known.pop_front_if(|id| *id <= last).is_some() {}
        }
        Ok(part.len() < self.pace.part)
    }
}

/// The first so many of both, in order of id.
fn first(stored: &[ProviderId], known: &VecDeque<ProviderId>, most: usize) -> Vec<ProviderId> {
    let both: BTreeSet<_> = stored.iter().chain(known.iter().take(most)).copied().collect();
    both.into_iter().take(most).collect()
}

/// How a round goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pace {
    /// Therapists of a part.
    part: usize,
    /// From the beginning to the first part, and from one to the next.
    pause: Duration,
    /// All parts are due by then.
    within: Duration,
}

impl Pace {
    fn of(fleet: usize, within: Duration) -> Self {
        let most = (within.as_nanos() / LEAST_PAUSE.as_nanos()).max(1);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let parts = u32::try_from(fleet.div_ceil(PART)).unwrap_or(u32::MAX).clamp(1, most);
        Self { part: fleet.div_ceil(parts as usize).max(PART), pause: within / parts, within }
    }

    /// From the beginning of the round until the next part, after so many. More parts than were expected come at once.
    fn offset(&self, done: u32) -> Duration {
        self.pause.saturating_mul(done.saturating_add(1)).min(self.within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_small_and_evenly_spread_whatever_the_size_of_the_fleet() {
        let within = Duration::from_secs(54);
        for (fleet, part, pause_ms) in [
            (0, 200, 54_000),
            (1, 200, 54_000),
            (200, 200, 54_000),
            (201, 200, 27_000),
            (1_000, 200, 10_800),
            (100_000, 200, 108),
            (216_000, 200, 50),
            (1_000_000, 926, 50), // no more often, but larger
        ] {
            let pace = Pace::of(fleet, within);
            assert_eq!(pace, Pace { part, pause: Duration::from_millis(pause_ms), within }, "{fleet}");
            let parts = u32::try_from(fleet.div_ceil(part)).expect("few");
            assert!(parts == 0 || pace.pause * parts <= within, "{fleet}: all are compared in time");
        }
        assert_eq!(
            Pace::of(1_000, Duration::ZERO),
            Pace { part: 1_000, pause: Duration::ZERO, within: Duration::ZERO }
        );
    }

    #[test]
    fn parts_are_due_one_after_the_other_and_those_of_newcomers_at_the_end() {
        let pace = Pace::of(600, Duration::from_secs(54));
        let due: Vec<u64> = (0..5).map(|done| pace.offset(done).as_secs()).collect();
        assert_eq!(due, [18, 36, 54, 54, 54]);
    }

    #[test]
    fn a_part_is_the_first_of_the_table_and_of_the_index_together() {
        let ids = |ids: &[i64]| ids.iter().map(|id| ProviderId(*id)).collect::<Vec<_>>();
        for (stored, known, part) in [
            (&[1, 2, 3][..], &[1, 2, 3, 4, 5][..], &[1, 2, 3][..]),
            (&[2, 4, 6], &[1, 2, 3, 4], &[1, 2, 3]), // two were deleted
            (&[7, 8], &[], &[7, 8]),                 // two were added
            (&[], &[1, 2, 3, 4], &[1, 2, 3]),
            (&[], &[], &[]),
        ] {
            assert_eq!(first(&ids(stored), &ids(known).into(), 3), ids(part), "{stored:?} {known:?}");
        }
    }
}
