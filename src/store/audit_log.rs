//! `audit_logs`: who changed what, in the transaction that changes it.

use serde_json::Value;
use sqlx::PgConnection;

use super::StoreError;
use crate::core::ids::UserId;

/// Notes a change of a row. `model` is Laravel's name for it, without its namespace.
pub(crate) async fn note(
    tx: &mut PgConnection,
    by: UserId,
    action: &str,
    (model, id): (&str, i64),
    (old, new): (Option<Value>, Option<Value>),
) -> Result<(), StoreError> {
    sqlx::query(
        r"INSERT INTO audit_logs (user_id, action, auditable_type, auditable_id, old_values, new_values)
          VALUES ($1, $2, 'App\Models\' || $3, $4, $5, $6)",
    )
    .bind(by.0)
    .bind(action)
    .bind(model)
    .bind(id)
    .bind(old)
    .bind(new)
    .execute(tx)
    .await?;
    Ok(())
}
