//! Promo codes as admins keep them. Who may use one, and the count of uses: [`super::promos`].

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::StoreError;
use super::audit_logs;
use super::idempotency::{self, Key, Once};
use super::pages::{Ask, Rows};
use super::tx::{act_as, commit};
use crate::core::ids::UserId;
use crate::core::money::Money;
use crate::wire::time::{WireTime, to_chrono};

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

/// All that an admin sets of a code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// At most 50 characters.
    pub code: String,
    /// A word of `discount_type`.
    pub discount_type: &'static str,
    /// Above 0.
    pub discount_value: Money,
    /// Above 0.
    pub max_discount_amount: Option<Money>,
    /// Before `valid_until`.
    pub valid_from: WireTime,
    /// After `valid_from`.
    pub valid_until: WireTime,
    /// At least 1.
    pub usage_limit: Option<i32>,
    /// At least 1.
    pub per_user_limit: Option<i32>,
    /// Not below 0.
    pub min_booking_amount: Option<Money>,
    /// `services.id`
    pub services: Option<Vec<i64>>,
    /// `providers.uuid`
    pub providers: Option<Vec<Uuid>>,
    /// Only for a customer's first booking.
    pub new_customers_only: bool,
    /// Whether it can be used at all.
    pub is_active: bool,
}

/// What an admin changes of a code; `None`: that stays. (`Some(None)`: no such limit any more.)
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// As in [`Terms`], and so all that follow.
    pub code: Option<String>,
    /// A word of `discount_type`.
    pub discount_type: Option<&'static str>,
    /// Above 0.
    pub discount_value: Option<Money>,
    /// Above 0.
    pub max_discount_amount: Option<Option<Money>>,
    /// Before `valid_until`.
    pub valid_from: Option<WireTime>,
    /// After `valid_from`.
    pub valid_until: Option<WireTime>,
    /// At least 1.
    pub usage_limit: Option<Option<i32>>,
    /// At least 1.
    pub per_user_limit: Option<Option<i32>>,
    /// Not below 0.
    pub min_booking_amount: Option<Option<Money>>,
    /// `services.id`
    pub services: Option<Option<Vec<i64>>>,
    /// `providers.uuid`
    pub providers: Option<Option<Vec<Uuid>>>,
    /// Only for a customer's first booking.
    pub new_customers_only: Option<bool>,
    /// Whether it can be used at all.
    pub is_active: Option<bool>,
}

/// Why the database does not take a code.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodeRefused {
    /// `uq_promo_codes_code`
    #[error("must be a code that no other promo code has")]
    Taken,
    /// `promo_codes_percentage`
    #[error("must be at most 100 for a percentage")]
    Percentage,
    /// `promo_codes_validity`
    #[error("must be after valid_from")]
    Validity,
    /// `promo_codes_usage`
    #[error("must not be below the number of uses so far")]
    Usage,
    /// `services`
    #[error("must be ids of services")]
    NoSuchService,
    /// `providers`
    #[error("must be uuids of providers")]
    NoSuchProvider,
}

impl CodeRefused {
    /// The field that can be corrected.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Taken => "code",
            Self::Percentage => "discount_value",
            Self::Validity => "valid_until",
            Self::Usage => "usage_limit",
            Self::NoSuchService => "applicable_service_ids",
            Self::NoSuchProvider => "applicable_provider_ids",
        }
    }

    fn of(error: &StoreError) -> Option<Self> {
        match error.constraint()? {
            "uq_promo_codes_code" => Some(Self::Taken),
            "promo_codes_percentage" => Some(Self::Percentage),
            "promo_codes_validity" => Some(Self::Validity),
            "promo_codes_usage" => Some(Self::Usage),
            _ => None,
        }
    }
}

/// Makes a code.
///
/// # Errors
/// [`StoreError::Undecided`] when its commit was not answered.
pub async fn create(
    pool: &PgPool,
    by: UserId,
    terms: &Terms,
    key: Option<Key>,
) -> Result<Once<PromoCode, CodeRefused>, StoreError> {
    let mut begun = match idempotency::begin(pool, by, key).await? {
        Ok(begun) => begun,
        Err(before) => return Ok(Once::Before(before)),
    };
    let tx = &mut *begun.tx;
    let scope = match scope(tx, terms.services.as_deref(), terms.providers.as_deref()).await? {
        Ok(scope) => scope,
        Err(refused) => return Ok(Once::Refused(refused)),
    };
    let made = sqlx::query_scalar(
        "INSERT INTO promo_codes (code, discount_type, discount_value, max_discount_amount, valid_from, valid_until,
                                  usage_limit, per_user_limit, min_booking_amount, applicable_service_ids,
                                  applicable_provider_ids, new_customers_only, is_active)
         VALUES ($1, $2::discount_type, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id",
    )
    .bind(&terms.code)
    .bind(terms.discount_type)
    .bind(terms.discount_value.decimal())
    .bind(terms.max_discount_amount.map(Money::decimal))
    .bind(to_chrono(terms.valid_from.0))
    .bind(to_chrono(terms.valid_until.0))
    .bind(terms.usage_limit)
    .bind(terms.per_user_limit)
    .bind(terms.min_booking_amount.map(Money::decimal))
    .bind(scope.services)
    .bind(scope.providers)
    .bind(terms.new_customers_only)
    .bind(terms.is_active)
    .fetch_one(&mut *tx)
    .await
    .map_err(StoreError::from);
    let id: i64 = match made {
        Ok(id) => id,
        Err(error) => return CodeRefused::of(&error).map(Once::Refused).ok_or(error),
    };
    let code = by_id(tx, id).await?;
    let new = serde_json::to_value(&code).ok();
    audit_logs::write(
        tx,
        audit_logs::Change { by, action: "created", of: r"App\Models\PromoCode", id, old: None, new },
    )
    .await?;
    begun.made(code.clone(), &code).await
}

/// Changes a code, for bookings made from then on: one that was made keeps its use, and its discount is computed by the code as
/// it stands at the accept. `None`: there is none.
///
/// # Errors
/// [`StoreError::Database`]
pub async fn change(
    pool: &PgPool,
    id: i64,
    by: UserId,
    change: &Change,
) -> Result<Option<Result<PromoCode, CodeRefused>>, StoreError> {
    let mut tx = pool.begin().await?;
    act_as(&mut tx, Some(by)).await?;
    let lock = sqlx::query("SELECT 1 FROM promo_codes WHERE id = $1 FOR NO KEY UPDATE").bind(id);
    if lock.execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let before = by_id(&mut tx, id).await?;
    let (services, providers) = (change.services.clone().flatten(), change.providers.clone().flatten());
    let scope = match scope(&mut tx, services.as_deref(), providers.as_deref()).await? {
        Ok(scope) => scope,
        Err(refused) => return Ok(Some(Err(refused))),
    };
    if let Err(error) = update(&mut tx, id, change, scope).await {
        return CodeRefused::of(&error).map(|refused| Some(Err(refused))).ok_or(error);
    }
    let after = by_id(&mut tx, id).await?;
    let told = (serde_json::to_value(&before).ok(), serde_json::to_value(&after).ok());
    audit_logs::write(
        &mut tx,
        audit_logs::Change { by, action: "updated", of: r"App\Models\PromoCode", id, old: told.0, new: told.1 },
    )
    .await?;
    commit(tx).await?;
    Ok(Some(Ok(after)))
}

async fn update(tx: &mut PgConnection, id: i64, change: &Change, scope: Scope) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE promo_codes
         SET code = COALESCE($2, code), discount_type = COALESCE($3::discount_type, discount_type),
             discount_value = COALESCE($4, discount_value),
             max_discount_amount = CASE WHEN $5 THEN $6 ELSE max_discount_amount END,
             valid_from = COALESCE($7, valid_from), valid_until = COALESCE($8, valid_until),
             usage_limit = CASE WHEN $9 THEN $10 ELSE usage_limit END,
             per_user_limit = CASE WHEN $11 THEN $12 ELSE per_user_limit END,
             min_booking_amount = CASE WHEN $13 THEN $14 ELSE min_booking_amount END,
             applicable_service_ids = CASE WHEN $15 THEN $16 ELSE applicable_service_ids END,
             applicable_provider_ids = CASE WHEN $17 THEN $18 ELSE applicable_provider_ids END,
             new_customers_only = COALESCE($19, new_customers_only), is_active = COALESCE($20, is_active)
         WHERE id = $1",
    )
    .bind(id)
    .bind(&change.code)
    .bind(change.discount_type)
    .bind(change.discount_value.map(Money::decimal))
    .bind(change.max_discount_amount.is_some())
    .bind(change.max_discount_amount.flatten().map(Money::decimal))
    .bind(change.valid_from.and_then(|at| to_chrono(at.0)))
    .bind(change.valid_until.and_then(|at| to_chrono(at.0)))
    .bind(change.usage_limit.is_some())
    .bind(change.usage_limit.flatten())
    .bind(change.per_user_limit.is_some())
    .bind(change.per_user_limit.flatten())
    .bind(change.min_booking_amount.is_some())
    .bind(change.min_booking_amount.flatten().map(Money::decimal))
    .bind(change.services.is_some())
    .bind(scope.services)
    .bind(change.providers.is_some())
    .bind(scope.providers)
    .bind(change.new_customers_only)
    .bind(change.is_active)
    .execute(tx)
    .await?;
    Ok(())
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
///
/// # Errors
/// [`StoreError::Database`]
pub async fn delete(pool: &PgPool, id: i64, by: UserId) -> Result<CodeDeleted, StoreError> {
    let mut tx = pool.begin().await?;
    let Some(before) = sqlx::query_as(select!("c.id = $1")).bind(id).fetch_optional(&mut *tx).await? else {
        return Ok(CodeDeleted::NotFound);
    };
    let before: PromoCode = before;
    let gone = sqlx::query("DELETE FROM promo_codes WHERE id = $1").bind(id).execute(&mut *tx).await;
    match gone.map_err(StoreError::from) {
        Ok(gone) if gone.rows_affected() == 0 => return Ok(CodeDeleted::NotFound),
        Ok(_) => {}
        // What refers to it: bookings, uses.
        Err(error) if matches!(error.code().as_deref(), Some("23001" | "23503")) => return Ok(CodeDeleted::InUse),
        Err(error) => return Err(error),
    }
    let old = serde_json::to_value(&before).ok();
    audit_logs::write(
        &mut tx,
        audit_logs::Change { by, action: "deleted", of: r"App\Models\PromoCode", id, old, new: None },
    )
    .await?;
    commit(tx).await?;
    Ok(CodeDeleted::Gone)
}

async fn by_id(tx: &mut PgConnection, id: i64) -> Result<PromoCode, StoreError> {
    Ok(sqlx::query_as(select!("c.id = $1")).bind(id).fetch_one(tx).await?)
}

/// What a code is for, as its columns hold it.
struct Scope {
    services: Option<serde_json::Value>,
    providers: Option<serde_json::Value>,
}

async fn scope(
    tx: &mut PgConnection,
    services: Option<&[i64]>,
    providers: Option<&[Uuid]>,
) -> Result<Result<Scope, CodeRefused>, StoreError> {
    let mut scope = Scope { services: None, providers: None };
    if let Some(asked) = services {
        let found: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM services WHERE id = ANY($1) AND deleted_at IS NULL ORDER BY id")
                .bind(asked)
                .fetch_all(&mut *tx)
                .await?;
        if asked.iter().any(|id| !found.contains(id)) {
            return Ok(Err(CodeRefused::NoSuchService));
        }
        scope.services = Some(found.into());
    }
    if let Some(asked) = providers {
        let found: Vec<(i64, Uuid)> =
            sqlx::query_as("SELECT id, uuid FROM providers WHERE uuid = ANY($1) AND deleted_at IS NULL ORDER BY id")
                .bind(asked)
                .fetch_all(&mut *tx)
                .await?;
        if asked.iter().any(|uuid| !found.iter().any(|(_, known)| known == uuid)) {
            return Ok(Err(CodeRefused::NoSuchProvider));
        }
        scope.providers = Some(found.into_iter().map(|(id, _)| id).collect::<Vec<_>>().into());
    }
    Ok(Ok(scope))
}
