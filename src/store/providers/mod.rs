//! `providers`: therapists and stores as their owners and admins see them, and as everybody may.

pub mod documents;
pub mod locations;
pub mod services;
pub mod store_profiles;
pub mod therapist_profiles;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgExecutor, PgPool, QueryBuilder};
use uuid::Uuid;

use self::store_profiles::PublicStore;
use self::therapist_profiles::PublicTherapist;
use super::StoreError;
use super::pages::{self, Ask, Rows};
use super::rows::{self, Columns, Refused, RowError, Table};
use super::tx::clock;
use crate::core::ids::{ProviderId, UserId};
use crate::core::money::Money;

const TABLE: Table = Table {
    name: "providers",
    model: r"App\Models\Provider",
    private: &["business_registration_number", "tax_id"],
    constraints: &[("uq_providers_one_therapist_per_user", Refused::Taken("type"))],
};

/// A provider, to its owner and to admins.
#[derive(Clone, PartialEq, Debug, Serialize, FromRow, utoipa::ToSchema)]
#[schema(as = Provider)]
pub struct ProviderRow {
    /// `providers.uuid`
    pub uuid: Uuid,
    /// Its owner: `users.uuid`.
    pub user_uuid: Uuid,
    /// `therapist` or `store`.
    pub r#type: String,
    /// `pending`, `under_review`, `verified` or `rejected`.
    pub verification_status: String,
    /// Since when it is verified.
    pub verified_at: Option<DateTime<Utc>>,
    /// With `rejected`: why.
    pub rejection_reason: Option<String>,
    /// Whether it may work at all.
    pub is_active: bool,
    /// Whether a therapist takes offers now: `PUT /v1/me/availability`.
    pub is_available: bool,
    /// Goes to customers.
    pub accepts_home_service: bool,
    /// Receives customers.
    pub accepts_store_service: bool,
    /// As registered.
    pub business_name: Option<String>,
    /// As registered.
    pub business_registration_number: Option<String>,
    /// As registered.
    pub tax_id: Option<String>,
    /// 0 to 5.
    pub average_rating: f64,
    /// How many reviews that is of.
    pub total_reviews: i32,
    /// How many were completed.
    pub total_bookings: i32,
    /// Over all.
    #[schema(value_type = String, example = "0.00")]
    pub total_earnings: Money,
    /// What the platform keeps, percent.
    pub commission_rate: f64,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A verified provider, to everybody: nothing of where a therapist lives or is.
#[derive(Clone, Debug, Serialize, FromRow, utoipa::ToSchema)]
pub struct PublicProvider {
    /// `providers.uuid`
    pub uuid: Uuid,
    /// `therapist` or `store`.
    pub r#type: String,
    /// Of a therapist.
    pub first_name: Option<String>,
    /// Goes to customers.
    pub accepts_home_service: bool,
    /// Receives customers.
    pub accepts_store_service: bool,
    /// 0 to 5.
    pub average_rating: f64,
    /// How many reviews that is of.
    pub total_reviews: i32,
    /// Of a therapist who has said something of himself.
    #[schema(value_type = Option<PublicTherapist>)]
    pub therapist_profile: Option<Json<PublicTherapist>>,
    /// Of a store that has.
    #[schema(value_type = Option<PublicStore>)]
    pub store_profile: Option<Json<PublicStore>>,
}

/// A provider, whose it is, and whether everybody may see it.
#[derive(Clone, Debug, FromRow)]
pub struct Found {
    /// `providers.id`
    pub id: i64,
    /// Its owner.
    pub user_id: i64,
    /// Verified, active, its owner too.
    pub public: bool,
    /// Itself.
    #[sqlx(flatten)]
    pub row: ProviderRow,
}

impl Found {
    /// `providers.id`
    pub const fn provider(&self) -> ProviderId {
        ProviderId(self.id)
    }

    /// Whether it is a therapist.
    pub fn is_therapist(&self) -> bool {
        self.row.r#type == "therapist"
    }
}

const SELECT: &str = "SELECT p.id, p.user_id, p.verification_status = 'verified' AND p.is_active AND u.is_active AND u.deleted_at IS NULL AS public,
            p.uuid, u.uuid AS user_uuid, p.type::text AS type, p.verification_status::text AS verification_status, p.verified_at,
            p.rejection_reason, p.is_active, p.is_available, p.accepts_home_service, p.accepts_store_service, p.business_name,
            p.business_registration_number, p.tax_id, p.average_rating::float8 AS average_rating, p.total_reviews,
            p.total_bookings, p.total_earnings, p.commission_rate::float8 AS commission_rate, p.created_at, p.updated_at
     FROM providers p JOIN users u ON u.id = p.user_id WHERE p.deleted_at IS NULL";

/// The provider with this public id.
pub async fn find(db: impl PgExecutor<'_>, uuid: Uuid) -> Result<Option<Found>, StoreError> {
    let mut select = QueryBuilder::new(SELECT);
    Ok(select.push(" AND p.uuid = ").push_bind(uuid).build_query_as().fetch_optional(db).await?)
}

async fn by_id(db: impl PgExecutor<'_>, id: i64) -> Result<Option<ProviderRow>, StoreError> {
    let mut select = QueryBuilder::new(SELECT);
    let found: Option<Found> = select.push(" AND p.id = ").push_bind(id).build_query_as().fetch_optional(db).await?;
    Ok(found.map(|found| found.row))
}

/// Which providers are listed: of those, all that are given.
#[derive(Clone, Copy, Default, Debug)]
pub struct Filter {
    /// A word of `provider_type`.
    pub r#type: Option<&'static str>,
    /// A word of `verification_status`.
    pub verification_status: Option<&'static str>,
    /// As the column.
    pub is_active: Option<bool>,
}

/// Providers, the newest first.
pub async fn list(pool: &PgPool, filter: Filter, ask: Ask) -> Result<Rows<Found>, StoreError> {
    let mut select = QueryBuilder::new(SELECT);
    if let Some(word) = filter.r#type {
        select.push(" AND p.type = ").push_bind(word).push("::provider_type");
    }
    if let Some(word) = filter.verification_status {
        select.push(" AND p.verification_status = ").push_bind(word).push("::verification_status");
    }
    if let Some(active) = filter.is_active {
        select.push(" AND p.is_active = ").push_bind(active);
    }
    pages::read(pool, select, "p.id", |id| id, ask).await
}

/// What everybody may see of a provider that everybody may see.
pub async fn public(pool: &PgPool, provider: ProviderId) -> Result<Option<PublicProvider>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT p.uuid, p.type::text AS type, CASE WHEN p.type = 'therapist' THEN u.first_name END AS first_name,
                p.accepts_home_service, p.accepts_store_service, p.average_rating::float8 AS average_rating, p.total_reviews,
                CASE WHEN t.id IS NOT NULL THEN jsonb_build_object(
                    'bio', t.bio, 'professional_photo_url', t.professional_photo_url, 'specializations', t.specializations,
                    'languages_spoken', t.languages_spoken, 'years_of_experience', t.years_of_experience,
                    'certifications', t.certifications, 'has_own_equipment', t.has_own_equipment,
                    'equipment_list', t.equipment_list) END AS therapist_profile,
                CASE WHEN s.id IS NOT NULL THEN jsonb_build_object(
                    'store_name', s.store_name, 'description', s.description, 'logo_url', s.logo_url,
                    'cover_photo_url', s.cover_photo_url, 'photos', s.photos, 'address_line1', s.address_line1,
                    'address_line2', s.address_line2, 'city', s.city, 'province', s.province, 'postal_code', s.postal_code,
                    'latitude', s.latitude::float8, 'longitude', s.longitude::float8, 'phone', s.phone, 'email', s.email,
                    'website', s.website, 'operating_hours', s.operating_hours, 'amenities', s.amenities,
                    'payment_methods', s.payment_methods, 'cancellation_policy', s.cancellation_policy,
                    'house_rules', s.house_rules) END AS store_profile
         FROM providers p JOIN users u ON u.id = p.user_id
         LEFT JOIN therapist_profiles t ON t.provider_id = p.id
         LEFT JOIN store_profiles s ON s.provider_id = p.id
         WHERE p.id = $1 AND p.deleted_at IS NULL",
    )
    .bind(provider.0)
    .fetch_optional(pool)
    .await?)
}

/// Registers a provider of `owner`, pending. A therapist has a profile from the start, in which nothing is said yet.
pub async fn create(
    tx: &mut PgConnection,
    owner: UserId,
    mut columns: Columns,
) -> Result<(ProviderId, ProviderRow), RowError> {
    columns.set("user_id", owner);
    let id = rows::insert(tx, &TABLE, &columns, None).await?;
    if columns.get("type").and_then(Value::as_str) == Some("therapist") {
        sqlx::query("INSERT INTO therapist_profiles (provider_id) VALUES ($1)").bind(id).execute(&mut *tx).await?;
    }
    let row = by_id(tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok((ProviderId(id), row))
}

/// Changes a provider; `None`: it is gone. `admin`: who changes it, if it is not his; who verifies is kept.
pub async fn change(
    pool: &PgPool,
    provider: ProviderId,
    mut columns: Columns,
    admin: Option<UserId>,
) -> Result<Option<ProviderRow>, RowError> {
    let mut tx = pool.begin().await?;
    let there = sqlx::query("SELECT 1 FROM providers WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE");
    if there.bind(provider.0).fetch_optional(&mut *tx).await?.is_none() {
        return Ok(None);
    }
    judge(&mut tx, &mut columns, admin).await?;
    rows::update(&mut tx, &TABLE, provider.0, &columns, admin).await?;
    let row = by_id(&mut *tx, provider.0).await?;
    tx.commit().await?;
    Ok(row)
}

/// With a `verification_status` goes by whom and when, and no reason of another time.
async fn judge(tx: &mut PgConnection, columns: &mut Columns, admin: Option<UserId>) -> Result<(), StoreError> {
    let Some(status) = columns.get("verification_status").and_then(Value::as_str) else { return Ok(()) };
    let (verified, rejected) = (status == "verified", status == "rejected");
    let now = clock(tx).await?;
    columns.set("verified_at", verified.then_some(now));
    columns.set("verified_by", admin.filter(|_| verified));
    if !rejected {
        columns.set("rejection_reason", Value::Null);
    }
    Ok(())
}

/// Holds the provider until the transaction ends, so that of two who make its profile one does.
async fn hold(tx: &mut PgConnection, provider: ProviderId) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM providers WHERE id = $1 FOR NO KEY UPDATE").bind(provider.0).execute(tx).await?;
    Ok(())
}

/// Writes what is given into a provider's profile, which is made if there is none; as `find` then has it.
async fn put_profile<R: for<'r> FromRow<'r, PgRow> + Send + Unpin>(
    pool: &PgPool,
    table: &Table,
    find: &'static str,
    provider: ProviderId,
    mut columns: Columns,
    admin: Option<UserId>,
) -> Result<R, RowError> {
    let mut tx = pool.begin().await?;
    hold(&mut tx, provider).await?;
    let id = AssertSqlSafe(format!("SELECT id FROM {} WHERE provider_id = $1", table.name));
    let there: Option<i64> = sqlx::query_scalar(id).bind(provider.0).fetch_optional(&mut *tx).await?;
    columns.set("provider_id", provider);
    rows::put(&mut tx, table, there, &columns, admin).await?;
    let row = sqlx::query_as(find).bind(provider.0).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(row)
}
