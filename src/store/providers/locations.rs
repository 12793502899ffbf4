//! `provider_locations`: where a therapist was, exactly. For himself and for admins.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgPool, QueryBuilder};

use super::super::StoreError;
use super::super::pages::{self, Ask, Rows};
use crate::core::ids::ProviderId;
use crate::core::time::Timestamp;
use crate::wire::time::to_chrono;

/// A fix.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = ProviderLocation)]
pub struct LocationRow {
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Metres.
    pub accuracy: Option<f64>,
    /// Degrees clockwise from north.
    pub heading: Option<f64>,
    /// km/h
    pub speed: Option<f64>,
    /// As the phone says.
    pub is_moving: bool,
    /// Percent.
    pub battery_level: Option<i32>,
    /// Whether it could move the therapist: false if it is implausible or too inaccurate.
    pub counted: bool,
    /// Of the fix, as the phone tells it (its `recorded_at`).
    pub created_at: DateTime<Utc>,
    /// When it came in.
    pub received_at: DateTime<Utc>,
}

/// Where a provider was from `from` until before `to`, the newest first. The months outside are not looked at. A row's key is its
/// `created_at`, microseconds since 1970: a provider has one fix of a time.
pub async fn list(
    pool: &PgPool,
    provider: ProviderId,
    from: Timestamp,
    to: Timestamp,
    ask: Ask,
) -> Result<Rows<LocationRow>, StoreError> {
    let mut select = QueryBuilder::new(
        "SELECT latitude::float8 AS latitude, longitude::float8 AS longitude, accuracy::float8 AS accuracy,
                heading::float8 AS heading, speed::float8 AS speed, is_moving, battery_level, counted, created_at, received_at
         FROM provider_locations WHERE provider_id = ",
    );
    select.push_bind(provider.0);
    select.push(" AND created_at >= ").push_bind(to_chrono(from));
    select.push(" AND created_at < ").push_bind(to_chrono(to));
    let bound = |micros| to_chrono(Timestamp::from_micros(micros));
    pages::read(pool, select, "created_at", bound, ask).await
}
