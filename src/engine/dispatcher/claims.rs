//! Which pending bookings this node drives: those whose lease it holds. Nothing depends on it but work: what two nodes did
//! to one booking, the guarded writes would allow once.
//!
//! A node claims what is free when it starts, whenever it hears of a booking, and now and then; renews while it lives; and
//! gives up what it finds to be another's. Who died is known at once by its lost connection, who hangs by its lease.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Shared, lock};
use crate::core::dispatch::Input;
use crate::core::ids::BookingId;
use crate::store::StoreError;
use crate::store::bookings::lease::{self, Lease, NodeId, Presence};

/// How long a lease lasts that is not renewed.
const LIFE: Duration = Duration::from_secs(30);
/// Leases that end within this are renewed: two rounds may fail.
const RENEW_WITHIN: Duration = Duration::from_secs(20);
/// How often leases are seen to.
const EVERY: Duration = Duration::from_secs(5);
/// Rows in one statement.
const BATCH: u32 = 200;

/// What this node drives.
pub(super) struct Claims {
    node: NodeId,
    /// The index is built: bookings may be taken up.
    open: AtomicBool,
    driven: Mutex<BTreeSet<BookingId>>,
}

impl Claims {
    pub(super) fn new() -> Self {
        Self { node: NodeId(Uuid::new_v4()), open: AtomicBool::new(false), driven: Mutex::default() }
    }

    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    /// Whether bookings are taken up.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether its lease was held when it was last looked at: until the next look nobody need ask the database.
    fn drives(&self, booking: BookingId) -> bool {
        lock(&self.driven).contains(&booking)
    }

    /// What a booking that is made here is made with.
    pub(super) const fn lease(&self) -> Lease {
        Lease { node: self.node, life: LIFE }
    }

    /// The machine knows it (no more).
    pub(super) fn note(&self, booking: BookingId, driven: bool) {
        let mut all = lock(&self.driven);
        if driven {
            all.insert(booking);
        } else {
            all.remove(&booking);
        }
    }
}

impl Shared {
    /// Whether this node may drive the booking.
    pub(super) async fn may_drive(&self, booking: BookingId) -> Result<bool, StoreError> {
        Ok(self.claims.drives(booking) || lease::hold(&self.pool, self.claims.node, LIFE, booking).await?)
    }

    /// Takes every lease that is free; from now on whenever one becomes so.
    pub(super) async fn claim_free(&self) -> Result<Vec<BookingId>, StoreError> {
        self.claims.open.store(true, Ordering::Release);
        let mut all = Vec::new();
        loop {
            let claimed = lease::claim(&self.pool, self.claims.node, LIFE, BATCH).await?;
            let more = claimed.len() == BATCH as usize;
            metrics::counter!("spacall_leases_claimed_total").increment(claimed.len() as u64);
            all.extend(claimed);
            if !more {
                return Ok(all);
            }
        }
    }

    /// Renews, looks for what was lost, takes what became free.
    async fn see_to_leases(&self) -> Result<(), StoreError> {
        while lease::renew(&self.pool, self.claims.node, LIFE, RENEW_WITHIN, BATCH).await? == u64::from(BATCH) {}
        let driven: Vec<_> = lock(&self.claims.driven).iter().copied().collect();
        metrics::gauge!("spacall_leases_held").set(driven.len() as f64);
        let lost = lease::lost(&self.pool, self.claims.node, &driven).await?;
        metrics::counter!("spacall_leases_lost_total").increment(lost.len() as u64);
        for booking in lost {
            tracing::warn!(
                booking_id = booking.0,
                "another node drives a booking that this one drove: it is left to it"
            );
            self.claims.note(booking, false);
            // The machine looks again, is told that it is not its own, and lets go.
            self.feed(Input::Changed { booking }).await;
        }
        if self.claims.is_open() {
            for booking in self.claim_free().await? {
                self.feed(Input::Changed { booking }).await;
            }
        }
        Ok(())
    }
}

/// Runs until `shutdown`. Giving the leases up is the caller's, once nothing is driven any more.
pub(super) async fn run(shared: std::sync::Arc<Shared>, shutdown: CancellationToken) {
    let mut presence = None;
    loop {
        let round = async {
            if let Err(error) = be_seen(&shared, &mut presence).await {
                tracing::warn!(%error, "this node cannot show that it lives: others may take its bookings, until it can");
            }
            if let Err(error) = shared.see_to_leases().await {
                tracing::warn!(%error, "leases could not be seen to; tried again soon");
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = round => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn be_seen(shared: &Shared, presence: &mut Option<Presence>) -> Result<(), StoreError> {
    if let Some(seen) = presence
        && seen.is_seen().await.is_ok()
    {
        return Ok(());
    }
    *presence = None;
    *presence = Some(Presence::announce(&shared.pool, shared.claims.node).await?);
    Ok(())
}
