//! Bookings that one socket follows, and how often it is shown a therapist.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::intake::Shown;
use crate::cluster::BookingHint;
use crate::core::ids::BookingId;
use crate::wire::stream::Position;

/// A further one takes the place of the oldest.
const MOST: usize = 16;

type Next = Pin<Box<dyn Future<Output = (Receiver<BookingHint>, Result<BookingHint, RecvError>)> + Send>>;

/// Followed bookings.
#[derive(Default)]
pub(super) struct Watches {
    list: VecDeque<(BookingId, Next)>,
}

fn next(mut hints: Receiver<BookingHint>) -> Next {
    Box::pin(async move {
        let hint = hints.recv().await;
        (hints, hint)
    })
}

impl Watches {
    /// Follows `booking`, once.
    pub(super) fn add(&mut self, booking: BookingId, hints: Receiver<BookingHint>) {
        self.list.retain(|(followed, _)| *followed != booking);
        if self.list.len() >= MOST {
            self.list.pop_front();
        }
        self.list.push_back((booking, next(hints)));
    }

    /// The next position of any of them; never, while there is none. Cancel safe. Status changes come to both parties
    /// anyway, as messages of their own.
    pub(super) async fn next(&mut self) -> Position {
        std::future::poll_fn(|context| {
            let mut index = 0;
            while index < self.list.len() {
                let (_, waiting) = &mut self.list[index];
                match waiting.as_mut().poll(context) {
                    Poll::Pending => index += 1,
                    Poll::Ready((hints, hint)) => {
                        *waiting = next(hints);
                        match hint {
                            Ok(BookingHint::Position(position)) => return Poll::Ready(position),
                            // Nothing to say; the new wait has to be polled too.
                            Ok(BookingHint::Changed) | Err(RecvError::Lagged(_)) => {}
                            Err(RecvError::Closed) => drop(self.list.remove(index)),
                        }
                    }
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Shows a therapist's place at most once in a while, and never forgets the newest.
#[derive(Default)]
pub(super) struct Showing {
    newest: Option<Shown>,
    last: Option<Instant>,
}

impl Showing {
    pub(super) fn moved(&mut self, to: Shown) {
        self.newest = Some(to);
    }

    /// When [`Self::take`] has something.
    pub(super) fn due(&self, every: Duration, now: Instant) -> Option<Instant> {
        self.newest.map(|_| self.last.map_or(now, |last| last + every))
    }

    /// What is to be shown now.
    pub(super) fn take(&mut self, every: Duration, now: Instant) -> Option<Shown> {
        if self.due(every, now)? > now {
            return None;
        }
        self.last = Some(now);
        self.newest.take()
    }
}
