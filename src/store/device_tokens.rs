//! `device_tokens`: where push messages go. A device is one user's: whoever signs in on it last.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgPool, QueryBuilder};

use super::StoreError;
use super::pages::{self, Ask, Rows};
use crate::core::ids::UserId;

/// A device to be told.
#[derive(Clone)]
pub struct NewDevice {
    /// `device_type` of the schema.
    pub device_type: &'static str,
    /// The push service's.
    pub token: String,
    /// For people.
    pub device_name: Option<String>,
    /// For people.
    pub device_os_version: Option<String>,
    /// For people.
    pub app_version: Option<String>,
}

/// A device on which somebody is told.
#[derive(Clone, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = DeviceToken)]
pub struct Device {
    /// `device_tokens.id`
    pub id: i64,
    /// `android`, `ios` or `web`
    pub device_type: String,
    /// The push service's.
    pub token: String,
    /// For people.
    pub device_name: Option<String>,
    /// For people.
    pub device_os_version: Option<String>,
    /// For people.
    pub app_version: Option<String>,
    /// Whether the push service still takes it.
    pub is_active: bool,
    /// When the app last said so.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was first told.
    pub created_at: DateTime<Utc>,
}

const OF_USER: &str =
    "SELECT id, device_type::text AS device_type, token, device_name, device_os_version, app_version, is_active,
            last_used_at, created_at
     FROM device_tokens WHERE user_id = ";

/// A page of a user's devices, newest first.
pub async fn list(pool: &PgPool, user: UserId, ask: Ask) -> Result<Rows<Device>, StoreError> {
    let mut query = QueryBuilder::new(OF_USER);
    query.push_bind(user.0);
    pages::read(pool, query, "id", |id| id, ask).await
}

/// A device of the user's. `None`: there is none, or it is another's.
pub async fn find(pool: &PgPool, user: UserId, id: i64) -> Result<Option<Device>, StoreError> {
    let mut query = QueryBuilder::new(OF_USER);
    query.push_bind(user.0).push(" AND id = ").push_bind(id);
    Ok(query.build_query_as().fetch_optional(pool).await?)
}

/// Notes a device of the user's (another user's, if it was his) until the token that says so is taken away. `None`: it is already.
pub async fn put(
    pool: &PgPool,
    user: UserId,
    access_token: i64,
    device: &NewDevice,
) -> Result<Option<Device>, StoreError> {
    Ok(sqlx::query_as(
        "WITH held AS (SELECT id FROM personal_access_tokens WHERE id = $7 FOR KEY SHARE)
         INSERT INTO device_tokens (user_id, device_type, token, device_name, device_os_version, app_version, last_used_at,
                                    access_token_id)
         SELECT $1, $2::device_type, $3, $4, $5, $6, clock_timestamp(), held.id FROM held
         ON CONFLICT (token) DO UPDATE
         SET user_id = excluded.user_id, access_token_id = excluded.access_token_id, device_type = excluded.device_type, device_name = excluded.device_name,
             device_os_version = excluded.device_os_version, app_version = excluded.app_version, is_active = TRUE,
             last_used_at = excluded.last_used_at
         RETURNING id, device_type::text AS device_type, token, device_name, device_os_version, app_version, is_active,
                   last_used_at, created_at",
    )
    .bind(user.0)
    .bind(device.device_type)
    .bind(&device.token)
    .bind(&device.device_name)
    .bind(&device.device_os_version)
    .bind(&device.app_version)
    .bind(access_token)
    .fetch_optional(pool)
    .await?)
}

/// Forgets a device of the user's. False: there is none, or it is another's.
pub async fn delete(pool: &PgPool, user: UserId, id: i64) -> Result<bool, StoreError> {
    let gone = sqlx::query("DELETE FROM device_tokens WHERE id = $1 AND user_id = $2")
        .bind(id)
        .bind(user.0)
        .execute(pool)
        .await?;
    Ok(gone.rows_affected() > 0)
}
