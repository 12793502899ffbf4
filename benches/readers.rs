//! A reader of the live index while one writer moves therapists: what the reader feels.
//!
//! `script/bench readers`. Needs two cores of its own: on a busy machine the tail is the scheduler's, in both phases.

mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use spacall::clock;
use spacall::core::fleet::Fleet;
use spacall::core::geo::LatLng;
use spacall::core::ids::ProviderId;
use spacall::core::settings::Settings;
use spacall::core::track::Fix;

use support::table::{self, Limit, Line, time};
use support::world::{Move, Moves, NOW, Town, fleet_of, question};

const THERAPISTS: usize = 100_000;
/// Quiet and busy take turns, so that what else the machine does falls on both alike.
const ROUNDS: usize = 6;
const PHASE: Duration = Duration::from_millis(1_500);
/// Moves between two looks at the clock.
const BURST: u32 = 64;

fn main() {
    let town = Town::open();
    let places: Vec<LatLng> = town.therapists(THERAPISTS).map(|person| person.fix.place).collect();
    let fleet = fleet_of(town.therapists(THERAPISTS));
    let customers = town.customers();
    let mut moves = Moves::of(&places);
    read(&fleet, &customers, PHASE); // the first round through the caches is nobody's
    let mut lines = Vec::new();
    for wanted in [100_000, 300_000, 1_000_000] {
        let (mut quiet, mut busy) = (histogram(), histogram());
        let (mut done, mut took) = (0, Duration::ZERO);
        for _ in 0..ROUNDS {
            quiet.add(read(&fleet, &customers, PHASE)).expect("the same kind of histogram");
            let (end, counted) = (AtomicBool::new(false), AtomicU64::new(0));
            let started = clock::monotonic();
            let heard = thread::scope(|scope| {
                scope.spawn(|| write(&fleet, &mut moves, f64::from(wanted), &end, &counted));
                let heard = read(&fleet, &customers, PHASE);
                end.store(true, Ordering::Relaxed);
                heard
            });
            took += started.elapsed();
            busy.add(heard).expect("the same kind of histogram");
            done += counted.load(Ordering::Relaxed);
        }
        let rate = done as f64 / took.as_secs_f64();
        lines.extend(compare(wanted, rate, &quiet, &busy));
    }
    table::print(&format!("A reader beside one writer, {THERAPISTS} therapists; {}", town.source), &lines);
}

/// Asks for the nearest ten, one question after the other; ns each.
fn read(fleet: &Fleet, customers: &[LatLng], how_long: Duration) -> Histogram<u64> {
    let mut took = histogram();
    let mut request = question(customers[0]);
    let begin = clock::monotonic();
    let mut before = begin;
    for &customer in customers.iter().cycle() {
        request.place = customer;
        black_box(fleet.nearest(&request, NOW));
        let after = clock::monotonic();
        took.saturating_record(u64::try_from((after - before).as_nanos()).unwrap_or(u64::MAX));
        before = after;
        if after - begin >= how_long {
            break;
        }
    }
    took
}

/// Moves therapists at a rate, in small bursts, until told to end. What is late is made up for.
fn write(fleet: &Fleet, moves: &mut Moves, per_second: f64, end: &AtomicBool, counted: &AtomicU64) {
    let limits = Settings::default().pings;
    let begin = clock::monotonic();
    let mut done = 0_u64;
    while !end.load(Ordering::Relaxed) {
        if (done as f64) > begin.elapsed().as_secs_f64() * per_second {
            std::hint::spin_loop();
            continue;
        }
        for _ in 0..BURST {
            let Move { index, to, at, .. } = moves.advance();
            black_box(fleet.apply_fix(ProviderId(i64::from(index) + 1), &Fix::new(at, to), &limits));
        }
        done += u64::from(BURST);
    }
    counted.store(done, Ordering::Relaxed);
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("bounds that make sense")
}

fn compare(wanted: u32, rate: f64, quiet: &Histogram<u64>, busy: &Histogram<u64>) -> Vec<Line> {
    let line = |quantile: f64, name: &str, limit: Limit| {
        let (before, beside) = (quiet.value_at_quantile(quantile) as f64, busy.value_at_quantile(quantile) as f64);
        Line {
            work: format!("{name} beside {wanted} moves/s"),
            figures: format!("quiet {} / busy {}", time(before), time(beside)),
            value: beside / before,
            limit,
        }
    };
    // The promise is about a million a second.
    let limit = if wanted == 1_000_000 { Limit::AtMost(2.5) } else { Limit::None };
    let reached = Line {
        work: format!("of {wanted} moves/s, reached"),
        figures: format!("{rate:.0}"),
        value: rate / f64::from(wanted),
        limit: if wanted == 1_000_000 { Limit::AtLeast(0.95) } else { Limit::None },
    };
    vec![reached, line(0.5, "p50", Limit::None), line(0.99, "p99", limit), line(0.999, "p99.9", Limit::None)]
}
