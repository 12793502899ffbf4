//! What the websocket and `POST /v1/locations` ask of the engine.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::sockets::Sockets;
use crate::cluster::Bus;
use crate::core::fleet::Fleet;
use crate::core::ids::{BookingId, OfferId, ProviderId, UserId};
use crate::core::settings::Settings;
use crate::store::StoreError;
use crate::store::journal::Journal;
use crate::wire::booking::Booking;
use crate::wire::stream::{Offer, OfferEnd, ServerMessage};

/// Who is at the other end of a socket.
#[derive(Clone)]
pub struct Member {
    /// Whose token it is.
    pub user: UserId,
    /// `users.uuid`
    pub user_uuid: Uuid,
    /// The therapist that he is: may send locations, availability and answers to offers; has one session.
    pub therapist: Option<ProviderId>,
    /// Cancelled when the token is no longer good, or no longer means the same: the socket closes with 4401.
    pub revoked: CancellationToken,
    /// Kept as long as the socket: what looks out for the token, for one.
    pub kept: Option<Arc<dyn Any + Send + Sync>>,
}

/// Why nobody was let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthFailure {
    /// Unknown, expired, revoked, or its user may not come in.
    BadToken,
    /// It could not be checked: the app should come again, and keep its token.
    Unavailable,
}

/// How things stand with the member, for `welcome`.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// `providers.is_available`; false for who is no therapist.
    pub available: bool,
    /// Live offers.
    pub offers: Vec<Offer>,
}

/// A command that was not followed: the `error` message. The socket stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The offer that it is about.
    pub offer: Option<OfferId>,
    /// What became of it, if it is gone.
    pub end: Option<OfferEnd>,
}

impl Refusal {
    /// With a code and a text.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), offer: None, end: None }
    }

    /// `offer_gone`, with its reason.
    pub fn offer_gone(offer: OfferId, reason: OfferEnd) -> Self {
        let text = format!("offer {offer} is no longer live");
        Self { offer: Some(offer), end: Some(reason), ..Self::new("offer_gone", text) }
    }

    /// Of somebody else, or nothing at all.
    pub fn not_found(what: &str) -> Self {
        Self::new("not_found", format!("{what} was not found"))
    }

    /// The same of an offer.
    pub fn no_offer(offer: OfferId) -> Self {
        Self { offer: Some(offer), ..Self::not_found(&format!("offer {offer}")) }
    }

    /// The database is away: nothing happened, the app may try again.
    pub fn unavailable() -> Self {
        Self::new("unavailable", "the database cannot be reached; try again")
    }
}

impl From<Refusal> for ServerMessage {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message, offer, end } = refusal;
        Self::Error { code: code.to_owned(), message, offer_id: offer, reason: end }
    }
}

/// A booking that a customer follows.
#[derive(Clone, Copy, Debug)]
pub struct Followed {
    /// Which.
    pub booking: BookingId,
    /// Who has it; `None`: nobody yet.
    pub therapist: Option<ProviderId>,
}

/// The engine, as far as live sockets need it. The answers to commands are those for this one socket; what the bus
/// tells its user anyway is not repeated in them.
pub trait Desk: Send + Sync + 'static {
    /// Whose token this is.
    fn authenticate(&self, token: &str) -> impl Future<Output = Result<Member, AuthFailure>> + Send;

    /// A therapist whom the index does not know yet (inserted a moment ago) is read before his first fix is taken, else
    /// that fix would move nobody. Costs nothing for who is known.
    fn introduce(&self, therapist: ProviderId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// For `welcome`; asked after the socket is on the bus, so that no offer falls between.
    fn standing(&self, member: &Member) -> impl Future<Output = Result<Standing, Refusal>> + Send;

    /// `availability`: returns when it is committed, and questions and bookings go by it.
    fn set_availability(
        &self,
        therapist: ProviderId,
        available: bool,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// `offer.received`
    fn receive_offer(
        &self,
        therapist: ProviderId,
        offer: OfferId,
    ) -> impl Future<Output = Result<Vec<ServerMessage>, Refusal>> + Send;

    /// `offer.accept`
    fn accept_offer(
        &self,
        therapist: ProviderId,
        offer: OfferId,
    ) -> impl Future<Output = Result<Vec<ServerMessage>, Refusal>> + Send;

    /// `offer.decline`
    fn decline_offer(
        &self,
        therapist: ProviderId,
        offer: OfferId,
        reason: Option<String>,
    ) -> impl Future<Output = Result<Vec<ServerMessage>, Refusal>> + Send;

    /// `watch`: the booking as it stands, if it is the member's to see; and whom to follow if the member is its customer, who
    /// alone follows the therapist's position (a therapist may lose the booking to another, whose way is not his to see).
    fn watch(
        &self,
        member: &Member,
        booking: Uuid,
    ) -> impl Future<Output = Result<(Option<Followed>, Booking), Refusal>> + Send;

    /// Where every therapist is.
    fn fleet(&self) -> &Fleet;

    /// As they are now.
    fn settings(&self) -> Arc<Settings>;

    /// Where pings become rows.
    fn journal(&self) -> &Journal;

    /// What live sockets are told.
    fn bus(&self) -> &Bus;

    /// What all sockets share.
    fn sockets(&self) -> &Sockets;
}
