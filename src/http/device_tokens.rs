//! The devices on which the caller is told.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::auth::{Caller, Principal};
use super::extract::{Body, Fields, Given, PathId, read};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::device_tokens::{self, Device, NewDevice};

/// `device_type` of the schema.
const TYPES: &[&str] = &["android", "ios", "web"];

/// Bytes: the table's unique index takes no more than 2,704.
const LONGEST: usize = 2_048;

/// The caller's devices, newest first.
#[utoipa::path(
    get,
    path = "/v1/device-tokens",
    tag = "identity",
    params(
        PageQuery,
    ),
    responses((status = 200, body = Page<Device>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    query: PageQuery,
) -> Result<Json<Page<Device>>, Problem> {
    let page = device_tokens::list(&engine.pool, caller.user, query.ask()).await?;
    Ok(Json(query.of(page, |device| device.id)))
}

/// A device on which the caller wants to be told.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NewDeviceToken {
    /// `android`, `ios` or `web`
    #[schema(example = "android")]
    pub device_type: String,
    /// The push service's: at most 2,048 visible ASCII characters.
    #[schema(example = "fcm-token")]
    pub token: String,
    /// At most 255 characters.
    pub device_name: Option<String>,
    /// At most 50 characters.
    pub device_os_version: Option<String>,
    /// At most 50 characters.
    pub app_version: Option<String>,
}

/// Notes a device of the caller's. One that was another user's (a shared phone) is the caller's from then on.
///
/// It is forgotten with the token of this request: at log-out, when it is taken away, when the password is changed elsewhere.
#[utoipa::path(
    put,
    path = "/v1/device-tokens",
    tag = "identity",
    request_body = NewDeviceToken,
    responses((status = 200, body = Device), (status = 422, body = ProblemBody))
)]
pub async fn put(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    Body { fields, .. }: Body,
) -> Result<Json<Device>, Problem> {
    note(&engine, &caller, fields).await.map(Json)
}

/// The same as `PUT /v1/device-tokens`: a device that was noted before is not noted twice.
#[utoipa::path(
    post,
    path = "/v1/device-tokens",
    tag = "identity",
    request_body = NewDeviceToken,
    responses((status = 201, body = Device), (status = 422, body = ProblemBody))
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    Body { fields, .. }: Body,
) -> Result<(StatusCode, Json<Device>), Problem> {
    Ok((StatusCode::CREATED, Json(note(&engine, &caller, fields).await?)))
}

async fn note(engine: &Engine, caller: &Principal, mut fields: Fields) -> Result<Device, Problem> {
    let device_type = fields.required("device_type", read::word(TYPES));
    let token = fields.required("token", push_token);
    let device = NewDevice {
        device_type: device_type.unwrap_or_default(),
        token: token.clone().unwrap_or_default(),
        device_name: fields.optional("device_name", read::text(255)),
        device_os_version: fields.optional("device_os_version", read::text(50)),
        app_version: fields.optional("app_version", read::text(50)),
    };
    let device = fields.finish(device_type.zip(token).map(|_| device))?;
    let device = device_tokens::put(&engine.pool, caller.user, caller.token, &device).await?;
    device.ok_or_else(Problem::unauthenticated)
}

/// A device of the caller's.
#[utoipa::path(
    get,
    path = "/v1/device-tokens/{id}",
    tag = "identity",
    params(("id" = i64, Path)),
    responses((status = 200, body = Device), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<Json<Device>, Problem> {
    let device = device_tokens::find(&engine.pool, caller.user, id).await?;
    device.map(Json).ok_or_else(|| Problem::not_found("Device token"))
}

fn push_token(given: Given<'_>) -> Result<String, String> {
    let text = match given {
        Given::Text(text) => Some(text),
        Given::Json(value) => value.as_str(),
    };
    text.filter(|text| (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()))
        .map(str::to_owned)
        .ok_or_else(|| format!("must be a text of 1 to {LONGEST} visible ASCII characters"))
}

/// Forgets a device of the caller's.
#[utoipa::path(
    delete,
    path = "/v1/device-tokens/{id}",
    tag = "identity",
    params(("id" = i64, Path)),
    responses((status = 204, description = "Forgotten"), (status = 404, body = ProblemBody))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    if device_tokens::delete(&engine.pool, caller.user, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("Device token"))
    }
}
