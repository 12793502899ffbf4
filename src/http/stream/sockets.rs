//! What all sockets of a node share.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::origins::Origins;
use super::rate::FixRates;

/// How long a socket waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For the first message, when the token is not in the header; then 4408.
    pub auth_within: Duration,
    /// A peer that was silent this long is pinged.
    pub ping_after: Duration,
    /// A peer that was silent this long is gone.
    pub dead_after: Duration,
    /// A peer that takes nothing for this long reads too slowly.
    pub write_within: Duration,
    /// For pings in flight to be acked, when the node drains.
    pub drain_within: Duration,
    /// Positions of one therapist are shown to his customer at most this often.
    pub position_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            auth_within: Duration::from_secs(5),
            ping_after: Duration::from_secs(25),
            dead_after: Duration::from_secs(60),
            write_within: Duration::from_secs(10),
            drain_within: Duration::from_secs(5),
            position_every: Duration::from_secs(1),
        }
    }
}

/// Every live socket of this node, and what is counted over them.
#[derive(Default)]
pub struct Sockets {
    tracker: TaskTracker,
    closing: CancellationToken,
    rates: FixRates,
    timing: Timing,
    origins: Origins,
}

impl Sockets {
    /// None yet.
    pub fn new(timing: Timing) -> Self {
        Self { timing, ..Self::default() }
    }

    /// Opened by pages of these origins too.
    #[must_use]
    pub fn with_origins(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    /// Closes all sockets with 1012, once their pings in flight are acked or [`Timing::drain_within`] is over, and
    /// returns when all are gone. New ones are refused from now on. (axum does not wait for upgraded sockets.)
    pub async fn drain(&self) {
        self.closing.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Live fixes by therapist.
    pub fn rates(&self) -> &FixRates {
        &self.rates
    }

    pub(super) fn are_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    pub(super) fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    pub(super) fn origins(&self) -> &Origins {
        &self.origins
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }
}
