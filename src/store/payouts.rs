//! Payouts: what a provider has earned in a period of Manila days, paid once.
//!
//! A payout takes the completed bookings and the tips of its days that no payout has, and marks them as its own in the same
//! transaction; what came too late for the payout of its day (it was being committed, or the day was not over) the next one
//! takes along. One that fails lets go of all it has. The locks: bookings by id, the provider, tips by id.

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::audit_logs::{self, Change};
use super::idempotency::{self, Key, Once};
use super::pages::{Ask, Rows};
use super::tx::act_as;
use super::{StoreError, transactions};
use crate::core::ids::UserId;
use crate::core::money::Money;
use crate::wire::time::WireTime;

/// The largest that one transaction can pay: its column's width.
pub const MOST: Money = Money::centavos(9_999_999_999);

/// A payout, to admins and to the provider.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Payout {
    /// `payouts.id`
    pub id: i64,
    /// Whose earnings.
    pub provider_uuid: Uuid,
    /// First day, of Manila.
    #[schema(example = "2026-11-16")]
    pub period_start: NaiveDate,
    /// Last day, itself included.
    #[schema(example = "2026-11-22")]
    pub period_end: NaiveDate,
    /// How many bookings it pays; 0 once it has failed.
    pub bookings: i64,
    /// How many tips.
    pub tips: i64,
    /// Prices, surcharges and tips. A promo is the platform's.
    #[schema(value_type = String, example = "5000.00")]
    pub gross_earnings: Money,
    /// The platform's part.
    #[schema(value_type = String, example = "750.00")]
    pub commission_amount: Money,
    /// What customers gave in cash: it is in the provider's hands already.
    #[schema(value_type = String, example = "0.00")]
    pub cash_collected: Money,
    /// What earlier payouts left owed: below 0 by the provider.
    #[schema(value_type = String, example = "0.00")]
    pub carried_over: Money,
    /// What is to be paid. Not above 0: nothing is, and what is owed is carried over to the next.
    #[schema(value_type = String, example = "4250.00")]
    pub net_payout: Money,
    /// `PHP`
    pub currency: String,
    /// Where to.
    pub bank_name: Option<String>,
    /// In whose name.
    pub account_name: Option<String>,
    /// Its number.
    pub account_number: Option<String>,
    /// `pending`, `processing`, `completed`, `failed`.
    #[schema(example = "pending")]
    pub status: String,
    /// When it was completed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub processed_at: Option<WireTime>,
    /// When it failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failed_at: Option<WireTime>,
    /// Why.
    pub failure_reason: Option<String>,
    /// The bank's, or that of its transaction.
    pub reference_number: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: WireTime,
}

/// The one SELECT of this file; `$tail` says which.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT o.id, p.uuid AS provider_uuid, o.period_start, o.period_end,
                    (SELECT count(*) FROM bookings b WHERE b.payout_id = o.id) AS bookings,
                    (SELECT count(*) FROM transactions t WHERE t.payout_id = o.id AND t.type = 'tip') AS tips,
                    o.gross_earnings, o.commission_amount, o.cash_collected, o.carried_over, o.net_payout,
                    'PHP' AS currency, o.bank_name, o.account_name, o.account_number, o.status::text AS status,
                    o.processed_at, o.failed_at, o.failure_reason, o.reference_number, o.created_at, o.updated_at
             FROM payouts o JOIN providers p ON p.id = o.provider_id ",
            $tail
        )
    };
}

/// Which payouts a list shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Those of the providers that are his; `None`: everybody's.
    pub owner: Option<UserId>,
    /// Of this provider.
    pub provider: Option<Uuid>,
    /// `payout_status`
    pub status: Option<&'static str>,
}

/// A page of them.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn list(pool: &PgPool, filter: Filter, ask: Ask) -> Result<Rows<Payout>, StoreError> {
    let select = select!(
        "WHERE ($3::bigint IS NULL OR p.user_id = $3) AND ($4::uuid IS NULL OR p.uuid = $4)
           AND ($5::text IS NULL OR o.status::text = $5)"
    );
    let rows = sqlx::query_as(ask.of(select, "o.id"))
        .bind(ask.bound())
        .bind(ask.limit())
        .bind(filter.owner.map(|user| user.0))
        .bind(filter.provider)
        .bind(filter.status)
        .fetch_all(pool)
        .await?;
    Ok(ask.rows(rows))
}

/// One of them; `None`: there is none, or it is not of a provider of `owner`'s (`None`: anybody's will do).
///
/// # Errors
/// [`StoreError::Database`]
pub async fn find(pool: &PgPool, id: i64, owner: Option<UserId>) -> Result<Option<Payout>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE o.id = $1 AND ($2::bigint IS NULL OR p.user_id = $2)"))
        .bind(id)
        .bind(owner.map(|user| user.0))
        .fetch_optional(pool)
        .await?)
}

async fn by_id(tx: &mut PgConnection, id: i64) -> Result<Payout, StoreError> {
    Ok(sqlx::query_as(select!("WHERE o.id = $1")).bind(id).fetch_one(tx).await?)
}

/// What an admin asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPayout {
    /// Who asks.
    pub by: UserId,
    /// Whose earnings.
    pub provider: Uuid,
    /// First day, of Manila.
    pub from: NaiveDate,
    /// Last day, itself included; not before the first.
    pub to: NaiveDate,
    /// Where to.
    pub bank_name: Option<String>,
    /// In whose name.
    pub account_name: Option<String>,
    /// Its number.
    pub account_number: Option<String>,
}

/// Why there is no payout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayoutRefused {
    /// There is no such provider.
    NoSuchProvider,
    /// The period ends after this day, today in Manila: what is earned then nobody knows.
    NotYet(NaiveDate),
    /// A payout that did not fail has a day of it: this one.
    Overlaps(i64),
    /// More than one transaction can pay.
    TooMuch,
    /// Nothing was earned, or all of it is paid.
    Nothing,
}

/// Makes a payout, `pending`: no money moves before it is completed.
///
/// # Errors
/// [`StoreError::Undecided`] when its commit was not answered.
pub async fn create(
    pool: &PgPool,
    new: &NewPayout,
    key: Option<Key>,
) -> Result<Once<Payout, PayoutRefused>, StoreError> {
    let mut begun = match idempotency::begin(pool, new.by, key).await? {
        Ok(begun) => begun,
        Err(before) => return Ok(Once::Before(before)),
    };
    let tx = &mut *begun.tx;
    // Whoever was deleted is paid what he has earned all the same.
    let provider: Option<i64> = sqlx::query_scalar("SELECT id FROM providers WHERE uuid = $1")
        .bind(new.provider)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(provider) = provider else { return Ok(Once::Refused(PayoutRefused::NoSuchProvider)) };
    let today: NaiveDate =
        sqlx::query_scalar("SELECT (clock_timestamp() AT TIME ZONE 'Asia/Manila')::date").fetch_one(&mut *tx).await?;
    if new.to > today {
        return Ok(Once::Refused(PayoutRefused::NotYet(today)));
    }
    let bookings = due_bookings(tx, provider, new).await?;
    lock_provider(tx, provider).await?;
    if let Some(other) = overlapping(tx, provider, new).await? {
        return Ok(Once::Refused(PayoutRefused::Overlaps(other)));
    }
    let tips = due_tips(tx, provider, new).await?;
    if bookings.is_empty() && tips.is_empty() {
        return Ok(Once::Refused(PayoutRefused::Nothing));
    }
    let id = match insert(tx, provider, new, &bookings, &tips).await {
        Ok(id) => id,
        Err(error) if error.code().as_deref() == Some("22003") => return Ok(Once::Refused(PayoutRefused::TooMuch)),
        // Written by somebody's SQL, which takes no lock of the provider; it is committed by now.
        Err(error) if error.constraint() == Some("payouts_no_overlap") => {
            drop(begun);
            let other = overlapping(&mut *pool.acquire().await?, provider, new).await?;
            return other.map(|other| Once::Refused(PayoutRefused::Overlaps(other))).ok_or(error);
        }
        Err(error) => return Err(error),
    };
    mark(tx, id, &bookings, &tips).await?;
    let payout = by_id(tx, id).await?;
    if payout.net_payout > MOST {
        return Ok(Once::Refused(PayoutRefused::TooMuch));
    }
    let made = json!({"provider_uuid": payout.provider_uuid, "net_payout": payout.net_payout});
    audit_logs::write(
        tx,
        Change { by: new.by, action: "created", of: r"App\Models\Payout", id, old: None, new: Some(made) },
    )
    .await?;
    begun.made(payout.clone(), &payout).await
}

/// A moment that a payout of these days takes: one of them, or one that was too late for the payout of its own. (A payout that
/// marks nothing was not made here, and is taken at its word.) `$at`: the moment.
macro_rules! is_due {
    ($at:literal) => {
        concat!(
            "(",
            $at,
            " AT TIME ZONE 'Asia/Manila')::date <= $3
             AND ((",
            $at,
            " AT TIME ZONE 'Asia/Manila')::date >= $2
                  OR EXISTS (SELECT 1 FROM payouts o
                             WHERE o.provider_id = $1 AND o.status <> 'failed'
                               AND (",
            $at,
            " AT TIME ZONE 'Asia/Manila')::date BETWEEN o.period_start AND o.period_end
                               AND (EXISTS (SELECT 1 FROM bookings own WHERE own.payout_id = o.id)
                                    OR EXISTS (SELECT 1 FROM transactions own WHERE own.payout_id = o.id AND own.type = 'tip'))))"
        )
    };
}

/// Locked, by id: another payout that wants them waits here, and then finds them marked.
async fn due_bookings(tx: &mut PgConnection, provider: i64, new: &NewPayout) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar(concat!(
        "SELECT b.id FROM bookings b
         WHERE b.provider_id = $1 AND b.status = 'completed' AND b.payout_id IS NULL AND b.deleted_at IS NULL AND ",
        is_due!("b.completed_at"),
        " ORDER BY b.id FOR NO KEY UPDATE OF b"
    ))
    .bind(provider)
    .bind(new.from)
    .bind(new.to)
    .fetch_all(tx)
    .await?)
}

/// An import may not know when a tip was paid: then when it was asked for.
async fn due_tips(tx: &mut PgConnection, provider: i64, new: &NewPayout) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar(concat!(
        "SELECT t.id FROM transactions t JOIN bookings b ON b.id = t.booking_id
         WHERE b.provider_id = $1 AND t.type = 'tip' AND t.status = 'completed' AND t.payout_id IS NULL AND ",
        is_due!("COALESCE(t.processed_at, t.created_at)"),
        " ORDER BY t.id FOR NO KEY UPDATE OF t"
    ))
    .bind(provider)
    .bind(new.from)
    .bind(new.to)
    .fetch_all(tx)
    .await?)
}

/// Payouts of one provider are made, and fail, one after the other: each knows what the others left owed.
async fn lock_provider(tx: &mut PgConnection, provider: i64) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM providers WHERE id = $1 FOR NO KEY UPDATE").bind(provider).execute(tx).await?;
    Ok(())
}

/// `payouts_no_overlap` says the same: asked first, so that it can be named.
async fn overlapping(tx: &mut PgConnection, provider: i64, new: &NewPayout) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM payouts WHERE provider_id = $1 AND status <> 'failed'
           AND daterange(period_start, period_end, '[]') && daterange($2, $3, '[]') ORDER BY id LIMIT 1",
    )
    .bind(provider)
    .bind(new.from)
    .bind(new.to)
    .fetch_optional(tx)
    .await?)
}

/// The row with its sums. A tip that has a transaction is counted as that; one that has none (an import's) with its booking.
/// What is owed: the debts that payouts made, less what others took over of them (of one that failed nothing counts).
async fn insert(
    tx: &mut PgConnection,
    provider: i64,
    new: &NewPayout,
    bookings: &[i64],
    tips: &[i64],
) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "WITH earned AS (
             SELECT COALESCE(sum(b.service_price + b.distance_surcharge + b.tip_amount - given.tips), 0) AS gross,
                    COALESCE(sum(b.commission_amount), 0) AS commission,
                    COALESCE(sum(b.total_amount - given.tips) FILTER (WHERE b.payment_method = 'cash'), 0) AS cash
             FROM bookings b, LATERAL (
                 SELECT COALESCE(sum(t.amount), 0) AS tips FROM transactions t
                 WHERE t.booking_id = b.id AND t.type = 'tip' AND t.status = 'completed') given
             WHERE b.id = ANY($7)),
         tipped AS (
             SELECT COALESCE(sum(amount), 0) AS gross,
                    COALESCE(sum(amount) FILTER (WHERE payment_method = 'cash'), 0) AS cash
             FROM transactions WHERE id = ANY($8)),
         owed AS (
             SELECT COALESCE(sum(greatest(-net_payout, 0) + carried_over), 0) AS amount
             FROM payouts WHERE provider_id = $1 AND status <> 'failed')
         INSERT INTO payouts (provider_id, period_start, period_end, bank_name, account_name, account_number,
                              gross_earnings, commission_amount, cash_collected, carried_over, net_payout)
         SELECT $1, $2, $3, $4, $5, $6, e.gross + t.gross, e.commission, e.cash + t.cash, -o.amount,
                e.gross + t.gross - e.commission - e.cash - t.cash - o.amount
         FROM earned e, tipped t, owed o RETURNING id",
    )
    .bind(provider)
    .bind(new.from)
    .bind(new.to)
    .bind(&new.bank_name)
    .bind(&new.account_name)
    .bind(&new.account_number)
    .bind(bookings)
    .bind(tips)
    .fetch_one(tx)
    .await?)
}

async fn mark(tx: &mut PgConnection, payout: i64, bookings: &[i64], tips: &[i64]) -> Result<(), StoreError> {
    for (marking, ids) in [
        ("UPDATE bookings SET payout_id = $1 WHERE id = ANY($2)", bookings),
        ("UPDATE transactions SET payout_id = $1 WHERE id = ANY($2)", tips),
    ] {
        sqlx::query(marking).bind(payout).bind(ids).execute(&mut *tx).await?;
    }
    Ok(())
}

/// What an admin says of a payout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PayoutMove {
    /// Which.
    pub payout: i64,
    /// Who says so.
    pub by: UserId,
    /// A word of `payout_status`.
    pub to: &'static str,
    /// Why it failed.
    pub reason: Option<String>,
    /// The bank's.
    pub reference_number: Option<String>,
}

/// Why it is not moved.
#[derive(Clone, PartialEq, Debug)]
pub enum MoveRefused {
    /// Not from the status that it has.
    NotAllowed {
        /// As it is.
        status: String,
    },
    /// It is more than one transaction can be: so much.
    TooMuch(Money),
    /// There is none.
    NotFound,
}

/// Whether a payout may go from one status to another: `pending`, `processing`, then `completed`; `failed` from either before.
fn may(from: &str, to: &str) -> bool {
    matches!((from, to), ("pending", "processing" | "failed") | ("processing", "completed" | "failed"))
}

/// Moves a payout. `completed`: the money is with the provider, which is a transaction of its own; `failed`: its days, bookings and
/// tips are free for another. The status that it has already: nothing is done.
///
/// # Errors
/// [`StoreError::Undecided`] when its commit was not answered.
pub async fn transition(
    pool: &PgPool,
    wish: &PayoutMove,
    key: Option<Key>,
) -> Result<Once<(), MoveRefused>, StoreError> {
    let mut begun = match idempotency::begin(pool, wish.by, key).await? {
        Ok(begun) => begun,
        Err(before) => return Ok(Once::Before(before)),
    };
    let tx = &mut *begun.tx;
    act_as(tx, Some(wish.by)).await?;
    let whose: Option<(i64, i64)> = sqlx::query_as(
        "SELECT o.provider_id, p.user_id FROM payouts o JOIN providers p ON p.id = o.provider_id WHERE o.id = $1",
    )
    .bind(wish.payout)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((provider, user)) = whose else { return Ok(Once::Refused(MoveRefused::NotFound)) };
    if wish.to == "failed" {
        sqlx::query("SELECT 1 FROM bookings WHERE payout_id = $1 ORDER BY id FOR NO KEY UPDATE")
            .bind(wish.payout)
            .execute(&mut *tx)
            .await?;
    }
    lock_provider(tx, provider).await?;
    let payout = by_id(tx, wish.payout).await?;
    if payout.status == wish.to {
        return begun.moved((), &payout).await;
    }
    if !may(&payout.status, wish.to) {
        return Ok(Once::Refused(MoveRefused::NotAllowed { status: payout.status }));
    }
    if wish.to == "completed" && payout.net_payout > MOST {
        return Ok(Once::Refused(MoveRefused::TooMuch(payout.net_payout)));
    }
    let number = match wish.to {
        "completed" => pay(tx, &payout, UserId(user)).await?,
        "failed" => {
            let_go(tx, wish.payout).await?;
            None
        }
        _ => None,
    };
    sqlx::query(
        "UPDATE payouts
         SET status = $2::payout_status, failure_reason = CASE WHEN $2 = 'failed' THEN $3 END,
             processed_at = CASE WHEN $2 = 'completed' THEN clock_timestamp() END,
             failed_at = CASE WHEN $2 = 'failed' THEN clock_timestamp() END,
             reference_number = COALESCE($4, reference_number, $5)
         WHERE id = $1",
    )
    .bind(wish.payout)
    .bind(wish.to)
    .bind(&wish.reason)
    .bind(&wish.reference_number)
    .bind(number)
    .execute(&mut *tx)
    .await?;
    let (old, new) = (json!({"status": payout.status}), json!({"status": wish.to, "reason": wish.reason}));
    audit_logs::write(
        tx,
        Change {
            by: wish.by,
            action: "updated",
            of: r"App\Models\Payout",
            id: wish.payout,
            old: Some(old),
            new: Some(new),
        },
    )
    .await?;
    let payout = by_id(tx, wish.payout).await?;
    begun.moved((), &payout).await
}

/// The payment itself: its number; `None` where nothing is to be paid.
async fn pay(tx: &mut PgConnection, payout: &Payout, user: UserId) -> Result<Option<String>, StoreError> {
    if payout.net_payout <= Money::ZERO {
        return Ok(None);
    }
    let paid = transactions::New {
        user,
        booking: None,
        payout: Some(payout.id),
        kind: "payout",
        method: "bank_transfer",
        amount: payout.net_payout,
        currency: &payout.currency,
        moved: true,
        description: &format!("Earnings of {} to {}", payout.period_start, payout.period_end),
    };
    let id = transactions::insert(tx, &paid).await?;
    Ok(Some(transactions::by_id(tx, id).await?.transaction_number))
}

async fn let_go(tx: &mut PgConnection, payout: i64) -> Result<(), StoreError> {
    for letting_go in [
        "UPDATE bookings SET payout_id = NULL WHERE payout_id = $1",
        "UPDATE transactions SET payout_id = NULL WHERE payout_id = $1 AND type = 'tip'",
    ] {
        sqlx::query(letting_go).bind(payout).execute(&mut *tx).await?;
    }
    Ok(())
}
