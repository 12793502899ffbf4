//! Promo codes as admins keep them. Who may use one, and the count of uses: [`super::promos`].

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::StoreError;
use super::audit_logs::{self, Change};
use super::pages::{Ask, Rows};
use super::rows::{self, Columns, Refused, RowError, Table};
use super::tx::{act_as, commit};
use crate::core::ids::UserId;
use crate::core::money::Money;
use crate::wire::time::WireTime;

const TABLE: Table = Table {
    name: "promo_codes",
    model: r"App\Models\PromoCode",
    private: &[],
    constraints: &[
        ("uq_promo_codes_code", Refused::Wrong("code", "must be a code that no other promo code has")),
        ("promo_codes_percentage", Refused::Wrong("discount_value", "must be at most 100 for a percentage")),
        ("promo_codes_validity", Refused::Wrong("valid_until", "must be after valid_from")),
        ("promo_codes_usage", Refused::Wrong("usage_limit", "must not be below the number of uses so far")),
    ],
};

/// A promo code, to admins.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct PromoCode {
    /// `promo_codes.id`
    pub id: i64,
    /// Read without regard to case.
    #[schema(example = "WELCOME10")]
    pub code: String,
    /// `percentage` or `fixed_amount`.
    #[schema(example = "percentage")]
    pub discount_type: String,
    /// Percent, or an amount.
    #[schema(value_type = String, example = "10.00")]
    pub discount_value: Money,
    /// It takes off no more than this; null: no such limit.
    #[schema(value_type = Option<String>, example = "100.00")]
    pub max_discount_amount: Option<Money>,
    /// `PHP`
    pub currency: String,
    /// From when on it can be used.
    #[schema(value_type = String, format = DateTime)]
    pub valid_from: WireTime,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub valid_until: WireTime,
    /// How often in all; null: no such limit.
    pub usage_limit: Option<i32>,
    /// How often it is used.
    pub usage_count: i32,
    /// How often by one customer; null: no such limit.
    pub per_user_limit: Option<i32>,
    /// Service price and surcharge must come to this; null: any do.
    #[schema(value_type = Option<String>, example = "500.00")]
    pub min_booking_amount: Option<Money>,
    /// `services.id`, but those that are gone; null: all of them.
    #[schema(value_type = Option<Vec<i64>>)]
    pub applicable_service_ids: Option<serde_json::Value>,
    /// `providers.uuid`, but those that are gone; null: all of them.
    pub applicable_provider_ids: Option<Vec<Uuid>>,
    /// Only for a customer's first booking.
    pub new_customers_only: bool,
    /// Switched off, it is unknown to customers.
    pub is_active: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
    /// When it last changed, uses included.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: WireTime,
}

/// The one SELECT of codes; `$tail` says which.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT c.id, c.code, c.discount_type::text AS discount_type, c.discount_value, c.max_discount_amount,
                    'PHP' AS currency, c.valid_from, c.valid_until, c.usage_limit, c.usage_count, c.per_user_limit,
                    c.min_booking_amount,
                    CASE WHEN c.applicable_service_ids IS NOT NULL THEN COALESCE((
                        SELECT jsonb_agg(s.id ORDER BY s.id) FROM services s
                        WHERE s.deleted_at IS NULL AND c.applicable_service_ids @> to_jsonb(s.id)), '[]') END
                        AS applicable_service_ids,
                    CASE WHEN c.applicable_provider_ids IS NOT NULL THEN ARRAY(
                        SELECT p.uuid FROM jsonb_array_elements_text(c.applicable_provider_ids) AS e (id)
                        JOIN providers p ON p.id = CASE WHEN e.id ~ '^[0-9]{1,18}$' THEN e.id::bigint END AND p.deleted_at IS NULL
                        ORDER BY p.id) END AS applicable_provider_ids,
                    c.new_customers_only, c.is_active, c.created_at, c.updated_at
             FROM promo_codes c WHERE ",
            $tail
        )
    };
}

/// A use of a code.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct PromoUsage {
    /// `promo_code_usages.id`
    pub id: i64,
    /// Who used it.
    pub user_uuid: Uuid,
    /// For what.
    pub booking_uuid: Option<Uuid>,
    /// What it took off.
    #[schema(value_type = String, example = "80.00")]
    pub discount_amount: Money,
    /// `PHP`
    pub currency: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
}

/// A page of codes, of those switched on or off alone if that is asked for.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn list(pool: &PgPool, active: Option<bool>, ask: Ask) -> Result<Rows<PromoCode>, StoreError> {
    let rows = sqlx::query_as(ask.of(select!("($3::boolean IS NULL OR c.is_active = $3)"), "c.id"))
        .bind(ask.bound())
        .bind(ask.limit())
        .bind(active)
        .fetch_all(pool)
        .await?;
    Ok(ask.rows(rows))
}

/// One of them.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn find(db: &PgPool, id: i64) -> Result<Option<PromoCode>, StoreError> {
    Ok(sqlx::query_as(select!("c.id = $1")).bind(id).fetch_optional(db).await?)
}

/// A page of a code's uses.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn usages(pool: &PgPool, code: i64, ask: Ask) -> Result<Rows<PromoUsage>, StoreError> {
    let select =
        "SELECT g.id, u.uuid AS user_uuid, b.uuid AS booking_uuid, g.discount_amount, 'PHP' AS currency, g.created_at
                  FROM promo_code_usages g JOIN users u ON u.id = g.user_id LEFT JOIN bookings b ON b.id = g.booking_id
                  WHERE g.promo_code_id = $3";
    let rows =
        sqlx::query_as(ask.of(select, "g.id")).bind(ask.bound()).bind(ask.limit()).bind(code).fetch_all(pool).await?;
    Ok(ask.rows(rows))
}

/// What an admin sets of a code.
pub struct Terms {
    /// Of the row, but for what it is for.
    pub columns: Columns,
    /// `services.id`; `None`: not given, `Some(None)`: all of them.
    pub services: Option<Option<Vec<i64>>>,
    /// `providers.uuid`, likewise.
    pub providers: Option<Option<Vec<Uuid>>>,
}

/// Makes a code of whole terms.
pub async fn create(tx: &mut PgConnection, terms: Terms, by: UserId) -> Result<PromoCode, RowError> {
    let columns = scoped(tx, terms).await?;
    let id = rows::insert(&mut *tx, &TABLE, &columns, None).await?;
    let code = by_id(&mut *tx, id).await?;
    log(tx, by, "created", id, None, Some(&code)).await?;
    Ok(code)
}

/// Changes what is given of a code, for bookings made from then on: one that was made keeps its use, and its discount is computed by
/// the code as it stands at the accept. `None`: there is none.
pub async fn change(pool: &PgPool, id: i64, terms: Terms, by: UserId) -> Result<Option<PromoCode>, RowError> {
    let mut tx = pool.begin().await?;
    act_as(&mut tx, Some(by)).await?;
    let lock = sqlx::query("SELECT 1 FROM promo_codes WHERE id = $1 FOR NO KEY UPDATE").bind(id);
    if lock.execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let before = by_id(&mut tx, id).await?;
    let columns = scoped(&mut tx, terms).await?;
    if !columns.is_empty() {
        rows::update(&mut tx, &TABLE, id, &columns, None).await?;
    }
    let after = by_id(&mut tx, id).await?;
    log(&mut tx, by, "updated", id, Some(&before), Some(&after)).await?;
    commit(tx).await?;
    Ok(Some(after))
}

/// What became of deleting a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeDeleted {
    /// It is gone.
    Gone,
    /// Bookings were made with it: it can be switched off.
    InUse,
    /// There is none.
    NotFound,
}

/// Deletes a code that was never used.
pub async fn delete(pool: &PgPool, id: i64, by: UserId) -> Result<CodeDeleted, RowError> {
    let mut tx = pool.begin().await?;
    let before: Option<PromoCode> = sqlx::query_as(select!("c.id = $1")).bind(id).fetch_optional(&mut *tx).await?;
    let Some(before) = before else { return Ok(CodeDeleted::NotFound) };
    match rows::delete(&mut tx, &TABLE, id, false, None).await {
        Ok(false) => return Ok(CodeDeleted::NotFound),
        Ok(true) => {}
        // What refers to it: bookings, uses.
        Err(RowError::Store(error)) if matches!(error.code().as_deref(), Some("23001" | "23503")) => {
            return Ok(CodeDeleted::InUse);
        }
        Err(error) => return Err(error),
    }
    log(&mut tx, by, "deleted", id, Some(&before), None).await?;
    commit(tx).await?;
    Ok(CodeDeleted::Gone)
}

async fn by_id(tx: &mut PgConnection, id: i64) -> Result<PromoCode, StoreError> {
    Ok(sqlx::query_as(select!("c.id = $1")).bind(id).fetch_one(tx).await?)
}

/// The whole code as admins see it, before and after: its columns name providers by numbers that nobody else knows.
async fn log(
    tx: &mut PgConnection,
    by: UserId,
    action: &'static str,
    id: i64,
    old: Option<&PromoCode>,
    new: Option<&PromoCode>,
) -> Result<(), StoreError> {
    let [old, new] = [old, new].map(|code| code.and_then(|code| serde_json::to_value(code).ok()));
    audit_logs::write(tx, Change { by, action, of: TABLE.model, id, old, new }).await
}

/// The columns with what the code is for, as they hold it.
async fn scoped(tx: &mut PgConnection, terms: Terms) -> Result<Columns, RowError> {
    let Terms { mut columns, services, providers } = terms;
    if let Some(asked) = services {
        let found = match &asked {
            None => None,
            Some(asked) => Some(service_ids(tx, asked).await?),
        };
        columns.set("applicable_service_ids", found);
    }
    if let Some(asked) = providers {
        let found = match &asked {
            None => None,
            Some(asked) => Some(provider_ids(tx, asked).await?),
        };
        columns.set("applicable_provider_ids", found);
    }
    Ok(columns)
}

async fn service_ids(tx: &mut PgConnection, asked: &[i64]) -> Result<Vec<i64>, RowError> {
    let found: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM services WHERE id = ANY($1) AND deleted_at IS NULL ORDER BY id")
            .bind(asked)
            .fetch_all(tx)
            .await?;
    if asked.iter().any(|id| !found.contains(id)) {
        return Err(RowError::Refused(Refused::Wrong("applicable_service_ids", "must be ids of services")));
    }
    Ok(found)
}

async fn provider_ids(tx: &mut PgConnection, asked: &[Uuid]) -> Result<Vec<i64>, RowError> {
    let found: Vec<(i64, Uuid)> =
        sqlx::query_as("SELECT id, uuid FROM providers WHERE uuid = ANY($1) AND deleted_at IS NULL ORDER BY id")
            .bind(asked)
            .fetch_all(tx)
            .await?;
    if asked.iter().any(|uuid| !found.iter().any(|(_, known)| known == uuid)) {
        return Err(RowError::Refused(Refused::Wrong("applicable_provider_ids", "must be uuids of providers")));
    }
    Ok(found.into_iter().map(|(id, _)| id).collect())
}
