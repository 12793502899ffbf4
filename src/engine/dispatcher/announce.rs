//! Tells every node, this one too, of what this node's own moves changed: a moment after their commits, many at a time. The
//! triggers are silent in those transactions, since commits that notify wait for each other's disk.
//!
//! What a node had not told when it died, the others find within a minute: the index by its comparison, bookings by
//! [`catch_up`](super::DispatcherHandle::catch_up).

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{DispatcherHandle, Mutex, Shared, lock};
use crate::core::ids::ProviderId;
use crate::store::StoreError;
use crate::store::bookings::BookingView;
use crate::store::changes::{self, Change};

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_millis(500);

/// What is to be told, each row once: as many as there are rows, at most.
#[derive(Default)]
pub(super) struct Announcements {
    waiting: Mutex<BTreeSet<Change>>,
    some: Notify,
}

impl Announcements {
    fn add(&self, changes: impl IntoIterator<Item = Change>) {
        lock(&self.waiting).extend(changes);
        self.some.notify_one();
    }
}

impl Shared {
    /// A booking moved, as committed, and with it the duties of these.
    pub(super) fn announce(&self, view: &BookingView, providers: impl IntoIterator<Item = ProviderId>) {
        self.announcements.add([Change::Booking(view.id, Some(view.version))]);
        self.announce_duties(providers.into_iter().chain(view.provider));
    }

    /// Offers to these began or ended.
    pub(super) fn announce_duties(&self, providers: impl IntoIterator<Item = ProviderId>) {
        self.announcements.add(providers.into_iter().map(Change::Provider));
    }

    /// What waits, now. What could not be told waits on.
    async fn announce_waiting(&self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut *lock(&self.announcements.waiting));
        let told = changes::tell(&self.pool, &waiting).await;
        if told.is_err() {
            self.announcements.add(waiting);
        }
        told
    }

    /// The same, where nobody tries again.
    pub(super) async fn announce_rest(&self) {
        if let Err(error) = self.announce_waiting().await {
            tracing::debug!(%error, "other nodes could not be told of the last moves: they find them within a minute");
        }
    }
}

impl DispatcherHandle {
    /// A booking's row changed otherwise than by a move (it was tipped), committed: its parties are told, at every node.
    pub fn changed_here(&self, view: &BookingView) {
        self.shared.tell_booking(view, None);
        self.shared.announce(view, None);
    }

    /// Tells what requests that outlived the machine have moved; for the end of a node.
    pub async fn announce_rest(&self) {
        self.shared.announce_rest().await;
    }
}

/// Runs until `shutdown`; what is left then is the caller's to tell.
pub(super) async fn run(shared: std::sync::Arc<Shared>, shutdown: CancellationToken) {
    let ended = shutdown.cancelled();
    tokio::pin!(ended);
    let mut pause = GATHER;
    loop {
        tokio::select! {
            () = &mut ended => return,
            () = shared.announcements.some.notified() => tokio::time::sleep(pause).await,
        }
        pause = match shared.announce_waiting().await {
            Ok(()) => GATHER,
            Err(error) => {
                tracing::warn!(%error, "other nodes do not hear of what this one does; tried again soon");
                RETRY
            }
        };
    }
}
