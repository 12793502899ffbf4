//! The private PostgreSQL+PostGIS cluster of `demo`, of `serve` without `DATABASE_URL`, and of the tests.
//!
//! One directory holds all of it: `cluster/pgdata`, `cluster/run` (the socket; nothing listens on a network address),
//! `cluster/postgres.log`, and two lock files. `owner.lock` is held by the process that starts and stops the server;
//! `users.lock` is shared by every process that uses it. Both are `flock`s, so the kernel lets go of them whatever
//! kills their holder, and the next process to open the directory adopts what is still running or recovers what is not.
//! An owner that leaves while others are still there leaves the server to the last of them.

mod account;
mod files;
mod install;
mod locks;
mod server;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::clock;
use files::Files;
use locks::Locks;
use server::Server;

/// The superuser that initdb makes; trusted on the socket, whose directory only its owner enters.
pub const SUPERUSER: &str = "spacall";
/// Only names the socket file: nothing listens on a network port.
const PORT: u16 = 5432;
/// A first start runs initdb; a start after a crash replays the log.
const READY_WITHIN: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);

/// Why there is no private cluster.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No usable server is installed; `found` says what was seen and why it does not do.
    #[error(
        "PostgreSQL >= 15 with PostGIS 3 is needed, {found}; install it (Debian/Ubuntu: apt install postgresql \
         postgresql-postgis; macOS: brew install postgresql@17 postgis; Fedora: dnf install postgresql-server \
         postgresql-contrib postgis), or set DATABASE_URL to a server that runs elsewhere"
    )]
    NotInstalled {
        /// What was seen.
        found: String,
    },
    /// The directory cannot be used as it is.
    #[error("{path}: {why}")]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The verb.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program of the server failed.
    #[error("{program} failed: {said}")]
    Program {
        /// `initdb`, `pg_ctl`, ...
        program: String,
        /// What it wrote, and the end of the server's log.
        said: String,
    },
    /// The server did not take connections in time.
    #[error("PostgreSQL in {path} did not take connections within {within:?}; last answer: {last}")]
    NotReady {
        /// The data directory.
        path: PathBuf,
        /// How long it was waited for.
        within: Duration,
        /// The last attempt's error.
        last: String,
    },
    /// A statement failed (creating a database).
    #[error("the private PostgreSQL refused a statement: {0}")]
    Statement(#[from] sqlx::Error),
}

impl PostgresError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// What a commit is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// A commit survives the loss of power (fsync on).
    Full,
    /// A commit survives the death of any process, not of the machine: for tests, whose data nobody wants back.
    ProcessOnly,
}

/// A private cluster that runs and takes connections. Dropped without [`Cluster::stop`] (a panic, an early return), it
/// stops all the same, by blocking.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    sockets: PathBuf,
    locks: Option<Locks>,
}

impl Cluster {
    /// Opens the cluster in `data_dir`: makes it if there is none, starts it if it is not running, joins it if another
    /// process of ours runs it, adopts it if the process that ran it was killed.
    ///
    /// # Errors
    /// See [`PostgresError`]; each names what to do.
    pub async fn open(data_dir: &Path) -> Result<Self, PostgresError> {
        Self::open_with(data_dir, Durability::Full).await
    }

    /// [`Cluster::open`] with a choice of durability.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn open_with(data_dir: &Path, durability: Durability) -> Result<Self, PostgresError> {
        let dir = data_dir.to_owned();
        let (mut locks, server) = blocking(move || {
            let files = Files::prepare(&dir)?;
            let locks = Locks::in_dir(&dir)?;
            Ok((locks, Server::new(files, durability)?))
        })
        .await?;
        let deadline = clock::monotonic() + READY_WITHIN;
        let mut last = String::from("no attempt was made");
        // Not a guard until it is whole: an error below must not stop a server that others use.
        while clock::monotonic() < deadline {
            if !locks.try_use()? {
                "the last process that used it is stopping it".clone_into(&mut last);
                tokio::time::sleep(POLL).await;
                continue;
            }
            if !locks.is_owner() && locks.try_own()? {
                let starting = server.clone();
                blocking(move || starting.bring_up()).await?;
            }
            let sockets = server.files().sockets_in_use();
            match connect(&options(&sockets, "postgres")).await {
                Ok(connection) => {
                    // The answer is in; how the goodbye goes does not matter.
                    let _ = connection.close().await;
                    return Ok(Self { server, sockets, locks: Some(locks) });
                }
                Err(e) => last = e.to_string(),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(PostgresError::NotReady { path: server.files().pgdata().to_owned(), within: READY_WITHIN, last })
    }

    /// Whether this process started the server or adopted it.
    pub fn is_owner(&self) -> bool {
        self.locks.as_ref().is_some_and(Locks::is_owner)
    }

    /// How to reach `database`.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        options(&self.sockets, database)
    }

    /// The same as a URL, for `pg_dump` and people.
    pub fn url(&self, database: &str) -> String {
        let host: String = self
            .sockets
            .to_string_lossy()
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        format!("postgresql://{SUPERUSER}@{host}:{PORT}/{database}")
    }

    /// Where the installed server's programs are (`pg_dump`, `pg_restore`).
    pub fn bin_dir(&self) -> &Path {
        self.server.bin_dir()
    }

    /// Makes `database` unless it exists; returns whether it was made. As a copy of `template`, if one is given.
    ///
    /// # Errors
    /// [`PostgresError::Statement`].
    pub async fn create_database(&self, database: &str, template: Option<&str>) -> Result<bool, PostgresError> {
        let mut connection = connect(&self.options("postgres")).await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
            .bind(database)
            .fetch_one(&mut connection)
            .await?;
        let mut made = false;
        if !exists {
            let from = template.map(|t| format!(" TEMPLATE {}", quoted(t))).unwrap_or_default();
            let answer = sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {}{from}", quoted(database))))
                .execute(&mut connection)
                .await;
            match answer {
                // Another process was quicker, or at it at the same time (then the catalog's own index says so).
                Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("42P04" | "23505")) => {}
                answer => made = answer.map(|_| true)?,
            }
        }
        connection.close().await?;
        Ok(made)
    }

    /// Leaves the cluster: stops it, unless another process still uses it. Returns whether it was stopped.
    ///
    /// # Errors
    /// [`PostgresError::Program`] when it would not stop.
    pub async fn stop(mut self) -> Result<bool, PostgresError> {
        let (server, locks) = (self.server.clone(), self.locks.take());
        match locks {
            Some(locks) => blocking(move || leave(&server, locks)).await,
            None => Ok(false),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(locks) = self.locks.take()
            && let Err(error) = leave(&self.server, locks)
        {
            tracing::error!(%error, "the private PostgreSQL was not stopped");
        }
    }
}

/// Stops the server if nobody else uses it. Two processes that leave at once: the owner looks again after it gave up
/// the ownership, so that the other, which could not get it before, is not relied on.
fn leave(server: &Server, mut locks: Locks) -> Result<bool, PostgresError> {
    loop {
        if !locks.try_own()? {
            return Ok(false); // its owner stops it
        }
        if locks.try_use_alone()? {
            server.stop()?;
            return Ok(true);
        }
        locks.disown();
        if !locks.try_use_alone()? {
            return Ok(false); // the last of the others stops it
        }
    }
}

fn options(sockets: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(sockets)
        .port(PORT)
        .username(SUPERUSER)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    options.clone().disable_statement_logging().connect().await
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PostgresError> + Send + 'static,
) -> Result<T, PostgresError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(e) => Err(PostgresError::Program { program: "spacall".into(), said: e.to_string() }),
        },
    }
}
