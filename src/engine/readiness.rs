//! Whether this node may be asked: `/readyz`.

use std::sync::atomic::{AtomicBool, Ordering};

/// What readiness hangs on. Each part is set by whoever knows it.
#[derive(Debug, Default)]
pub struct Readiness {
    index: AtomicBool,
    dispatch: AtomicBool,
    database: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// The index is complete. True when it was not before.
    pub fn set_index(&self, ready: bool) -> bool {
        self.index.swap(ready, Ordering::AcqRel) != ready
    }

    /// Pending bookings and live offers are loaded.
    pub fn set_dispatch(&self, ready: bool) {
        self.dispatch.store(ready, Ordering::Release);
    }

    /// The database answers.
    pub fn set_database(&self, ready: bool) {
        if self.database.swap(ready, Ordering::AcqRel) != ready {
            if ready {
                tracing::info!("the database answers");
            } else {
                tracing::error!("the database does not answer: pings wait unacked, bookings are refused");
            }
        }
    }

    /// The node is going away.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Why the node is not ready, in words for ops; empty when it is.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.draining.load(Ordering::Acquire) {
            missing.push("draining");
        }
        if !self.index.load(Ordering::Acquire) {
            missing.push("index not rebuilt");
        }
        if !self.dispatch.load(Ordering::Acquire) {
            missing.push("bookings not reloaded");
        }
        if !self.database.load(Ordering::Acquire) {
            missing.push("database unavailable");
        }
        missing
    }
}
