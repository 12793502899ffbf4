//! What the service itself does to a booking: ends a search, takes a booking back from a therapist who does not set out.

use std::time::Duration;

use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::fit::estimate;
use super::lock::{Locked, lock};
use super::view::{BookingView, view_by_id};
use crate::core::dispatch::EndReason;
use crate::core::ids::{BookingId, ProviderId, UserId};
use crate::core::money::Money;
use crate::core::scheduling;
use crate::core::settings::Settings;
use crate::core::time::Timestamp;
use crate::store::offers::{ClosedOffer, withdraw};
use crate::store::tx::{act_as, clock};
use crate::store::{StoreError, promos, wallets};
use crate::wire::time::{from_chrono, to_chrono};

/// What became of ending a search.
#[derive(Clone, Debug)]
pub enum EndOutcome {
    /// `cancelled` by nobody (the system), with the reason.
    Ended {
        /// As it stands.
        view: Box<BookingView>,
        /// Its offers that were live until now.
        closed: Vec<ClosedOffer>,
    },
    /// Its deadline, or the end of the offer to the therapist whom it names, has not come yet by the database's clock, for so
    /// long.
    NotDue(Duration),
    /// It is not pending (any more), or there is none: nothing was done.
    NotPending,
}

/// `pending` -> `cancelled` by the system. Guarded: only past the booking's deadline, or when it names its therapist, who said
/// no, or nothing until `answer_by` and until his offer's time was over (a store's owner has until the deadline). Costs nothing;
/// gives the promo code's use back; withdraws what is live.
pub async fn end_by_system(
    pool: &PgPool,
    booking: BookingId,
    reason: EndReason,
    answer_by: Timestamp,
) -> Result<EndOutcome, StoreError> {
    let mut tx = pool.begin().await?;
    let Some(row) = lock(&mut tx, booking).await? else { return Ok(EndOutcome::NotPending) };
    if row.status != "pending" {
        return Ok(EndOutcome::NotPending);
    }
    let now = clock(&mut tx).await?;
    if (row.provider_id.is_none() || row.r#type == "in_store") && row.deadline > now {
        return Ok(EndOutcome::NotDue((row.deadline - now).to_std().unwrap_or_default()));
    }
    if reason == EndReason::ProviderDidNotAnswer {
        let answer_by = to_chrono(answer_by).unwrap_or(row.deadline);
        let until = asked_until(&mut tx, booking).await?.map_or(answer_by, |until| until.max(answer_by));
        if until > now {
            return Ok(EndOutcome::NotDue((until - now).to_std().unwrap_or_default()));
        }
    }
    let (view, closed) = cancel_pending(&mut tx, booking, reason.as_str(), now).await?;
    tx.commit().await?;
    Ok(EndOutcome::Ended { view: Box::new(view), closed })
}

/// Nobody is silent before his time is over; `None`: he was not asked. (The clock of the node that found him silent may be
/// ahead.) An offer that has ended is over whatever its time.
async fn asked_until(tx: &mut PgConnection, booking: BookingId) -> Result<Option<DateTime<Utc>>, StoreError> {
    let until = sqlx::query_scalar(
        "SELECT max(CASE WHEN status = 'offered' THEN expires_at ELSE 'epoch' END) FROM booking_offers
         WHERE booking_id = $1",
    );
    Ok(until.bind(booking.0).fetch_one(tx).await?)
}

/// The reason with which a booking ends that its customer's wallet cannot pay for.
pub(crate) const INSUFFICIENT_BALANCE: &str = "insufficient_balance";

/// The body of every end by the system, under the booking's lock.
pub(crate) async fn cancel_pending(
    tx: &mut PgConnection,
    booking: BookingId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(BookingView, Vec<ClosedOffer>), StoreError> {
    act_as(tx, None).await?;
    let closed = withdraw(tx, booking, None).await?;
    sqlx::query(
        "UPDATE bookings SET status = 'cancelled', cancelled_at = $2, cancelled_by = NULL, cancellation_reason = $3
         WHERE id = $1 AND status = 'pending'",
    )
    .bind(booking.0)
    .bind(now)
    .bind(reason)
    .execute(&mut *tx)
    .await?;
    // Paid only if others' SQL made it pending again.
    wallets::refund(tx, booking, Money::ZERO).await?;
    promos::give_back(tx, booking).await?;
    let view = view_by_id(tx, booking).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok((view, closed))
}

/// What a booking that is searched for anew goes by, as the settings stand now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Anew {
    /// The search lasts so long from now, seconds: `booking_timeout.pending`.
    pub window_s: u32,
    /// Or, of a scheduled booking, until so long before its time if that is later: `dispatch.lead_s`.
    pub lead: Duration,
    /// Of the estimate, percent: `commission_rate.default`.
    pub commission_rate: Decimal,
}

impl From<&Settings> for Anew {
    fn from(settings: &Settings) -> Self {
        Self {
            window_s: settings.booking_timeout.pending,
            lead: settings.dispatch.lead(),
            commission_rate: settings.commission_rate.default,
        }
    }
}

impl Anew {
    /// How long a booking that is given back at `now` is searched for, seconds.
    fn lasts_s(&self, booking: &Locked, now: DateTime<Utc>) -> i32 {
        let window = Duration::from_secs(self.window_s.into());
        let search = booking
            .scheduled_at
            .map_or(window, |at| scheduling::search_again(from_chrono(at), self.lead, from_chrono(now), window));
        i32::try_from(search.as_secs()).unwrap_or(i32::MAX)
    }
}

/// What became of taking a booking back.
#[derive(Clone, Debug)]
pub enum ReleaseOutcome {
    /// `pending` again, its therapist never to be asked for it again.
    Released {
        /// As it stands.
        view: Box<BookingView>,
        /// Who had it.
        provider: ProviderId,
        /// The person behind him.
        user: UserId,
    },
    /// There is time left by the database's clock, so much.
    NotDue(Duration),
    /// It is not accepted (any more): he set out, it was cancelled, given back.
    NotAccepted,
}

/// `accepted` -> `pending`: the therapist did not set out within `set_out_within` of when he should have (for `now`: of
/// the accept), by the database's clock.
pub async fn release_unstarted(
    pool: &PgPool,
    booking: BookingId,
    set_out_within: Duration,
    anew: &Anew,
) -> Result<ReleaseOutcome, StoreError> {
    let mut tx = pool.begin().await?;
    let Some(row) = lock(&mut tx, booking).await? else { return Ok(ReleaseOutcome::NotAccepted) };
    let (Some(provider), Some(set_out_from), "accepted") = (row.provider_id, row.set_out_from, row.status.as_str())
    else {
        return Ok(ReleaseOutcome::NotAccepted);
    };
    let now = clock(&mut tx).await?;
    let left = set_out_from + set_out_within - now;
    if let Ok(left) = left.to_std()
        && !left.is_zero()
    {
        return Ok(ReleaseOutcome::NotDue(left));
    }
    act_as(&mut tx, None).await?;
    give_back(&mut tx, &row, now, "did_not_set_out", anew).await?;
    let user: i64 =
        sqlx::query_scalar("SELECT user_id FROM providers WHERE id = $1").bind(provider).fetch_one(&mut *tx).await?;
    let view = view_by_id(&mut tx, booking).await?.ok_or(sqlx::Error::RowNotFound)?;
    tx.commit().await?;
    Ok(ReleaseOutcome::Released { view: Box::new(view), provider: ProviderId(provider), user: UserId(user) })
}

/// A `pending` booking that others' SQL took from who had accepted it, before its next accept: his offer is released and what
/// was paid given back, as [`give_back`] would have done. Their SQL may have released the offer itself: what was paid decides.
/// Under the booking's lock.
pub(crate) async fn forget_winner(tx: &mut PgConnection, booking: &Locked) -> Result<(), StoreError> {
    let released = sqlx::query(
        "UPDATE booking_offers SET status = 'released', decline_reason = 'given_back'
         WHERE booking_id = $1 AND status = 'accepted'",
    )
    .bind(booking.id)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    // Their SQL may have changed how it is to be paid from now on.
    if released > 0 || booking.payment_method == "wallet" {
        wallets::refund(tx, BookingId(booking.id), Money::ZERO).await?;
    }
    Ok(())
}

/// The body of every accepted -> pending, under the booking's lock: the offer is `released`, the trigger clears therapist
/// and times, the price is an estimate again, and the search window starts anew at `now`.
pub(super) async fn give_back(
    tx: &mut PgConnection,
    booking: &Locked,
    now: DateTime<Utc>,
    reason: &str,
    anew: &Anew,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE booking_offers SET status = 'released', decline_reason = $2 WHERE booking_id = $1 AND status = 'accepted'",
    )
    .bind(booking.id)
    .bind(reason)
    .execute(&mut *tx)
    .await?;
    let price = estimate(tx, booking, anew.commission_rate).await?;
    // Rounded up: the window is never shorter than the setting says.
    sqlx::query(
        "UPDATE bookings
         SET status = 'pending', price_is_estimate = TRUE,
             dispatch_timeout_s = ceil(extract(epoch FROM $2 - created_at)) + $3,
             service_price = $4, distance_surcharge = $5, platform_fee = $6, tip_amount = $7, promo_discount = $8,
             total_amount = $9, provider_earnings = $10, commission_amount = $11, commission_rate = $12
         WHERE id = $1 AND status = 'accepted'",
    )
    .bind(booking.id)
    .bind(now)
    .bind(anew.lasts_s(booking, now))
    .bind(price.service_price.decimal())
    .bind(price.distance_surcharge.decimal())
    .bind(price.platform_fee.decimal())
    .bind(price.tip_amount.decimal())
    .bind(price.promo_discount.decimal())
    .bind(price.total_amount.decimal())
    .bind(price.provider_earnings.decimal())
    .bind(price.commission_amount.decimal())
    .bind(price.commission_rate)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "UPDATE booking_locations SET distance_km = NULL, estimated_travel_time_minutes = NULL WHERE booking_id = $1",
    )
    .bind(booking.id)
    .execute(&mut *tx)
    .await?;
    // The trigger keeps reasons of cancellations only.
    sqlx::query(
        "UPDATE booking_status_history SET reason = $2
         WHERE id = (SELECT max(id) FROM booking_status_history WHERE booking_id = $1 AND to_status = 'pending')",
    )
    .bind(booking.id)
    .bind(reason)
    .execute(&mut *tx)
    .await?;
    // Whoever takes it next is paid anew.
    wallets::refund(tx, BookingId(booking.id), Money::ZERO).await?;
    if booking.promo_code_id.is_some() {
        promos::adjust(tx, BookingId(booking.id), price.promo_discount).await?;
    }
    Ok(())
}
