//! Live offers as the asked therapist sees them: roughly where, what it brings, until when. No address, no notes.

use sqlx::types::Decimal;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::core::geo::{LatLng, Meters, area};
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::travel;
use crate::store::StoreError;
use crate::store::bookings::fit::Fit;
use crate::store::bookings::{Locked, fit, read};
use crate::wire::booking::{Area, OfferedBooking, ServiceRef};
use crate::wire::stream::Offer;

/// The live offers of a therapist, oldest first: what `welcome` and `GET /v1/offers` show.
pub async fn live_for(pool: &PgPool, provider: ProviderId) -> Result<Vec<Offer>, StoreError> {
    let mut db = pool.acquire().await?;
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM booking_offers
         WHERE provider_id = $1 AND status = 'offered' AND expires_at > clock_timestamp() ORDER BY id",
    )
    .bind(provider.0)
    .fetch_all(&mut *db)
    .await?;
    let mut offers = Vec::with_capacity(ids.len());
    for id in ids {
        offers.extend(live_offer_in(&mut db, OfferId(id)).await?); // few: at most one for `now`
    }
    Ok(offers)
}

/// One offer; `None` when it is not live, or its therapist cannot take it any more.
pub async fn live_offer(pool: &PgPool, offer: OfferId) -> Result<Option<Offer>, StoreError> {
    live_offer_in(&mut *pool.acquire().await?, offer).await
}

#[derive(sqlx::FromRow)]
struct Row {
    booking_id: i64,
    provider_id: i64,
    distance_km: Decimal,
    expires_at: DateTime<Utc>,
    uuid: uuid::Uuid,
    r#type: String,
    booking_type: String,
    scheduled_at: Option<DateTime<Utc>>,
    payment_method: String,
    duration_minutes: i32,
    service_id: i64,
    service_slug: String,
    service_name: String,
    currency: String,
    latitude: f64,
    longitude: f64,
    asked_at: DateTime<Utc>,
}

pub(super) async fn live_offer_in(db: &mut PgConnection, offer: OfferId) -> Result<Option<Offer>, StoreError> {
    let Some(row) = live_row(db, offer).await? else { return Ok(None) };
    let Some(booking) = read(db, BookingId(row.booking_id)).await? else { return Ok(None) };
    let roughly = row.roughly()?;
    let fit = fit::fit(db, &booking, ProviderId(row.provider_id), roughly, fit::For::Show).await?;
    fit.map(|fit| row.message(offer, &booking, &fit)).transpose()
}

/// The message of an offer that this transaction has made, to a therapist who fits.
pub(super) async fn new_offer_in(
    tx: &mut PgConnection,
    offer: OfferId,
    booking: &Locked,
    fit: &Fit,
) -> Result<Offer, StoreError> {
    live_row(tx, offer).await?.ok_or(sqlx::Error::RowNotFound)?.message(offer, booking, fit)
}

async fn live_row(db: &mut PgConnection, offer: OfferId) -> Result<Option<Row>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT o.booking_id, o.provider_id, o.distance_km, o.expires_at, b.uuid, b.type::text AS type,
                b.booking_type::text AS booking_type, b.scheduled_at, b.payment_method::text AS payment_method,
                b.duration_minutes, s.id AS service_id, s.slug AS service_slug, s.name AS service_name, s.currency,
                l.latitude::float8 AS latitude, l.longitude::float8 AS longitude, clock_timestamp() AS asked_at
         FROM booking_offers o
         JOIN bookings b ON b.id = o.booking_id
         JOIN services s ON s.id = b.service_id
         JOIN booking_locations l ON l.booking_id = b.id
         WHERE o.id = $1 AND o.status = 'offered' AND o.expires_at > clock_timestamp()",
    )
    .bind(offer.0)
    .fetch_optional(db)
    .await?)
}

impl Row {
    fn distance(&self) -> Result<Meters, StoreError> {
        Ok(Meters::from_km(f64::try_from(self.distance_km).map_err(|e| sqlx::Error::Decode(Box::new(e)))?))
    }

    /// To the cent, money beyond the base distance would tell the way to ten metres. Down, so that it stays within max_price.
    fn roughly(&self) -> Result<Meters, StoreError> {
        Ok(Meters::from_km((self.distance()?.km() * 10.0).floor() / 10.0))
    }

    fn message(self, offer: OfferId, booking: &Locked, fit: &Fit) -> Result<Offer, StoreError> {
        let (distance, roughly) = (self.distance()?, self.roughly()?);
        let place = LatLng::new(self.latitude, self.longitude).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        let area = area(place);
        let price = fit.price_from(roughly);
        Ok(Offer {
            offer_id: offer,
            booking: OfferedBooking {
                uuid: self.uuid,
                service: ServiceRef {
                    id: self.service_id,
                    slug: self.service_slug,
                    name: self.service_name,
                    duration_minutes: self.duration_minutes,
                },
                r#type: self.r#type,
                booking_type: self.booking_type,
                scheduled_at: self.scheduled_at.map(Into::into),
                location: Area {
                    area: None, // the address is free text: it would tell more than the cell
                    h3: format!("{:x}", area.cell),
                    latitude: area.centre.latitude(),
                    longitude: area.centre.longitude(),
                },
                customer_notes: None,
                total: price.total_amount,
                earnings: price.provider_earnings,
                currency: self.currency,
                payment_method: self.payment_method,
            },
            distance_km: (distance.km() * 10.0).round() / 10.0,
            eta_minutes: travel::whole_minutes(booking.slot(self.asked_at, roughly, fit.buffer_minutes).travel),
            expires_at: self.expires_at.into(),
        })
    }
}
