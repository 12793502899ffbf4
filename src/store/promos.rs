//! Promo codes: who may use one, and the count of their uses.
//!
//! A use is taken when the booking is made (so that a code with one use left is promised to one booking), its amount is
//! made anew in the accept, and it is given back when the booking is cancelled. The code's row is the last lock of any
//! transaction.

use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::money::Money;
use crate::core::pricing::{Discount, Promo};
use crate::store::StoreError;

/// A code that may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PromoCode {
    /// `promo_codes.id`
    pub id: i64,
    /// What it takes off.
    pub terms: Promo,
    /// Service price and surcharge must come to this; checked when the booking is made.
    pub minimum: Option<Money>,
}

/// Why a code may not be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PromoRefused {
    /// There is none, or it is switched off.
    #[error("there is no such promo code")]
    Unknown,
    /// `valid_from`
    #[error("the promo code is not valid yet")]
    NotYet,
    /// `valid_until`
    #[error("the promo code is no longer valid")]
    Over,
    /// `usage_limit`
    #[error("the promo code is used up")]
    UsedUp,
    /// `per_user_limit`
    #[error("you have used this promo code as often as it may be used")]
    UsedByYou,
    /// `applicable_service_ids`
    #[error("the promo code is not for this service")]
    NotForService,
    /// `applicable_provider_ids`
    #[error("the promo code is not for this therapist")]
    NotForProvider,
    /// `new_customers_only`
    #[error("the promo code is for a customer's first booking")]
    NewCustomersOnly,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    discount_type: String,
    discount_value: Decimal,
    max_discount_amount: Option<Decimal>,
    valid_from: DateTime<Utc>,
    valid_until: DateTime<Utc>,
    usage_limit: Option<i32>,
    usage_count: i32,
    per_user_limit: Option<i32>,
    min_booking_amount: Option<Decimal>,
    for_service: bool,
    for_provider: bool,
    new_customers_only: bool,
    used_by_customer: i64,
    has_booked: bool,
    asked_at: DateTime<Utc>,
}

impl Row {
    fn terms(&self) -> Promo {
        let discount = if self.discount_type == "percentage" {
            Discount::Percentage(self.discount_value)
        } else {
            Discount::FixedAmount(Money::rounded(self.discount_value))
        };
        Promo { discount, max_discount: self.max_discount_amount.map(Money::rounded) }
    }

    fn refused(&self, names_provider: bool) -> Option<PromoRefused> {
        let rules = [
            (self.asked_at < self.valid_from, PromoRefused::NotYet),
            (self.asked_at > self.valid_until, PromoRefused::Over),
            (!self.for_service, PromoRefused::NotForService),
            (names_provider && !self.for_provider, PromoRefused::NotForProvider),
            (self.new_customers_only && self.has_booked, PromoRefused::NewCustomersOnly),
            (self.usage_limit.is_some_and(|limit| self.usage_count >= limit), PromoRefused::UsedUp),
            (self.per_user_limit.is_some_and(|l| self.used_by_customer >= i64::from(l)), PromoRefused::UsedByYou),
        ];
        rules.into_iter().find_map(|(broken, why)| broken.then_some(why))
    }
}

/// Whether `customer` may use `code` (compared case-insensitively) for such a booking, by the database's clock.
/// `provider` is the one whom the booking names. Limits are checked again when the use is taken.
pub async fn check(
    pool: &PgPool,
    code: &str,
    customer: UserId,
    service: ServiceId,
    provider: Option<ProviderId>,
) -> Result<Result<PromoCode, PromoRefused>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT c.id, c.discount_type::text AS discount_type, c.discount_value, c.max_discount_amount, c.valid_from,
                c.valid_until, c.usage_limit, c.usage_count, c.per_user_limit, c.min_booking_amount,
                c.applicable_service_ids IS NULL OR c.applicable_service_ids @> to_jsonb($3::bigint) AS for_service,
                c.applicable_provider_ids IS NULL
                    OR COALESCE(c.applicable_provider_ids @> to_jsonb($4::bigint), FALSE) AS for_provider,
                c.new_customers_only,
                (SELECT count(*) FROM promo_code_usages u WHERE u.promo_code_id = c.id AND u.user_id = $2)
                    AS used_by_customer,
                EXISTS (SELECT 1 FROM bookings b WHERE b.customer_id = $2 AND b.status <> 'cancelled') AS has_booked,
                clock_timestamp() AS asked_at
         FROM promo_codes c WHERE upper(c.code) = upper($1) AND c.is_active",
    )
    .bind(code)
    .bind(customer.0)
    .bind(service.0)
    .bind(provider.map(|p| p.0))
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(Err(PromoRefused::Unknown)) };
    Ok(match row.refused(provider.is_some()) {
        Some(why) => Err(why),
        None => Ok(PromoCode { id: row.id, terms: row.terms(), minimum: row.min_booking_amount.map(Money::rounded) }),
    })
}

/// What a booking's code takes off with this therapist; `None` when it is not for him. Whether it may be used was asked
/// when the booking was made: a code that ran out since still holds for it.
pub(crate) async fn terms(
    db: &mut PgConnection,
    code: i64,
    provider: Option<ProviderId>,
) -> Result<Option<Promo>, StoreError> {
    let row: Option<(String, Decimal, Option<Decimal>)> = sqlx::query_as(
        "SELECT discount_type::text, discount_value, max_discount_amount FROM promo_codes
         WHERE id = $1
           AND ($2::bigint IS NULL OR applicable_provider_ids IS NULL OR applicable_provider_ids @> to_jsonb($2::bigint))",
    )
    .bind(code)
    .bind(provider.map(|p| p.0))
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(kind, value, max)| Promo {
        discount: match kind.as_str() {
            "percentage" => Discount::Percentage(value),
            _ => Discount::FixedAmount(Money::rounded(value)),
        },
        max_discount: max.map(Money::rounded),
    }))
}

/// Takes one use for a new booking, or says why not: what was asked before the transaction is asked again under the locks. A
/// discount of nothing takes a use too: the accept computes it anew, and asks for no limit.
pub(crate) async fn take(
    tx: &mut PgConnection,
    code: i64,
    customer: UserId,
    booking: BookingId,
    discount: Money,
) -> Result<Result<(), PromoRefused>, StoreError> {
    // Two codes for new customers would each see no other booking: one customer takes them one after the other. Who waits here
    // holds no row that who has it waits for: his new booking, which nobody knows.
    let for_new: Option<bool> = sqlx::query_scalar(
        "SELECT c.new_customers_only AND l.locked IS NOT NULL FROM promo_codes c, LATERAL (
             SELECT CASE WHEN c.new_customers_only
                         THEN pg_advisory_xact_lock(hashtextextended('spacall.new_customer', $2))::text END AS locked) l
         WHERE c.id = $1",
    )
    .bind(code)
    .bind(customer.0)
    .fetch_optional(&mut *tx)
    .await?;
    if for_new == Some(true) && has_booked(tx, customer, booking).await? {
        return Ok(Err(PromoRefused::NewCustomersOnly));
    }
    // The update locks the code: the uses of one customer are then counted by one transaction at a time.
    let taken = sqlx::query(
        "UPDATE promo_codes SET usage_count = usage_count + 1
         WHERE id = $1 AND (usage_limit IS NULL OR usage_count < usage_limit)",
    )
    .bind(code)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if taken == 0 {
        return Ok(Err(PromoRefused::UsedUp));
    }
    let inserted = sqlx::query(
        "INSERT INTO promo_code_usages (promo_code_id, user_id, booking_id, discount_amount)
         SELECT c.id, $2, $3, $4 FROM promo_codes c
         WHERE c.id = $1 AND (c.per_user_limit IS NULL
               OR c.per_user_limit > (SELECT count(*) FROM promo_code_usages u WHERE u.promo_code_id = $1 AND u.user_id = $2))",
    )
    .bind(code)
    .bind(customer.0)
    .bind(booking.0)
    .bind(discount.decimal())
    .execute(&mut *tx)
    .await?
    .rows_affected();
    Ok(if inserted == 1 { Ok(()) } else { Err(PromoRefused::UsedByYou) })
}

/// Whether the customer has another booking that was not cancelled.
async fn has_booked(tx: &mut PgConnection, customer: UserId, but: BookingId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM bookings WHERE customer_id = $1 AND status <> 'cancelled' AND id <> $2)",
    )
    .bind(customer.0)
    .bind(but.0)
    .fetch_one(tx)
    .await?)
}

/// The use now takes off `discount`. With nothing to take off (the code is not for this therapist) it stays taken as it
/// was: the booking may come back to another.
pub(crate) async fn adjust(tx: &mut PgConnection, booking: BookingId, discount: Money) -> Result<(), StoreError> {
    if discount == Money::ZERO {
        return Ok(());
    }
    sqlx::query("UPDATE promo_code_usages SET discount_amount = $2 WHERE booking_id = $1")
        .bind(booking.0)
        .bind(discount.decimal())
        .execute(tx)
        .await?;
    Ok(())
}

/// A code that took nothing off in the end was not used: the acceptor may be one for whom it does not count.
pub(crate) async fn give_back_unused(tx: &mut PgConnection, booking: BookingId) -> Result<(), StoreError> {
    let used: bool = sqlx::query_scalar("SELECT promo_discount > 0 FROM bookings WHERE id = $1")
        .bind(booking.0)
        .fetch_one(&mut *tx)
        .await?;
    if used { Ok(()) } else { give_back(tx, booking).await }
}

/// The booking uses no code any more.
pub(crate) async fn give_back(tx: &mut PgConnection, booking: BookingId) -> Result<(), StoreError> {
    sqlx::query(
        "WITH gone AS (DELETE FROM promo_code_usages WHERE booking_id = $1 RETURNING promo_code_id)
         UPDATE promo_codes c SET usage_count = greatest(c.usage_count - 1, 0) FROM gone WHERE c.id = gone.promo_code_id",
    )
    .bind(booking.0)
    .execute(tx)
    .await?;
    Ok(())
}
