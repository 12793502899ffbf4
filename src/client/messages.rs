//! What an app reads of the server's messages: unknown messages and unknown fields are skipped, as the contract lets
//! the server add both at any time. Hence not the types of [`crate::wire`], which the server writes.

use serde::Deserialize;
use uuid::Uuid;

use crate::core::ids::OfferId;
use crate::wire::stream::OfferEnd;
use crate::wire::time::WireTime;

/// A message of the websocket.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Incoming {
    /// First, once the token is good.
    #[serde(rename = "welcome")]
    Welcome {
        /// Of this connection.
        session_id: Uuid,
        /// `providers.is_available`
        available: bool,
        /// Live offers.
        #[serde(default)]
        offers: Vec<Offer>,
    },
    /// All fixes up to `seq` are committed or were rejected.
    #[serde(rename = "ack")]
    Ack {
        /// Of this connection.
        seq: u32,
    },
    /// A fix that is not taken.
    #[serde(rename = "rejected")]
    Rejected {
        /// Of the fix, where it could be read.
        seq: Option<u32>,
        /// Stable.
        code: String,
        /// For people.
        message: String,
    },
    /// A booking is offered.
    #[serde(rename = "offer")]
    Offer(Box<Offer>),
    /// An offer is no longer live.
    #[serde(rename = "offer.closed")]
    OfferClosed {
        /// Which.
        offer_id: OfferId,
        /// What became of it.
        reason: OfferEnd,
    },
    /// A booking of the user's own.
    #[serde(rename = "booking")]
    Booking(Box<BookingSeen>),
    /// Where the therapist is.
    #[serde(rename = "position")]
    Position(PositionSeen),
    /// Something could not be followed.
    #[serde(rename = "error")]
    Error {
        /// Stable.
        code: String,
        /// For people.
        #[serde(default)]
        message: String,
        /// With `offer_gone`, and with `not_found` of an offer.
        #[serde(default)]
        offer_id: Option<OfferId>,
        /// With `offer_gone`.
        #[serde(default)]
        reason: Option<OfferEnd>,
    },
    /// What this app does not know.
    #[serde(other)]
    Unknown,
}

/// A live offer.
#[derive(Clone, Debug, Deserialize)]
pub struct Offer {
    /// `booking_offers.id`
    pub offer_id: OfferId,
    /// What is asked.
    pub booking: OfferedBooking,
    /// To one decimal.
    pub distance_km: f64,
    /// Estimate.
    pub eta_minutes: u32,
    /// By the database's clock.
    pub expires_at: WireTime,
}

/// A booking that is offered.
#[derive(Clone, Debug, Deserialize)]
pub struct OfferedBooking {
    /// Public id.
    pub uuid: Uuid,
    /// What.
    pub service: ServiceSeen,
    /// When; `None`: now.
    #[serde(default)]
    pub scheduled_at: Option<WireTime>,
    /// Roughly where.
    pub location: Area,
    /// What the customer would pay, decimal.
    pub total: String,
    /// What the therapist would get, decimal.
    pub earnings: String,
}

/// A service, named.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceSeen {
    /// `swedish-massage`
    pub slug: String,
    /// `Swedish Massage`
    pub name: String,
}

/// Roughly where.
#[derive(Clone, Debug, Deserialize)]
pub struct Area {
    /// City, where it is known.
    #[serde(default)]
    pub area: Option<String>,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
}

/// A booking, to one of its parties.
#[derive(Clone, Debug, Deserialize)]
pub struct BookingSeen {
    /// Public id.
    pub uuid: Uuid,
    /// `SPC-2026-000001`
    #[serde(default)]
    pub booking_number: String,
    /// `booking_status` of the schema.
    pub status: String,
    /// When; `None`: now.
    #[serde(default)]
    pub scheduled_at: Option<WireTime>,
    /// What is booked.
    #[serde(default)]
    pub service: Option<ServiceSeen>,
    /// Who comes.
    #[serde(default)]
    pub provider: Option<ProviderSeen>,
    /// Where.
    #[serde(default)]
    pub location: Option<PlaceSeen>,
    /// Decimal.
    #[serde(default)]
    pub total_amount: String,
    /// True until somebody accepted.
    #[serde(default)]
    pub price_is_estimate: bool,
    /// Why it was cancelled.
    #[serde(default)]
    pub cancellation_reason: Option<String>,
    /// Who cancelled it; nobody: the service.
    #[serde(default)]
    pub cancelled_by: Option<String>,
}

impl BookingSeen {
    /// Whether nothing more can happen to it.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "cancelled" | "no_show")
    }
}

/// A provider, named.
#[derive(Clone, Debug, Deserialize)]
pub struct ProviderSeen {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// Of a therapist.
    #[serde(default)]
    pub first_name: Option<String>,
}

/// Where exactly, to a party.
#[derive(Clone, Debug, Deserialize)]
pub struct PlaceSeen {
    /// As the customer gave it.
    #[serde(default)]
    pub address: String,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// From the therapist at the accept, km.
    #[serde(default)]
    pub distance_km: Option<f64>,
    /// Estimate at the accept.
    #[serde(default)]
    pub estimated_travel_time_minutes: Option<i32>,
}

/// A therapist on the way.
#[derive(Clone, Debug, Deserialize)]
pub struct PositionSeen {
    /// Whose therapist.
    pub booking_uuid: Uuid,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Estimate.
    pub eta_minutes: u32,
    /// Time of the fix.
    pub recorded_at: WireTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_or_field_of_a_newer_server_is_skipped() {
        let unknown = serde_json::from_str::<Incoming>(r#"{"type":"weather","rain":true}"#);
        assert!(matches!(unknown, Ok(Incoming::Unknown)));
        let ack = serde_json::from_str::<Incoming>(r#"{"type":"ack","seq":17,"lag_ms":3}"#);
        assert!(matches!(ack, Ok(Incoming::Ack { seq: 17 })));
    }

    #[test]
    fn reads_the_offers_of_the_contract() {
        let offer = r#"{"type":"offer","offer_id":9,"booking":{"uuid":"0190b1f5-0000-7000-8000-000000000001",
            "service":{"id":1,"slug":"swedish-massage","name":"Swedish Massage","duration_minutes":60},
            "type":"home_service","booking_type":"now","scheduled_at":null,
            "location":{"area":"Makati","h3":"8869265b2dfffff","latitude":14.55,"longitude":121.02},
            "customer_notes":null,"total":"800.00","earnings":"680.00","currency":"PHP","payment_method":"cash"},
            "distance_km":1.2,"eta_minutes":6,"expires_at":"2026-11-22T09:00:25Z"}"#;
        let welcome = format!(
            r#"{{"type":"welcome","session_id":"0190b1f5-0000-7000-8000-000000000002","user_uuid":
            "0190b1f5-0000-7000-8000-000000000003","server_time":"2026-11-22T09:00:00Z","available":true,"offers":[{offer}]}}"#
        );
        let Ok(Incoming::Welcome { offers, available: true, .. }) = serde_json::from_str::<Incoming>(&welcome) else {
            panic!("not a welcome");
        };
        assert_eq!(offers[0].offer_id, OfferId(9));
        assert!(matches!(serde_json::from_str::<Incoming>(offer), Ok(Incoming::Offer(o)) if o.eta_minutes == 6));
    }
}
