//! `provider_documents`: the papers that a provider shows, and what admins found of them.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, QueryBuilder};

use super::super::StoreError;
use super::super::pages::{self, Ask, Rows};
use super::super::rows::{self, Columns, RowError, Table};
use super::judge;
use crate::core::ids::{ProviderId, UserId};

const TABLE: Table = Table {
    name: "provider_documents",
    model: r"App\Models\ProviderDocument",
    private: &["file_url", "file_name"],
    constraints: &[],
};

/// A paper.
#[derive(Clone, PartialEq, Debug, Serialize, FromRow, utoipa::ToSchema)]
#[schema(as = ProviderDocument)]
pub struct DocumentRow {
    /// `provider_documents.id`
    pub id: i64,
    /// `government_id`, `license`, `nbi_clearance`, `health_cert` …
    #[schema(example = "license")]
    pub document_type: String,
    /// Where it lies.
    pub file_url: String,
    /// As it was uploaded.
    pub file_name: Option<String>,
    /// Bytes.
    pub file_size: Option<i64>,
    /// `application/pdf` …
    pub mime_type: Option<String>,
    /// `pending`, `verified` or `rejected`.
    pub verification_status: String,
    /// Since when it is verified.
    pub verified_at: Option<DateTime<Utc>>,
    /// With `rejected`: why.
    pub rejection_reason: Option<String>,
    /// Its last day.
    pub expiry_date: Option<NaiveDate>,
    /// When it was shown.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT id, document_type, file_url, file_name, file_size, mime_type, verification_status::text AS verification_status,
            verified_at, rejection_reason, expiry_date, created_at, updated_at FROM provider_documents WHERE ";

/// A provider's papers, the newest first.
pub async fn list(pool: &PgPool, provider: ProviderId, ask: Ask) -> Result<Rows<DocumentRow>, StoreError> {
    let mut select = QueryBuilder::new(SELECT);
    select.push("provider_id = ").push_bind(provider.0);
    pages::read(pool, select, "id", |id| id, ask).await
}

/// A paper.
pub async fn find(db: impl PgExecutor<'_>, id: i64) -> Result<Option<DocumentRow>, StoreError> {
    Ok(QueryBuilder::new(SELECT).push("id = ").push_bind(id).build_query_as().fetch_optional(db).await?)
}

/// Whose paper this is.
pub async fn owner(pool: &PgPool, id: i64) -> Result<Option<UserId>, StoreError> {
    let owner: Option<i64> = sqlx::query_scalar(
        "SELECT p.user_id FROM provider_documents d JOIN providers p ON p.id = d.provider_id
         WHERE d.id = $1 AND p.deleted_at IS NULL",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    Ok(owner.map(UserId))
}

/// Shows a paper.
pub async fn create(
    tx: &mut PgConnection,
    provider: ProviderId,
    mut columns: Columns,
    admin: Option<UserId>,
) -> Result<DocumentRow, RowError> {
    columns.set("provider_id", provider);
    let id = rows::insert(&mut *tx, &TABLE, &columns, admin).await?;
    find(tx, id).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
}

/// Changes a paper; `None`: it is gone. Who verifies it is kept.
pub async fn change(
    pool: &PgPool,
    id: i64,
    mut columns: Columns,
    admin: UserId,
) -> Result<Option<DocumentRow>, RowError> {
    let mut tx = pool.begin().await?;
    let there = sqlx::query(
        "SELECT 1 FROM provider_documents d JOIN providers p ON p.id = d.provider_id AND p.deleted_at IS NULL
         WHERE d.id = $1 FOR NO KEY UPDATE OF d",
    );
    if there.bind(id).fetch_optional(&mut *tx).await?.is_none() {
        return Ok(None);
    }
    judge(&mut tx, &mut columns, Some(admin)).await?;
    rows::update(&mut tx, &TABLE, id, &columns, Some(admin)).await?;
    let row = find(&mut *tx, id).await?;
    tx.commit().await?;
    Ok(row)
}

/// What became of a paper that was to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// It is verified: only an admin removes it.
    Verified,
    /// There is none.
    NotFound,
}

/// Removes a paper; one that is verified only as an admin.
pub async fn delete(pool: &PgPool, id: i64, admin: Option<UserId>) -> Result<Deleted, RowError> {
    let mut tx = pool.begin().await?;
    let status: Option<String> =
        sqlx::query_scalar("SELECT verification_status::text FROM provider_documents WHERE id = $1 FOR UPDATE")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
    match status.as_deref() {
        None => return Ok(Deleted::NotFound),
        Some("verified") if admin.is_none() => return Ok(Deleted::Verified),
        Some(_) => {}
    }
    rows::delete(&mut tx, &TABLE, id, false, admin).await?;
    tx.commit().await?;
    Ok(Deleted::Gone)
}
