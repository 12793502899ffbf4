//! Which node drives a pending booking: `lease_owner` until `lease_until`; `lease_token` counts its owners.
//!
//! A lease saves work and decides nothing: every write of dispatch is guarded by what the rows say. It is free to be
//! claimed when nobody has it, when its time is over, or when its owner is gone: while a node runs it holds an advisory
//! lock under its id ([`Presence`]), which PostgreSQL lets go of with the connection, however the process ended.

use std::time::Duration;

use sqlx::{ConnectOptions, PgConnection, PgPool};
use uuid::Uuid;

use crate::core::ids::BookingId;
use crate::store::StoreError;

/// Who drives what: one id for each start of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeId(pub Uuid);

/// With which a booking is made by the node that will drive it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// `lease_owner`
    pub node: NodeId,
    /// Until `lease_until`.
    pub life: Duration,
}

/// A sign of life, for as long as it is kept.
#[derive(Debug)]
pub struct Presence(PgConnection);

impl Presence {
    /// On a connection of its own, so that it ends with this process and with nothing else.
    ///
    /// # Errors
    /// [`StoreError::Database`] when there is no connection to be had.
    pub async fn announce(pool: &PgPool, node: NodeId) -> Result<Self, StoreError> {
        let mut connection = pool.connect_options().connect().await?;
        sqlx::query("SELECT pg_advisory_lock(hashtextextended($1::text, 0))")
            .bind(node.0)
            .execute(&mut connection)
            .await?;
        Ok(Self(connection))
    }

    /// Whether the connection, and with it the lock, is still there.
    ///
    /// # Errors
    /// [`StoreError::Database`]: announce it anew.
    pub async fn is_seen(&mut self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&mut self.0).await?;
        Ok(())
    }
}

/// `bookings b` may be claimed by `$1`: it is pending, and nobody else who lives has a lease of it that runs.
macro_rules! claimable {
    () => {
        "b.status = 'pending' AND b.deleted_at IS NULL
         AND (b.lease_owner IS NULL OR b.lease_until IS NULL OR b.lease_until <= clock_timestamp()
              OR (b.lease_owner <> $1 AND hashtextextended(b.lease_owner::text, 0) NOT IN (SELECT key FROM living)))"
    };
}

/// The advisory locks of this database with one key: the nodes that live are among them.
macro_rules! living {
    () => {
        "living AS MATERIALIZED (
             SELECT (l.classid::bigint << 32) | l.objid::bigint AS key FROM pg_locks l
             WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
    };
}

/// Takes the leases of up to `limit` bookings that may be claimed, the oldest first. Rows that somebody works on at this
/// moment are left to the next time.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn claim(pool: &PgPool, node: NodeId, life: Duration, limit: u32) -> Result<Vec<BookingId>, StoreError> {
    let ids: Vec<i64> = sqlx::query_scalar(concat!(
        "WITH ",
        living!(),
        ", free AS (SELECT b.id FROM bookings b WHERE ",
        claimable!(),
        " ORDER BY b.created_at, b.id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)
         UPDATE bookings c SET lease_owner = $1, lease_token = c.lease_token + 1,
                lease_until = clock_timestamp() + make_interval(secs => $2)
         FROM free WHERE c.id = free.id RETURNING c.id"
    ))
    .bind(node.0)
    .bind(life.as_secs_f64())
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(BookingId).collect())
}

/// Whether this node may drive the booking: it has the lease, or takes it now. A booking that is not pending has none, and
/// everybody may look at it.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn hold(pool: &PgPool, node: NodeId, life: Duration, booking: BookingId) -> Result<bool, StoreError> {
    let claimed = sqlx::query(concat!(
        "WITH ",
        living!(),
        " UPDATE bookings b SET lease_owner = $1, lease_token = b.lease_token + 1,
                 lease_until = clock_timestamp() + make_interval(secs => $2)
          WHERE b.id = $3 AND ",
        claimable!()
    ))
    .bind(node.0)
    .bind(life.as_secs_f64())
    .bind(booking.0)
    .execute(pool)
    .await?
    .rows_affected();
    if claimed == 1 {
        return Ok(true);
    }
    let held: Option<bool> =
        sqlx::query_scalar("SELECT status <> 'pending' OR lease_owner = $1 FROM bookings WHERE id = $2")
            .bind(node.0)
            .bind(booking.0)
            .fetch_optional(pool)
            .await?
            .flatten();
    // One that does not exist is nobody's to drive, and everybody's to forget.
    Ok(held.unwrap_or(true))
}

/// Prolongs up to `limit` of the node's leases that end within `left`; says how many.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn renew(pool: &PgPool, node: NodeId, life: Duration, left: Duration, limit: u32) -> Result<u64, StoreError> {
    Ok(sqlx::query(
        "WITH mine AS (
             SELECT id FROM bookings
             WHERE status = 'pending' AND lease_owner = $1 AND lease_until <= clock_timestamp() + make_interval(secs => $3)
             ORDER BY id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED)
         UPDATE bookings b SET lease_until = clock_timestamp() + make_interval(secs => $2)
         FROM mine WHERE b.id = mine.id",
    )
    .bind(node.0)
    .bind(life.as_secs_f64())
    .bind(left.as_secs_f64())
    .bind(i64::from(limit))
    .execute(pool)
    .await?
    .rows_affected())
}

/// Those of `driven` that are pending and another node's by now.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn lost(pool: &PgPool, node: NodeId, driven: &[BookingId]) -> Result<Vec<BookingId>, StoreError> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM bookings WHERE id = ANY($2) AND status = 'pending' AND lease_owner IS DISTINCT FROM $1 ORDER BY id",
    )
    .bind(node.0)
    .bind(driven.iter().map(|booking| booking.0).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(BookingId).collect())
}

/// Gives the node's leases up: it goes away, and nobody need wait for them.
///
/// # Errors
/// [`StoreError::Database`]: others then take them as its presence ends.
pub async fn release(pool: &PgPool, node: NodeId) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE bookings SET lease_owner = NULL, lease_until = NULL WHERE status = 'pending' AND lease_owner = $1",
    )
    .bind(node.0)
    .execute(pool)
    .await?;
    Ok(())
}
