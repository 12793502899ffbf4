//! Offers that an accept has made impossible: their therapist is busy then.

use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::ClosedOffer;
use crate::core::geo::Meters;
use crate::core::ids::{BookingId, OfferId, ProviderId, UserId};
use crate::store::StoreError;
use crate::store::bookings::{lock, read};
use crate::store::tx::clock;
use crate::wire::stream::OfferEnd;
use crate::wire::time::from_chrono;

/// A live offer of somebody who has just taken another booking.
#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    booking_id: i64,
    distance_km: Decimal,
    now: bool,
    provider_id: i64,
    user_id: i64,
    buffer_minutes: i32,
    busy_from: DateTime<Utc>,
    busy_until: DateTime<Utc>,
}

/// Withdraws the live offers that the therapist of `taken` cannot take any more because they would overlap it. Each in its
/// own transaction, after the accept's: locks are taken booking by booking. An offer that is missed (a crash in between, an
/// accept by others' SQL) is found by the next reconciliation ([`clashed_with`]).
///
/// # Errors
/// When the rows could not be read or written; what was withdrawn until then stays so.
pub async fn withdraw_clashing(pool: &PgPool, taken: BookingId) -> Result<Vec<(BookingId, ClosedOffer)>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT o.id, o.booking_id, o.distance_km, o.booking_type = 'now' AS now, o.provider_id, p.user_id,
                tp.buffer_minutes, lower(t.busy_during) AS busy_from, upper(t.busy_during) AS busy_until
         FROM bookings t
         JOIN booking_offers o ON o.provider_id = t.provider_id AND o.status = 'offered' AND o.booking_id <> t.id
         JOIN providers p ON p.id = o.provider_id
         JOIN therapist_profiles tp ON tp.provider_id = o.provider_id
         WHERE t.id = $1 AND t.status IN ('accepted', 'en_route', 'arrived', 'in_progress')
           AND isfinite(lower(t.busy_during)) AND isfinite(upper(t.busy_during))
         ORDER BY o.booking_id, o.id",
    )
    .bind(taken.0)
    .fetch_all(pool)
    .await?;
    let mut closed = Vec::new();
    for row in rows {
        let mut tx = pool.begin().await?;
        if clashes(&mut tx, &row).await? && withdrawn(&mut tx, &row).await? {
            tx.commit().await?;
            let (offer, provider, user) = (OfferId(row.id), ProviderId(row.provider_id), UserId(row.user_id));
            closed.push((
                BookingId(row.booking_id),
                ClosedOffer { offer, provider, user, now: row.now, end: OfferEnd::Withdrawn },
            ));
        }
    }
    Ok(closed)
}

/// Accepted bookings whose therapists have live offers of others; not all of these clash.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn clashed_with(pool: &PgPool) -> Result<Vec<BookingId>, StoreError> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT t.id FROM booking_offers o
         JOIN bookings t ON t.provider_id = o.provider_id AND t.id <> o.booking_id AND t.deleted_at IS NULL
              AND t.provider_type = 'therapist' AND t.status IN ('accepted', 'en_route', 'arrived', 'in_progress')
         WHERE o.status = 'offered' ORDER BY t.id",
    )
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(BookingId).collect())
}

async fn clashes(tx: &mut PgConnection, row: &Row) -> Result<bool, StoreError> {
    let Some(booking) = read(tx, BookingId(row.booking_id)).await? else { return Ok(false) };
    let way = Meters::from_km(f64::try_from(row.distance_km).map_err(|e| sqlx::Error::Decode(Box::new(e)))?);
    let slot = booking.slot(clock(tx).await?, way, row.buffer_minutes);
    Ok(slot.overlaps(from_chrono(row.busy_from), from_chrono(row.busy_until)))
}

async fn withdrawn(tx: &mut PgConnection, row: &Row) -> Result<bool, StoreError> {
    lock(tx, BookingId(row.booking_id)).await?;
    let update = sqlx::query("UPDATE booking_offers SET status = 'withdrawn' WHERE id = $1 AND status = 'offered'");
    Ok(update.bind(row.id).execute(tx).await?.rows_affected() == 1)
}
