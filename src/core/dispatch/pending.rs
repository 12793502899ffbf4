//! What a search makes of what it hears.

use super::log::Decided;
use super::messages::{Effect, EndReason, Input, Job, LiveOffer, NotPersisted};
use super::search::{Next, why_over};
use super::state::{Attempt, Pending, Stage, Step};
use super::{Dispatch, OfferId, ProviderId, Timestamp};

/// How an offer ended without an accept.
#[derive(Clone, Copy)]
enum Unwanted {
    Declined,
    Silent,
}

impl Dispatch {
    /// Pending x input.
    pub(super) fn pending(&mut self, mut search: Box<Pending>, input: Input, now: Timestamp) -> Next {
        match input {
            Input::Candidates { ask, list, .. } => match search.step {
                Step::Asking { attempt, supply } if attempt.ask == ask => {
                    return self.candidates(search, &list, supply, now);
                }
                _ => {} // answers a question that is no longer asked
            },
            Input::OfferPersisted { ask, provider, offer, expires_at, .. } => {
                return self.persisted(search, ask, LiveOffer { provider, offer, expires_at }, now);
            }
            Input::OfferNotPersisted { ask, why, .. } => return self.not_persisted(search, ask, why, now),
            Input::Received { offer, expires_at, .. } => match &mut search.step {
                Step::Offered { live, due } if live.offer == offer => {
                    live.expires_at = live.expires_at.min(expires_at);
                    *due = (*due).min(expires_at);
                }
                _ => note_early(&mut search, offer),
            },
            Input::Declined { offer, .. } => return self.unwanted(search, offer, Unwanted::Declined, now),
            Input::Expired { offer, .. } => return self.unwanted(search, offer, Unwanted::Silent, now),
            Input::ExpireRefused { offer, .. } => {
                if search.live().is_some_and(|live| live.offer == offer) {
                    return self.doubt(search, now);
                }
            }
            Input::ExpireFailed { offer, .. } => match &mut search.step {
                Step::Expiring { live, attempt } if live.offer == offer => attempt.failed(now),
                _ => {}
            },
            Input::EndFailed { .. } => {
                if let Step::Ending { attempt, .. } = &mut search.step {
                    attempt.failed(now);
                }
            }
            Input::Accepted { provider, set_out_by, booking } => {
                if may_have_accepted(&search, provider) {
                    return self.taken(booking, provider, set_out_by, now);
                }
                return self.doubt(search, now);
            }
            Input::Ended { booking } => {
                return self.ended(booking, now);
            }
            Input::Wanted { job, live } => {
                if tells_more(&search, &job, live) {
                    return self.doubt(search, now);
                }
            }
            Input::SetOut { .. } => return self.doubt(search, now),
            Input::Changed { .. } => return self.look_again(search, now),
            Input::ReleaseFailed { .. } | Input::Loaded { .. } | Input::LoadFailed { .. } | Input::SupplyAppeared => {}
        }
        Some(Stage::Pending(search))
    }

    fn persisted(&mut self, mut search: Box<Pending>, ask: u64, live: LiveOffer, now: Timestamp) -> Next {
        if let Step::Persisting { to, attempt, .. } = search.step
            && attempt.ask == ask
            && to.provider != live.provider
        {
            // Another's row has this round and rank: somebody else drove this search.
            self.log(search.job.booking, now, Decided::InDoubt);
            search.step = Pending::idle(now);
            return self.check_with(search.job.booking, Some(search), now);
        }
        if search.closed.contains(&live.offer) || search.live().is_some_and(|known| known.offer == live.offer) {
            return Some(Stage::Pending(search));
        }
        match search.step {
            Step::Persisting { to, doubt, .. } if to.provider == live.provider => {
                let LiveOffer { provider, offer, expires_at } = live;
                self.log(search.job.booking, now, Decided::Offered { provider, offer, expires_at });
                search.step = Step::Offered { live, due: expires_at };
                if doubt {
                    return self.check_with(search.job.booking, Some(search), now);
                }
            }
            // What ends the booking withdraws it.
            Step::Ending { .. } => {}
            // A try given up for lost came through after all, and nothing else is under way.
            Step::Asking { .. } | Step::Waiting { .. } if !search.refused.contains(&live.provider) => {
                let LiveOffer { provider, offer, expires_at } = live;
                self.log(search.job.booking, now, Decided::Offered { provider, offer, expires_at });
                search.step = Step::Offered { live, due: expires_at };
            }
            // The same, while another is asked: it must not block its therapist.
            _ => {
                search.closed.insert(live.offer);
                search.refused.insert(live.provider);
                self.effects.push_back(Effect::ExpireOffer { booking: search.job.booking, offer: live.offer });
            }
        }
        Some(Stage::Pending(search))
    }

    fn not_persisted(&mut self, mut search: Box<Pending>, ask: u64, why: NotPersisted, now: Timestamp) -> Next {
        let Step::Persisting { to, attempt, doubt } = &mut search.step else { return Some(Stage::Pending(search)) };
        if attempt.ask != ask {
            return Some(Stage::Pending(search));
        }
        let (provider, tries, doubt) = (to.provider, attempt.tries, *doubt);
        if why == NotPersisted::StoreFailed {
            attempt.failed(now);
            return Some(Stage::Pending(search));
        }
        self.log(search.job.booking, now, Decided::NotOffered { provider, why });
        search.skipped.insert(provider);
        if tries == 1 {
            // No row has this rank. (After several tries one may still come through and take it.)
            search.rank = search.rank.saturating_sub(1);
        }
        // Nothing is under way until the next line, and the therapist is free for others.
        search.step = Pending::idle(now);
        if doubt || why == NotPersisted::BookingGone {
            return self.check_with(search.job.booking, Some(search), now);
        }
        self.advance(search, false, now)
    }

    /// An offer was declined, or ran out.
    fn unwanted(&mut self, mut search: Box<Pending>, offer: OfferId, how: Unwanted, now: Timestamp) -> Next {
        let Some(live) = search.live().filter(|live| live.offer == offer) else {
            note_early(&mut search, offer);
            return Some(Stage::Pending(search));
        };
        let provider = live.provider;
        search.closed.insert(offer);
        search.refused.insert(provider);
        // Who was taken when this offer was made may be free by now.
        search.skipped.clear();
        search.step = Pending::idle(now);
        let (what, reason) = match how {
            Unwanted::Declined => (Decided::Declined { provider, offer }, EndReason::ProviderDeclined),
            Unwanted::Silent => (Decided::Expired { provider, offer }, EndReason::ProviderDidNotAnswer),
        };
        self.log(search.job.booking, now, what);
        if search.job.chosen == Some(provider) {
            return self.give_up(search, reason, now);
        }
        self.advance(search, false, now)
    }

    /// Time has come.
    pub(super) fn pending_due(&mut self, mut search: Box<Pending>, now: Timestamp) -> Next {
        let booking = search.job.booking;
        if let Step::Ending { reason, attempt, .. } = &mut search.step {
            *attempt = attempt.again(0, now);
            self.effects.push_back(Effect::EndBooking { booking, reason: *reason });
            return Some(Stage::Pending(search));
        }
        if let Some(reason) = why_over(&search, now) {
            return self.give_up(search, reason, now);
        }
        match search.step {
            Step::Asking { attempt, .. } => return self.ask_again(search, attempt, now),
            Step::Waiting { .. } => return self.ask(search, now),
            Step::Persisting { to, attempt, doubt } => {
                let attempt = attempt.again(self.next_ask(), now);
                search.step = Step::Persisting { to, attempt, doubt };
                self.persist(&search, to, attempt.ask);
            }
            Step::Offered { live, .. } => {
                search.step = Step::Expiring { live, attempt: Attempt::first(0, now) };
                self.effects.push_back(Effect::ExpireOffer { booking, offer: live.offer });
            }
            Step::Expiring { live, attempt } => {
                search.step = Step::Expiring { live, attempt: attempt.again(0, now) };
                self.effects.push_back(Effect::ExpireOffer { booking, offer: live.offer });
            }
            Step::Ending { .. } => {}
        }
        Some(Stage::Pending(search))
    }
}

/// News of an offer that is being written and not known yet: it was answered before its own commit was heard of.
fn note_early(search: &mut Pending, offer: OfferId) {
    if search.closed.contains(&offer) {
        return;
    }
    if let Step::Persisting { doubt, .. } = &mut search.step {
        *doubt = true;
    }
}

/// Whether an accept by this therapist can be the newest news. (It may also be older than a give-back.)
fn may_have_accepted(search: &Pending, provider: ProviderId) -> bool {
    let asked = search.holds() == Some(provider) || matches!(search.step, Step::Ending { .. });
    asked && !search.refused.contains(&provider)
}

/// Whether this says more than the search knows; a `Wanted` may well be told twice.
fn tells_more(search: &Pending, job: &Job, live: Option<LiveOffer>) -> bool {
    let known = |live: LiveOffer| search.closed.contains(&live.offer) || search.holds() == Some(live.provider);
    job.deadline != search.job.deadline || !job.excluded.is_subset(&search.refused) || !live.is_none_or(known)
}
