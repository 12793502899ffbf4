//! Bookings as their parties see them.

use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, QueryBuilder};
use uuid::Uuid;

use crate::core::booking::{Kind, Status};
use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, ProviderId, UserId};
use crate::core::money::Money;
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::store::pages::{self, Ask, Rows};
use crate::wire::booking::{Booking, BookingLocation, ProviderRef, ServiceRef};
use crate::wire::time::from_chrono;

/// A booking, and who may see it.
#[derive(Clone, Debug)]
pub struct BookingView {
    /// `bookings.id`
    pub id: BookingId,
    /// Who asked for it.
    pub customer: UserId,
    /// Who accepted it, or (while pending, and after a cancellation while pending) the one whom it names.
    pub provider: Option<ProviderId>,
    /// The person behind `provider`.
    pub provider_user: Option<UserId>,
    /// Whether `provider` has accepted: only then is a therapist a party, and only parties see address and exact place. The
    /// owner of a store is one from the start.
    pub accepted: bool,
    /// Exactly where.
    pub place: Option<LatLng>,
    /// `updated_at`: differs after every change of the row.
    pub version: Timestamp,
    /// What the provider gets of it, tips aside.
    pub earnings: Money,
    /// What both parties are shown.
    pub booking: Booking,
}

impl BookingView {
    /// Whether `user` may see this booking: its customer, the therapist once he has accepted, the owner of the store.
    pub fn is_party(&self, user: UserId) -> bool {
        self.customer == user || self.provider_party() == Some(user)
    }

    /// As `user` is shown it: what is earned with it is its provider's to know.
    #[must_use]
    pub fn shown_to(&self, user: UserId) -> Booking {
        let earnings = Some(self.earnings).filter(|_| self.provider_party() == Some(user) && self.customer != user);
        Booking { earnings, ..self.booking.clone() }
    }

    /// Whether it is for `now`: then who accepts it is on it from that moment.
    pub fn is_now(&self) -> bool {
        self.booking.booking_type == "now"
    }

    /// Everyone who is told of it: the customer, then the therapist once he has accepted, or the owner of the store.
    pub fn parties(&self) -> impl Iterator<Item = UserId> {
        std::iter::once(self.customer).chain(self.provider_party())
    }

    /// Whether it is at a store.
    pub fn is_in_store(&self) -> bool {
        self.booking.r#type == Kind::InStore.as_str()
    }

    fn provider_party(&self) -> Option<UserId> {
        self.provider_user.filter(|_| self.accepted || self.is_in_store())
    }
}

/// The one SELECT of this file; `$tail` says which bookings, in which order.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT b.id, b.uuid, b.booking_number, b.status::text AS status, b.type::text AS type,
                    b.booking_type::text AS booking_type, b.customer_id, b.provider_id, p.user_id AS provider_user_id,
                    p.uuid AS provider_uuid, p.average_rating::float8 AS average_rating,
                    CASE WHEN p.type = 'therapist' THEN pu.first_name END AS provider_first_name,
                    s.id AS service_id, s.slug AS service_slug, s.name AS service_name, s.currency, b.duration_minutes,
                    l.address, l.unit_number, l.building_name, l.landmark, l.latitude::float8 AS latitude,
                    l.longitude::float8 AS longitude, l.distance_km::float8 AS distance_km,
                    l.estimated_travel_time_minutes,
                    b.service_price, b.distance_surcharge, b.platform_fee, b.tip_amount, b.promo_discount,
                    b.provider_earnings, b.total_amount,
                    b.price_is_estimate OR (b.provider_id IS NULL AND b.status = 'pending') AS price_is_estimate,
                    b.payment_method::text AS payment_method, b.customer_notes,
                    b.cancellation_reason, b.cancellation_fee,
                    CASE WHEN b.status <> 'cancelled' OR b.cancelled_by IS NULL THEN NULL
                         WHEN b.cancelled_by = b.customer_id THEN 'customer'
                         WHEN b.cancelled_by = p.user_id THEN 'provider'
                         ELSE 'admin' END AS cancelled_by,
                    b.scheduled_at, b.created_at, b.accepted_at, b.started_at, b.completed_at, b.cancelled_at,
                    b.updated_at
             FROM bookings b
             JOIN services s ON s.id = b.service_id
             LEFT JOIN providers p ON p.id = b.provider_id
             LEFT JOIN users pu ON pu.id = p.user_id
             LEFT JOIN booking_locations l ON l.booking_id = b.id ",
            $tail
        )
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    uuid: Uuid,
    booking_number: String,
    status: String,
    r#type: String,
    booking_type: String,
    customer_id: i64,
    provider_id: Option<i64>,
    provider_user_id: Option<i64>,
    provider_uuid: Option<Uuid>,
    average_rating: Option<f64>,
    provider_first_name: Option<String>,
    service_id: i64,
    service_slug: String,
    service_name: String,
    currency: String,
    duration_minutes: i32,
    address: Option<String>,
    unit_number: Option<String>,
    building_name: Option<String>,
    landmark: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    distance_km: Option<f64>,
    estimated_travel_time_minutes: Option<i32>,
    service_price: Decimal,
    distance_surcharge: Decimal,
    platform_fee: Decimal,
    tip_amount: Decimal,
    promo_discount: Decimal,
    provider_earnings: Money,
    total_amount: Decimal,
    price_is_estimate: bool,
    payment_method: String,
    customer_notes: Option<String>,
    cancellation_reason: Option<String>,
    cancellation_fee: Decimal,
    cancelled_by: Option<String>,
    scheduled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    accepted_at: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    cancelled_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn view(self) -> BookingView {
        let place = match (self.latitude, self.longitude) {
            // The table's own CHECKs keep the ranges.
            (Some(latitude), Some(longitude)) => LatLng::new(latitude, longitude).ok(),
            _ => None,
        };
        let location = self.address.zip(place).map(|(address, at)| BookingLocation {
            address,
            unit_number: self.unit_number,
            building_name: self.building_name,
            landmark: self.landmark,
            latitude: at.latitude(),
            longitude: at.longitude(),
            distance_km: self.distance_km,
            estimated_travel_time_minutes: self.estimated_travel_time_minutes,
        });
        let booking = Booking {
            uuid: self.uuid,
            booking_number: self.booking_number,
            status: self.status,
            r#type: self.r#type,
            booking_type: self.booking_type,
            service: ServiceRef {
                id: self.service_id,
                slug: self.service_slug,
                name: self.service_name,
                duration_minutes: self.duration_minutes,
            },
            provider: self.provider_uuid.map(|provider_uuid| ProviderRef {
                provider_uuid,
                first_name: self.provider_first_name,
                average_rating: self.average_rating.unwrap_or_default(),
            }),
            location,
            service_price: Money::rounded(self.service_price),
            distance_surcharge: Money::rounded(self.distance_surcharge),
            platform_fee: Money::rounded(self.platform_fee),
            tip_amount: Money::rounded(self.tip_amount),
            promo_discount: Money::rounded(self.promo_discount),
            total_amount: Money::rounded(self.total_amount),
            earnings: None,
            currency: self.currency,
            price_is_estimate: self.price_is_estimate,
            payment_method: self.payment_method,
            customer_notes: self.customer_notes,
            cancellation_reason: self.cancellation_reason,
            cancelled_by: self.cancelled_by,
            cancellation_fee: Money::rounded(self.cancellation_fee),
            scheduled_at: self.scheduled_at.map(Into::into),
            created_at: self.created_at.into(),
            accepted_at: self.accepted_at.map(Into::into),
            started_at: self.started_at.map(Into::into),
            completed_at: self.completed_at.map(Into::into),
            cancelled_at: self.cancelled_at.map(Into::into),
        };
        BookingView {
            id: BookingId(self.id),
            customer: UserId(self.customer_id),
            provider: self.provider_id.map(ProviderId),
            provider_user: self.provider_user_id.map(UserId),
            accepted: self.accepted_at.is_some(),
            place,
            version: from_chrono(self.updated_at),
            earnings: self.provider_earnings,
            booking,
        }
    }
}

/// The booking with this public id; `None` when there is none. Whether the caller may see it: [`BookingView::is_party`].
pub async fn view(pool: &PgPool, uuid: Uuid) -> Result<Option<BookingView>, StoreError> {
    let row: Option<Row> =
        sqlx::query_as(select!("WHERE b.uuid = $1 AND b.deleted_at IS NULL")).bind(uuid).fetch_optional(pool).await?;
    Ok(row.map(Row::view))
}

/// The same by the row's id, on a connection (so inside a transaction too).
pub async fn view_by_id(db: &mut PgConnection, booking: BookingId) -> Result<Option<BookingView>, StoreError> {
    let row: Option<Row> =
        sqlx::query_as(select!("WHERE b.id = $1 AND b.deleted_at IS NULL")).bind(booking.0).fetch_optional(db).await?;
    Ok(row.map(Row::view))
}

/// The bookings of which `user` is a party, as [`BookingView::is_party`] has it (`None`: everybody's), newest first.
pub async fn list(
    pool: &PgPool,
    user: Option<UserId>,
    status: Option<Status>,
    ask: Ask,
) -> Result<Rows<BookingView>, StoreError> {
    let mut select = QueryBuilder::new(select!("WHERE b.deleted_at IS NULL"));
    if let Some(user) = user {
        select.push(" AND (b.customer_id = ").push_bind(user.0);
        select.push(" OR ((b.accepted_at IS NOT NULL OR b.type = 'in_store')");
        select.push(" AND b.provider_id = ANY (ARRAY(SELECT own.id FROM providers own WHERE own.user_id = ");
        select.push_bind(user.0).push("))))");
    }
    if let Some(status) = status {
        // In the statement's text: few bookings are pending, most are completed, and each is best looked for its own way.
        select.push(" AND b.status = '").push(status.as_str()).push("'");
    }
    let rows: Rows<Row> = pages::read(pool, select, "b.id", |id| id, ask).await?;
    Ok(rows.map(Row::view))
}
