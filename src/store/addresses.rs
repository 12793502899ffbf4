//! `user_addresses`: where people live. Nobody's business but their own: nothing of them is written into a log.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, QueryBuilder};

use super::StoreError;
use super::pages::{self, Ask, Rows};
use super::rows::{self, Columns, RowError, Table};
use super::tx::lock_user;
use crate::core::ids::UserId;

const TABLE: Table = Table {
    name: "user_addresses",
    model: r"App\Models\UserAddress",
    private: &["label", "address_line1", "address_line2", "city", "province", "postal_code", "latitude", "longitude"],
    constraints: &[],
};

/// A saved address.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = Address)]
pub struct AddressRow {
    /// To book with, as `address_id`.
    pub id: i64,
    /// `home`, `work`, `other` …
    #[schema(example = "home")]
    pub label: String,
    /// Number and street.
    #[schema(example = "6750 Ayala Avenue")]
    pub address_line1: String,
    /// Flat, floor, building.
    pub address_line2: Option<String>,
    /// City or municipality.
    #[schema(example = "Makati")]
    pub city: String,
    /// Province.
    pub province: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// ISO 3166, two letters.
    #[schema(example = "PH")]
    pub country: String,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// At most one of a user's is.
    pub is_default: bool,
    /// When it was saved.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT id, label, address_line1, address_line2, city, province, postal_code, country, latitude::float8 AS latitude,
            longitude::float8 AS longitude, is_default, created_at, updated_at FROM user_addresses WHERE ";

/// A user's addresses, the newest first.
pub async fn list(pool: &PgPool, user: UserId, ask: Ask) -> Result<Rows<AddressRow>, StoreError> {
    let mut select = QueryBuilder::new(SELECT);
    select.push("user_id = ").push_bind(user.0);
    pages::read(pool, select, "id", |id| id, ask).await
}

/// An address, and whose it is.
pub async fn find(pool: &PgPool, id: i64) -> Result<Option<(UserId, AddressRow)>, StoreError> {
    let owner: Option<i64> =
        sqlx::query_scalar("SELECT user_id FROM user_addresses WHERE id = $1").bind(id).fetch_optional(pool).await?;
    let Some(owner) = owner else { return Ok(None) };
    let row = row(&mut *pool.acquire().await?, id).await?;
    Ok(row.map(|row| (UserId(owner), row)))
}

async fn row(db: &mut PgConnection, id: i64) -> Result<Option<AddressRow>, StoreError> {
    Ok(QueryBuilder::new(SELECT).push("id = ").push_bind(id).build_query_as().fetch_optional(db).await?)
}

/// Most addresses of one user.
pub const MOST: i64 = 50;

/// Saves an address of `user`; `None`: he has [`MOST`] already.
pub async fn create(tx: &mut PgConnection, user: UserId, mut columns: Columns) -> Result<Option<AddressRow>, RowError> {
    lock_user(&mut *tx, user).await?;
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM user_addresses WHERE user_id = $1")
        .bind(user.0)
        .fetch_one(&mut *tx)
        .await?;
    if there >= MOST {
        return Ok(None);
    }
    make_room_for_default(tx, user, &columns).await?;
    columns.set("user_id", user);
    let id = rows::insert(tx, &TABLE, &columns, None).await?;
    row(tx, id).await?.map(Some).ok_or_else(|| sqlx::Error::RowNotFound.into())
}

/// Changes an address of `owner`; `None`: it is gone. `admin`: who changes it, if it is not his.
pub async fn change(
    pool: &PgPool,
    owner: UserId,
    id: i64,
    columns: &Columns,
    admin: Option<UserId>,
) -> Result<Option<AddressRow>, RowError> {
    let mut tx = pool.begin().await?;
    make_room_for_default(&mut tx, owner, columns).await?;
    if !rows::update(&mut tx, &TABLE, id, columns, admin).await? {
        return Ok(None); // and the one that is the default stays it
    }
    let row = row(&mut tx, id).await?;
    tx.commit().await?;
    Ok(row)
}

/// The one that was the default is no longer. The user's row is locked first: of two new defaults at once the later one is.
async fn make_room_for_default(tx: &mut PgConnection, user: UserId, columns: &Columns) -> Result<(), StoreError> {
    if columns.get("is_default").and_then(serde_json::Value::as_bool) != Some(true) {
        return Ok(());
    }
    lock_user(&mut *tx, user).await?;
    sqlx::query("UPDATE user_addresses SET is_default = FALSE WHERE user_id = $1 AND is_default")
        .bind(user.0)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets an address; false: it is gone already. Bookings made with it have their own copy.
pub async fn delete(pool: &PgPool, id: i64, admin: Option<UserId>) -> Result<bool, RowError> {
    let mut tx = pool.begin().await?;
    let gone = rows::delete(&mut tx, &TABLE, id, false, admin).await?;
    tx.commit().await?;
    Ok(gone)
}
