//! A new booking, with its place, its promo code's use and the answer to its Idempotency-Key: all or nothing.

use sqlx::types::Decimal;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::lease::Lease;
use super::view::{BookingView, view_by_id};
use crate::core::booking::Kind;
use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::money::Money;
use crate::core::pricing::Price;
use crate::core::time::Timestamp;
use crate::store::idempotency::{self, Claim, Key};
use crate::store::promos::PromoRefused;
use crate::store::tx::{begin_move, commit};
use crate::store::{StoreError, promos};
use crate::wire::time::to_chrono;

/// What a customer asks for, checked and priced: at home or at a store, now or at a time.
#[derive(Clone, Debug)]
pub struct NewBooking {
    /// `bookings.uuid`, chosen by who has to find it again; `None`: the database chooses.
    pub uuid: Option<Uuid>,
    /// Who asks.
    pub customer: UserId,
    /// At home or at a store.
    pub kind: Kind,
    /// What for.
    pub service: ServiceId,
    /// When; `None`: now.
    pub scheduled_at: Option<Timestamp>,
    /// Where to; a store's own.
    pub place: Place,
    /// The therapist or store that it names; `None`: any therapist.
    pub chosen: Option<ProviderId>,
    /// What it costs, or (`price_is_estimate`) would cost at the service's base price.
    pub price: Price,
    /// Whether the accept prices it anew at the acceptor's own price.
    pub price_is_estimate: bool,
    /// Nobody whose price and surcharge exceed this is asked.
    pub max_price: Option<Money>,
    /// `{"gender": …, "language": …, …}`, checked by the caller.
    pub preferences: serde_json::Value,
    /// The promo code that `price` counts in.
    pub promo_code: Option<i64>,
    /// A word of the schema's `payment_method`.
    pub payment_method: String,
    /// For the therapist.
    pub customer_notes: Option<String>,
    /// How long a therapist is searched for, or the store asked, seconds, as the settings are now:
    /// `booking_timeout.pending`, or (scheduled) [`search_for`](crate::core::scheduling::search_for).
    pub dispatch_timeout_s: u32,
    /// Of the node that drives it from the start; `None`: whoever claims it.
    pub lease: Option<Lease>,
}

/// Where the therapist goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// At most 500 characters.
    pub address: String,
    /// Flat, room.
    pub unit_number: Option<String>,
    /// Building.
    pub building_name: Option<String>,
    /// What helps to find it.
    pub landmark: Option<String>,
    /// Exactly.
    pub at: LatLng,
}

/// What became of the request.
#[derive(Clone, Debug)]
pub enum CreateOutcome {
    /// Committed, `pending`: dispatch may start. The answer is 201 with `body`.
    Created {
        /// As it stands.
        view: Box<BookingView>,
        /// The answer as it was kept for its key.
        body: serde_json::Value,
    },
    /// This very request was answered before: answer so again, do nothing.
    Replay {
        /// HTTP status.
        status: u16,
        /// Body.
        body: serde_json::Value,
    },
    /// The key was used for another request.
    KeyReused,
    /// The key's first request is not answered yet.
    InFlight,
    /// Not possible; nothing was written, the key is free again.
    Refused(CreateRefused),
}

/// Why the database does not take a booking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CreateRefused {
    /// He was deleted since he was let in.
    #[error("there is no such customer any more")]
    NoSuchCustomer,
    /// `bookings_not_self`
    #[error("a provider cannot book himself")]
    OwnTherapist,
    /// The named therapist does not exist.
    #[error("there is no such therapist")]
    NoSuchProvider,
    /// Prices that others wrote: no booking can hold what it would cost.
    #[error("its price is larger than a booking can hold")]
    TooDear,
    /// The promo code cannot be used (any more): its limit was reached meanwhile, say.
    #[error(transparent)]
    Promo(#[from] PromoRefused),
}

/// HTTP status of the answer that is kept.
const CREATED: u16 = 201;

/// Writes the booking and, with `idempotency`, the answer to it, in one transaction.
///
/// A concurrent request with the same key waits for this one's commit and then is a [`CreateOutcome::Replay`].
///
/// # Errors
/// [`StoreError::Undecided`] when its commit was not answered: see [`find_created`].
pub async fn create(pool: &PgPool, new: &NewBooking, idempotency: Option<&Key>) -> Result<CreateOutcome, StoreError> {
    let mut tx = begin_move(pool, Some(new.customer)).await?;
    if let Some(key) = idempotency {
        match idempotency::claim(&mut tx, new.customer, key).await? {
            Claim::New => {}
            Claim::Replay { status, body } => return Ok(CreateOutcome::Replay { status, body }),
            Claim::Reused => return Ok(CreateOutcome::KeyReused),
            Claim::InFlight => return Ok(CreateOutcome::InFlight),
        }
    }
    // Leaving early drops the transaction: it rolls back, the key's row with it.
    let booking = match insert(&mut tx, new).await {
        Ok(Some(booking)) => booking,
        Ok(None) => return Ok(CreateOutcome::Refused(CreateRefused::NoSuchCustomer)),
        Err(e) => return refused(&e).map(CreateOutcome::Refused).ok_or(e),
    };
    if let Some(code) = new.promo_code
        && let Err(why) = promos::take(&mut tx, code, new.customer, booking, new.price.promo_discount).await?
    {
        return Ok(CreateOutcome::Refused(why.into()));
    }
    let view = view_by_id(&mut tx, booking).await?.ok_or(StoreError::Database(sqlx::Error::RowNotFound))?;
    let body = answer_with(&view)?;
    if let Some(key) = idempotency {
        idempotency::answer(&mut tx, new.customer, key, CREATED, &body).await?;
    }
    commit(tx).await?;
    Ok(CreateOutcome::Created { view: Box::new(view), body })
}

/// After [`StoreError::Undecided`]: the booking, if it was made. `None` is not the last word: its commit may be under way.
///
/// # Errors
/// [`StoreError::Database`]: it could not be looked for.
pub async fn find_created(pool: &PgPool, uuid: Uuid) -> Result<Option<CreateOutcome>, StoreError> {
    let Some(view) = super::view(pool, uuid).await? else { return Ok(None) };
    let body = answer_with(&view)?;
    Ok(Some(CreateOutcome::Created { view: Box::new(view), body }))
}

fn answer_with(view: &BookingView) -> Result<serde_json::Value, StoreError> {
    Ok(serde_json::to_value(&view.booking).map_err(|e| sqlx::Error::Encode(Box::new(e)))?)
}

fn refused(error: &StoreError) -> Option<CreateRefused> {
    match (error.constraint(), error.code().as_deref()) {
        (Some("bookings_not_self"), _) => Some(CreateRefused::OwnTherapist),
        // Deleted since it was looked at.
        (Some("bookings_promo_code_id_fkey"), _) => Some(CreateRefused::Promo(PromoRefused::Unknown)),
        (_, Some("22003")) => Some(CreateRefused::TooDear),
        // The trigger that copies the provider's type says so, without a constraint's name.
        (None, Some("23503")) => Some(CreateRefused::NoSuchProvider),
        _ => None,
    }
}

/// The booking and its place, in one statement: a round trip less. `None`: there is no such customer any more. Who is being deleted is
/// waited for; a provider whose user is gone is none.
async fn insert(tx: &mut PgConnection, new: &NewBooking) -> Result<Option<BookingId>, StoreError> {
    let (price, place) = (&new.price, &new.place);
    let id: Option<i64> = sqlx::query_scalar(
        "WITH who AS (SELECT id FROM users WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE),
         chosen AS (SELECT p.id FROM providers p JOIN users u ON u.id = p.user_id
                    WHERE p.id = $2 AND u.deleted_at IS NULL FOR KEY SHARE OF u),
         made AS (
             INSERT INTO bookings (customer_id, provider_id, service_id, payment_method, preferences,
                 dispatch_timeout_s, max_price, price_is_estimate, promo_code_id, service_price, distance_surcharge,
                 platform_fee, tip_amount, promo_discount, total_amount, provider_earnings, commission_amount,
                 commission_rate, customer_notes, type, booking_type, scheduled_at, lease_owner, lease_token, lease_until,
                 requested_at, created_at, uuid)
             SELECT who.id, CASE WHEN $2::bigint IS NOT NULL THEN COALESCE((SELECT id FROM chosen), 0) END, $3, $4::payment_method, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
                     $20::booking_service_type, $21::booking_schedule_type, $22, $23, ($23 IS NOT NULL)::int,
                     clock_timestamp() + make_interval(secs => $24), clock_timestamp(), clock_timestamp(),
                     COALESCE($31, gen_random_uuid()) FROM who
             RETURNING id)
         INSERT INTO booking_locations (booking_id, address, unit_number, building_name, landmark, latitude, longitude)
         SELECT made.id, $25, $26, $27, $28, $29, $30 FROM made RETURNING booking_id",
    )
    .bind(new.customer.0)
    .bind(new.chosen.map(|p| p.0))
    .bind(new.service.0)
    .bind(&new.payment_method)
    .bind(&new.preferences)
    .bind(i32::try_from(new.dispatch_timeout_s).unwrap_or(i32::MAX))
    .bind(new.max_price.map(Money::decimal))
    .bind(new.price_is_estimate)
    .bind(new.promo_code)
    .bind(price.service_price.decimal())
    .bind(price.distance_surcharge.decimal())
    .bind(price.platform_fee.decimal())
    .bind(price.tip_amount.decimal())
    .bind(price.promo_discount.decimal())
    .bind(price.total_amount.decimal())
    .bind(price.provider_earnings.decimal())
    .bind(price.commission_amount.decimal())
    .bind(price.commission_rate)
    .bind(&new.customer_notes)
    .bind(new.kind.as_str())
    .bind(if new.scheduled_at.is_some() { "scheduled" } else { "now" })
    .bind(new.scheduled_at.and_then(to_chrono))
    .bind(new.lease.map(|lease| lease.node.0))
    .bind(new.lease.map(|lease| lease.life.as_secs_f64()))
    .bind(&place.address)
    .bind(&place.unit_number)
    .bind(&place.building_name)
    .bind(&place.landmark)
    .bind(Decimal::new(place.at.lat_e7().into(), 7))
    .bind(Decimal::new(place.at.lng_e7().into(), 7))
    .bind(new.uuid)
    .fetch_optional(tx)
    .await?;
    Ok(id.map(BookingId))
}
