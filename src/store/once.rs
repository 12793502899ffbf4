//! A request that makes something, in one transaction with the answer to its Idempotency-Key: all or nothing, once.

use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::StoreError;
use super::idempotency::{self, Claim, Key};
use super::tx::{act_as, commit};
use crate::core::ids::UserId;

/// HTTP status of the answer that is kept.
const CREATED: u16 = 201;

/// What became of such a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Once<T, R> {
    /// Committed: what was made, and the answer as it was kept for its key.
    Made(T, Value),
    /// Nothing was done: the key was seen before.
    Before(Before),
    /// Not possible; nothing was written, the key is free again.
    Refused(R),
}

/// What a key that was seen before stands for.
#[derive(Clone, PartialEq, Debug)]
pub enum Before {
    /// This very request was answered: answer so again.
    Replay {
        /// HTTP status.
        status: u16,
        /// Body.
        body: Value,
    },
    /// The key was used for another request.
    KeyReused,
    /// The key's first request is not answered yet.
    InFlight,
}

/// A request under way. To drop it undoes all.
pub(crate) struct Attempt<'k> {
    tx: Transaction<'static, Postgres>,
    user: UserId,
    key: Option<&'k Key>,
}

/// Begins the transaction of `user`'s request and takes its key. A second request with the same key waits here for the first
/// one's commit.
pub(crate) async fn begin<'k>(
    pool: &PgPool,
    user: UserId,
    key: Option<&'k Key>,
) -> Result<Result<Attempt<'k>, Before>, StoreError> {
    let mut tx = pool.begin().await?;
    act_as(&mut tx, Some(user)).await?;
    let Some(taken) = key else { return Ok(Ok(Attempt { tx, user, key })) };
    Ok(match idempotency::claim(&mut tx, user, taken).await? {
        Claim::New => Ok(Attempt { tx, user, key }),
        Claim::Replay { status, body } => Err(Before::Replay { status, body }),
        Claim::Reused => Err(Before::KeyReused),
        Claim::InFlight => Err(Before::InFlight),
    })
}

impl Attempt<'_> {
    pub(crate) fn tx(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Keeps the answer and commits.
    ///
    /// # Errors
    /// [`StoreError::Undecided`] when the commit was not answered: the same request with the same key tells.
    pub(crate) async fn done<T, R>(mut self, made: T, answer: &impl Serialize) -> Result<Once<T, R>, StoreError> {
        let body = serde_json::to_value(answer).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        if let Some(key) = self.key {
            idempotency::answer(&mut self.tx, self.user, key, CREATED, &body).await?;
        }
        commit(self.tx).await?;
        Ok(Once::Made(made, body))
    }
}
