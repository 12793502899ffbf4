//! `therapist_profiles`: what therapists say of themselves. Where one lives (`base_location`) is his own business and the
//! admins', and is in no log.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;

use super::super::StoreError;
use super::super::rows::{Columns, RowError, Table};
use super::put_profile;
use crate::core::ids::{ProviderId, UserId};

const TABLE: Table = Table {
    name: "therapist_profiles",
    model: r"App\Models\TherapistProfile",
    private: &["license_number", "base_location_latitude", "base_location_longitude"],
    constraints: &[],
};

/// A therapist's profile, to himself and to admins.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = TherapistProfile)]
pub struct TherapistProfileRow {
    /// Of the licence.
    pub license_number: Option<String>,
    /// `PRC`, `TESDA` …
    pub license_type: Option<String>,
    /// Its last day.
    pub license_expiry_date: Option<NaiveDate>,
    /// At work.
    pub years_of_experience: Option<i32>,
    /// A list of texts.
    #[schema(value_type = Option<Vec<String>>)]
    pub specializations: Option<Value>,
    /// A list of `{name, issuer, date}`.
    #[schema(value_type = Option<Vec<Value>>)]
    pub certifications: Option<Value>,
    /// A list of texts.
    #[schema(value_type = Vec<String>)]
    pub languages_spoken: Value,
    /// For customers.
    pub bio: Option<String>,
    /// A picture.
    pub professional_photo_url: Option<String>,
    /// How far he goes.
    pub service_radius_km: i32,
    /// Where he sets out for scheduled bookings, degrees. Private.
    pub base_location_latitude: Option<f64>,
    /// Degrees. Private.
    pub base_location_longitude: Option<f64>,
    /// When he works, Asia/Manila: `{"monday": [{"start": "09:00", "end": "18:00"}]}`; empty: always.
    #[schema(value_type = Option<Object>)]
    pub default_schedule: Option<Value>,
    /// Customers whom he serves; null: all.
    pub accepts_genders: Option<Vec<String>>,
    /// Between two bookings.
    pub buffer_minutes: i32,
    /// Brings a table, oils …
    pub has_own_equipment: bool,
    /// A list of texts.
    #[schema(value_type = Option<Vec<String>>)]
    pub equipment_list: Option<Value>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What everybody may read of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PublicTherapist {
    /// For customers.
    pub bio: Option<String>,
    /// A picture.
    pub professional_photo_url: Option<String>,
    /// A list of texts.
    #[schema(value_type = Option<Vec<String>>)]
    pub specializations: Option<Value>,
    /// A list of texts.
    #[schema(value_type = Option<Vec<String>>)]
    pub languages_spoken: Option<Value>,
    /// At work.
    pub years_of_experience: Option<i32>,
    /// A list of `{name, issuer, date}`.
    #[schema(value_type = Option<Vec<Value>>)]
    pub certifications: Option<Value>,
    /// Brings a table, oils …
    pub has_own_equipment: bool,
    /// A list of texts.
    #[schema(value_type = Option<Vec<String>>)]
    pub equipment_list: Option<Value>,
}

const FIND: &str =
    "SELECT license_number, license_type, license_expiry_date, years_of_experience, specializations, certifications,
            languages_spoken, bio, professional_photo_url, service_radius_km,
            base_location_latitude::float8 AS base_location_latitude,
            base_location_longitude::float8 AS base_location_longitude, default_schedule,
            accepts_genders::text[] AS accepts_genders, buffer_minutes, has_own_equipment, equipment_list, created_at,
            updated_at
     FROM therapist_profiles WHERE provider_id = $1";

/// The profile of a therapist; `None`: he has none.
pub async fn find(pool: &PgPool, provider: ProviderId) -> Result<Option<TherapistProfileRow>, StoreError> {
    Ok(sqlx::query_as(FIND).bind(provider.0).fetch_optional(pool).await?)
}

/// Writes what is given into a therapist's profile, which is made if there is none.
pub async fn put(
    pool: &PgPool,
    provider: ProviderId,
    columns: Columns,
    admin: Option<UserId>,
) -> Result<TherapistProfileRow, RowError> {
    put_profile(pool, &TABLE, FIND, provider, columns, admin).await
}
