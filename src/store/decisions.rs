//! The log of the dispatch machine's decisions, for `explain`. Append-only; what is lost of it breaks no promise.

use serde::Serialize;
use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};

use crate::core::dispatch::Decision;
use crate::core::ids::BookingId;
use crate::store::StoreError;
use crate::wire::time::{WireTime, to_chrono};

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
