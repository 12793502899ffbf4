//! Promo codes, for admins. A customer names one when he books.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::auth::Caller;
use super::extract::{Body, Fields, Given, PathId, read};
use super::idempotency::{self, IdempotencyKey, Making};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::core::money::Money;
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::store::promo_codes::{self, CodeDeleted, PromoCode, PromoUsage, Terms};
use crate::store::rows::Columns;
use crate::wire::time::WireTime;

const COLLECTION: &str = "/v1/promo-codes";

/// Words of the schema's `discount_type`.
const DISCOUNT_TYPES: &[&str] = &["percentage", "fixed_amount"];

/// Services or providers of one code.
const LONGEST_SCOPE: usize = 100;

/// A new code, or (PATCH) what of one is to change: what is not given stays, null lifts a limit.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct PromoTerms {
    /// At most 50 characters, unique without regard to case.
    #[schema(example = "WELCOME10")]
    pub code: Option<String>,
    /// `percentage` or `fixed_amount`.
    #[schema(example = "percentage")]
    pub discount_type: Option<String>,
    /// Above 0; a percentage at most 100.
    #[schema(value_type = Option<String>, example = "10.00")]
    pub discount_value: Option<Money>,
    /// Above 0.
    #[schema(value_type = Option<String>, example = "100.00")]
    pub max_discount_amount: Option<Money>,
    /// RFC 3339 with an offset.
    #[schema(example = "2026-12-01T00:00:00+08:00")]
    pub valid_from: Option<String>,
    /// After `valid_from`.
    #[schema(example = "2027-01-01T00:00:00+08:00")]
    pub valid_until: Option<String>,
    /// At least 1, and not below the uses so far.
    pub usage_limit: Option<i32>,
    /// At least 1; a new code has 1 unless it is given, null lifts it.
    pub per_user_limit: Option<i32>,
    /// Not below 0.
    #[schema(value_type = Option<String>, example = "500.00")]
    pub min_booking_amount: Option<Money>,
    /// `services.id`, at most 100.
    pub applicable_service_ids: Option<Vec<i64>>,
    /// `providers.uuid`, at most 100.
    pub applicable_provider_ids: Option<Vec<Uuid>>,
    /// False unless it is given.
    pub new_customers_only: Option<bool>,
    /// True unless it is given.
    pub is_active: Option<bool>,
}

fn above_zero(given: Given<'_>) -> Result<Money, String> {
    read::amount(Money::centavos(1), Money::centavos(9_999_999_999))(given)
}

fn count(given: Given<'_>) -> Result<i32, String> {
    let number = read::integer(1, i32::MAX.into())(given)?;
    i32::try_from(number).map_err(|error| error.to_string())
}

/// Of the years 1900 to 2999: PostgreSQL reads no time of the year 0, nor of one with five digits.
fn moment(given: Given<'_>) -> Result<WireTime, String> {
    const YEARS: RangeInclusive<Timestamp> =
        Timestamp::from_secs(-2_208_988_800)..=Timestamp::from_secs(32_503_679_999);
    read::time(given)
        .ok()
        .filter(|time| YEARS.contains(&time.0))
        .ok_or_else(|| "must be a time like 2026-11-22T09:00:00Z, with an offset, of the years 1900 to 2999".to_owned())
}

/// What of a code is given.
fn read_terms(fields: &mut Fields) -> Terms {
    let mut columns = Columns::default();
    set(&mut columns, "code", fields.changed("code", read::text(50)));
    set(&mut columns, "discount_type", fields.changed("discount_type", read::word(DISCOUNT_TYPES)));
    set(&mut columns, "discount_value", fields.changed("discount_value", above_zero));
    set(&mut columns, "max_discount_amount", fields.clearable("max_discount_amount", above_zero));
    set(&mut columns, "valid_from", fields.changed("valid_from", moment));
    set(&mut columns, "valid_until", fields.changed("valid_until", moment));
    set(&mut columns, "usage_limit", fields.clearable("usage_limit", count));
    set(&mut columns, "per_user_limit", fields.clearable("per_user_limit", count));
    set(&mut columns, "min_booking_amount", fields.clearable("min_booking_amount", read::money));
    set(&mut columns, "new_customers_only", fields.changed("new_customers_only", read::boolean));
    set(&mut columns, "is_active", fields.changed("is_active", read::boolean));
    let services = fields.clearable("applicable_service_ids", read::list(LONGEST_SCOPE, read::integer(1, i64::MAX)));
    let providers = fields.clearable("applicable_provider_ids", read::list(LONGEST_SCOPE, read::uuid));
    Terms { columns, services, providers }
}

fn set(columns: &mut Columns, name: &'static str, given: Option<impl Serialize>) {
    if let Some(value) = given {
        columns.set(name, value);
    }
}

/// A whole code of what is given.
fn whole(mut fields: Fields) -> Result<Terms, Problem> {
    for needed in ["code", "discount_type", "discount_value", "valid_from", "valid_until"] {
        if !fields.has(needed) {
            fields.error(needed, format!("The {needed} field is required."));
        }
    }
    let terms = read_terms(&mut fields);
    fields.finish(Some(terms))
}

/// Promo codes, newest first.
#[utoipa::path(
    get,
    path = "/v1/promo-codes",
    tag = "money",
    params(
        ("is_active" = Option<bool>, Query, description = "Only those that are switched on, or off"),
        PageQuery,
    ),
    responses((status = 200, body = Page<PromoCode>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    mut fields: Fields,
    query: PageQuery,
) -> Result<Json<Page<PromoCode>>, Problem> {
    let active = fields.optional("is_active", read::boolean);
    let active = fields.finish(Some(active))?;
    let rows = promo_codes::list(&engine.pool, active, query.ask()).await?;
    Ok(Json(query.of(rows, |code| code.id)))
}

/// Makes a code; `code`, `discount_type`, `discount_value`, `valid_from` and `valid_until` are required.
#[utoipa::path(
    post,
    path = "/v1/promo-codes",
    tag = "money",
    params(IdempotencyKey),
    request_body = PromoTerms,
    responses(
        (status = 201, body = PromoCode, headers(("location" = String, description = "Of the code"))),
        (status = 400, description = "`bad_json`: the body is not JSON; `bad_idempotency_key`", body = ProblemBody),
        (status = 409, description = "`idempotency_in_flight`", body = ProblemBody),
        (status = 422, description = "`invalid`, `idempotency_key_reused`", body = ProblemBody)
    )
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body { fields, bytes }: Body,
) -> Result<Response, Problem> {
    let terms = whole(fields)?;
    let mut once = match idempotency::begin(&engine, &caller, key.of(&bytes), Some(COLLECTION)).await? {
        Making::Now(once) => once,
        Making::Before(answer) => return Ok(answer),
    };
    let code = promo_codes::create(&mut once.tx, terms, caller.user).await?;
    idempotency::made(once, &code, Some(COLLECTION), COLLECTION).await
}

/// A code.
#[utoipa::path(
    get,
    path = "/v1/promo-codes/{id}",
    tag = "money",
    params(("id" = i64, Path)),
    responses((status = 200, body = PromoCode), (status = 404, body = ProblemBody))
)]
pub async fn show(State(engine): State<Arc<Engine>>, PathId(id): PathId) -> Result<Json<PromoCode>, Problem> {
    let found = promo_codes::find(&engine.pool, id).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("Promo code"))
}

/// Changes a code. A booking that was made with it keeps its use; what it takes off is computed at the accept, by the code as it
/// stands then.
#[utoipa::path(
    patch,
    path = "/v1/promo-codes/{id}",
    tag = "money",
    params(("id" = i64, Path)),
    request_body = PromoTerms,
    responses((status = 200, body = PromoCode), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn change(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Body { mut fields, .. }: Body,
) -> Result<Json<PromoCode>, Problem> {
    let terms = read_terms(&mut fields);
    let terms = fields.finish(Some(terms))?;
    let changed = promo_codes::change(&engine.pool, id, terms, caller.user).await?;
    changed.map(Json).ok_or_else(|| Problem::not_found("Promo code"))
}

/// Deletes a code with which nobody has booked; others can be switched off.
#[utoipa::path(
    delete,
    path = "/v1/promo-codes/{id}",
    tag = "money",
    params(("id" = i64, Path)),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`in_use`: bookings were made with it", body = ProblemBody)
    )
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    match promo_codes::delete(&engine.pool, id, caller.user).await? {
        CodeDeleted::Gone => Ok(StatusCode::NO_CONTENT),
        CodeDeleted::InUse => {
            Err(Problem::conflict("in_use", "Bookings were made with this code: switch it off with is_active."))
        }
        CodeDeleted::NotFound => Err(Problem::not_found("Promo code")),
    }
}

/// The uses of a code that stand, newest first.
#[utoipa::path(
    get,
    path = "/v1/promo-codes/{id}/usages",
    tag = "money",
    params(
        ("id" = i64, Path),
        PageQuery,
    ),
    responses((status = 200, body = Page<PromoUsage>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn usages(
    State(engine): State<Arc<Engine>>,
    PathId(id): PathId,
    query: PageQuery,
) -> Result<Json<Page<PromoUsage>>, Problem> {
    if promo_codes::find(&engine.pool, id).await?.is_none() {
        return Err(Problem::not_found("Promo code"));
    }
    let rows = promo_codes::usages(&engine.pool, id, query.ask()).await?;
    Ok(Json(query.of(rows, |usage| usage.id)))
}
