//! Payouts: made and moved by admins, seen by the provider.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::auth::Caller;
use super::extract::{Body, Fields, PathId, read};
use super::idempotency::{self, IdempotencyKey};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use super::transactions::{not_allowed, whose};
use crate::engine::Engine;
use crate::store::payouts::{self, Filter, MoveRefused, NewPayout, Payout, PayoutMove, PayoutRefused};

/// Words of the schema's `payout_status`.
const STATUSES: &[&str] = &["pending", "processing", "completed", "failed"];

/// Whose earnings are to be paid, of which days.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayoutRequest {
    /// A therapist or a store.
    pub provider_uuid: Uuid,
    /// First day, of Manila.
    #[schema(example = "2026-11-16")]
    pub period_start: NaiveDate,
    /// Last day, itself included: today at the latest.
    #[schema(example = "2026-11-22")]
    pub period_end: NaiveDate,
    /// Where to, at most 100 characters.
    pub bank_name: Option<String>,
    /// In whose name, at most 255 characters.
    pub account_name: Option<String>,
    /// Its number, at most 50 characters.
    pub account_number: Option<String>,
}

/// Makes a payout of what a provider earned on these days of Manila, both included: the bookings completed and the tips given
/// then, with what came too late for an earlier payout of its day. Each booking and each tip is paid once. No money moves before
/// the payout is `completed`.
#[utoipa::path(
    post,
    path = "/v1/payouts",
    tag = "money",
    params(IdempotencyKey),
    request_body = PayoutRequest,
    responses(
        (status = 201, body = Payout, headers(("location" = String, description = "Of the payout"))),
        (status = 400, description = "`bad_json`: the body is not JSON; `bad_idempotency_key`", body = ProblemBody),
        (status = 409, description = "`payout_overlaps` with `payout_id`: one that did not fail has a day of it; `idempotency_in_flight`", body = ProblemBody),
        (status = 422, description = "`invalid`; `nothing_to_pay`; `payout_too_large`; `idempotency_key_reused`", body = ProblemBody)
    )
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body { mut fields, bytes }: Body,
) -> Result<Response, Problem> {
    let key = key.of(&bytes);
    let keyed = key.is_some();
    let provider = fields.required("provider_uuid", read::uuid);
    let from = fields.required("period_start", read::date);
    let to = fields.required("period_end", read::date);
    if let (Some(from), Some(to)) = (from, to)
        && to < from
    {
        fields.error("period_end", format!("The period_end field must not be before period_start; {to} is."));
    }
    let bank_name = fields.optional("bank_name", read::text(100));
    let account_name = fields.optional("account_name", read::text(255));
    let account_number = fields.optional("account_number", read::text(50));
    let ((provider, from), to) = fields.finish(provider.zip(from).zip(to))?;
    let new = NewPayout { by: caller.user, provider, from, to, bank_name, account_name, account_number };
    let made = payouts::create(&engine.pool, &new, key)
        .await
        .map_err(|error| idempotency::not_done(error, keyed, "the payout was made", "/v1/payouts"))?;
    idempotency::answer(made, Some("/v1/payouts"), |why| refused(why, to))
}

fn refused(why: PayoutRefused, to: NaiveDate) -> Problem {
    match why {
        PayoutRefused::NoSuchProvider => {
            Problem::field("invalid", "provider_uuid", "The provider_uuid field must be a provider's; this is none.")
        }
        PayoutRefused::NotYet(today) => Problem::field(
            "invalid",
            "period_end",
            format!("The period_end field must not be after today in Manila, {today}; {to} is."),
        ),
        PayoutRefused::Overlaps(other) => {
            Problem::conflict("payout_overlaps", format!("Payout {other} has a day of this period."))
                .with("payout_id", other)
        }
        PayoutRefused::TooMuch => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "payout_too_large",
            format!("One transaction pays at most {}: ask for a shorter period.", payouts::MOST),
        ),
        PayoutRefused::Nothing => {
            Problem::field("nothing_to_pay", "period_end", "Nothing was earned in this period, or all of it is paid.")
        }
    }
}

/// Payouts, newest first: an admin sees all, everybody else those of his own providers.
#[utoipa::path(
    get,
    path = "/v1/payouts",
    tag = "money",
    params(
        ("provider_uuid" = Option<Uuid>, Query),
        ("status" = Option<String>, Query, description = "`pending`, `processing`, `completed`, `failed`"),
        PageQuery,
    ),
    responses((status = 200, body = Page<Payout>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    mut fields: Fields,
    query: PageQuery,
) -> Result<Json<Page<Payout>>, Problem> {
    let provider = fields.optional("provider_uuid", read::uuid);
    let status = fields.optional("status", read::word(STATUSES));
    let filter = fields.finish(Some(Filter { owner: whose(&caller), provider, status }))?;
    let rows = payouts::list(&engine.pool, filter, query.ask()).await?;
    Ok(Json(query.of(rows, |payout| payout.id)))
}

/// A payout, to its provider and to admins.
#[utoipa::path(
    get,
    path = "/v1/payouts/{id}",
    tag = "money",
    params(("id" = i64, Path)),
    responses((status = 200, body = Payout), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<Json<Payout>, Problem> {
    let found = payouts::find(&engine.pool, id, whose(&caller)).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("Payout"))
}

/// The status that a payout shall have.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayoutTransition {
    /// `processing`, then `completed` or `failed`; `failed` from `pending` too.
    #[schema(example = "processing")]
    pub to: String,
    /// With `failed`; at most 500 characters.
    pub reason: Option<String>,
    /// The bank's, at most 50 characters; if none is given, that of the payout's transaction.
    pub reference_number: Option<String>,
}

/// Moves a payout: `pending`, `processing`, `completed`. Completed, what it pays is a transaction of its own. `failed` ends it before
/// that: its days, bookings and tips are free for another payout. The status it already has: 200, nothing changed.
#[utoipa::path(
    post,
    path = "/v1/payouts/{id}/transitions",
    tag = "money",
    params(
        ("id" = i64, Path),
        IdempotencyKey,
    ),
    request_body = PayoutTransition,
    responses(
        (status = 200, body = Payout),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`not_allowed` with `current_status`; `payout_too_large`: more than one transaction can be; `idempotency_in_flight`", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn transition(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(payout): PathId,
    key: IdempotencyKey,
    Body { mut fields, bytes }: Body,
) -> Result<Json<Value>, Problem> {
    let key = key.of(&bytes);
    let keyed = key.is_some();
    let to = fields.required("to", read::word(STATUSES));
    let reason = fields.optional("reason", read::text(500));
    let reference_number = fields.optional("reference_number", read::text(50));
    let to = fields.finish(to)?;
    let wish = PayoutMove { payout, by: caller.user, to, reason, reference_number };
    let path = format!("/v1/payouts/{payout}");
    let moved = payouts::transition(&engine.pool, &wish, key)
        .await
        .map_err(|error| idempotency::not_done(error, keyed, "it was moved", &path))?;
    idempotency::moved(moved, |why| match why {
        MoveRefused::NotAllowed { status } => not_allowed("payout", &status, to),
        MoveRefused::TooMuch(net) => Problem::conflict(
            "payout_too_large",
            format!(
                "Not possible: one transaction pays at most {}, not {net}; fail it and pay shorter periods.",
                payouts::MOST
            ),
        ),
        MoveRefused::NotFound => Problem::not_found("Payout"),
    })
}
