//! What every transaction that moves a booking shares.

use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};

use crate::core::ids::UserId;
use crate::store::StoreError;
use crate::store::connect::is_lost;

/// Begins a transaction that moves a booking or an offer, of which the caller tells all nodes after the commit: the triggers
/// that would are silent in it. `actor` is as of [`act_as`]. One round trip.
pub(crate) async fn begin_move(
    pool: &PgPool,
    actor: Option<UserId>,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    let actor = actor.map(|a| a.0.to_string()).unwrap_or_default(); // digits
    let begin = format!("BEGIN; SET LOCAL spacall.tells = 'itself'; SET LOCAL spacall.actor_id = '{actor}'");
    Ok(pool.begin_with(AssertSqlSafe(begin)).await?)
}

/// Commits. Who has to know what became of it when the connection is lost looks for it after [`StoreError::Undecided`].
pub(crate) async fn commit(tx: Transaction<'static, Postgres>) -> Result<(), StoreError> {
    tx.commit().await.map_err(|error| match StoreError::from(error) {
        StoreError::Database(error) if is_lost(&error) => StoreError::Undecided(error),
        error => error,
    })
}

/// Names the acting user to the triggers that keep timeline and history; `None`: the system.
pub(crate) async fn act_as(tx: &mut PgConnection, actor: Option<UserId>) -> Result<(), StoreError> {
    sqlx::query("SELECT set_config('spacall.actor_id', $1, true)")
        .bind(actor.map(|a| a.to_string()).unwrap_or_default())
        .execute(tx)
        .await?;
    Ok(())
}

/// The database's clock, now. Ask after the locks are held: `now()` is the start of the transaction, before any wait.
pub(crate) async fn clock(tx: &mut PgConnection) -> Result<DateTime<Utc>, StoreError> {
    Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(tx).await?)
}

/// Holds the user until the transaction ends: of two who count his rows, or make one the default, one waits for the other.
pub(crate) async fn lock_user(tx: &mut PgConnection, user: UserId) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE").bind(user.0).execute(tx).await?;
    Ok(())
}
