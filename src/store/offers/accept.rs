//! The accept: where one therapist wins a booking, priced, in one transaction.

use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};

use super::{ClosedOffer, OfferRow, own, withdraw};
use crate::core::geo::{LatLng, Meters, km_2, public_position};
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::slot::Slot;
use crate::core::time::Timestamp;
use crate::core::travel;
use crate::store::bookings::{
    BookingView, INSUFFICIENT_BALANCE, Locked, cancel_pending, fit, forget_winner, lock, view_by_id,
};
use crate::store::tx::{act_as, begin_move, clock};
use crate::store::{StoreError, promos};
use crate::wire::stream::OfferEnd;
use crate::wire::time::{from_chrono, to_chrono};

/// What became of an accept.
#[derive(Clone, Debug)]
pub enum AcceptOutcome {
    /// He has it: now, or (`repeated`) since an earlier accept of this offer.
    Accepted(Box<Accepted>),
    /// Too late.
    Gone {
        /// Why.
        reason: OfferEnd,
        /// Of what.
        booking: BookingId,
        /// This accept found it past its time, or impossible, and ended it.
        closed_now: bool,
        /// Of a booking for `now`: see [`ClosedOffer::now`].
        now: bool,
    },
    /// The customer's wallet holds too little by now: the booking was cancelled with all its offers, committed.
    Unpaid {
        /// As it stands.
        view: Box<BookingView>,
        /// Offers that were live until now, this one among them.
        closed: Vec<ClosedOffer>,
    },
    /// There is no such offer, or it is another therapist's: nobody is told which.
    NotYours,
}

/// A booking that has its therapist.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The booking as it stands.
    pub view: BookingView,
    /// Who has it.
    pub provider: ProviderId,
    /// When he should set out; `None` for a repeated accept.
    pub set_out_from: Option<Timestamp>,
    /// The booking's other offers that were live until now.
    pub withdrawn: Vec<ClosedOffer>,
    /// Nothing changed: he had it already.
    pub repeated: bool,
}

/// Accepts `offer` for `provider`: exactly one accept of a booking wins, the winner's repetitions succeed too.
///
/// The price is made anew: his own price, surcharge and commission, the promo, never above `max_price`. `busy_during`
/// and the unique index of active bookings refuse a therapist who is not free; then the offer is withdrawn.
pub async fn accept(pool: &PgPool, offer: OfferId, provider: ProviderId) -> Result<AcceptOutcome, StoreError> {
    let mut tx = begin_move(pool, None).await?; // who acts is known once he fits
    let Some(seen) = own(&mut tx, offer, provider).await? else { return Ok(AcceptOutcome::NotYours) };
    let id = seen.booking();
    let gone = |reason, closed_now| AcceptOutcome::Gone { reason, booking: id, closed_now, now: seen.now };
    let Some(booking) = lock(&mut tx, id).await? else { return Ok(gone(OfferEnd::Withdrawn, false)) };
    let live = lock_offer(&mut tx, offer).await?;
    if let Some(reason) = live.row.end() {
        if reason == OfferEnd::Accepted {
            let winner = repeated(&mut tx, id, provider).await?;
            // Given back by somebody's SQL: it is not his to see any more.
            return Ok(winner.map_or(gone(OfferEnd::Withdrawn, false), AcceptOutcome::Accepted));
        }
        return Ok(gone(reason, false));
    }
    let now = clock(&mut tx).await?;
    let reason = if live.expires_at <= now {
        OfferEnd::Expired
    } else {
        match take(&mut tx, &booking, &live, offer, provider, now).await? {
            Taken::Yes { slot, withdrawn } => {
                let view = view_by_id(&mut tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
                tx.commit().await?;
                let set_out_from = Some(slot.from.max(from_chrono(now)));
                let won = Accepted { view, provider, set_out_from, withdrawn, repeated: false };
                return Ok(AcceptOutcome::Accepted(Box::new(won)));
            }
            Taken::Unpaid => {
                let (view, closed) = cancel_pending(&mut tx, id, INSUFFICIENT_BALANCE, now).await?;
                tx.commit().await?;
                return Ok(AcceptOutcome::Unpaid { view: Box::new(view), closed });
            }
            Taken::No => OfferEnd::Withdrawn,
        }
    };
    close(&mut tx, offer, reason).await?;
    tx.commit().await?;
    Ok(gone(reason, true))
}

/// The offer's row under its lock.
struct LockedOffer {
    row: OfferRow,
    distance_km: Decimal,
    expires_at: DateTime<Utc>,
}

async fn lock_offer(tx: &mut PgConnection, offer: OfferId) -> Result<LockedOffer, StoreError> {
    let (booking_id, status, now, distance_km, expires_at) = sqlx::query_as(
        "SELECT booking_id, status::text, booking_type = 'now', distance_km, expires_at FROM booking_offers
         WHERE id = $1 FOR NO KEY UPDATE",
    )
    .bind(offer.0)
    .fetch_one(tx)
    .await?;
    Ok(LockedOffer { row: OfferRow { booking_id, status, now }, distance_km, expires_at })
}

enum Taken {
    Yes { slot: Slot, withdrawn: Vec<ClosedOffer> },
    No,
    Unpaid,
}

/// The guarded part. `No`: the booking is no longer pending, or the therapist cannot take it, or is not free. `Unpaid`: he
/// could, but the wallet holds too little.
async fn take(
    tx: &mut PgConnection,
    booking: &Locked,
    live: &LockedOffer,
    offer: OfferId,
    provider: ProviderId,
    now: DateTime<Utc>,
) -> Result<Taken, StoreError> {
    if booking.status != "pending" {
        return Ok(Taken::No);
    }
    let distance = Meters::from_km(f64::try_from(live.distance_km).map_err(|e| sqlx::Error::Decode(Box::new(e)))?);
    let Some(fit) = fit::fit(tx, booking, provider, distance, fit::For::Accept).await? else { return Ok(Taken::No) };
    act_as(tx, Some(fit.user)).await?;
    forget_winner(tx, booking).await?;
    let slot = booking.slot(now, distance, fit.buffer_minutes);
    // A savepoint: a refusal by a constraint must leave the transaction able to withdraw the offer.
    let mut attempt = tx.begin().await?;
    let withdrawn = match assign(&mut attempt, booking, provider, &fit, now, &slot).await {
        Ok(()) => {
            // Offers are locked before the wallet, as everywhere.
            let withdrawn = withdraw(&mut attempt, BookingId(booking.id), Some(offer)).await?;
            if !booking.paid(&mut attempt, fit.price.total_amount).await? {
                attempt.rollback().await?;
                return Ok(Taken::Unpaid);
            }
            attempt.commit().await?;
            withdrawn
        }
        Err(e) if not_free(&e) => {
            attempt.rollback().await?;
            return Ok(Taken::No);
        }
        Err(e) => return Err(e),
    };
    let shown =
        if booking.is_now() { distance } else { from_his_cell(tx, booking, provider).await?.unwrap_or(distance) };
    let way = booking.slot(now, shown, fit.buffer_minutes);
    sqlx::query(
        "UPDATE booking_locations SET distance_km = $2, estimated_travel_time_minutes = $3 WHERE booking_id = $1",
    )
    .bind(booking.id)
    .bind(km_2(shown))
    .bind(i32::try_from(travel::whole_minutes(way.travel)).unwrap_or(i32::MAX))
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE booking_offers SET status = 'accepted', responded_at = $2 WHERE id = $1")
        .bind(offer.0)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    if booking.promo_code_id.is_some() {
        promos::adjust(tx, BookingId(booking.id), fit.price.promo_discount).await?;
    }
    Ok(Taken::Yes { slot, withdrawn })
}

/// The way of a scheduled booking begins where its therapist lives. Its parties are shown how far that is from the centre of his
/// cell: three exact distances would find his door. (For one of now it begins where he happens to be.) `None`: he has no base
/// location.
async fn from_his_cell(
    tx: &mut PgConnection,
    booking: &Locked,
    provider: ProviderId,
) -> Result<Option<Meters>, StoreError> {
    let places: Option<(f64, f64, f64, f64)> = sqlx::query_as(
        "SELECT tp.base_location_latitude::float8, tp.base_location_longitude::float8, l.latitude::float8, l.longitude::float8
         FROM therapist_profiles tp, booking_locations l
         WHERE tp.provider_id = $1 AND l.booking_id = $2
           AND tp.base_location_latitude IS NOT NULL AND tp.base_location_longitude IS NOT NULL",
    )
    .bind(provider.0)
    .bind(booking.id)
    .fetch_optional(tx)
    .await?;
    let Some((base_lat, base_lng, lat, lng)) = places else { return Ok(None) };
    let place = |lat, lng| LatLng::new(lat, lng).map_err(|e| sqlx::Error::Decode(Box::new(e)));
    Ok(Some(public_position(place(base_lat, base_lng)?).centre.distance(place(lat, lng)?)))
}

/// `uq_bookings_one_active_per_therapist`, `bookings_no_overlap`: he has another booking at that time.
fn not_free(error: &StoreError) -> bool {
    matches!(error.constraint(), Some("uq_bookings_one_active_per_therapist" | "bookings_no_overlap"))
}

async fn assign(
    tx: &mut PgConnection,
    booking: &Locked,
    provider: ProviderId,
    fit: &fit::Fit,
    now: DateTime<Utc>,
    slot: &Slot,
) -> Result<(), StoreError> {
    let price = &fit.price;
    sqlx::query(
        "UPDATE bookings
         SET status = 'accepted', accepted_at = $3, provider_id = $2, price_is_estimate = FALSE,
             service_price = $4, distance_surcharge = $5, platform_fee = $6, tip_amount = $7, promo_discount = $8,
             total_amount = $9, provider_earnings = $10, commission_amount = $11, commission_rate = $12,
             busy_during = tstzrange($13, $14, '[)')
         WHERE id = $1 AND status = 'pending'",
    )
    .bind(booking.id)
    .bind(provider.0)
    .bind(now)
    .bind(price.service_price.decimal())
    .bind(price.distance_surcharge.decimal())
    .bind(price.platform_fee.decimal())
    .bind(price.tip_amount.decimal())
    .bind(price.promo_discount.decimal())
    .bind(price.total_amount.decimal())
    .bind(price.provider_earnings.decimal())
    .bind(price.commission_amount.decimal())
    .bind(price.commission_rate)
    .bind(to_chrono(slot.from))
    .bind(to_chrono(slot.until))
    .execute(tx)
    .await?;
    Ok(())
}

async fn close(tx: &mut PgConnection, offer: OfferId, reason: OfferEnd) -> Result<(), StoreError> {
    let status = if reason == OfferEnd::Expired { "expired" } else { "withdrawn" };
    sqlx::query("UPDATE booking_offers SET status = $2::booking_offer_status WHERE id = $1 AND status = 'offered'")
        .bind(offer.0)
        .bind(status)
        .execute(tx)
        .await?;
    Ok(())
}

/// The winner asks again: the booking as it stands by now; `None`: it is no longer his.
async fn repeated(
    tx: &mut PgConnection,
    id: BookingId,
    provider: ProviderId,
) -> Result<Option<Box<Accepted>>, StoreError> {
    let view = view_by_id(tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    if view.provider != Some(provider) || !view.accepted {
        return Ok(None);
    }
    Ok(Some(Box::new(Accepted { view, provider, set_out_from: None, withdrawn: Vec::new(), repeated: true })))
}
