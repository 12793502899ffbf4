//! `provider_services`: what a provider offers, at what price, how far away.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, QueryBuilder};

use super::super::StoreError;
use super::super::rows::{self, Columns, Refused, RowError, Table};
use super::hold;
use crate::core::ids::{ProviderId, UserId};
use crate::core::money::Money;

const TABLE: Table = Table {
    name: "provider_services",
    model: r"App\Models\ProviderService",
    private: &[],
    constraints: &[("provider_services_service_id_fkey", Refused::NoSuch("service"))],
};

/// A service as a provider offers it.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[schema(as = ProviderService)]
pub struct OfferedRow {
    /// `services.id`
    pub service_id: i64,
    /// Its slug.
    #[schema(example = "swedish-massage")]
    pub service: String,
    /// Its name.
    pub name: String,
    /// How long it takes.
    pub duration_minutes: i32,
    /// The provider's own.
    #[schema(value_type = String, example = "850.00")]
    pub price: Money,
    /// `PHP`
    pub currency: String,
    /// Whether it is offered now.
    pub is_available: bool,
    /// At the customer's.
    pub home_service_enabled: bool,
    /// At the provider's.
    pub store_service_enabled: bool,
    /// So far without a surcharge; to the provider's owner and admins, else null.
    pub base_distance_km: Option<i32>,
    /// For each km beyond; to the provider's owner and admins, else null: with it, a booking's surcharge says how far he has come.
    #[schema(value_type = Option<String>, example = "20.00")]
    pub per_km_surcharge: Option<Money>,
    /// No farther.
    pub max_travel_distance_km: i32,
    /// When it was first offered.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT ps.service_id, s.slug AS service, s.name, s.duration_minutes, ps.price, s.currency, ps.is_available,
            ps.home_service_enabled, ps.store_service_enabled, ps.base_distance_km, ps.per_km_surcharge, ps.max_travel_distance_km,
            ps.created_at, ps.updated_at
     FROM provider_services ps JOIN services s ON s.id = ps.service_id AND s.deleted_at IS NULL WHERE ps.provider_id = ";

/// What a provider offers, as its owner and admins see it: with `all` also what can not be booked now, and the terms of the way.
pub async fn list(pool: &PgPool, provider: ProviderId, all: bool) -> Result<Vec<OfferedRow>, StoreError> {
    let mut select = QueryBuilder::new(SELECT);
    select.push_bind(provider.0);
    if !all {
        select.push(" AND ps.is_available AND s.is_active");
    }
    let mut rows: Vec<OfferedRow> =
        select.push(" ORDER BY s.sort_order, s.id").build_query_as().fetch_all(pool).await?;
    if !all {
        rows.iter_mut().for_each(|row| (row.base_distance_km, row.per_km_surcharge) = (None, None));
    }
    Ok(rows)
}

async fn id(tx: &mut PgConnection, provider: ProviderId, service: i64) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar("SELECT id FROM provider_services WHERE provider_id = $1 AND service_id = $2")
        .bind(provider.0)
        .bind(service)
        .fetch_optional(tx)
        .await?)
}

/// Offers a service so, from now on; `None`: the service is gone.
pub async fn put(
    pool: &PgPool,
    provider: ProviderId,
    service: i64,
    mut columns: Columns,
    admin: Option<UserId>,
) -> Result<Option<OfferedRow>, RowError> {
    let mut tx = pool.begin().await?;
    hold(&mut tx, provider).await?;
    // It stays until this is done.
    let there = sqlx::query("SELECT 1 FROM services WHERE id = $1 AND deleted_at IS NULL FOR SHARE").bind(service);
    if there.fetch_optional(&mut *tx).await?.is_none() {
        return Ok(None);
    }
    let there = id(&mut tx, provider, service).await?;
    columns.set("provider_id", provider);
    columns.set("service_id", service);
    rows::put(&mut tx, &TABLE, there, &columns, admin).await?;
    let mut select = QueryBuilder::new(SELECT);
    select.push_bind(provider.0).push(" AND ps.service_id = ").push_bind(service);
    let row = select.build_query_as().fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(Some(row))
}

/// Offers a service no more, one that is gone from the catalogue too; false: it was not offered.
pub async fn delete(
    pool: &PgPool,
    provider: ProviderId,
    slug_or_id: &str,
    admin: Option<UserId>,
) -> Result<bool, RowError> {
    let mut tx = pool.begin().await?;
    // The slug of one that is gone may be another's now.
    let there: Option<i64> = sqlx::query_scalar(
        "SELECT ps.id FROM provider_services ps JOIN services s ON s.id = ps.service_id
         WHERE ps.provider_id = $1 AND (s.slug = $2 OR s.id::text = $2)
         ORDER BY s.deleted_at DESC NULLS FIRST, s.slug = $2 DESC LIMIT 1",
    )
    .bind(provider.0)
    .bind(slug_or_id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(there) = there else { return Ok(false) };
    let gone = rows::delete(&mut tx, &TABLE, there, false, admin).await?;
    tx.commit().await?;
    Ok(gone)
}
