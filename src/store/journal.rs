//! The ping journal: pings of all sockets and requests, in batches, into `provider_locations`; then their acks.
//!
//! Each of [`LANES`] writers takes the deliveries of its therapists in order, commits them as batches of at most
//! [`MAX_ROWS`] rows or [`MAX_WAIT`] of age, and settles each with its sender only after the commit: an acked ping is in
//! PostGIS. A therapist's fixes are all in one lane, so lanes never wait for each other's rows. What is not settled is kept and
//! tried again for as long as the database is away. Memory is bounded by [`CAPACITY`] rows: when it is reached
//! [`Journal::room`] waits, so the sockets are not read and the apps' own TCP waits. Nothing is ever dropped: a fix is shown
//! to others only once it has its place here.

mod receipt;
mod rows;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use crate::clock;
use crate::core::ids::ProviderId;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

pub use receipt::{Receipts, Settled};
pub(super) use rows::{COPY, Rows};

/// Writers at once.
pub const LANES: usize = 2;

/// Rows of one statement.
pub const MAX_ROWS: usize = 1_000;

/// A delivery waits for others to share its commit, at most this long.
pub const MAX_WAIT: Duration = Duration::from_millis(50);

/// Rows that may wait for their commit, over all senders.
pub const CAPACITY: u32 = 32_768;

/// A ping that was read, checked and applied to the fleet.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ping {
    /// Of its connection, or request.
    pub seq: u32,
    /// What the device says. Its numbers are within their columns' ranges (see `wire::fix`); others are rejected.
    pub fix: Fix,
    /// False: implausible or too inaccurate to move the therapist.
    pub counted: bool,
    /// When the server received it.
    pub received_at: Timestamp,
}

/// Pings of one frame or request, settled together: at most [`MAX_ROWS`].
pub struct Delivery {
    /// Whose. Deliveries of the same receipts are of one therapist: so they stay in order.
    pub provider: ProviderId,
    /// May be empty: then it only carries `upto` past rejected fixes, in order.
    pub pings: Vec<Ping>,
    /// What to ack once these pings, and every earlier delivery of the same receipts, are committed.
    pub upto: u32,
    /// Where the sender hears of it.
    pub receipts: Arc<Receipts>,
}

impl Delivery {
    /// How much of the journal's [`CAPACITY`] it takes: its pings, and at least one for its ack.
    pub fn rows(&self) -> usize {
        self.pings.len().max(1)
    }
}

/// A place in the journal that is kept for one delivery. Dropping it gives it back.
pub struct Room(OwnedSemaphorePermit);

fn permits(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX).min(CAPACITY)
}

/// A handle; clones share the queues. The writers end when the last handle is gone and the queues are written.
#[derive(Clone)]
pub struct Journal {
    lanes: [mpsc::UnboundedSender<Queued>; LANES],
    room: Arc<Semaphore>,
    state: Arc<State>,
}

struct Queued {
    delivery: Delivery,
    since: Instant,
    /// Given back when the delivery is settled: the queue itself needs no bound of its own.
    room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct State {
    /// By lane.
    failing: [AtomicBool; LANES],
    stored: AtomicU64,
    refused: AtomicU64,
}

impl Journal {
    /// Starts the writers on `pool`. The task ends when they do, and at once when one of them dies.
    pub fn start(pool: PgPool) -> (Self, JoinHandle<()>) {
        let state = Arc::new(State::default());
        let mut writers = JoinSet::new();
        let lanes = std::array::from_fn(|lane| {
            let (queue, incoming) = mpsc::unbounded_channel();
            let writer = Writer { pool: pool.clone(), incoming, carried: None, lane, state: Arc::clone(&state) };
            writers.spawn(writer.run());
            queue
        });
        let journal = Self { lanes, room: Arc::new(Semaphore::new(CAPACITY as usize)), state };
        let all = async move {
            while let Some(ended) = writers.join_next().await {
                if let Err(error) = ended
                    && let Ok(panic) = error.try_into_panic()
                {
                    // The other lanes die with it: half a journal would look like a whole one.
                    std::panic::resume_unwind(panic);
                }
            }
        };
        (journal, tokio::spawn(all))
    }

    /// Room for so many rows, if there is any now and nobody waits for it already.
    pub fn room_now(&self, rows: usize) -> Option<Room> {
        Arc::clone(&self.room).try_acquire_many_owned(permits(rows)).ok().map(Room)
    }

    /// Room for so many rows; waits, in turn, while the journal is full. Cancel safe: who stops waiting has taken nothing.
    ///
    /// # Errors
    /// [`JournalStopped`]
    pub async fn room(&self, rows: usize) -> Result<Room, JournalStopped> {
        Arc::clone(&self.room).acquire_many_owned(permits(rows)).await.map(Room).map_err(|_| JournalStopped)
    }

    /// Hands a delivery over, at once: its room is what [`Delivery::rows`] asks for.
    ///
    /// # Errors
    /// [`JournalStopped`] when the writers are gone; nothing was handed over, and nothing will be acked.
    pub fn put(&self, Room(room): Room, delivery: Delivery) -> Result<(), JournalStopped> {
        debug_assert_eq!(room.num_permits(), permits(delivery.rows()) as usize);
        let lane = &self.lanes[delivery.provider.0.rem_euclid(LANES as i64) as usize];
        lane.send(Queued { delivery, since: clock::monotonic(), room }).map_err(|_| JournalStopped)
    }

    /// Hands a delivery over; waits while the journal is full. Cancelling the wait hands nothing over.
    ///
    /// # Errors
    /// [`JournalStopped`] when the writers are gone; nothing was handed over, and nothing will be acked.
    pub async fn submit(&self, delivery: Delivery) -> Result<(), JournalStopped> {
        let room = self.room(delivery.rows()).await?;
        self.put(room, delivery)
    }

    /// Whether each lane's last attempt to write succeeded.
    pub fn healthy(&self) -> bool {
        let failing = self.state.failing.iter().any(|failing| failing.load(Ordering::Relaxed));
        !failing && !self.lanes.iter().any(mpsc::UnboundedSender::is_closed)
    }

    /// Rows that wait for their commit.
    pub fn waiting(&self) -> usize {
        CAPACITY as usize - self.room.available_permits()
    }

    /// Rows handed to the database since the start (repeated fixes included), and rows it refused.
    pub fn written(&self) -> (u64, u64) {
        (self.state.stored.load(Ordering::Relaxed), self.state.refused.load(Ordering::Relaxed))
    }

    /// Returns when everything submitted before is settled, whatever is submitted meanwhile.
    ///
    /// # Errors
    /// [`JournalStopped`]
    pub async fn written_so_far(&self) -> Result<(), JournalStopped> {
        let receipts = Arc::new(Receipts::default());
        for lane in 0..LANES as i64 {
            // Nothing to write, but it has its turn.
            let provider = ProviderId(lane);
            let turn = Delivery { provider, pings: Vec::new(), upto: 0, receipts: Arc::clone(&receipts) };
            self.submit(turn).await?;
        }
        let mut lanes = 0;
        while lanes < LANES {
            lanes += receipts.settled().await.rows;
        }
        Ok(())
    }

    /// Returns when everything submitted so far is settled, and nothing else waits. Waits as long as the database is away: the caller decides
    /// how long that is worth.
    pub async fn drain(&self) {
        // All the room is free exactly when nothing waits. The semaphore is never closed.
        let _all = self.room.acquire_many(CAPACITY).await;
    }
}

/// The journal's writers have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the ping journal has stopped")]
pub struct JournalStopped;

struct Writer {
    pool: PgPool,
    incoming: mpsc::UnboundedReceiver<Queued>,
    /// Taken from the queue, but too large for the batch that was being made.
    carried: Option<Queued>,
    lane: usize,
    state: Arc<State>,
}

impl Writer {
    async fn run(mut self) {
        let (pool, state) = (self.pool.clone(), Arc::clone(&self.state));
        let mut pen = write::Pen::new(&pool, &state.failing[self.lane]);
        while let Some(batch) = self.next_batch().await {
            let refused = pen.store(&batch.deliveries).await;
            self.count(&batch, refused.len());
            settle(batch, refused);
        }
    }

    /// Deliveries in order, until they are many or the first has waited long enough. `None`: no handle is left.
    async fn next_batch(&mut self) -> Option<Batch> {
        let first = match self.carried.take() {
            Some(carried) => carried,
            None => self.incoming.recv().await?,
        };
        let due = tokio::time::Instant::from_std(first.since + MAX_WAIT);
        let mut batch = Batch::default();
        batch.push(first);
        while batch.rows < MAX_ROWS {
            let next = match self.incoming.try_recv() {
                Ok(next) => next,
                Err(_) => match tokio::time::timeout_at(due, self.incoming.recv()).await {
                    Ok(Some(next)) => next,
                    Ok(None) | Err(_) => break,
                },
            };
            if batch.rows + next.delivery.pings.len() > MAX_ROWS {
                self.carried = Some(next);
                break;
            }
            batch.push(next);
        }
        Some(batch)
    }

    fn count(&self, batch: &Batch, refused: usize) {
        let (stored, refused) = ((batch.rows - refused) as u64, refused as u64);
        self.state.stored.fetch_add(stored, Ordering::Relaxed);
        self.state.refused.fetch_add(refused, Ordering::Relaxed);
        metrics::counter!("spacall_journal_rows_total", "result" => "stored").increment(stored);
        metrics::counter!("spacall_journal_rows_total", "result" => "refused").increment(refused);
        metrics::counter!("spacall_journal_batches_total").increment(1);
    }
}

#[derive(Default)]
struct Batch {
    deliveries: Vec<Delivery>,
    room: Vec<OwnedSemaphorePermit>,
    rows: usize,
}

impl Batch {
    fn push(&mut self, queued: Queued) {
        self.rows += queued.delivery.pings.len();
        self.deliveries.push(queued.delivery);
        self.room.push(queued.room);
    }
}

/// Tells each sender, in order. `refused` is in the order of the deliveries too.
fn settle(batch: Batch, refused: Vec<write::Refused>) {
    let mut refused = VecDeque::from(refused);
    for (index, delivery) in batch.deliveries.into_iter().enumerate() {
        let mut rejected = Vec::new();
        while refused.front().is_some_and(|r| r.delivery == index) {
            rejected.extend(refused.pop_front().map(|r| r.rejected));
        }
        delivery.receipts.settle(delivery.upto, delivery.rows(), rejected);
    }
}
