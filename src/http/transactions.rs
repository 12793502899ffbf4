//! Movements of money, to those whose they are; and what became of those that were waited for, from admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::auth::{Caller, Principal};
use super::extract::{Body, Fields, PathUuid, read};
use super::idempotency::{self, IdempotencyKey};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use super::tips;
use crate::core::ids::UserId;
use crate::engine::Engine;
use crate::store::idempotency::Once;
use crate::store::transactions::{self, Filter, SettleRefused, Transaction, Verdict};
use crate::store::wallets;

/// Where they are found.
pub(super) const TRANSACTIONS: &str = "/v1/transactions";

/// Words of the schema's `transaction_status`.
const STATUSES: &[&str] = &["pending", "processing", "completed", "failed", "refunded"];

/// Words of the schema's `transaction_type`.
const KINDS: &[&str] = &["payment", "refund", "payout", "wallet_topup", "tip"];

/// Whose the caller may see; `None`: everybody's.
pub(super) fn whose(caller: &Principal) -> Option<UserId> {
    (!caller.is_admin()).then_some(caller.user)
}

/// The caller's transactions, newest first; an admin sees everybody's.
#[utoipa::path(
    get,
    path = "/v1/transactions",
    tag = "money",
    params(
        ("status" = Option<String>, Query, description = "`pending`, `processing`, `completed`, `failed`, `refunded`"),
        ("type" = Option<String>, Query, description = "`payment`, `refund`, `payout`, `wallet_topup`, `tip`"),
        PageQuery,
    ),
    responses((status = 200, body = Page<Transaction>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    mut fields: Fields,
    query: PageQuery,
) -> Result<Json<Page<Transaction>>, Problem> {
    let status = fields.optional("status", read::word(STATUSES));
    let kind = fields.optional("type", read::word(KINDS));
    let filter = fields.finish(Some(Filter { user: whose(&caller), status, kind }))?;
    let rows = transactions::list(&engine.pool, filter, query.ask()).await?;
    Ok(Json(query.of(rows, Transaction::key)))
}

/// A transaction, to whose it is and to admins.
#[utoipa::path(
    get,
    path = "/v1/transactions/{uuid}",
    tag = "money",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = Transaction), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<Json<Transaction>, Problem> {
    let found = transactions::find(&engine.pool, uuid, whose(&caller)).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("Transaction"))
}

/// What became of a payment.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Settlement {
    /// `completed`: the money has come; `failed`: it will not.
    #[schema(example = "completed")]
    pub to: String,
    /// With `failed`; at most 500 characters.
    pub reason: Option<String>,
    /// Who handled it, at most 50 characters, kept in small letters; with `gateway_transaction_id`.
    #[schema(example = "paymongo")]
    pub gateway: Option<String>,
    /// Its own id there, at most 255 characters. No two transactions can have the same: a payment that is reported twice
    /// counts once.
    #[schema(example = "pi_1ABC")]
    pub gateway_transaction_id: Option<String>,
}

/// Confirms a top-up or a tip that is `pending` or `processing`, or ends the wait for it. Confirmed, its money moves in the same
/// transaction: into the wallet, to the booking.
///
/// The status it already has: 200, nothing moved. If the payment is named then, it is kept where none was; a second payment for the
/// same transaction is not lost sight of (409 `other_payment` with the one that is known). Everything else has no such wait: 409 `not_allowed` with `current_status`.
#[utoipa::path(
    post,
    path = "/v1/transactions/{uuid}/transitions",
    tag = "money",
    params(
        ("uuid" = Uuid, Path),
        IdempotencyKey,
    ),
    request_body = Settlement,
    responses(
        (status = 200, body = Transaction),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`not_allowed` with `current_status`; `gateway_transaction_used`: another transaction has this id; `other_payment`: it was completed by another one, with its `gateway` and `gateway_transaction_id`; `own_transaction`: nobody settles his own; `wallet_full`: it cannot hold so much; `idempotency_in_flight`; of a tip that the booking cannot take `not_completed`, `tip_too_much`, `sum_too_large`", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn transition(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    key: IdempotencyKey,
    Body { mut fields, bytes }: Body,
) -> Result<Json<Value>, Problem> {
    let key = key.of(&bytes);
    let keyed = key.is_some();
    let to = fields.required("to", read::word(&["completed", "failed"]));
    let reason = fields.optional("reason", read::text(500));
    let gateway = fields.optional("gateway", read::text(50)).map(|name| name.to_ascii_lowercase());
    let gateway_id = fields.optional("gateway_transaction_id", read::text(255));
    for (one, other) in [("gateway", "gateway_transaction_id"), ("gateway_transaction_id", "gateway")] {
        if fields.has(one) && !fields.has(other) {
            fields.error(other, format!("The {other} field is required with {one}."));
        }
    }
    let completed = fields.finish(to)? == "completed";
    let verdict = Verdict { transaction: uuid, by: caller.user, completed, reason, gateway: gateway.zip(gateway_id) };
    let path = format!("{TRANSACTIONS}/{uuid}");
    let settled = transactions::settle(&engine.pool, &verdict, key)
        .await
        .map_err(|error| idempotency::not_done(error, keyed, "it was settled", &path))?;
    match settled {
        Once::Refused(SettleRefused::TipRefused(why)) => Err(tips::refused(&engine, &caller, why).await),
        settled => {
            if let Once::Made(Some(view), _) = &settled {
                engine.dispatcher.changed_here(view);
            }
            idempotency::moved(settled, |why| refused(why, verdict_word(completed)))
        }
    }
}

fn refused(why: SettleRefused, to: &str) -> Problem {
    match why {
        SettleRefused::NotAllowed { status } => not_allowed("transaction", &status, to),
        SettleRefused::WalletFull => Problem::conflict(
            "wallet_full",
            format!("Not possible: a wallet holds at most {}. Let it fail, and give the payment back.", wallets::MOST),
        ),
        SettleRefused::GatewayUsed => Problem::conflict(
            "gateway_transaction_used",
            "Another transaction has this gateway_transaction_id: a payment counts once.",
        ),
        SettleRefused::OtherPayment { by: (gateway, id) } => Problem::conflict(
            "other_payment",
            "It was completed by another payment: this one was made for nothing, and is to be given back.",
        )
        .with("gateway", gateway)
        .with("gateway_transaction_id", id),
        SettleRefused::Own => {
            Problem::conflict("own_transaction", "Nobody settles a transaction of his own: another admin does.")
        }
        SettleRefused::NotFound | SettleRefused::TipRefused(_) => Problem::not_found("Transaction"),
    }
}

const fn verdict_word(completed: bool) -> &'static str {
    if completed { "completed" } else { "failed" }
}

/// 409: not from the status that it has.
pub(super) fn not_allowed(what: &str, status: &str, to: &str) -> Problem {
    Problem::conflict(
        "not_allowed",
        format!("Not allowed: a {what} of this type that is {status} cannot become {to} this way."),
    )
    .with("current_status", status)
}
