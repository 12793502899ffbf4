//! Whether what was acked is really there: asked by the load tool after a run.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::StoreError;
use crate::core::time::Timestamp;
use crate::wire::time::to_chrono;

/// How many of these fixes have a row: of each provider (by uuid), when they were recorded.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn count_all(pool: &PgPool, fixes: Vec<(Uuid, Vec<Timestamp>)>) -> Result<u64, StoreError> {
    /// Of one statement.
    const AT_ONCE: usize = 10_000;
    let mut stored = 0;
    for (provider, times) in fixes {
        for part in times.chunks(AT_ONCE) {
            stored += count(pool, provider, part).await?;
        }
    }
    Ok(stored)
}

async fn count(pool: &PgPool, provider: Uuid, recorded_at: &[Timestamp]) -> Result<u64, StoreError> {
    let times: Vec<DateTime<Utc>> = recorded_at.iter().filter_map(|at| to_chrono(*at)).collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return Ok(0) };
    // The bounds let the planner skip the other months.
    let found: i64 = sqlx::query_scalar(
        r"SELECT count(DISTINCT l.created_at) FROM provider_locations l
          JOIN providers p ON p.id = l.provider_id
          WHERE p.uuid = $1 AND l.created_at = ANY($2) AND l.created_at BETWEEN $3 AND $4",
    )
    .bind(provider)
    .bind(&times)
    .bind(first)
    .bind(last)
    .fetch_one(pool)
    .await?;
    Ok(u64::try_from(found).unwrap_or(0))
}
