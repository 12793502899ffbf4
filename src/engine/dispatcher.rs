//! Placeholder of the dispatcher's task.

use std::sync::Arc;

use arc_swap::ArcSwap;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::Bus;
use crate::core::fleet::Fleet;
use crate::core::ids::BookingId;
use crate::core::settings::Settings;

/// Handle.
#[derive(Clone)]
pub struct DispatcherHandle;

/// Starts it.
pub fn start(
    _pool: PgPool,
    _fleet: Arc<Fleet>,
    _bus: Arc<Bus>,
    _settings: Arc<ArcSwap<Settings>>,
    _shutdown: CancellationToken,
) -> (DispatcherHandle, JoinHandle<()>) {
    (DispatcherHandle, tokio::spawn(async {}))
}

impl DispatcherHandle {
    /// A booking's row changed.
    pub async fn changed(&self, _booking: BookingId) {}
    /// Looks at every booking again.
    pub async fn reconcile(&self) {}
    /// A therapist became eligible.
    pub fn supply_appeared(&self) {}
}
