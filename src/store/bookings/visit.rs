//! A booking at a store: what the store says of itself, who takes a room when, and the owner's accept.
//!
//! Accepts of one store are counted one after the other, under a lock on its `store_profiles` row; it comes after the
//! booking's lock and before the wallet's and the promo code's.

use std::time::Duration;

use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::create::Place;
use super::lock::Locked;
use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::money::Money;
use crate::core::pricing::{self, CancelledBy, Price};
use crate::core::schedule::Schedule;
use crate::core::settings::CancellationPolicy;
use crate::core::stores::hours;
use crate::core::stores::rooms::{self, NoRoom, Stay};
use crate::core::time::Timestamp;
use crate::store::tx::clock;
use crate::store::{StoreError, promos, wallets};
use crate::wire::time::{from_chrono, to_chrono};

/// Stays that begin later than this after a wanted time do not matter to the answer when a room is free.
const AHEAD: Duration = Duration::from_secs(24 * 3_600);

/// A store as a booking of one service at it sees it.
#[derive(Clone, Debug)]
pub struct Venue {
    /// `providers.id`
    pub provider: ProviderId,
    /// Where it is; its name stands as the building's.
    pub place: Place,
    /// It is verified, switched on and takes customers in, and neither has blocked the other.
    pub serves: bool,
    /// Its own price of the service; `None`: it does not offer it in the store.
    pub price: Option<Money>,
    /// Percent.
    pub commission_rate: Decimal,
    /// `None`: not known.
    pub hours: Option<Schedule>,
    /// `number_of_rooms`
    pub rooms: u32,
}

/// Why a store cannot take a booking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VisitRefused {
    /// Hours or rooms.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// It is switched off, no longer offers the service there, or one of the two has blocked the other.
    #[error("the store does not take this booking (any more)")]
    NotServed,
    /// The owner's time to answer is over.
    #[error("the time to accept is over")]
    TooLate,
}

/// What an owner's accept comes to.
pub(super) enum Answer {
    Taken,
    /// The customer's wallet holds too little.
    Unpaid,
    Refused(VisitRefused),
}

#[derive(sqlx::FromRow)]
struct Row {
    store_name: String,
    address: String,
    lat_e7: i32,
    lng_e7: i32,
    serves: bool,
    price: Option<Decimal>,
    commission_rate: Decimal,
    operating_hours: Option<serde_json::Value>,
    number_of_rooms: i32,
}

/// The store, for this customer and service; `None` when there is no such store.
async fn venue(
    db: &mut PgConnection,
    store: ProviderId,
    service: ServiceId,
    customer: UserId,
) -> Result<Option<Venue>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT sp.store_name,
                left(concat_ws(', ', sp.address_line1, NULLIF(sp.address_line2, ''), sp.city, sp.province), 500) AS address,
                round(sp.latitude * 10000000)::int AS lat_e7, round(sp.longitude * 10000000)::int AS lng_e7,
                p.verification_status = 'verified' AND p.is_active AND u.is_active AND u.deleted_at IS NULL
                    AND p.accepts_store_service
                    AND NOT EXISTS (SELECT 1 FROM customer_blocks c WHERE c.customer_id = $3 AND c.provider_id = p.id)
                    AS serves,
                ps.price, p.commission_rate, sp.operating_hours, sp.number_of_rooms
         FROM providers p
         JOIN users u ON u.id = p.user_id
         JOIN store_profiles sp ON sp.provider_id = p.id
         LEFT JOIN provider_services ps ON ps.provider_id = p.id AND ps.service_id = $2
              AND ps.is_available AND ps.store_service_enabled AND ps.price <> 'NaN'
         WHERE p.id = $1 AND p.type = 'store' AND p.deleted_at IS NULL",
    )
    .bind(store.0)
    .bind(service.0)
    .bind(customer.0)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let at = LatLng::from_e7(row.lat_e7, row.lng_e7).map_err(|error| StoreError::Corrupt {
        column: "store_profiles.location",
        value: error.to_string(),
        allowed: "degrees",
    })?;
    // Hours that cannot be read are not known; the index of stores reports them.
    let hours = hours::parse(&row.operating_hours.unwrap_or_default()).ok().flatten();
    Ok(Some(Venue {
        provider: store,
        place: Place {
            address: row.address,
            unit_number: None,
            building_name: Some(row.store_name),
            landmark: None,
            at,
        },
        serves: row.serves,
        price: row.price.map(Money::rounded),
        commission_rate: row.commission_rate,
        hours,
        rooms: row.number_of_rooms.unsigned_abs(), // CHECK: at least 1
    }))
}

/// The same outside a transaction, with the stays that may be in the way of `wanted`: what is told to who asks. Only the
/// accept, which looks again under the store's lock, promises anything.
pub async fn look(
    pool: &PgPool,
    store: ProviderId,
    service: ServiceId,
    customer: UserId,
    wanted: Stay,
) -> Result<Option<(Venue, Vec<Stay>)>, StoreError> {
    let mut db = pool.acquire().await?;
    let Some(venue) = venue(&mut db, store, service, customer).await? else { return Ok(None) };
    let taken = stays(&mut db, store, None, wanted).await?;
    Ok(Some((venue, taken)))
}

/// When rooms of `store` are taken, by the bookings but `except` that it has accepted, from `wanted` to a day after it.
///
/// Who is being served beyond his time has his room until he leaves, and who has arrived needs one for the whole of his
/// service from now on. Who has not come has one during his time and no longer, whatever his booking's status.
async fn stays(
    db: &mut PgConnection,
    store: ProviderId,
    except: Option<BookingId>,
    wanted: Stay,
) -> Result<Vec<Stay>, StoreError> {
    let rows: Vec<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "SELECT s.starts, s.ends FROM (
             SELECT COALESCE(lower(b.busy_during), b.scheduled_at, b.accepted_at) AS starts,
                    greatest(
                        COALESCE(upper(b.busy_during), COALESCE(b.scheduled_at, b.accepted_at) + length.of_it),
                        CASE b.status WHEN 'arrived' THEN t.now + length.of_it
                                      WHEN 'in_progress' THEN t.now + interval '1 microsecond' END) AS ends
             FROM bookings b, (SELECT clock_timestamp() AS now) t,
                  LATERAL (SELECT make_interval(mins => b.duration_minutes) AS of_it) length
             WHERE b.provider_id = $1 AND b.type = 'in_store' AND b.status IN ('accepted', 'arrived', 'in_progress')
               AND b.deleted_at IS NULL AND b.id IS DISTINCT FROM $2) s
         WHERE s.ends > $3 AND s.starts < $4",
    )
    .bind(store.0)
    .bind(except.map(|booking| booking.0))
    .bind(to_chrono(wanted.from))
    .bind(to_chrono(wanted.until.plus(AHEAD)))
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(from, until)| Stay { from: from_chrono(from), until: from_chrono(until) }).collect())
}

/// `pending` -> `accepted` by the store's owner, under the booking's lock: guarded by the deadline, the hours and the
/// rooms, all by the database's clock. The price stays as it was made; the promo code's part is computed anew.
pub(super) async fn accept(tx: &mut PgConnection, booking: &Locked) -> Result<Answer, StoreError> {
    let Some(store) = booking.provider_id.map(ProviderId) else { return Ok(Answer::Refused(VisitRefused::NotServed)) };
    sqlx::query("SELECT 1 FROM store_profiles WHERE provider_id = $1 FOR NO KEY UPDATE")
        .bind(store.0)
        .execute(&mut *tx)
        .await?;
    let now = clock(tx).await?;
    if booking.deadline <= now {
        return Ok(Answer::Refused(VisitRefused::TooLate));
    }
    let venue = venue(tx, store, ServiceId(booking.service_id), UserId(booking.customer_id)).await?;
    let Some(venue) = venue.filter(|venue| venue.serves && venue.price.is_some()) else {
        return Ok(Answer::Refused(VisitRefused::NotServed));
    };
    let length = Duration::from_secs(u64::from(booking.duration_minutes.unsigned_abs()) * 60); // CHECK: 1 to 1440
    let stay = Stay::new(from_chrono(booking.scheduled_at.unwrap_or(now)), length);
    let taken = stays(tx, store, Some(BookingId(booking.id)), stay).await?;
    if let Err(why) = rooms::admits(venue.hours.as_ref(), venue.rooms, &taken, stay) {
        return Ok(Answer::Refused(why.into()));
    }
    let (promo_discount, total) = match booking.promo_code_id {
        Some(code) => {
            let price = anew(tx, booking, code, store).await?;
            (price.promo_discount, price.total_amount)
        }
        None => (Money::ZERO, Money::rounded(booking.total_amount)),
    };
    if !booking.paid(tx, total).await? {
        return Ok(Answer::Unpaid);
    }
    sqlx::query(
        "UPDATE bookings SET status = 'accepted', accepted_at = $2, busy_during = tstzrange($3, $4, '[)'),
                promo_discount = $5, total_amount = $6
         WHERE id = $1 AND status = 'pending'",
    )
    .bind(booking.id)
    .bind(now)
    .bind(to_chrono(stay.from))
    .bind(to_chrono(stay.until))
    .bind(promo_discount.decimal())
    .bind(total.decimal())
    .execute(&mut *tx)
    .await?;
    if booking.promo_code_id.is_some() {
        promos::adjust(tx, BookingId(booking.id), promo_discount).await?;
    }
    Ok(Answer::Taken)
}

/// What it costs by the promo code as it stands: the code may have been changed since.
async fn anew(tx: &mut PgConnection, booking: &Locked, code: i64, store: ProviderId) -> Result<Price, StoreError> {
    let (price, rate): (Decimal, Decimal) =
        sqlx::query_as("SELECT service_price, commission_rate FROM bookings WHERE id = $1")
            .bind(booking.id)
            .fetch_one(&mut *tx)
            .await?;
    let promo = promos::terms(tx, code, Some(store)).await?;
    let price = pricing::price(Money::rounded(price), Money::ZERO, rate, promo.as_ref());
    Ok(booking.with_its_extras(price))
}

/// `no_show`, under the booking's lock: costs what cancelling at this moment would cost the customer; nobody used the
/// promo code.
pub(super) async fn no_show(
    tx: &mut PgConnection,
    booking: &Locked,
    policy: &CancellationPolicy,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let cancellation = booking.cancellation(CancelledBy::Customer);
    let fee = pricing::cancellation_fee(policy, &cancellation, from_chrono(now));
    sqlx::query(
        "UPDATE bookings SET status = 'no_show', cancellation_fee = $3 WHERE id = $1 AND status = $2::booking_status",
    )
    .bind(booking.id)
    .bind(&booking.status)
    .bind(fee.decimal())
    .execute(&mut *tx)
    .await?;
    wallets::refund(tx, BookingId(booking.id), fee).await?;
    promos::give_back(tx, BookingId(booking.id)).await
}

/// The time that was booked, from which on nobody who is not there has still to come. `None` while pending.
pub(super) fn booked_for(booking: &Locked) -> Option<Timestamp> {
    booking.scheduled_at.or(booking.accepted_at).map(from_chrono)
}
