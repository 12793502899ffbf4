//! What the caller was told.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::auth::Caller;
use super::extract::{Fields, PathUuid, read};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::notifications;
use crate::wire::time::WireTime;

/// Something that a user was told.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Notification {
    /// `notifications.uuid`
    pub uuid: Uuid,
    /// What it is about.
    pub r#type: String,
    /// For people.
    pub title: String,
    /// For people.
    pub body: String,
    /// What the app offers to do.
    pub action_type: Option<String>,
    /// With what.
    pub action_data: Option<Value>,
    /// `push`, `sms`, `email` …
    #[schema(value_type = Vec<String>)]
    pub sent_via: Value,
    /// Whether he has read it.
    pub is_read: bool,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<WireTime>,
    /// When he was told.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
}

impl From<notifications::Notification> for Notification {
    fn from(row: notifications::Notification) -> Self {
        Self {
            uuid: row.uuid,
            r#type: row.r#type,
            title: row.title,
            body: row.body,
            action_type: row.action_type,
            action_data: row.action_data,
            sent_via: row.sent_via,
            is_read: row.is_read,
            read_at: row.read_at.map(Into::into),
            created_at: row.created_at.into(),
        }
    }
}

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
    Ok(Json(query.of(page, |notification| notification.id).map(Notification::from)))
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
    read.map(|read| Json(read.into())).ok_or_else(|| Problem::not_found("Notification"))
}
