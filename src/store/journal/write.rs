//! Batches into `provider_locations`.
//!
//! A batch is copied in, which is the fastest way that PostgreSQL has and costs no more with every constraint and index
//! in place. It fails as a whole when one of its fixes is known already (sent again after a lost ack), and leaves dead
//! rows then: such a batch is inserted with `ON CONFLICT DO NOTHING`, and so are the next ones, until repetitions cease.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::rows::{COPY, Rows, hundredths};
use super::{Delivery, Ping};
use crate::core::ids::ProviderId;
use crate::wire::stream::Rejected;
use crate::wire::time::{WireTime, to_chrono};

/// A statement that takes longer sits on a dead connection.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A row that the database will never take.
pub(super) struct Refused {
    /// Index of its delivery in the batch.
    pub(super) delivery: usize,
    pub(super) rejected: Rejected,
}

/// Batches without a repeated fix until copying is tried again: one in so many is done twice, at worst.
const CAREFUL_BATCHES: u32 = 64;

/// How one lane of the journal writes.
pub(super) struct Pen<'a> {
    pool: &'a PgPool,
    /// Says that the database does not take what it is given.
    failing: &'a AtomicBool,
    buffer: Rows,
    /// Batches that are still to be inserted rather than copied.
    careful: u32,
}

impl<'a> Pen<'a> {
    pub(super) fn new(pool: &'a PgPool, failing: &'a AtomicBool) -> Self {
        Self { pool, failing, buffer: Rows::default(), careful: 0 }
    }

    /// Commits every row of the batch that the database takes and returns the others, by delivery. Tries for as long as
    /// the database is away.
    pub(super) async fn store(&mut self, deliveries: &[Delivery]) -> Vec<Refused> {
        let mut refused = Vec::new();
        let mut rows = rows(deliveries, &mut refused);
        // One order for all writers: two that insert the same keys in different orders would wait for each other.
        rows.sort_by_key(|row| (row.provider, row.created_at));
        // A stack of slices that are still to be written; only a slice with a bad row is ever split.
        let mut slices = vec![rows.as_slice()];
        while let Some(slice) = slices.pop() {
            if slice.is_empty() {
                continue;
            }
            let Err(problem) = self.until_answered(slice).await else { continue };
            if slice.len() == 1
                || (problem.provider_is_gone && slice.iter().all(|row| row.provider == slice[0].provider))
            {
                refused.extend(slice.iter().map(|row| row.refuse(&problem)));
            } else {
                let (left, right) = slice.split_at(slice.len() / 2);
                slices.extend([right, left]);
            }
        }
        refused.sort_by_key(|r| (r.delivery, r.rejected.seq));
        refused
    }

    /// One slice, again and again until it is committed or refused for good.
    async fn until_answered(&mut self, rows: &[Row<'_>]) -> Result<(), Problem> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.write(rows).await {
                Ok(()) => {
                    if self.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!("pings are stored again");
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            if let Some(problem) = Problem::of(&error) {
                return Err(problem);
            }
            if !self.failing.swap(true, Ordering::Relaxed) {
                tracing::error!(rows = rows.len(), "pings cannot be stored, trying until they can: {error}");
            }
            metrics::counter!("spacall_journal_retries_total").increment(1);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn write(&mut self, rows: &[Row<'_>]) -> Result<(), sqlx::Error> {
        if self.careful == 0 {
            match self.copy(rows).await {
                Err(error) if is_known(&error) => {
                    metrics::counter!("spacall_journal_copies_repeated_total").increment(1)
                }
                done => return done,
            }
        }
        let stored = insert(self.pool, rows).await?;
        let repeated = stored < rows.len() as u64;
        self.careful = if repeated { CAREFUL_BATCHES } else { self.careful.saturating_sub(1) };
        Ok(())
    }

    async fn copy(&mut self, rows: &[Row<'_>]) -> Result<(), sqlx::Error> {
        self.buffer.begin();
        for row in rows {
            self.buffer.push(row.provider, &row.ping.fix, row.ping.counted, row.ping.received_at.micros());
        }
        let bytes = self.buffer.end();
        in_time(self.pool, async |connection| {
            let mut copy = connection.copy_in_raw(COPY).await?;
            copy.send(bytes).await?;
            copy.finish().await
        })
        .await
        .map(drop)
    }
}

/// A fix that is stored already, or stands twice in the batch.
fn is_known(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("23505"))
}

/// Runs a statement on a connection of the pool, for as long as one may take.
async fn in_time(
    pool: &PgPool,
    statement: impl AsyncFnOnce(&mut PgConnection) -> Result<u64, sqlx::Error>,
) -> Result<u64, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    match tokio::time::timeout(STATEMENT_LIMIT, statement(&mut connection)).await {
        Ok(answer) => answer,
        Err(_) => {
            // It is in the middle of an answer: not to be used again.
            connection.close_on_drop();
            Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer within {} s", STATEMENT_LIMIT.as_secs()),
            )))
        }
    }
}

#[derive(Clone, Copy)]
struct Row<'a> {
    delivery: usize,
    provider: ProviderId,
    created_at: DateTime<Utc>,
    received_at: DateTime<Utc>,
    ping: &'a Ping,
}

impl Row<'_> {
    fn refuse(&self, problem: &Problem) -> Refused {
        tracing::warn!(provider = %self.provider, seq = self.ping.seq, "a ping was refused: {}", problem.message);
        let rejected =
            Rejected { seq: Some(self.ping.seq), code: problem.code().to_owned(), message: problem.message.clone() };
        Refused { delivery: self.delivery, rejected }
    }
}

fn rows<'a>(deliveries: &'a [Delivery], refused: &mut Vec<Refused>) -> Vec<Row<'a>> {
    let mut rows = Vec::with_capacity(deliveries.iter().map(|d| d.pings.len()).sum());
    for (delivery, from) in deliveries.iter().enumerate() {
        for ping in &from.pings {
            match (to_chrono(ping.fix.at), to_chrono(ping.received_at)) {
                (Some(created_at), Some(received_at)) => {
                    rows.push(Row { delivery, provider: from.provider, created_at, received_at, ping });
                }
                _ => refused.push(Refused {
                    delivery,
                    rejected: Rejected {
                        seq: Some(ping.seq),
                        code: "bad_time".to_owned(),
                        message: format!("recorded_at {} is not a time that can be stored", WireTime(ping.fix.at)),
                    },
                }),
            }
        }
    }
    rows
}

/// Why the database refuses a statement, whatever is tried.
struct Problem {
    provider_is_gone: bool,
    message: String,
}

impl Problem {
    fn code(&self) -> &'static str {
        if self.provider_is_gone { "unknown_provider" } else { "not_stored" }
    }

    /// `None` for everything that may pass: a database that is away, starts, stops, is full, or waits for a lock.
    fn of(error: &sqlx::Error) -> Option<Self> {
        let database = error.as_database_error()?;
        let state = database.code()?;
        match (state.as_ref(), database.constraint()) {
            ("23503", constraint) => Some(Self {
                provider_is_gone: true,
                message: format!("the provider no longer exists ({})", constraint.unwrap_or("foreign key")),
            }),
            // A check without a name is a partition's bound: partitions are being moved, the row is good.
            ("23514", None) => None,
            (state, constraint) if ["22", "23", "P0"].iter().any(|class| state.starts_with(class)) => Some(Self {
                provider_is_gone: false,
                message: match constraint {
                    Some(constraint) => format!("refused by {constraint}: {}", database.message()),
                    None => database.message().to_owned(),
                },
            }),
            _ => None,
        }
    }
}

/// Numbers travel as integers of their column's last decimal, so that they arrive exactly.
const INSERT: &str = "
    INSERT INTO provider_locations (provider_id, latitude, longitude, accuracy, heading, speed,
                                    is_moving, battery_level, counted, created_at, received_at)
    SELECT provider_id, latitude * 0.0000001, longitude * 0.0000001, accuracy * 0.01, heading * 0.01, speed * 0.01,
           is_moving, battery_level, counted, created_at, received_at
    FROM UNNEST($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[],
                $7::boolean[], $8::int[], $9::boolean[], $10::timestamptz[], $11::timestamptz[])
      AS ping (provider_id, latitude, longitude, accuracy, heading, speed,
               is_moving, battery_level, counted, created_at, received_at)
    ON CONFLICT DO NOTHING";

/// Rows that were not known before.
async fn insert(pool: &PgPool, rows: &[Row<'_>]) -> Result<u64, sqlx::Error> {
    fn column<'a, T>(rows: &'a [Row<'a>], of: impl Fn(&Row<'a>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let statement = sqlx::query(INSERT)
        .bind(column(rows, |r| r.provider.0))
        .bind(column(rows, |r| r.ping.fix.place.lat_e7()))
        .bind(column(rows, |r| r.ping.fix.place.lng_e7()))
        .bind(column(rows, |r| r.ping.fix.accuracy_m.map(hundredths)))
        .bind(column(rows, |r| r.ping.fix.heading.map(|degrees| hundredths(degrees) % 36_000)))
        .bind(column(rows, |r| r.ping.fix.speed_kmh.map(hundredths)))
        .bind(column(rows, |r| r.ping.fix.moving))
        .bind(column(rows, |r| r.ping.fix.battery_percent.map(i32::from)))
        .bind(column(rows, |r| r.ping.counted))
        .bind(column(rows, |r| r.created_at))
        .bind(column(rows, |r| r.received_at));
    in_time(pool, async |connection| Ok(statement.execute(connection).await?.rows_affected())).await
}
