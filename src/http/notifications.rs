//! What the caller was told.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::auth::Caller;
use super::extract::{Fields, PathUuid, read};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::notifications::{self, Notification};

/// What the caller was told, newest first.
#[utoipa::path(
    get,
    path = "/v1/notifications",
    tag = "identity",
    params(
        ("unread" = Option<bool>, Query, description = "`true`: only what he has not read"),
        PageQuery,
    ),
    responses((status = 200, body = Page<Notification>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    query: PageQuery,
    mut fields: Fields,
) -> Result<Json<Page<Notification>>, Problem> {
    let unread = fields.optional("unread", read::boolean).unwrap_or(false);
    let unread = fields.finish(Some(unread))?;
    let page = notifications::list(&engine.pool, caller.user, unread, query.ask()).await?;
    Ok(Json(query.of(page, |notification| notification.id)))
}

/// Something that the caller was told.
#[utoipa::path(
    get,
    path = "/v1/notifications/{uuid}",
    tag = "identity",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = Notification), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<Json<Notification>, Problem> {
    let found = notifications::find(&engine.pool, caller.user, uuid).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("Notification"))
}

/// Notes that the caller has read it; when he first did stays.
#[utoipa::path(
    put,
    path = "/v1/notifications/{uuid}/read",
    tag = "identity",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = Notification), (status = 404, body = ProblemBody))
)]
pub async fn read(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    _: super::extract::OptionalBody,
) -> Result<Json<Notification>, Problem> {
    let read = notifications::read(&engine.pool, caller.user, uuid).await?;
    read.map(Json).ok_or_else(|| Problem::not_found("Notification"))
}
