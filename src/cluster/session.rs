//! Live sessions and their outboxes.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Bus;
use crate::core::ids::UserId;
use crate::wire::stream::ServerMessage;

/// Messages that wait for a socket before it counts as too slow.
const OUTBOX: usize = 256;

/// A session's own end: hears what is told to its user. Dropping it disconnects the session.
pub struct Connection {
    id: Uuid,
    user: UserId,
    inbox: Inbox,
    bus: Bus,
}

pub(super) struct Inbox {
    messages: mpsc::Receiver<Arc<ServerMessage>>,
    replaced: CancellationToken,
}

/// What a session hears.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Send this.
    Message(Arc<ServerMessage>),
    /// A newer session of the same user took over: close with 4409.
    Replaced,
    /// The outbox overflowed: close; the app learns the rest after a reconnect.
    TooSlow,
}

impl Connection {
    pub(super) fn new(id: Uuid, user: UserId, inbox: Inbox, bus: Bus) -> Self {
        Self { id, user, inbox, bus }
    }

    /// `welcome.session_id`.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The next thing to do. Cancel safe. After [`Heard::Replaced`] or [`Heard::TooSlow`] it returns the same again.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            biased;
            () = self.inbox.replaced.cancelled() => Heard::Replaced,
            message = self.inbox.messages.recv() => message.map_or(Heard::TooSlow, Heard::Message),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.bus.disconnect(self.user, self.id);
    }
}

struct Session {
    id: Uuid,
    outbox: mpsc::Sender<Arc<ServerMessage>>,
    replaced: CancellationToken,
    exclusive: bool,
}

/// Every live session. A session that was replaced or overflowed has left the map already.
#[derive(Default)]
pub(super) struct Sessions {
    by_user: HashMap<UserId, Vec<Session>>,
    count: usize,
}

impl Sessions {
    pub(super) fn add(&mut self, user: UserId, exclusive: bool) -> (Uuid, Inbox) {
        let sessions = self.by_user.entry(user).or_default();
        let before = sessions.len();
        if exclusive {
            sessions.retain(|older| {
                if older.exclusive {
                    older.replaced.cancel();
                }
                !older.exclusive
            });
        }
        let id = Uuid::new_v4();
        let replaced = CancellationToken::new();
        let (outbox, messages) = mpsc::channel(OUTBOX);
        sessions.push(Session { id, outbox, replaced: replaced.clone(), exclusive });
        self.count = self.count + sessions.len() - before;
        (id, Inbox { messages, replaced })
    }

    pub(super) fn tell(&mut self, user: UserId, message: &Arc<ServerMessage>) -> usize {
        let Some(sessions) = self.by_user.get_mut(&user) else { return 0 };
        let before = sessions.len();
        // Dropping the sender is what the slow session hears.
        sessions.retain(|session| session.outbox.try_send(Arc::clone(message)).is_ok());
        let told = sessions.len();
        self.count -= before - told;
        if told == 0 {
            self.by_user.remove(&user);
        }
        told
    }

    pub(super) fn remove(&mut self, user: UserId, id: Uuid) {
        let Some(sessions) = self.by_user.get_mut(&user) else { return };
        let before = sessions.len();
        sessions.retain(|session| session.id != id);
        self.count -= before - sessions.len();
        if sessions.is_empty() {
            self.by_user.remove(&user);
        }
    }

    pub(super) fn of(&self, user: UserId) -> usize {
        self.by_user.get(&user).map_or(0, Vec::len)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::OfferId;
    use crate::wire::stream::OfferEnd;

    fn message() -> ServerMessage {
        ServerMessage::OfferClosed { offer_id: OfferId(9), reason: OfferEnd::Expired }
    }

    #[tokio::test]
    async fn a_therapists_new_session_replaces_the_old_and_a_customers_does_not() {
        let bus = Bus::new();
        let mut old = bus.connect(UserId(1), true);
        let mut new = bus.connect(UserId(1), true);
        let _phone = bus.connect(UserId(2), false);
        let _tablet = bus.connect(UserId(2), false);
        assert_eq!((bus.connected(), bus.tell(UserId(1), message()), bus.tell(UserId(2), message())), (3, 1, 2));
        assert!(matches!(old.next().await, Heard::Replaced));
        assert!(matches!(new.next().await, Heard::Message(_)));
        drop(old);
        assert!(bus.is_connected(UserId(1)), "the old session's end must not take the new one along");
        drop(new);
        assert!(!bus.is_connected(UserId(1)));
        assert_eq!(bus.tell(UserId(1), message()), 0);
    }

    #[tokio::test]
    async fn a_session_that_does_not_read_is_let_go_after_a_full_outbox() {
        let bus = Bus::new();
        let mut slow = bus.connect(UserId(1), false);
        for _ in 0..OUTBOX {
            assert_eq!(bus.tell(UserId(1), message()), 1);
        }
        assert_eq!(bus.tell(UserId(1), message()), 0);
        assert_eq!(bus.connected(), 0);
        for _ in 0..OUTBOX {
            assert!(matches!(slow.next().await, Heard::Message(_)));
        }
        assert!(matches!(slow.next().await, Heard::TooSlow));
    }
}
