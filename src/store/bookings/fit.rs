//! Whether a therapist can take a booking, by the database, and what the booking costs with him.
//!
//! Matching asks the live index; a promise asks here, in the transaction that makes it.

use sqlx::PgConnection;
use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};

use super::lock::Locked;
use crate::core::geo::Meters;
use crate::core::ids::{ProviderId, ServiceId, UserId};
use crate::core::money::Money;
use crate::core::pricing::{self, Offering, Price, Promo};
use crate::core::schedule::Schedule;
use crate::core::slot::Slot;
use crate::store::{StoreError, promos};
use crate::wire::time::to_chrono;

/// What is asked of the therapist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum For {
    /// To be asked, now: also online and without an active booking (for `now`), at work then (for a time), and without
    /// a booking that this one would overlap.
    Offer(DateTime<Utc>),
    /// To take what he was asked: going offline meanwhile does not take the offer from him. Whether he is free is
    /// decided by the constraints of the bookings table.
    Accept,
    /// To be shown what he was asked: the same, and nothing is locked.
    Show,
}

/// A therapist who can take the booking.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    pub(crate) user: UserId,
    pub(crate) buffer_minutes: i32,
    /// At his own price, surcharge, commission, the booking's promo, platform fee and tip.
    pub(crate) price: Price,
    offering: Offering,
    commission_rate: Decimal,
    promo: Option<Promo>,
}

impl Fit {
    /// What it would cost from `distance` away.
    pub(crate) fn price_from(&self, distance: Meters) -> Price {
        let surcharge = pricing::surcharge(&self.offering, distance);
        let price = pricing::price(self.offering.price, surcharge, self.commission_rate, self.promo.as_ref());
        price.with_platform_fee(self.price.platform_fee).with_tip(self.price.tip_amount)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    user_id: i64,
    commission_rate: Decimal,
    buffer_minutes: i32,
    price: Decimal,
    base_distance_km: i32,
    per_km_surcharge: Decimal,
    max_travel_distance_km: i32,
    home_service_enabled: bool,
    store_service_enabled: bool,
    default_schedule: Option<serde_json::Value>,
}

/// `$tail`: what is locked of it.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT u.id AS user_id, p.commission_rate, tp.buffer_minutes, ps.price, ps.base_distance_km,
                    ps.per_km_surcharge, ps.max_travel_distance_km, ps.home_service_enabled, ps.store_service_enabled,
                    tp.default_schedule
             FROM providers p
             JOIN users u ON u.id = p.user_id AND u.is_active AND u.deleted_at IS NULL
             JOIN therapist_profiles tp ON tp.provider_id = p.id
             JOIN provider_services ps ON ps.provider_id = p.id AND ps.service_id = $2
                  AND ps.is_available AND ps.home_service_enabled
             WHERE p.id = $1 AND p.type = 'therapist' AND p.verification_status = 'verified' AND p.is_active
               AND p.deleted_at IS NULL AND p.accepts_home_service AND p.user_id <> $3
               AND NOT EXISTS (SELECT 1 FROM customer_blocks c WHERE c.customer_id = $3 AND c.provider_id = p.id)
               AND NOT EXISTS (SELECT 1 FROM bookings b WHERE b.id = $8 AND b.provider_id IS NOT NULL AND NOT b.price_is_estimate
                               AND (ps.updated_at > b.created_at OR ps.price > b.service_price))
               AND (NOT $4 OR NOT $5 OR p.is_available)
               AND (NOT $4 OR NOT EXISTS (
                    SELECT 1 FROM bookings a WHERE a.provider_id = p.id AND a.provider_type = 'therapist' AND a.deleted_at IS NULL
                     AND a.status IN ('accepted', 'en_route', 'arrived', 'in_progress')
                     AND (a.busy_during && tstzrange($6, $7 + make_interval(mins => tp.buffer_minutes))
                          OR ($5 AND (a.status <> 'accepted' OR a.booking_type = 'now')))))",
            $tail
        )
    };
}

/// `None` when the therapist cannot take the booking, or would cost more than its `max_price` or than a booking can hold; or
/// has, since a customer chose him at his price, changed what he asks for the service or for the way.
pub(crate) async fn fit(
    tx: &mut PgConnection,
    booking: &Locked,
    provider: ProviderId,
    distance: Meters,
    asked: For,
) -> Result<Option<Fit>, StoreError> {
    // Without the buffer, which the statement knows.
    let slot = if let For::Offer(now) = asked { Some(booking.slot(now, distance, 0)) } else { None };
    // Of who is being deleted an accept waits for the end; who asks whom to ask does not.
    let sql = if asked == For::Accept { select!(" FOR KEY SHARE OF u") } else { select!("") };
    let row: Option<Row> = sqlx::query_as(sql)
        .bind(provider.0)
        .bind(booking.service_id)
        .bind(booking.customer_id)
        .bind(slot.is_some())
        .bind(booking.is_now())
        .bind(slot.and_then(|slot| to_chrono(slot.from)))
        .bind(slot.and_then(|slot| to_chrono(slot.until)))
        .bind(booking.id)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if slot.is_some_and(|slot| !booking.is_now() && !works(row.default_schedule.as_ref(), &slot)) {
        return Ok(None);
    }
    let offering = Offering {
        service: ServiceId(booking.service_id),
        price: Money::rounded(row.price),
        base_distance_km: row.base_distance_km.unsigned_abs(), // the column's CHECK keeps it >= 0
        per_km_surcharge: Money::rounded(row.per_km_surcharge),
        max_travel_km: row.max_travel_distance_km.unsigned_abs(),
        home: row.home_service_enabled,
        store: row.store_service_enabled,
    };
    let surcharge = pricing::surcharge(&offering, distance);
    if booking.max_price.is_some_and(|max| (offering.price + surcharge).decimal() > max) {
        return Ok(None);
    }
    let promo = match booking.promo_code_id {
        Some(code) => promos::terms(tx, code, Some(provider)).await?,
        None => None,
    };
    let price = pricing::price(offering.price, surcharge, row.commission_rate, promo.as_ref());
    let price = booking.with_its_extras(price);
    if !price.fits() {
        return Ok(None);
    }
    let (user, commission_rate) = (UserId(row.user_id), row.commission_rate);
    Ok(Some(Fit { user, buffer_minutes: row.buffer_minutes, price, offering, commission_rate, promo }))
}

/// Whether all of the service is within working hours. Hours that cannot be read keep a therapist out of matching.
fn works(schedule: Option<&serde_json::Value>, slot: &Slot) -> bool {
    let schedule = schedule.map_or(Ok(Schedule::always()), Schedule::parse);
    schedule.is_ok_and(|schedule| schedule.covers(slot.start, slot.until.since(slot.start)))
}

/// The booking's price while nobody has accepted it: the service's base price, no way, the default commission.
pub(crate) async fn estimate(
    tx: &mut PgConnection,
    booking: &Locked,
    default_commission: Decimal,
) -> Result<Price, StoreError> {
    let base: Decimal = sqlx::query_scalar("SELECT base_price FROM services WHERE id = $1")
        .bind(booking.service_id)
        .fetch_one(&mut *tx)
        .await?;
    let promo = match booking.promo_code_id {
        Some(code) => promos::terms(tx, code, None).await?,
        None => None,
    };
    // A base price that others have raised beyond what a booking can hold must not keep it with who gives it back.
    let base = Money::rounded(base).min(pricing::MOST);
    let price = pricing::price(base, Money::ZERO, default_commission, promo.as_ref());
    Ok(booking.with_its_extras(price))
}
