//! Rounds: who is asked next, how far is looked, when to wait.

use super::log::{Decided, Seen};
use super::messages::{Effect, EndReason, Found, Job, LiveOffer};
use super::state::{Attempt, Pending, RECHECK, Stage, Step};
use super::{Dispatch, Meters, Timestamp};

/// A booking's next stage; `None`: nothing more to do for it.
pub(super) type Next = Option<Stage>;

impl Dispatch {
    /// A search begins.
    pub(super) fn start(&mut self, mut job: Job, live: Option<LiveOffer>, now: Timestamp) -> Next {
        let refused = std::mem::take(&mut job.excluded);
        let what = Decided::Searching {
            deadline: job.deadline,
            round: job.round,
            chosen: job.chosen,
            excluded: refused.iter().copied().collect(),
        };
        self.log(job.booking, now, what);
        let mut search = Box::new(Pending {
            round: job.round.max(1),
            rank: 0,
            radius: job.rules.radius_start.min(job.rules.radius_max),
            refused,
            closed: Default::default(),
            queue: Default::default(),
            skipped: Default::default(),
            waited: false,
            skips_told: Default::default(),
            step: Pending::idle(now),
            job,
        });
        if let Some(live) = live {
            search.refused.remove(&live.provider);
            search.step = Step::Offered { live, due: live.expires_at };
        }
        if let Some(reason) = why_over(&search, now) {
            return self.give_up(search, reason, now);
        }
        if live.is_some() {
            return Some(Stage::Pending(search));
        }
        self.ask(search, now)
    }

    /// Asks the index within the search's radius.
    pub(super) fn ask(&mut self, mut search: Box<Pending>, now: Timestamp) -> Next {
        let attempt = Attempt::first(self.next_ask(), now);
        search.step = Step::Asking { attempt, supply: false };
        self.find(&search, attempt.ask);
        Some(Stage::Pending(search))
    }

    /// Asks once more: the answer stayed away.
    pub(super) fn ask_again(&mut self, mut search: Box<Pending>, attempt: Attempt, now: Timestamp) -> Next {
        let attempt = attempt.again(self.next_ask(), now);
        search.step = Step::Asking { attempt, supply: false };
        self.find(&search, attempt.ask);
        Some(Stage::Pending(search))
    }

    fn find(&mut self, search: &Pending, ask: u64) {
        let rules = &search.job.rules;
        self.effects.push_back(Effect::FindCandidates {
            booking: search.job.booking,
            ask,
            // A chosen therapist is asked wherever he is within the limit: there is nobody nearer to prefer.
            radius: if search.job.chosen.is_some() { rules.radius_max } else { search.radius },
            exclude: search.refused.union(&search.skipped).copied().collect(),
            only: search.job.chosen,
        });
    }

    /// The index answered.
    pub(super) fn candidates(
        &mut self,
        mut search: Box<Pending>,
        list: &[Found],
        supply: bool,
        now: Timestamp,
    ) -> Next {
        // A booking that waits asks again whenever supply appears: only the answer that ends its wait is told.
        let free = |found: &Found| {
            !search.refused.contains(&found.provider) && self.table.held_by(found.provider).next().is_none()
        };
        if !search.waited || list.iter().any(free) {
            let what = Decided::Asked {
                round: search.round,
                radius_m: search.radius.get(),
                found: list.iter().map(Seen::from).collect(),
            };
            self.log(search.job.booking, now, what);
        }
        let chosen = search.job.chosen;
        let usable = |found: &&Found| {
            chosen.is_none_or(|only| only == found.provider)
                && !search.refused.contains(&found.provider)
                && !search.skipped.contains(&found.provider)
        };
        search.queue = list.iter().filter(usable).copied().collect();
        if search.queue.is_empty() && supply && search.widest() {
            search.skipped.clear();
            return self.ask(search, now);
        }
        let dry = search.queue.is_empty();
        self.advance(search, dry, now)
    }

    /// Offers to the best candidate who is left. `dry`: the last answer had nobody to try.
    pub(super) fn advance(&mut self, mut search: Box<Pending>, dry: bool, now: Timestamp) -> Next {
        while let Some(found) = search.queue.pop_front() {
            if search.refused.contains(&found.provider) {
                continue;
            }
            let rival = self.table.held_by(found.provider).next();
            if let Some(offered) = rival {
                if search.skips_told.insert(found.provider) {
                    self.log(search.job.booking, now, Decided::Skipped { provider: found.provider, offered });
                }
                search.skipped.insert(found.provider);
                continue;
            }
            return self.offer(search, found, now);
        }
        self.widen(search, dry, now)
    }

    /// Nobody is left in this round: look farther, or again, or wait. Every question that follows at once is another
    /// one (farther, or with fewer therapists to ask for), so this comes to an end.
    fn widen(&mut self, mut search: Box<Pending>, dry: bool, now: Timestamp) -> Next {
        let rules = search.job.rules;
        let somebody_asked = search.rank > 0;
        if somebody_asked {
            search.round = search.round.saturating_add(1);
            search.rank = 0;
        }
        if !search.widest() {
            let wider = Meters::new(search.radius.get() + rules.radius_step.get()).min(rules.radius_max);
            search.radius = if wider > search.radius { wider } else { rules.radius_max };
            search.skipped.clear();
            return self.ask(search, now);
        }
        if somebody_asked {
            search.skipped.clear();
            return self.ask(search, now);
        }
        if !dry {
            // All who were found are taken just now, and were skipped: is there somebody farther than they?
            return self.ask(search, now);
        }
        let taken = std::mem::take(&mut search.skipped);
        if !search.waited {
            search.waited = true;
            self.log(search.job.booking, now, Decided::Waiting);
        }
        search.step = Step::Waiting { until: now.plus(RECHECK), taken };
        Some(Stage::Pending(search))
    }

    fn offer(&mut self, mut search: Box<Pending>, to: Found, now: Timestamp) -> Next {
        search.rank = search.rank.saturating_add(1);
        let attempt = Attempt::first(self.next_ask(), now);
        search.waited = false;
        search.step = Step::Persisting { to, attempt, doubt: false };
        self.persist(&search, to, attempt.ask);
        Some(Stage::Pending(search))
    }

    /// Writes the offer; a second try has the same round and rank, by which the store knows the first.
    pub(super) fn persist(&mut self, search: &Pending, to: Found, ask: u64) {
        let rules = &search.job.rules;
        self.effects.push_back(Effect::PersistOffer {
            booking: search.job.booking,
            ask,
            provider: to.provider,
            round: search.round,
            rank: search.rank,
            distance: to.distance,
            ttl: if search.job.chosen.is_some() { rules.chosen_ttl } else { rules.offer_ttl },
            grace: rules.receipt_grace,
            deadline: search.job.deadline,
        });
    }

    /// The search is over without a therapist.
    pub(super) fn give_up(&mut self, mut search: Box<Pending>, reason: EndReason, now: Timestamp) -> Next {
        let booking = search.job.booking;
        self.log(booking, now, Decided::GivenUp { reason });
        let attempt = Attempt::first(self.next_ask(), now);
        search.step = Step::Ending { reason, attempt, holds: search.holds() };
        self.effects.push_back(Effect::EndBooking { booking, reason });
        Some(Stage::Pending(search))
    }
}

/// Why there is nothing to search for (any more), if so.
pub(super) fn why_over(search: &Pending, now: Timestamp) -> Option<EndReason> {
    let chosen = search.job.chosen;
    if chosen.is_some_and(|only| search.refused.contains(&only)) {
        return Some(EndReason::ProviderDeclined);
    }
    if search.job.deadline > now {
        return None;
    }
    Some(match (chosen, search.holds()) {
        (Some(_), Some(_)) => EndReason::ProviderDidNotAnswer,
        _ => EndReason::NoTherapistAvailable,
    })
}
