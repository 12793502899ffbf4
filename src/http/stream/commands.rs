//! Commands of one socket, in the order they came, beside its pings.

use std::collections::VecDeque;
use std::pin::Pin;

use crate::core::ids::BookingId;
use crate::wire::stream::ServerMessage;

/// Commands that may wait for the one that runs.
const WAITING: usize = 32;

/// What a command leads to.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) messages: Vec<ServerMessage>,
    /// Follow this booking from now on.
    pub(super) watch: Option<BookingId>,
}

type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A queue of one worker, driven by the session's own loop. Dropping it drops what runs: every command is one
/// transaction, so that it happens whole or not at all. Who said something and left is still heard: [`Self::end`].
#[derive(Default)]
pub(super) struct Commands {
    waiting: VecDeque<Running>,
}

impl Commands {
    /// False: too many wait already, this one was not taken.
    pub(super) fn push(&mut self, command: impl Future<Output = Answer> + Send + 'static) -> bool {
        if self.waiting.len() >= WAITING {
            return false;
        }
        self.waiting.push_back(Box::pin(command));
        true
    }

    /// Whether none runs or waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Does what is left; nobody hears the answers.
    pub(super) async fn end(self) {
        for command in self.waiting {
            command.await;
        }
    }

    /// The next answer; never, while there is no command. Cancel safe.
    pub(super) async fn next(&mut self) -> Answer {
        match self.waiting.front_mut() {
            Some(running) => {
                let answer = running.await;
                self.waiting.pop_front();
                answer
            }
            None => std::future::pending().await,
        }
    }
}
