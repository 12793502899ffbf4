//! What people do to offers and bookings: the transaction, then what follows from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use uuid::Uuid;

use super::effects::took;
use super::{DispatcherHandle, Shared};
use crate::clock;
use crate::core::booking::Status;
use crate::core::dispatch::Input;
use crate::core::fleet::Duty;
use crate::core::ids::{BookingId, OfferId, ProviderId, UserId};
use crate::store::StoreError;
use crate::store::bookings::{
    self, BookingView, CreateOutcome, INSUFFICIENT_BALANCE, MoveRules, Moved, NewBooking, TransitionOutcome, Wish,
};
use crate::store::idempotency::Key;
use crate::store::offers::{self, AcceptOutcome, Accepted, ClosedOffer, DeclineOutcome, ReceiptOutcome, Ttls};
use crate::wire::stream::{OfferEnd, ServerMessage};

/// A transaction that lost against another (a deadlock, a lock timeout) is tried again so often.
const TRIES: u32 = 3;

/// When it is looked again for a booking whose commit was not answered. Later ones are found by the next reconciliation.
const LOOK_AGAIN: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

/// Runs a transaction, again when it lost a conflict.
macro_rules! retried {
    ($transaction:expr) => {{
        let mut tries = 1;
        loop {
            match $transaction.await {
                Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
                outcome => break outcome,
            }
        }
    }};
}

impl DispatcherHandle {
    /// Makes a booking and, once it is committed, starts dispatch and tells the customer's sessions. When the answer to its
    /// commit is lost, it is looked for.
    pub async fn create(&self, mut new: NewBooking, key: Option<Key>) -> Result<CreateOutcome, StoreError> {
        let uuid = Uuid::new_v4();
        (new.lease, new.uuid) = (Some(self.shared.claims.lease()), Some(uuid));
        self.run(move |shared| async move {
            let began = clock::monotonic();
            let outcome = match retried!(bookings::create(&shared.pool, &new, key.as_ref())) {
                Err(StoreError::Undecided(error)) => return shared.undecided(uuid, error).await,
                outcome => outcome?,
            };
            took("create", began);
            match &outcome {
                CreateOutcome::Created { view, .. } => {
                    shared.claims.note(view.id, true);
                    shared.search_for(view, &new).await;
                    shared.tell_booking(view, None);
                    shared.announce(view, None);
                }
                CreateOutcome::Replay { body, .. } => shared.surely_made_known(body).await,
                CreateOutcome::KeyReused | CreateOutcome::InFlight | CreateOutcome::Refused(_) => {}
            }
            Ok(outcome)
        })
        .await
    }

    /// A request to book was answered as it was before: the booking of that answer starts its search, and is told of, if
    /// nobody has heard of it.
    pub async fn booked_before(&self, answer: &serde_json::Value) {
        self.shared.surely_made_known(answer).await;
    }

    /// Accepts an offer. The winner's sessions get `offer.closed` (`accepted`) and the booking, also when he repeats
    /// himself; the customer the booking; who else was asked `offer.closed` (`withdrawn`, or `expired` if his time was over).
    pub async fn accept(&self, offer: OfferId, provider: ProviderId) -> Result<AcceptOutcome, StoreError> {
        self.run(move |shared| async move {
            let began = clock::monotonic();
            let outcome = shared.surely_announced(provider, retried!(offers::accept(&shared.pool, offer, provider)))?;
            took("accept", began);
            match &outcome {
                AcceptOutcome::Accepted(accepted) => shared.after_accept(offer, accepted).await,
                AcceptOutcome::Gone { reason, booking, closed_now: true, now } => {
                    shared.after_late_accept(offer, provider, *booking, *reason, *now).await;
                }
                AcceptOutcome::Unpaid { view, closed } => shared.after_unpaid(view, closed).await,
                AcceptOutcome::Gone { .. } | AcceptOutcome::NotYours => {}
            }
            Ok(outcome)
        })
        .await
    }

    /// Declines an offer. The therapist's sessions get `offer.closed` (`declined`); the next one is asked.
    pub async fn decline(
        &self,
        offer: OfferId,
        provider: ProviderId,
        reason: Option<String>,
    ) -> Result<DeclineOutcome, StoreError> {
        self.run(move |shared| async move {
            let declined = retried!(offers::decline(&shared.pool, offer, provider, reason.as_deref()));
            let outcome = shared.surely_announced(provider, declined)?;
            if let DeclineOutcome::Declined { booking, repeated, now } = outcome {
                if !repeated {
                    shared.records.answered(provider, false);
                    shared.free(provider, now);
                }
                // After what is set here, which a re-reading then corrects; and again when he repeats himself.
                shared.announce_duties([provider]);
                if !repeated {
                    shared.feed(Input::Declined { booking, offer }).await;
                }
                if let Some(user) = shared.user_of(provider) {
                    shared.tell_offer_end(user, offer, OfferEnd::Declined);
                }
            }
            Ok(outcome)
        })
        .await
    }

    /// The app shows the offer: its clock starts, and the offer is sent again with the time that counts. A repeated receipt
    /// changes nothing, and is not answered: an app that confirms each offer it is sent would never come to an end.
    pub async fn received(&self, offer: OfferId, provider: ProviderId) -> Result<ReceiptOutcome, StoreError> {
        self.run(move |shared| async move {
            let ttls = Ttls::from(&shared.settings.load().dispatch);
            let received = retried!(offers::received(&shared.pool, offer, provider, ttls));
            let outcome = shared.surely_announced(provider, received)?;
            if let ReceiptOutcome::Noted { booking, expires_at, first: true, now } = outcome {
                if now && matches!(shared.fleet.therapist(provider).map(|t| t.ties.duty()), Some(Duty::Offered { .. }))
                {
                    shared.fleet.set_duty(provider, Duty::Offered { until: expires_at });
                }
                shared.announce_duties([provider]);
                shared.feed(Input::Received { booking, offer, expires_at }).await;
                // Not live any more: who ended it tells.
                if let Some(message) = offers::live_offer(&shared.pool, offer).await?
                    && let Some(user) = shared.user_of(provider)
                {
                    shared.bus.tell(user, ServerMessage::Offer(Box::new(message)));
                }
            }
            Ok(outcome)
        })
        .await
    }

    /// Moves a booking: on the way, there, begun, done, called off, given back. Both parties are told.
    pub async fn transition(&self, wish: Wish) -> Result<TransitionOutcome, StoreError> {
        self.run(move |shared| async move {
            let rules = MoveRules::from(&**shared.settings.load());
            let outcome = retried!(bookings::transition(&shared.pool, &wish, &rules));
            if matches!(outcome, Err(StoreError::Undecided(_))) {
                shared.perhaps_moved(&wish);
            }
            let outcome = outcome?;
            match &outcome {
                TransitionOutcome::Moved(moved) => shared.after_move(moved).await,
                TransitionOutcome::Unpaid(ended) => shared.after_unpaid(&ended.view, &ended.closed).await,
                // Asked again, perhaps because the first answer was lost, after its commit: nobody may have been told.
                TransitionOutcome::Unchanged(view) => shared.announce(view, None),
                _ => {}
            }
            Ok(outcome)
        })
        .await
    }

    /// In a task of its own, so that it ends even when the caller does not wait for it.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
    {
        let task = self.shared.moves.spawn(work(Arc::clone(&self.shared)));
        task.await.unwrap_or_else(|error| Err(not_finished(error)))
    }
}

/// A panic goes on in the caller; a runtime that is going away takes its tasks along.
fn not_finished(error: JoinError) -> StoreError {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => StoreError::Database(sqlx::Error::PoolClosed),
    }
}

impl Shared {
    /// A booking was made here, with this node's lease: nothing of it need be read.
    async fn search_for(&self, view: &BookingView, new: &NewBooking) {
        let booking = view.id;
        self.feed(match self.search_rules().job_of_new(new, view) {
            Some(job) => Input::Wanted { job, live: Vec::new() },
            None => Input::Changed { booking },
        })
        .await;
    }

    /// The answer to a booking's commit was lost. It is looked for at once; and for a while, since it may yet be committed.
    async fn undecided(self: Arc<Self>, uuid: Uuid, lost: sqlx::Error) -> Result<CreateOutcome, StoreError> {
        if let Ok(Some(created)) = bookings::find_created(&self.pool, uuid).await {
            if let CreateOutcome::Created { view, .. } = &created {
                let _news = self.make_known(view).await;
            }
            return Ok(created);
        }
        self.look_out_for(uuid, Vec::new());
        Err(StoreError::Undecided(lost))
    }

    /// The answer to a move's commit was lost. What it led to, once it is seen, is told; and the duties of those whose it may have
    /// been are read again.
    fn perhaps_moved(self: &Arc<Self>, wish: &Wish) {
        let had_it = self.fleet.snapshot().into_iter().map(|(therapist, _)| therapist).filter(|therapist| {
            let on_it =
                matches!(therapist.ties.duty(), Duty::Booked { booking_uuid, .. } if booking_uuid == wish.booking);
            on_it || therapist.user == wish.actor.user
        });
        self.look_out_for(wish.booking, had_it.map(|therapist| therapist.provider).collect());
    }

    /// A state of this booking that nobody may have heard of may show at once, or in a while.
    fn look_out_for(self: &Arc<Self>, uuid: Uuid, had_it: Vec<ProviderId>) {
        let shared = Arc::clone(self);
        self.moves.spawn(async move {
            for pause in LOOK_AGAIN {
                tokio::select! {
                    // The next start reads the rows.
                    () = shared.inputs.closed() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                if let Ok(Some(view)) = bookings::view(&shared.pool, uuid).await
                    && shared.make_known(&view).await
                {
                    return shared.announce_duties(had_it);
                }
            }
        });
    }

    /// An answer is given again, perhaps because it was lost the first time, with that to the commit.
    async fn surely_made_known(&self, answer: &serde_json::Value) {
        let Some(uuid) = answer["uuid"].as_str().and_then(|uuid| uuid.parse().ok()) else { return };
        match bookings::view(&self.pool, uuid).await {
            Ok(Some(view)) => drop(self.make_known(&view).await),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, booking = %uuid, "a booking that was asked for again could not be read; if nobody knows of it, the next reconciliation finds it");
            }
        }
    }

    /// A booking that nobody may have heard of. What was told before is not told again: false.
    async fn make_known(&self, view: &BookingView) -> bool {
        let news = self.tell_booking_if_news(view);
        if news {
            self.announce(view, None);
            self.go_on_from(view).await;
        }
        news
    }

    /// After a state was told that this node did not make, or does not know to have made.
    async fn go_on_from(&self, view: &BookingView) {
        if view.booking.status != Status::Pending.as_str() {
            self.withdraw_orphans(view.id).await;
        }
        self.feed(Input::Changed { booking: view.id }).await;
    }

    /// What a move led to. If it failed, its answer may have been lost after the commit: his duty is read again.
    fn surely_announced<T>(&self, provider: ProviderId, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if outcome.is_err() {
            self.announce_duties([provider]);
        }
        outcome
    }

    fn user_of(&self, provider: ProviderId) -> Option<UserId> {
        self.fleet.therapist(provider).map(|t| t.user)
    }

    async fn after_accept(&self, offer: OfferId, accepted: &Accepted) {
        let (view, provider) = (&accepted.view, accepted.provider);
        let winner = view.provider_user;
        if let Some(user) = winner {
            self.tell_offer_end(user, offer, OfferEnd::Accepted);
        }
        if accepted.repeated {
            // Perhaps because the first answer was lost, after its commit: nobody may have been told.
            self.announce(view, None);
            if let Some(user) = winner.filter(|&user| view.is_party(user)) {
                self.bus.tell(user, ServerMessage::Booking(Box::new(view.shown_to(user))));
            }
            return;
        }
        self.records.answered(provider, true);
        if view.is_now() {
            self.on_booking(provider, view, false);
        }
        self.tell_closed(&accepted.withdrawn);
        self.announce(view, accepted.withdrawn.iter().map(|offer| offer.provider));
        self.tell_booking(view, None);
        metrics::counter!("spacall_accepts_total").increment(1);
        let within = self.search_rules().set_out_within;
        let set_out_by = accepted.set_out_from.map(|at| at.plus(within));
        self.feed(Input::Accepted { booking: view.id, provider, set_out_by }).await;
        self.withdraw_clashing(view.id).await;
    }

    /// What else he is asked for and cannot do any more is asked of others.
    pub(super) async fn withdraw_clashing(&self, taken: BookingId) {
        match offers::withdraw_clashing(&self.pool, taken).await {
            Ok(closed) => {
                for (booking, offer) in closed {
                    self.tell_closed(&[offer]);
                    self.feed(Input::Changed { booking }).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, booking_id = taken.0, "offers that became impossible stay live until they are answered or expire");
            }
        }
    }

    /// An accept found the offer past its time, or impossible, and ended it: the search goes on.
    async fn after_late_accept(
        &self,
        offer: OfferId,
        provider: ProviderId,
        booking: BookingId,
        reason: OfferEnd,
        now: bool,
    ) {
        self.free(provider, now);
        self.announce_duties([provider]);
        if let Some(user) = self.user_of(provider) {
            self.tell_offer_end(user, offer, reason);
        }
        self.feed(match reason {
            OfferEnd::Expired => Input::Expired { booking, offer },
            _ => Input::Changed { booking },
        })
        .await;
    }

    /// An accept found too little in the customer's wallet, and ended the booking.
    async fn after_unpaid(&self, view: &BookingView, closed: &[ClosedOffer]) {
        self.tell_closed(closed);
        self.announce(view, closed.iter().map(|offer| offer.provider));
        self.tell_booking(view, None);
        metrics::counter!("spacall_searches_ended_total", "reason" => INSUFFICIENT_BALANCE).increment(1);
        self.feed(Input::Ended { booking: view.id }).await;
    }

    async fn after_move(&self, moved: &Moved) {
        let view = &moved.view;
        let had_it = moved.had_it.map(|(provider, _)| provider);
        if let Some((provider, _)) = moved.had_it.filter(|_| moved.from.is_active() && !view.is_in_store()) {
            match moved.to {
                Status::EnRoute => self.on_booking(provider, view, true),
                to if to.is_active() => self.on_booking(provider, view, false),
                _ => self.off_booking(provider, view.id, view.is_now() || moved.from != Status::Accepted),
            }
        }
        self.tell_closed(&moved.closed);
        // After the duties that are set here: whoever reads them again has the last word.
        self.announce(view, moved.closed.iter().map(|offer| offer.provider).chain(had_it));
        let before = moved.had_it.filter(|_| moved.from.is_active()).map(|(_, user)| user);
        self.tell_booking(view, before);
        let booking = view.id;
        match moved.to {
            Status::EnRoute => self.feed(Input::SetOut { booking }).await,
            // The machine reads how it stands: searched for anew, or taken by a store.
            Status::Pending | Status::Accepted => self.feed(Input::Changed { booking }).await,
            to if to.is_final() => self.feed(Input::Ended { booking }).await,
            _ => {}
        }
    }

    /// A booking's row changed, by this node or by others.
    pub(super) async fn heard_of(&self, booking: BookingId) {
        let view = match self.view(booking).await {
            Ok(view) => view,
            Err(error) => {
                // The machine reads it again until it can.
                tracing::warn!(%error, booking_id = booking.0, "a changed booking could not be read");
                return self.feed(Input::Changed { booking }).await;
            }
        };
        match view {
            Some(view) if self.tell_booking_if_news(&view) => self.go_on_from(&view).await,
            Some(_) => {}
            None => {
                self.withdraw_orphans(booking).await;
                self.feed(Input::Changed { booking }).await;
            }
        }
    }

    async fn view(&self, booking: BookingId) -> Result<Option<BookingView>, StoreError> {
        let mut db = self.pool.acquire().await?;
        bookings::view_by_id(&mut db, booking).await
    }

    /// Ends the offers that a booking moved by others' SQL left live.
    pub(super) async fn withdraw_orphans(&self, booking: BookingId) {
        match offers::withdraw_orphans(&self.pool, booking).await {
            Ok(closed) => self.tell_closed(&closed),
            Err(error) => {
                tracing::warn!(%error, booking_id = booking.0, "orphaned offers could not be withdrawn; the next reconciliation does it");
            }
        }
    }
}
