//! How a sender of pings hears what became of them.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::wire::stream::Rejected;

/// Of one connection or request: the journal settles deliveries into it, its one sender takes the sum out.
/// Bounded by what the sender has in flight.
#[derive(Default)]
pub struct Receipts {
    settled: Mutex<Settled>,
    wake: Notify,
}

/// What happened since it was last asked.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Of deliveries that are no longer in flight ([`super::Delivery::rows`]).
    pub rows: usize,
    /// All up to here is committed, or was rejected.
    pub acked: Option<u32>,
    /// What the database refused; to be told before `acked`.
    pub rejected: Vec<Rejected>,
}

impl Receipts {
    pub(super) fn settle(&self, upto: u32, rows: usize, rejected: Vec<Rejected>) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.rows += rows;
        settled.acked = Some(upto);
        settled.rejected.extend(rejected);
        drop(settled);
        self.wake.notify_one();
    }

    /// Waits until something was settled and takes it. For one waiter; cancel safe.
    pub async fn settled(&self) -> Settled {
        loop {
            let settled = std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner));
            if settled.rows > 0 {
                return settled;
            }
            self.wake.notified().await;
        }
    }
}
