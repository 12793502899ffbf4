//! A booking as its parties see it, and as a therapist sees it who is only asked.

use serde::Serialize;
use uuid::Uuid;

use super::time::WireTime;
use crate::core::money::Money;

/// A booking, to its parties. Money as decimal strings.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Booking {
    /// Public id.
    pub uuid: Uuid,
    /// `SPC-2026-000001`
    pub booking_number: String,
    /// `booking_status` of the schema.
    pub status: String,
    /// `home_service` or `in_store`.
    pub r#type: String,
    /// `now` or `scheduled`.
    pub booking_type: String,
    /// What is booked.
    pub service: ServiceRef,
    /// Null until a therapist accepted, or the chosen one.
    pub provider: Option<ProviderRef>,
    /// Exact: only parties see this.
    pub location: Option<BookingLocation>,
    /// Of the service, at the provider's own price once accepted.
    #[schema(value_type = String, example = "800.00")]
    pub service_price: Money,
    /// For the way.
    #[schema(value_type = String, example = "0.00")]
    pub distance_surcharge: Money,
    /// Of the platform.
    #[schema(value_type = String, example = "0.00")]
    pub platform_fee: Money,
    /// Given by the customer.
    #[schema(value_type = String, example = "0.00")]
    pub tip_amount: Money,
    /// Taken off.
    #[schema(value_type = String, example = "0.00")]
    pub promo_discount: Money,
    /// What the customer pays.
    #[schema(value_type = String, example = "800.00")]
    pub total_amount: Money,
    /// What the provider gets of it, tips aside, as his offer said: to him alone, from his accept on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "680.00")]
    pub earnings: Option<Money>,
    /// `PHP`
    pub currency: String,
    /// True until a therapist accepts at his own price.
    pub price_is_estimate: bool,
    /// `payment_method` of the schema.
    pub payment_method: String,
    /// For the therapist.
    pub customer_notes: Option<String>,
    /// Why it was cancelled.
    pub cancellation_reason: Option<String>,
    /// Who cancelled: `customer`, `provider`, `admin`; null if the service did (see the reason), and while it is not cancelled.
    pub cancelled_by: Option<String>,
    /// What the cancellation costs.
    #[schema(value_type = String, example = "0.00")]
    pub cancellation_fee: Money,
    /// For a scheduled booking.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_at: Option<WireTime>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
    /// When a therapist took it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub accepted_at: Option<WireTime>,
    /// When the service began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<WireTime>,
    /// When it was done.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<WireTime>,
    /// When it was cancelled.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub cancelled_at: Option<WireTime>,
}

impl Booking {
    /// For who was a party until now: that it moved on, and nothing of where, with whom or what was said.
    #[must_use]
    pub fn for_a_stranger(mut self) -> Self {
        self.location = None;
        self.customer_notes = None;
        self.provider = None;
        self
    }
}

/// A service, named.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ServiceRef {
    /// `services.id`
    pub id: i64,
    /// `swedish-massage`
    pub slug: String,
    /// `Swedish Massage`
    pub name: String,
    /// How long it takes.
    pub duration_minutes: i32,
}

/// A provider, named.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ProviderRef {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// Of the therapist; null for a store.
    pub first_name: Option<String>,
    /// 0.00 to 5.00.
    pub average_rating: f64,
}

/// Where a home-service booking is, exactly.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct BookingLocation {
    /// As the customer gave it.
    pub address: String,
    /// Flat, room.
    pub unit_number: Option<String>,
    /// Building.
    pub building_name: Option<String>,
    /// What helps to find it.
    pub landmark: Option<String>,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// From the provider when he accepted, straight line, km to two decimals.
    pub distance_km: Option<f64>,
    /// Estimate when he accepted.
    pub estimated_travel_time_minutes: Option<i32>,
}

/// A booking to a therapist who is asked: area and H3 cell (resolution 8) instead of the address; no notes.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct OfferedBooking {
    /// Public id.
    pub uuid: Uuid,
    /// What is booked.
    pub service: ServiceRef,
    /// `home_service`
    pub r#type: String,
    /// `now` or `scheduled`.
    pub booking_type: String,
    /// For a scheduled booking.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_at: Option<WireTime>,
    /// Roughly where.
    pub location: Area,
    /// Always null here: notes come with the accept.
    pub customer_notes: Option<String>,
    /// What the customer would pay this therapist.
    #[schema(value_type = String, example = "800.00")]
    pub total: Money,
    /// What the therapist would get.
    #[schema(value_type = String, example = "680.00")]
    pub earnings: Money,
    /// `PHP`
    pub currency: String,
    /// `payment_method` of the schema.
    pub payment_method: String,
}

/// Roughly where: the centre of an H3 cell.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Area {
    /// City, where it is known.
    pub area: Option<String>,
    /// H3 cell, hexadecimal.
    pub h3: String,
    /// Of the cell's centre, degrees.
    pub latitude: f64,
    /// Of the cell's centre, degrees.
    pub longitude: f64,
}
