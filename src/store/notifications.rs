//! `notifications`: what a user was told, and whether he has read it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgPool, QueryBuilder};
use uuid::Uuid;

use super::StoreError;
use super::pages::{self, Ask, Rows};
use crate::core::ids::UserId;

/// Something that a user was told.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Notification {
    /// `notifications.id`
    #[serde(skip)]
    pub id: i64,
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
    pub read_at: Option<DateTime<Utc>>,
    /// When he was told.
    pub created_at: DateTime<Utc>,
}

macro_rules! columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " id, uuid, type, title, body, action_type, action_data, sent_via, is_read, read_at, created_at",
            $after
        )
    };
}

/// A page of a user's, newest first.
pub async fn list(pool: &PgPool, user: UserId, unread: bool, ask: Ask) -> Result<Rows<Notification>, StoreError> {
    let mut query = QueryBuilder::new(columns!("SELECT", " FROM notifications WHERE user_id = "));
    query.push_bind(user.0);
    if unread {
        query.push(" AND NOT is_read");
    }
    pages::read(pool, query, "id", |id| id, ask).await
}

/// One of a user's. `None`: there is none, or it is another's.
pub async fn find(pool: &PgPool, user: UserId, uuid: Uuid) -> Result<Option<Notification>, StoreError> {
    let sql = columns!("SELECT", " FROM notifications WHERE uuid = $1 AND user_id = $2");
    Ok(sqlx::query_as(sql).bind(uuid).bind(user.0).fetch_optional(pool).await?)
}

/// Notes that the user has read one of his; when he first did stays. `None`: there is none, or it is another's.
pub async fn read(pool: &PgPool, user: UserId, uuid: Uuid) -> Result<Option<Notification>, StoreError> {
    Ok(sqlx::query_as(columns!(
        "UPDATE notifications SET is_read = TRUE, read_at = coalesce(read_at, clock_timestamp())
         WHERE uuid = $1 AND user_id = $2 RETURNING",
        ""
    ))
    .bind(uuid)
    .bind(user.0)
    .fetch_optional(pool)
    .await?)
}
