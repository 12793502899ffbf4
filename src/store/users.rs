//! `users`, as far as identity and booking ask: who a token stands for, addresses, availability.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::StoreError;
use crate::core::geo::LatLng;
use crate::core::ids::{ProviderId, UserId};
use crate::core::phone;

/// A user as he sees himself.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Profile {
    /// `users.uuid`
    pub uuid: Uuid,
    /// E.164
    pub phone: String,
    /// Optional for customers.
    pub email: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// `gender` of the schema.
    pub gender: Option<String>,
    /// If given.
    pub date_of_birth: Option<NaiveDate>,
    /// A URL.
    pub profile_photo_url: Option<String>,
    /// The app's own affair.
    pub notification_preferences: serde_json::Value,
    /// `en`, `fil` …
    pub preferred_language: String,
    /// Whether his identity was checked.
    pub is_verified: bool,
    /// When he joined.
    pub created_at: DateTime<Utc>,
}

/// The caller's provider.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct MyProvider {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// `therapist` or `store`.
    pub r#type: String,
    /// `verification_status` of the schema.
    pub verification_status: String,
    /// Whether it may work at all.
    pub is_active: bool,
    /// Whether it takes offers.
    pub is_available: bool,
    /// 0.00 to 5.00.
    pub average_rating: f64,
    /// How many reviews that is of.
    pub total_reviews: i32,
}

/// The user's own profile; `None` once he is deleted.
pub async fn profile(pool: &PgPool, user: UserId) -> Result<Option<Profile>, StoreError> {
    Ok(sqlx::query_as(
        r"SELECT uuid, phone, email, first_name, last_name, gender::text AS gender, date_of_birth,
                 profile_photo_url, preferred_language, notification_preferences, is_verified, created_at
          FROM users WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(user.0)
    .fetch_optional(pool)
    .await?)
}

/// A provider, to its owner; `None` when it does not exist or is deleted.
pub async fn own_provider(pool: &PgPool, provider: ProviderId) -> Result<Option<MyProvider>, StoreError> {
    Ok(sqlx::query_as(
        r"SELECT uuid AS provider_uuid, type::text AS type, verification_status::text AS verification_status, is_active, is_available,
                 average_rating::float8 AS average_rating, total_reviews
          FROM providers WHERE id = $1 AND deleted_at IS NULL",
    )
    .bind(provider.0)
    .fetch_optional(pool)
    .await?)
}

/// The live user with this phone, however it is written.
pub async fn by_phone(pool: &PgPool, phone: &str) -> Result<Option<UserId>, StoreError> {
    let Some(phone) = phone::e164(phone) else { return Ok(None) };
    let id: Option<i64> = sqlx::query_scalar("SELECT id FROM users WHERE deleted_at IS NULL AND phone = $1")
        .bind(phone)
        .fetch_optional(pool)
        .await?;
    Ok(id.map(UserId))
}

/// One of a user's saved addresses, as a booking takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// In one line.
    pub line: String,
    /// Where.
    pub place: LatLng,
}

/// A saved address; `None` when it does not exist or is another user's.
pub async fn address(pool: &PgPool, user: UserId, id: i64) -> Result<Option<Address>, StoreError> {
    let row: Option<(String, f64, f64)> = sqlx::query_as(
        // As much of it as a booking's place holds.
        r"SELECT left(concat_ws(', ', address_line1, NULLIF(address_line2, ''), city, province), 500),
                 latitude::float8, longitude::float8
          FROM user_addresses WHERE id = $1 AND user_id = $2",
    )
    .bind(id)
    .bind(user.0)
    .fetch_optional(pool)
    .await?;
    // The columns' CHECKs hold both to their ranges.
    Ok(row.and_then(|(line, lat, lng)| Some(Address { line, place: LatLng::new(lat, lng).ok()? })))
}

/// The therapists that this user is or was.
pub async fn therapists(pool: &PgPool, user: UserId) -> Result<Vec<ProviderId>, StoreError> {
    let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM providers WHERE user_id = $1 AND type = 'therapist'")
        .bind(user.0)
        .fetch_all(pool)
        .await?;
    Ok(ids.into_iter().map(ProviderId).collect())
}

/// Sets whether a therapist takes offers. False when there is no such provider (any more).
pub async fn set_available(pool: &PgPool, provider: ProviderId, available: bool) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE providers SET is_available = $2 WHERE id = $1 AND deleted_at IS NULL")
        .bind(provider.0)
        .bind(available)
        .execute(pool)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// The provider with this public id; `None` when it does not exist or is deleted.
pub async fn provider_by_uuid(pool: &PgPool, uuid: Uuid) -> Result<Option<ProviderId>, StoreError> {
    let id: Option<i64> = sqlx::query_scalar("SELECT id FROM providers WHERE uuid = $1 AND deleted_at IS NULL")
        .bind(uuid)
        .fetch_optional(pool)
        .await?;
    Ok(id.map(ProviderId))
}
