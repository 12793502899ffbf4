//! What happened to a booking: the feed for people (`booking_timeline`) and the record of every status
//! (`booking_status_history`). Both are written by a trigger under the booking's row lock, so that within one booking
//! ids come in commit order: whoever has read up to an id misses nothing by asking for what is after it.

use serde::Serialize;
use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};

use crate::core::ids::{BookingId, UserId};
use crate::store::StoreError;
use crate::wire::time::WireTime;

/// One entry of a booking's feed.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
pub struct Entry {
    /// `booking_timeline.id`: the id of the server-sent event.
    pub id: i64,
    /// A `booking_status`, or another event's word: `reminder`, `tip`.
    pub status: String,
    /// For people.
    pub description: Option<String>,
    /// For programs.
    pub metadata: Option<serde_json::Value>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
}

/// One step of a booking's status.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Before; `None` at creation.
    pub from: Option<String>,
    /// After.
    pub to: String,
    /// Whose doing; `None`: the system.
    pub changed_by: Option<UserId>,
    /// As what: `customer`, `provider` (whoever was asked to take it) or `admin`.
    pub by: Option<String>,
    /// Why, where one was given.
    pub reason: Option<String>,
    /// When its transaction began.
    pub at: WireTime,
}

#[derive(sqlx::FromRow)]
struct EntryRow {
    id: i64,
    status: String,
    description: Option<String>,
    metadata: Option<serde_json::Value>,
    created_at: DateTime<Utc>,
}

/// The feed of `booking` after the entry `after` (0: from the beginning), oldest first, at most `limit` entries.
pub async fn after(pool: &PgPool, booking: BookingId, after: i64, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let rows: Vec<EntryRow> = sqlx::query_as(
        "SELECT id, status, description, metadata, created_at FROM booking_timeline
         WHERE booking_id = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(booking.0)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Entry {
            id: r.id,
            status: r.status,
            description: r.description,
            metadata: r.metadata,
            created_at: r.created_at.into(),
        })
        .collect())
}

#[derive(sqlx::FromRow)]
struct StepRow {
    from_status: Option<String>,
    to_status: String,
    changed_by: Option<i64>,
    by: Option<String>,
    reason: Option<String>,
    created_at: DateTime<Utc>,
}

/// Every status of `booking`, oldest first.
pub async fn history(pool: &PgPool, booking: BookingId) -> Result<Vec<Step>, StoreError> {
    let rows: Vec<StepRow> = sqlx::query_as(
        "SELECT h.from_status::text, h.to_status::text, h.changed_by, h.reason, h.created_at,
                CASE WHEN h.changed_by IS NULL THEN NULL WHEN h.changed_by = b.customer_id THEN 'customer'
                     WHEN EXISTS (SELECT 1 FROM providers p
                                  WHERE p.user_id = h.changed_by
                                    AND (p.id = b.provider_id OR EXISTS (SELECT 1 FROM booking_offers o
                                         WHERE o.booking_id = b.id AND o.provider_id = p.id))) THEN 'provider'
                     ELSE 'admin' END AS by
         FROM booking_status_history h JOIN bookings b ON b.id = h.booking_id
         WHERE h.booking_id = $1 ORDER BY h.id",
    )
    .bind(booking.0)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Step {
            from: r.from_status,
            to: r.to_status,
            changed_by: r.changed_by.map(UserId),
            by: r.by,
            reason: r.reason,
            at: r.created_at.into(),
        })
        .collect())
}
