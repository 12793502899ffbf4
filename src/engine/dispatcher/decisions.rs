//! Writes the log of decisions in batches, off the machine's path. What is lost of it breaks no promise.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::mpsc;

use crate::core::dispatch::Decision;
use crate::store::decisions;

/// Decisions that wait to be written; more are dropped, and counted.
const QUEUE: usize = 16_384;
const BATCH: usize = 500;
/// A burst is gathered for so long.
const GATHER: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_millis(500);
const TRIES: u32 = 20;

/// Takes decisions without waiting.
pub(super) struct DecisionLog(mpsc::Sender<Decision>);

impl DecisionLog {
    /// The writer ends when the log is dropped and everything is written.
    pub(super) fn start(pool: PgPool) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), tokio::spawn(write(pool, receiver)))
    }

    pub(super) fn append(&self, decision: Decision) {
        if self.0.try_send(decision).is_err() {
            metrics::counter!("spacall_decisions_dropped_total").increment(1);
        }
    }
}

async fn write(pool: PgPool, mut decisions: mpsc::Receiver<Decision>) {
    let mut batch = Vec::with_capacity(BATCH);
    while decisions.recv_many(&mut batch, BATCH).await > 0 {
        if batch.len() < BATCH && !decisions.is_closed() {
            tokio::time::sleep(GATHER).await;
            while batch.len() < BATCH
                && let Ok(more) = decisions.try_recv()
            {
                batch.push(more);
            }
        }
        append(&pool, &batch).await;
        batch.clear();
    }
}

/// While the database is gone the batch waits for it, for a while; a batch that it refuses is not tried again.
async fn append(pool: &PgPool, batch: &[Decision]) {
    for left in (0..TRIES).rev() {
        let Err(error) = decisions::append(pool, batch).await else { return };
        if left == 0 || !error.is_unavailable() || pool.is_closed() {
            metrics::counter!("spacall_decisions_dropped_total").increment(batch.len() as u64);
            tracing::error!(%error, decisions = batch.len(), "dispatch decisions are not in the log: explain will not show them");
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}
