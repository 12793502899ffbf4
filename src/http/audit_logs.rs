//! Who of the admins changed what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::extract::{Fields, read};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::audit_logs::{self, Entry, Filter};
use crate::wire::time::WireTime;

/// A row of `audit_logs`.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AuditLog {
    /// `audit_logs.id`
    pub id: i64,
    /// Who did it.
    pub user_uuid: Option<Uuid>,
    /// `created`, `updated`, `deleted` …
    #[schema(example = "updated")]
    pub action: String,
    /// Laravel's name of the model.
    #[schema(example = "App\\Models\\User")]
    pub auditable_type: String,
    /// The row's.
    pub auditable_id: i64,
    /// What changed, before.
    #[schema(value_type = Option<Object>)]
    pub old_values: Option<Value>,
    /// What changed, after.
    #[schema(value_type = Option<Object>)]
    pub new_values: Option<Value>,
    /// From where, if the Laravel application noted it.
    pub ip_address: Option<String>,
    /// With what, if the Laravel application noted it.
    pub user_agent: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
}

impl From<Entry> for AuditLog {
    fn from(row: Entry) -> Self {
        Self {
            id: row.id,
            user_uuid: row.user_uuid,
            action: row.action,
            auditable_type: row.auditable_type,
            auditable_id: row.auditable_id,
            old_values: row.old_values,
            new_values: row.new_values,
            ip_address: row.ip_address,
            user_agent: row.user_agent,
            created_at: row.created_at.into(),
        }
    }
}

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
    responses((status = 200, body = Page<AuditLog>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    query: PageQuery,
    mut fields: Fields,
) -> Result<Json<Page<AuditLog>>, Problem> {
    let filter = Filter {
        auditable_type: fields.optional("auditable_type", read::text(255)),
        auditable_id: fields.optional("auditable_id", read::integer(1, i64::MAX)),
        user: fields.optional("user_uuid", read::uuid),
    };
    let filter = fields.finish(Some(filter))?;
    let page = audit_logs::list(&engine.pool, filter, query.ask()).await?;
    Ok(Json(query.of(page, |entry| entry.id).map(AuditLog::from)))
}
