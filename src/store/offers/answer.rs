//! What else happens to a live offer: its receipt, a no, silence.

use std::time::Duration;

use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::{ClosedOffer, own};
use crate::core::ids::{BookingId, OfferId, ProviderId, UserId};
use crate::core::settings::DispatchSettings;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::wire::stream::OfferEnd;
use crate::wire::time::from_chrono;

/// Lives of an offer from the app's receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ttls {
    /// Of a booking for `now`.
    pub offer: Duration,
    /// Of a booking for `now` that names its therapist.
    pub chosen: Duration,
    /// Of a scheduled booking.
    pub scheduled: Duration,
    /// Of a scheduled booking that names its therapist.
    pub scheduled_chosen: Duration,
}

impl From<&DispatchSettings> for Ttls {
    fn from(settings: &DispatchSettings) -> Self {
        let ((offer, chosen), (scheduled, scheduled_chosen)) = (settings.ttls(false), settings.ttls(true));
        Self { offer, chosen, scheduled, scheduled_chosen }
    }
}

/// What became of a receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiptOutcome {
    /// Noted (now or before); the offer is to be sent again with this time.
    Noted {
        /// Of what.
        booking: BookingId,
        /// min(what it was, now + ttl).
        expires_at: Timestamp,
        /// The first receipt: only it changes the time.
        first: bool,
        /// Of a booking for `now`.
        now: bool,
    },
    /// Too late.
    Gone {
        /// Why.
        reason: OfferEnd,
        /// Of what.
        booking: BookingId,
    },
    /// No such offer, or another's.
    NotYours,
}

/// The app has the offer: its clock starts. A receipt may only shorten, so a second one changes nothing. Its commit does not wait
/// for the disk: should the server die in that half second, the offer lives a few seconds longer than its therapist was told.
pub async fn received(
    pool: &PgPool,
    offer: OfferId,
    provider: ProviderId,
    ttls: Ttls,
) -> Result<ReceiptOutcome, StoreError> {
    let mut db = pool.acquire().await?;
    let row: Option<(i64, DateTime<Utc>, bool, bool)> = sqlx::query_as(
        "WITH before AS (SELECT id, delivered_at, set_config('spacall.tells', 'itself', true),
                               set_config('synchronous_commit', 'off', true)
                        FROM booking_offers WHERE id = $1 AND provider_id = $2 FOR UPDATE)
         UPDATE booking_offers o
         SET delivered_at = COALESCE(o.delivered_at, clock_timestamp()),
             expires_at = CASE WHEN o.delivered_at IS NOT NULL THEN o.expires_at
                 ELSE least(o.expires_at, clock_timestamp() + make_interval(secs =>
                     CASE WHEN b.booking_type = 'now' THEN CASE WHEN b.provider_id IS NULL THEN $3 ELSE $4 END
                          WHEN b.provider_id IS NULL THEN $5 ELSE $6 END)) END
         FROM bookings b, before
         WHERE o.id = before.id AND b.id = o.booking_id
           AND o.status = 'offered' AND o.expires_at > clock_timestamp()
         RETURNING o.booking_id, o.expires_at, before.delivered_at IS NULL, b.booking_type = 'now'",
    )
    .bind(offer.0)
    .bind(provider.0)
    .bind(ttls.offer.as_secs_f64())
    .bind(ttls.chosen.as_secs_f64())
    .bind(ttls.scheduled.as_secs_f64())
    .bind(ttls.scheduled_chosen.as_secs_f64())
    .fetch_optional(&mut *db)
    .await?;
    if let Some((booking, expires_at, first, now)) = row {
        let (booking, expires_at) = (BookingId(booking), from_chrono(expires_at));
        return Ok(ReceiptOutcome::Noted { booking, expires_at, first, now });
    }
    Ok(match gone(&mut db, offer, provider).await? {
        Some((reason, booking, _)) => ReceiptOutcome::Gone { reason, booking },
        None => ReceiptOutcome::NotYours,
    })
}

/// Why an offer of this therapist is not live (due but not swept counts as expired), of what, and whether that is for
/// `now`. `None`: not his.
async fn gone(
    db: &mut PgConnection,
    offer: OfferId,
    provider: ProviderId,
) -> Result<Option<(OfferEnd, BookingId, bool)>, StoreError> {
    let row = own(db, offer, provider).await?;
    Ok(row.map(|row| (row.end().unwrap_or(OfferEnd::Expired), row.booking(), row.now)))
}

/// What became of a no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeclineOutcome {
    /// Noted: now, or (`repeated`) before.
    Declined {
        /// Of what.
        booking: BookingId,
        /// Nothing changed.
        repeated: bool,
        /// Of a booking for `now`.
        now: bool,
    },
    /// Too late: nothing is left to decline.
    Gone {
        /// Why.
        reason: OfferEnd,
        /// Of what.
        booking: BookingId,
    },
    /// No such offer, or another's.
    NotYours,
}

/// The therapist does not want it.
pub async fn decline(
    pool: &PgPool,
    offer: OfferId,
    provider: ProviderId,
    reason: Option<&str>,
) -> Result<DeclineOutcome, StoreError> {
    let mut db = pool.acquire().await?;
    let declined: Option<(i64, bool)> = sqlx::query_as(
        "UPDATE booking_offers SET status = 'declined', responded_at = clock_timestamp(), decline_reason = $3
         WHERE id = $1 AND provider_id = $2 AND status = 'offered' AND expires_at > clock_timestamp()
           AND set_config('spacall.tells', 'itself', true) IS NOT NULL
         RETURNING booking_id, booking_type = 'now'",
    )
    .bind(offer.0)
    .bind(provider.0)
    .bind(reason)
    .fetch_optional(&mut *db)
    .await?;
    if let Some((booking, now)) = declined {
        return Ok(DeclineOutcome::Declined { booking: BookingId(booking), repeated: false, now });
    }
    Ok(match gone(&mut db, offer, provider).await? {
        Some((OfferEnd::Declined, booking, now)) => DeclineOutcome::Declined { booking, repeated: true, now },
        Some((reason, booking, _)) => DeclineOutcome::Gone { reason, booking },
        None => DeclineOutcome::NotYours,
    })
}

/// What became of an expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpireOutcome {
    /// It is expired: now, or by somebody's sweep before.
    Expired(ClosedOffer),
    /// Not due yet by the database's clock, for so long.
    NotDue(Duration),
    /// An answer was faster, or it was withdrawn; or there is none.
    Refused,
}

/// `offered` -> `expired`, once it is due by the database's clock.
pub async fn expire(pool: &PgPool, offer: OfferId) -> Result<ExpireOutcome, StoreError> {
    let mut db = pool.acquire().await?;
    sqlx::query(
        "UPDATE booking_offers SET status = 'expired'
         WHERE id = $1 AND status = 'offered' AND expires_at <= clock_timestamp()",
    )
    .bind(offer.0)
    .execute(&mut *db)
    .await?;
    let row: Option<(i64, i64, bool, String, f64)> = sqlx::query_as(
        "SELECT o.provider_id, p.user_id, o.booking_type = 'now', o.status::text,
                extract(epoch FROM o.expires_at - clock_timestamp())::float8
         FROM booking_offers o JOIN providers p ON p.id = o.provider_id WHERE o.id = $1",
    )
    .bind(offer.0)
    .fetch_optional(&mut *db)
    .await?;
    Ok(match row {
        Some((provider, user, now, status, _)) if status == "expired" => {
            let (provider, user, end) = (ProviderId(provider), UserId(user), OfferEnd::Expired);
            ExpireOutcome::Expired(ClosedOffer { offer, provider, user, now, end })
        }
        Some((_, _, _, status, left_s)) if status == "offered" => {
            // It became due between the two statements: 0, try again.
            ExpireOutcome::NotDue(Duration::try_from_secs_f64(left_s).unwrap_or(Duration::ZERO))
        }
        _ => ExpireOutcome::Refused,
    })
}
