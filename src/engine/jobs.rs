//! What the node does on its own, on a timer.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::dispatcher::REMIND_EVERY;
use crate::clock;
use crate::store::{self, decisions, idempotency, partitions};

const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_WITHIN: Duration = Duration::from_secs(2);
const PARTITIONS_EVERY: Duration = Duration::from_secs(3_600);
const PARTITIONS_RETRY: Duration = Duration::from_secs(30);
const CLEAR_EVERY: Duration = Duration::from_secs(3_600);

/// Asks the database now and then whether it is there, so that `/readyz` knows without a request having to fail.
pub(super) async fn watch_database(engine: Arc<Engine>) {
    while sleep_unless_over(&engine, PROBE_EVERY, || async {
        let probe = store::alive(&engine.pool);
        let answers = matches!(tokio::time::timeout(PROBE_WITHIN, probe).await, Ok(Ok(_)));
        engine.readiness.set_database(answers);
    })
    .await
    {}
}

/// Makes the coming months' partitions of `provider_locations` and drops the old ones.
pub(super) async fn keep_partitions(engine: Arc<Engine>) {
    let mut again = Duration::ZERO;
    loop {
        tokio::select! {
            () = engine.shutdown.cancelled() => return,
            () = tokio::time::sleep(again) => {}
        }
        again = match partitions::maintain(&engine.pool, clock::now()).await {
            Ok(_) => PARTITIONS_EVERY,
            Err(error) => {
                tracing::warn!(%error, "partitions could not be kept now; tried again soon");
                PARTITIONS_RETRY
            }
        };
    }
}

/// Forgets what has had its day: stored answers of idempotent requests, decisions of dispatch.
pub(super) async fn clear_old_rows(engine: Arc<Engine>) {
    while sleep_unless_over(&engine, CLEAR_EVERY, || async {
        if let Err(error) = idempotency::clear(&engine.pool).await {
            tracing::warn!(%error, "old idempotency keys could not be cleared now");
        }
        if let Err(error) = decisions::prune(&engine.pool).await {
            tracing::warn!(%error, "old decisions could not be cleared now");
        }
    })
    .await
    {}
}

/// Reminds the parties of scheduled bookings.
pub(super) async fn remind(engine: Arc<Engine>) {
    while sleep_unless_over(&engine, REMIND_EVERY, || async {
        if let Err(error) = engine.dispatcher.remind().await {
            tracing::warn!(%error, "reminders could not be given now; they are tried again soon");
        }
    })
    .await
    {}
}

/// Does `job`, then waits. False when the node goes away.
async fn sleep_unless_over<F: Future<Output = ()>>(engine: &Engine, every: Duration, job: impl FnOnce() -> F) -> bool {
    tokio::select! {
        () = engine.shutdown.cancelled() => return false,
        () = job() => {}
    }
    tokio::select! {
        () = engine.shutdown.cancelled() => false,
        () = tokio::time::sleep(every) => true,
    }
}
