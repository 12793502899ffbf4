//! `app_settings`: read at start and on every change; written by admins, each value checked against its shape first.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::StoreError;
use super::audit_logs::{self, Change};
use crate::core::ids::UserId;
use crate::core::settings::Settings;

/// Laravel's morph name.
const SETTING_MORPH: &str = r"App\Models\AppSetting";

/// A row of `app_settings`.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = Setting)]
pub struct SettingRow {
    /// `booking_timeout`, `dispatch`, `pings` …
    #[schema(example = "booking_timeout")]
    pub key: String,
    /// Its shape depends on the key: an object, or a number.
    #[schema(example = json!({"pending": 300, "accepted": 1800}))]
    pub value: Value,
    /// For people.
    pub description: Option<String>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// Every row, by key.
pub async fn list(pool: &PgPool) -> Result<Vec<SettingRow>, StoreError> {
    Ok(sqlx::query_as("SELECT key, value, description, updated_at FROM app_settings ORDER BY key")
        .fetch_all(pool)
        .await?)
}

/// A row.
pub async fn find(pool: &PgPool, key: &str) -> Result<Option<SettingRow>, StoreError> {
    Ok(sqlx::query_as("SELECT key, value, description, updated_at FROM app_settings WHERE key = $1")
        .bind(key)
        .fetch_optional(pool)
        .await?)
}

/// The settings as they stand. A row that cannot be used (the Laravel application writes here too) does not stop the
/// service: what `held` until now goes on to hold, and the log says so. A row that is not there means the value that the migrations seed.
pub async fn load(pool: &PgPool, held: &Settings) -> Result<Settings, StoreError> {
    let mut settings = Settings::default();
    for row in list(pool).await? {
        if let Err(error) = settings.set(&row.key, &row.value) {
            tracing::error!(%error, "a row of app_settings cannot be used: what held until now goes on to hold");
            settings.keep(&row.key, held);
        }
    }
    Ok(settings)
}

/// Writes a value that was checked, and who changed it from what into `audit_logs`. `None` when there is no such key.
pub async fn put(pool: &PgPool, key: &str, value: &Value, by: UserId) -> Result<Option<SettingRow>, StoreError> {
    let mut tx = pool.begin().await?;
    let before: Option<(i64, Value)> = sqlx::query_as("SELECT id, value FROM app_settings WHERE key = $1 FOR UPDATE")
        .bind(key)
        .fetch_optional(&mut *tx)
        .await?;
    let Some((id, before)) = before else { return Ok(None) };
    let row: SettingRow = sqlx::query_as(
        "UPDATE app_settings SET value = $2 WHERE id = $1 RETURNING key, value, description, updated_at",
    )
    .bind(id)
    .bind(value)
    .fetch_one(&mut *tx)
    .await?;
    let [old, new] = [&before, value].map(|value| Some(json!({"value": value})));
    audit_logs::write(&mut tx, Change { by, action: "updated", of: SETTING_MORPH, id, old, new }).await?;
    tx.commit().await?;
    Ok(Some(row))
}
