//! `/v1/blocks`: with whom the caller does not want to be matched.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::auth::{Caller, Principal};
use super::extract::{Body, OptionalBody, PathUuid, read};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::blocks::{self, BlockRow, Put};

/// Why, if it is to be said.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlockRequest {
    /// For himself and for ops, at most 500 characters.
    pub reason: Option<String>,
}

/// Whom the caller has blocked, the newest first. Who has blocked him is nobody's to know.
#[utoipa::path(
    get,
    path = "/v1/blocks",
    tag = "blocks",
    params(
        PageQuery,
    ),
    responses((status = 200, body = Page<BlockRow>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    query: PageQuery,
) -> Result<Json<Page<BlockRow>>, Problem> {
    let rows = blocks::list(&engine.pool, caller.user, query.ask()).await?;
    Ok(Json(query.of(rows, |row| row.id)))
}

/// Blocks somebody: neither is matched with the other any more. Once it is answered, matching at this node goes by it; a booking that
/// was accepted goes on. May be repeated. At most 500 can be blocked at once.
#[utoipa::path(
    put,
    path = "/v1/blocks/{uuid}",
    tag = "blocks",
    params(("uuid" = Uuid, Path, description = "Of a verified provider; for therapists and store owners of a customer whom they have served; or of a booking of the caller's: its other party")),
    request_body = Option<BlockRequest>,
    responses((status = 200, body = BlockRow), (status = 404, body = ProblemBody),
        (status = 409, description = "`too_many_blocks`", body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn put(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    OptionalBody(mut body): OptionalBody,
) -> Result<Json<BlockRow>, Problem> {
    let reason = body.fields.optional("reason", read::text(500));
    let reason = body.fields.finish(Some(reason))?;
    block(&engine, &caller, uuid, reason).await.map(Json)
}

/// Whom to block.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewBlock {
    /// As in `PUT /v1/blocks/{uuid}`; also taken as `provider_uuid` or `customer_uuid`.
    pub uuid: Uuid,
    /// For himself and for ops, at most 500 characters.
    pub reason: Option<String>,
}

/// The same as `PUT /v1/blocks/{uuid}`: who is blocked already is not blocked twice.
#[utoipa::path(
    post,
    path = "/v1/blocks",
    tag = "blocks",
    request_body = NewBlock,
    responses((status = 201, body = BlockRow), (status = 404, body = ProblemBody),
        (status = 409, description = "`too_many_blocks`", body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    Body { mut fields, .. }: Body,
) -> Result<(StatusCode, Json<BlockRow>), Problem> {
    let name = ["provider_uuid", "customer_uuid"].into_iter().find(|name| fields.has(name)).unwrap_or("uuid");
    let uuid = fields.required(name, read::uuid);
    let reason = fields.optional("reason", read::text(500));
    let uuid = fields.finish(uuid)?;
    Ok((StatusCode::CREATED, Json(block(&engine, &caller, uuid, reason).await?)))
}

async fn block(engine: &Engine, caller: &Principal, uuid: Uuid, reason: Option<String>) -> Result<BlockRow, Problem> {
    match blocks::put(&engine.pool, caller.user, uuid, reason.as_deref()).await? {
        Put::Blocked(providers, row) => {
            engine.shown(providers).await;
            Ok(row)
        }
        Put::Full => {
            let text = format!("You have blocked {}, the most that can be: take one back first.", blocks::MOST);
            Err(Problem::conflict("too_many_blocks", text))
        }
        Put::Nobody => Err(Problem::not_found("Provider or customer")),
    }
}

/// Somebody whom the caller has blocked.
#[utoipa::path(
    get,
    path = "/v1/blocks/{uuid}",
    tag = "blocks",
    params(("uuid" = Uuid, Path, description = "As listed")),
    responses((status = 200, body = BlockRow), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<Json<BlockRow>, Problem> {
    blocks::find(&engine.pool, caller.user, uuid).await?.map(Json).ok_or_else(|| Problem::not_found("Block"))
}

/// Takes a block of the caller's own back. The other's, if there is one, stays.
#[utoipa::path(
    delete,
    path = "/v1/blocks/{uuid}",
    tag = "blocks",
    params(("uuid" = Uuid, Path, description = "As listed")),
    responses((status = 204, description = "Gone"), (status = 404, body = ProblemBody))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<StatusCode, Problem> {
    let providers = blocks::delete(&engine.pool, caller.user, uuid).await?;
    if providers.is_empty() {
        return Err(Problem::not_found("Block"));
    }
    engine.shown(providers).await;
    Ok(StatusCode::NO_CONTENT)
}
