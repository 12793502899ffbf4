//! The rows that dispatch's promises are about, in one snapshot: what is not over. For watching only.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};

use super::StoreError;
use super::bookings::lease::NodeId;
use super::bookings::set_out_from;
use crate::core::dispatch::promises::{BookingRow, OfferRow};
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::time::Timestamp;
use crate::wire::time::from_chrono;

/// One look.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The database's clock.
    pub now: Timestamp,
    /// Every booking that is not over.
    pub bookings: Vec<BookingRow>,
    /// Unanswered offers, and the accepted ones of those bookings.
    pub offers: Vec<OfferRow>,
    /// Pending bookings that nobody drives: no lease of them runs.
    pub undriven: Vec<BookingId>,
    /// Pending bookings that this node drives.
    pub driven: Vec<BookingId>,
}

#[derive(sqlx::FromRow)]
struct Booking {
    id: i64,
    pending: bool,
    occupies: Option<i64>,
    due: Option<DateTime<Utc>>,
    driven: bool,
    mine: bool,
}

#[derive(sqlx::FromRow)]
struct Offer {
    id: i64,
    booking_id: i64,
    provider_id: i64,
    accepted: bool,
    exclusive: bool,
    expires_at: DateTime<Utc>,
}

/// Reads them; `set_out_within`: `booking_timeout.accepted`. Costs what is not over, not what ever was.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn rows(pool: &PgPool, node: NodeId, set_out_within: Duration) -> Result<Rows, StoreError> {
    let mut tx = pool.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *tx).await?;
    let bookings: Vec<Booking> = sqlx::query_as(concat!(
        "SELECT id, status = 'pending' AS pending,
                CASE WHEN provider_type = 'therapist' AND (status IN ('en_route', 'arrived', 'in_progress')
                          OR (status = 'accepted' AND booking_type = 'now')) THEN provider_id END AS occupies,
                CASE WHEN status = 'pending' THEN created_at + make_interval(secs => dispatch_timeout_s)
                     WHEN status = 'accepted' AND type = 'home_service' THEN ",
        set_out_from!(""),
        " + make_interval(secs => $2)
                END AS due,
                COALESCE(lease_owner IS NOT NULL AND lease_until > clock_timestamp(), FALSE) AS driven,
                COALESCE(lease_owner = $1, FALSE) AS mine
         FROM bookings
         WHERE status IN ('pending', 'accepted', 'en_route', 'arrived', 'in_progress') AND deleted_at IS NULL"
    ))
    .bind(node.0)
    .bind(set_out_within.as_secs_f64())
    .fetch_all(&mut *tx)
    .await?;
    let offers: Vec<Offer> = sqlx::query_as(
        "SELECT o.id, o.booking_id, o.provider_id, o.status = 'accepted' AS accepted,
                o.provider_type = 'therapist' AND o.booking_type = 'now' AS exclusive, o.expires_at
         FROM booking_offers o WHERE o.status = 'offered'
         UNION ALL
         SELECT o.id, o.booking_id, o.provider_id, TRUE, TRUE, o.expires_at
         FROM bookings b JOIN booking_offers o ON o.booking_id = b.id AND o.status = 'accepted'
         WHERE b.status IN ('pending', 'accepted', 'en_route', 'arrived', 'in_progress') AND b.deleted_at IS NULL",
    )
    .fetch_all(&mut *tx)
    .await?;
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *tx).await?;
    tx.commit().await?;
    let pending = |wanted: fn(&Booking) -> bool| {
        let those = bookings.iter().filter(|row| row.pending && wanted(row));
        those.map(|row| BookingId(row.id)).collect()
    };
    Ok(Rows {
        now: from_chrono(now),
        undriven: pending(|row| !row.driven),
        driven: pending(|row| row.driven && row.mine),
        bookings: bookings
            .iter()
            .map(|row| BookingRow {
                booking: BookingId(row.id),
                pending: row.pending,
                occupies: row.occupies.map(ProviderId),
                due: row.due.map(from_chrono),
            })
            .collect(),
        offers: offers
            .iter()
            .map(|row| OfferRow {
                offer: OfferId(row.id),
                booking: BookingId(row.booking_id),
                provider: ProviderId(row.provider_id),
                accepted: row.accepted,
                exclusive: row.exclusive,
                expires_at: from_chrono(row.expires_at),
            })
            .collect(),
    })
}
