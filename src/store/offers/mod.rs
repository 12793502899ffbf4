//! Offers of a booking to therapists, one row each. Every move is a guarded UPDATE in one transaction; locks are taken
//! in one order (booking, its offers by id, promo); the database's clock says what is due.

mod accept;
mod answer;
mod clash;
mod history;
mod live;
mod persist;
mod record;

use sqlx::{PgConnection, PgPool};

pub use accept::{AcceptOutcome, Accepted, accept};
pub use answer::{DeclineOutcome, ExpireOutcome, ReceiptOutcome, Ttls, decline, expire, received};
pub use clash::{clashed_with, withdraw_clashing};
pub use history::{PastOffer, of_booking};
pub use live::{live_for, live_offer};
pub use persist::{NewOffer, PersistOutcome, Persisted, persist};
pub use record::{Record, records};

use crate::core::ids::{BookingId, OfferId, ProviderId, UserId};
use crate::store::StoreError;
use crate::store::bookings::lock;
use crate::wire::stream::OfferEnd;

/// An offer that is no longer live, and who is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClosedOffer {
    /// Which.
    pub offer: OfferId,
    /// Whose it was.
    pub provider: ProviderId,
    /// The person behind him.
    pub user: UserId,
    /// Of a booking for `now`: he was asked for no other meanwhile. (Of scheduled ones he may have several at once.)
    pub now: bool,
    /// How it ended: who was silent until his time was over has not lost it to anybody.
    pub end: OfferEnd,
}

/// An offer's row, locked or as of one statement.
#[derive(Clone, Debug, sqlx::FromRow)]
struct OfferRow {
    booking_id: i64,
    status: String,
    /// See [`ClosedOffer::now`].
    now: bool,
}

impl OfferRow {
    /// Why it can no longer be answered; `None` while it is live (or lost to the clock, which only SQL can tell).
    fn end(&self) -> Option<OfferEnd> {
        end_of(&self.status)
    }

    fn booking(&self) -> BookingId {
        BookingId(self.booking_id)
    }
}

/// How an offer of this status ended; `None`: it has not.
fn end_of(status: &str) -> Option<OfferEnd> {
    match status {
        "offered" => None,
        "accepted" => Some(OfferEnd::Accepted),
        "declined" => Some(OfferEnd::Declined),
        "expired" => Some(OfferEnd::Expired),
        _ => Some(OfferEnd::Withdrawn), // withdrawn, and released: the therapist gave the booking back
    }
}

/// Withdraws the live offers of a booking that is not pending any more: whoever moved it by SQL alone left them.
pub async fn withdraw_orphans(pool: &PgPool, booking: BookingId) -> Result<Vec<ClosedOffer>, StoreError> {
    let mut tx = pool.begin().await?;
    let closed = match lock(&mut tx, booking).await? {
        Some(row) if row.status == "pending" => Vec::new(),
        _ => withdraw(&mut tx, booking, None).await?,
    };
    tx.commit().await?;
    Ok(closed)
}

/// The bookings that [`withdraw_orphans`] is for.
pub async fn orphaned(pool: &PgPool) -> Result<Vec<BookingId>, StoreError> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT o.booking_id FROM booking_offers o JOIN bookings b ON b.id = o.booking_id
         WHERE o.status = 'offered' AND (b.status <> 'pending' OR b.deleted_at IS NOT NULL) ORDER BY 1",
    )
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(BookingId).collect())
}

/// The offer as it stands, unlocked; `None` when it does not exist or is another therapist's.
async fn own(db: &mut PgConnection, offer: OfferId, provider: ProviderId) -> Result<Option<OfferRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT booking_id, status::text AS status, booking_type = 'now' AS now
         FROM booking_offers WHERE id = $1 AND provider_id = $2",
    )
    .bind(offer.0)
    .bind(provider.0)
    .fetch_optional(db)
    .await?)
}

/// Ends every live offer of a booking but `keep`: due ones as `expired`, others as `withdrawn`. The caller holds the
/// booking's lock.
pub(crate) async fn withdraw(
    tx: &mut PgConnection,
    booking: BookingId,
    keep: Option<OfferId>,
) -> Result<Vec<ClosedOffer>, StoreError> {
    let rows: Vec<(i64, i64, i64, bool, String)> = sqlx::query_as(
        "WITH live AS (SELECT id FROM booking_offers
                       WHERE booking_id = $1 AND status = 'offered' AND id IS DISTINCT FROM $2
                       ORDER BY id FOR UPDATE)
         UPDATE booking_offers o
         SET status = CASE WHEN o.expires_at <= clock_timestamp() THEN 'expired' ELSE 'withdrawn' END::booking_offer_status
         FROM live, providers p
         WHERE o.id = live.id AND o.status = 'offered' AND p.id = o.provider_id
         RETURNING o.id, o.provider_id, p.user_id, o.booking_type = 'now', o.status::text",
    )
    .bind(booking.0)
    .bind(keep.map(|o| o.0))
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(offer, provider, user, now, status)| ClosedOffer {
            offer: OfferId(offer),
            provider: ProviderId(provider),
            user: UserId(user),
            now,
            end: end_of(&status).unwrap_or(OfferEnd::Withdrawn),
        })
        .collect())
}
