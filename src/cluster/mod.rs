//! What is told to live sockets, in process: messages to a user's sessions, and hints to who follows a booking.
//!
//! Nothing here is the truth. Every message was committed before it is told, so a hint that nobody hears costs
//! nothing: the app learns the same from `welcome`, and a follower of a booking re-reads its rows.

mod follow;
mod session;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::core::ids::{BookingId, UserId};
use crate::wire::stream::{Position, ServerMessage};
use follow::Followers;
use session::Sessions;

pub use session::{Connection, Heard};

/// What a follower of a booking is told.
#[derive(Clone, Debug)]
pub enum BookingHint {
    /// Its rows changed: read them again.
    Changed,
    /// Its therapist moved, while en route.
    Position(Position),
}

/// In-process bus. Cheap to clone; all clones are one bus.
#[derive(Clone, Default)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    sessions: Mutex<Sessions>,
    followers: Mutex<Followers>,
}

/// No code under these locks can panic half way through a change, so a poisoned lock still holds whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bus {
    /// With nobody connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new session of `user`, until the returned [`Connection`] is dropped. An `exclusive` one (a therapist's)
    /// replaces the user's older exclusive ones: they hear [`Heard::Replaced`] and nothing more.
    pub fn connect(&self, user: UserId, exclusive: bool) -> Connection {
        let (id, inbox) = lock(&self.shared.sessions).add(user, exclusive);
        Connection::new(id, user, inbox, self.clone())
    }

    /// Puts `message` into the outbox of each of the user's sessions and says how many took it. A session whose outbox
    /// is full reads too slowly: it hears [`Heard::TooSlow`] instead, and its app asks again after a reconnect.
    pub fn tell(&self, user: UserId, message: ServerMessage) -> usize {
        lock(&self.shared.sessions).tell(user, &Arc::new(message))
    }

    /// Whether the user has a live session.
    pub fn is_connected(&self, user: UserId) -> bool {
        lock(&self.shared.sessions).of(user) > 0
    }

    /// Live sessions of all users.
    pub fn connected(&self) -> usize {
        lock(&self.shared.sessions).len()
    }

    /// Tells the booking's followers to read its rows again.
    pub fn booking_changed(&self, booking: BookingId) {
        lock(&self.shared.followers).tell(booking, BookingHint::Changed);
    }

    /// Tells the booking's followers where its therapist is.
    pub fn position(&self, booking: BookingId, position: Position) {
        lock(&self.shared.followers).tell(booking, BookingHint::Position(position));
    }

    /// Whether anyone follows the booking: saves computing a position that nobody sees.
    pub fn is_watched(&self, booking: BookingId) -> bool {
        lock(&self.shared.followers).any(booking)
    }

    /// Follows a booking. A receiver that lags loses the oldest hints (`RecvError::Lagged`): treat that as `Changed`.
    pub fn watch(&self, booking: BookingId) -> broadcast::Receiver<BookingHint> {
        lock(&self.shared.followers).add(booking)
    }

    fn disconnect(&self, user: UserId, id: Uuid) {
        lock(&self.shared.sessions).remove(user, id);
    }
}
