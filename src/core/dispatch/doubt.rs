//! When something heard does not fit: read where the booking stands, and go on from there.
//!
//! Whatever is read with the newest `ask` is at least as new as every input handled before that ask was given out; what
//! changes later is heard of later. So a booking in doubt always comes to rest on the truth.

use super::Dispatch;
use super::log::Decided;
use super::messages::{Effect, Input, Job, LiveOffer, Standing};
use super::search::{Next, answer_by, why_over};
use super::state::{Attempt, Out, Pending, SOON, Stage, Step};
use super::{BookingId, Defect, ProviderId, Timestamp};

impl Dispatch {
    /// A search heard what does not fit.
    pub(super) fn doubt(&mut self, search: Box<Pending>, now: Timestamp) -> Next {
        self.log(search.job.booking, now, Decided::InDoubt);
        if self.planted(Defect::NeverInDoubt) {
            return Some(Stage::Pending(search));
        }
        self.look_again(search, now)
    }

    /// A search's row changed.
    pub(super) fn look_again(&mut self, mut search: Box<Pending>, now: Timestamp) -> Next {
        let writing = search.writing();
        if let Step::Offering { doubt, .. } = &mut search.step
            && writing
        {
            // First the writes are settled: else an offer could come after the reading, and never be heard of.
            *doubt = true;
            return Some(Stage::Pending(search));
        }
        self.check_with(search.job.booking, Some(search), now)
    }

    /// Asks the database.
    pub(super) fn check_with(&mut self, booking: BookingId, was: Option<Box<Pending>>, now: Timestamp) -> Next {
        let attempt = Attempt::first(self.next_ask(), now);
        self.effects.push_back(Effect::Reload { booking, ask: attempt.ask });
        Some(Stage::Checking { attempt, was })
    }

    /// Checking x input.
    pub(super) fn checking(
        &mut self,
        booking: BookingId,
        mut attempt: Attempt,
        was: Option<Box<Pending>>,
        input: Input,
        now: Timestamp,
    ) -> Next {
        match input {
            Input::Loaded { ask, standing, .. } if ask == attempt.ask => {
                return match *standing {
                    Standing::Pending { job, live } => self.resume(was, job, live, now),
                    Standing::Accepted { provider, set_out_by } => self.taken(booking, provider, set_out_by, now),
                    Standing::Store { deadline } => Self::wait_for_store(deadline, deadline.max(now.plus(SOON))),
                    Standing::Elsewhere => None,
                    Standing::Settled => self.ended(booking, now),
                };
            }
            Input::LoadFailed { ask, .. } if ask == attempt.ask => attempt.failed(now),
            Input::Ended { .. } => return self.ended(booking, now),
            // News: what is being read may predate it.
            Input::Wanted { .. }
            | Input::OfferPersisted { .. }
            | Input::Received { .. }
            | Input::Declined { .. }
            | Input::Expired { .. }
            | Input::ExpireRefused { .. }
            | Input::Accepted { .. }
            | Input::StoreAsked { .. }
            | Input::SetOut { .. }
            | Input::Changed { .. } => return self.check_with(booking, was, now),
            // Answers to questions that are no longer asked.
            Input::Candidates { .. }
            | Input::OfferNotPersisted { .. }
            | Input::ExpireFailed { .. }
            | Input::EndFailed { .. }
            | Input::ReleaseFailed { .. }
            | Input::Loaded { .. }
            | Input::LoadFailed { .. }
            | Input::SupplyAppeared => {}
        }
        Some(Stage::Checking { attempt, was })
    }

    /// No answer yet, or a failed try: again.
    pub(super) fn checking_due(
        &mut self,
        booking: BookingId,
        attempt: Attempt,
        was: Option<Box<Pending>>,
        now: Timestamp,
    ) -> Next {
        let attempt = attempt.again(self.next_ask(), now);
        self.effects.push_back(Effect::Reload { booking, ask: attempt.ask });
        Some(Stage::Checking { attempt, was })
    }

    /// The booking is pending: take the search up again, or begin anew if it is another one (given back meanwhile).
    fn resume(&mut self, was: Option<Box<Pending>>, mut job: Job, live: Vec<LiveOffer>, now: Timestamp) -> Next {
        let Some(mut search) = was.filter(|was| was.job.deadline == job.deadline) else {
            return self.start(job, live, now);
        };
        search.refused.append(&mut job.excluded);
        if search.rank > 0 {
            search.round = search.round.saturating_add(1);
            search.rank = 0;
        }
        search.round = search.round.max(job.round);
        if search.job.chosen != job.chosen {
            search.answer_by = answer_by(&job, live.is_empty(), now);
        }
        search.job = job;

        let before = std::mem::replace(&mut search.step, Pending::idle(now.plus(SOON)));
        let outs = self.still_asked(&mut search, &before, live, now);
        search.asked = !outs.is_empty();
        if search.asked {
            search.step = Step::Offering { outs, more_at: None, doubt: false };
        }
        if let Some(reason) = why_over(&search, now) {
            let reason = if let Step::Ending { reason, .. } = before { reason } else { reason };
            let holds = search.holds();
            search.step = Step::Ending { reason, attempt: Attempt::soon(now), holds };
            return Some(Stage::Pending(search));
        }
        if !search.outs().is_empty() {
            return self.advance(search, false, now);
        }
        if matches!(before, Step::Asking { .. }) {
            return self.ask(search, now);
        }
        if search.queue.is_empty() || search.window().is_some() {
            return Some(Stage::Pending(search)); // waits a moment, then asks
        }
        self.advance(search, false, now)
    }

    /// The live offers of a search that is taken up again. One that was given up is expired: nobody waited for it, and
    /// its therapist is to be let go.
    fn still_asked(&mut self, search: &mut Pending, before: &Step, live: Vec<LiveOffer>, now: Timestamp) -> Vec<Out> {
        let known = |offer| matches!(before, Step::Offering { outs, .. } if outs.iter().any(|out| out.is(offer)));
        let booking = search.job.booking;
        let mut outs = Vec::with_capacity(live.len());
        for live in live {
            let LiveOffer { provider, offer, expires_at } = live;
            if search.closed.contains(&offer) {
                self.effects.push_back(Effect::ExpireOffer { booking, offer });
                continue;
            }
            search.refused.remove(&provider);
            outs.push(Out::offered(live, expires_at.max(now.plus(SOON))));
            if !known(offer) {
                self.log(booking, now, Decided::Offered { provider, offer, expires_at });
            }
        }
        outs
    }

    /// A therapist has the booking.
    pub(super) fn taken(
        &mut self,
        booking: BookingId,
        provider: ProviderId,
        set_out_by: Option<Timestamp>,
        now: Timestamp,
    ) -> Next {
        self.log(booking, now, Decided::Accepted { provider });
        // Not watched: nothing more to do here.
        let due = set_out_by?.max(now.plus(SOON));
        Some(Stage::Accepted { provider, due })
    }

    /// (Accepted or Releasing) x input.
    pub(super) fn accepted(
        &mut self,
        booking: BookingId,
        provider: ProviderId,
        mut stage: Stage,
        input: Input,
        now: Timestamp,
    ) -> Next {
        match input {
            Input::Accepted { provider: same, set_out_by, .. } if same == provider => {
                let due = set_out_by?.max(now.plus(SOON));
                return Some(Stage::Accepted { provider, due });
            }
            // Given back. One that does not exclude him may be older than his accept.
            Input::Wanted { job, live } if job.excluded.contains(&provider) => return self.start(job, live, now),
            Input::SetOut { .. } | Input::Ended { .. } => return self.ended(booking, now),
            Input::Accepted { .. } | Input::Wanted { .. } | Input::StoreAsked { .. } => {
                self.log(booking, now, Decided::InDoubt);
                return self.check_with(booking, None, now);
            }
            Input::Changed { .. } => return self.check_with(booking, None, now),
            Input::ReleaseFailed { .. } => {
                if let Stage::Releasing { attempt, .. } = &mut stage {
                    attempt.failed(now);
                }
            }
            // Of the search that is over: the accept has withdrawn what else was live.
            Input::Candidates { .. }
            | Input::OfferPersisted { .. }
            | Input::OfferNotPersisted { .. }
            | Input::Received { .. }
            | Input::Declined { .. }
            | Input::Expired { .. }
            | Input::ExpireRefused { .. }
            | Input::ExpireFailed { .. }
            | Input::EndFailed { .. }
            | Input::Loaded { .. }
            | Input::LoadFailed { .. }
            | Input::SupplyAppeared => {}
        }
        Some(stage)
    }
}
