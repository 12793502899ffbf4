//! What the machine knows of one booking: only what its stage needs.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::messages::{EndReason, Found, Job, LiveOffer, Policy};
use crate::core::geo::Meters;
use crate::core::ids::{OfferId, ProviderId};
use crate::core::time::Timestamp;

/// An effect whose answer stays away this long is asked for again: an answer may be lost, a booking may not.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A booking that found nobody asks again after this, even if no supply is reported.
pub(super) const RECHECK: Duration = Duration::from_secs(2);
/// The same of a scheduled booking: no supply is reported to it, because who works at its time seldom changes.
pub(super) const RECHECK_SCHEDULED: Duration = Duration::from_secs(10);
/// Batched: who has candidates waits this long for those who were asked at the same time and have no answer yet.
pub(super) const POOL_PATIENCE: Duration = Duration::from_millis(500);
/// Pause before an effect that the database has just refused is tried on what it says now: the two clocks may differ.
pub(super) const SOON: Duration = Duration::from_millis(250);
/// After the first failure of an effect; doubles with each up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Where a booking stands, as far as dispatch knows.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Looking for a therapist.
    Pending(Box<Pending>),
    /// Taken; the therapist must set out.
    Accepted { provider: ProviderId, due: Timestamp },
    /// Taken, but the therapist stayed: being given back.
    Releasing { provider: ProviderId, attempt: Attempt },
    /// Something heard does not fit: the database is being asked. `was`: the search, to be taken up again.
    Checking { attempt: Attempt, was: Option<Box<Pending>> },
    /// At a store, whose owner is asked. `attempt`: of ending it; not begun before the deadline.
    AtStore { deadline: Timestamp, attempt: Attempt },
}

/// A search.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) job: Job,
    /// Whom it names has until then to answer: the same whether he is asked or can not be, which depends on exactly where he
    /// is. Of a booking that names nobody: its deadline.
    pub(super) answer_by: Timestamp,
    /// Never asked (again): excluded from the start, said no, or said nothing.
    pub(super) refused: BTreeSet<ProviderId>,
    /// Offers that are known to be answered or over: later news of them is old news.
    pub(super) closed: BTreeSet<OfferId>,
    pub(super) round: u16,
    /// Last rank used in this round; 0: none.
    pub(super) rank: u16,
    /// Somebody was really asked in this round. (Ranks may be used up by offers that could not be made.)
    pub(super) asked: bool,
    pub(super) radius: Meters,
    /// Candidates not yet tried, best first.
    pub(super) queue: VecDeque<Found>,
    /// Could not be offered just now; tried again once the search has nobody else.
    pub(super) skipped: BTreeSet<ProviderId>,
    /// Waited already: further empty answers are not worth a line in the log.
    pub(super) waited: bool,
    /// Therapists whose being skipped is in the log: a crowded hour would repeat it at every question.
    pub(super) skips_told: BTreeSet<ProviderId>,
    pub(super) step: Step,
}

/// What a search is doing.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The index is asked. `supply`: somebody appeared since; an empty answer may predate him.
    Asking { attempt: Attempt, supply: bool },
    /// Nobody within the widest radius, or (batched) for the window's end; `taken`: nobody but these, who had another
    /// booking's offer.
    Waiting { until: Timestamp, taken: BTreeSet<ProviderId> },
    /// Batched: there are candidates; matched with everybody else who asked at this window's end, at `until` at the latest.
    Pooled { until: Timestamp },
    /// Somebody is asked. `doubt`: look at the database once no write is under way.
    Offering { outs: Vec<Out>, more_at: Option<Timestamp>, doubt: bool },
    /// Given up: being ended. `holds`: whose offers may be live until that is committed.
    Ending { reason: EndReason, attempt: Attempt, holds: Vec<ProviderId> },
}

/// One therapist who is asked, or about to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) provider: ProviderId,
    pub(super) state: OutState,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum OutState {
    /// The offer is being written; it may be committed already.
    Persisting { distance: Meters, round: u16, rank: u16, attempt: Attempt },
    /// Committed and unanswered. `due`: when to expire it.
    Offered { live: LiveOffer, due: Timestamp },
    /// Unanswered in time: being closed.
    Expiring { live: LiveOffer, attempt: Attempt },
}

impl Out {
    pub(super) const fn offered(live: LiveOffer, due: Timestamp) -> Self {
        Self { provider: live.provider, state: OutState::Offered { live, due } }
    }

    /// The committed offer that is not known to be answered.
    pub(super) const fn live(&self) -> Option<LiveOffer> {
        match self.state {
            OutState::Offered { live, .. } | OutState::Expiring { live, .. } => Some(live),
            OutState::Persisting { .. } => None,
        }
    }

    pub(super) fn is(&self, offer: OfferId) -> bool {
        self.live().is_some_and(|live| live.offer == offer)
    }

    /// Whether it answers to this write.
    pub(super) fn writes(&self, asked: u64) -> bool {
        matches!(self.state, OutState::Persisting { attempt, .. } if attempt.ask == asked)
    }

    pub(super) const fn persisting(&self) -> bool {
        matches!(self.state, OutState::Persisting { .. })
    }

    pub(super) const fn due(&self) -> Timestamp {
        match self.state {
            OutState::Persisting { attempt, .. } | OutState::Expiring { attempt, .. } => attempt.due,
            OutState::Offered { due, .. } => due,
        }
    }
}

/// An effect that waits for its answer, or for another try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// Tells the answers of several tries apart.
    pub(super) ask: u64,
    pub(super) tries: u32,
    /// When to try again.
    pub(super) due: Timestamp,
}

impl Attempt {
    pub(super) const fn first(ask: u64, now: Timestamp) -> Self {
        Self { ask, tries: 1, due: now.plus(PATIENCE) }
    }

    /// Not asked for yet, but soon.
    pub(super) const fn soon(now: Timestamp) -> Self {
        Self { ask: 0, tries: 0, due: now.plus(SOON) }
    }

    pub(super) const fn again(self, ask: u64, now: Timestamp) -> Self {
        Self { ask, tries: self.tries.saturating_add(1), due: now.plus(PATIENCE) }
    }

    /// The try failed: another after a pause.
    pub(super) fn failed(&mut self, now: Timestamp) {
        let doublings = self.tries.saturating_sub(1).min(16);
        self.due = now.plus((BACKOFF_FIRST * (1 << doublings)).min(BACKOFF_MAX));
    }
}

impl Stage {
    /// When something is to be done if nothing is heard. Every booking has such a time: nothing waits for ever.
    pub(super) fn due(&self) -> Timestamp {
        match self {
            Self::Pending(p) => p.due(),
            Self::Accepted { due, .. } => *due,
            Self::Releasing { attempt, .. } => attempt.due,
            // A deadline that passes meanwhile is seen to with the answer.
            Self::Checking { attempt, .. } | Self::AtStore { attempt, .. } => attempt.due,
        }
    }

    /// Who has, or may have, a live offer of this booking that rules out another one. (A scheduled one rules out none.)
    pub(super) fn holds(&self) -> Vec<ProviderId> {
        match self {
            Self::Pending(p) if !p.job.scheduled => p.holds(),
            Self::Checking { was: Some(p), .. } if !p.job.scheduled => p.holds(),
            Self::Pending(_) | Self::Checking { .. } => Vec::new(),
            Self::Accepted { .. } | Self::Releasing { .. } | Self::AtStore { .. } => Vec::new(),
        }
    }

    /// The search, if it is asking or waiting for candidates.
    pub(super) fn seeking(&self) -> Option<&Pending> {
        match self {
            Self::Pending(p) if !p.spent() && matches!(p.step, Step::Asking { .. } | Step::Waiting { .. }) => Some(p),
            _ => None,
        }
    }

    /// The search, if it waits to be matched; and whether it still asks for whom.
    pub(super) fn in_window(&self) -> Option<(&Pending, bool)> {
        match self {
            Self::Pending(p) if matches!(p.step, Step::Pooled { .. }) => Some((p, false)),
            Self::Pending(p) if p.window().is_some() && matches!(p.step, Step::Asking { .. }) => Some((p, true)),
            _ => None,
        }
    }

    /// The offers that this booking believes to be live and that rule out others.
    pub(super) fn offered(&self) -> Vec<LiveOffer> {
        let Self::Pending(p) = self else { return Vec::new() };
        if p.job.scheduled {
            return Vec::new();
        }
        let live = |out: &Out| match out.state {
            OutState::Offered { live, .. } => Some(live),
            _ => None,
        };
        p.outs().iter().filter_map(live).collect()
    }

    /// The clock was set back to `now`: pauses counted from the old time are cut to their length. Deadlines and expiry
    /// are the database's and stay.
    pub(super) fn clock_set_back(&mut self, now: Timestamp) {
        let cut = |due: &mut Timestamp, longest: Duration| *due = (*due).min(now.plus(longest));
        match self {
            Self::Pending(p) => {
                let pause = p.window().unwrap_or(p.recheck());
                let stagger = p.stagger();
                match &mut p.step {
                    Step::Asking { attempt, .. } | Step::Ending { attempt, .. } => cut(&mut attempt.due, PATIENCE),
                    Step::Waiting { until, .. } => cut(until, pause),
                    Step::Pooled { until } => cut(until, POOL_PATIENCE),
                    Step::Offering { outs, more_at, .. } => {
                        more_at.iter_mut().for_each(|at| cut(at, stagger));
                        for out in outs {
                            if let OutState::Persisting { attempt, .. } | OutState::Expiring { attempt, .. } =
                                &mut out.state
                            {
                                cut(&mut attempt.due, PATIENCE);
                            }
                        }
                    }
                }
            }
            Self::Releasing { attempt, .. } | Self::Checking { attempt, .. } => cut(&mut attempt.due, PATIENCE),
            Self::AtStore { attempt, .. } if attempt.tries > 0 => cut(&mut attempt.due, PATIENCE),
            Self::Accepted { .. } | Self::AtStore { .. } => {}
        }
    }
}

impl Pending {
    fn due(&self) -> Timestamp {
        let step = match &self.step {
            // Past the deadline already, or about to be over for another reason.
            Step::Ending { attempt, .. } => return attempt.due,
            Step::Asking { attempt, .. } => attempt.due,
            Step::Waiting { until, .. } | Step::Pooled { until } => *until,
            Step::Offering { outs, more_at, .. } => {
                outs.iter().map(Out::due).chain(*more_at).min().unwrap_or(self.job.deadline)
            }
        };
        step.min(self.ends_at())
    }

    /// When it is over if nothing is heard until then. Who was asked late has his time, within the deadline.
    pub(super) fn ends_at(&self) -> Timestamp {
        let until = |out: &Out| out.live().map_or(self.job.deadline, |live| live.expires_at);
        self.outs().iter().map(until).fold(self.answer_by, Timestamp::max).min(self.job.deadline)
    }

    /// Whom it names has had his offer: nobody is left to ask, it waits for its end.
    pub(super) fn spent(&self) -> bool {
        self.job.chosen.is_some_and(|only| self.refused.contains(&only))
    }

    /// Who is asked, or about to be.
    pub(super) fn outs(&self) -> &[Out] {
        match &self.step {
            Step::Offering { outs, .. } => outs,
            _ => &[],
        }
    }

    pub(super) fn outs_mut(&mut self) -> &mut [Out] {
        match &mut self.step {
            Step::Offering { outs, .. } => outs,
            _ => &mut [],
        }
    }

    pub(super) fn holds(&self) -> Vec<ProviderId> {
        match &self.step {
            Step::Ending { holds, .. } => holds.clone(),
            _ => self.outs().iter().map(|out| out.provider).collect(),
        }
    }

    /// Whether an offer is being written.
    pub(super) fn writing(&self) -> bool {
        self.outs().iter().any(Out::persisting)
    }

    /// The committed offer, if it is not known to be answered.
    pub(super) fn out(&mut self, offer: OfferId) -> Option<&mut Out> {
        self.outs_mut().iter_mut().find(|out| out.is(offer))
    }

    /// Nobody is asked: asks at `until` if nothing else is decided.
    pub(super) const fn idle(until: Timestamp) -> Step {
        Step::Waiting { until, taken: BTreeSet::new() }
    }

    /// Whether it passed this therapist over because he was taken.
    pub(super) fn missed(&self, provider: ProviderId) -> bool {
        self.skipped.contains(&provider)
            || matches!(&self.step, Step::Waiting { taken, .. } if taken.contains(&provider))
    }

    /// Whether there is nothing farther to look at.
    pub(super) fn widest(&self) -> bool {
        self.job.chosen.is_some() || self.radius >= self.job.rules.radius_max
    }

    /// How many may be asked at a time.
    pub(super) const fn width(&self) -> usize {
        match self.job.rules.policy {
            Policy::Broadcast { width, .. } if self.job.chosen.is_none() && width > 1 => width as usize,
            _ => 1,
        }
    }

    pub(super) const fn stagger(&self) -> Duration {
        match self.job.rules.policy {
            Policy::Broadcast { stagger, .. } => stagger,
            _ => Duration::ZERO,
        }
    }

    /// Whether the rules say not to ask him because his app is not connected. (For another day it need not be.)
    pub(super) const fn shuns(&self, found: &Found) -> bool {
        self.job.rules.skip_disconnected && !found.connected && self.job.chosen.is_none() && !self.job.scheduled
    }

    /// How long it waits before it asks unprompted.
    pub(super) const fn recheck(&self) -> Duration {
        if self.job.scheduled { RECHECK_SCHEDULED } else { RECHECK }
    }

    /// Of a batched search: how long a window is.
    pub(super) const fn window(&self) -> Option<Duration> {
        match self.job.rules.policy {
            Policy::Batched { window } if self.job.chosen.is_none() => Some(window),
            _ => None,
        }
    }

    /// The end of the window that `now` is in, strictly later: a multiple of its length.
    pub(super) fn window_end(window: Duration, now: Timestamp) -> Timestamp {
        let length = i64::try_from(window.as_micros()).unwrap_or(i64::MAX).max(1);
        Timestamp::from_micros(now.micros().div_euclid(length).saturating_add(1).saturating_mul(length))
    }
}
