//! `transactions`: every movement of money, and those that are waited for. What is paid through a gateway is `pending` until
//! somebody who knows says what became of it ([`settle`]); what is paid here is written by what moves it ([`super::wallets`],
//! [`super::tips`], [`super::payouts`]).

use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::audit_logs::{self, Change};
use super::pages::{Ask, Rows};
use super::tx::{act_as, commit};
use super::{StoreError, tips, wallets};
use crate::core::ids::{BookingId, UserId};
use crate::core::money::Money;
use crate::store::bookings::{BookingView, lock, view_by_id};
use crate::wire::time::WireTime;

/// A movement of money, or one that is waited for, to whose it is.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Transaction {
    #[serde(skip)]
    pub(crate) id: i64,
    /// Public id.
    pub uuid: Uuid,
    /// `TXN-2026-000001`
    pub transaction_number: String,
    /// Whose: who pays, or is paid.
    pub user_uuid: Uuid,
    /// Of the booking that it is for.
    pub booking_uuid: Option<Uuid>,
    /// The payout that it is, or (a tip) that it was paid out with.
    pub payout_id: Option<i64>,
    /// `payment`, `refund`, `payout`, `wallet_topup`, `tip`: it gives the direction.
    #[schema(example = "wallet_topup")]
    pub r#type: String,
    /// `payment_method` of the schema.
    #[schema(example = "gcash")]
    pub payment_method: String,
    /// Always above 0.
    #[schema(value_type = String, example = "500.00")]
    pub amount: Money,
    /// `PHP`
    pub currency: String,
    /// `pending`, `processing`, `completed`, `failed`, `refunded`.
    #[schema(example = "pending")]
    pub status: String,
    /// Who handled it outside: `paymongo`, a bank.
    pub gateway: Option<String>,
    /// Its own id there.
    pub gateway_transaction_id: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// When the money moved.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub processed_at: Option<WireTime>,
    /// When it failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failed_at: Option<WireTime>,
    /// Why.
    pub failure_reason: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: WireTime,
}

impl Transaction {
    /// What keys it in a list.
    pub const fn key(&self) -> i64 {
        self.id
    }
}

/// The one SELECT of this file; `$tail` says which.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT t.id, t.uuid, t.transaction_number, u.uuid AS user_uuid, b.uuid AS booking_uuid, t.payout_id,
                    t.type::text AS type, t.payment_method::text AS payment_method, t.amount, t.currency,
                    t.status::text AS status, t.gateway, t.gateway_transaction_id, t.description, t.processed_at,
                    t.failed_at, t.failure_reason, t.created_at, t.updated_at
             FROM transactions t JOIN users u ON u.id = t.user_id LEFT JOIN bookings b ON b.id = t.booking_id ",
            $tail
        )
    };
}

/// Which transactions a list shows; words of the schema's enums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Whose; `None`: everybody's.
    pub user: Option<UserId>,
    /// `transaction_status`
    pub status: Option<&'static str>,
    /// `transaction_type`
    pub kind: Option<&'static str>,
}

/// A page of them.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn list(pool: &PgPool, filter: Filter, ask: Ask) -> Result<Rows<Transaction>, StoreError> {
    let select = match filter.user {
        Some(_) => select!(
            "WHERE t.user_id = $3 AND ($4::text IS NULL OR t.status::text = $4) AND ($5::text IS NULL OR t.type::text = $5)"
        ),
        None => select!(
            "WHERE $3::bigint IS NULL AND ($4::text IS NULL OR t.status::text = $4) AND ($5::text IS NULL OR t.type::text = $5)"
        ),
    };
    let rows = sqlx::query_as(ask.of(select, "t.id"))
        .bind(ask.bound())
        .bind(ask.limit())
        .bind(filter.user.map(|user| user.0))
        .bind(filter.status)
        .bind(filter.kind)
        .fetch_all(pool)
        .await?;
    Ok(ask.rows(rows))
}

/// One of them; `None`: there is none, or it is not `user`'s (`None`: anybody's will do).
///
/// # Errors
/// [`StoreError::Database`]
pub async fn find(pool: &PgPool, uuid: Uuid, user: Option<UserId>) -> Result<Option<Transaction>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE t.uuid = $1 AND ($2::bigint IS NULL OR t.user_id = $2)"))
        .bind(uuid)
        .bind(user.map(|user| user.0))
        .fetch_optional(pool)
        .await?)
}

pub(crate) async fn by_id(tx: &mut PgConnection, id: i64) -> Result<Transaction, StoreError> {
    Ok(sqlx::query_as(select!("WHERE t.id = $1")).bind(id).fetch_one(tx).await?)
}

/// A movement that is not through a wallet, or not yet.
pub(crate) struct New<'a> {
    pub(crate) user: UserId,
    pub(crate) booking: Option<BookingId>,
    pub(crate) payout: Option<i64>,
    /// `transaction_type`
    pub(crate) kind: &'static str,
    /// `payment_method`
    pub(crate) method: &'a str,
    pub(crate) amount: Money,
    pub(crate) currency: &'a str,
    /// It has moved; else it is waited for.
    pub(crate) moved: bool,
    pub(crate) description: &'a str,
}

pub(crate) async fn insert(tx: &mut PgConnection, new: &New<'_>) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "INSERT INTO transactions (user_id, booking_id, payout_id, type, payment_method, amount, currency, description,
                                   status, processed_at)
         VALUES ($1, $2, $3, $4::transaction_type, $5::payment_method, $6, $7, $8,
                 CASE WHEN $9 THEN 'completed' ELSE 'pending' END::transaction_status,
                 CASE WHEN $9 THEN clock_timestamp() END) RETURNING id",
    )
    .bind(new.user.0)
    .bind(new.booking.map(|booking| booking.0))
    .bind(new.payout)
    .bind(new.kind)
    .bind(new.method)
    .bind(new.amount.decimal())
    .bind(new.currency)
    .bind(new.description)
    .bind(new.moved)
    .fetch_one(tx)
    .await?)
}

/// What became of a payment that was waited for, in the words of who knows.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which transaction.
    pub transaction: Uuid,
    /// Who says so.
    pub by: UserId,
    /// The money has come; else it will not.
    pub completed: bool,
    /// Why it failed.
    pub reason: Option<String>,
    /// Who handled it, and its id there.
    pub gateway: Option<(String, String)>,
}

impl Verdict {
    fn status(&self) -> &'static str {
        if self.completed { "completed" } else { "failed" }
    }
}

/// What became of a verdict.
#[derive(Clone, Debug)]
pub enum SettleOutcome {
    /// The money moved, or will not: committed. With the booking whose tip it is, as it stands.
    Settled(Box<Transaction>, Option<Box<BookingView>>),
    /// It has that status already: nothing was done.
    Unchanged(Box<Transaction>),
    /// Not one that is waited for (any more).
    NotAllowed {
        /// As it is.
        status: String,
    },
    /// The booking takes no such tip (any more).
    TipRefused(tips::TipRefused),
    /// Another transaction has this gateway's id: the same payment cannot count twice.
    GatewayUsed,
    /// It is his who says so: somebody else has to.
    Own,
    /// There is none.
    NotFound,
}

/// Ends the wait for a top-up or a tip. What is completed moves its money here and nowhere else: the guarded UPDATE finds the
/// row waiting once, however many say so at once.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn settle(pool: &PgPool, verdict: &Verdict) -> Result<SettleOutcome, StoreError> {
    let mut tx = pool.begin().await?;
    act_as(&mut tx, Some(verdict.by)).await?;
    let Some(seen): Option<Transaction> =
        sqlx::query_as(select!("WHERE t.uuid = $1")).bind(verdict.transaction).fetch_optional(&mut *tx).await?
    else {
        return Ok(SettleOutcome::NotFound);
    };
    let is_tip = seen.r#type == "tip";
    if !is_tip && seen.r#type != "wallet_topup" {
        return Ok(SettleOutcome::NotAllowed { status: seen.status });
    }
    let (user, booking): (i64, Option<i64>) =
        sqlx::query_as("SELECT user_id, booking_id FROM transactions WHERE id = $1")
            .bind(seen.id)
            .fetch_one(&mut *tx)
            .await?;
    if user == verdict.by.0 {
        return Ok(SettleOutcome::Own);
    }
    // The booking is locked before anything else, as everywhere.
    let booking = match booking {
        Some(booking) if is_tip => lock(&mut tx, BookingId(booking)).await?,
        _ => None,
    };
    let settled = match guarded(&mut tx, seen.id, verdict).await {
        Err(error) if error.constraint() == Some("idx_transactions_gateway_id") => {
            return Ok(SettleOutcome::GatewayUsed);
        }
        settled => settled?,
    };
    if !settled {
        let as_it_is = by_id(&mut tx, seen.id).await?;
        return Ok(if as_it_is.status == verdict.status() {
            SettleOutcome::Unchanged(Box::new(as_it_is))
        } else {
            SettleOutcome::NotAllowed { status: as_it_is.status }
        });
    }
    let mut tipped = None;
    if verdict.completed && is_tip {
        let Some(booking) = booking else { return Ok(SettleOutcome::TipRefused(tips::TipRefused::NotFound)) };
        if let Err(refused) = tips::add(&mut tx, &booking, UserId(user), seen.amount).await? {
            return Ok(SettleOutcome::TipRefused(refused));
        }
        tipped = view_by_id(&mut tx, BookingId(booking.id)).await?.map(Box::new);
    } else if verdict.completed {
        wallets::top_up(&mut tx, UserId(user), seen.id, seen.amount).await?;
    }
    let (old, new) = (json!({"status": seen.status}), json!({"status": verdict.status()}));
    audit_logs::write(
        &mut tx,
        Change {
            by: verdict.by,
            action: "updated",
            of: r"App\Models\Transaction",
            id: seen.id,
            old: Some(old),
            new: Some(new),
        },
    )
    .await?;
    let transaction = by_id(&mut tx, seen.id).await?;
    commit(tx).await?;
    Ok(SettleOutcome::Settled(Box::new(transaction), tipped))
}

/// `false`: it was not waiting.
async fn guarded(tx: &mut PgConnection, id: i64, verdict: &Verdict) -> Result<bool, StoreError> {
    let (gateway, gateway_id) = verdict.gateway.as_ref().map(|(name, id)| (name, id)).unzip();
    let done = sqlx::query(
        "UPDATE transactions
         SET status = $2::transaction_status, failure_reason = $3,
             processed_at = CASE WHEN $2 = 'completed' THEN clock_timestamp() END,
             failed_at = CASE WHEN $2 = 'failed' THEN clock_timestamp() END,
             gateway = COALESCE($4, gateway), gateway_transaction_id = COALESCE($5, gateway_transaction_id)
         WHERE id = $1 AND status IN ('pending', 'processing')",
    )
    .bind(id)
    .bind(verdict.status())
    .bind(&verdict.reason)
    .bind(gateway)
    .bind(gateway_id)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
