//! `/v1/providers/{uuid}/store-profile`: for the store's owner and admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::super::auth::{Caller, Principal};
use super::super::columns::Reading;
use super::super::extract::{Body, Given, PathUuid, read};
use super::super::payment;
use super::super::problem::{Problem, ProblemBody};
use super::super::readers;
use super::own;
use crate::core::ids::{ProviderId, UserId};
use crate::core::stores::hours;
use crate::engine::Engine;
use crate::store::providers::store_profiles::{self, StoreProfileRow};
use crate::store::rows::Columns;

/// What to change of a profile, each field for itself; `null` clears what may be empty. The first time, what is required must be
/// there.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct StoreProfileChange {
    /// At most 255 characters. Required.
    #[schema(example = "Ginhawa Spa")]
    pub store_name: Option<String>,
    /// At most 10,000 characters.
    pub description: Option<String>,
    /// A picture.
    pub logo_url: Option<String>,
    /// A picture.
    pub cover_photo_url: Option<String>,
    /// At most 50 URLs.
    pub photos: Option<Vec<String>>,
    /// Number and street, at most 255 characters. Required.
    #[schema(example = "6750 Ayala Avenue")]
    pub address_line1: Option<String>,
    /// Floor, building; at most 255 characters.
    pub address_line2: Option<String>,
    /// At most 100 characters. Required.
    #[schema(example = "Makati")]
    pub city: Option<String>,
    /// At most 100 characters.
    pub province: Option<String>,
    /// At most 10 characters.
    pub postal_code: Option<String>,
    /// Degrees, with `longitude`. Required.
    #[schema(example = 14.5547)]
    pub latitude: Option<f64>,
    /// Degrees.
    #[schema(example = 121.0244)]
    pub longitude: Option<f64>,
    /// At most 20 characters.
    pub phone: Option<String>,
    /// At most 255 characters.
    pub email: Option<String>,
    /// At most 255 characters.
    pub website: Option<String>,
    /// Asia/Manila; a `close` before its `open` is on the next day; empty or `null`: not known.
    #[schema(value_type = Option<Object>, example = json!({"monday": {"open": "09:00", "close": "21:00", "closed": false}}))]
    pub operating_hours: Option<Value>,
    /// At most 50 texts of 100 characters.
    pub amenities: Option<Vec<String>>,
    /// 1 to 1,000; 1 if not given.
    pub number_of_rooms: Option<i32>,
    /// Some of `card`, `gcash`, `paymaya`, `wallet`, `cash`.
    pub payment_methods: Option<Vec<String>>,
    /// At most 10,000 characters.
    pub cancellation_policy: Option<String>,
    /// At most 10,000 characters.
    pub house_rules: Option<String>,
}

fn read_columns(mut reading: Reading) -> Result<Columns, Problem> {
    reading.required("store_name", read::text(255));
    reading.nullable("description", read::text(10_000));
    reading.nullable("logo_url", readers::url);
    reading.nullable("cover_photo_url", readers::url);
    reading.nullable("photos", readers::urls(50));
    reading.required("address_line1", read::text(255));
    reading.nullable("address_line2", read::text(255));
    reading.required("city", read::text(100));
    reading.nullable("province", read::text(100));
    reading.nullable("postal_code", read::text(10));
    reading.place();
    reading.nullable("phone", read::text(20));
    reading.nullable("email", readers::email);
    reading.nullable("website", |given| {
        let short = readers::url(given).ok().filter(|url| url.chars().count() <= 255);
        short.ok_or_else(|| "must be a URL like https://example.com, of at most 255 characters".to_owned())
    });
    reading.nullable("operating_hours", opening_hours);
    reading.nullable("amenities", readers::texts(50, 100));
    reading.defaulted("number_of_rooms", read::integer(1, 1_000));
    reading.nullable("payment_methods", readers::words(payment::METHODS));
    reading.nullable("cancellation_policy", read::text(10_000));
    reading.nullable("house_rules", read::text(10_000));
    reading.finish()
}

/// As the index of stores will read them.
fn opening_hours(given: Given<'_>) -> Result<Value, String> {
    readers::checked_json(given, |value| hours::canonical(value).map_err(|error| error.to_string()))
        .map_err(|why| format!("must be opening hours ({why})"))
}

async fn of(engine: &Engine, caller: &Principal, uuid: Uuid) -> Result<(ProviderId, Option<UserId>), Problem> {
    let (found, admin) = own(engine, caller, uuid).await?;
    if found.is_therapist() { Err(not_found()) } else { Ok((found.provider(), admin)) }
}

fn not_found() -> Problem {
    Problem::not_found("Store profile")
}

/// A store's profile, to its owner and to admins. (Others: `GET /v1/providers/{uuid}`.)
#[utoipa::path(
    get,
    path = "/v1/providers/{uuid}/store-profile",
    tag = "providers",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = StoreProfileRow), (status = 404, description = "No such store, or it has none yet", body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<Json<StoreProfileRow>, Problem> {
    let (provider, _) = of(&engine, &caller, uuid).await?;
    store_profiles::find(&engine.pool, provider).await?.map(Json).ok_or_else(not_found)
}

/// Changes what is given of a store's profile, or makes it. Once it is answered, who looks for stores at this node goes by it;
/// bookings that were accepted stay.
#[utoipa::path(
    patch,
    path = "/v1/providers/{uuid}/store-profile",
    tag = "providers",
    params(("uuid" = Uuid, Path)),
    request_body = StoreProfileChange,
    responses((status = 200, body = StoreProfileRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    Body { fields, .. }: Body,
) -> Result<Json<StoreProfileRow>, Problem> {
    let (provider, admin) = of(&engine, &caller, uuid).await?;
    // It cannot go once it is there: what is whole now is whole when it is written.
    let there = store_profiles::find(&engine.pool, provider).await?.is_some();
    let columns = read_columns(if there { Reading::of_change(fields) } else { Reading::of_new(fields) })?;
    let row = store_profiles::put(&engine.pool, provider, columns, admin).await?;
    engine.shown([provider]).await;
    Ok(Json(row))
}
