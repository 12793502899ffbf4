//! Whether the peer is still there.

use std::time::{Duration, Instant};

use super::sockets::Timing;

/// Signs of life of one peer.
pub(super) struct Alive {
    heard: Instant,
    asked: Instant,
    /// Silence is counted from here: while the socket is not read nothing can be heard.
    listening_since: Instant,
    ping_after: Duration,
    dead_after: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Beat {
    Fine,
    Ask,
    Dead,
}

impl Alive {
    pub(super) fn new(timing: Timing, now: Instant) -> Self {
        let (ping_after, dead_after) = (timing.ping_after, timing.dead_after);
        Self { heard: now, asked: now, listening_since: now, ping_after, dead_after }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    fn ask_at(&self) -> Instant {
        self.heard.max(self.asked) + self.ping_after
    }

    fn dead_at(&self) -> Instant {
        self.heard.max(self.listening_since) + self.dead_after
    }

    pub(super) fn next_check(&self) -> Instant {
        self.ask_at().min(self.dead_at())
    }

    /// Whether to ask for a sign of life, or to give up. `reads`: whether one could be heard at all.
    pub(super) fn check(&mut self, reads: bool, now: Instant) -> Beat {
        if !reads {
            self.listening_since = now;
        }
        if now >= self.dead_at() {
            return Beat::Dead;
        }
        if now >= self.ask_at() {
            self.asked = now;
            return Beat::Ask;
        }
        Beat::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_silent_peer_is_asked_then_given_up_and_never_while_nobody_listens() {
        let start = clock::monotonic();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut alive = Alive::new(Timing::default(), start);
        assert_eq!(alive.next_check(), at(25));
        assert_eq!(alive.check(true, at(24)), Beat::Fine);
        assert_eq!(alive.check(true, at(25)), Beat::Ask);
        alive.heard(at(26));
        assert_eq!((alive.check(true, at(50)), alive.check(true, at(51))), (Beat::Fine, Beat::Ask));
        // The journal is full: the answers are not read, but a proxy between must see that we live.
        for s in [76, 101, 126] {
            assert_eq!(alive.check(false, at(s)), Beat::Ask);
        }
        assert_eq!((alive.check(true, at(151)), alive.check(true, at(176))), (Beat::Ask, Beat::Ask));
        assert_eq!((alive.check(true, at(185)), alive.check(true, at(186))), (Beat::Fine, Beat::Dead));
    }
}
