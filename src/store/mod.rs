//! All SQL of the crate: one file per resource, beside each query the domain errors that its constraints mean.

pub mod accounts;
pub mod addresses;
pub mod audit_logs;
pub mod backup;
pub mod blocks;
pub mod bookings;
pub mod catalog;
pub mod ceiling;
pub mod changes;
mod columns;
mod connect;
pub mod decisions;
pub mod device_tokens;
pub mod directory;
pub mod idempotency;
pub mod journal;
pub mod messages;
pub mod notes;
pub mod notifications;
pub mod offers;
pub mod pages;
pub mod partitions;
pub mod payouts;
pub mod promises;
pub mod promo_codes;
pub mod promos;
pub mod providers;
pub mod reviews;
pub mod roles;
pub mod rows;
pub mod seed;
pub mod service_categories;
pub mod services;
pub mod settings;
pub mod stored;
pub mod stores;
pub mod therapists;
pub mod timeline;
pub mod tips;
pub mod tokens;
pub mod transactions;
pub(crate) mod tx;
pub mod users;
pub mod wallets;

use sqlx::migrate::Migrator;
use sqlx::{ConnectOptions, Connection, PgPool};

pub use connect::connect;
use connect::let_in;

/// The schema, forward only, built into the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Why a statement did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection or the statement failed.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// So many want to connect at once that the server's queue has no place (EAGAIN on a unix socket): it is there, and
    /// will be free again. Waited for where a connection is what is wanted; a statement that needed one may be tried again.
    #[error("database: its queue of new connections is full")]
    QueueFull,
    /// The connection was lost while a transaction was committed: that may have happened, or may still happen.
    #[error("database: whether it was committed is not known: {0}")]
    Undecided(sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row that the schema should not let be: a column, what it held, what it may hold.
    #[error("{column} holds `{value}`, allowed: {allowed}")]
    Corrupt {
        /// `table.column`
        column: &'static str,
        /// What was read.
        value: String,
        /// What the code understands.
        allowed: &'static str,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if connect::queue_is_full(&error) {
            return Self::QueueFull;
        }
        if connect::is_lost(&error) {
            connect::found_dead();
        }
        Self::Database(error)
    }
}

impl StoreError {
    /// The server is gone, starting, stopping or full: the same statement may do later, unchanged. Else it was refused.
    pub fn is_unavailable(&self) -> bool {
        let error = match self {
            Self::QueueFull | Self::Undecided(_) => return true,
            Self::Database(e) => e,
            Self::Migration(sqlx::migrate::MigrateError::Execute(e)) => e,
            Self::Migration(_) | Self::Corrupt { .. } => return false,
        };
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(e) => e.code().is_some_and(|code| {
                // 08 connection, 53 resources, 57P shutdown, crash or start-up, 58 system (disk), 25006 read-only standby
                ["08", "53", "57P", "58", "25006"].iter().any(|class| code.starts_with(class))
            }),
            _ => false,
        }
    }

    /// Lost against another transaction (serialization, deadlock, lock timeout): the whole transaction may be tried again.
    pub fn is_conflict(&self) -> bool {
        matches!(self.code().as_deref(), Some("40001" | "40P01" | "55P03"))
    }

    /// The name of the constraint that refused the statement.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(sqlx::Error::Database(e)) => e.constraint(),
            _ => None,
        }
    }

    /// The SQLSTATE with which the server refused the statement.
    pub fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Database(sqlx::Error::Database(e)) => e.code(),
            _ => None,
        }
    }
}

/// Brings the schema up to date. Several processes may do it at once: they take turns.
///
/// On a connection of its own: the first migration is long, and the log would show all of it as a slow statement.
///
/// # Errors
/// [`StoreError::Migration`]: also when the database is newer than this binary, or an applied migration was changed.
pub async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let options = (*pool.connect_options()).clone().disable_statement_logging();
    // "relation exists, skipping" is no news.
    let options =
        options.options([("client_min_messages", "warning"), ("lock_timeout", "0"), ("statement_timeout", "0")]);
    let mut connection = let_in(|| options.connect()).await?;
    MIGRATIONS.run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// How many of the migrations of this binary the database has not seen.
///
/// # Errors
/// [`StoreError::Database`] when it cannot be asked.
pub async fn migrations_behind(pool: &PgPool) -> Result<usize, StoreError> {
    let begun: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    let applied: Vec<i64> = if begun {
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(pool).await?
    } else {
        Vec::new()
    };
    Ok(MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version)).count())
}

/// Whether the database answers a statement.
///
/// # Errors
/// [`StoreError::Database`] when it does not.
pub async fn alive(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}
