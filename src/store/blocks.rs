//! `customer_blocks`: who does not want to be matched with whom. Either side blocks; neither is matched with the other, whoever
//! it was.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::StoreError;
use crate::core::ids::{ProviderId, UserId};

/// Somebody whom a user has blocked.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = Block)]
pub struct BlockRow {
    /// Of the provider, or of the customer: what `DELETE /v1/blocks/{uuid}` takes.
    pub uuid: Uuid,
    /// `provider` or `customer`.
    #[schema(example = "provider")]
    pub r#type: String,
    /// Given name of the therapist or customer; of a store, its name.
    pub name: Option<String>,
    /// In the words of who blocked.
    pub reason: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// Whom `user` has blocked, the newest first. An owner's providers are one: who is blocked, is by all of them.
pub async fn list(pool: &PgPool, user: UserId) -> Result<Vec<BlockRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT p.uuid, 'provider' AS type, COALESCE(s.store_name, u.first_name) AS name, c.reason, c.created_at
         FROM customer_blocks c JOIN providers p ON p.id = c.provider_id JOIN users u ON u.id = p.user_id
         LEFT JOIN store_profiles s ON s.provider_id = p.id
         WHERE c.blocked_by = $1 AND c.customer_id = $1
         UNION ALL
         SELECT u.uuid, 'customer', u.first_name, max(c.reason), min(c.created_at)
         FROM customer_blocks c JOIN users u ON u.id = c.customer_id
         WHERE c.blocked_by = $1 AND c.customer_id <> $1
         GROUP BY u.id
         ORDER BY created_at DESC, uuid",
    )
    .bind(user.0)
    .fetch_all(pool)
    .await?)
}

/// Blocks, as `user`, who has this uuid: a provider; a customer whom a provider of the user's own has served; or whoever is the other
/// party of a booking. Returns whose matching changes, and who was blocked; `None`: there is nobody.
pub async fn put(
    pool: &PgPool,
    user: UserId,
    uuid: Uuid,
    reason: Option<&str>,
) -> Result<Option<(Vec<ProviderId>, BlockRow)>, StoreError> {
    let pairs: Vec<(i64, i64)> = sqlx::query_as(
        "WITH whom AS (
             SELECT $1::bigint AS customer_id, p.id AS provider_id
             FROM providers p WHERE p.uuid = $2 AND p.user_id <> $1 AND p.deleted_at IS NULL
             UNION
             SELECT $1, p.id FROM bookings b JOIN providers p ON p.id = b.provider_id
             WHERE b.uuid = $2 AND b.customer_id = $1 AND b.deleted_at IS NULL
             UNION
             SELECT b.customer_id, own.id
             FROM bookings b JOIN providers p ON p.id = b.provider_id JOIN users u ON u.id = b.customer_id
             JOIN providers own ON own.user_id = p.user_id AND own.deleted_at IS NULL
             WHERE p.user_id = $1 AND (b.uuid = $2 OR u.uuid = $2) AND b.deleted_at IS NULL
               AND (b.accepted_at IS NOT NULL OR b.type = 'in_store'))
         INSERT INTO customer_blocks AS c (customer_id, provider_id, blocked_by, reason)
         SELECT customer_id, provider_id, $1, $3 FROM whom
         ON CONFLICT (customer_id, provider_id, blocked_by) DO UPDATE SET reason = COALESCE(excluded.reason, c.reason)
         RETURNING c.customer_id, c.provider_id",
    )
    .bind(user.0)
    .bind(uuid)
    .bind(reason)
    .fetch_all(pool)
    .await?;
    let Some(&(customer, provider)) = pairs.first() else { return Ok(None) };
    let whom: Uuid = sqlx::query_scalar(
        "SELECT uuid FROM providers WHERE id = $2 AND $1 = $3 UNION ALL SELECT uuid FROM users WHERE id = $1 AND $1 <> $3",
    )
    .bind(customer)
    .bind(provider)
    .bind(user.0)
    .fetch_one(pool)
    .await?;
    let row = list(pool, user).await?.into_iter().find(|row| row.uuid == whom);
    Ok(row.map(|row| (pairs.iter().map(|(_, provider)| ProviderId(*provider)).collect(), row)))
}

/// Takes back what `user` himself has blocked. Returns whose matching changes: nobody's, if there was no such block.
pub async fn delete(pool: &PgPool, user: UserId, uuid: Uuid) -> Result<Vec<ProviderId>, StoreError> {
    let providers: Vec<i64> = sqlx::query_scalar(
        "DELETE FROM customer_blocks c
         WHERE c.blocked_by = $1
           AND CASE WHEN c.customer_id = $1 THEN c.provider_id = (SELECT p.id FROM providers p WHERE p.uuid = $2)
                    ELSE c.customer_id = (SELECT u.id FROM users u WHERE u.uuid = $2) END
         RETURNING c.provider_id",
    )
    .bind(user.0)
    .bind(uuid)
    .fetch_all(pool)
    .await?;
    Ok(providers.into_iter().map(ProviderId).collect())
}
