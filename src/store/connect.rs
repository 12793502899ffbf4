//! The way into the database.

use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};

use super::StoreError;
use crate::clock;

/// How long a statement waits for a free connection before it counts as "the database is gone".
const ACQUIRE_WITHIN: Duration = Duration::from_secs(5);
/// A connection that was used so lately is taken to be alive; else it is asked, which is a round trip more for every statement.
const ALIVE_FOR: Duration = Duration::from_secs(1);
/// When a connection was last found dead. The server's end is the end of all of them: those that were used before that are asked.
/// One for the process, as the server is.
static FOUND_DEAD: Mutex<Option<Instant>> = Mutex::new(None);
/// Between two tries at a full queue.
const QUEUE_AGAIN: Duration = Duration::from_millis(50);

/// A pool of at most `max_connections`, each in UTC. Connects once, so that a wrong address is told at start.
///
/// # Errors
/// [`StoreError::Database`] when the server cannot be reached or refuses; [`StoreError::QueueFull`].
pub async fn connect(options: PgConnectOptions, max_connections: u32) -> Result<PgPool, StoreError> {
    let options = options.application_name("spacall").options([
        ("timezone", "UTC"),
        // A transaction that a dead task left open would hold its locks for ever.
        ("idle_in_transaction_session_timeout", "60s"),
        // A row that somebody else holds locked costs whoever wants it this long, and nobody else anything.
        ("lock_timeout", "5s"),
        ("statement_timeout", "30s"),
    ]);
    // sqlx would print the whole text of a slow statement, migrations included; slow ones are PostgreSQL's to log.
    let options = options.disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_WITHIN)
        .test_before_acquire(false)
        .before_acquire(|connection, lately| {
            Box::pin(async move {
                if is_trusted(lately.idle_for) {
                    return Ok(true);
                }
                let answers = connection.ping().await.is_ok();
                if !answers {
                    found_dead();
                }
                Ok(answers)
            })
        });
    match let_in(|| pool.clone().connect_with(options.clone())).await {
        // A pool tries until its time is over, and keeps what was in the way to itself.
        Err(StoreError::Database(sqlx::Error::PoolTimedOut)) => {
            let alone = tokio::time::timeout(ACQUIRE_WITHIN, options.connect()).await;
            Err(alone.ok().and_then(Result::err).unwrap_or(sqlx::Error::PoolTimedOut).into())
        }
        done => done,
    }
}

/// Connects, and waits for its turn while the server's queue of new connections is full. A pool waits by itself for a server
/// that starts; a unix socket whose queue is full says EAGAIN instead, of which it knows nothing.
///
/// # Errors
/// [`StoreError::QueueFull`] when there was no place within [`ACQUIRE_WITHIN`]; else what `open` says.
pub(super) async fn let_in<T, F>(open: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let deadline = clock::monotonic() + ACQUIRE_WITHIN;
    loop {
        match open().await.map_err(StoreError::from) {
            Err(StoreError::QueueFull) if clock::monotonic() < deadline => tokio::time::sleep(QUEUE_AGAIN).await,
            done => return done,
        }
    }
}

/// Whether a connection that was used so long ago is taken to be alive.
fn is_trusted(idle_for: Duration) -> bool {
    let dead = *FOUND_DEAD.lock().unwrap_or_else(PoisonError::into_inner);
    idle_for < ALIVE_FOR && dead.is_none_or(|found| found.elapsed() > idle_for)
}

/// A connection was lost: the others may be dead as well, whoever holds them.
pub(super) fn found_dead() {
    *FOUND_DEAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::monotonic());
}

/// Whether this is the end of the connection, or of the server: what was under way may have happened.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        // 57P01 to 57P03: shut down, crashed, starting; 08: connection
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}

/// Whether a unix socket had no place for one more connection: connect(2), EAGAIN.
pub(super) fn queue_is_full(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}
