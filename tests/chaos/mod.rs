//! Whatever breaks: an acked fix is stored exactly once, the index equals the database afterwards, nobody moves back.
//!
//! Phones replay a day (a recorded one where `SPACALL_DATA` is set, else straight walks) through a line that can be cut,
//! against `spacall serve` as a process of its own over a PostgreSQL of its own on a small disk. Faults of every kind come
//! one after the other in an order that the seed gives. This is the short form; `script/chaos` runs the long one.

mod day;
mod disk;
mod line;
mod phone;
mod watcher;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use spacall::clock;

use world::World;

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    /// `kill -9`, and a new one; every other time while the table is locked and batches wait.
    ServiceKilled,
    /// Immediate shutdown (SIGQUIT), then crash recovery.
    PostgresCrashed,
    /// Every connection of the phones is reset.
    LineDropped,
    /// Every connection of the phones stays open and carries nothing any more.
    LineHalfOpen,
    /// Phones send their next frame twice.
    FramesDuplicated,
    /// Phones send their next frames in the wrong order.
    FramesReordered,
    /// PostgreSQL's disk has no room until the journal has felt it.
    DiskFull,
    /// The backend that listens for row changes is ended, or stands still, while rows change.
    ListenerEnded,
    /// Phones' clocks step: minutes back, seconds ahead, hours ahead, and right again.
    ClocksStepped,
}

const FAULTS: [Fault; 9] = [
    Fault::ServiceKilled,
    Fault::PostgresCrashed,
    Fault::LineDropped,
    Fault::LineHalfOpen,
    Fault::FramesDuplicated,
    Fault::FramesReordered,
    Fault::DiskFull,
    Fault::ListenerEnded,
    Fault::ClocksStepped,
];

/// How much, from the environment.
struct Plan {
    seed: u64,
    of_each_kind: usize,
    phones: usize,
    tick: Duration,
}

impl Plan {
    fn of_the_environment() -> Self {
        let number = |name: &str, short: u64| match std::env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, allowed: a whole number")),
            Err(_) => short,
        };
        Self {
            seed: number("SPACALL_CHAOS_SEED", 1),
            of_each_kind: number("SPACALL_CHAOS_FAULTS", 2) as usize,
            phones: number("SPACALL_CHAOS_PHONES", 12) as usize,
            tick: Duration::from_millis(number("SPACALL_CHAOS_TICK_MS", 100)),
        }
    }

    fn faults(&self, rng: &mut StdRng) -> Vec<Fault> {
        let mut faults: Vec<_> =
            FAULTS.iter().flat_map(|fault| std::iter::repeat_n(*fault, self.of_each_kind)).collect();
        faults.shuffle(rng);
        faults
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_acked_fixes_are_stored_once_the_index_is_right_and_nobody_moves_back() {
    let plan = Plan::of_the_environment();
    let begun = clock::monotonic();
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let faults = plan.faults(&mut rng);
    let mut world = World::start(&plan).await;
    let mut done: BTreeMap<Fault, u32> = BTreeMap::new();
    for fault in faults {
        let nth = done.values().sum::<u32>() + 1;
        println!("{:>7.1} s  {nth:>3}  {fault:?}", begun.elapsed().as_secs_f64());
        if world.suffer(fault, &mut rng).await {
            *done.entry(fault).or_default() += 1;
        }
        // Every phone hears an ack of something that it sent after the fault: nothing is stuck.
        world.recovered(fault).await;
    }
    let found = world.end().await;
    let (faults, seconds) = (done.values().sum::<u32>(), begun.elapsed().as_secs_f64());
    println!("seed {}, {} phones, {faults} faults, {seconds:.0} s", plan.seed, plan.phones);
    for (fault, count) in &done {
        println!("{count:>5}  {fault:?}");
    }
    println!("{found:#?}");
    assert_eq!(found.acked_and_not_stored, 0, "{found:#?}");
    assert_eq!(found.stored_and_never_sent, 0, "{found:#?}");
    assert_eq!(found.stored_twice, 0, "{found:#?}");
    assert_eq!(found.never_answered, 0, "{found:#?}");
    assert_eq!(found.moved_back, Vec::<String>::new());
    assert_eq!(found.drift, 0, "{found:#?}");
    assert_eq!(found.refused.keys().filter(|code| *code != "in_future").count(), 0, "{found:#?}");
    assert!(found.acked > 0 && found.watched > 0, "{found:#?}");
}
