//! What matching must know of a pending booking.

use std::collections::BTreeSet;

use sqlx::PgPool;
use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};

use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::money::Money;
use crate::core::people::Gender;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::wire::time::from_chrono;

/// A booking as the search for its therapist sees it. Nothing of it changes while the booking lives.
#[derive(Clone, PartialEq, Debug)]
pub struct Search {
    /// What.
    pub service: ServiceId,
    /// Where.
    pub place: LatLng,
    /// For whom.
    pub customer: UserId,
    /// `None`: not told; then a therapist who serves certain genders only does not match.
    pub customer_gender: Option<Gender>,
    /// For a scheduled booking.
    pub scheduled_at: Option<Timestamp>,
    /// How long it takes, minutes.
    pub duration_minutes: u32,
    /// Service price and surcharge, at most.
    pub max_price: Option<Money>,
    /// What the customer wishes.
    pub preferences: Preferences,
    /// Therapists who have served the customer before, the latest 100.
    pub known: BTreeSet<ProviderId>,
}

/// `bookings.preferences`. Other keys belong to others.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct Preferences {
    /// Of the therapist: `male`, `female`, `other`, `prefer_not_to_say`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gender: Option<Gender>,
    /// `fil`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// As therapists name theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specialization: Option<String>,
    /// 0 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub min_rating: Option<Decimal>,
}

#[derive(sqlx::FromRow)]
struct Row {
    service_id: i64,
    latitude: f64,
    longitude: f64,
    customer_id: i64,
    customer_gender: Option<String>,
    scheduled_at: Option<DateTime<Utc>>,
    duration_minutes: i32,
    max_price: Option<Decimal>,
    preferences: serde_json::Value,
    known: Vec<i64>,
}

/// `None` when there is no such booking, or it has no place to go to.
pub async fn search(pool: &PgPool, booking: BookingId) -> Result<Option<Search>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT b.service_id, l.latitude::float8 AS latitude, l.longitude::float8 AS longitude, b.customer_id,
                u.gender::text AS customer_gender, b.scheduled_at, b.duration_minutes, b.max_price, b.preferences,
                ARRAY(SELECT k.provider_id FROM bookings k
                      WHERE k.customer_id = b.customer_id AND k.status = 'completed' AND k.provider_id IS NOT NULL
                      ORDER BY k.id DESC LIMIT 100) AS known
         FROM bookings b
         JOIN users u ON u.id = b.customer_id
         JOIN booking_locations l ON l.booking_id = b.id
         WHERE b.id = $1 AND b.deleted_at IS NULL",
    )
    .bind(booking.0)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let preferences = serde_json::from_value(row.preferences.clone()).map_err(|e| StoreError::Corrupt {
        column: "bookings.preferences",
        value: format!("{} ({e})", row.preferences),
        allowed: "gender, language, specialization, min_rating as POST /v1/bookings takes them",
    })?;
    Ok(Some(Search {
        service: ServiceId(row.service_id),
        place: LatLng::new(row.latitude, row.longitude).map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
        customer: UserId(row.customer_id),
        customer_gender: row.customer_gender.as_deref().and_then(Gender::parse),
        scheduled_at: row.scheduled_at.map(from_chrono),
        duration_minutes: row.duration_minutes.unsigned_abs(), // the column's CHECK keeps it >= 1
        max_price: row.max_price.map(Money::rounded),
        preferences,
        known: row.known.into_iter().map(ProviderId).collect(),
    }))
}
