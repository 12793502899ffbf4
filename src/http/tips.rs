//! `POST /v1/bookings/{uuid}/tips`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::auth::{Caller, Principal};
use super::extract::{Body, PathUuid, read};
use super::idempotency::{self, IdempotencyKey};
use super::problem::{Problem, ProblemBody};
use super::transactions::TRANSACTIONS;
use crate::core::money::Money;
use crate::core::pricing::MOST_TOTAL;
use crate::engine::Engine;
use crate::store::idempotency::Once;
use crate::store::tips::{self, NewTip, Tip, TipRefused};
use crate::store::wallets;

/// 1.00
const LEAST: Money = Money::centavos(100);
/// 50000.00
const MOST: Money = Money::centavos(5_000_000);

/// How much is given.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct TipRequest {
    /// 1.00 to 50000.00.
    #[schema(value_type = String, example = "100.00")]
    pub amount: Money,
}

/// Tips the provider of a booking that is done: its customer, as often as he likes. It is paid as the booking is: from the
/// wallet now, in cash from hand to hand; through a gateway it is `pending` until it is confirmed
/// (`POST /v1/transactions/{uuid}/transitions`). Completed, it is in the booking's `tip_amount` and `total_amount`, and all of
/// it is the provider's.
#[utoipa::path(
    post,
    path = "/v1/bookings/{uuid}/tips",
    tag = "money",
    params(
        ("uuid" = Uuid, Path),
        IdempotencyKey,
    ),
    request_body = TipRequest,
    responses(
        (status = 201, body = Tip, headers(("location" = String, description = "Of the transaction"))),
        (status = 400, description = "`bad_json`: the body is not JSON; `bad_idempotency_key`", body = ProblemBody),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`not_completed` with `current_status`; `insufficient_balance` with `balance`; `tip_too_much` with `left`; `too_many_tips`; `sum_too_large`: what the provider has earned in all; `idempotency_in_flight`", body = ProblemBody),
        (status = 422, description = "`invalid`, `idempotency_key_reused`", body = ProblemBody)
    )
)]
pub async fn give(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(booking): PathUuid,
    key: IdempotencyKey,
    Body { mut fields, bytes }: Body,
) -> Result<Response, Problem> {
    let key = key.of(&bytes);
    let keyed = key.is_some();
    let amount = fields.required("amount", read::amount(LEAST, MOST));
    let new = NewTip { booking, customer: caller.user, amount: fields.finish(amount)? };
    let given = tips::give(&engine.pool, &new, key)
        .await
        .map_err(|error| idempotency::not_done(error, keyed, "the tip was given", TRANSACTIONS))?;
    match given {
        Once::Refused(why) => Err(refused(&engine, &caller, why).await),
        given => {
            if let Once::Made(Some(view), _) = &given {
                engine.dispatcher.changed_here(view);
            }
            idempotency::answer(given, Some(TRANSACTIONS), |_| Problem::internal())
        }
    }
}

/// Why a booking takes no tip.
pub(super) async fn refused(engine: &Engine, payer: &Principal, why: TipRefused) -> Problem {
    match why {
        TipRefused::NotFound => Problem::not_found("Booking"),
        TipRefused::NotCompleted(status) => {
            Problem::conflict("not_completed", format!("Not possible: the booking is {status}, not completed."))
                .with("current_status", status)
        }
        TipRefused::TooMuch(left) => Problem::conflict(
            "tip_too_much",
            format!("Not possible: the tips of a booking come to at most {}, all of it to {MOST_TOTAL}.", tips::MOST),
        )
        .with("left", left.to_string()),
        TipRefused::TooMany => Problem::conflict(
            "too_many_tips",
            format!("Not possible: the booking has {} tips, the most that one can have.", tips::MOST_TIPS),
        ),
        TipRefused::InsufficientBalance => {
            let problem =
                Problem::conflict("insufficient_balance", "Not possible: your wallet holds less than the tip.");
            match wallets::balance(&engine.pool, payer.user).await {
                Ok(balance) => problem.with("balance", balance.to_string()),
                Err(error) => error.into(),
            }
        }
    }
}
