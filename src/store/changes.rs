//! Row changes as triggers announce them (`migrations/0002_changes.sql`), and nodes that made them (`0008_told_by_nodes.sql`).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{Executor, PgPool};

use super::StoreError;
use super::connect::{found_dead, let_in};
use crate::core::ids::{BookingId, MessageId, ProviderId, ServiceId, UserId};
use crate::core::time::Timestamp;

pub(crate) const CHANNEL: &str = "spacall_changes";
const LISTEN: &str = "LISTEN spacall_changes";

/// A row, or a small table, to read again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    /// A therapist's rows.
    Provider(ProviderId),
    /// A user's row: his providers.
    User(UserId),
    /// A booking's status or provider; with its `updated_at` since, if that is known: who has told of that state need not
    /// read it.
    Booking(BookingId, Option<Timestamp>),
    /// A new row of `messages`: its receiver is to be told.
    Message(MessageId),
    /// Whether this service can be booked: who offers it.
    Service(ServiceId),
    /// `services`, `service_categories`
    Catalog,
    /// `app_settings`
    Settings,
}

impl Change {
    fn parse(payload: &str) -> Option<Self> {
        let (word, rest) = payload.split_once(':').unwrap_or((payload, ""));
        let (id, version) = match rest.split_once(':') {
            Some((id, micros)) if word == "booking" => (id, Some(Timestamp::from_micros(micros.parse().ok()?))),
            _ => (rest, None),
        };
        match (word, id.parse()) {
            ("provider", Ok(id)) => Some(Self::Provider(ProviderId(id))),
            ("user", Ok(id)) => Some(Self::User(UserId(id))),
            ("booking", Ok(id)) => Some(Self::Booking(BookingId(id), version)),
            ("message", Ok(id)) => Some(Self::Message(MessageId(id))),
            ("service", Ok(id)) => Some(Self::Service(ServiceId(id))),
            ("catalog", Err(_)) => Some(Self::Catalog),
            ("settings", Err(_)) => Some(Self::Settings),
            _ => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(id) => write!(f, "provider:{}", id.0),
            Self::User(id) => write!(f, "user:{}", id.0),
            Self::Booking(id, None) => write!(f, "booking:{}", id.0),
            Self::Booking(id, Some(version)) => write!(f, "booking:{}:{}", id.0, version.micros()),
            Self::Message(id) => write!(f, "message:{}", id.0),
            Self::Service(id) => write!(f, "service:{}", id.0),
            Self::Catalog => f.write_str("catalog"),
            Self::Settings => f.write_str("settings"),
        }
    }
}

/// Tells every node that listens of what this one has changed and committed. Not kept, so not waited for: who misses it has lost
/// its connection, and reads everything anew.
///
/// # Errors
/// [`StoreError::Database`]: nobody was told.
pub async fn tell(pool: &PgPool, changes: &BTreeSet<Change>) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
         SELECT pg_notify($1, told) FROM lazily, unnest($2::text[]) AS told",
    )
    .bind(CHANNEL)
    .bind(changes.iter().map(ToString::to_string).collect::<Vec<_>>())
    .execute(pool)
    .await?;
    Ok(())
}

/// A connection that listens. What happened before it, or after it broke, is not heard: read everything anew then.
pub struct Listener(PgListener);

impl Listener {
    /// Listens from now on.
    pub async fn open(pool: &PgPool) -> Result<Self, StoreError> {
        let mut listener = let_in(|| PgListener::connect_with(pool)).await?;
        // A silent reconnect would hide what was missed meanwhile.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// The next change; `None` when the connection is lost. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Change>, StoreError> {
        while let Some(notification) = self.0.try_recv().await? {
            if let Some(change) = understood(notification.payload()) {
                return Ok(Some(change));
            }
        }
        found_dead();
        Ok(None)
    }

    /// Asks the connection for a sign of life: one that is half-open, or whose backend stands still, is silent like one to
    /// which nothing happens. What is announced meanwhile is kept for [`Self::next`].
    ///
    /// # Errors
    /// When there was no answer within the time: read everything anew, on a new connection.
    pub async fn answers(&mut self, within: Duration) -> Result<(), StoreError> {
        // Listening once more changes nothing, and shows in the server's list of sessions what this one is for.
        match tokio::time::timeout(within, (&mut self.0).execute(sqlx::raw_sql(LISTEN))).await {
            Ok(answer) => answer.map(|_| ()).map_err(StoreError::from),
            Err(_) => {
                let text = format!("the connection that listens did not answer within {} ms", within.as_millis());
                Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)).into())
            }
        }
    }

    /// What comes within a moment, at most so many; false when the connection is lost meanwhile.
    pub async fn gather(
        &mut self,
        changes: &mut impl Extend<Change>,
        within: Duration,
        most: usize,
    ) -> Result<bool, StoreError> {
        let over = tokio::time::sleep(within);
        tokio::pin!(over);
        for _ in 0..most {
            tokio::select! {
                // What is there is taken before the clock is looked at.
                biased;
                change = self.next() => match change? {
                    Some(change) => changes.extend([change]),
                    None => return Ok(false),
                },
                () = &mut over => break,
            }
        }
        Ok(true)
    }
}

fn understood(payload: &str) -> Option<Change> {
    let change = Change::parse(payload);
    if change.is_none() {
        tracing::warn!(payload, "a notification on {CHANNEL} is not understood");
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_name_rows() {
        for (payload, change) in [
            ("provider:7", Some(Change::Provider(ProviderId(7)))),
            ("user:9", Some(Change::User(UserId(9)))),
            ("booking:3", Some(Change::Booking(BookingId(3), None))),
            (
                "booking:3:1700000000000001",
                Some(Change::Booking(BookingId(3), Some(Timestamp::from_micros(1_700_000_000_000_001)))),
            ),
            ("message:12", Some(Change::Message(MessageId(12)))),
            ("service:2", Some(Change::Service(ServiceId(2)))),
            ("catalog", Some(Change::Catalog)),
            ("settings", Some(Change::Settings)),
            ("provider:x", None),
            ("provider:7:1", None),
            ("booking:3:soon", None),
            ("nonsense", None),
        ] {
            assert_eq!(Change::parse(payload), change, "{payload}");
            assert!(change.is_none_or(|change| change.to_string() == payload), "{payload} is written as it is read");
        }
    }
}
