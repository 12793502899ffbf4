//! `messages`: what the two parties of a booking write to each other, from the accept until some time after its end.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, QueryBuilder};
use uuid::Uuid;

use super::StoreError;
use super::pages::{self, Ask, Rows};
use super::rows::{self, Columns, RowError, Table};
use crate::core::ids::{BookingId, MessageId, UserId};
use crate::wire::stream::Written;

const TABLE: Table = Table { name: "messages", model: r"App\Models\Message", private: &["message"], constraints: &[] };

/// How long after a booking's end its parties still write to each other, hours: a bag was left, a word of thanks.
pub const OPEN_AFTER_END_H: i32 = 24;

/// A message.
#[derive(Clone, PartialEq, Debug, Serialize, FromRow, utoipa::ToSchema)]
#[schema(as = Message)]
pub struct MessageRow {
    /// In the order in which they came.
    #[serde(skip)]
    pub id: i64,
    /// `messages.uuid`
    pub uuid: Uuid,
    /// Who wrote: `users.uuid`.
    pub sender_uuid: Uuid,
    /// To whom.
    pub receiver_uuid: Uuid,
    /// Empty if there is only an attachment.
    pub message: String,
    /// `image` or `location`.
    pub attachment_type: Option<String>,
    /// Of an image.
    pub attachment_url: Option<String>,
    /// Of a location: `{latitude, longitude}`.
    #[schema(value_type = Option<Object>)]
    pub attachment_metadata: Option<Value>,
    /// By the receiver.
    pub is_read: bool,
    /// Since when.
    pub read_at: Option<DateTime<Utc>>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT m.id, m.uuid, s.uuid AS sender_uuid, r.uuid AS receiver_uuid, m.message, m.attachment_type, m.attachment_url,
            m.attachment_metadata, m.is_read, m.read_at, m.created_at, m.updated_at
     FROM messages m JOIN users s ON s.id = m.sender_id JOIN users r ON r.id = m.receiver_id WHERE m.deleted_at IS NULL";

/// A booking's messages, the newest first: all, or those from and to `party`. (Who gave a booking back, and who has it now, do not
/// read each other's.)
pub async fn list(
    pool: &PgPool,
    booking: BookingId,
    party: Option<UserId>,
    ask: Ask,
) -> Result<Rows<MessageRow>, StoreError> {
    let mut select = QueryBuilder::new(SELECT);
    select.push(" AND m.booking_id = ").push_bind(booking.0);
    if let Some(UserId(user)) = party {
        select.push(" AND (m.sender_id = ").push_bind(user).push(" OR m.receiver_id = ").push_bind(user).push(")");
    }
    pages::read(pool, select, "m.id", |id| id, ask).await
}

/// What became of a message.
pub enum Sent {
    /// It is written; the receiver is told after the commit.
    Written(Box<MessageRow>),
    /// Nobody is there to read it: the booking has this status.
    Closed(String),
    /// The sender is no party.
    NotFound,
}

#[derive(FromRow)]
struct Parties {
    id: i64,
    status: String,
    customer_id: i64,
    provider_user: Option<i64>,
    open: bool,
}

/// Writes a message to the other party.
pub async fn create(
    tx: &mut PgConnection,
    booking: Uuid,
    sender: UserId,
    mut columns: Columns,
) -> Result<Sent, RowError> {
    let parties: Option<Parties> = sqlx::query_as(
        "SELECT b.id, b.status::text AS status, b.customer_id, p.user_id AS provider_user,
                b.accepted_at IS NOT NULL
                AND (b.status IN ('accepted', 'en_route', 'arrived', 'in_progress')
                     OR COALESCE(b.completed_at, b.cancelled_at, b.updated_at) > clock_timestamp() - make_interval(hours => $2)) AS open
         FROM bookings b LEFT JOIN providers p ON p.id = b.provider_id
         WHERE b.uuid = $1 AND b.deleted_at IS NULL FOR SHARE OF b",
    )
    .bind(booking)
    .bind(OPEN_AFTER_END_H)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(Parties { id, status, customer_id, provider_user, open }) = parties else { return Ok(Sent::NotFound) };
    let receiver = match provider_user {
        Some(provider) if provider == sender.0 => customer_id,
        Some(provider) if customer_id == sender.0 && open => provider,
        _ if customer_id == sender.0 => return Ok(Sent::Closed(status)),
        _ => return Ok(Sent::NotFound),
    };
    if !open {
        return Ok(Sent::Closed(status));
    }
    columns.set("booking_id", id);
    columns.set("sender_id", sender);
    columns.set("receiver_id", receiver);
    let id = rows::insert(&mut *tx, &TABLE, &columns, None).await?;
    let mut select = QueryBuilder::new(SELECT);
    let row = select.push(" AND m.id = ").push_bind(id).build_query_as().fetch_one(tx).await?;
    Ok(Sent::Written(Box::new(row)))
}

/// Marks all that was written to `reader` in a booking as read; says how many were not.
pub async fn mark_read(pool: &PgPool, booking: BookingId, reader: UserId) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE messages SET is_read = TRUE, read_at = clock_timestamp()
         WHERE booking_id = $1 AND receiver_id = $2 AND NOT is_read AND deleted_at IS NULL",
    )
    .bind(booking.0)
    .bind(reader.0)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

#[derive(FromRow)]
struct ToldRow {
    receiver_id: i64,
    booking_uuid: Uuid,
    #[sqlx(flatten)]
    row: MessageRow,
}

/// These messages as their receivers are told of them, in the order in which they came.
pub async fn written(db: impl PgExecutor<'_>, messages: &[MessageId]) -> Result<Vec<(UserId, Written)>, StoreError> {
    let ids: Vec<i64> = messages.iter().map(|id| id.0).collect();
    let rows: Vec<ToldRow> = sqlx::query_as(
        "SELECT m.receiver_id, b.uuid AS booking_uuid, m.id, m.uuid, s.uuid AS sender_uuid, r.uuid AS receiver_uuid, m.message,
                m.attachment_type, m.attachment_url, m.attachment_metadata, m.is_read, m.read_at, m.created_at, m.updated_at
         FROM messages m JOIN users s ON s.id = m.sender_id JOIN users r ON r.id = m.receiver_id
         JOIN bookings b ON b.id = m.booking_id
         WHERE m.id = ANY($1) AND m.deleted_at IS NULL ORDER BY m.id",
    )
    .bind(ids)
    .fetch_all(db)
    .await?;
    let told = |ToldRow { receiver_id, booking_uuid, row }| {
        let written = Written {
            booking_uuid,
            uuid: row.uuid,
            sender_uuid: row.sender_uuid,
            message: row.message,
            attachment_type: row.attachment_type,
            attachment_url: row.attachment_url,
            attachment_metadata: row.attachment_metadata,
            created_at: row.created_at.into(),
        };
        (UserId(receiver_id), written)
    };
    Ok(rows.into_iter().map(told).collect())
}
