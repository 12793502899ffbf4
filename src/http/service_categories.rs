//! `/v1/service-categories`: under what services are shown.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::auth::{Caller, MaybeCaller};
use super::columns::Reading;
use super::extract::{Body, Fields, PathId, read};
use super::idempotency::{self, IdempotencyKey, Making};
use super::page::{Page, WholeList};
use super::problem::{Problem, ProblemBody};
use super::readers;
use super::services::asks_for_inactive;
use crate::engine::Engine;
use crate::store::rows::Columns;
use crate::store::service_categories::{self as categories, CategoryRow, Deleted};

/// A category to make; or, each field for itself, what to change of one.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceCategoryRequest {
    /// At most 100 characters. Required of a new one.
    #[schema(example = "Massage Therapy")]
    pub name: Option<String>,
    /// Small letters, digits and hyphens, at most 100; not that of another category. Required of a new one.
    #[schema(example = "massage-therapy")]
    pub slug: Option<String>,
    /// At most 10,000 characters.
    pub description: Option<String>,
    /// A picture.
    pub icon_url: Option<String>,
    /// Smallest first; 0 if not given.
    pub sort_order: Option<i32>,
    /// Whether it is shown; `true` if not given.
    pub is_active: Option<bool>,
}

fn read_columns(mut reading: Reading) -> Result<Columns, Problem> {
    reading.required("name", read::text(100));
    reading.required("slug", readers::slug(100));
    reading.nullable("description", read::text(10_000));
    reading.nullable("icon_url", readers::url);
    reading.defaulted("sort_order", readers::sort_order);
    reading.defaulted("is_active", read::boolean);
    reading.finish()
}

/// The categories that are shown, in their order.
#[utoipa::path(
    get,
    path = "/v1/service-categories",
    tag = "catalog",
    params(
        ("include_inactive" = Option<bool>, Query, description = "For admins, with their token: those too that are not shown"),
        WholeList,
    ),
    responses((status = 200, body = Page<CategoryRow>), (status = 403, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    caller: MaybeCaller,
    fields: Fields,
    list: WholeList,
) -> Result<Json<Page<CategoryRow>>, Problem> {
    let rows = match asks_for_inactive(&caller, fields).await? {
        true => categories::list(&engine.pool, true).await?,
        false => engine.catalog().categories().to_vec(),
    };
    Ok(Json(list.page(rows)))
}

/// A category that is shown; to admins, with their token, any.
#[utoipa::path(
    get,
    path = "/v1/service-categories/{id}",
    tag = "catalog",
    params(("id" = i64, Path)),
    responses((status = 200, body = CategoryRow), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    caller: MaybeCaller,
    PathId(id): PathId,
) -> Result<Json<CategoryRow>, Problem> {
    let row = categories::find(&engine.pool, id).await?.ok_or_else(not_found)?;
    if row.is_active || caller.is_admin().await? { Ok(Json(row)) } else { Err(not_found()) }
}

fn not_found() -> Problem {
    Problem::not_found("Category")
}

/// Makes a category. Once it is answered, this node shows it.
#[utoipa::path(
    post,
    path = "/v1/service-categories",
    tag = "catalog",
    params(IdempotencyKey),
    request_body = ServiceCategoryRequest,
    responses(
        (status = 201, body = CategoryRow),
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
    let mut once = match idempotency::begin(&engine, &caller, key.of(&bytes), None).await? {
        Making::Now(once) => once,
        Making::Before(answer) => return Ok(answer),
    };
    let row = categories::create(&mut once.tx, &columns, caller.user).await?;
    let answer = idempotency::made(once, &row, None, "/v1/service-categories").await?;
    engine.catalog_shown().await;
    Ok(answer)
}

/// Changes what is given of a category. Once it is answered, this node shows it.
#[utoipa::path(
    patch,
    path = "/v1/service-categories/{id}",
    tag = "catalog",
    params(("id" = i64, Path)),
    request_body = ServiceCategoryRequest,
    responses((status = 200, body = CategoryRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Body { fields, .. }: Body,
) -> Result<Json<CategoryRow>, Problem> {
    let columns = read_columns(Reading::of_change(fields))?;
    let row = categories::change(&engine.pool, id, &columns, caller.user).await?;
    let row = row.ok_or_else(not_found)?;
    engine.catalog_shown().await;
    Ok(Json(row))
}

/// Removes a category that has no services.
#[utoipa::path(
    delete,
    path = "/v1/service-categories/{id}",
    tag = "catalog",
    params(("id" = i64, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`category_in_use`, with `services`: how many it has", body = ProblemBody)
    )
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    match categories::delete(&engine.pool, id, caller.user).await? {
        Deleted::Gone => {
            engine.catalog_shown().await;
            Ok(StatusCode::NO_CONTENT)
        }
        Deleted::InUse(services) => {
            let text = format!("The category has {services} services: move or delete them first.");
            Err(Problem::conflict("category_in_use", text).with("services", services))
        }
        Deleted::NotFound => Err(not_found()),
    }
}
