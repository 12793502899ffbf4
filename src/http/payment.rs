//! How a booking is to be paid: what can be said before it is made, and when the money is not there.

use super::auth::Principal;
use super::problem::Problem;
use crate::core::money::Money;
use crate::engine::Engine;
use crate::store::wallets;

/// Words of the schema's `payment_method` that a booking takes.
pub(super) const METHODS: &[&str] = &["card", "gcash", "paymaya", "wallet", "cash"];

/// By wallet: it must hold `total` now. Nothing is set aside: the accept takes the money, or ends the booking.
///
/// # Errors
/// 422 `insufficient_balance`.
pub(super) async fn affordable(engine: &Engine, caller: &Principal, method: &str, total: Money) -> Result<(), Problem> {
    if method != "wallet" {
        return Ok(());
    }
    let balance = wallets::balance(&engine.pool, caller.user).await?;
    if balance >= total {
        return Ok(());
    }
    let text = format!("The payment_method field wallet needs {total} in your wallet; it holds {balance}.");
    Err(Problem::field("insufficient_balance", "payment_method", text)
        .with("balance", balance.to_string())
        .with("total_amount", total.to_string()))
}

/// 409 `insufficient_balance`: an accept found too little, and the booking was cancelled.
pub(super) fn insufficient_balance() -> Problem {
    Problem::conflict(
        "insufficient_balance",
        "Not possible: the customer's wallet holds less than the booking costs; the booking was cancelled.",
    )
    .with("current_status", "cancelled")
}
