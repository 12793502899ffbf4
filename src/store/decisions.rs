//! The log of the dispatch machine's decisions, for `explain` and replay. Append-only, and pruned after [`KEPT_DAYS`]; what
//! is lost of it breaks no promise.

use serde::Serialize;
use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};

use crate::core::dispatch::Decision;
use crate::core::ids::BookingId;
use crate::store::StoreError;
use crate::wire::time::{WireTime, from_chrono, to_chrono};

/// Decisions are kept so long.
pub const KEPT_DAYS: i32 = 90;
/// Deleted in one statement, so that nobody waits for a long one.
const PRUNED_AT_ONCE: i64 = 10_000;

/// A decision as it is read back.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
pub struct Logged {
    /// When, by the machine's clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: WireTime,
    /// What: `searching`, `asked`, `offered`, …
    pub kind: String,
    /// Its particulars.
    pub detail: serde_json::Value,
}

/// Writes a batch in one statement, in its order. Decisions of a booking that does not exist (any more) are left out.
pub async fn append(pool: &PgPool, batch: &[Decision]) -> Result<(), StoreError> {
    let mut bookings = Vec::with_capacity(batch.len());
    let mut times: Vec<DateTime<Utc>> = Vec::with_capacity(batch.len());
    let mut kinds: Vec<String> = Vec::with_capacity(batch.len());
    let mut details = Vec::with_capacity(batch.len());
    for decision in batch {
        let mut detail = serde_json::to_value(&decision.what).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
        let kind = detail.as_object_mut().and_then(|d| d.remove("kind"));
        bookings.push(decision.booking.0);
        times.push(to_chrono(decision.at).unwrap_or_default());
        kinds.push(kind.and_then(|k| k.as_str().map(str::to_owned)).unwrap_or_default());
        details.push(detail);
    }
    sqlx::query(
        "INSERT INTO dispatch_decisions (booking_id, decided_at, kind, detail)
         SELECT d.booking, d.at, d.kind, d.detail
         FROM UNNEST($1::bigint[], $2::timestamptz[], $3::text[], $4::jsonb[]) WITH ORDINALITY
              AS d (booking, at, kind, detail, n)
         WHERE EXISTS (SELECT 1 FROM bookings b WHERE b.id = d.booking)
         ORDER BY d.n",
    )
    .bind(&bookings)
    .bind(&times)
    .bind(&kinds)
    .bind(&details)
    .execute(pool)
    .await?;
    Ok(())
}

/// Decisions from `since` to before `until`, in the order they were made, at most `limit`. One that this version does
/// not know is left out; how many were is told.
pub async fn between(
    pool: &PgPool,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: u32,
) -> Result<(Vec<Decision>, usize), StoreError> {
    let rows: Vec<(i64, DateTime<Utc>, String, serde_json::Value)> = sqlx::query_as(
        "SELECT booking_id, decided_at, kind, detail FROM dispatch_decisions
         WHERE decided_at >= $1 AND decided_at < $2 ORDER BY id LIMIT $3",
    )
    .bind(since)
    .bind(until)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let all = rows.len();
    let decision = |(booking, at, kind, mut detail): (i64, DateTime<Utc>, String, serde_json::Value)| {
        detail.as_object_mut()?.insert("kind".to_owned(), kind.into());
        let what = serde_json::from_value(detail).ok()?;
        Some(Decision { booking: BookingId(booking), at: from_chrono(at), what })
    };
    let known: Vec<_> = rows.into_iter().filter_map(decision).collect();
    let unknown = all - known.len();
    Ok((known, unknown))
}

/// Deletes what is older than [`KEPT_DAYS`]; says how many rows.
pub async fn prune(pool: &PgPool) -> Result<u64, StoreError> {
    let mut all = 0;
    loop {
        let gone = sqlx::query(
            "DELETE FROM dispatch_decisions WHERE id = ANY (ARRAY(
                 SELECT id FROM dispatch_decisions
                 WHERE decided_at < now() - make_interval(days => $1) LIMIT $2))",
        )
        .bind(KEPT_DAYS)
        .bind(PRUNED_AT_ONCE)
        .execute(pool)
        .await?
        .rows_affected();
        all += gone;
        if gone < PRUNED_AT_ONCE.unsigned_abs() {
            return Ok(all);
        }
    }
}

/// The decisions about a booking, oldest first, at most `limit`.
pub async fn of_booking(pool: &PgPool, booking: BookingId, limit: u32) -> Result<Vec<Logged>, StoreError> {
    let rows: Vec<(DateTime<Utc>, String, serde_json::Value)> = sqlx::query_as(
        "SELECT decided_at, kind, detail FROM dispatch_decisions WHERE booking_id = $1 ORDER BY id LIMIT $2",
    )
    .bind(booking.0)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(at, kind, detail)| Logged { at: at.into(), kind, detail }).collect())
}
