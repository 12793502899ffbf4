//! The one applier of row changes: it listens, re-reads the rows that were named, and puts what it read into the index,
//! the stores, the settings and the catalog. One task, so changes apply in commit order; a lost connection ends in a whole rebuild.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Engine, rebuild, stores};
use crate::clock;
use crate::core::ids::{BookingId, ProviderId, UserId};
use crate::core::time::Timestamp;
use crate::store::changes::{Change, Listener};
use crate::store::{StoreError, therapists};

/// A whole comparison now and then finds what a lost notification would have told.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);
/// Notifications of one burst, at most: a flood must not keep the first of them waiting.
const BURST: usize = 2_000;
/// Bursts of changed bookings that wait to be told of.
const NEWS: usize = 1_024;
/// How long a burst of notifications is gathered before its rows are read in one statement.
const GATHER: Duration = Duration::from_millis(5);
/// The connection that listens is asked so often whether it still does: else all changes would be found a minute late.
const PULSE_EVERY: Duration = Duration::from_secs(5);
const PULSE_WITHIN: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

/// Bookings, each with its `updated_at` if that was told.
type Moved = BTreeSet<(BookingId, Option<Timestamp>)>;

/// What changed, each row once.
#[derive(Default, Debug, PartialEq, Eq)]
struct Changes {
    providers: BTreeSet<ProviderId>,
    users: BTreeSet<UserId>,
    bookings: Moved,
    catalog: bool,
    settings: bool,
}

impl Extend<Change> for Changes {
    fn extend<T: IntoIterator<Item = Change>>(&mut self, changes: T) {
        for change in changes {
            match change {
                Change::Provider(id) => drop(self.providers.insert(id)),
                Change::User(id) => drop(self.users.insert(id)),
                Change::Booking(id, version) => drop(self.bookings.insert((id, version))),
                Change::Catalog => self.catalog = true,
                Change::Settings => self.settings = true,
            }
        }
    }
}

/// Runs until shutdown. `refresh` brings therapists that this node knows to have changed, ahead of the notification.
pub(super) async fn run(engine: Arc<Engine>, mut refresh: mpsc::Receiver<ProviderId>) {
    let (news, told) = mpsc::channel(NEWS);
    let mut teller = tokio::spawn(tell(Arc::clone(&engine), told));
    while !engine.shutdown.is_cancelled() {
        let ended = tokio::select! {
            () = engine.shutdown.cancelled() => return,
            // Only a panic ends it while news can come: then this node tells nobody, and must not seem to.
            _ = &mut teller => return,
            ended = listen(&engine, &mut refresh, &news) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "changes made in SQL are not heard now; all rows are read again once the database answers");
        }
        tokio::select! {
            () = engine.shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// One connection's life: listen first, then read everything, so that nothing falls between.
async fn listen(
    engine: &Arc<Engine>,
    refresh: &mut mpsc::Receiver<ProviderId>,
    news: &mpsc::Sender<Moved>,
) -> Result<(), StoreError> {
    let mut listener = Listener::open(&engine.pool).await?;
    everything(engine).await?;
    engine.dispatcher.catch_up().await?;
    let mut reconcile = tokio::time::interval(RECONCILE_EVERY);
    reconcile.reset();
    let mut pulse = tokio::time::interval(PULSE_EVERY);
    pulse.reset();
    loop {
        let mut changes = Changes::default();
        tokio::select! {
            heard = listener.next() => match heard? {
                Some(change) => changes.extend([change]),
                None => return Ok(()),
            },
            Some(provider) = refresh.recv() => drop(changes.providers.insert(provider)),
            _ = pulse.tick() => {
                listener.answers(PULSE_WITHIN).await?;
                continue;
            }
            _ = reconcile.tick() => {
                everything(engine).await?;
                engine.dispatcher.catch_up().await?;
                continue;
            }
        }
        let heard_on = listener.gather(&mut changes, GATHER, BURST).await?;
        while let Ok(provider) = refresh.try_recv() {
            changes.providers.insert(provider);
        }
        apply(engine, changes, news).await?;
        if !heard_on {
            return Ok(());
        }
    }
}

/// Settings, catalog, every store, every therapist, every position.
async fn everything(engine: &Arc<Engine>) -> Result<(), StoreError> {
    engine.reload_settings().await?;
    engine.reload_catalog().await?;
    stores::all(engine).await?;
    let started = clock::monotonic();
    let rebuilt = rebuild::all(&engine.pool, &engine.fleet, &engine.settings(), clock::now()).await?;
    if engine.readiness.set_index(true) {
        tracing::info!(
            therapists = rebuilt.therapists,
            positions = rebuilt.positions,
            elapsed_ms = started.elapsed().as_millis() as u64,
            "the index is rebuilt"
        );
    }
    engine.dispatcher.reconcile().await?;
    engine.readiness.set_dispatch(true);
    engine.dispatcher.supply_appeared();
    Ok(())
}

/// Tells of changed bookings, beside the applier: a free therapist must not be found busy because parties are being told.
async fn tell(engine: Arc<Engine>, mut news: mpsc::Receiver<Moved>) {
    while let Some(mut bookings) = news.recv().await {
        while let Ok(more) = news.try_recv() {
            bookings.extend(more);
        }
        for (booking, version) in bookings {
            engine.dispatcher.changed(booking, version).await;
        }
    }
}

async fn apply(engine: &Arc<Engine>, mut changes: Changes, news: &mpsc::Sender<Moved>) -> Result<(), StoreError> {
    if changes.settings {
        engine.reload_settings().await?;
    }
    if changes.catalog {
        // A service switched off is part of what each of its therapists and stores offers.
        engine.reload_catalog().await?;
        return everything(engine).await;
    }
    if !changes.users.is_empty() {
        let users: Vec<_> = changes.users.iter().copied().collect();
        changes.providers.extend(therapists::of_users(&engine.pool, &users).await?);
    }
    if !changes.providers.is_empty() {
        let ids: Vec<_> = changes.providers.iter().copied().collect();
        let read = rebuild::some(&engine.pool, &engine.fleet, &ids, &engine.settings(), clock::now()).await?;
        if read.supply {
            engine.dispatcher.supply_appeared();
        }
        stores::some(engine, &ids).await?;
    }
    // Full: bookings change faster than they can be told of, and the index waits for that rather than lose news.
    if !changes.bookings.is_empty() && news.send(changes.bookings).await.is_err() {
        tracing::debug!("nobody is told of changed bookings any more: the node goes away");
    }
    Ok(())
}
