//! `GET /v1/bookings/{uuid}/events`: a booking's feed as server-sent events.
//!
//! Rows of `booking_timeline` are sent as they are committed, each once and in order, with the row's id as the event's
//! id; positions come between them without an id. The bus only hints that there is something to read: the rows are the
//! truth, and they are read again now and then in case a hint was lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::broadcast::{self, error::RecvError};
use uuid::Uuid;

use super::auth::{Authenticator, Caller};
use super::bookings::{may_see, own};
use super::extract::PathUuid;
use super::problem::{Problem, ProblemBody};
use super::revocation::Watch;
use super::sse;
use crate::cluster::BookingHint;
use crate::core::booking::Status;
use crate::core::ids::BookingId;
use crate::engine::Engine;
use crate::store::bookings::{self, BookingView};
use crate::store::{StoreError, timeline};

/// A silent stream says that it is alive this often, and looks whether a hint was lost.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// After the database failed to answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a client should wait before it comes back.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);

/// Rows read at once.
const BATCH: u32 = 100;

/// Follows a booking: its parties.
///
/// `timeline` events carry an entry of the booking's timeline and its id; send the last one as `Last-Event-ID` to go on
/// after it, without it the feed starts at the beginning. `position` events, without an id, tell where the therapist is
/// while he is on his way. Comments keep a silent stream alive. The stream ends after the event of a final status, when
/// the caller is no longer a party, and when the token is revoked; 204 when everything of an ended booking was seen.
#[utoipa::path(
    get,
    path = "/v1/bookings/{uuid}/events",
    tag = "bookings",
    params(
        ("uuid" = Uuid, Path),
        ("Last-Event-ID" = Option<i64>, Header, description = "`id` of the last event seen"),
    ),
    responses(
        (status = 200, description = "`timeline` and `position` events", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The booking has ended and everything was seen"),
        (status = 404, body = ProblemBody)
    )
)]
pub async fn events(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = last_event_id(&headers)?;
    let view = own(&engine, &caller, uuid).await?;
    if is_final(&view) && timeline::after(&engine.pool, view.id, last, 1).await?.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follower = Follower {
        // Before the first read: what is committed after it gives a hint.
        hints: engine.bus.watch(view.id),
        watch: authenticator.watch(&caller),
        engine,
        uuid,
        booking: view.id,
        last,
        to_send: VecDeque::from([Event::default().comment("").retry(RECONNECT_AFTER)]),
        unread: true,
        ended: false,
    };
    Ok(sse::answer(stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((event, follower))
    })))
}

fn last_event_id(headers: &HeaderMap) -> Result<i64, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(0) };
    value.to_str().ok().and_then(|text| text.parse().ok()).filter(|id| *id >= 0).ok_or_else(|| {
        Problem::field("invalid", "Last-Event-ID", "The Last-Event-ID header must be the id of an event.")
    })
}

fn is_final(view: &BookingView) -> bool {
    Status::parse(&view.booking.status).is_some_and(Status::is_final)
}

/// One client that follows one booking.
struct Follower {
    engine: Arc<Engine>,
    watch: Arc<Watch>,
    hints: broadcast::Receiver<BookingHint>,
    uuid: Uuid,
    booking: BookingId,
    /// The last row that was queued.
    last: i64,
    to_send: VecDeque<Event>,
    /// There may be rows after `last`.
    unread: bool,
    /// Nothing follows `to_send`.
    ended: bool,
}

impl Follower {
    /// The next event; `None`: the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.watch.revoked().is_cancelled() || self.engine.shutdown.is_cancelled() {
                return None;
            }
            if let Some(event) = self.to_send.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let mut look_again = ALIVE_EVERY;
            if self.unread {
                match self.read().await {
                    Ok(()) if self.unread || self.ended || !self.to_send.is_empty() => continue,
                    Ok(()) => {}
                    Err(error) => {
                        tracing::warn!(%error, booking = %self.uuid, "a feed could not be read; it is tried again");
                        look_again = RETRY_AFTER;
                    }
                }
            }
            self.wait(look_again).await;
        }
    }

    /// Queues the rows after the last, if the caller may still see them.
    async fn read(&mut self) -> Result<(), StoreError> {
        // The booking before its rows: if this shows a final status, its row is among them.
        let view = bookings::view(&self.engine.pool, self.uuid).await?;
        let Some(view) = view.filter(|view| may_see(view, self.watch.principal())) else {
            self.ended = true;
            return Ok(());
        };
        let entries = timeline::after(&self.engine.pool, self.booking, self.last, BATCH).await?;
        self.unread = entries.len() == BATCH as usize;
        self.ended = is_final(&view) && !self.unread;
        for entry in entries {
            self.last = entry.id;
            match Event::default().id(entry.id.to_string()).event("timeline").json_data(&entry) {
                Ok(event) => self.to_send.push_back(event),
                Err(error) => tracing::error!(%error, entry = entry.id, "an entry could not be written as JSON"),
            }
        }
        Ok(())
    }

    async fn wait(&mut self, look_again: Duration) {
        tokio::select! {
            () = self.watch.revoked().cancelled() => {}
            () = self.engine.shutdown.cancelled() => {}
            hint = self.hints.recv() => match hint {
                Ok(BookingHint::Position(position)) => {
                    if let Ok(event) = Event::default().event("position").json_data(&position) {
                        self.to_send.push_back(event);
                    }
                }
                Ok(BookingHint::Changed) | Err(RecvError::Lagged(_)) => self.unread = true,
                Err(RecvError::Closed) => {
                    self.hints = self.engine.bus.watch(self.booking);
                    self.unread = true;
                }
            },
            () = tokio::time::sleep(look_again) => {
                self.unread = true;
                self.to_send.push_back(Event::default().comment(""));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    #[test]
    fn a_feed_starts_at_the_beginning_or_after_what_was_seen() {
        let with = |value: &'static str| {
            last_event_id(&HeaderMap::from_iter([(
                HeaderName::from_static("last-event-id"),
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(last_event_id(&HeaderMap::new()).ok(), Some(0));
        assert_eq!(with("").ok(), Some(0));
        assert_eq!(with("42").ok(), Some(42));
        for bad in ["x", "-1", "1.5", "99999999999999999999"] {
            assert_eq!(with(bad).err().map(|p| p.status().as_u16()), Some(422), "{bad}");
        }
    }
}
