//! `audit_logs`: what admins changed, from what to what.

use serde_json::Value;
use sqlx::PgConnection;

use super::StoreError;
use crate::core::ids::UserId;

/// Of one change.
pub(crate) struct Entry {
    /// Whose doing.
    pub(crate) by: UserId,
    /// `created`, `updated`, `deleted`
    pub(crate) action: &'static str,
    /// Laravel's morph name of the table.
    pub(crate) of: &'static str,
    /// The row's id.
    pub(crate) id: i64,
    /// By column; `None` for what was made.
    pub(crate) before: Option<Value>,
    /// By column; `None` for what is gone.
    pub(crate) after: Option<Value>,
}

/// Notes it, in the transaction of the change itself.
pub(crate) async fn note(db: &mut PgConnection, entry: Entry) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_logs (user_id, action, auditable_type, auditable_id, old_values, new_values)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(entry.by.0)
    .bind(entry.action)
    .bind(entry.of)
    .bind(entry.id)
    .bind(entry.before)
    .bind(entry.after)
    .execute(db)
    .await?;
    Ok(())
}
