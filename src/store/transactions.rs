//! `transactions`: every movement of money, and those that are waited for. What is paid through a gateway is `pending` until
//! somebody who knows says what became of it ([`settle`]); what is paid here is written by what moves it ([`super::wallets`],
//! [`super::tips`], [`super::payouts`]).

use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::audit_logs::{self, Change};
use super::idempotency::{self, Key, Once};
use super::pages::{Ask, Rows};
use super::tx::act_as;
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
    /// The payout that it is, or (a tip, to admins) that it was paid out with.
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
    /// As it is shown to `user`: how his tip reaches whom he gave it to is not his to know. `None`: an admin.
    fn shown(mut self, user: Option<UserId>) -> Self {
        if user.is_some() && self.r#type == "tip" {
            self.payout_id = None;
        }
        self
    }

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
    let rows: Vec<Transaction> = sqlx::query_as(ask.of(select, "t.id"))
        .bind(ask.bound())
        .bind(ask.limit())
        .bind(filter.user.map(|user| user.0))
        .bind(filter.status)
        .bind(filter.kind)
        .fetch_all(pool)
        .await?;
    Ok(ask.rows(rows.into_iter().map(|row| row.shown(filter.user)).collect()))
}

/// One of them; `None`: there is none, or it is not `user`'s (`None`: anybody's will do).
///
/// # Errors
/// [`StoreError::Database`]
pub async fn find(pool: &PgPool, uuid: Uuid, user: Option<UserId>) -> Result<Option<Transaction>, StoreError> {
    let found: Option<Transaction> =
        sqlx::query_as(select!("WHERE t.uuid = $1 AND ($2::bigint IS NULL OR t.user_id = $2)"))
            .bind(uuid)
            .bind(user.map(|user| user.0))
            .fetch_optional(pool)
            .await?;
    Ok(found.map(|row| row.shown(user)))
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
    /// Why it failed; kept of what failed alone.
    pub reason: Option<String>,
    /// Who handled it, in small letters, and its id there. Kept of what is completed: what failed brought no money.
    pub gateway: Option<(String, String)>,
}

impl Verdict {
    fn status(&self) -> &'static str {
        if self.completed { "completed" } else { "failed" }
    }
}

/// Why a verdict is not taken.
#[derive(Clone, Debug)]
pub enum SettleRefused {
    /// Not one that is waited for (any more).
    NotAllowed {
        /// As it is.
        status: String,
    },
    /// The booking takes no such tip (any more).
    TipRefused(tips::TipRefused),
    /// The wallet would hold more than [`wallets::MOST`].
    WalletFull,
    /// Another transaction has this gateway's id: the same payment cannot count twice.
    GatewayUsed,
    /// It is his who says so: somebody else has to.
    Own,
    /// It was completed by another payment, of this gateway and id: two were made for one transaction.
    OtherPayment {
        /// The gateway, and its id there.
        by: (Option<String>, String),
    },
    /// There is none.
    NotFound,
}

/// Ends the wait for a top-up or a tip. What is completed moves its money here and nowhere else: the guarded UPDATE finds the
/// row waiting once, however many say so at once. With the booking whose tip it is, as it stands, if it changed.
///
/// The status that it has: nothing moves; but a payment that is named is compared with the one that it was completed by, or kept
/// if none was named then, so that no payment counts twice and none is lost sight of.
///
/// # Errors
/// [`StoreError::Undecided`] when its commit was not answered.
pub async fn settle(
    pool: &PgPool,
    verdict: &Verdict,
    key: Option<Key>,
) -> Result<Once<Option<Box<BookingView>>, SettleRefused>, StoreError> {
    let mut begun = match idempotency::begin(pool, verdict.by, key).await? {
        Ok(begun) => begun,
        Err(before) => return Ok(Once::Before(before)),
    };
    let tx = &mut *begun.tx;
    act_as(tx, Some(verdict.by)).await?;
    let seen: Option<Seen> =
        sqlx::query_as("SELECT id, user_id, booking_id, type::text AS type FROM transactions WHERE uuid = $1")
            .bind(verdict.transaction)
            .fetch_optional(&mut *tx)
            .await?;
    let Some(seen) = seen else { return Ok(Once::Refused(SettleRefused::NotFound)) };
    if seen.user_id == verdict.by.0 {
        return Ok(Once::Refused(SettleRefused::Own));
    }
    let is_tip = seen.r#type == "tip";
    // The booking is locked before anything else, as everywhere.
    let booking = match seen.booking_id {
        Some(booking) if is_tip => lock(tx, BookingId(booking)).await?,
        _ => None,
    };
    sqlx::query("SELECT 1 FROM transactions WHERE id = $1 FOR NO KEY UPDATE").bind(seen.id).execute(&mut *tx).await?;
    let before = by_id(tx, seen.id).await?;
    if !is_tip && before.r#type != "wallet_topup" {
        return Ok(Once::Refused(SettleRefused::NotAllowed { status: before.status }));
    }
    if before.status == verdict.status() {
        if let Err(refused) = known(tx, &before, verdict).await? {
            return Ok(Once::Refused(refused));
        }
        let transaction = by_id(tx, seen.id).await?;
        return begun.moved(None, &transaction).await;
    }
    match guarded(tx, seen.id, verdict).await {
        Ok(true) => {}
        Ok(false) => return Ok(Once::Refused(SettleRefused::NotAllowed { status: before.status })),
        Err(error) if is_used(&error) => return Ok(Once::Refused(SettleRefused::GatewayUsed)),
        Err(error) => return Err(error),
    }
    let mut tipped = None;
    if verdict.completed && is_tip {
        let Some(booking) = booking else {
            return Ok(Once::Refused(SettleRefused::TipRefused(tips::TipRefused::NotFound)));
        };
        if let Err(refused) = tips::add(tx, &booking, UserId(seen.user_id), before.amount).await? {
            return Ok(Once::Refused(SettleRefused::TipRefused(refused)));
        }
        tipped = view_by_id(tx, BookingId(booking.id)).await?.map(Box::new);
    } else if verdict.completed && !wallets::top_up(tx, UserId(seen.user_id), seen.id, before.amount).await? {
        return Ok(Once::Refused(SettleRefused::WalletFull));
    }
    let transaction = by_id(tx, seen.id).await?;
    told(tx, verdict.by, &before, &transaction).await?;
    begun.moved(tipped, &transaction).await
}

#[derive(sqlx::FromRow)]
struct Seen {
    id: i64,
    user_id: i64,
    booking_id: Option<i64>,
    r#type: String,
}

/// A verdict on what is settled so already, under the row's lock: the payment that it names is the one that is known, or becomes
/// it if none is.
async fn known(
    tx: &mut PgConnection,
    settled: &Transaction,
    verdict: &Verdict,
) -> Result<Result<(), SettleRefused>, StoreError> {
    let Some((gateway, id)) = verdict.gateway.as_ref().filter(|_| verdict.completed) else { return Ok(Ok(())) };
    if let Some(other) = &settled.gateway_transaction_id {
        let same = other == id && settled.gateway.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(gateway));
        let by = (settled.gateway.clone(), other.clone());
        return Ok(if same { Ok(()) } else { Err(SettleRefused::OtherPayment { by }) });
    }
    let kept = sqlx::query("UPDATE transactions SET gateway = $2, gateway_transaction_id = $3 WHERE id = $1")
        .bind(settled.id)
        .bind(gateway)
        .bind(id)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::from);
    match kept {
        Ok(_) => {}
        Err(error) if is_used(&error) => return Ok(Err(SettleRefused::GatewayUsed)),
        Err(error) => return Err(error),
    }
    let after = by_id(tx, settled.id).await?;
    told(tx, verdict.by, settled, &after).await?;
    Ok(Ok(()))
}

fn is_used(error: &StoreError) -> bool {
    error.constraint() == Some("idx_transactions_gateway_id")
}

/// Who said what, and of which payment.
async fn told(tx: &mut PgConnection, by: UserId, before: &Transaction, after: &Transaction) -> Result<(), StoreError> {
    let state = |of: &Transaction| json!({"status": of.status, "gateway": of.gateway, "gateway_transaction_id": of.gateway_transaction_id});
    let (old, new) = (Some(state(before)), Some(state(after)));
    audit_logs::write(tx, Change { by, action: "updated", of: r"App\Models\Transaction", id: after.id, old, new }).await
}

/// `false`: it was not waiting.
async fn guarded(tx: &mut PgConnection, id: i64, verdict: &Verdict) -> Result<bool, StoreError> {
    let (gateway, gateway_id) =
        verdict.gateway.as_ref().filter(|_| verdict.completed).map(|(name, id)| (name, id)).unzip();
    let done = sqlx::query(
        "UPDATE transactions
         SET status = $2::transaction_status, failure_reason = CASE WHEN $2 = 'failed' THEN $3 END,
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
