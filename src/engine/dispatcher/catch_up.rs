//! What moved while nobody listened, or while who moved it could not tell: found in the history, told now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{DispatcherHandle, lock};
use crate::clock;
use crate::store::StoreError;
use crate::store::bookings::{self, MovePlace};

/// Entries are committed at most so long after they are written: what had been read before is read again so far back.
const MARGIN: Duration = Duration::from_secs(150);

/// Up to where the history was read.
#[derive(Default)]
pub(super) struct Reading {
    /// From where to read next.
    from: Option<MovePlace>,
    /// Its ends when it was read, and when that was; younger than [`MARGIN`] when it was last read.
    ends: VecDeque<(Instant, MovePlace)>,
}

impl Reading {
    /// All from `from` to `end`, where it ended `at` that time, has been told.
    fn done(&mut self, from: MovePlace, end: MovePlace, at: Instant) {
        self.from.get_or_insert(from);
        self.ends.push_back((at, end));
        while let Some((_, old)) = self.ends.pop_front_if(|(read, _)| at.saturating_duration_since(*read) >= MARGIN) {
            self.from = Some(old);
        }
    }
}

impl DispatcherHandle {
    /// After a time in which nobody listened, however long, and now and then: what moved meanwhile is told now; what was told is
    /// not repeated. Reads page by page.
    ///
    /// # Errors
    /// When the rows could not be read: the next time begins where this one did.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let (pool, reading) = (&self.shared.pool, &self.shared.reading);
        let at = clock::monotonic();
        let end = bookings::last_move(pool).await?;
        let known = lock(reading).from;
        let from = match known {
            Some(from) => from,
            None => bookings::moves_before(pool, MARGIN).await?,
        };
        let mut place = Some(from);
        while let Some(after) = place {
            let page = bookings::moved_after(pool, after).await?;
            for (booking, version) in page.moved {
                self.changed(booking, Some(version)).await;
            }
            place = page.next;
        }
        lock(reading).done(from, end, at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::bookings::MovePlace;

    #[test]
    fn it_is_read_on_from_where_it_ended_a_while_before_it_was_last_read() {
        let start = clock::monotonic();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut reading = Reading::default();
        // (when, its end then, from where it is read next)
        for (when, end, next) in
            [(0, 10, 5), (60, 20, 5), (120, 30, 5), (150, 40, 10), (5_000, 50, 40), (5_001, 60, 40)]
        {
            let from = reading.from.unwrap_or(MovePlace::at(5));
            reading.done(from, MovePlace::at(end), at(when));
            assert_eq!(reading.from, Some(MovePlace::at(next)), "after {when} s");
        }
        assert_eq!(reading.ends.len(), 2, "what is not needed any more is forgotten");
    }
}
