//! Reminders of accepted bookings before their time. The entry of the timeline is the record that one was given.

use sqlx::PgPool;

use super::lock::lock;
use super::view::{BookingView, view_by_id};
use crate::core::ids::BookingId;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::store::tx::{act_as, clock};
use crate::wire::time::from_chrono;

/// A reminder whose time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DueReminder {
    /// Of which booking.
    pub booking: BookingId,
    /// So many seconds before its time.
    pub before_s: u32,
}

/// A reminder that was recorded just now: its parties are to be told.
#[derive(Clone, Debug)]
pub struct Reminded {
    /// The booking.
    pub view: BookingView,
    /// Its time.
    pub scheduled_at: Timestamp,
    /// When its therapist should set out; `None` at a store.
    pub set_out_at: Option<Timestamp>,
}

/// What is due by the database's clock, of reminders `before_s` seconds ahead. Of several that are late (nobody was there
/// to give them) the last alone; none whose time had come before the accept, and none once the therapist is on his way.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn due_reminders(pool: &PgPool, before_s: &[u32]) -> Result<Vec<DueReminder>, StoreError> {
    let before: Vec<i32> = before_s.iter().filter_map(|&s| i32::try_from(s).ok()).collect();
    let Some(&earliest) = before.iter().max() else { return Ok(Vec::new()) };
    let rows: Vec<(i64, i32)> = sqlx::query_as(
        "SELECT b.id, r.before_s
         FROM bookings b
         CROSS JOIN LATERAL (SELECT min(s) AS before_s FROM unnest($1::int[]) s
                             WHERE b.scheduled_at - make_interval(secs => s) <= clock_timestamp()) r
         WHERE b.scheduled_at > now() AND b.scheduled_at <= now() + make_interval(secs => $2)
           AND b.status = 'accepted' AND b.deleted_at IS NULL
           AND b.accepted_at <= b.scheduled_at - make_interval(secs => r.before_s)
           AND NOT EXISTS (SELECT 1 FROM booking_timeline t WHERE t.booking_id = b.id AND t.status = 'reminder'
                           AND t.metadata ->> 'before_s' = r.before_s::text)
         ORDER BY b.scheduled_at, b.id",
    )
    .bind(before)
    .bind(f64::from(earliest) + 1.0)
    .fetch_all(pool)
    .await?;
    let due = |(booking, before_s): (i64, i32)| DueReminder {
        booking: BookingId(booking),
        before_s: before_s.unsigned_abs(), // one of those given
    };
    Ok(rows.into_iter().map(due).collect())
}

/// Records it. `None`: somebody else did, or the booking is not accepted any more.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn remind(pool: &PgPool, due: DueReminder) -> Result<Option<Reminded>, StoreError> {
    let mut tx = pool.begin().await?;
    let Some(row) = lock(&mut tx, due.booking).await? else { return Ok(None) };
    let Some(scheduled_at) = row.scheduled_at.filter(|_| row.status == "accepted") else { return Ok(None) };
    if scheduled_at <= clock(&mut tx).await? {
        return Ok(None);
    }
    act_as(&mut tx, None).await?;
    let recorded = sqlx::query(
        "INSERT INTO booking_timeline (booking_id, status, description, metadata, created_at)
         VALUES ($1, 'reminder',
                 'Begins ' || to_char($2 AT TIME ZONE 'Asia/Manila', 'YYYY-MM-DD HH24:MI') || ' (Asia/Manila)',
                 jsonb_build_object('before_s', $3::int, 'scheduled_at', $2::timestamptz), clock_timestamp())
         ON CONFLICT DO NOTHING",
    )
    .bind(due.booking.0)
    .bind(scheduled_at)
    .bind(i32::try_from(due.before_s).unwrap_or(i32::MAX))
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if recorded == 0 {
        return Ok(None);
    }
    let view = view_by_id(&mut tx, due.booking).await?.ok_or(sqlx::Error::RowNotFound)?;
    tx.commit().await?;
    let set_out_at = row.set_out_from.filter(|_| row.r#type == "home_service").map(from_chrono);
    Ok(Some(Reminded { view, scheduled_at: from_chrono(scheduled_at), set_out_at }))
}
