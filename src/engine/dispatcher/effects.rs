//! What the machine wants done, done: each effect ends in the inputs that answer it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Shared;
use crate::clock;
use crate::core::dispatch::{Effect, EndReason, Found, Input, NotPersisted, Standing};
use crate::core::geo::Meters;
use crate::core::ids::{BookingId, OfferId, ProviderId};
use crate::core::matching::{Candidate, Filters, Precision, Request};
use crate::core::time::Timestamp;
use crate::store::StoreError;
use crate::store::bookings::{self, Anew, EndOutcome, ReleaseOutcome, Search};
use crate::store::offers::{self, ExpireOutcome, NewOffer, PersistOutcome};
use crate::wire::stream::OfferEnd;

/// Candidates asked for in one round.
const CANDIDATES: usize = 20;
/// The database's clock may be behind ours: what is not due there yet is tried again, so often, after so long at most.
const NOT_DUE_TRIES: u32 = 3;
const NOT_DUE_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn perform(shared: &Shared, effect: Effect) -> Vec<Input> {
    let (began, stage) = (clock::monotonic(), stage(&effect));
    let inputs = done(shared, effect).await;
    took(stage, began);
    inputs
}

/// What ops see of how long dispatch takes, by stage.
pub(super) fn took(stage: &'static str, began: Instant) {
    let took = clock::monotonic().saturating_duration_since(began);
    metrics::histogram!("spacall_dispatch_stage_seconds", "stage" => stage).record(took.as_secs_f64());
}

const fn stage(effect: &Effect) -> &'static str {
    match effect {
        Effect::FindCandidates { .. } => "find",
        Effect::PersistOffer { .. } => "offer",
        Effect::ExpireOffer { .. } => "expire",
        Effect::EndBooking { .. } => "end",
        Effect::Release { .. } => "release",
        Effect::Reload { .. } => "reload",
        Effect::Log(_) => "log",
    }
}

async fn done(shared: &Shared, effect: Effect) -> Vec<Input> {
    match effect {
        Effect::FindCandidates { booking, ask, radius, exclude, only } => {
            find(shared, booking, ask, radius, exclude, only).await.into_iter().collect()
        }
        Effect::PersistOffer { booking, ask, provider, round, rank, distance, ttl, grace, deadline, until, width } => {
            let new = NewOffer { booking, provider, round, rank, distance, ttl, grace, deadline, until, width };
            vec![persist(shared, ask, &new).await]
        }
        Effect::ExpireOffer { booking, offer } => vec![expire(shared, booking, offer).await],
        Effect::EndBooking { booking, reason, answer_by } => vec![end(shared, booking, reason, answer_by).await],
        Effect::Release { booking } => vec![release(shared, booking).await],
        Effect::Reload { booking, ask } => vec![reload(shared, booking, ask).await],
        Effect::Log(_) => Vec::new(),
    }
}

/// The answer to an effect that did not come back (a panic): it failed. Unanswered questions are asked again.
pub(super) fn failed(effect: &Effect) -> Option<Input> {
    Some(match *effect {
        Effect::PersistOffer { booking, ask, provider, .. } => {
            Input::OfferNotPersisted { booking, ask, provider, why: NotPersisted::StoreFailed }
        }
        Effect::ExpireOffer { booking, offer } => Input::ExpireFailed { booking, offer },
        Effect::EndBooking { booking, .. } => Input::EndFailed { booking },
        Effect::Release { booking } => Input::ReleaseFailed { booking },
        Effect::Reload { booking, ask } => Input::LoadFailed { booking, ask },
        Effect::FindCandidates { .. } | Effect::Log(_) => return None,
    })
}

/// `None`: the database does not say what to look for; the machine asks again.
async fn find(
    shared: &Shared,
    booking: BookingId,
    ask: u64,
    radius: Meters,
    exclude: BTreeSet<ProviderId>,
    only: Option<ProviderId>,
) -> Option<Input> {
    let search = match shared.search(booking).await {
        Ok(Some(search)) => search,
        // A row without a place (yet): nobody can be near it. Its end, if it is gone, is heard of otherwise.
        Ok(None) => return Some(Input::Candidates { booking, ask, list: Vec::new() }),
        Err(error) => {
            tracing::warn!(%error, booking_id = booking.0, "a booking's wishes could not be read");
            return None;
        }
    };
    let request = request(shared, &search, radius, exclude, only);
    let now = clock::now();
    let answer = shared.fleet.nearest(&request, now);
    let found = |candidate: &Candidate| {
        let provider = candidate.therapist.provider;
        let preferred = search.known.contains(&provider);
        let merit = shared.records.merit(candidate, preferred, now);
        let connected = shared.bus.is_connected(candidate.therapist.user);
        Found { provider, distance: candidate.distance, merit, connected }
    };
    let list = answer.candidates.iter().map(found).collect();
    Some(Input::Candidates { booking, ask, list })
}

/// The question to the index that a booking's search stands for; `explain` asks the same.
pub(super) fn request(
    shared: &Shared,
    search: &Search,
    radius: Meters,
    exclude: BTreeSet<ProviderId>,
    only: Option<ProviderId>,
) -> Request {
    let wishes = &search.preferences;
    Request {
        service: search.service,
        place: search.place,
        when: search.scheduled_at.into(),
        duration: Duration::from_secs(u64::from(search.duration_minutes) * 60),
        customer: search.customer,
        customer_gender: search.customer_gender,
        radius,
        stale_after: shared.settings.load().stale_after(),
        limit: CANDIDATES,
        filters: Filters {
            gender: wishes.gender,
            language: wishes.language.clone(),
            specialization: wishes.specialization.clone(),
            min_rating: wishes.min_rating,
            max_price: search.max_price,
        },
        exclude,
        only,
        precision: Precision::Exact,
    }
}

async fn persist(shared: &Shared, ask: u64, new: &NewOffer) -> Input {
    let (booking, provider) = (new.booking, new.provider);
    let not = |why| Input::OfferNotPersisted { booking, ask, provider, why };
    match offers::persist(&shared.pool, new).await {
        Ok(PersistOutcome::Offered(persisted)) => {
            let provider = persisted.provider;
            shared.tell_offer(provider, &persisted);
            shared.announce_duties([provider]);
            metrics::counter!("spacall_offers_total").increment(1);
            let (offer, expires_at) = (persisted.offer, persisted.expires_at);
            Input::OfferPersisted { booking, ask, provider, offer, expires_at }
        }
        Ok(PersistOutcome::Known { offer, provider, expires_at }) => {
            shared.announce_duties([provider]); // nobody was, if the first commit's answer was lost
            Input::OfferPersisted { booking, ask, provider, offer, expires_at }
        }
        Ok(PersistOutcome::ProviderTaken) => {
            shared.announce_duties([provider]); // an offer whose time was over may have ended
            not(NotPersisted::ProviderTaken)
        }
        Ok(PersistOutcome::ProviderUnfit) => not(NotPersisted::ProviderUnfit),
        Ok(PersistOutcome::Enough) => not(NotPersisted::StoreFailed),
        Ok(PersistOutcome::BookingGone) => not(NotPersisted::BookingGone),
        Err(error) => {
            shared.announce_duties([provider]); // the answer may have been lost after the commit
            tracing::warn!(%error, booking_id = booking.0, provider_id = provider.0, "an offer could not be written");
            not(NotPersisted::StoreFailed)
        }
    }
}

async fn expire(shared: &Shared, booking: BookingId, offer: OfferId) -> Input {
    for _ in 0..NOT_DUE_TRIES {
        match offers::expire(&shared.pool, offer).await {
            Ok(ExpireOutcome::Expired(closed)) => {
                // Who is asked for another day may well be asleep.
                if closed.now {
                    shared.records.answered(closed.provider, false);
                }
                // His duty ended with its time; another offer may have begun since.
                shared.tell_offer_end(closed.user, offer, OfferEnd::Expired);
                shared.supply.notify_one();
                return Input::Expired { booking, offer };
            }
            Ok(ExpireOutcome::Refused) => return Input::ExpireRefused { booking, offer },
            Ok(ExpireOutcome::NotDue(left)) => pause(left).await,
            Err(error) => {
                tracing::warn!(%error, booking_id = booking.0, offer_id = offer.0, "an offer could not be expired");
                break;
            }
        }
    }
    Input::ExpireFailed { booking, offer }
}

async fn end(shared: &Shared, booking: BookingId, reason: EndReason, answer_by: Timestamp) -> Input {
    for _ in 0..NOT_DUE_TRIES {
        match bookings::end_by_system(&shared.pool, booking, reason, answer_by).await {
            Ok(EndOutcome::Ended { view, closed }) => {
                for offer in closed.iter().filter(|offer| offer.now && offer.end == OfferEnd::Expired) {
                    shared.records.answered(offer.provider, false);
                }
                shared.tell_closed(&closed);
                shared.tell_booking(&view, None);
                metrics::counter!("spacall_searches_ended_total", "reason" => reason.as_str()).increment(1);
                return Input::Ended { booking };
            }
            Ok(EndOutcome::NotPending) => return Input::Changed { booking },
            Ok(EndOutcome::NotDue(left)) => pause(left).await,
            Err(error) => {
                tracing::warn!(%error, booking_id = booking.0, "a search could not be ended");
                break;
            }
        }
    }
    Input::EndFailed { booking }
}

async fn release(shared: &Shared, booking: BookingId) -> Input {
    let settings = shared.settings.load_full();
    let rules = shared.search_rules();
    for _ in 0..NOT_DUE_TRIES {
        let anew = Anew::from(&*settings);
        match bookings::release_unstarted(&shared.pool, booking, rules.set_out_within, &anew).await {
            Ok(ReleaseOutcome::Released { view, provider, user }) => {
                shared.off_booking(provider, booking, view.is_now());
                shared.tell_booking(&view, Some(user));
                // The search is read by the machine itself: it may have been taken up by another already.
                return Input::Changed { booking };
            }
            Ok(ReleaseOutcome::NotAccepted) => return Input::Changed { booking },
            Ok(ReleaseOutcome::NotDue(left)) if left > NOT_DUE_PAUSE * NOT_DUE_TRIES => {
                // The limit was raised since: the machine reads the new time.
                return Input::Changed { booking };
            }
            Ok(ReleaseOutcome::NotDue(left)) => pause(left).await,
            Err(error) => {
                tracing::warn!(%error, booking_id = booking.0, "a booking could not be taken back from who did not set out");
                break;
            }
        }
    }
    Input::ReleaseFailed { booking }
}

async fn reload(shared: &Shared, booking: BookingId, ask: u64) -> Input {
    match standing(shared, booking).await {
        Ok(standing) => {
            let driven = matches!(standing, Standing::Pending { .. } | Standing::Store { .. });
            shared.claims.note(booking, driven);
            if !driven && standing != Standing::Elsewhere {
                shared.withdraw_orphans(booking).await;
            }
            Input::Loaded { booking, ask, standing: Box::new(standing) }
        }
        Err(error) => {
            tracing::warn!(%error, booking_id = booking.0, "a booking could not be read");
            Input::LoadFailed { booking, ask }
        }
    }
}

/// As the rows have it; a pending booking that another node drives is not this one's to look at.
async fn standing(shared: &Shared, booking: BookingId) -> Result<Standing, StoreError> {
    if !shared.may_drive(booking).await? {
        return Ok(Standing::Elsewhere);
    }
    bookings::standing(&shared.pool, booking, &shared.search_rules()).await
}

async fn pause(left: Duration) {
    tokio::time::sleep(left.min(NOT_DUE_PAUSE) + Duration::from_millis(1)).await;
}
