//! `/v1/services`: what can be booked; for admins, what there is to be changed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::auth::{Caller, MaybeCaller};
use super::columns::Reading;
use super::extract::{self, Body, Fields, read};
use super::idempotency::{self, IdempotencyKey, Making};
use super::page::{Page, WholeList};
use super::problem::{Problem, ProblemBody};
use super::readers;
use crate::core::money::Money;
use crate::core::pricing;
use crate::engine::Engine;
use crate::store::rows::Columns;
use crate::store::services::{self, ServiceRow};

const COLLECTION: &str = "/v1/services";

/// `{service}` of the path: slug or id.
pub struct PathService(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathService {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        extract::path(parts, state, "service", read::slug_or_id).await.map(Self)
    }
}

/// A service to make; or, each field for itself, what to change of one.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceRequest {
    /// At most 255 characters. Required of a new one.
    #[schema(example = "Swedish Massage")]
    pub name: Option<String>,
    /// Small letters, digits and hyphens; not that of another service. Required of a new one.
    #[schema(example = "swedish-massage")]
    pub slug: Option<String>,
    /// Of `/v1/service-categories`.
    pub category_id: Option<i64>,
    /// At most 10,000 characters.
    pub description: Option<String>,
    /// At most 500 characters.
    pub short_description: Option<String>,
    /// What an estimate starts from, at most 999999.99. Required of a new one.
    #[schema(example = "800.00")]
    pub base_price: Option<String>,
    /// `PHP`
    pub currency: Option<String>,
    /// 1 to 1,440. Required of a new one.
    #[schema(example = 60)]
    pub duration_minutes: Option<i32>,
    /// A picture.
    pub image_url: Option<String>,
    /// At most 50 texts of 500 characters.
    pub benefits: Option<Vec<String>>,
    /// At most 50 texts of 500 characters.
    pub contraindications: Option<Vec<String>>,
    /// `false`: it cannot be booked. `true` if not given.
    pub is_active: Option<bool>,
    /// Within its category, smallest first; 0 if not given.
    pub sort_order: Option<i32>,
}

fn read_columns(mut reading: Reading) -> Result<Columns, Problem> {
    reading.required("name", read::text(255));
    reading.required("slug", readers::slug(255));
    reading.nullable("category_id", read::integer(1, i64::MAX));
    reading.nullable("description", read::text(10_000));
    reading.nullable("short_description", read::text(500));
    reading.required("base_price", read::amount(Money::ZERO, pricing::MOST));
    reading.defaulted("currency", read::word(&["PHP"]));
    reading.required("duration_minutes", read::integer(1, 1_440));
    reading.nullable("image_url", readers::url);
    reading.nullable("benefits", readers::texts(50, 500));
    reading.nullable("contraindications", readers::texts(50, 500));
    reading.defaulted("is_active", read::boolean);
    reading.defaulted("sort_order", readers::sort_order);
    reading.finish()
}

/// Whether an admin asks for what others are not shown.
pub(super) async fn asks_for_inactive(caller: &MaybeCaller, mut fields: Fields) -> Result<bool, Problem> {
    let inactive = fields.optional("include_inactive", read::boolean).unwrap_or(false);
    let inactive = fields.finish(Some(inactive))?;
    if inactive && !caller.is_admin().await? {
        return Err(Problem::forbidden("include_inactive is for admins."));
    }
    Ok(inactive)
}

/// The services that can be booked, in the order in which they are shown.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "catalog",
    params(
        ("include_inactive" = Option<bool>, Query, description = "For admins, with their token: those too that cannot be booked"),
        WholeList,
    ),
    responses((status = 200, body = Page<ServiceRow>), (status = 403, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    caller: MaybeCaller,
    fields: Fields,
    list: WholeList,
) -> Result<Json<Page<ServiceRow>>, Problem> {
    let rows = match asks_for_inactive(&caller, fields).await? {
        true => services::list(&engine.pool, true).await?,
        false => engine.catalog().shown().to_vec(),
    };
    Ok(Json(list.page(rows)))
}

/// A service that can be booked; to admins, with their token, any.
#[utoipa::path(
    get,
    path = "/v1/services/{service}",
    tag = "catalog",
    params(("service" = String, Path, description = "Slug or id")),
    responses((status = 200, body = ServiceRow), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    caller: MaybeCaller,
    PathService(service): PathService,
) -> Result<Json<ServiceRow>, Problem> {
    let not_found = || Problem::not_found("Service");
    let catalog = engine.catalog();
    if let Some(known) = catalog.find(&service) {
        return catalog.shown().iter().find(|row| row.id == known.id.0).cloned().map(Json).ok_or_else(not_found);
    }
    if !caller.is_admin().await? {
        return Err(not_found());
    }
    services::find(&engine.pool, &service).await?.map(Json).ok_or_else(not_found)
}

/// Makes a service. Once it is answered, it can be booked at this node.
#[utoipa::path(
    post,
    path = "/v1/services",
    tag = "catalog",
    params(IdempotencyKey),
    request_body = ServiceRequest,
    responses(
        (status = 201, body = ServiceRow, headers(("location" = String, description = "Of the service"))),
        (status = 409, description = "`idempotency_in_flight`", body = ProblemBody),
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
    let mut once = match idempotency::begin(&engine, &caller, key.of(&bytes), Some(COLLECTION)).await? {
        Making::Now(once) => once,
        Making::Before(answer) => return Ok(answer),
    };
    let row = services::create(&mut once.tx, &columns, caller.user).await?;
    let answer = idempotency::made(once, &row, Some(COLLECTION), COLLECTION).await?;
    engine.catalog_shown().await;
    Ok(answer)
}

/// Changes what is given of a service. Once it is answered, questions and bookings at this node go by it.
///
/// Bookings keep the price and the duration that they were made with. Switched off (`is_active`) or deleted, a service matches
/// nobody any more: those on it go on, a booking that still waits finds no further therapist.
#[utoipa::path(
    patch,
    path = "/v1/services/{service}",
    tag = "catalog",
    params(("service" = String, Path, description = "Slug or id")),
    request_body = ServiceRequest,
    responses((status = 200, body = ServiceRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathService(service): PathService,
    Body { fields, .. }: Body,
) -> Result<Json<ServiceRow>, Problem> {
    let not_found = || Problem::not_found("Service");
    let id = services::find(&engine.pool, &service).await?.ok_or_else(not_found)?.id;
    let columns = read_columns(Reading::of_change(fields))?;
    let row = services::change(&engine.pool, id, &columns, caller.user).await?.ok_or_else(not_found)?;
    engine.catalog_shown().await;
    Ok(Json(row))
}

/// Takes a service out of the catalogue. Bookings of it stay; its slug is free again.
#[utoipa::path(
    delete,
    path = "/v1/services/{service}",
    tag = "catalog",
    params(("service" = String, Path, description = "Slug or id")),
    responses((status = 204, description = "Gone"), (status = 404, body = ProblemBody))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathService(service): PathService,
) -> Result<StatusCode, Problem> {
    let not_found = || Problem::not_found("Service");
    let id = services::find(&engine.pool, &service).await?.ok_or_else(not_found)?.id;
    if !services::delete(&engine.pool, id, caller.user).await? {
        return Err(not_found());
    }
    engine.catalog_shown().await;
    Ok(StatusCode::NO_CONTENT)
}
