//! How therapists have answered, and when they last worked: what ranking asks besides distance.

use sqlx::PgPool;
use sqlx::types::chrono::{DateTime, Utc};

use crate::core::ids::ProviderId;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::wire::time::from_chrono;

/// Of one therapist, over the last 30 days.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Who.
    pub provider: ProviderId,
    /// Offers that he accepted, given back later or not.
    pub accepted: u32,
    /// Offers that he accepted, declined or (for now) let pass: who is asked for another day may well be asleep.
    pub answered: u32,
    /// When his last booking ended, if within that time.
    pub worked_at: Option<Timestamp>,
}

/// Everybody who was asked, or worked, in the last 30 days. Reads their offers and bookings once: for the start.
pub async fn records(pool: &PgPool) -> Result<Vec<Record>, StoreError> {
    let rows: Vec<(i64, i64, i64, Option<DateTime<Utc>>)> = sqlx::query_as(
        "SELECT COALESCE(o.provider_id, b.provider_id), COALESCE(o.accepted, 0), COALESCE(o.answered, 0), b.worked_at
         FROM (SELECT provider_id, count(*) FILTER (WHERE status IN ('accepted', 'released')) AS accepted,
                      count(*) FILTER (WHERE status IN ('accepted', 'released', 'declined')
                                       OR (status = 'expired' AND booking_type = 'now')) AS answered
               FROM booking_offers
               WHERE offered_at > now() - interval '30 days' AND provider_type = 'therapist' GROUP BY provider_id) o
         FULL JOIN (SELECT provider_id, max(greatest(completed_at, cancelled_at)) AS worked_at
                    FROM bookings
                    WHERE provider_id IS NOT NULL AND status IN ('completed', 'cancelled')
                      AND created_at > now() - interval '30 days' GROUP BY provider_id) b
                USING (provider_id)
         ORDER BY 1",
    )
    .fetch_all(pool)
    .await?;
    let small = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(rows
        .into_iter()
        .map(|(provider, accepted, answered, worked_at)| Record {
            provider: ProviderId(provider),
            accepted: small(accepted),
            answered: small(answered),
            worked_at: worked_at.map(from_chrono),
        })
        .collect())
}
