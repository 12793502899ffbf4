//! The task that owns the dispatch machine, and the one door through which offers and bookings are moved.
//!
//! Every method of [`DispatcherHandle`] first runs its store transaction, then, after the commit, sets the therapist's
//! duty in the index, tells the parties, and feeds the machine. That tail runs in a task of its own: a caller that goes
//! away (a closed connection) between commit and telling loses its answer, nobody else loses anything.
//!
//! Queues: inputs are bounded, callers wait when they are full; effects wait in memory, a few for each booking in
//! search, and at most [`CONCURRENT_EFFECTS`] run; the log of decisions drops what does not fit, and counts it.

mod announce;
mod catch_up;
mod claims;
mod decisions;
mod effects;
mod moves;
mod records;
mod reminders;
mod task;
mod tell;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use sqlx::PgPool;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::Bus;
use crate::core::dispatch::{Input, Standing};
use crate::core::fleet::Fleet;
use crate::core::ids::BookingId;
use crate::core::matching::Request;
use crate::core::settings::Settings;
use crate::core::time::Timestamp;
use crate::store::bookings::{self, Search, SearchRules};
use crate::store::{StoreError, offers};
use announce::Announcements;
use catch_up::Reading;
use claims::Claims;
use records::Records;
pub use reminders::REMIND_EVERY;
use tell::Told;

/// Inputs that wait for the machine, at most; then callers wait.
const INPUTS: usize = 4_096;
/// Effects at work at once: each holds one connection for a few milliseconds.
const CONCURRENT_EFFECTS: usize = 8;

/// The way to the dispatch machine. Cheap to clone.
#[derive(Clone)]
pub struct DispatcherHandle {
    shared: Arc<Shared>,
}

/// What the task, its effects and the handle's moves work with.
struct Shared {
    pool: PgPool,
    fleet: Arc<Fleet>,
    bus: Arc<Bus>,
    settings: Arc<ArcSwap<Settings>>,
    inputs: mpsc::Sender<Input>,
    /// Many therapists may become free at once: one look at the waiting bookings serves them all.
    supply: Notify,
    /// What matching knows of the bookings in search.
    searches: Mutex<HashMap<BookingId, Arc<Search>>>,
    told: Mutex<Told>,
    announcements: Announcements,
    /// How far the history of bookings was read.
    reading: Mutex<Reading>,
    records: Records,
    /// Which bookings are this node's to drive.
    claims: Claims,
    /// Moves between their transaction and the end of their telling.
    moves: TaskTracker,
}

/// Starts the task. It ends after `shutdown`, when its effects and all moves in flight are done.
pub fn start(
    pool: PgPool,
    fleet: Arc<Fleet>,
    bus: Arc<Bus>,
    settings: Arc<ArcSwap<Settings>>,
    shutdown: CancellationToken,
) -> (DispatcherHandle, JoinHandle<()>) {
    let (inputs, taken) = mpsc::channel(INPUTS);
    let shared = Arc::new(Shared {
        pool,
        fleet,
        bus,
        settings,
        inputs,
        supply: Notify::new(),
        searches: Mutex::default(),
        told: Mutex::default(),
        announcements: Announcements::default(),
        reading: Mutex::default(),
        records: Records::default(),
        claims: Claims::new(),
        moves: TaskTracker::new(),
    });
    let task = tokio::spawn(task::run(Arc::clone(&shared), taken, shutdown));
    (DispatcherHandle { shared }, task)
}

impl DispatcherHandle {
    /// A booking was committed `pending`: dispatch starts.
    pub async fn wanted(&self, booking: BookingId) {
        self.shared.feed(Input::Changed { booking }).await;
    }

    /// A booking is over; committed by somebody else's transaction.
    pub async fn ended(&self, booking: BookingId) {
        self.shared.feed(Input::Ended { booking }).await;
    }

    /// A therapist became eligible: bookings that wait ask again. Never waits; many calls are one.
    pub fn supply_appeared(&self) {
        self.shared.supply.notify_one();
    }

    /// A booking's row changed, says the database's notification. What this node did itself it has told already; what
    /// others did (SQL, other nodes) is told now, offers that it left behind are withdrawn, and the machine looks again.
    /// `version`: its `updated_at` since, if that is known.
    pub async fn changed(&self, booking: BookingId, version: Option<Timestamp>) {
        if version.is_some_and(|version| self.shared.has_told(booking, version)) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let work = self.shared.moves.spawn(async move { shared.heard_of(booking).await });
        if let Err(error) = work.await {
            tracing::error!(%error, booking_id = booking.0, "hearing of a changed booking failed");
        }
    }

    /// The question to the index that a booking's search stands for at its widest, nobody left out: what `explain`
    /// asks. `None`: there is no such booking.
    pub async fn question(&self, booking: BookingId) -> Result<Option<Request>, StoreError> {
        let Some(search) = bookings::search(&self.shared.pool, booking).await? else { return Ok(None) };
        let radius = self.shared.search_rules().radius_max;
        Ok(Some(effects::request(&self.shared, &search, radius, BTreeSet::new(), None)))
    }

    /// Takes up every booking that is this node's, or nobody's, and that the machine may not know: at the start, after a lost
    /// connection, and now and then. Knowing one already does no harm.
    ///
    /// # Errors
    /// When the rows could not be read; what was taken up until then stays.
    pub async fn reconcile(&self) -> Result<(), StoreError> {
        self.shared.records.load(&self.shared.pool).await?;
        let rules = self.shared.search_rules();
        self.shared.claim_free().await?;
        for (booking, standing) in bookings::unsettled(&self.shared.pool, &rules, self.shared.claims.node()).await? {
            self.shared.claims.note(booking, matches!(standing, Standing::Pending { .. } | Standing::Store { .. }));
            match standing {
                Standing::Pending { job, live } => self.shared.feed(Input::Wanted { job, live }).await,
                Standing::Accepted { provider, set_out_by } => {
                    self.shared.feed(Input::Accepted { booking, provider, set_out_by }).await;
                }
                Standing::Store { deadline } => self.shared.feed(Input::StoreAsked { booking, deadline }).await,
                Standing::Settled | Standing::Elsewhere => {}
            }
        }
        for booking in offers::orphaned(&self.shared.pool).await? {
            self.shared.withdraw_orphans(booking).await;
        }
        for booking in offers::clashed_with(&self.shared.pool).await? {
            self.shared.withdraw_clashing(booking).await;
        }
        Ok(())
    }
}

impl Shared {
    /// Waits while the queue is full. After the task's end nothing is taken any more: the next start reads the rows.
    async fn feed(&self, input: Input) {
        if self.inputs.send(input).await.is_err() {
            tracing::debug!("the dispatch machine has stopped: the next start reads what is committed");
        }
    }

    fn search_rules(&self) -> SearchRules {
        SearchRules::from(&**self.settings.load())
    }

    /// What matching must know, read once for each booking in search. `None`: there is no such booking.
    async fn search(&self, booking: BookingId) -> Result<Option<Arc<Search>>, StoreError> {
        if let Some(known) = lock(&self.searches).get(&booking) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(read) = bookings::search(&self.pool, booking).await? else { return Ok(None) };
        let read = Arc::new(read);
        lock(&self.searches).insert(booking, Arc::clone(&read));
        Ok(Some(read))
    }

    /// `alive`: bookings that the machine holds. A search that was read while its booking ended would stay for ever.
    fn forget_search(&self, booking: BookingId, alive: usize) {
        let mut searches = lock(&self.searches);
        searches.remove(&booking);
        self.claims.note(booking, false);
        if searches.len() > 2 * alive + 1_024 {
            searches.clear();
        }
    }
}

/// Nothing panics half way through a change under these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
