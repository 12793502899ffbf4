//! Every offer of a booking, for `explain`.

use serde::Serialize;
use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::core::ids::BookingId;
use crate::store::StoreError;
use crate::wire::time::WireTime;

/// An offer and what became of it.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
pub struct PastOffer {
    /// `booking_offers.id`
    pub offer_id: i64,
    /// To whom.
    pub provider_uuid: Uuid,
    /// Of the search.
    pub round: i16,
    /// In the round, 1: the best.
    pub rank: i16,
    /// Straight line, km.
    pub distance_km: f64,
    /// `booking_offer_status` of the schema.
    pub status: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub offered_at: WireTime,
    /// When the app had it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<WireTime>,
    /// Until when it could be answered.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: WireTime,
    /// When it was answered.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub responded_at: Option<WireTime>,
    /// In the therapist's words.
    pub decline_reason: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    provider_uuid: Uuid,
    round: i16,
    rank: i16,
    distance_km: f64,
    status: String,
    offered_at: DateTime<Utc>,
    delivered_at: Option<DateTime<Utc>>,
    expires_at: DateTime<Utc>,
    responded_at: Option<DateTime<Utc>>,
    decline_reason: Option<String>,
}

/// All offers of a booking, in the order they were made.
pub async fn of_booking(pool: &PgPool, booking: BookingId) -> Result<Vec<PastOffer>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT o.id, p.uuid AS provider_uuid, o.round, o.rank, o.distance_km::float8 AS distance_km,
                o.status::text AS status, o.offered_at, o.delivered_at, o.expires_at, o.responded_at, o.decline_reason
         FROM booking_offers o JOIN providers p ON p.id = o.provider_id
         WHERE o.booking_id = $1 ORDER BY o.id",
    )
    .bind(booking.0)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| PastOffer {
            offer_id: r.id,
            provider_uuid: r.provider_uuid,
            round: r.round,
            rank: r.rank,
            distance_km: r.distance_km,
            status: r.status,
            offered_at: r.offered_at.into(),
            delivered_at: r.delivered_at.map(Into::into),
            expires_at: r.expires_at.into(),
            responded_at: r.responded_at.map(Into::into),
            decline_reason: r.decline_reason,
        })
        .collect())
}
