//! The shell of the core: the live index and the dispatch machine, fed from sockets and from the database, at the
//! machine's clock.

mod applier;
pub mod audit;
pub mod dispatcher;
mod jobs;
mod readiness;
mod rebuild;
mod refresh;
mod round;
mod shown;
mod stores;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use readiness::Readiness;
pub use round::COMPARED_EVERY;

use crate::clock;
use crate::cluster::Bus;
use crate::core::fleet::Fleet;
use crate::core::ids::{ProviderId, ServiceId};
use crate::core::settings::Settings;
use crate::core::stores::Stores;
use crate::core::time::Timestamp;
use crate::store::catalog::{self, Catalog};
use crate::store::journal::Journal;
use crate::store::{StoreError, settings};

use self::dispatcher::DispatcherHandle;
use self::refresh::Refresh;

/// The tie-breaking key of public answers changes this often: who stands first in a cell is nobody's for long.
const TIE_KEY_LIFE_S: i64 = 3_600;

/// Everything a request handler or a socket needs.
pub struct Engine {
    /// The truth that outlives this process.
    pub pool: PgPool,
    /// Where everybody is.
    pub fleet: Arc<Fleet>,
    /// Who listens.
    pub bus: Arc<Bus>,
    /// Pings on their way into the database.
    pub journal: Journal,
    /// The dispatch machine's task.
    pub dispatcher: DispatcherHandle,
    /// Whether this node may be asked.
    pub readiness: Readiness,
    /// Cancelled when the node goes away.
    pub shutdown: CancellationToken,
    /// Cancelled when a task that the node cannot do without has died: it must be started anew.
    pub failed: CancellationToken,
    settings: Arc<ArcSwap<Settings>>,
    catalog: ArcSwap<Catalog>,
    stores: ArcSwap<Stores>,
    refresh: Refresh,
    tie_secret: u64,
}

/// The tasks of a running engine.
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
    journal: JoinHandle<()>,
}

/// Reads settings and catalog, starts the tasks. The index fills in the background: [`Readiness`] tells when. It is compared
/// with the database once in `compared_every`.
pub async fn start(pool: PgPool, compared_every: Duration) -> Result<(Arc<Engine>, Running), StoreError> {
    let settings = Arc::new(ArcSwap::from_pointee(settings::load(&pool, &Settings::default()).await?));
    let catalog = ArcSwap::from_pointee(catalog::load(&pool).await?);
    let (fleet, bus, shutdown) = (Arc::new(Fleet::new()), Arc::new(Bus::new()), CancellationToken::new());
    let (journal, journal_task) = Journal::start(pool.clone());
    let (dispatcher, dispatcher_task) =
        dispatcher::start(pool.clone(), Arc::clone(&fleet), Arc::clone(&bus), Arc::clone(&settings), shutdown.clone());
    let engine = Arc::new(Engine {
        pool,
        fleet,
        bus,
        journal,
        dispatcher,
        readiness: Readiness::default(),
        shutdown,
        failed: CancellationToken::new(),
        settings,
        catalog,
        stores: ArcSwap::default(),
        refresh: Refresh::default(),
        tie_secret: rand::random(),
    });
    let of = || Arc::clone(&engine);
    let tasks = [
        ("dispatcher", dispatcher_task),
        ("applier of row changes", tokio::spawn(applier::run(of(), compared_every))),
        ("watch of the database", tokio::spawn(jobs::watch_database(of()))),
        ("keeper of partitions", tokio::spawn(jobs::keep_partitions(of()))),
        ("clearing of old rows", tokio::spawn(jobs::clear_old_rows(of()))),
        ("reminders", tokio::spawn(jobs::remind(of()))),
    ];
    let tasks = tasks.map(|(name, task)| tokio::spawn(vital(name, task, of()))).into();
    let journal = tokio::spawn(vital("ping journal", journal_task, of()));
    Ok((engine, Running { tasks, journal }))
}

/// A node whose heart has stopped must not look alive: the end of this task before the node's own is the node's.
async fn vital(name: &'static str, task: JoinHandle<()>, engine: Arc<Engine>) {
    let ended = task.await;
    if let Err(error) = &ended {
        tracing::error!(%error, task = name, "a task that this node cannot do without has died");
    }
    if !engine.shutdown.is_cancelled() {
        engine.readiness.set_draining();
        engine.failed.cancel();
    }
}

impl Engine {
    /// As of the last change heard.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// As of the last change heard.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Every store, as of the last change heard.
    pub fn stores(&self) -> Arc<Stores> {
        self.stores.load_full()
    }

    /// Breaks ties between therapists who stand in one cell, for who may not know their places.
    pub fn tie_key(&self, now: Timestamp) -> u64 {
        let hour = now.micros().div_euclid(1_000_000 * TIE_KEY_LIFE_S) as u64;
        self.tie_secret ^ hour.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Reads a therapist whom the index does not know, if the database does. Costs nothing for who is known.
    ///
    /// # Errors
    /// When his rows could not be read.
    pub async fn introduce(&self, provider: ProviderId) -> Result<(), StoreError> {
        if self.fleet.therapist(provider).is_none() {
            rebuild::some(&self.pool, &self.fleet, &[provider], &self.settings(), clock::now()).await?;
            if self.fleet.therapist(provider).is_some() {
                // What changed since may have been applied before these rows: the applier has the last word.
                self.refresh.add([provider]);
            }
        }
        Ok(())
    }

    /// Reads the rows of these, whatever has changed; tells when the index shows them.
    fn reread(&self, providers: impl IntoIterator<Item = ProviderId>) -> oneshot::Receiver<()> {
        self.refresh.ask(providers)
    }

    pub(crate) async fn reload_settings(&self) -> Result<(), StoreError> {
        let held = self.settings.load_full();
        self.settings.store(Arc::new(settings::load(&self.pool, &held).await?));
        Ok(())
    }

    /// The services that can be booked now and could not, or the other way round.
    pub(crate) async fn reload_catalog(&self) -> Result<BTreeSet<ServiceId>, StoreError> {
        let after = Arc::new(catalog::load(&self.pool).await?);
        let before = self.catalog.swap(Arc::clone(&after));
        Ok(before.appeared_or_gone(&after))
    }
}

impl Running {
    /// Waits for the tasks to end, after [`Engine::shutdown`] was cancelled and the sockets are closed, and for the
    /// pings that were taken in to be committed: as long as the database may need to come back, but not for ever (they
    /// are not acked, so their apps still have them).
    pub async fn stop(self, engine: &Engine) {
        const PATIENCE: Duration = Duration::from_secs(10);
        let deadline = clock::monotonic() + PATIENCE;
        if tokio::time::timeout(PATIENCE, engine.journal.drain()).await.is_err() {
            tracing::error!(
                rows = engine.journal.waiting(),
                "pings wait for a database that does not answer: they stay unacked, the apps send them again"
            );
        }
        for task in self.tasks {
            let abort = task.abort_handle();
            let left = deadline.saturating_duration_since(clock::monotonic()).max(Duration::from_secs(1));
            match tokio::time::timeout(left, task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a task of the engine failed"),
                Err(_) => abort.abort(),
            }
        }
        self.journal.abort();
    }
}
