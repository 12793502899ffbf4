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
    reason: Option<String>,
    created_at: DateTime<Utc>,
}

/// Every status of `booking`, oldest first.
pub async fn history(pool: &PgPool, booking: BookingId) -> Result<Vec<Step>, StoreError> {
    let rows: Vec<StepRow> = sqlx::query_as(
        "SELECT from_status::text, to_status::text, changed_by, reason, created_at FROM booking_status_history
         WHERE booking_id = $1 ORDER BY id",
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
            reason: r.reason,
            at: r.created_at.into(),
        })
        .collect())
}
