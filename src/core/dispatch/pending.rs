//! What a search makes of what it hears.

use super::log::Decided;
use super::messages::{Effect, EndReason, Input, Job, LiveOffer, NotPersisted};
use super::search::{Next, why_over};
use super::state::{Attempt, Out, OutState, Pending, Stage, Step};
use super::{Defect, Dispatch, OfferId, ProviderId, Timestamp};

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
                _ if self.planted(Defect::StaleCandidates) => return self.candidates(search, &list, false, now),
                _ => {} // answers a question that is no longer asked
            },
            Input::OfferPersisted { ask, provider, offer, expires_at, .. } => {
                return self.persisted(search, ask, LiveOffer { provider, offer, expires_at }, now);
            }
            Input::OfferNotPersisted { ask, why, .. } => return self.not_persisted(search, ask, why, now),
            Input::Received { offer, expires_at, .. } => match search.out(offer).map(|out| &mut out.state) {
                Some(OutState::Offered { live, due }) => {
                    live.expires_at = live.expires_at.min(expires_at);
                    *due = (*due).min(expires_at);
                }
                _ => note_early(&mut search, offer),
            },
            Input::Declined { offer, .. } => return self.unwanted(search, offer, Unwanted::Declined, now),
            Input::Expired { offer, .. } => return self.unwanted(search, offer, Unwanted::Silent, now),
            Input::ExpireRefused { offer, .. } => {
                if search.out(offer).is_some() {
                    return self.doubt(search, now);
                }
            }
            Input::ExpireFailed { offer, .. } => {
                if let Some(OutState::Expiring { attempt, .. }) = search.out(offer).map(|out| &mut out.state) {
                    attempt.failed(now);
                }
            }
            Input::EndFailed { .. } => {
                if let Step::Ending { attempt, .. } = &mut search.step {
                    attempt.failed(now);
                }
            }
            Input::Accepted { provider, set_out_by, booking } => {
                if may_have_accepted(&search, provider) || self.planted(Defect::OldAcceptBelieved) {
                    return self.taken(booking, provider, set_out_by, now);
                }
                return self.doubt(search, now);
            }
            Input::Ended { booking } => {
                return self.ended(booking, now);
            }
            Input::Wanted { job, live } => {
                if tells_more(&search, &job, &live) {
                    return self.doubt(search, now);
                }
            }
            Input::SetOut { .. } | Input::StoreAsked { .. } => return self.doubt(search, now),
            Input::Changed { .. } => return self.look_again(search, now),
            Input::ReleaseFailed { .. } | Input::Loaded { .. } | Input::LoadFailed { .. } | Input::SupplyAppeared => {}
        }
        Some(Stage::Pending(search))
    }

    fn persisted(&mut self, mut search: Box<Pending>, ask: u64, live: LiveOffer, now: Timestamp) -> Next {
        if let Some(stranger) = search.outs().iter().position(|out| out.writes(ask) && out.provider != live.provider) {
            // Another's row has this round and rank: somebody else drove this search.
            remove(&mut search, stranger);
            return self.doubt(search, now);
        }
        if search.closed.contains(&live.offer) || search.out(live.offer).is_some() {
            return Some(Stage::Pending(search));
        }
        let LiveOffer { provider, offer, expires_at } = live;
        let offered = Decided::Offered { provider, offer, expires_at };
        let writing = |out: &&mut Out| out.persisting() && out.provider == live.provider;
        if let Some(out) = search.outs_mut().iter_mut().find(writing) {
            *out = Out::offered(live, expires_at);
            search.asked = true;
            self.log(search.job.booking, now, offered);
            return self.if_in_doubt(search, now);
        }
        match &mut search.step {
            // What ends the booking withdraws it.
            Step::Ending { .. } => {}
            // A try given up for lost came through after all, and nothing else is under way.
            Step::Asking { .. } | Step::Waiting { .. } | Step::Pooled { .. }
                if !search.refused.contains(&live.provider) =>
            {
                self.log(search.job.booking, now, offered);
                search.asked = true;
                let outs = vec![Out::offered(live, expires_at)];
                search.step = Step::Offering { outs, more_at: None, doubt: false };
            }
            // The same, while others are asked: it must not block its therapist.
            _ => {
                search.closed.insert(live.offer);
                search.refused.insert(live.provider);
                self.effects.push_back(Effect::ExpireOffer { booking: search.job.booking, offer: live.offer });
            }
        }
        Some(Stage::Pending(search))
    }

    /// Looks at the database, if something heard while an offer was written asks for it, and all writes are settled.
    fn if_in_doubt(&mut self, search: Box<Pending>, now: Timestamp) -> Next {
        if matches!(search.step, Step::Offering { doubt: true, .. }) && !search.writing() {
            return self.check_with(search.job.booking, Some(search), now);
        }
        Some(Stage::Pending(search))
    }

    fn not_persisted(&mut self, mut search: Box<Pending>, ask: u64, why: NotPersisted, now: Timestamp) -> Next {
        let Some(at) = search.outs().iter().position(|out| out.writes(ask)) else {
            return Some(Stage::Pending(search));
        };
        let booking = search.job.booking;
        let last = (search.round, search.rank);
        let Out { provider, state: OutState::Persisting { attempt, round, rank, .. } } = &mut search.outs_mut()[at]
        else {
            return Some(Stage::Pending(search));
        };
        if why == NotPersisted::StoreFailed {
            attempt.failed(now);
            return Some(Stage::Pending(search));
        }
        let (provider, tries, newest) = (*provider, attempt.tries, (*round, *rank) == last);
        self.log(booking, now, Decided::NotOffered { provider, why });
        search.skipped.insert(provider);
        if tries == 1 && newest {
            // No row has this rank. (After several tries one may still come through and take it.)
            search.rank = search.rank.saturating_sub(1);
        }
        let doubt = why == NotPersisted::BookingGone || matches!(search.step, Step::Offering { doubt: true, .. });
        remove(&mut search, at);
        if doubt {
            return self.look_again(search, now);
        }
        self.advance(search, false, now)
    }

    /// An offer was declined, or ran out.
    fn unwanted(&mut self, mut search: Box<Pending>, offer: OfferId, how: Unwanted, now: Timestamp) -> Next {
        let Some(at) = search.outs().iter().position(|out| out.is(offer)) else {
            note_early(&mut search, offer);
            return Some(Stage::Pending(search));
        };
        let provider = search.outs()[at].provider;
        search.closed.insert(offer);
        if !self.planted(Defect::NoForgotten) {
            search.refused.insert(provider);
        }
        // Who was taken when this offer was made may be free by now.
        search.skipped.clear();
        remove(&mut search, at);
        let (what, reason) = match how {
            Unwanted::Declined => (Decided::Declined { provider, offer }, EndReason::ProviderDeclined),
            Unwanted::Silent => (Decided::Expired { provider, offer }, EndReason::ProviderDidNotAnswer),
        };
        self.log(search.job.booking, now, what);
        if search.job.chosen == Some(provider) {
            search.job.silent = matches!(how, Unwanted::Silent);
            // His receipt may have shortened his time: one that can not be asked would wait longer.
            if !search.job.silent || why_over(&search, now).is_some() {
                return self.give_up(search, reason, now);
            }
        }
        if matches!(search.step, Step::Offering { doubt: true, .. }) {
            return self.if_in_doubt(search, now);
        }
        self.advance(search, false, now)
    }

    /// Time has come.
    pub(super) fn pending_due(&mut self, mut search: Box<Pending>, now: Timestamp) -> Next {
        let booking = search.job.booking;
        if let Step::Ending { reason, attempt, .. } = &mut search.step {
            *attempt = attempt.again(0, now);
            let (reason, answer_by) = (*reason, search.answer_by);
            self.effects.push_back(Effect::EndBooking { booking, reason, answer_by });
            return Some(Stage::Pending(search));
        }
        if let Some(reason) = why_over(&search, now).filter(|_| !self.planted(Defect::MissingDeadline)) {
            return self.give_up(search, reason, now);
        }
        match search.step {
            Step::Asking { attempt, .. } => self.ask_again(search, attempt, now),
            Step::Waiting { .. } => self.ask(search, now),
            // The caller matches whoever is pooled.
            Step::Pooled { .. } | Step::Ending { .. } => Some(Stage::Pending(search)),
            Step::Offering { more_at, .. } => {
                self.outs_due(&mut search, now);
                if more_at.is_some_and(|at| at <= now) {
                    return self.advance(search, false, now);
                }
                Some(Stage::Pending(search))
            }
        }
    }

    /// Writes and expires again what has had no answer, and begins to expire what is due.
    fn outs_due(&mut self, search: &mut Pending, now: Timestamp) {
        let booking = search.job.booking;
        for at in 0..search.outs().len() {
            let Some(out) = search.outs().get(at).copied().filter(|out| out.due() <= now) else { continue };
            let state = match out.state {
                OutState::Persisting { distance, round, rank, attempt } => {
                    let mut attempt = attempt.again(self.next_ask(), now);
                    if self.planted(Defect::NoSecondTry) {
                        attempt.due = search.job.deadline;
                        search.outs_mut()[at].state = OutState::Persisting { distance, round, rank, attempt };
                        continue;
                    }
                    let rank = rank + u16::from(self.planted(Defect::DoubleEffect));
                    let state = OutState::Persisting { distance, round, rank, attempt };
                    self.persist(search, &Out { state, ..out }, now);
                    state
                }
                OutState::Offered { live, .. } => {
                    self.effects.push_back(Effect::ExpireOffer { booking, offer: live.offer });
                    OutState::Expiring { live, attempt: Attempt::first(0, now) }
                }
                OutState::Expiring { live, mut attempt } if self.planted(Defect::LostWithdraw) => {
                    attempt.due = search.job.deadline;
                    OutState::Expiring { live, attempt }
                }
                OutState::Expiring { live, attempt } => {
                    self.effects.push_back(Effect::ExpireOffer { booking, offer: live.offer });
                    OutState::Expiring { live, attempt: attempt.again(0, now) }
                }
            };
            search.outs_mut()[at].state = state;
        }
    }
}

/// This one is asked no more.
fn remove(search: &mut Pending, at: usize) {
    if let Step::Offering { outs, .. } = &mut search.step {
        outs.remove(at);
    }
}

/// News of an offer that is being written and not known yet: it was answered before its own commit was heard of.
fn note_early(search: &mut Pending, offer: OfferId) {
    if search.closed.contains(&offer) || !search.writing() {
        return;
    }
    if let Step::Offering { doubt, .. } = &mut search.step {
        *doubt = true;
    }
}

/// Whether an accept by this therapist can be the newest news. (It may also be older than a give-back.)
fn may_have_accepted(search: &Pending, provider: ProviderId) -> bool {
    let asked = search.holds().contains(&provider) || matches!(search.step, Step::Ending { .. });
    asked && !search.refused.contains(&provider)
}

/// Whether this says more than the search knows; a `Wanted` may well be told twice.
fn tells_more(search: &Pending, job: &Job, live: &[LiveOffer]) -> bool {
    let holds = search.holds();
    let known = |live: &LiveOffer| search.closed.contains(&live.offer) || holds.contains(&live.provider);
    job.deadline != search.job.deadline || !job.excluded.is_subset(&search.refused) || !live.iter().all(known)
}
