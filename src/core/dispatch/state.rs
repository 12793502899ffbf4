//! What the machine knows of one booking: only what its stage needs.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::messages::{EndReason, Found, Job, LiveOffer};
use crate::core::geo::Meters;
use crate::core::ids::{OfferId, ProviderId};
use crate::core::time::Timestamp;

/// An effect whose answer stays away this long is asked for again: an answer may be lost, a booking may not.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A booking that found nobody asks again after this, even if no supply is reported.
pub(super) const RECHECK: Duration = Duration::from_secs(2);
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
}

/// A search.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) job: Job,
    /// Never asked (again): excluded from the start, said no, or said nothing.
    pub(super) refused: BTreeSet<ProviderId>,
    /// Offers that are known to be answered or over: later news of them is old news.
    pub(super) closed: BTreeSet<OfferId>,
    pub(super) round: u16,
    /// Last rank used in this round; 0: none.
    pub(super) rank: u16,
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
    /// Nobody within the widest radius; `taken`: nobody but these, who had another booking's offer.
    Waiting { until: Timestamp, taken: BTreeSet<ProviderId> },
    /// An offer is being written; it may be committed already. `doubt`: look at the database once that is settled.
    Persisting { to: Found, attempt: Attempt, doubt: bool },
    /// Committed and unanswered. `due`: when to expire it.
    Offered { live: LiveOffer, due: Timestamp },
    /// Unanswered in time: being closed.
    Expiring { live: LiveOffer, attempt: Attempt },
    /// Given up: being ended. `holds`: whose offer may be live until that is committed.
    Ending { reason: EndReason, attempt: Attempt, holds: Option<ProviderId> },
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
            Self::Checking { attempt, .. } => attempt.due,
        }
    }

    /// Who has, or may have, this booking's live offer.
    pub(super) fn holds(&self) -> Option<ProviderId> {
        match self {
            Self::Pending(p) => p.holds(),
            Self::Checking { was, .. } => was.as_ref().and_then(|p| p.holds()),
            Self::Accepted { .. } | Self::Releasing { .. } => None,
        }
    }

    /// The search, if it is asking or waiting for candidates.
    pub(super) fn seeking(&self) -> Option<&Pending> {
        match self {
            Self::Pending(p) if matches!(p.step, Step::Asking { .. } | Step::Waiting { .. }) => Some(p),
            _ => None,
        }
    }

    /// The offer that this booking believes to be live.
    pub(super) fn offered(&self) -> Option<LiveOffer> {
        match self {
            Self::Pending(p) => match p.step {
                Step::Offered { live, .. } => Some(live),
                _ => None,
            },
            _ => None,
        }
    }

    /// The clock was set back to `now`: pauses counted from the old time are cut to their length. Deadlines and expiry
    /// are the database's and stay.
    pub(super) fn clock_set_back(&mut self, now: Timestamp) {
        let (due, longest) = match self {
            Self::Pending(p) => match &mut p.step {
                Step::Asking { attempt, .. }
                | Step::Persisting { attempt, .. }
                | Step::Expiring { attempt, .. }
                | Step::Ending { attempt, .. } => (&mut attempt.due, PATIENCE),
                Step::Waiting { until, .. } => (until, RECHECK),
                Step::Offered { .. } => return,
            },
            Self::Releasing { attempt, .. } | Self::Checking { attempt, .. } => (&mut attempt.due, PATIENCE),
            Self::Accepted { .. } => return,
        };
        *due = (*due).min(now.plus(longest));
    }
}

impl Pending {
    fn due(&self) -> Timestamp {
        let step = match self.step {
            // Past the deadline already, or about to be over for another reason.
            Step::Ending { attempt, .. } => return attempt.due,
            Step::Asking { attempt, .. } | Step::Persisting { attempt, .. } | Step::Expiring { attempt, .. } => {
                attempt.due
            }
            Step::Waiting { until, .. } => until,
            Step::Offered { due, .. } => due,
        };
        step.min(self.job.deadline)
    }

    pub(super) fn holds(&self) -> Option<ProviderId> {
        match self.step {
            Step::Asking { .. } | Step::Waiting { .. } => None,
            Step::Persisting { to, .. } => Some(to.provider),
            Step::Offered { live, .. } | Step::Expiring { live, .. } => Some(live.provider),
            Step::Ending { holds, .. } => holds,
        }
    }

    /// Between two steps: holds nobody, and asks again at `until` if nothing else is decided.
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

    /// The committed offer that is not known to be answered.
    pub(super) fn live(&self) -> Option<LiveOffer> {
        match self.step {
            Step::Offered { live, .. } | Step::Expiring { live, .. } => Some(live),
            _ => None,
        }
    }
}
