//! Monthly partitions of `provider_locations`: made ahead, dropped three months after their month ended, and an alarm
//! for rows that found no month.

use sqlx::PgPool;

use super::StoreError;
use crate::core::time::Timestamp;

/// Months kept after the one in which they ended (section 8.2 of the schema document).
pub const KEEP_MONTHS: i32 = 3;
/// The month before (fixes come up to a day late), this one, and two ahead.
const AHEAD: std::ops::RangeInclusive<i32> = -1..=2;

/// What was done, and what is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Report {
    /// Partitions made now.
    pub created: Vec<String>,
    /// Partitions dropped now.
    pub dropped: Vec<String>,
    /// All monthly partitions that exist afterwards, oldest first.
    pub present: Vec<String>,
    /// Rows in the default partition: more than 0 is an alarm, their month was missing when they came.
    pub default_rows: i64,
}

/// Makes the months around `now` and drops those that ended [`KEEP_MONTHS`] before it. Done again, it does nothing. Rows of
/// the default partition move into their month when it is made.
///
/// # Errors
/// [`StoreError::is_conflict`] when a lock was not had within 3 s (a long transaction uses the table): try again later;
/// what was done until then is kept.
pub async fn maintain(pool: &PgPool, now: Timestamp) -> Result<Report, StoreError> {
    let before = present(pool).await?;
    for months in AHEAD {
        // One transaction each: a month that is made stays made when the next must wait.
        sqlx::query(
            "SELECT ensure_provider_location_partition(
                 (date_trunc('month', to_timestamp($1::float8 / 1000000) AT TIME ZONE 'UTC') + make_interval(months => $2))::date)",
        )
        .bind(now.micros())
        .bind(months)
        .execute(pool)
        .await?;
    }
    let dropped = sqlx::query_scalar(
        "SELECT drop_old_provider_location_partitions($1, to_timestamp($2::float8 / 1000000)) ORDER BY 1",
    )
    .bind(KEEP_MONTHS)
    .bind(now.micros())
    .fetch_all(pool)
    .await?;
    let present = present(pool).await?;
    let report = Report {
        created: present.iter().filter(|name| !before.contains(name)).cloned().collect(),
        dropped,
        present,
        default_rows: default_rows(pool).await?,
    };
    for name in &report.created {
        tracing::info!(partition = %name, "made a partition");
    }
    for name in &report.dropped {
        tracing::info!(partition = %name, "dropped a partition: its month ended {KEEP_MONTHS} months ago");
    }
    Ok(report)
}

/// Rows in the default partition, told to the log (error) and the metric `spacall_locations_default_rows` as well: each
/// came for a month that had no partition.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn default_rows(pool: &PgPool) -> Result<i64, StoreError> {
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM provider_locations_default").fetch_one(pool).await?;
    metrics::gauge!("spacall_locations_default_rows").set(rows as f64);
    if rows > 0 {
        tracing::error!(rows, "pings are in the default partition: their month has none; run `spacall partitions`");
    }
    Ok(rows)
}

async fn present(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'provider_locations'::regclass AND c.relname <> 'provider_locations_default'
         ORDER BY c.relname",
    )
    .fetch_all(pool)
    .await?)
}
