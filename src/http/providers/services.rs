//! `/v1/providers/{uuid}/services`: what a provider offers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::super::auth::Caller;
use super::super::columns::Reading;
use super::super::extract::{Body, Fields, PathUuid, read};
use super::super::page::{Page, WholeList};
use super::super::problem::{Problem, ProblemBody};
use super::super::services::PathService;
use super::{own, seen, sees_all};
use crate::core::money::Money;
use crate::core::pricing;
use crate::engine::Engine;
use crate::store::providers::services::{self, OfferedRow};
use crate::store::rows::Columns;
use crate::store::services as catalog;

/// Farthest that can be said, km: half way round the Earth.
const FARTHEST_KM: i64 = 20_000;

/// 9999.99
const MOST_PER_KM: Money = Money::centavos(999_999);

/// How a service is offered.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Offering {
    /// The provider's own, at most 999999.99.
    #[schema(example = "850.00")]
    pub price: String,
    /// Whether it is offered now; `true` if not given.
    pub is_available: Option<bool>,
    /// At the customer's; if not given, by a therapist.
    pub home_service_enabled: Option<bool>,
    /// At the provider's; if not given, by a store.
    pub store_service_enabled: Option<bool>,
    /// So far without a surcharge; 5 if not given.
    pub base_distance_km: Option<i32>,
    /// For each km beyond, at most 9999.99; 0 if not given.
    #[schema(example = "20.00")]
    pub per_km_surcharge: Option<String>,
    /// No farther; 10 if not given.
    pub max_travel_distance_km: Option<i32>,
}

/// The whole of it: what is not given is as if it had never been.
fn read_columns(fields: Fields, therapist: bool) -> Result<Columns, Problem> {
    let mut reading = Reading::of_new(fields);
    reading.required("price", read::amount(Money::ZERO, pricing::MOST));
    reading.defaulted("is_available", read::boolean);
    reading.defaulted("home_service_enabled", read::boolean);
    reading.defaulted("store_service_enabled", read::boolean);
    reading.defaulted("base_distance_km", read::integer(0, FARTHEST_KM));
    reading.defaulted("per_km_surcharge", read::amount(Money::ZERO, MOST_PER_KM));
    reading.defaulted("max_travel_distance_km", read::integer(0, FARTHEST_KM));
    let mut columns = reading.finish()?;
    let mut or = |column, usual: serde_json::Value| {
        if columns.get(column).is_none() {
            columns.set(column, usual);
        }
    };
    or("is_available", true.into());
    or("home_service_enabled", therapist.into());
    or("store_service_enabled", (!therapist).into());
    or("base_distance_km", 5.into());
    or("per_km_surcharge", "0.00".into());
    or("max_travel_distance_km", 10.into());
    Ok(columns)
}

async fn service(engine: &Engine, slug_or_id: &str) -> Result<i64, Problem> {
    let row = catalog::find(&engine.pool, slug_or_id).await?;
    row.map(|row| row.id).ok_or_else(|| Problem::not_found("Service"))
}

/// What a provider offers: to its owner and admins all, to others what can be booked now of a
/// verified one, without the terms of the way.
#[utoipa::path(
    get,
    path = "/v1/providers/{uuid}/services",
    tag = "providers",
    params(("uuid" = Uuid, Path), WholeList),
    responses((status = 200, body = Page<OfferedRow>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    list: WholeList,
) -> Result<Json<Page<OfferedRow>>, Problem> {
    let found = seen(&engine, &caller, uuid).await?;
    Ok(Json(list.page(services::list(&engine.pool, found.provider(), sees_all(&caller, &found)).await?)))
}

/// Offers a service so, from now on. Once it is answered, matching at this node goes by it. Bookings that he has accepted keep their
/// price; one that names him at the old terms he cannot take any more, and one that names nobody has his price when he takes it.
#[utoipa::path(
    put,
    path = "/v1/providers/{uuid}/services/{service}",
    tag = "providers",
    params(("uuid" = Uuid, Path), ("service" = String, Path, description = "Slug or id")),
    request_body = Offering,
    responses((status = 200, body = OfferedRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn put(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    PathService(slug_or_id): PathService,
    Body { fields, .. }: Body,
) -> Result<Json<OfferedRow>, Problem> {
    let (found, admin) = own(&engine, &caller, uuid).await?;
    let service = service(&engine, &slug_or_id).await?;
    let columns = read_columns(fields, found.is_therapist())?;
    let row = services::put(&engine.pool, found.provider(), service, columns, admin).await?;
    let row = row.ok_or_else(|| Problem::not_found("Service"))?;
    engine.shown([found.provider()]).await;
    Ok(Json(row))
}

/// Offers a service no more, be it gone from the catalogue. Bookings that he has accepted stay; what he is asked he cannot take.
#[utoipa::path(
    delete,
    path = "/v1/providers/{uuid}/services/{service}",
    tag = "providers",
    params(("uuid" = Uuid, Path), ("service" = String, Path, description = "Slug or id")),
    responses((status = 204, description = "Gone"), (status = 404, body = ProblemBody))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    PathService(slug_or_id): PathService,
) -> Result<StatusCode, Problem> {
    let (found, admin) = own(&engine, &caller, uuid).await?;
    if !services::delete(&engine.pool, found.provider(), &slug_or_id, admin).await? {
        return Err(Problem::not_found("Service"));
    }
    engine.shown([found.provider()]).await;
    Ok(StatusCode::NO_CONTENT)
}
