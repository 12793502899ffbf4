//! Which bookings moved, for who did not hear of it: through the history of their statuses, a page at a time.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};

use crate::core::ids::BookingId;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::wire::time::from_chrono;

/// Entries read at once.
const PAGE: i64 = 1_000;

/// A place in the history. Entries get their places in the order in which they are written, not in that of their commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MovePlace(i64);

#[cfg(test)]
impl MovePlace {
    pub(crate) const fn at(id: i64) -> Self {
        Self(id)
    }
}

/// A page of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MovedPage {
    /// Each booking with its `updated_at`, where its last entry is: however often it moved, it is in one page.
    pub moved: Vec<(BookingId, Timestamp)>,
    /// Where to go on; `None`: that was all.
    pub next: Option<MovePlace>,
}

/// The end of the history, as far as it is committed.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn last_move(pool: &PgPool) -> Result<MovePlace, StoreError> {
    let id = sqlx::query_scalar("SELECT COALESCE(max(id), 0) FROM booking_status_history").fetch_one(pool).await?;
    Ok(MovePlace(id))
}

/// A place before all entries that are younger than `age`, not much farther back: found by the primary key, from the end.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn moves_before(pool: &PgPool, age: Duration) -> Result<MovePlace, StoreError> {
    let mut from = i64::MAX;
    loop {
        let found: Option<(i64, bool)> = sqlx::query_as(
            "SELECT id, created_at <= now() - make_interval(secs => $3) FROM booking_status_history
             WHERE id < $1 ORDER BY id DESC OFFSET $2 LIMIT 1",
        )
        .bind(from)
        .bind(PAGE - 1)
        .bind(age.as_secs_f64())
        .fetch_optional(pool)
        .await?;
        match found {
            Some((id, false)) => from = id,
            Some((id, true)) => return Ok(MovePlace(id)),
            None => return Ok(MovePlace(0)),
        }
    }
}

/// The bookings that moved after this place, of the next entries.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn moved_after(pool: &PgPool, MovePlace(after): MovePlace) -> Result<MovedPage, StoreError> {
    let rows: Vec<(i64, i64, DateTime<Utc>, bool)> = sqlx::query_as(
        "SELECT h.id, b.id, b.updated_at,
                NOT EXISTS (SELECT 1 FROM booking_status_history later WHERE later.booking_id = b.id AND later.id > h.id)
         FROM (SELECT id, booking_id FROM booking_status_history WHERE id > $1 ORDER BY id LIMIT $2) h
         JOIN bookings b ON b.id = h.booking_id ORDER BY h.id",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(pool)
    .await?;
    let next = rows.last().filter(|_| rows.len() == PAGE as usize).map(|(entry, ..)| MovePlace(*entry));
    let last = rows.into_iter().filter(|(.., last)| *last);
    let moved = last.map(|(_, id, version, _)| (BookingId(id), from_chrono(version))).collect();
    Ok(MovedPage { moved, next })
}
