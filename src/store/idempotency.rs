//! `Idempotency-Key`: a request that is sent again gets the first one's answer, and does nothing twice.
//!
//! The key's row is written in the same transaction as what the request creates, so that either both exist or
//! neither does. A second request with the same key waits (on the primary key's index) for the first one's commit.

use serde::Serialize;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::core::ids::UserId;
use crate::store::StoreError;
use crate::store::tx::commit;

/// HTTP status of the answer to what was made.
const CREATED: u16 = 201;
/// HTTP status of the answer to what was moved.
const OK: u16 = 200;

/// How long an answer is kept and replayed, hours.
pub const KEPT_HOURS: i32 = 24;

/// A client's key, and what it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// As the client sent it, at most 255 characters (checked by the caller: longer is a database error).
    pub key: String,
    /// SHA-256 of method, path and body.
    pub request_hash: [u8; 32],
}

/// What a key's row says.
#[derive(Clone, PartialEq, Debug)]
pub enum Claim {
    /// First seen: go on, and [`answer`] in the same transaction.
    New,
    /// Seen with this very request: give this answer again.
    Replay {
        /// HTTP status.
        status: u16,
        /// Body.
        body: serde_json::Value,
    },
    /// Seen with another request.
    Reused,
    /// Seen with this very request, whose answer is not yet known (only writers of another kind leave such rows).
    InFlight,
}

#[derive(sqlx::FromRow)]
struct Row {
    request_hash: Vec<u8>,
    response_status: Option<i16>,
    response_body: Option<serde_json::Value>,
}

/// Takes `key` for `user` in the caller's transaction. A row older than [`KEPT_HOURS`] counts as never seen.
pub async fn claim(tx: &mut PgConnection, user: UserId, key: &Key) -> Result<Claim, StoreError> {
    // DO UPDATE .. WHERE takes an outlived row over; DO NOTHING would leave it in the way.
    let new = sqlx::query(
        "INSERT INTO idempotency_keys AS k (user_id, key, request_hash, created_at)
         VALUES ($1, $2, $3, clock_timestamp())
         ON CONFLICT (user_id, key) DO UPDATE
         SET request_hash = excluded.request_hash, created_at = excluded.created_at,
             response_status = NULL, response_body = NULL
         WHERE k.created_at <= clock_timestamp() - make_interval(hours => $4)",
    )
    .bind(user.0)
    .bind(&key.key)
    .bind(&key.request_hash[..])
    .bind(KEPT_HOURS)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if new == 1 {
        return Ok(Claim::New);
    }
    let row: Row = sqlx::query_as(
        "SELECT request_hash, response_status, response_body FROM idempotency_keys WHERE user_id = $1 AND key = $2",
    )
    .bind(user.0)
    .bind(&key.key)
    .fetch_one(&mut *tx)
    .await?;
    if row.request_hash != key.request_hash {
        return Ok(Claim::Reused);
    }
    Ok(match (row.response_status.and_then(|s| u16::try_from(s).ok()), row.response_body) {
        (Some(status), Some(body)) => Claim::Replay { status, body },
        _ => Claim::InFlight,
    })
}

/// A transaction that makes something, once for each key. To drop it undoes all, and the key is free again.
pub struct Begun {
    /// In which it is made.
    pub tx: Transaction<'static, Postgres>,
    user: UserId,
    key: Option<Key>,
}

impl Begun {
    /// Whether the same request may be sent again: it would not be done twice.
    pub fn is_keyed(&self) -> bool {
        self.key.is_some()
    }

    /// Keeps the answer for the key, if there is one, and commits.
    ///
    /// # Errors
    /// [`StoreError::Undecided`] when the commit was not answered: the same request with the same key tells.
    pub async fn answer(mut self, status: u16, body: &serde_json::Value) -> Result<(), StoreError> {
        if let Some(key) = &self.key {
            answer(&mut self.tx, self.user, key, status, body).await?;
        }
        commit(self.tx).await
    }

    /// The same where the store itself knows the answer: 201 with `row`.
    pub(crate) async fn made<T, R>(self, made: T, row: &impl Serialize) -> Result<Once<T, R>, StoreError> {
        self.done(CREATED, made, row).await
    }

    /// The same of what was there before: 200 with `row`.
    pub(crate) async fn moved<T, R>(self, moved: T, row: &impl Serialize) -> Result<Once<T, R>, StoreError> {
        self.done(OK, moved, row).await
    }

    async fn done<T, R>(self, status: u16, done: T, row: &impl Serialize) -> Result<Once<T, R>, StoreError> {
        let body = serde_json::to_value(row).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        self.answer(status, &body).await?;
        Ok(Once::Made(done, body))
    }
}

/// What became of a request that makes something.
#[derive(Clone, PartialEq, Debug)]
pub enum Once<T, R> {
    /// Committed: what was made, and the answer as it is kept for its key.
    Made(T, serde_json::Value),
    /// Nothing was done: this is what its key says.
    Before(Claim),
    /// Not possible; nothing was written.
    Refused(R),
}

/// Begins to make something, unless the key says that it was: what it says instead. A concurrent request with the same key waits for
/// this one's commit.
pub async fn begin(pool: &PgPool, user: UserId, key: Option<Key>) -> Result<Result<Begun, Claim>, StoreError> {
    let mut tx = pool.begin().await?;
    if let Some(key) = &key {
        match claim(&mut tx, user, key).await? {
            Claim::New => {}
            known => return Ok(Err(known)),
        }
    }
    Ok(Ok(Begun { tx, user, key }))
}

/// What `key` stands for, taking nothing. Waits, like [`claim`], for a first request that is being answered.
pub async fn look(pool: &PgPool, user: UserId, key: &Key) -> Result<Claim, StoreError> {
    let mut tx = pool.begin().await?; // never committed: a key that was new stays so
    claim(&mut tx, user, key).await
}

/// Keeps the answer of the request that claimed `key` in this transaction.
pub async fn answer(
    tx: &mut PgConnection,
    user: UserId,
    key: &Key,
    status: u16,
    body: &serde_json::Value,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE idempotency_keys SET response_status = $3, response_body = $4 WHERE user_id = $1 AND key = $2")
        .bind(user.0)
        .bind(&key.key)
        .bind(i16::try_from(status).unwrap_or(i16::MAX))
        .bind(body)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Deletes what nobody can ask for any more; says how many rows.
pub async fn clear(pool: &PgPool) -> Result<u64, StoreError> {
    let gone =
        sqlx::query("DELETE FROM idempotency_keys WHERE created_at <= clock_timestamp() - make_interval(hours => $1)")
            .bind(KEPT_HOURS)
            .execute(pool)
            .await?;
    Ok(gone.rows_affected())
}
