//! What became of each booking, as told by the apps of both parties.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spacall::client::BookingSeen;
use spacall::clock;
use tokio::sync::Notify;
use uuid::Uuid;

/// How a booking ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Completed,
    /// By a person.
    Cancelled,
    /// By the system: nobody took it in time.
    Expired,
}

impl End {
    /// Of a booking as the customer sees it; `None` while it goes on.
    pub(crate) fn of(booking: &BookingSeen) -> Option<Self> {
        match booking.status.as_str() {
            "completed" => Some(Self::Completed),
            "cancelled" if booking.cancelled_by.is_none() => Some(Self::Expired),
            "cancelled" | "no_show" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Entry {
    ride: Option<u32>,
    offered: Option<Instant>,
    accepted: Option<Instant>,
    end: Option<End>,
}

#[derive(Default)]
struct Book {
    entries: HashMap<Uuid, Entry>,
    /// By ride: when it was due to be asked for, and whether the service refused it.
    due: HashMap<u32, Instant>,
    refused: u64,
}

/// All bookings of the run. An app may tell of one before the answer to its POST has come.
#[derive(Default)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    known: Notify,
}

/// The run's bookings, counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) requested: u64,
    pub(crate) refused: u64,
    pub(crate) offered: u64,
    pub(crate) accepted: u64,
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
    pub(crate) expired: u64,
    pub(crate) without_end: u64,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        // No panic can happen while it is held; if one did, counts are still counts.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ride is due to be asked for.
    pub(crate) fn requested(&self, ride: u32, due: Instant) {
        self.book().due.insert(ride, due);
    }

    /// The service did not take it, for good.
    pub(crate) fn refused(&self) {
        self.book().refused += 1;
    }

    /// The service took it.
    pub(crate) fn created(&self, ride: u32, booking: Uuid) {
        self.book().entries.entry(booking).or_default().ride = Some(ride);
        self.known.notify_waiters();
    }

    /// A therapist's app shows the offer.
    pub(crate) fn offered(&self, booking: Uuid) {
        self.book().entries.entry(booking).or_default().offered.get_or_insert_with(clock::monotonic);
    }

    /// A therapist has it.
    pub(crate) fn accepted(&self, booking: Uuid) {
        self.book().entries.entry(booking).or_default().accepted.get_or_insert_with(clock::monotonic);
    }

    /// It ended.
    pub(crate) fn ended(&self, booking: Uuid, end: End) {
        self.book().entries.entry(booking).or_default().end.get_or_insert(end);
    }

    /// Which ride a booking is; waits for the answer to its POST. `None`: not one of this run.
    pub(crate) async fn ride_of(&self, booking: Uuid, within: Duration) -> Option<u32> {
        let deadline = clock::monotonic() + within;
        loop {
            let known = self.known.notified();
            tokio::pin!(known);
            // Listening before looking: what comes between is not missed.
            known.as_mut().enable();
            if let Some(ride) = self.book().entries.get(&booking).and_then(|e| e.ride) {
                return Some(ride);
            }
            if tokio::time::timeout_at(deadline.into(), known).await.is_err() {
                return None;
            }
        }
    }

    /// Bookings of this run that have not ended, and which rides they are.
    pub(crate) fn open(&self) -> Vec<(Uuid, u32)> {
        let book = self.book();
        book.entries.iter().filter(|(_, e)| e.end.is_none()).filter_map(|(uuid, e)| Some((*uuid, e.ride?))).collect()
    }

    /// Counts of this run's bookings.
    pub(crate) fn counts(&self) -> Counts {
        let book = self.book();
        let mut counts = Counts { requested: book.due.len() as u64, refused: book.refused, ..Counts::default() };
        for entry in book.entries.values().filter(|e| e.ride.is_some()) {
            counts.offered += u64::from(entry.offered.is_some());
            counts.accepted += u64::from(entry.accepted.is_some());
            match entry.end {
                Some(End::Completed) => counts.completed += 1,
                Some(End::Cancelled) => counts.cancelled += 1,
                Some(End::Expired) => counts.expired += 1,
                None => counts.without_end += 1,
            }
        }
        counts
    }

    /// From when a booking was due to be asked for, to its first offer and to its accept, each where there was one.
    pub(crate) fn latencies(&self, mut each: impl FnMut(Option<Duration>, Option<Duration>)) {
        let book = self.book();
        for entry in book.entries.values() {
            let Some(due) = entry.ride.and_then(|ride| book.due.get(&ride)) else { continue };
            let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(*due));
            each(since(entry.offered), since(entry.accepted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_that_comes_before_the_answer_to_the_post_counts() {
        let ledger = Ledger::default();
        let (ours, foreign) = (Uuid::from_u128(1), Uuid::from_u128(2));
        ledger.requested(0, clock::monotonic());
        ledger.offered(ours);
        ledger.offered(foreign);
        assert_eq!(ledger.counts().offered, 0);
        ledger.created(0, ours);
        ledger.accepted(ours);
        let counts = ledger.counts();
        assert_eq!((counts.requested, counts.offered, counts.accepted, counts.without_end), (1, 1, 1, 1));
        ledger.ended(ours, End::Completed);
        ledger.ended(ours, End::Cancelled);
        assert_eq!((ledger.counts().completed, ledger.counts().without_end), (1, 0));
        assert!(ledger.open().is_empty());
    }

    #[tokio::test]
    async fn an_app_waits_for_the_ride_of_its_offer() {
        let ledger = std::sync::Arc::new(Ledger::default());
        let booking = Uuid::from_u128(7);
        let asked = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.ride_of(booking, Duration::from_secs(20)).await }
        });
        tokio::task::yield_now().await;
        ledger.created(5, booking);
        assert_eq!(asked.await.ok().flatten(), Some(5));
        assert_eq!(ledger.ride_of(Uuid::from_u128(8), Duration::from_millis(1)).await, None);
    }

    #[test]
    fn the_end_of_a_booking_says_who_ended_it() {
        let end = |status: &str, by: Option<&str>| {
            let json = serde_json::json!({"uuid": Uuid::nil(), "status": status, "cancelled_by": by});
            End::of(&serde_json::from_value(json).expect("a booking"))
        };
        assert_eq!(end("completed", None), Some(End::Completed));
        assert_eq!(end("cancelled", None), Some(End::Expired));
        assert_eq!(end("cancelled", Some("customer")), Some(End::Cancelled));
        assert_eq!(end("en_route", None), None);
    }
}
