//! `customer_blocks`: who does not want to be matched with whom. Either side blocks; neither is matched with the other, whoever
//! it was.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, QueryBuilder};
use uuid::Uuid;

use super::StoreError;
use super::pages::{self, Ask, Rows};
use super::tx::lock_user;
use crate::core::ids::{ProviderId, UserId};

/// Somebody whom a user has blocked.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = Block)]
pub struct BlockRow {
    /// `customer_blocks.id`: its place in the list.
    #[serde(skip)]
    pub id: i64,
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

/// Most that one user has blocked at once.
pub const MOST: i64 = 500;

/// An owner's providers are one: who is blocked, is by all of them.
const LISTED: &str = "SELECT b.id, b.uuid, b.type, b.name, b.reason, b.created_at FROM (
         SELECT c.blocked_by, c.id, p.uuid, 'provider' AS type, COALESCE(s.store_name, u.first_name) AS name, c.reason, c.created_at
         FROM customer_blocks c JOIN providers p ON p.id = c.provider_id JOIN users u ON u.id = p.user_id
         LEFT JOIN store_profiles s ON s.provider_id = p.id
         WHERE c.customer_id = c.blocked_by
         UNION ALL
         SELECT c.blocked_by, min(c.id), u.uuid, 'customer', u.first_name, max(c.reason), min(c.created_at)
         FROM customer_blocks c JOIN users u ON u.id = c.customer_id
         WHERE c.customer_id <> c.blocked_by
         GROUP BY c.blocked_by, u.id, u.uuid, u.first_name) b
     WHERE b.blocked_by = ";

/// Whom `user` has blocked, the newest first.
pub async fn list(pool: &PgPool, user: UserId, ask: Ask) -> Result<Rows<BlockRow>, StoreError> {
    let mut select = QueryBuilder::new(LISTED);
    select.push_bind(user.0);
    pages::read(pool, select, "b.id", |id| id, ask).await
}

/// One whom `user` has blocked. `None`: he has not.
pub async fn find(pool: &PgPool, user: UserId, uuid: Uuid) -> Result<Option<BlockRow>, StoreError> {
    let mut select = QueryBuilder::new(LISTED);
    select.push_bind(user.0).push(" AND b.uuid = ").push_bind(uuid);
    Ok(select.build_query_as().fetch_optional(pool).await?)
}

/// What became of a block that was wanted.
#[derive(Clone, PartialEq, Debug)]
pub enum Put {
    /// Whose matching changes, and who is blocked.
    Blocked(Vec<ProviderId>, BlockRow),
    /// The user has blocked [`MOST`] already.
    Full,
    /// There is nobody with this uuid whom he may block.
    Nobody,
}

/// Blocks, as `user`, who has this uuid: a provider that everybody may see; a customer whom a provider of the user's own has served;
/// or whoever is the other party of a booking.
pub async fn put(pool: &PgPool, user: UserId, uuid: Uuid, reason: Option<&str>) -> Result<Put, StoreError> {
    let mut tx = pool.begin().await?;
    lock_user(&mut tx, user).await?;
    let pairs: Vec<(i64, i64, bool)> = sqlx::query_as(
        "WITH whom AS (
             SELECT $1::bigint AS customer_id, p.id AS provider_id
             FROM providers p JOIN users u ON u.id = p.user_id
             WHERE p.uuid = $2 AND p.user_id <> $1 AND p.deleted_at IS NULL
               AND p.verification_status = 'verified' AND p.is_active AND u.is_active AND u.deleted_at IS NULL
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
         RETURNING c.customer_id, c.provider_id, c.xmax = 0 AS new",
    )
    .bind(user.0)
    .bind(uuid)
    .bind(reason)
    .fetch_all(&mut *tx)
    .await?;
    let Some(&(customer, provider, _)) = pairs.first() else { return Ok(Put::Nobody) };
    if pairs.iter().any(|(_, _, new)| *new) && how_many(&mut tx, user).await? > MOST {
        return Ok(Put::Full); // and nothing was written
    }
    let mut select = QueryBuilder::new(LISTED);
    select.push_bind(user.0).push(" AND b.uuid = ");
    if customer == user.0 {
        select.push("(SELECT uuid FROM providers WHERE id = ").push_bind(provider).push(")");
    } else {
        select.push("(SELECT uuid FROM users WHERE id = ").push_bind(customer).push(")");
    }
    let row = select.build_query_as().fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(Put::Blocked(pairs.iter().map(|(_, provider, _)| ProviderId(*provider)).collect(), row))
}

async fn how_many(tx: &mut PgConnection, user: UserId) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT count(DISTINCT (customer_id, CASE WHEN customer_id = $1 THEN provider_id END))
         FROM customer_blocks WHERE blocked_by = $1",
    )
    .bind(user.0)
    .fetch_one(tx)
    .await?)
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
