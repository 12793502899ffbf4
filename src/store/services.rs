//! `services`, row by row: what people are shown of one, and what admins write. (What can be booked is read whole: [`catalog`](super::catalog).)

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgExecutor, PgPool};

use super::StoreError;
use super::rows::{self, Columns, Refused, RowError, Table};
use crate::core::ids::UserId;
use crate::core::money::Money;

const TABLE: Table = Table {
    name: "services",
    model: r"App\Models\Service",
    private: &[],
    constraints: &[
        ("uq_services_slug_live", Refused::Taken("slug")),
        ("services_category_id_fkey", Refused::NoSuch("category_id")),
    ],
};

/// A service.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = Service)]
pub struct ServiceRow {
    /// `services.id`
    pub id: i64,
    /// `swedish-massage`
    #[schema(example = "swedish-massage")]
    pub slug: String,
    /// `Swedish Massage`
    pub name: String,
    /// Its category.
    pub category_id: Option<i64>,
    /// Slug of its category.
    pub category: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// In a line or two.
    pub short_description: Option<String>,
    /// Therapists and stores have prices of their own; this one is for estimates.
    #[schema(value_type = String, example = "800.00")]
    pub base_price: Money,
    /// `PHP`
    #[schema(example = "PHP")]
    pub currency: String,
    /// How long it takes.
    pub duration_minutes: i32,
    /// A picture.
    pub image_url: Option<String>,
    /// What it is good for: a list of texts.
    #[schema(value_type = Option<Vec<String>>)]
    pub benefits: Option<Value>,
    /// Who should not have it: a list of texts.
    #[schema(value_type = Option<Vec<String>>)]
    pub contraindications: Option<Value>,
    /// Whether it can be booked.
    pub is_active: bool,
    /// Within its category, smallest first.
    pub sort_order: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT s.id, s.slug, s.name, s.category_id, c.slug AS category, s.description, s.short_description, s.base_price,
                    s.currency, s.duration_minutes, s.image_url, s.benefits, s.contraindications, s.is_active, s.sort_order,
                    s.created_at, s.updated_at
             FROM services s LEFT JOIN service_categories c ON c.id = s.category_id
             WHERE s.deleted_at IS NULL AND ",
            $which
        )
    };
}

/// In the order in which they are shown; with `inactive` those too that cannot be booked.
pub async fn list(pool: &PgPool, inactive: bool) -> Result<Vec<ServiceRow>, StoreError> {
    let sql = select!("($1 OR s.is_active) ORDER BY c.sort_order NULLS LAST, s.sort_order, s.id");
    Ok(sqlx::query_as(sql).bind(inactive).fetch_all(pool).await?)
}

/// By slug, or by id in digits.
pub async fn find(db: impl PgExecutor<'_>, slug_or_id: &str) -> Result<Option<ServiceRow>, StoreError> {
    let sql = select!("(s.slug = $1 OR s.id::text = $1) ORDER BY s.slug = $1 DESC LIMIT 1");
    Ok(sqlx::query_as(sql).bind(slug_or_id).fetch_optional(db).await?)
}

/// Makes a service.
pub async fn create(tx: &mut sqlx::PgConnection, columns: &Columns, admin: UserId) -> Result<ServiceRow, RowError> {
    let id = rows::insert(&mut *tx, &TABLE, columns, Some(admin)).await?;
    find(tx, &id.to_string()).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
}

/// Changes a service; `None`: it is gone.
pub async fn change(pool: &PgPool, id: i64, columns: &Columns, admin: UserId) -> Result<Option<ServiceRow>, RowError> {
    let mut tx = pool.begin().await?;
    let there = sqlx::query("SELECT 1 FROM services WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE");
    if there.bind(id).fetch_optional(&mut *tx).await?.is_none() {
        return Ok(None);
    }
    rows::update(&mut tx, &TABLE, id, columns, Some(admin)).await?;
    let row = find(&mut *tx, &id.to_string()).await?;
    tx.commit().await?;
    Ok(row)
}

/// Takes a service out of the catalogue; false: it is gone already. Bookings of it stay.
pub async fn delete(pool: &PgPool, id: i64, admin: UserId) -> Result<bool, RowError> {
    let mut tx = pool.begin().await?;
    let gone = rows::delete(&mut tx, &TABLE, id, true, Some(admin)).await?;
    tx.commit().await?;
    Ok(gone)
}
