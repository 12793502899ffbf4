//! Who of the admins changed what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::extract::{Fields, PathId, read};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::audit_logs::{self, Entry, Filter};

/// What admins changed, newest first.
#[utoipa::path(
    get,
    path = "/v1/audit-logs",
    tag = "admin",
    params(
        ("auditable_type" = Option<String>, Query, description = "Laravel's name of the model, as in `App\\Models\\User`"),
        ("auditable_id" = Option<i64>, Query, description = "The row's"),
        ("user_uuid" = Option<Uuid>, Query, description = "Who did it"),
        PageQuery,
    ),
    responses((status = 200, body = Page<Entry>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    query: PageQuery,
    mut fields: Fields,
) -> Result<Json<Page<Entry>>, Problem> {
    let filter = Filter {
        auditable_type: fields.optional("auditable_type", read::text(255)),
        auditable_id: fields.optional("auditable_id", read::integer(1, i64::MAX)),
        user: fields.optional("user_uuid", read::uuid),
    };
    let filter = fields.finish(Some(filter))?;
    let page = audit_logs::list(&engine.pool, filter, query.ask()).await?;
    Ok(Json(query.of(page, |entry| entry.id)))
}

/// A change.
#[utoipa::path(
    get,
    path = "/v1/audit-logs/{id}",
    tag = "admin",
    params(("id" = i64, Path)),
    responses((status = 200, body = Entry), (status = 404, body = ProblemBody))
)]
pub async fn show(State(engine): State<Arc<Engine>>, PathId(id): PathId) -> Result<Json<Entry>, Problem> {
    audit_logs::find(&engine.pool, id).await?.map(Json).ok_or_else(|| Problem::not_found("Audit log"))
}
