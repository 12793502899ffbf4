//! Wallets: what a booking takes from its customer's and gives back. The balance is the sum of the ledger
//! (`wallet_transactions`, append-only); each entry has its row in `transactions`. The wallet's row is locked after the
//! booking, its offers and the store, and before the promo code.

use sqlx::types::Decimal;
use sqlx::{PgConnection, PgPool};

use super::StoreError;
use crate::core::ids::{BookingId, UserId};
use crate::core::money::Money;

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
    // The update locks the wallet and looks at what it holds then.
    let paid: Option<(i64, Decimal, String)> = sqlx::query_as(
        "UPDATE wallets SET balance = balance - $2, total_spent = total_spent + $2
         WHERE user_id = $1 AND is_active AND balance >= $2 RETURNING id, balance, currency",
    )
    .bind(user.0)
    .bind(amount.decimal())
    .fetch_optional(&mut *tx)
    .await?;
    let Some((wallet, after, currency)) = paid else { return Ok(false) };
    let entry = Entry { wallet, user, booking, amount, before: after + amount.decimal(), after, currency, pays: true };
    write(tx, &entry).await?;
    Ok(true)
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
    write(tx, &Entry { wallet, user: UserId(user), booking, amount, before, after, currency, pays: false }).await
}

struct Entry {
    wallet: i64,
    user: UserId,
    booking: BookingId,
    amount: Money,
    before: Decimal,
    after: Decimal,
    currency: String,
    /// From the wallet; else into it.
    pays: bool,
}

/// The transaction and its line in the ledger. `reference_type` is Laravel's morph name, as in `personal_access_tokens`.
async fn write(tx: &mut PgConnection, entry: &Entry) -> Result<(), StoreError> {
    sqlx::query(
        r"WITH made AS (
              INSERT INTO transactions (booking_id, user_id, type, payment_method, amount, currency, status, processed_at)
              VALUES ($2, $3, CASE WHEN $8 THEN 'payment' ELSE 'refund' END::transaction_type, 'wallet', $4, $7,
                      'completed', clock_timestamp())
              RETURNING id)
          INSERT INTO wallet_transactions (wallet_id, type, amount, balance_before, balance_after, reference_type,
                                           reference_id, description)
          SELECT $1, CASE WHEN $8 THEN 'debit' ELSE 'credit' END::wallet_entry_type, $4, $5, $6,
                 'App\Models\Transaction', made.id,
                 CASE WHEN $8 THEN 'Payment of booking ' ELSE 'Refund of booking ' END || b.booking_number
          FROM made, bookings b WHERE b.id = $2",
    )
    .bind(entry.wallet)
    .bind(entry.booking.0)
    .bind(entry.user.0)
    .bind(entry.amount.decimal())
    .bind(entry.before)
    .bind(entry.after)
    .bind(&entry.currency)
    .bind(entry.pays)
    .execute(tx)
    .await?;
    Ok(())
}
