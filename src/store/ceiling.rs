//! What the load tool holds the journal against: the same rows copied straight into the same table, with all its keys,
//! indexes and constraints, by nobody who has to ack anything.

use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::StoreError;
use super::journal::Rows;
use crate::core::ids::ProviderId;
use crate::core::track::Fix;

/// The ids of these providers, in the same order; those that do not exist are left out.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn providers(pool: &PgPool, uuids: &[Uuid]) -> Result<Vec<ProviderId>, StoreError> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT p.id FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (uuid, nth)
         JOIN providers p ON p.uuid = asked.uuid ORDER BY asked.nth",
    )
    .bind(uuids)
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(ProviderId).collect())
}

/// Rows ready to be copied.
pub struct Encoded(Rows);

/// Writes rows as PostgreSQL's binary COPY wants them.
pub fn encode(fixes: impl IntoIterator<Item = (ProviderId, Fix)>) -> Encoded {
    let mut rows = Rows::default();
    rows.begin();
    for (provider, fix) in fixes {
        rows.push(provider, &fix, true, fix.at.micros());
    }
    rows.end();
    Encoded(rows)
}

/// Copies them in, in one statement; returns how many they were, after the commit.
///
/// # Errors
/// [`StoreError::Database`], also when one of them is there already.
pub async fn copy(pool: &PgPool, rows: &Encoded) -> Result<u64, StoreError> {
    let mut connection = pool.acquire().await?;
    let mut copy = connection.copy_in_raw(super::journal::COPY).await?;
    copy.send(rows.0.bytes()).await?;
    Ok(copy.finish().await?)
}

/// Nobody writes pings until it is dropped: what a service takes in meanwhile stays in its memory.
pub struct Held {
    _transaction: Transaction<'static, Postgres>,
}

/// Holds the table.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn hold(pool: &PgPool) -> Result<Held, StoreError> {
    let mut held = pool.begin().await?;
    sqlx::query("LOCK TABLE provider_locations IN SHARE MODE").execute(&mut *held).await?;
    Ok(Held { _transaction: held })
}
