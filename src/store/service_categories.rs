//! `service_categories`: under what services are shown.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::StoreError;
use super::rows::{self, Columns, Refused, RowError, Table};
use crate::core::ids::UserId;

const TABLE: Table = Table {
    name: "service_categories",
    model: r"App\Models\ServiceCategory",
    private: &[],
    constraints: &[("service_categories_slug_key", Refused::Taken("slug"))],
};

/// A category.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = ServiceCategory)]
pub struct CategoryRow {
    /// `service_categories.id`
    pub id: i64,
    /// `Massage Therapy`
    pub name: String,
    /// `massage-therapy`
    #[schema(example = "massage-therapy")]
    pub slug: String,
    /// For people.
    pub description: Option<String>,
    /// A picture.
    pub icon_url: Option<String>,
    /// Smallest first.
    pub sort_order: i32,
    /// Whether it is shown. Services of one that is not can be booked all the same.
    pub is_active: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT id, name, slug, description, icon_url, sort_order, is_active, created_at, updated_at
             FROM service_categories WHERE ",
            $which
        )
    };
}

/// In the order in which they are shown; with `inactive` those too that are not shown.
pub async fn list(pool: &PgPool, inactive: bool) -> Result<Vec<CategoryRow>, StoreError> {
    Ok(sqlx::query_as(select!("$1 OR is_active ORDER BY sort_order, id")).bind(inactive).fetch_all(pool).await?)
}

/// A category, shown or not.
pub async fn find(db: impl PgExecutor<'_>, id: i64) -> Result<Option<CategoryRow>, StoreError> {
    Ok(sqlx::query_as(select!("id = $1")).bind(id).fetch_optional(db).await?)
}

/// Makes a category.
pub async fn create(tx: &mut PgConnection, columns: &Columns, admin: UserId) -> Result<CategoryRow, RowError> {
    let id = rows::insert(&mut *tx, &TABLE, columns, Some(admin)).await?;
    find(tx, id).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
}

/// Changes a category; `None`: there is none.
pub async fn change(pool: &PgPool, id: i64, columns: &Columns, admin: UserId) -> Result<Option<CategoryRow>, RowError> {
    let mut tx = pool.begin().await?;
    rows::update(&mut tx, &TABLE, id, columns, Some(admin)).await?;
    let row = find(&mut *tx, id).await?;
    tx.commit().await?;
    Ok(row)
}

/// What became of a category that was to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// It has so many services.
    InUse(i64),
    /// There is none.
    NotFound,
}

/// Removes a category that has no services.
pub async fn delete(pool: &PgPool, id: i64, admin: UserId) -> Result<Deleted, RowError> {
    let mut tx = pool.begin().await?;
    // A service that comes into it meanwhile waits for this, and then finds no such category; one that came before is counted.
    let known =
        sqlx::query("SELECT 1 FROM service_categories WHERE id = $1 FOR UPDATE").bind(id).execute(&mut *tx).await?;
    if known.rows_affected() == 0 {
        return Ok(Deleted::NotFound);
    }
    let services: i64 =
        sqlx::query_scalar("SELECT count(*) FROM services WHERE category_id = $1 AND deleted_at IS NULL")
            .bind(id)
            .fetch_one(&mut *tx)
            .await?;
    if services > 0 {
        return Ok(Deleted::InUse(services));
    }
    rows::delete(&mut tx, &TABLE, id, false, Some(admin)).await?;
    tx.commit().await?;
    Ok(Deleted::Gone)
}
