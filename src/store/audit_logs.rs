//! `audit_logs`: who of the admins changed what, from what into what.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, QueryBuilder};
use uuid::Uuid;

use super::StoreError;
use super::pages::{self, Ask, Rows};
use crate::core::ids::UserId;

/// A change, in the transaction that makes it.
pub(super) struct Change {
    pub(super) by: UserId,
    /// `created`, `updated`, `deleted`
    pub(super) action: &'static str,
    /// Laravel's morph name.
    pub(super) of: &'static str,
    pub(super) id: i64,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

pub(super) async fn write(tx: &mut PgConnection, change: Change) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_logs (user_id, action, auditable_type, auditable_id, old_values, new_values)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(change.by.0)
    .bind(change.action)
    .bind(change.of)
    .bind(change.id)
    .bind(change.old)
    .bind(change.new)
    .execute(tx)
    .await?;
    Ok(())
}

/// What differs between two objects of the same members: before and after. `None`: nothing does.
pub(super) fn difference(old: Value, new: Value) -> Option<(Value, Value)> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return None };
    let changed: Vec<&String> =
        new.iter().filter(|(name, value)| old.get(*name) != Some(value)).map(|(n, _)| n).collect();
    let only = |all: &Map<String, Value>| {
        Value::Object(
            changed.iter().map(|name| ((*name).clone(), all.get(*name).cloned().unwrap_or_default())).collect(),
        )
    };
    (!changed.is_empty()).then(|| (only(&old), only(&new)))
}

/// A row of `audit_logs`.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = AuditLog)]
pub struct Entry {
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
    pub created_at: DateTime<Utc>,
}

/// Which entries.
#[derive(Clone, Default)]
pub struct Filter {
    /// Laravel's morph name.
    pub auditable_type: Option<String>,
    /// The row's.
    pub auditable_id: Option<i64>,
    /// Who did it.
    pub user: Option<Uuid>,
}

const SELECT: &str =
    "SELECT a.id, u.uuid AS user_uuid, a.action, a.auditable_type, a.auditable_id, a.old_values, a.new_values,
            host(a.ip_address) AS ip_address, a.user_agent, a.created_at
     FROM audit_logs a LEFT JOIN users u ON u.id = a.user_id WHERE TRUE";

/// An entry.
pub async fn find(pool: &PgPool, id: i64) -> Result<Option<Entry>, StoreError> {
    let mut query = QueryBuilder::new(SELECT);
    Ok(query.push(" AND a.id = ").push_bind(id).build_query_as().fetch_optional(pool).await?)
}

/// A page of entries, newest first.
pub async fn list(pool: &PgPool, filter: Filter, ask: Ask) -> Result<Rows<Entry>, StoreError> {
    let mut query = QueryBuilder::new(SELECT);
    if let Some(of) = filter.auditable_type {
        query.push(" AND a.auditable_type = ").push_bind(of);
    }
    if let Some(id) = filter.auditable_id {
        query.push(" AND a.auditable_id = ").push_bind(id);
    }
    if let Some(user) = filter.user {
        query.push(" AND u.uuid = ").push_bind(user);
    }
    pages::read(pool, query, "a.id", |id| id, ask).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_kept() {
        let old = json!({"email": null, "is_active": true, "roles": ["customer"]});
        let new = json!({"email": "m@x.ph", "is_active": true, "roles": []});
        let expected = (json!({"email": null, "roles": ["customer"]}), json!({"email": "m@x.ph", "roles": []}));
        assert_eq!(difference(old.clone(), new), Some(expected));
        assert_eq!(difference(old.clone(), old), None);
    }
}
