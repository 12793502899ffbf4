//! The caller's wallet. What puts money in and takes it out, and when: docs/money.md.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::auth::Caller;
use super::extract::{Body, PathId, PathUuid, read};
use super::idempotency::{self, IdempotencyKey};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use super::transactions::{TRANSACTIONS, whose};
use super::users;
use crate::core::money::Money;
use crate::engine::Engine;
use crate::store::transactions::Transaction;
use crate::store::wallets::{self, LedgerLine, TopUpRefused, Wallet};

/// Words of the schema's `payment_method` that a wallet can be topped up with: not with itself, and not in cash, which nobody
/// would take.
const METHODS: &[&str] = &["card", "gcash", "paymaya", "bank_transfer"];

/// 1.00
const LEAST: Money = Money::centavos(100);
/// 100000.00
const MOST: Money = Money::centavos(10_000_000);

/// The caller's wallet; an empty one if nothing was ever in it.
#[utoipa::path(get, path = "/v1/wallet", tag = "money", responses((status = 200, body = Wallet)))]
pub async fn show(State(engine): State<Arc<Engine>>, Caller(caller): Caller) -> Result<Json<Wallet>, Problem> {
    Ok(Json(wallets::of(&engine.pool, caller.user).await?))
}

/// The ledger of the caller's wallet, newest first: the balance is its sum.
#[utoipa::path(
    get,
    path = "/v1/wallet/transactions",
    tag = "money",
    params(
        PageQuery,
    ),
    responses((status = 200, body = Page<LedgerLine>), (status = 422, body = ProblemBody))
)]
pub async fn ledger(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    query: PageQuery,
) -> Result<Json<Page<LedgerLine>>, Problem> {
    let lines = wallets::ledger(&engine.pool, caller.user, query.ask()).await?;
    Ok(Json(query.of(lines, |line| line.id)))
}

/// A line of the caller's ledger; to an admin anybody's.
#[utoipa::path(
    get,
    path = "/v1/wallet/transactions/{id}",
    tag = "money",
    params(("id" = i64, Path)),
    responses((status = 200, body = LedgerLine), (status = 404, body = ProblemBody))
)]
pub async fn line(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<Json<LedgerLine>, Problem> {
    let line = wallets::line(&engine.pool, id, whose(&caller)).await?;
    line.map(Json).ok_or_else(|| Problem::not_found("Wallet transaction"))
}

/// A user's wallet; an empty one if nothing was ever in it.
#[utoipa::path(
    get,
    path = "/v1/users/{uuid}/wallet",
    tag = "admin",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = Wallet), (status = 404, body = ProblemBody))
)]
pub async fn of_user(State(engine): State<Arc<Engine>>, PathUuid(uuid): PathUuid) -> Result<Json<Wallet>, Problem> {
    let user = users::id_of(&engine, uuid).await?;
    Ok(Json(wallets::of(&engine.pool, user).await?))
}

/// How much is to be put in, and how it is paid.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct TopUp {
    /// 1.00 to 100000.00.
    #[schema(value_type = String, example = "500.00")]
    pub amount: Money,
    /// `card`, `gcash`, `paymaya` or `bank_transfer`.
    #[schema(example = "gcash")]
    pub payment_method: String,
}

/// Asks for a top-up. It is `pending`, and nothing is in the wallet, until an admin, or the payment provider's backend with an
/// admin's token, confirms that the money has come (`POST /v1/transactions/{uuid}/transitions`).
#[utoipa::path(
    post,
    path = "/v1/wallet/topups",
    tag = "money",
    params(IdempotencyKey),
    request_body = TopUp,
    responses(
        (status = 201, body = Transaction, headers(("location" = String, description = "Of the transaction"))),
        (status = 400, description = "`bad_json`: the body is not JSON; `bad_idempotency_key`", body = ProblemBody),
        (status = 409, description = "`wallet_inactive`: it is switched off; `wallet_full` with `left`; `idempotency_in_flight`", body = ProblemBody),
        (status = 422, description = "`invalid`, `idempotency_key_reused`", body = ProblemBody)
    )
)]
pub async fn top_up(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body { mut fields, bytes }: Body,
) -> Result<Response, Problem> {
    let key = key.of(&bytes);
    let keyed = key.is_some();
    let amount = fields.required("amount", read::amount(LEAST, MOST));
    let method = fields.required("payment_method", read::word(METHODS));
    let (amount, method) = fields.finish(amount.zip(method))?;
    let asked = wallets::ask_top_up(&engine.pool, caller.user, amount, method, key).await;
    let asked = asked.map_err(|error| idempotency::not_done(error, keyed, "the top-up was asked for", TRANSACTIONS))?;
    idempotency::answer(asked, Some(TRANSACTIONS), |why| match why {
        TopUpRefused::SwitchedOff => {
            Problem::conflict("wallet_inactive", "Your wallet is switched off: it takes no top-up.")
        }
        TopUpRefused::Full(left) => {
            Problem::conflict("wallet_full", format!("Not possible: a wallet holds at most {}.", wallets::MOST))
                .with("left", left.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_is_topped_up_by_what_a_booking_takes_but_itself_and_cash_or_by_a_bank() {
        let others = super::super::payment::METHODS.iter().filter(|method| !["wallet", "cash"].contains(method));
        let all: Vec<_> = others.copied().chain(["bank_transfer"]).collect();
        assert_eq!(METHODS, all);
    }
}
