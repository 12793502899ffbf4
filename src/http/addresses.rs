//! `/v1/addresses`: the caller's saved addresses. A stranger's does not exist; an admin may see and mend any by its id.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::auth::{Caller, Principal};
use super::columns::Reading;
use super::extract::{Body, PathId, PathUuid, read};
use super::idempotency::{self, IdempotencyKey, MakingPrivate};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use super::users;
use crate::core::ids::UserId;
use crate::engine::Engine;
use crate::store::addresses::{self, AddressRow};
use crate::store::rows::Columns;

const COLLECTION: &str = "/v1/addresses";

/// An address to save; or, each field for itself, what to change of one.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct AddressRequest {
    /// At most 50 characters; `home` if not given.
    #[schema(example = "home")]
    pub label: Option<String>,
    /// Number and street, at most 255 characters. Required of a new one.
    #[schema(example = "6750 Ayala Avenue")]
    pub address_line1: Option<String>,
    /// Flat, floor, building; at most 255 characters.
    pub address_line2: Option<String>,
    /// At most 100 characters. Required of a new one.
    #[schema(example = "Makati")]
    pub city: Option<String>,
    /// At most 100 characters.
    pub province: Option<String>,
    /// At most 10 characters.
    pub postal_code: Option<String>,
    /// ISO 3166, two capital letters; `PH` if not given.
    pub country: Option<String>,
    /// Degrees, -90 to 90, with `longitude`. Required of a new one.
    #[schema(example = 14.5547)]
    pub latitude: Option<f64>,
    /// Degrees, -180 to 180.
    #[schema(example = 121.0244)]
    pub longitude: Option<f64>,
    /// `true` takes it from the one that had it.
    pub is_default: Option<bool>,
}

fn read_columns(mut reading: Reading) -> Result<Columns, Problem> {
    reading.defaulted("label", read::text(50));
    reading.required("address_line1", read::text(255));
    reading.nullable("address_line2", read::text(255));
    reading.required("city", read::text(100));
    reading.nullable("province", read::text(100));
    reading.nullable("postal_code", read::text(10));
    reading.defaulted("country", |given| {
        let code =
            read::text(2)(given).ok().filter(|text| text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()));
        code.ok_or_else(|| "must be a country's two capital letters, like PH".to_owned())
    });
    reading.place();
    reading.defaulted("is_default", read::boolean);
    reading.finish()
}

/// The address, if the caller may see it; and the caller, if it is not his.
async fn of(engine: &Engine, caller: &Principal, id: i64) -> Result<(AddressRow, UserId, Option<UserId>), Problem> {
    let found = addresses::find(&engine.pool, id).await?;
    let (owner, row) = found
        .filter(|(owner, _)| *owner == caller.user || caller.is_admin())
        .ok_or_else(|| Problem::not_found("Address"))?;
    Ok((row, owner, Some(caller.user).filter(|user| *user != owner)))
}

/// The caller's saved addresses, the newest first.
#[utoipa::path(
    get,
    path = "/v1/addresses",
    tag = "addresses",
    params(
        PageQuery,
    ),
    responses((status = 200, body = Page<AddressRow>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    query: PageQuery,
) -> Result<Json<Page<AddressRow>>, Problem> {
    let rows = addresses::list(&engine.pool, caller.user, query.ask()).await?;
    Ok(Json(query.of(rows, |row| row.id)))
}

/// A user's saved addresses, the newest first.
#[utoipa::path(
    get,
    path = "/v1/users/{uuid}/addresses",
    tag = "admin",
    params(
        ("uuid" = Uuid, Path),
        PageQuery,
    ),
    responses((status = 200, body = Page<AddressRow>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn of_user(
    State(engine): State<Arc<Engine>>,
    PathUuid(uuid): PathUuid,
    query: PageQuery,
) -> Result<Json<Page<AddressRow>>, Problem> {
    let user = users::id_of(&engine, uuid).await?;
    let rows = addresses::list(&engine.pool, user, query.ask()).await?;
    Ok(Json(query.of(rows, |row| row.id)))
}

/// Saves an address of the caller; of 50 at most. Where it lies is kept with the address alone: the same `Idempotency-Key` again is
/// answered with the address as it is then, or with 404 once it is deleted.
#[utoipa::path(
    post,
    path = "/v1/addresses",
    tag = "addresses",
    params(IdempotencyKey),
    request_body = AddressRequest,
    responses(
        (status = 201, body = AddressRow, headers(("location" = String, description = "Of the address"))),
        (status = 404, description = "Made with this `Idempotency-Key`, and deleted since", body = ProblemBody),
        (status = 409, description = "`too_many_addresses`; `idempotency_in_flight`", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body { fields, bytes }: Body,
) -> Result<Response, Problem> {
    let columns = read_columns(Reading::of_new(fields))?;
    let mut once = match idempotency::begin_of_private(&engine, &caller, key.of(&bytes)).await? {
        MakingPrivate::Now(once) => once,
        MakingPrivate::Before(body) => {
            let id = body["id"].as_i64().ok_or_else(|| Problem::not_found("Address"))?;
            return idempotency::again(&of(&engine, &caller, id).await?.0, Some(COLLECTION));
        }
    };
    let row = addresses::create(&mut once.tx, caller.user, columns).await?.ok_or_else(|| {
        let text = format!("You have {} addresses, the most that are kept: delete one first.", addresses::MOST);
        Problem::conflict("too_many_addresses", text)
    })?;
    idempotency::made_private(once, &json!({"id": row.id}), &row, Some(COLLECTION), COLLECTION).await
}

/// One of the caller's addresses.
#[utoipa::path(
    get,
    path = "/v1/addresses/{id}",
    tag = "addresses",
    params(("id" = i64, Path)),
    responses((status = 200, body = AddressRow), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<Json<AddressRow>, Problem> {
    Ok(Json(of(&engine, &caller, id).await?.0))
}

/// Changes what is given of one of the caller's addresses. Bookings made with it stay as they are.
#[utoipa::path(
    patch,
    path = "/v1/addresses/{id}",
    tag = "addresses",
    params(("id" = i64, Path)),
    request_body = AddressRequest,
    responses((status = 200, body = AddressRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Body { fields, .. }: Body,
) -> Result<Json<AddressRow>, Problem> {
    let (_, owner, admin) = of(&engine, &caller, id).await?;
    let columns = read_columns(Reading::of_change(fields))?;
    let row = addresses::change(&engine.pool, owner, id, &columns, admin).await?;
    row.map(Json).ok_or_else(|| Problem::not_found("Address"))
}

/// Forgets one of the caller's addresses. Bookings made with it stay as they are.
#[utoipa::path(
    delete,
    path = "/v1/addresses/{id}",
    tag = "addresses",
    params(("id" = i64, Path)),
    responses((status = 204, description = "Gone"), (status = 404, body = ProblemBody))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    let (_, _, admin) = of(&engine, &caller, id).await?;
    let gone = addresses::delete(&engine.pool, id, admin).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("Address")) }
}
