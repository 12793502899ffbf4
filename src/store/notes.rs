//! `booking_notes`: what is worth remembering of a booking, and for whom.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};

use super::StoreError;
use super::pages::{self, Ask, Rows};
use super::rows::{self, Columns, RowError, Table};
use crate::core::ids::{BookingId, UserId};

const TABLE: Table =
    Table { name: "booking_notes", model: r"App\Models\BookingNote", private: &["note"], constraints: &[] };

/// A note.
#[derive(Clone, PartialEq, Debug, Serialize, FromRow, utoipa::ToSchema)]
#[schema(as = BookingNote)]
pub struct NoteRow {
    /// `booking_notes.id`
    pub id: i64,
    /// `customer`, `provider` or `admin`; null once the account is erased.
    pub author: Option<String>,
    /// For whom: `customer`, `provider`, `all`; `internal`: admins.
    pub visibility: String,
    /// Itself.
    pub note: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT n.id, CASE WHEN n.author_id IS NULL THEN NULL WHEN n.author_id = b.customer_id THEN 'customer'
                        WHEN EXISTS (SELECT 1 FROM providers p WHERE p.user_id = n.author_id) THEN 'provider' ELSE 'admin' END AS author,
            n.visibility::text AS visibility, n.note, n.created_at, n.updated_at
     FROM booking_notes n JOIN bookings b ON b.id = n.booking_id WHERE n.deleted_at IS NULL";

/// Whose eyes read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// All there is.
    Admin,
    /// What is for the customer, and his own.
    Customer(UserId),
    /// What is for the provider, and his own.
    Provider(UserId),
}

/// A booking's notes that the reader may read, the newest first.
pub async fn list(pool: &PgPool, booking: BookingId, reader: Reader, ask: Ask) -> Result<Rows<NoteRow>, StoreError> {
    let mut select = QueryBuilder::new(SELECT);
    select.push(" AND n.booking_id = ").push_bind(booking.0);
    let party = match reader {
        Reader::Admin => None,
        Reader::Customer(user) => Some(("'customer'", user)),
        Reader::Provider(user) => Some(("'provider'", user)),
    };
    if let Some((word, UserId(user))) = party {
        select.push(" AND (n.visibility IN ('all', ").push(word).push(") OR n.author_id = ").push_bind(user).push(")");
    }
    pages::read(pool, select, "n.id", |id| id, ask).await
}

/// Writes a note. `admin`: that an admin wrote it is noted.
pub async fn create(
    tx: &mut PgConnection,
    booking: BookingId,
    author: UserId,
    mut columns: Columns,
    admin: bool,
) -> Result<NoteRow, RowError> {
    columns.set("booking_id", booking);
    columns.set("author_id", author);
    let id = rows::insert(&mut *tx, &TABLE, &columns, Some(author).filter(|_| admin)).await?;
    let mut select = QueryBuilder::new(SELECT);
    Ok(select.push(" AND n.id = ").push_bind(id).build_query_as().fetch_one(tx).await?)
}

/// Changes a note of `author`'s own; `None`: there is none. `admin`: that an admin changed it is noted.
pub async fn change(
    pool: &PgPool,
    booking: BookingId,
    id: i64,
    author: UserId,
    columns: &Columns,
    admin: bool,
) -> Result<Option<NoteRow>, RowError> {
    let mut tx = pool.begin().await?;
    if !hold(&mut tx, booking, id, Some(author)).await? {
        return Ok(None);
    }
    rows::update(&mut tx, &TABLE, id, columns, Some(author).filter(|_| admin)).await?;
    let mut select = QueryBuilder::new(SELECT);
    let row = select.push(" AND n.id = ").push_bind(id).build_query_as().fetch_optional(&mut *tx).await?;
    tx.commit().await?;
    Ok(row)
}

/// Deletes a note softly: of `by`'s own, or, as an admin, anybody's, which is noted. False: there is none.
pub async fn delete(pool: &PgPool, booking: BookingId, id: i64, by: UserId, admin: bool) -> Result<bool, RowError> {
    let mut tx = pool.begin().await?;
    let there = hold(&mut tx, booking, id, Some(by).filter(|_| !admin)).await?;
    let gone = there && rows::delete(&mut tx, &TABLE, id, true, Some(by).filter(|_| admin)).await?;
    tx.commit().await?;
    Ok(gone)
}

/// Holds a booking's note until the transaction ends; false: there is none, or it is not this author's.
async fn hold(tx: &mut PgConnection, booking: BookingId, id: i64, author: Option<UserId>) -> Result<bool, StoreError> {
    let there = sqlx::query(
        "SELECT 1 FROM booking_notes WHERE id = $1 AND booking_id = $2 AND ($3::bigint IS NULL OR author_id = $3)
           AND deleted_at IS NULL FOR NO KEY UPDATE",
    );
    let there = there.bind(id).bind(booking.0).bind(author.map(|author| author.0));
    Ok(there.fetch_optional(tx).await?.is_some())
}
