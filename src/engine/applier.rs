//! The one applier of row changes: it listens, re-reads the rows that were named, and puts what it read into the index,
//! the stores, the settings and the catalog. One task, so changes apply in commit order; a lost connection ends in a whole rebuild.
//! Between what it hears it compares the index with the database, part by part ([`Round`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::round::Round;
use super::{Engine, rebuild, stores};
use crate::clock;
use crate::core::ids::{BookingId, MessageId, ProviderId, ServiceId, UserId};
use crate::core::time::Timestamp;
use crate::store::changes::{Change, Listener};
use crate::store::{StoreError, messages, therapists};
use crate::wire::stream::ServerMessage;

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
/// Therapists whose rows are read in one statement: after a large repair, or where a service that everybody offers is switched off,
/// they may be the whole fleet. Whoever is waited for gets his turn between two parts.
const PART: usize = 1_000;

/// Of what people are to be told.
#[derive(Default, Debug, PartialEq, Eq)]
struct News {
    /// Bookings, each with its `updated_at` if that was told.
    bookings: BTreeSet<(BookingId, Option<Timestamp>)>,
    messages: BTreeSet<MessageId>,
}

/// What changed, each row once.
#[derive(Default, Debug, PartialEq, Eq)]
struct Changes {
    providers: BTreeSet<ProviderId>,
    users: BTreeSet<UserId>,
    services: BTreeSet<ServiceId>,
    news: News,
    catalog: bool,
    settings: bool,
}

impl Extend<Change> for Changes {
    fn extend<T: IntoIterator<Item = Change>>(&mut self, changes: T) {
        for change in changes {
            match change {
                Change::Provider(id) => drop(self.providers.insert(id)),
                Change::User(id) => drop(self.users.insert(id)),
                Change::Booking(id, version) => drop(self.news.bookings.insert((id, version))),
                Change::Message(id) => drop(self.news.messages.insert(id)),
                Change::Service(id) => drop(self.services.insert(id)),
                Change::Catalog => self.catalog = true,
                Change::Settings => self.settings = true,
            }
        }
    }
}

/// Runs until shutdown. The whole index is compared with the database once in `compared_every`.
pub(super) async fn run(engine: Arc<Engine>, compared_every: Duration) {
    let (news, told) = mpsc::channel(NEWS);
    let behind = Arc::new(Notify::new());
    let mut teller = tokio::spawn(tell(Arc::clone(&engine), told));
    let mut catcher = tokio::spawn(catch_up(Arc::clone(&engine), Arc::clone(&behind)));
    let mut ears = Ears { news, behind, open: true, compared_every, compares_in_vain: false };
    while !engine.shutdown.is_cancelled() {
        let ended = tokio::select! {
            () = engine.shutdown.cancelled() => return,
            // Only a panic ends them while news can come: then this node tells nobody, and must not seem to.
            _ = &mut teller => return,
            _ = &mut catcher => return,
            ended = listen(&engine, &mut ears) => ended,
        };
        match ended {
            Ok(()) => tracing::info!("the connection that listens was lost: all rows are read again"),
            // Said once: the database may be away for long.
            Err(error) if std::mem::replace(&mut ears.open, false) => {
                tracing::warn!(%error, "changes made in SQL are not heard now; all rows are read again once the database answers");
            }
            Err(error) => tracing::debug!(%error, "changes made in SQL are still not heard"),
        }
        tokio::select! {
            () = engine.shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// What one connection after the other has in common.
struct Ears {
    news: mpsc::Sender<News>,
    /// Asks for what was not heard.
    behind: Arc<Notify>,
    /// Changes were heard up to now.
    open: bool,
    compared_every: Duration,
    /// The last part could not be compared.
    compares_in_vain: bool,
}

impl Ears {
    /// All rows have been read, and changes are heard from before that on.
    fn are_open(&mut self) {
        if !std::mem::replace(&mut self.open, true) {
            tracing::info!("changes made in SQL are heard again");
        }
        self.look_behind();
    }

    /// Bookings may have moved without a word.
    fn look_behind(&self) {
        self.behind.notify_one();
    }
}

/// One connection's life: listen first, then read everything, so that nothing falls between.
async fn listen(engine: &Arc<Engine>, ears: &mut Ears) -> Result<(), StoreError> {
    let mut listener = Listener::open(&engine.pool).await?;
    let mut round = all_rows(engine, ears).await?;
    let mut pulse = tokio::time::interval(PULSE_EVERY);
    pulse.reset();
    loop {
        let mut changes = Changes::default();
        tokio::select! {
            heard = listener.next() => match heard? {
                Some(change) => changes.extend([change]),
                None => return Ok(()),
            },
            () = engine.refresh.some() => {}
            _ = pulse.tick() => {
                listener.answers(PULSE_WITHIN).await?;
                continue;
            }
            () = tokio::time::sleep_until(round.due().into()) => {
                compare(engine, ears, &mut round).await;
                continue;
            }
        }
        let heard_on = listener.gather(&mut changes, GATHER, BURST).await?;
        let wanted = engine.refresh.take();
        changes.providers.extend(wanted.therapists.iter().copied());
        changes.catalog |= wanted.catalog;
        let news = apply(engine, changes, &ears.news).await?;
        wanted.are_applied();
        tell_of(news, &ears.news).await;
        if !heard_on {
            return Ok(());
        }
    }
}

/// Everything, those who are waited for among it. The comparison begins after that.
async fn all_rows(engine: &Arc<Engine>, ears: &mut Ears) -> Result<Round, StoreError> {
    let wanted = engine.refresh.take();
    everything(engine).await?;
    ears.are_open();
    wanted.are_applied();
    Ok(Round::new(engine, clock::monotonic(), ears.compared_every))
}

/// The next part of the comparison. One that cannot be read is tried again: what is heard is heard all the same.
async fn compare(engine: &Arc<Engine>, ears: &mut Ears, round: &mut Round) {
    let failed_before = ears.compares_in_vain;
    let compared = next_part(engine, ears, round).await;
    ears.compares_in_vain = compared.is_err();
    let Err(error) = compared else { return };
    round.put_off();
    metrics::counter!("spacall_comparison_failures_total").increment(1);
    // Said once: it may last.
    if failed_before {
        tracing::debug!(%error, "the index still cannot be compared with the database");
    } else {
        tracing::warn!(%error, "the index cannot be compared with the database now; tried again until it can");
    }
}

async fn next_part(engine: &Arc<Engine>, ears: &Ears, round: &mut Round) -> Result<(), StoreError> {
    if round.part(engine).await? {
        let services = lists(engine).await?;
        offered(engine, &services).await?;
        bookings(engine).await?;
        ears.look_behind();
        round.next(engine);
    }
    Ok(())
}

/// Tells of bookings that moved while nobody listened, beside the applier: however many they are, the index does not wait.
async fn catch_up(engine: Arc<Engine>, behind: Arc<Notify>) {
    let mut failed = false;
    loop {
        tokio::select! {
            () = engine.shutdown.cancelled() => return,
            () = behind.notified() => {}
        }
        let told = tokio::select! {
            () = engine.shutdown.cancelled() => return,
            told = engine.dispatcher.catch_up() => told,
        };
        let failed_before = std::mem::replace(&mut failed, told.is_err());
        if let Err(error) = told {
            // Said once: the database may be away for long.
            if failed_before {
                tracing::debug!(%error, "bookings that moved unheard still cannot be read");
            } else {
                tracing::warn!(%error, "bookings that moved unheard could not be read; tried again until they are");
            }
            behind.notify_one();
            tokio::select! {
                () = engine.shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

/// Settings, catalog, every store, every therapist, every position, every booking that is under way.
async fn everything(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let _everybody_is_read = lists(engine).await?;
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
    bookings(engine).await?;
    engine.readiness.set_dispatch(true);
    Ok(())
}

/// What is short enough to be read whole. Tells which services can be booked since, or cannot: who offers them is to be read.
async fn lists(engine: &Engine) -> Result<BTreeSet<ServiceId>, StoreError> {
    engine.reload_settings().await?;
    let services = engine.reload_catalog().await?;
    stores::all(engine).await?;
    Ok(services)
}

/// Those that the dispatch machine may not know; and all that wait look again whether there is somebody.
async fn bookings(engine: &Engine) -> Result<(), StoreError> {
    engine.dispatcher.reconcile().await?;
    engine.dispatcher.supply_appeared();
    Ok(())
}

/// Tells of changed bookings and of messages, beside the applier: a free therapist must not be found busy because parties are being
/// told.
async fn tell(engine: Arc<Engine>, mut inbox: mpsc::Receiver<News>) {
    while let Some(mut news) = inbox.recv().await {
        while let Ok(more) = inbox.try_recv() {
            news.bookings.extend(more.bookings);
            news.messages.extend(more.messages);
        }
        for (booking, version) in news.bookings {
            engine.dispatcher.changed(booking, version).await;
        }
        deliver(&engine, news.messages).await;
    }
}

/// Whoever is not here now reads them in the list: they are told once.
async fn deliver(engine: &Engine, messages: BTreeSet<MessageId>) {
    if messages.is_empty() {
        return;
    }
    let messages: Vec<_> = messages.into_iter().collect();
    match messages::written(&engine.pool, &messages).await {
        Ok(all) => {
            for (receiver, written) in all {
                engine.bus.tell(receiver, ServerMessage::Message(Box::new(written)));
            }
        }
        Err(error) => {
            tracing::warn!(%error, messages = messages.len(), "receivers of messages were not told: they find them when they look")
        }
    }
}

/// Shows what changed; returns what is still to be told.
async fn apply(engine: &Arc<Engine>, mut changes: Changes, news: &mpsc::Sender<News>) -> Result<News, StoreError> {
    if changes.settings {
        engine.reload_settings().await?;
    }
    if changes.catalog {
        changes.services.extend(engine.reload_catalog().await?);
    }
    if !changes.users.is_empty() {
        let users: Vec<_> = changes.users.iter().copied().collect();
        changes.providers.extend(therapists::of_users(&engine.pool, &users).await?);
    }
    reread(engine, changes.providers.into_iter().collect()).await?;
    if !changes.services.is_empty() {
        // That may be the whole fleet: the parties of a booking do not wait for it.
        tell_of(std::mem::take(&mut changes.news), news).await;
        offered(engine, &changes.services).await?;
    }
    Ok(changes.news)
}

/// A service switched off or on is part of what each of its therapists and stores offers; nothing else of the catalog is.
async fn offered(engine: &Engine, services: &BTreeSet<ServiceId>) -> Result<(), StoreError> {
    if services.is_empty() {
        return Ok(());
    }
    reread(engine, therapists::offering(&engine.pool, services).await?).await?;
    engine.dispatcher.supply_appeared();
    Ok(())
}

/// Shows what the rows of these say, part by part; who is waited for at this node meanwhile is read between two parts.
async fn reread(engine: &Engine, ids: Vec<ProviderId>) -> Result<(), StoreError> {
    for (done, ids) in ids.chunks(PART).enumerate() {
        if done > 0 {
            let wanted = engine.refresh.take_therapists();
            let ids: Vec<_> = wanted.therapists.iter().copied().collect();
            for ids in ids.chunks(PART) {
                part(engine, ids).await?;
            }
            wanted.are_applied();
        }
        part(engine, ids).await?;
    }
    Ok(())
}

async fn part(engine: &Engine, ids: &[ProviderId]) -> Result<(), StoreError> {
    let read = rebuild::some(&engine.pool, &engine.fleet, ids, &engine.settings(), clock::now()).await?;
    if read.supply {
        engine.dispatcher.supply_appeared();
    }
    stores::some(engine, ids).await
}

/// Full: bookings change faster than they can be told of, and the index waits for that rather than lose news.
async fn tell_of(news: News, inbox: &mpsc::Sender<News>) {
    if news != News::default() && inbox.send(news).await.is_err() {
        tracing::debug!("nobody is told of changed bookings any more: the node goes away");
    }
}
