//! The caller's own tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::auth::{Authenticator, Caller};
use super::extract::PathId;
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::tokens;
use crate::wire::time::WireTime;

/// A token, without what it is.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Token {
    /// `personal_access_tokens.id`
    pub id: i64,
    /// The device, if it said.
    pub name: String,
    /// By name; `*` is every ordinary one.
    pub abilities: Vec<String>,
    /// Whether it is the one of this request.
    pub is_current: bool,
    /// Kept to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<WireTime>,
    /// No longer good from then on; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<WireTime>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
}

/// The caller's tokens, newest first.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "identity",
    params(
        PageQuery,
    ),
    responses((status = 200, body = Page<Token>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    query: PageQuery,
) -> Result<Json<Page<Token>>, Problem> {
    let page = tokens::list(&engine.pool, caller.user, query.ask()).await?;
    let show = |token: tokens::OwnToken| Token {
        is_current: token.id == caller.token,
        id: token.id,
        name: token.name,
        abilities: token.abilities,
        last_used_at: token.last_used_at.map(WireTime),
        expires_at: token.expires_at.map(WireTime),
        created_at: WireTime(token.created_at),
    };
    Ok(Json(query.of(page, |token| token.id).map(show)))
}

/// Takes one of the caller's tokens away; its streams end. It may be the one of this request.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    tag = "identity",
    params(("id" = i64, Path)),
    responses((status = 204, description = "It is no longer good"), (status = 404, body = ProblemBody))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    if !tokens::delete(&engine.pool, caller.user, id).await? {
        return Err(Problem::not_found("Token"));
    }
    authenticator.revoked(&[id]);
    Ok(StatusCode::NO_CONTENT)
}
