//! Commands of one socket, in the order they came, beside its pings and its writes: they run in a task of their own, so
//! that a connection to the database is given back when a command is done, however slowly the app reads.

use std::pin::Pin;

use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::desk::Followed;
use crate::wire::stream::ServerMessage;

/// Commands that may be without an answer, that of the one that runs included.
const OPEN: usize = 32;

/// What a command leads to.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) messages: Vec<ServerMessage>,
    /// Follow this booking from now on.
    pub(super) watch: Option<Followed>,
}

type Command = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A queue of one worker, which is there while something is open. Dropping it drops what runs: every command is one
/// transaction, so that it happens whole or not at all. Who said something and left is still heard: [`Self::end`].
#[derive(Default)]
pub(super) struct Commands {
    worker: Option<Worker>,
    /// Taken, and their answers not yet given.
    open: usize,
}

impl Commands {
    /// False: too many wait for their answers already, this one was not taken.
    pub(super) fn push(&mut self, command: impl Future<Output = Answer> + Send + 'static) -> bool {
        if self.open >= OPEN {
            return false;
        }
        self.open += 1;
        let worker = self.worker.get_or_insert_with(Worker::start);
        // There is room for all that may be open. A worker that has died takes nothing, which `next` tells.
        let _taken = worker.commands.try_send(Box::pin(command));
        true
    }

    /// Whether none runs or waits.
    pub(super) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Does what is left; nobody hears the answers.
    pub(super) async fn end(self) {
        if let Some(worker) = self.worker {
            worker.end().await;
        }
    }

    /// The next answer; never, while there is no command. Cancel safe.
    pub(super) async fn next(&mut self) -> Answer {
        if let Some(worker) = &mut self.worker {
            if let Some(answer) = worker.answers.recv().await {
                self.answered();
                return answer;
            }
            // It has died. It is let go only once its end is known: this may be dropped before.
            let ended = (&mut worker.task).await;
            *self = Self::default();
            go_on(ended);
        }
        std::future::pending().await
    }

    /// An answer that is there already.
    pub(super) fn ready(&mut self) -> Option<Answer> {
        let answer = self.worker.as_mut()?.answers.try_recv().ok()?;
        self.answered();
        Some(answer)
    }

    fn answered(&mut self) {
        self.open -= 1;
        if self.open == 0 {
            self.worker = None;
        }
    }
}

struct Worker {
    commands: mpsc::Sender<Command>,
    answers: mpsc::Receiver<Answer>,
    task: AbortOnDropHandle<()>,
}

impl Worker {
    fn start() -> Self {
        let (commands, mut taken) = mpsc::channel::<Command>(OPEN);
        // Room for all: the worker never waits for the socket.
        let (given, answers) = mpsc::channel(OPEN);
        let task = tokio::spawn(async move {
            while let Some(command) = taken.recv().await {
                let answer = command.await;
                // Who has left hears nothing, and what he asked for is done all the same.
                let _heard = given.send(answer).await;
            }
        });
        Self { commands, answers, task: AbortOnDropHandle::new(task) }
    }

    /// Until all that was taken is done. A panic goes on in the caller.
    async fn end(self) {
        drop((self.commands, self.answers));
        go_on(self.task.await);
    }
}

/// A panic goes on in the caller.
fn go_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures_util::FutureExt;

    use super::*;
    use crate::core::ids::BookingId;

    fn follow(id: i64) -> Followed {
        Followed { booking: BookingId(id), therapist: None }
    }

    fn said(answer: Option<Answer>) -> Option<BookingId> {
        answer.and_then(|answer| answer.watch).map(|followed| followed.booking)
    }

    #[tokio::test]
    async fn answers_that_are_there_are_taken_without_waiting_in_their_order() {
        let mut commands = Commands::default();
        assert!(said(commands.ready()).is_none());
        for id in [1, 2] {
            assert!(commands.push(async move { Answer { watch: Some(follow(id)), ..Answer::default() } }));
        }
        assert!(commands.push(std::future::pending()));
        while commands.worker.as_ref().is_some_and(|worker| worker.answers.len() < 2) {
            tokio::task::yield_now().await;
        }
        assert_eq!([1, 2].map(BookingId).map(Some), [commands.ready(), commands.ready()].map(said));
        assert!(commands.ready().is_none() && !commands.is_empty(), "one still runs");
    }

    /// A select drops `next` wherever it waits: at each place at which its task's turn can be over.
    #[tokio::test]
    async fn a_command_that_panics_is_heard_of_even_if_nobody_waited_to_the_end_the_first_time() {
        for turns in 0..128 {
            let mut commands = Commands::default();
            assert!(commands.push(async { panic!("as it is tested") }));
            while commands.worker.as_ref().is_some_and(|worker| !worker.task.is_finished()) {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
            for _ in 0..turns {
                tokio::task::consume_budget().await;
            }
            let first = AssertUnwindSafe(commands.next()).catch_unwind().now_or_never();
            let heard = match first {
                Some(ended) => ended,
                None => AssertUnwindSafe(commands.next()).catch_unwind().await,
            };
            assert!(heard.is_err() && commands.is_empty(), "after {turns} turns");
        }
    }
}
