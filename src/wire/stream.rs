//! Messages of the websocket `GET /v1/stream`, as JSON text frames.

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::booking::{Booking, OfferedBooking};
use super::faults;
use super::time::WireTime;
use crate::core::ids::OfferId;

/// From an app. `location` keeps its fixes as raw values: each is read for itself, so that a bad one does not take
/// the good ones beside it along (see [`super::fix`]).
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type")]
pub enum AppMessage {
    /// The token, when it did not come in the `Authorization` header; within 5 s, never in the URL.
    #[serde(rename = "auth")]
    Auth {
        /// `{id}|{secret}`
        token: String,
    },
    /// GPS fixes of a therapist.
    #[serde(rename = "location")]
    Location {
        /// At most 1,000.
        fixes: Vec<serde_json::Value>,
    },
    /// The therapist goes online or offline.
    #[serde(rename = "availability")]
    Availability {
        /// Whether he takes offers.
        available: bool,
    },
    /// The app shows the offer: its clock starts.
    #[serde(rename = "offer.received")]
    OfferReceived {
        /// Which.
        offer_id: OfferId,
    },
    /// The therapist takes it.
    #[serde(rename = "offer.accept")]
    OfferAccept {
        /// Which.
        offer_id: OfferId,
    },
    /// The therapist does not take it.
    #[serde(rename = "offer.decline")]
    OfferDecline {
        /// Which.
        offer_id: OfferId,
        /// In the therapist's words; kept for ops.
        #[serde(default)]
        reason: Option<String>,
    },
    /// A customer asks for live positions of his booking's therapist.
    #[serde(rename = "watch")]
    Watch {
        /// Which.
        booking_uuid: Uuid,
    },
}

impl AppMessage {
    /// Reads a text frame.
    ///
    /// # Errors
    /// What is wrong with it: the field, its value, what is allowed.
    pub fn read(text: &str) -> Result<Self, String> {
        // To serde a list of the fields' values is as good as an object; no app was told so.
        let read = if text.trim_start().starts_with('{') { serde_json::from_str(text).ok() } else { None };
        read.ok_or_else(|| faults::of(text))
    }
}

/// To an app.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type")]
pub enum ServerMessage {
    /// First, once the token is good.
    #[serde(rename = "welcome")]
    Welcome {
        /// Of this connection, for support.
        session_id: Uuid,
        /// Whose token it is.
        user_uuid: Uuid,
        /// For the app to learn its clock's error.
        server_time: WireTime,
        /// `providers.is_available`; false for who is no therapist.
        available: bool,
        /// Live offers, as `offer` messages.
        offers: Vec<ServerMessage>,
    },
    /// All fixes up to `seq` are committed in PostGIS, or were rejected.
    #[serde(rename = "ack")]
    Ack {
        /// Of this connection.
        seq: u32,
    },
    /// A fix that is not taken; always before the ack that covers it.
    #[serde(rename = "rejected")]
    Rejected(Rejected),
    /// A booking is offered.
    #[serde(rename = "offer")]
    Offer(Box<Offer>),
    /// An offer is no longer live.
    #[serde(rename = "offer.closed")]
    OfferClosed {
        /// Which.
        offer_id: OfferId,
        /// `accepted`, `declined`, `expired` or `withdrawn`.
        reason: OfferEnd,
    },
    /// A booking of the user's own, as it now stands. `type` is the message's; the booking's own (`home_service`,
    /// `in_store`) is called `service_type` here.
    #[serde(rename = "booking")]
    Booking(#[serde(serialize_with = "booking_message")] Box<Booking>),
    /// A scheduled booking of the user's own begins soon.
    #[serde(rename = "reminder")]
    Reminder(Reminder),
    /// The other party of a booking has written.
    #[serde(rename = "message")]
    Message(Box<Written>),
    /// Where the therapist is, to the customer, while en route.
    #[serde(rename = "position")]
    Position(Position),
    /// The therapist's `availability`, as it now is in the database.
    #[serde(rename = "availability")]
    Availability {
        /// Whether he takes offers.
        available: bool,
    },
    /// A message that could not be followed. The socket stays open.
    #[serde(rename = "error")]
    Error {
        /// Stable, for programs.
        code: String,
        /// For people.
        message: String,
        /// With `offer_gone`, and with `not_found` of an offer.
        #[serde(skip_serializing_if = "Option::is_none")]
        offer_id: Option<OfferId>,
        /// With `offer_gone`.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<OfferEnd>,
    },
}

/// A booking without a second `type`: of a name that stands twice in an object, readers take one or refuse both.
fn booking_message<S: Serializer>(booking: &Booking, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(booking).map_err(serde::ser::Error::custom)?;
    if let Some(fields) = value.as_object_mut()
        && let Some(own_type) = fields.remove("type")
    {
        fields.insert("service_type".to_owned(), own_type);
    }
    value.serialize(serializer)
}

/// Why a fix was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Rejected {
    /// Of the fix; absent when the fix had none that could be read.
    pub seq: Option<u32>,
    /// `out_of_range`, `missing_field`, `bad_type`, `bad_time`, `too_old`, `in_future`, `too_many`; of the database:
    /// `unknown_provider`, `not_stored`.
    pub code: String,
    /// Names field, value and what is allowed.
    pub message: String,
}

/// What became of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OfferEnd {
    /// The therapist took it.
    Accepted,
    /// The therapist did not want it.
    Declined,
    /// Nobody answered in time.
    Expired,
    /// The booking ended, or went to another therapist.
    Withdrawn,
}

/// A live offer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Offer {
    /// `booking_offers.id`
    #[schema(value_type = i64)]
    pub offer_id: OfferId,
    /// What the therapist may know before he accepts: no address, no exact place.
    pub booking: OfferedBooking,
    /// To one decimal.
    pub distance_km: f64,
    /// Estimate.
    pub eta_minutes: u32,
    /// By the database's clock.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: WireTime,
}

/// A scheduled booking begins soon.
#[derive(Clone, Debug, Serialize)]
pub struct Reminder {
    /// Which.
    pub booking_uuid: Uuid,
    /// Its time.
    pub scheduled_at: WireTime,
    /// Which of `dispatch.reminders_s` this is: to be given so many seconds before that time.
    pub before_s: u32,
    /// To the therapist: when he should set out, as the traffic of that hour is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_out_at: Option<WireTime>,
}

/// What the other party of a booking has written.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// Which.
    pub booking_uuid: Uuid,
    /// `messages.uuid`
    pub uuid: Uuid,
    /// Who wrote: `users.uuid`.
    pub sender_uuid: Uuid,
    /// Empty if there is only an attachment.
    pub message: String,
    /// `image` or `location`.
    pub attachment_type: Option<String>,
    /// Of an image.
    pub attachment_url: Option<String>,
    /// Of a location: `{latitude, longitude}`.
    pub attachment_metadata: Option<serde_json::Value>,
    /// When.
    pub created_at: WireTime,
}

/// A therapist's live position.
#[derive(Clone, Debug, Serialize)]
pub struct Position {
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
