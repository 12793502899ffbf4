//! What every transaction that moves a booking shares.

use sqlx::PgConnection;
use sqlx::types::chrono::{DateTime, Utc};

use crate::core::ids::UserId;
use crate::store::StoreError;

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
