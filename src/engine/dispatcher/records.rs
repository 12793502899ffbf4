//! What ranking knows of therapists besides where they are. Read once at the start, then kept up with what this node
//! does: a hint among equals, not a promise.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::PgPool;

use super::lock;
use crate::core::dispatch::Merit;
use crate::core::ids::ProviderId;
use crate::core::matching::Candidate;
use crate::core::time::Timestamp;
use crate::core::travel::travel_time_over;
use crate::store::StoreError;
use crate::store::offers;

/// With fewer answers a share says nothing.
const ENOUGH_ANSWERS: u32 = 5;

#[derive(Clone, Copy, Default)]
struct Record {
    accepted: u32,
    answered: u32,
    worked_at: Option<Timestamp>,
}

/// By therapist; one who is not in it was not asked, and has not worked, for a month.
#[derive(Default)]
pub(super) struct Records {
    all: Mutex<HashMap<ProviderId, Record>>,
    loaded: AtomicBool,
}

impl Records {
    /// Reads them from the database, the first time.
    pub(super) async fn load(&self, pool: &PgPool) -> Result<(), StoreError> {
        if self.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let read = offers::records(pool).await?;
        let mut all = lock(&self.all);
        for offers::Record { provider, accepted, answered, worked_at } in read {
            all.insert(provider, Record { accepted, answered, worked_at });
        }
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// He said yes; or no, or nothing.
    pub(super) fn answered(&self, provider: ProviderId, accepted: bool) {
        let mut all = lock(&self.all);
        let record = all.entry(provider).or_default();
        record.answered = record.answered.saturating_add(1);
        record.accepted = record.accepted.saturating_add(accepted.into());
    }

    /// His booking is over.
    pub(super) fn finished(&self, provider: ProviderId, now: Timestamp) {
        lock(&self.all).entry(provider).or_default().worked_at = Some(now);
    }

    /// What of a candidate counts at `now`. `preferred`: the customer knows him.
    pub(super) fn merit(&self, candidate: &Candidate, preferred: bool, now: Timestamp) -> Merit {
        let therapist = &candidate.therapist;
        let record = lock(&self.all).get(&therapist.provider).copied().unwrap_or_default();
        let millis = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
        let share = u64::from(record.accepted) * 1_000 / u64::from(record.answered.max(1));
        Merit {
            travel_ms: millis(travel_time_over(candidate.distance, now)),
            idle_ms: record.worked_at.map_or(u32::MAX, |at| millis(now.since(at))),
            rating: (therapist.total_reviews > 0).then(|| therapist.average_rating.hundredths()),
            acceptance: (record.answered >= ENOUGH_ANSWERS).then_some(share.min(1_000) as u16),
            preferred,
        }
    }
}
