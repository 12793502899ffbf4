//! What people change about who can be matched, answered once this node shows it: whoever hears "done" asks, and books, at
//! once. Whatever answers calls these, not the store or the dispatcher. (A socket's accept and decline have no answer: what comes of
//! them is told when it is committed, and the commands that follow are not held up.)
//!
//! The wait comes after the commit and holds nothing that the applier, the dispatcher or anybody else waits for. What else is
//! told of a move (to the parties, to the machine, to other nodes) does not wait for it.

use super::Engine;
use crate::core::ids::{OfferId, ProviderId, UserId};
use crate::store::bookings::{TransitionOutcome, Wish};
use crate::store::idempotency::{Key, Once};
use crate::store::offers::{AcceptOutcome, ClosedOffer, DeclineOutcome};
use crate::store::reviews::{Moderation, NewReview, Review, ReviewRefused};
use crate::store::{StoreError, reviews, users};

impl Engine {
    /// Whether this therapist takes offers from now on. False: there is no such therapist.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn set_available(&self, therapist: ProviderId, available: bool) -> Result<bool, StoreError> {
        let known = users::set_available(&self.pool, therapist, available).await?;
        if known {
            self.shown([therapist]).await;
        }
        Ok(known)
    }

    /// Accepts an offer: see [`accept`](super::dispatcher::DispatcherHandle::accept).
    ///
    /// # Errors
    /// When the transaction failed.
    pub async fn accept(&self, offer: OfferId, therapist: ProviderId) -> Result<AcceptOutcome, StoreError> {
        let outcome = self.dispatcher.accept(offer, therapist).await?;
        let others: &[ClosedOffer] = match &outcome {
            AcceptOutcome::Accepted(accepted) => &accepted.withdrawn,
            // It ended the booking.
            AcceptOutcome::Unpaid { closed, .. } => closed,
            AcceptOutcome::Gone { closed_now: true, .. } => &[],
            AcceptOutcome::Gone { .. } | AcceptOutcome::NotYours => return Ok(outcome),
        };
        self.shown(others.iter().map(|other| other.provider).chain([therapist])).await;
        Ok(outcome)
    }

    /// Declines an offer: see [`decline`](super::dispatcher::DispatcherHandle::decline).
    ///
    /// # Errors
    /// When the transaction failed.
    pub async fn decline(
        &self,
        offer: OfferId,
        therapist: ProviderId,
        reason: Option<String>,
    ) -> Result<DeclineOutcome, StoreError> {
        let outcome = self.dispatcher.decline(offer, therapist, reason).await?;
        if matches!(outcome, DeclineOutcome::Declined { .. }) {
            self.shown([therapist]).await;
        }
        Ok(outcome)
    }

    /// Moves a booking: see [`transition`](super::dispatcher::DispatcherHandle::transition).
    ///
    /// # Errors
    /// When the transaction failed.
    pub async fn transition(&self, wish: Wish) -> Result<TransitionOutcome, StoreError> {
        let outcome = self.dispatcher.transition(wish).await?;
        match &outcome {
            TransitionOutcome::Moved(moved) => {
                let had_it = moved.had_it.map(|(provider, _)| provider).into_iter().chain(moved.view.provider);
                self.shown(moved.closed.iter().map(|offer| offer.provider).chain(had_it)).await;
            }
            // Asked again, perhaps while the first answer waits. (Whose it was before he gave it back is not known any more.)
            TransitionOutcome::Unchanged(view) => self.shown(view.provider).await,
            TransitionOutcome::Refused { .. }
            | TransitionOutcome::StoreCannot(_)
            | TransitionOutcome::Unpaid(_)
            | TransitionOutcome::NotFound => {}
        }
        Ok(outcome)
    }

    /// Returns when the index shows what is committed of the therapist that this user is, if he is one.
    ///
    /// # Errors
    /// When it could not be read who that is.
    pub async fn user_shown(&self, user: UserId) -> Result<(), StoreError> {
        self.shown(users::therapists(&self.pool, user).await?).await;
        Ok(())
    }

    /// Keeps a customer's review: see [`reviews::create`].
    ///
    /// # Errors
    /// When the transaction failed.
    pub async fn review(&self, new: &NewReview, key: Option<Key>) -> Result<Once<Review, ReviewRefused>, StoreError> {
        let outcome = reviews::create(&self.pool, new, key).await?;
        if let Once::Made(review, _) = &outcome {
            self.shown([review.provider()]).await;
        }
        Ok(outcome)
    }

    /// Hides a review or shows it again: see [`reviews::moderate`].
    ///
    /// # Errors
    /// When the transaction failed.
    pub async fn moderate(&self, id: i64, by: UserId, change: &Moderation) -> Result<Option<Review>, StoreError> {
        let moderated = reviews::moderate(&self.pool, id, by, change).await?;
        self.shown(moderated.as_ref().map(Review::provider)).await;
        Ok(moderated)
    }

    /// Deletes a review: see [`reviews::delete`]. False: there was none of his.
    ///
    /// # Errors
    /// When the transaction failed.
    pub async fn delete_review(&self, id: i64, by: UserId, admin: bool) -> Result<bool, StoreError> {
        let provider = reviews::delete(&self.pool, id, by, admin).await?;
        self.shown(provider).await;
        Ok(provider.is_some())
    }

    /// Returns when the catalog, and what everybody offers of it, is shown as it is committed; or when that takes too long.
    pub async fn catalog_shown(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.refresh.catalog_shown() => {}
        }
    }

    /// Returns when the index shows the committed rows of these, or when that takes too long: what is committed stands, and is
    /// answered as such.
    pub async fn shown(&self, providers: impl IntoIterator<Item = ProviderId>) {
        tokio::select! {
            // The applier goes, and the index with it.
            () = self.shutdown.cancelled() => {}
            () = self.refresh.shown(providers) => {}
        }
    }
}
