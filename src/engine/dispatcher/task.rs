//! The task that owns the machine.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::decisions::DecisionLog;
use super::{CONCURRENT_EFFECTS, Shared, announce, claims, effects, watch};
use crate::clock;
use crate::core::dispatch::{Decided, Dispatch, Effect, Input};
use crate::core::ids::BookingId;
use crate::core::time::Timestamp;
use crate::store::bookings::lease;

/// Timers are asked for the wall clock again at least so often: it may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

struct Task {
    shared: Arc<Shared>,
    machine: Dispatch,
    log: DecisionLog,
    /// Polled, not yet begun: what is written, in order.
    waiting: VecDeque<Effect>,
    /// Questions to the index, one for each booking: they wait behind what is written, since scarce supply makes every
    /// waiting booking ask at once, and an offer or an end must not wait for them.
    finds: BTreeMap<BookingId, Effect>,
    running: JoinSet<Vec<Input>>,
    /// What runs, so that a panic in it still answers the machine.
    begun: HashMap<Id, Effect>,
}

/// Runs until `shutdown`, then waits for the effects and moves in flight. What was polled and not begun is dropped: the
/// next start reads the rows.
pub(super) async fn run(shared: Arc<Shared>, mut inputs: mpsc::Receiver<Input>, shutdown: CancellationToken) {
    let (log, writer) = DecisionLog::start(shared.pool.clone());
    let leases = tokio::spawn(claims::run(Arc::clone(&shared), shutdown.clone()));
    let announcer = tokio::spawn(announce::run(Arc::clone(&shared), shutdown.clone()));
    let (look, mut looks) = mpsc::channel(1);
    let watch = tokio::spawn(watch::run(Arc::clone(&shared), look, shutdown.clone()));
    let mut task = Task {
        shared: Arc::clone(&shared),
        machine: Dispatch::new(),
        log,
        waiting: VecDeque::new(),
        finds: BTreeMap::new(),
        running: JoinSet::new(),
        begun: HashMap::new(),
    };
    loop {
        task.perform();
        let sleep = sleep_until(task.machine.next_deadline());
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(done) = task.running.join_next_with_id() => task.done(done),
            Some(input) = inputs.recv() => task.machine.handle(input, clock::now()),
            // Nobody waits for the answer any more: it was about the moment.
            Some(look) = looks.recv() => drop(look.send(watch::Answer::of(&task.machine))),
            () = shared.supply.notified() => task.machine.handle(Input::SupplyAppeared, clock::now()),
            () = tokio::time::sleep(sleep) => task.machine.on_deadline(clock::now()),
        }
    }
    // Moves in flight may wait to feed: from here on they are not heard.
    drop((inputs, looks));
    while let Some(done) = task.running.join_next_with_id().await {
        task.done(done);
    }
    shared.moves.close();
    shared.moves.wait().await;
    drop(task);
    let ended = [
        ("keeper of leases", leases.await),
        ("watch of the promises", watch.await),
        ("teller of moves", announcer.await),
    ];
    for (name, ended) in ended {
        if let Err(error) = ended {
            tracing::error!(%error, task = name, "a task beside the dispatch machine failed");
        }
    }
    shared.announce_rest().await;
    if let Err(error) = lease::release(&shared.pool, shared.claims.node()).await {
        tracing::debug!(%error, "leases could not be given up: others take them as this node's connection ends");
    }
    if let Err(error) = writer.await {
        tracing::error!(%error, "the writer of dispatch decisions failed");
    }
}

/// From the wall clock, in which the machine thinks, to a sleep.
fn sleep_until(deadline: Option<Timestamp>) -> Duration {
    deadline.map_or(LONGEST_SLEEP, |at| at.since(clock::now()).min(LONGEST_SLEEP))
}

impl Task {
    /// Takes what the machine wants done, and begins as much as may run at once.
    fn perform(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Log(decision) => {
                    if over(&decision.what) {
                        self.shared.forget_search(decision.booking, self.machine.len());
                    }
                    self.log.append(decision);
                }
                // A newer question takes the place of one that was not yet asked.
                Effect::FindCandidates { booking, .. } => drop(self.finds.insert(booking, effect)),
                effect => self.waiting.push_back(effect),
            }
        }
        metrics::gauge!("spacall_dispatch_bookings").set(self.machine.len() as f64);
        metrics::gauge!("spacall_dispatch_effects_waiting").set((self.waiting.len() + self.finds.len()) as f64);
        while self.running.len() < CONCURRENT_EFFECTS
            && let Some(effect) = self.waiting.pop_front().or_else(|| Some(self.finds.pop_first()?.1))
        {
            let shared = Arc::clone(&self.shared);
            let begun = effect.clone();
            let id = self.running.spawn(async move { effects::perform(&shared, effect).await }).id();
            self.begun.insert(id, begun);
        }
    }

    fn done(&mut self, done: Result<(Id, Vec<Input>), JoinError>) {
        let inputs = match done {
            Ok((id, inputs)) => {
                self.begun.remove(&id);
                inputs
            }
            Err(error) => {
                let effect = self.begun.remove(&error.id());
                tracing::error!(%error, ?effect, "an effect of dispatch failed: the machine tries again");
                effect.as_ref().and_then(effects::failed).into_iter().collect()
            }
        };
        for input in inputs {
            self.machine.handle(input, clock::now());
        }
    }
}

/// The booking is searched for no more (or anew, and then read anew).
const fn over(what: &Decided) -> bool {
    matches!(what, Decided::Accepted { .. } | Decided::Ended)
}
