//! The booking's row, locked: the first lock of every transaction that moves a booking or makes it an offer.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::core::geo::Meters;
use crate::core::ids::{BookingId, UserId};
use crate::core::money::Money;
use crate::core::pricing::{Cancellation, CancelledBy, Price};
use crate::core::slot::Slot;
use crate::store::{StoreError, wallets};
use crate::wire::time::from_chrono;

/// A booking that nobody else can change until the transaction ends.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Locked {
    pub(crate) id: i64,
    pub(crate) status: String,
    pub(crate) r#type: String,
    pub(crate) booking_type: String,
    pub(crate) customer_id: i64,
    pub(crate) provider_id: Option<i64>,
    pub(crate) service_id: i64,
    pub(crate) duration_minutes: i32,
    pub(crate) scheduled_at: Option<DateTime<Utc>>,
    pub(crate) accepted_at: Option<DateTime<Utc>>,
    /// Of an accepted booking: when its therapist should set out ([`set_out_from`]).
    pub(crate) set_out_from: Option<DateTime<Utc>>,
    /// `created_at + dispatch_timeout_s`: when a pending booking's search ends.
    pub(crate) deadline: DateTime<Utc>,
    pub(crate) max_price: Option<Decimal>,
    pub(crate) promo_code_id: Option<i64>,
    pub(crate) payment_method: String,
    pub(crate) platform_fee: Decimal,
    pub(crate) tip_amount: Decimal,
    pub(crate) total_amount: Decimal,
    pub(crate) provider_earnings: Decimal,
}

impl Locked {
    /// Whether it is searched for now, rather than for a time that was named.
    pub(crate) fn is_now(&self) -> bool {
        self.booking_type == "now"
    }

    /// What of his time it takes from a therapist who accepts it at `now`, `way` from its place.
    pub(crate) fn slot(&self, now: DateTime<Utc>, way: Meters, buffer_minutes: i32) -> Slot {
        let service = Duration::from_secs(u64::from(self.duration_minutes.unsigned_abs()) * 60); // a CHECK keeps it >= 1
        let wanted = self.scheduled_at.map(from_chrono);
        Slot::of(wanted, from_chrono(now), way, service, buffer_minutes.unsigned_abs())
    }

    /// Takes what it costs from its customer's wallet, if that is how it is paid; `false`: there is too little in it.
    pub(crate) async fn paid(&self, tx: &mut PgConnection, total: Money) -> Result<bool, StoreError> {
        if self.payment_method != "wallet" {
            return Ok(true);
        }
        wallets::pay(tx, UserId(self.customer_id), BookingId(self.id), total).await
    }

    /// As far as the fee of a cancellation asks.
    pub(crate) fn cancellation(&self, by: CancelledBy) -> Cancellation {
        Cancellation {
            by,
            total: Money::rounded(self.total_amount),
            tip: self.tip(),
            accepted_at: self.accepted_at.map(from_chrono),
            scheduled_at: self.scheduled_at.map(from_chrono),
        }
    }

    /// A price made anew with the booking's platform fee and tip, which no repricing changes.
    pub(crate) fn with_its_extras(&self, price: Price) -> Price {
        price.with_platform_fee(Money::rounded(self.platform_fee)).with_tip(self.tip())
    }

    /// The tip.
    pub(crate) fn tip(&self) -> Money {
        Money::rounded(self.tip_amount)
    }
}

/// When the therapist of an accepted booking should set out: at the accept, or of a scheduled one when its way begins, if
/// that is later. (One that somebody's SQL accepted may not say how long its way is.) `$of`: the alias of `bookings`, with
/// its dot.
macro_rules! set_out_from {
    ($of:literal) => {
        concat!(
            "CASE WHEN ",
            $of,
            "scheduled_at IS NULL THEN ",
            $of,
            "accepted_at ELSE greatest(",
            $of,
            "accepted_at, COALESCE(lower(",
            $of,
            "busy_during), ",
            $of,
            "scheduled_at)) END"
        )
    };
}
pub(crate) use set_out_from;

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, status::text AS status, type::text AS type, booking_type::text AS booking_type,
                    customer_id, provider_id, service_id, duration_minutes, scheduled_at, accepted_at,
                    ",
            set_out_from!(""),
            " AS set_out_from,
                    created_at + make_interval(secs => dispatch_timeout_s) AS deadline,
                    max_price, promo_code_id, payment_method::text AS payment_method, platform_fee, tip_amount, total_amount, provider_earnings
             FROM bookings WHERE id = $1 AND deleted_at IS NULL",
            $tail
        )
    };
}

/// Locks `booking`; `None` when there is none. `NO KEY`: nothing here changes its id, so rows that merely refer to it
/// (messages, notes) need not wait.
pub(crate) async fn lock(tx: &mut PgConnection, booking: BookingId) -> Result<Option<Locked>, StoreError> {
    Ok(sqlx::query_as(select!(" FOR NO KEY UPDATE")).bind(booking.0).fetch_optional(tx).await?)
}

/// The same without the lock, for those who only show.
pub(crate) async fn read(db: &mut PgConnection, booking: BookingId) -> Result<Option<Locked>, StoreError> {
    Ok(sqlx::query_as(select!("")).bind(booking.0).fetch_optional(db).await?)
}

/// The id behind a public id, unlocked.
pub(crate) async fn id_of(db: &mut PgConnection, uuid: Uuid) -> Result<Option<BookingId>, StoreError> {
    let id: Option<i64> = sqlx::query_scalar("SELECT id FROM bookings WHERE uuid = $1 AND deleted_at IS NULL")
        .bind(uuid)
        .fetch_optional(db)
        .await?;
    Ok(id.map(BookingId))
}
