//! Rounds: who is asked next, how far is looked, when to wait.

use super::log::{Decided, Seen};
use super::messages::{Effect, EndReason, Found, Job, LiveOffer};
use super::state::{Attempt, Out, OutState, POOL_PATIENCE, Pending, SOON, Stage, Step};
use super::{Defect, Dispatch, Meters, Timestamp};

/// A booking's next stage; `None`: nothing more to do for it.
pub(super) type Next = Option<Stage>;

impl Dispatch {
    /// A search begins.
    pub(super) fn start(&mut self, mut job: Job, live: Vec<LiveOffer>, now: Timestamp) -> Next {
        let refused = std::mem::take(&mut job.excluded);
        let what = Decided::Searching {
            deadline: job.deadline,
            round: job.round,
            scheduled: job.scheduled,
            chosen: job.chosen,
            excluded: refused.iter().copied().collect(),
            rules: Some(job.rules),
        };
        self.log(job.booking, now, what);
        let fresh = live.is_empty() && job.chosen.is_none_or(|only| !refused.contains(&only));
        let mut search = Box::new(Pending {
            answer_by: answer_by(&job, fresh, now),
            round: job.round.max(1),
            rank: 0,
            asked: !live.is_empty(),
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
        for live in &live {
            search.refused.remove(&live.provider);
        }
        let asked = !live.is_empty();
        if asked {
            let outs = live.iter().map(|live| Out::offered(*live, live.expires_at)).collect();
            search.step = Step::Offering { outs, more_at: None, doubt: false };
        }
        if let Some(reason) = why_over(&search, now) {
            return self.give_up(search, reason, now);
        }
        if asked {
            return Some(Stage::Pending(search));
        }
        self.seek(search, now)
    }

    /// Asks the index: at once, or (batched) with everybody else at the window's end.
    fn seek(&mut self, mut search: Box<Pending>, now: Timestamp) -> Next {
        let Some(window) = search.window() else { return self.ask(search, now) };
        search.step = Pending::idle(Pending::window_end(window, now));
        Some(Stage::Pending(search))
    }

    /// Asks the index within the search's radius.
    pub(super) fn ask(&mut self, mut search: Box<Pending>, now: Timestamp) -> Next {
        if search.spent() {
            search.step = Pending::idle(search.ends_at());
            return Some(Stage::Pending(search));
        }
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
        let weights = search.job.rules.weights;
        // A booking that waits asks again whenever supply appears: only the answer that ends its wait is told.
        let free = |found: &Found| {
            !search.refused.contains(&found.provider)
                && !search.shuns(found)
                && (search.job.scheduled || self.table.held_by(found.provider).next().is_none())
        };
        if !search.waited || list.iter().any(free) {
            let what = Decided::Asked {
                round: search.round,
                radius_m: search.radius.get(),
                found: list.iter().map(|found| Seen::new(found, &weights)).collect(),
            };
            self.log(search.job.booking, now, what);
        }
        let chosen = search.job.chosen;
        let usable = |found: &&Found| {
            chosen.is_none_or(|only| only == found.provider)
                && !search.refused.contains(&found.provider)
                && !search.skipped.contains(&found.provider)
        };
        let mut queue: Vec<_> = list.iter().filter(usable).copied().collect();
        // The index gives the nearest first, and a stable sort keeps that order among equals.
        queue.sort_by_key(|found| weights.cost(&found.merit));
        search.queue = queue.into();
        if search.queue.is_empty() && supply && search.widest() {
            search.skipped.clear();
            return self.ask(search, now);
        }
        let dry = search.queue.is_empty();
        if search.window().is_some() {
            return self.pool(search, dry, now);
        }
        search.step = Step::Offering { outs: Vec::new(), more_at: None, doubt: false };
        self.advance(search, dry, now)
    }

    /// Batched: waits for the others who asked at the same time. Who has nobody looks farther.
    fn pool(&mut self, mut search: Box<Pending>, dry: bool, now: Timestamp) -> Next {
        let queue = std::mem::take(&mut search.queue);
        for found in queue {
            if self.passes_over(&mut search, &found, now) {
                search.skipped.insert(found.provider);
            } else {
                search.queue.push_back(found);
            }
        }
        if search.queue.is_empty() {
            return self.widen(search, dry, now);
        }
        search.step = Step::Pooled { until: now.plus(POOL_PATIENCE) };
        Some(Stage::Pending(search))
    }

    /// Whether this therapist is not asked just now: another booking has, or may have, a live offer to him that rules one of
    /// this booking out, or his app is not connected and the rules say to wait until it is.
    pub(super) fn passes_over(&mut self, search: &mut Pending, found: &Found, now: Timestamp) -> bool {
        if search.shuns(found) {
            if search.skips_told.insert(found.provider) {
                self.log(search.job.booking, now, Decided::Disconnected { provider: found.provider });
            }
            return true;
        }
        if search.job.scheduled {
            return false;
        }
        let Some(offered) = self.table.held_by(found.provider).next() else { return false };
        if search.skips_told.insert(found.provider) {
            self.log(search.job.booking, now, Decided::Skipped { provider: found.provider, offered });
        }
        true
    }

    /// Offers to the best candidates who are left, as many as may be asked at a time. `dry`: the last answer had nobody
    /// to try.
    pub(super) fn advance(&mut self, mut search: Box<Pending>, dry: bool, now: Timestamp) -> Next {
        let width = search.width() + usize::from(self.planted(Defect::OneTooMany));
        while search.outs().len() < width
            && let Some(found) = search.queue.pop_front()
        {
            let asked = search.outs().iter().any(|out| out.provider == found.provider);
            if asked || search.refused.contains(&found.provider) {
                continue;
            }
            if self.passes_over(&mut search, &found, now) {
                search.skipped.insert(found.provider);
                continue;
            }
            self.offer(&mut search, found, now);
            if !search.stagger().is_zero() {
                break;
            }
        }
        let next = now.plus(search.stagger());
        let more = search.outs().len() < search.width() && !search.queue.is_empty();
        if let Step::Offering { outs, more_at, .. } = &mut search.step
            && !outs.is_empty()
        {
            *more_at = more.then_some(next);
            return Some(Stage::Pending(search));
        }
        self.widen(search, dry, now)
    }

    /// Nobody is left in this round: look farther, or again, or wait. Every question that follows at once is another
    /// one (farther, or with fewer therapists to ask for), so this comes to an end.
    pub(super) fn widen(&mut self, mut search: Box<Pending>, dry: bool, now: Timestamp) -> Next {
        let rules = search.job.rules;
        let somebody_asked = std::mem::take(&mut search.asked);
        if search.rank > 0 {
            search.round = search.round.saturating_add(1);
            search.rank = 0;
        }
        if !search.widest() {
            let wider = Meters::new(search.radius.get() + rules.radius_step.get()).min(rules.radius_max);
            search.radius = if wider > search.radius { wider } else { rules.radius_max };
            search.skipped.clear();
            // Who was asked and did not take it had his window: the next one is the next.
            return if somebody_asked { self.seek(search, now) } else { self.ask(search, now) };
        }
        if somebody_asked {
            search.skipped.clear();
            return self.seek(search, now);
        }
        if !dry {
            // All who were found are taken just now, and were skipped: is there somebody farther than they?
            return self.ask(search, now);
        }
        if self.planted(Defect::EndedEarly) {
            return self.give_up(search, EndReason::NoTherapistAvailable, now);
        }
        let taken = std::mem::take(&mut search.skipped);
        if !search.waited {
            search.waited = true;
            self.log(search.job.booking, now, Decided::Waiting);
        }
        let until = search.window().map_or(now.plus(search.recheck()), |window| Pending::window_end(window, now));
        search.step = Step::Waiting { until, taken };
        Some(Stage::Pending(search))
    }

    /// Asks this one, too.
    pub(super) fn offer(&mut self, search: &mut Pending, to: Found, now: Timestamp) {
        search.rank = search.rank.saturating_add(1);
        let attempt = Attempt::first(self.next_ask(), now);
        search.waited = false;
        let (round, rank) = (search.round, search.rank);
        let state = OutState::Persisting { distance: to.distance, round, rank, attempt };
        let out = Out { provider: to.provider, state };
        self.persist(search, &out, now);
        match &mut search.step {
            Step::Offering { outs, .. } => outs.push(out),
            step => *step = Step::Offering { outs: vec![out], more_at: None, doubt: false },
        }
    }

    /// Writes the offer; a second try has the same round and rank, by which the store knows the first.
    pub(super) fn persist(&mut self, search: &Pending, out: &Out, now: Timestamp) {
        let OutState::Persisting { distance, round, rank, attempt } = out.state else { return };
        let rules = &search.job.rules;
        let ttl = if search.job.chosen.is_some() { rules.chosen_ttl } else { rules.offer_ttl };
        // Asked at once, his time is over when it would be if he could not be asked: not some milliseconds later.
        let in_time = search.job.chosen.is_some() && now.plus(ttl) <= search.answer_by.plus(SOON);
        self.effects.push_back(Effect::PersistOffer {
            booking: search.job.booking,
            ask: attempt.ask,
            provider: out.provider,
            round,
            rank,
            distance,
            ttl,
            grace: rules.receipt_grace,
            deadline: search.job.deadline,
            until: if in_time { search.answer_by } else { search.job.deadline },
            width: u16::try_from(search.width() + usize::from(self.planted(Defect::OneTooMany))).unwrap_or(u16::MAX),
        });
    }

    /// The search is over without a therapist.
    pub(super) fn give_up(&mut self, mut search: Box<Pending>, reason: EndReason, now: Timestamp) -> Next {
        let booking = search.job.booking;
        for live in search.outs().iter().filter_map(Out::live).filter(|live| live.expires_at <= now) {
            self.log(booking, now, Decided::Expired { provider: live.provider, offer: live.offer });
        }
        self.log(booking, now, Decided::GivenUp { reason });
        let attempt = Attempt::first(self.next_ask(), now);
        search.step = Step::Ending { reason, attempt, holds: search.holds() };
        self.effects.push_back(Effect::EndBooking { booking, reason, answer_by: search.answer_by });
        Some(Stage::Pending(search))
    }
}

/// Why there is nothing to search for (any more), if so.
pub(super) fn why_over(search: &Pending, now: Timestamp) -> Option<EndReason> {
    if search.spent() && !search.job.silent {
        return Some(EndReason::ProviderDeclined);
    }
    if search.ends_at() > now {
        return None;
    }
    // Whether a chosen one was asked at all depends on exactly where he is, which is not for the customer to know.
    let chosen = search.job.chosen.is_some();
    Some(if chosen { EndReason::ProviderDidNotAnswer } else { EndReason::NoTherapistAvailable })
}

/// [`Pending::answer_by`]: when he would be silent had he been asked as the booking was made. `fresh`: he has not been asked yet.
pub(super) fn answer_by(job: &Job, fresh: bool, now: Timestamp) -> Timestamp {
    if job.chosen.is_none() || job.scheduled {
        return job.deadline;
    }
    let has = job.rules.chosen_ttl + job.rules.receipt_grace;
    let by = job.created_at.plus(has);
    // It was not searched for in all that time (no node ran, or he was named later): his time is from now on.
    let by = if fresh && by <= now { now.plus(has) } else { by };
    by.min(job.deadline)
}
