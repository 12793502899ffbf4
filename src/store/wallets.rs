//! Wallets: what is put in, what a booking takes from its customer's and gives back, tips. The balance is the sum of the ledger
//! (`wallet_transactions`, append-only); each entry has its row in `transactions`. The wallet's row is locked after the
//! booking, its offers, the provider and the store, and before the promo code.

use serde::Serialize;
use sqlx::types::Decimal;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::StoreError;
use super::idempotency::{self, Key, Once};
use super::pages::{Ask, Rows};
use super::transactions::{self, Transaction};
use crate::core::ids::{BookingId, UserId};
use crate::core::money::Money;
use crate::wire::time::WireTime;

/// The most that one holds: the column's width.
pub const MOST: Money = Money::centavos(999_999_999_999);

/// A wallet, to its owner.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Wallet {
    /// What can be paid with.
    #[schema(value_type = String, example = "500.00")]
    pub balance: Money,
    /// `PHP`
    pub currency: String,
    /// `wallets.total_earned`
    #[schema(value_type = String, example = "0.00")]
    pub total_earned: Money,
    /// Paid with it so far, less what was given back.
    #[schema(value_type = String, example = "0.00")]
    pub total_spent: Money,
    /// One that is switched off pays nothing, and takes no top-up.
    pub is_active: bool,
    /// Null while nothing was ever in it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub updated_at: Option<WireTime>,
}

/// The user's wallet. Who has no row (an import may have brought none) has an empty one: a row is made by the first top-up.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn of(pool: &PgPool, user: UserId) -> Result<Wallet, StoreError> {
    Ok(sqlx::query_as(
        "SELECT COALESCE(w.balance, 0) AS balance, COALESCE(w.currency, 'PHP') AS currency,
                COALESCE(w.total_earned, 0) AS total_earned, COALESCE(w.total_spent, 0) AS total_spent,
                COALESCE(w.is_active, TRUE) AS is_active, w.updated_at
         FROM users u LEFT JOIN wallets w ON w.user_id = u.id WHERE u.id = $1",
    )
    .bind(user.0)
    .fetch_one(pool)
    .await?)
}

/// A line of a wallet's ledger.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct LedgerLine {
    /// `wallet_transactions.id`
    pub id: i64,
    /// `credit`: into the wallet; `debit`: out of it.
    #[schema(example = "credit")]
    pub r#type: String,
    /// Always above 0.
    #[schema(value_type = String, example = "500.00")]
    pub amount: Money,
    /// `PHP`
    pub currency: String,
    /// What it held until then.
    #[schema(value_type = String, example = "0.00")]
    pub balance_before: Money,
    /// What it held from then on.
    #[schema(value_type = String, example = "500.00")]
    pub balance_after: Money,
    /// The transaction behind it.
    pub transaction_uuid: Option<Uuid>,
    /// The booking that it is for.
    pub booking_uuid: Option<Uuid>,
    /// For people.
    pub description: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
}

macro_rules! lines {
    ($which:literal) => {
        concat!(
            r"SELECT l.id, l.type::text AS type, l.amount, w.currency, l.balance_before, l.balance_after,
                     t.uuid AS transaction_uuid, b.uuid AS booking_uuid, l.description, l.created_at
              FROM wallets w JOIN wallet_transactions l ON l.wallet_id = w.id
              LEFT JOIN transactions t ON l.reference_type = 'App\Models\Transaction' AND t.id = l.reference_id
              LEFT JOIN bookings b ON b.id = t.booking_id
              WHERE ",
            $which
        )
    };
}

/// A line of this user's ledger (`None`: of anybody's).
///
/// # Errors
/// [`StoreError::Database`]
pub async fn line(pool: &PgPool, id: i64, user: Option<UserId>) -> Result<Option<LedgerLine>, StoreError> {
    let sql = lines!("l.id = $1 AND ($2::bigint IS NULL OR w.user_id = $2)");
    Ok(sqlx::query_as(sql).bind(id).bind(user.map(|user| user.0)).fetch_optional(pool).await?)
}

/// A page of the user's ledger.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn ledger(pool: &PgPool, user: UserId, ask: Ask) -> Result<Rows<LedgerLine>, StoreError> {
    let select = lines!("w.user_id = $3");
    let rows =
        sqlx::query_as(ask.of(select, "l.id")).bind(ask.bound()).bind(ask.limit()).bind(user.0).fetch_all(pool).await?;
    Ok(ask.rows(rows))
}

/// Why a wallet takes no top-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopUpRefused {
    /// It is switched off.
    SwitchedOff,
    /// It can hold [`MOST`]; so much is left.
    Full(Money),
}

/// Notes that the user wants to put `amount` in, paid by `method`: nothing moves before [`transactions::settle`].
///
/// # Errors
/// [`StoreError::Database`]
pub async fn ask_top_up(
    pool: &PgPool,
    user: UserId,
    amount: Money,
    method: &str,
    key: Option<Key>,
) -> Result<Once<Box<Transaction>, TopUpRefused>, StoreError> {
    let mut begun = match idempotency::begin(pool, user, key).await? {
        Ok(begun) => begun,
        Err(before) => return Ok(Once::Before(before)),
    };
    let tx = &mut *begun.tx;
    let wallet: Option<(bool, String, Decimal)> =
        sqlx::query_as("SELECT is_active, currency, balance FROM wallets WHERE user_id = $1")
            .bind(user.0)
            .fetch_optional(&mut *tx)
            .await?;
    let (is_active, currency, balance) = wallet.unwrap_or((true, "PHP".to_owned(), Decimal::ZERO));
    if !is_active {
        return Ok(Once::Refused(TopUpRefused::SwitchedOff));
    }
    let left = MOST - Money::rounded(balance);
    if amount > left {
        return Ok(Once::Refused(TopUpRefused::Full(left)));
    }
    let asked = transactions::New {
        user,
        booking: None,
        payout: None,
        kind: "wallet_topup",
        method,
        amount,
        currency: &currency,
        moved: false,
        description: "Wallet top-up",
    };
    let id = transactions::insert(tx, &asked).await?;
    let transaction = transactions::by_id(tx, id).await?;
    begun.made(Box::new(transaction.clone()), &transaction).await
}

/// Puts in what has come: the transaction says for whom, and was found waiting by this caller alone. A wallet that is switched
/// off is given its due all the same. `false`: it would hold more than [`MOST`], and nothing was done.
pub(crate) async fn top_up(
    tx: &mut PgConnection,
    user: UserId,
    transaction: i64,
    amount: Money,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        r"WITH held AS (
              INSERT INTO wallets AS w (user_id, balance) VALUES ($1, $3)
              ON CONFLICT (user_id) DO UPDATE SET balance = w.balance + excluded.balance
              WHERE w.balance + excluded.balance <= $4 RETURNING id, balance)
          INSERT INTO wallet_transactions (wallet_id, type, amount, balance_before, balance_after, reference_type,
                                           reference_id, description)
          SELECT held.id, 'credit', $3, held.balance - $3, held.balance, 'App\Models\Transaction', t.id,
                 'Top-up ' || t.transaction_number
          FROM held, transactions t WHERE t.id = $2",
    )
    .bind(user.0)
    .bind(transaction)
    .bind(amount.decimal())
    .bind(MOST.decimal())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What the user could pay now; nothing while his wallet is switched off, or if he has none.
pub async fn balance(pool: &PgPool, user: UserId) -> Result<Money, StoreError> {
    let balance: Option<Decimal> = sqlx::query_scalar("SELECT balance FROM wallets WHERE user_id = $1 AND is_active")
        .bind(user.0)
        .fetch_optional(pool)
        .await?;
    Ok(balance.map_or(Money::ZERO, Money::rounded))
}

/// Pays for a booking; `false`: there is too little in it, and nothing was done.
pub(crate) async fn pay(
    tx: &mut PgConnection,
    user: UserId,
    booking: BookingId,
    amount: Money,
) -> Result<bool, StoreError> {
    if amount == Money::ZERO {
        return Ok(true);
    }
    Ok(take(tx, &PAYMENT, user, booking, amount).await?.is_some())
}

/// Pays a tip for a booking, above 0: the transaction, or `None`: there is too little in it, and nothing was done.
pub(crate) async fn pay_tip(
    tx: &mut PgConnection,
    user: UserId,
    booking: BookingId,
    amount: Money,
) -> Result<Option<i64>, StoreError> {
    take(tx, &TIP, user, booking, amount).await
}

async fn take(
    tx: &mut PgConnection,
    movement: &'static Movement,
    user: UserId,
    booking: BookingId,
    amount: Money,
) -> Result<Option<i64>, StoreError> {
    // The update locks the wallet and looks at what it holds then.
    let paid: Option<(i64, Decimal, String)> = sqlx::query_as(
        "UPDATE wallets SET balance = balance - $2, total_spent = total_spent + $2
         WHERE user_id = $1 AND is_active AND balance >= $2 RETURNING id, balance, currency",
    )
    .bind(user.0)
    .bind(amount.decimal())
    .fetch_optional(&mut *tx)
    .await?;
    let Some((wallet, after, currency)) = paid else { return Ok(None) };
    let entry = Entry { movement, wallet, user, booking, amount, before: after + amount.decimal(), after, currency };
    write(tx, &entry).await.map(Some)
}

/// Gives back what was paid for a booking, but for `keep` (the fee of a cancellation). What was not paid from a wallet is
/// not given back, and nothing twice. A wallet that is switched off is given its due all the same.
pub(crate) async fn refund(tx: &mut PgConnection, booking: BookingId, keep: Money) -> Result<(), StoreError> {
    let paid: Option<(i64, Decimal)> = sqlx::query_as(
        "SELECT user_id, sum(CASE type WHEN 'payment' THEN amount ELSE -amount END) FROM transactions
         WHERE booking_id = $1 AND payment_method = 'wallet' AND type IN ('payment', 'refund') AND status = 'completed'
         GROUP BY user_id",
    )
    .bind(booking.0)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((user, paid)) = paid else { return Ok(()) };
    let amount = Money::rounded(paid) - keep;
    if amount <= Money::ZERO {
        return Ok(());
    }
    let (wallet, after, currency): (i64, Decimal, String) = sqlx::query_as(
        "UPDATE wallets SET balance = balance + $2, total_spent = greatest(total_spent - $2, 0)
         WHERE user_id = $1 RETURNING id, balance, currency",
    )
    .bind(user)
    .bind(amount.decimal())
    .fetch_one(&mut *tx)
    .await?;
    let before = after - amount.decimal();
    let entry = Entry { movement: &REFUND, wallet, user: UserId(user), booking, amount, before, after, currency };
    write(tx, &entry).await?;
    Ok(())
}

/// Between a wallet and a booking.
struct Movement {
    /// `transaction_type`
    kind: &'static str,
    /// `wallet_entry_type`
    side: &'static str,
    /// Before the booking's number.
    text: &'static str,
}

const PAYMENT: Movement = Movement { kind: "payment", side: "debit", text: "Payment of booking " };
const REFUND: Movement = Movement { kind: "refund", side: "credit", text: "Refund of booking " };
const TIP: Movement = Movement { kind: "tip", side: "debit", text: "Tip for booking " };

struct Entry {
    movement: &'static Movement,
    wallet: i64,
    user: UserId,
    booking: BookingId,
    amount: Money,
    before: Decimal,
    after: Decimal,
    currency: String,
}

/// The transaction, whose id is returned, and its line in the ledger. `reference_type` is Laravel's morph name, as in
/// `personal_access_tokens`.
async fn write(tx: &mut PgConnection, entry: &Entry) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        r"WITH made AS (
              INSERT INTO transactions (booking_id, user_id, type, payment_method, amount, currency, status, processed_at)
              VALUES ($2, $3, $8::transaction_type, 'wallet', $4, $7, 'completed', clock_timestamp())
              RETURNING id)
          INSERT INTO wallet_transactions (wallet_id, type, amount, balance_before, balance_after, reference_type,
                                           reference_id, description)
          SELECT $1, $9::wallet_entry_type, $4, $5, $6, 'App\Models\Transaction', made.id, $10::text || b.booking_number
          FROM made, bookings b WHERE b.id = $2 RETURNING reference_id",
    )
    .bind(entry.wallet)
    .bind(entry.booking.0)
    .bind(entry.user.0)
    .bind(entry.amount.decimal())
    .bind(entry.before)
    .bind(entry.after)
    .bind(&entry.currency)
    .bind(entry.movement.kind)
    .bind(entry.movement.side)
    .bind(entry.movement.text)
    .fetch_one(tx)
    .await?)
}
