//! The bookings that ops watch: those that wait, and those under way.

use sqlx::PgExecutor;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::core::geo::LatLng;
use crate::core::ids::BookingId;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::wire::time::from_chrono;

/// A booking that is not over.
#[derive(Clone, PartialEq, Debug)]
pub struct OpenBooking {
    /// `bookings.id`
    pub id: BookingId,
    /// `bookings.uuid`
    pub uuid: Uuid,
    /// As people say it.
    pub number: String,
    /// `booking_status` of the schema.
    pub status: String,
    /// Where: `home_service`, `in_store`.
    pub kind: String,
    /// `services.name`
    pub service: String,
    /// The customer's place, or the store's.
    pub place: LatLng,
    /// When it was made.
    pub created_at: Timestamp,
    /// Of a scheduled one.
    pub scheduled_at: Option<Timestamp>,
    /// Who accepted, or whom the customer chose.
    pub provider: Option<Uuid>,
    /// Who is asked now, by uuid.
    pub offered_to: Vec<Uuid>,
    /// How many offers were made of it.
    pub offers: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    uuid: Uuid,
    number: String,
    status: String,
    kind: String,
    service: String,
    lat_e7: i32,
    lng_e7: i32,
    created_at: DateTime<Utc>,
    scheduled_at: Option<DateTime<Utc>>,
    provider: Option<Uuid>,
    offered_to: Vec<Uuid>,
    offers: i64,
}

/// Bookings that are pending, under way, or accepted and to begin within the hour; those that wait longest first, at most
/// `limit`.
///
/// # Errors
/// [`StoreError::Database`]; [`StoreError::Corrupt`] for a place that the schema's checks should not let be.
pub async fn open(db: impl PgExecutor<'_>, limit: u32) -> Result<Vec<OpenBooking>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT b.id, b.uuid, b.booking_number AS number, b.status::text AS status, b.type::text AS kind,
                s.name AS service, b.created_at, b.scheduled_at, p.uuid AS provider,
                round(coalesce(l.latitude, st.latitude) * 10000000)::int AS lat_e7,
                round(coalesce(l.longitude, st.longitude) * 10000000)::int AS lng_e7,
                coalesce(o.offered_to, '{}') AS offered_to, o.offers
         FROM bookings b
         JOIN services s ON s.id = b.service_id
         LEFT JOIN providers p ON p.id = b.provider_id
         LEFT JOIN booking_locations l ON l.booking_id = b.id
         LEFT JOIN store_profiles st ON st.provider_id = b.provider_id
         CROSS JOIN LATERAL (
             SELECT count(*) AS offers,
                    array_agg(op.uuid ORDER BY op.uuid)
                        FILTER (WHERE o.status = 'offered' AND o.expires_at > now()) AS offered_to
             FROM booking_offers o JOIN providers op ON op.id = o.provider_id
             WHERE o.booking_id = b.id
         ) o
         WHERE b.deleted_at IS NULL
           AND (b.status IN ('pending', 'en_route', 'arrived', 'in_progress')
                OR b.status = 'accepted'
                   AND (b.booking_type = 'now' OR b.scheduled_at < now() + interval '1 hour'))
           AND coalesce(l.latitude, st.latitude) IS NOT NULL
         ORDER BY (b.status = 'pending') DESC, b.created_at, b.id
         LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Row::booking).collect()
}

impl Row {
    fn booking(self) -> Result<OpenBooking, StoreError> {
        let place = LatLng::from_e7(self.lat_e7, self.lng_e7).map_err(|error| StoreError::Corrupt {
            column: "booking_locations.location",
            value: error.to_string(),
            allowed: "degrees",
        })?;
        Ok(OpenBooking {
            id: BookingId(self.id),
            uuid: self.uuid,
            number: self.number,
            status: self.status,
            kind: self.kind,
            service: self.service,
            place,
            created_at: from_chrono(self.created_at),
            scheduled_at: self.scheduled_at.map(from_chrono),
            provider: self.provider,
            offered_to: self.offered_to,
            offers: self.offers,
        })
    }
}
