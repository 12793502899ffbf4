//! The live index: where every therapist is, what each can do, and who is nearest. `docs/matching.md` explains it.
//!
//! [`grid`] holds points by cell, [`window`] says which cells a distance reaches, [`search`] grows windows until the
//! answer is certain, [`traits`] lets it pass by who cannot match, [`state`] keeps them all in step. Everything behind
//! [`Fleet`] is private, so that the lock can give way to something finer without a change outside.

mod grid;
mod search;
mod state;
#[cfg(test)]
mod tests;
mod therapist;
mod traits;
mod window;

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use uuid::Uuid;

use state::State;
pub use therapist::{Duty, Therapist};

use super::geo::LatLng;
use super::ids::{BookingId, ProviderId, UserId};
use super::matching::{Answer, Request, Verdict};
use super::settings::PingLimits;
use super::time::Timestamp;
use super::track::Fix;

/// What a fix did.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FixOutcome {
    /// It makes sense: the column `counted`.
    pub counted: bool,
    /// It is now the shown position.
    pub newest: bool,
    /// If it moved a therapist who is on the way: booking, its uuid, the customer to tell, and where to.
    pub en_route: Option<(BookingId, Uuid, UserId, LatLng)>,
}

/// A shown position and the time of its fix.
pub type Shown = (LatLng, Timestamp);

/// Every therapist, searchable from any thread. Each call sees and leaves a consistent whole.
#[derive(Debug, Default)]
pub struct Fleet {
    state: RwLock<State>,
}

const POISONED: &str = "nothing panics while it holds the fleet's lock";

impl Fleet {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect(POISONED)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect(POISONED)
    }

    /// Adds or replaces a therapist, whole and at once. A position that is known is kept.
    pub fn put(&self, therapist: Therapist) {
        self.write().put(therapist);
    }

    /// Says what a therapist does now. False if unknown.
    pub fn set_duty(&self, provider: ProviderId, duty: Duty) -> bool {
        self.write().set_duty(provider, duty)
    }

    /// Forgets a therapist and his position.
    pub fn remove(&self, provider: ProviderId) {
        self.write().remove(provider);
    }

    /// Takes in a fix, by the rules of [`Track::apply`](super::track::Track::apply). `None`: no such therapist.
    pub fn apply_fix(&self, provider: ProviderId, fix: &Fix, limits: &PingLimits) -> Option<FixOutcome> {
        let (applied, duty) = self.write().apply_fix(provider, fix, limits)?;
        let en_route = match duty {
            Duty::Booked { booking, booking_uuid, customer, en_route_to: Some(to) } if applied.newest => {
                Some((booking, booking_uuid, customer, to))
            }
            _ => None,
        };
        Some(FixOutcome { counted: applied.counted, newest: applied.newest, en_route })
    }

    /// At start: the newest counted fix from SQL. Never moves back. False if unknown.
    pub fn restore_position(&self, provider: ProviderId, fix: Fix) -> bool {
        self.write().restore_position(provider, fix)
    }

    /// A therapist as he is now.
    pub fn therapist(&self, provider: ProviderId) -> Option<Arc<Therapist>> {
        self.read().get(provider).map(|entry| Arc::clone(&entry.therapist))
    }

    /// The shown position and its time; `None` if unknown or never seen.
    pub fn position(&self, provider: ProviderId) -> Option<Shown> {
        self.read().get(provider)?.shown()
    }

    /// The nearest who may take the request, in true order: exactly what comparing everybody would give.
    ///
    /// Passes by O(k + those nearer than the k-th who may not take it + those in the same cells); worst case everybody
    /// within the radius, when fewer than asked for may take it.
    pub fn nearest(&self, request: &Request, now: Timestamp) -> Answer {
        search::nearest(&self.read(), request, now)
    }

    /// Everybody within the asked radius with the first reason not to be eligible (`None`: eligible), nearest first.
    /// Judges everybody there: for explanations, not for the busy path.
    pub fn verdicts(&self, request: &Request, now: Timestamp) -> Vec<Verdict> {
        search::verdicts(&self.read(), request, now)
    }

    /// How many therapists are known.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody by id, with the shown position and its time, at one moment.
    pub fn snapshot(&self) -> Vec<(Arc<Therapist>, Option<Shown>)> {
        self.read().by_id().into_iter().map(|entry| (Arc::clone(&entry.therapist), entry.shown())).collect()
    }
}
