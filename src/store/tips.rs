//! Tips: what a customer adds to a booking that is done. All of it is the provider's; a payout pays it by its own time, so
//! that one that comes after the booking was paid out is not lost.

use serde::Serialize;
use sqlx::types::Decimal;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::changes::{self, Change};
use super::idempotency::{self, Key, Once};
use super::transactions::{self, Transaction};
use super::{StoreError, wallets};
use crate::core::ids::{BookingId, UserId};
use crate::core::money::Money;
use crate::core::pricing::MOST_TOTAL;
use crate::store::bookings::{BookingView, Locked, id_of, lock, view_by_id};
use crate::wire::booking::Booking;

/// Of one booking in all: the column's width.
pub const MOST: Money = Money::centavos(99_999_999);

/// Tips of one booking, but those that failed: each is a row, and somebody's to settle.
pub const MOST_TIPS: i64 = 20;

/// What a customer gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewTip {
    /// For which booking.
    pub booking: Uuid,
    /// Who gives it.
    pub customer: UserId,
    /// Above 0.
    pub amount: Money,
}

/// A tip as it was given, and its booking as it stands.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Tip {
    /// `pending` where it is paid through a gateway: the booking has it when that is confirmed.
    #[serde(flatten)]
    pub transaction: Transaction,
    /// With the tip in `tip_amount` and `total_amount`, if it is completed.
    pub booking: Booking,
}

/// Why a booking takes no tip.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TipRefused {
    /// There is no such booking, or the asker is not its customer: nobody is told which.
    NotFound,
    /// It is not `completed` but this.
    NotCompleted(String),
    /// All tips of a booking together are at most [`MOST`], its total [`MOST_TOTAL`]; so much is left.
    TooMuch(Money),
    /// It has [`MOST_TIPS`].
    TooMany,
    /// The wallet holds too little, or is switched off.
    InsufficientBalance,
}

/// Gives a tip, paid as the booking is: from the wallet now; in cash, which has changed hands; through a gateway it is `pending`
/// until [`transactions::settle`]. With the booking as it stands, if it changed.
///
/// # Errors
/// [`StoreError::Undecided`] when its commit was not answered.
pub async fn give(
    pool: &PgPool,
    new: &NewTip,
    key: Option<Key>,
) -> Result<Once<Option<Box<BookingView>>, TipRefused>, StoreError> {
    let mut begun = match idempotency::begin(pool, new.customer, key).await? {
        Ok(begun) => begun,
        Err(before) => return Ok(Once::Before(before)),
    };
    let tx = &mut *begun.tx;
    let booking = match id_of(tx, new.booking).await? {
        Some(booking) => lock(tx, booking).await?,
        None => None,
    };
    let Some(booking) = booking.filter(|booking| booking.customer_id == new.customer.0) else {
        return Ok(Once::Refused(TipRefused::NotFound));
    };
    let (id, method) = (BookingId(booking.id), booking.payment_method.as_str());
    if let Err(refused) = may_give(tx, &booking, new.amount).await? {
        return Ok(Once::Refused(refused));
    }
    let now = matches!(method, "wallet" | "cash");
    if now && let Err(refused) = add(tx, &booking, new.customer, new.amount).await? {
        return Ok(Once::Refused(refused));
    }
    let view = view_by_id(tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    let transaction = if method == "wallet" {
        let Some(paid) = wallets::pay_tip(tx, new.customer, id, new.amount).await? else {
            return Ok(Once::Refused(TipRefused::InsufficientBalance));
        };
        paid
    } else {
        let given = transactions::New {
            user: new.customer,
            booking: Some(id),
            payout: None,
            kind: "tip",
            method,
            amount: new.amount,
            currency: &view.booking.currency,
            moved: now,
            description: &format!("Tip for booking {}", view.booking.booking_number),
        };
        transactions::insert(tx, &given).await?
    };
    let transaction = transactions::by_id(tx, transaction).await?;
    let answer = Tip { transaction, booking: view.booking.clone() };
    begun.made(now.then(|| Box::new(view)), &answer).await
}

/// Whether the booking takes one more: what is waited for counts as given, so that it still fits when it comes.
async fn may_give(
    tx: &mut PgConnection,
    booking: &Locked,
    amount: Money,
) -> Result<Result<(), TipRefused>, StoreError> {
    let (tips, waiting): (i64, Decimal) = sqlx::query_as(
        "SELECT count(*), COALESCE(sum(amount) FILTER (WHERE status IN ('pending', 'processing')), 0)
         FROM transactions WHERE booking_id = $1 AND type = 'tip' AND status <> 'failed'",
    )
    .bind(booking.id)
    .fetch_one(tx)
    .await?;
    if let Err(refused) = fits(booking, Money::rounded(waiting), amount) {
        return Ok(Err(refused));
    }
    Ok(if tips < MOST_TIPS { Ok(()) } else { Err(TipRefused::TooMany) })
}

/// Whether the booking takes it at all, `waiting` for others.
fn fits(booking: &Locked, waiting: Money, amount: Money) -> Result<(), TipRefused> {
    if booking.status != "completed" {
        return Err(TipRefused::NotCompleted(booking.status.clone()));
    }
    let total = Money::rounded(booking.total_amount);
    let left = ((MOST - booking.tip()).min(MOST_TOTAL - total) - waiting).max(Money::ZERO);
    if amount > left { Err(TipRefused::TooMuch(left)) } else { Ok(()) }
}

/// The booking's tip, the total, what the provider has earned, and a line of the feed: the one place where a tip counts. Under
/// the booking's lock; the payment is the caller's.
pub(crate) async fn add(
    tx: &mut PgConnection,
    booking: &Locked,
    customer: UserId,
    amount: Money,
) -> Result<Result<(), TipRefused>, StoreError> {
    if let Err(refused) = fits(booking, Money::ZERO, amount) {
        return Ok(Err(refused));
    }
    sqlx::query("UPDATE providers SET total_earnings = total_earnings + $2 WHERE id = $1")
        .bind(booking.provider_id)
        .bind(amount.decimal())
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE bookings SET tip_amount = tip_amount + $2, total_amount = total_amount + $2 WHERE id = $1")
        .bind(booking.id)
        .bind(amount.decimal())
        .execute(&mut *tx)
        .await?;
    // The triggers are silent about amounts. Who was to tell of it may never know that it was committed.
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(changes::CHANNEL)
        .bind(Change::Booking(BookingId(booking.id), None).to_string())
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO booking_timeline (booking_id, status, description, metadata, created_by)
         SELECT b.id, 'tip', 'Tip of ' || $3 || ' ' || s.currency,
                jsonb_build_object('amount', $3::text, 'currency', s.currency), $2
         FROM bookings b JOIN services s ON s.id = b.service_id WHERE b.id = $1",
    )
    .bind(booking.id)
    .bind(customer.0)
    .bind(amount.to_string())
    .execute(tx)
    .await?;
    Ok(Ok(()))
}
