//! Where therapists are wanted.

use sqlx::PgExecutor;

use crate::core::geo::LatLng;
use crate::core::heat::Wanted;
use crate::store::StoreError;

#[derive(sqlx::FromRow)]
struct Row {
    lat_e7: i32,
    lng_e7: i32,
    pending: bool,
    recent: bool,
}

/// The bookings for a home and for now that are pending, or were made within the last hour by the database's clock.
///
/// # Errors
/// [`StoreError::Database`]; [`StoreError::Corrupt`] for a place that the schema's checks should not let be.
pub async fn demand(db: impl PgExecutor<'_>) -> Result<Vec<Wanted>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT round(l.latitude * 10000000)::int AS lat_e7, round(l.longitude * 10000000)::int AS lng_e7,
                b.status = 'pending' AS pending, b.created_at > now() - interval '1 hour' AS recent
         FROM bookings b JOIN booking_locations l ON l.booking_id = b.id
         WHERE b.type = 'home_service' AND b.booking_type = 'now' AND b.deleted_at IS NULL
           AND (b.status = 'pending' OR b.created_at > now() - interval '1 hour')",
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let place = LatLng::from_e7(row.lat_e7, row.lng_e7).map_err(|error| StoreError::Corrupt {
                column: "booking_locations.location",
                value: error.to_string(),
                allowed: "degrees",
            })?;
            Ok(Wanted { place, pending: row.pending, recent: row.recent })
        })
        .collect()
}
