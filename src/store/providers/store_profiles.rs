//! `store_profiles`: where stores are and when they are open. All of it is public.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;

use super::super::StoreError;
use super::super::rows::{Columns, RowError, Table};
use super::put_profile;
use crate::core::ids::{ProviderId, UserId};

const TABLE: Table =
    Table { name: "store_profiles", model: r"App\Models\StoreProfile", private: &[], constraints: &[] };

/// A store's profile, to its owner and to admins.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = StoreProfile)]
pub struct StoreProfileRow {
    /// What everybody sees.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub public: PublicStore,
    /// Bookings that can be there at once.
    pub number_of_rooms: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What everybody may read of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct PublicStore {
    /// As on its door.
    pub store_name: String,
    /// For customers.
    pub description: Option<String>,
    /// A picture.
    pub logo_url: Option<String>,
    /// A picture.
    pub cover_photo_url: Option<String>,
    /// A list of URLs.
    #[schema(value_type = Option<Vec<String>>)]
    pub photos: Option<Value>,
    /// Number and street.
    pub address_line1: String,
    /// Floor, building.
    pub address_line2: Option<String>,
    /// City or municipality.
    pub city: String,
    /// Province.
    pub province: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// To call before one goes.
    pub phone: Option<String>,
    /// To write to.
    pub email: Option<String>,
    /// Its own.
    pub website: Option<String>,
    /// Asia/Manila: `{"monday": {"open": "09:00", "close": "21:00", "closed": false}}`; empty: not known.
    #[schema(value_type = Option<Object>)]
    pub operating_hours: Option<Value>,
    /// A list of texts.
    #[schema(value_type = Option<Vec<String>>)]
    pub amenities: Option<Value>,
    /// A list of words of `payment_method`.
    #[schema(value_type = Option<Vec<String>>)]
    pub payment_methods: Option<Value>,
    /// In its own words.
    pub cancellation_policy: Option<String>,
    /// In its own words.
    pub house_rules: Option<String>,
}

const FIND: &str =
    "SELECT store_name, description, logo_url, cover_photo_url, photos, address_line1, address_line2, city, province,
            postal_code, latitude::float8 AS latitude, longitude::float8 AS longitude, phone, email, website,
            operating_hours, amenities, number_of_rooms, payment_methods, cancellation_policy, house_rules, created_at,
            updated_at
     FROM store_profiles WHERE provider_id = $1";

/// The profile of a store; `None`: it has none.
pub async fn find(pool: &PgPool, provider: ProviderId) -> Result<Option<StoreProfileRow>, StoreError> {
    Ok(sqlx::query_as(FIND).bind(provider.0).fetch_optional(pool).await?)
}

/// Writes what is given into a store's profile, which is made if there is none: what it must have, the caller has checked.
pub async fn put(
    pool: &PgPool,
    provider: ProviderId,
    columns: Columns,
    admin: Option<UserId>,
) -> Result<StoreProfileRow, RowError> {
    put_profile(pool, &TABLE, FIND, provider, columns, admin).await
}
