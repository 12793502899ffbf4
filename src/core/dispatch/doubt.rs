//! When something heard does not fit: read where the booking stands, and go on from there.
//!
//! Whatever is read with the newest `ask` is at least as new as every input handled before that ask was given out; what
//! changes later is heard of later. So a booking in doubt always comes to rest on the truth.

use super::Dispatch;
use super::log::Decided;
use super::messages::{Effect, Input, Job, LiveOffer, Standing};
use super::search::{Next, why_over};
use super::state::{Attempt, Pending, SOON, Stage, Step};
use super::{BookingId, ProviderId, Timestamp};

impl Dispatch {
    /// A search heard what does not fit.
    pub(super) fn doubt(&mut self, search: Box<Pending>, now: Timestamp) -> Next {
        self.log(search.job.booking, now, Decided::InDoubt);
        self.look_again(search, now)
    }

    /// A search's row changed.
    pub(super) fn look_again(&mut self, mut search: Box<Pending>, now: Timestamp) -> Next {
        if let Step::Persisting { doubt, .. } = &mut search.step {
            // First the write is settled: else its offer could come after the reading, and never be heard of.
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
    fn resume(&mut self, was: Option<Box<Pending>>, mut job: Job, live: Option<LiveOffer>, now: Timestamp) -> Next {
        let Some(mut search) = was.filter(|was| was.job.deadline == job.deadline) else {
            return self.start(job, live, now);
        };
        let before = search.live();
        search.refused.append(&mut job.excluded);
        if search.rank > 0 {
            search.round = search.round.saturating_add(1);
            search.rank = 0;
        }
        search.round = search.round.max(job.round);
        search.job = job;

        let before_step = std::mem::replace(&mut search.step, Pending::idle(now.plus(SOON)));
        if let Some(live) = live {
            if search.closed.contains(&live.offer) {
                // Nobody waited for it, and it is still live: its therapist is to be let go.
                self.effects.push_back(Effect::ExpireOffer { booking: search.job.booking, offer: live.offer });
            } else {
                search.refused.remove(&live.provider);
                search.step = Step::Offered { live, due: live.expires_at.max(now.plus(SOON)) };
                if before.is_none_or(|known| known.offer != live.offer) {
                    let LiveOffer { provider, offer, expires_at } = live;
                    self.log(search.job.booking, now, Decided::Offered { provider, offer, expires_at });
                }
            }
        }
        if let Some(reason) = why_over(&search, now) {
            let reason = if let Step::Ending { reason, .. } = before_step { reason } else { reason };
            let holds = search.holds();
            search.step = Step::Ending { reason, attempt: Attempt::soon(now), holds };
            return Some(Stage::Pending(search));
        }
        if matches!(search.step, Step::Offered { .. }) {
            return Some(Stage::Pending(search));
        }
        if matches!(before_step, Step::Asking { .. }) {
            return self.ask(search, now);
        }
        if search.queue.is_empty() {
            return Some(Stage::Pending(search)); // waits a moment, then asks
        }
        self.advance(search, false, now)
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
            Input::Accepted { .. } | Input::Wanted { .. } => {
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
