//! The engine, as live sockets and `POST /v1/locations` need it.

use std::sync::Arc;

use uuid::Uuid;

use super::auth::{AuthError, Authenticator};
use super::stream::{AuthFailure, Desk, Followed, Member, Origins, Refusal, Sockets, Standing, Timing};
use crate::cluster::Bus;
use crate::core::fleet::Fleet;
use crate::core::ids::{OfferId, ProviderId};
use crate::core::settings::Settings;
use crate::engine::Engine;
use crate::store::journal::Journal;
use crate::store::offers::{self, AcceptOutcome, DeclineOutcome, ReceiptOutcome};
use crate::store::{StoreError, bookings, users};
use crate::wire::booking::Booking;
use crate::wire::stream::{OfferEnd, ServerMessage};

/// What sockets are served from.
pub(super) struct FrontDesk {
    engine: Arc<Engine>,
    authenticator: Authenticator,
    sockets: Sockets,
}

impl FrontDesk {
    pub(super) fn new(engine: Arc<Engine>, authenticator: Authenticator, origins: Origins) -> Self {
        Self { engine, authenticator, sockets: Sockets::new(Timing::default()).with_origins(origins) }
    }
}

impl Desk for FrontDesk {
    async fn authenticate(&self, token: &str) -> Result<Member, AuthFailure> {
        let principal = self.authenticator.verify_for_stream(token).await.map_err(|error| match error {
            AuthError::BadToken => AuthFailure::BadToken,
            AuthError::Store(error) => {
                tracing::warn!(%error, "a token could not be checked");
                AuthFailure::Unavailable
            }
        })?;
        if let Some(therapist) = principal.therapist()
            && let Err(error) = self.introduce(therapist).await
        {
            tracing::warn!(%error, "a therapist's rows could not be read");
            return Err(AuthFailure::Unavailable);
        }
        let watch = self.authenticator.watch(&principal);
        Ok(Member {
            user: principal.user,
            user_uuid: principal.user_uuid,
            therapist: principal.therapist(),
            revoked: watch.revoked().clone(),
            kept: Some(watch),
        })
    }

    async fn introduce(&self, therapist: ProviderId) -> Result<(), StoreError> {
        self.engine.introduce(therapist).await
    }

    async fn standing(&self, member: &Member) -> Result<Standing, Refusal> {
        let Some(therapist) = member.therapist else { return Ok(Standing::default()) };
        if self.engine.settings().dispatch.minds_connections() {
            // Whoever passed him over while his app was away reconsiders him.
            self.engine.dispatcher.supply_appeared();
        }
        let pool = &self.engine.pool;
        let provider = users::own_provider(pool, therapist).await.map_err(failed)?;
        Ok(Standing {
            available: provider.is_some_and(|provider| provider.is_available),
            offers: offers::live_for(pool, therapist).await.map_err(failed)?,
        })
    }

    async fn set_availability(&self, therapist: ProviderId, available: bool) -> Result<(), Refusal> {
        if !self.engine.set_available(therapist, available).await.map_err(failed)? {
            return Err(Refusal::not_found("the therapist"));
        }
        Ok(())
    }

    /// The offer with its new time comes over the bus.
    async fn receive_offer(&self, therapist: ProviderId, offer: OfferId) -> Result<Vec<ServerMessage>, Refusal> {
        match self.engine.dispatcher.received(offer, therapist).await.map_err(failed)? {
            ReceiptOutcome::Noted { .. } => Ok(Vec::new()),
            ReceiptOutcome::Gone { reason, .. } => Err(Refusal::offer_gone(offer, reason)),
            ReceiptOutcome::NotYours => Err(Refusal::no_offer(offer)),
        }
    }

    /// The winner hears `offer.closed` and the booking over the bus.
    async fn accept_offer(&self, therapist: ProviderId, offer: OfferId) -> Result<Vec<ServerMessage>, Refusal> {
        match self.engine.dispatcher.accept(offer, therapist).await.map_err(failed)? {
            AcceptOutcome::Accepted(_) => Ok(Vec::new()),
            AcceptOutcome::Gone { reason, .. } => Err(Refusal::offer_gone(offer, reason)),
            // The booking is cancelled: to him it was withdrawn.
            AcceptOutcome::Unpaid { .. } => Err(Refusal::offer_gone(offer, OfferEnd::Withdrawn)),
            AcceptOutcome::NotYours => Err(Refusal::no_offer(offer)),
        }
    }

    /// `offer.closed` comes over the bus.
    async fn decline_offer(
        &self,
        therapist: ProviderId,
        offer: OfferId,
        reason: Option<String>,
    ) -> Result<Vec<ServerMessage>, Refusal> {
        match self.engine.dispatcher.decline(offer, therapist, reason).await.map_err(failed)? {
            DeclineOutcome::Declined { .. } => Ok(Vec::new()),
            DeclineOutcome::Gone { reason, .. } => Err(Refusal::offer_gone(offer, reason)),
            DeclineOutcome::NotYours => Err(Refusal::no_offer(offer)),
        }
    }

    async fn watch(&self, member: &Member, booking: Uuid) -> Result<(Option<Followed>, Booking), Refusal> {
        let view = bookings::view(&self.engine.pool, booking).await.map_err(failed)?;
        view.filter(|view| view.is_party(member.user))
            .map(|view| {
                let followed = Followed { booking: view.id, therapist: view.provider };
                ((view.customer == member.user).then_some(followed), view.shown_to(member.user))
            })
            .ok_or_else(|| Refusal::not_found("the booking"))
    }

    fn fleet(&self) -> &Fleet {
        &self.engine.fleet
    }

    fn settings(&self) -> Arc<Settings> {
        self.engine.settings()
    }

    fn journal(&self) -> &Journal {
        &self.engine.journal
    }

    fn bus(&self) -> &Bus {
        &self.engine.bus
    }

    fn sockets(&self) -> &Sockets {
        &self.sockets
    }
}

fn failed(error: StoreError) -> Refusal {
    if error.is_unavailable() {
        return Refusal::unavailable();
    }
    tracing::error!(%error, "a socket's command failed in the database");
    Refusal::new("internal", "something went wrong on our side")
}
