//! The live index on one thread: each line of the table in `benches/README.md`, beside rstar and beside a bare grid.
//!
//! `script/bench index`; a part of it: `cargo bench --bench index -- nearest`.

mod support;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use spacall::clock;
use spacall::core::fleet::Fleet;
use spacall::core::geo::LatLng;
use spacall::core::ids::ProviderId;
use spacall::core::matching::{Filters, Precision, Request};
use spacall::core::settings::{PingLimits, Settings};
use spacall::core::track::Fix;

use support::floor::Floor;
use support::table::{self, Limit, Line, time};
use support::tree::{Globe, Tree};
use support::world::{Move, Moves, NOW, Town, filters, fleet_of, question};

const SMALL: usize = 10_000;
const CITY: usize = 100_000;
const LARGE: usize = 1_000_000;

/// Fixes that are handed over at once.
const TOGETHER: usize = 64;

/// Cells that the bare grid is tried with, metres; the fastest is the floor.
const FLOOR_CELLS_M: [f32; 6] = [40.0, 70.0, 125.0, 200.0, 350.0, 600.0];

fn main() {
    // Figures of a former run are not this run's.
    for group in GROUPS {
        match std::fs::remove_dir_all(results().join(group)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{group}: {error}"),
            _ => {}
        }
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let town = Town::open();
    let mut crossings = String::new();
    for points in [SMALL, CITY, LARGE] {
        crossings.push_str(&at_size(&mut criterion, &town, points));
    }
    rebuild(&mut criterion, &town);
    criterion.final_summary();
    table::print(&format!("Index, one thread; therapists and customers: {}", town.source), &lines(&crossings));
}

/// Everything that is measured at one size. Says how many moves crossed cells.
fn at_size(criterion: &mut Criterion, town: &Town, points: usize) -> String {
    let places: Vec<LatLng> = town.therapists(points).map(|person| person.fix.place).collect();
    let customers = town.customers();
    let fleet = fleet_of(town.therapists(points));
    let (mut floor, floor_cell_m) = best_floor(&places, &customers);
    let (mut tree, mut globe) = (Tree::new(&places), Globe::new(&places));
    all_agree(&fleet, &floor, (&tree, &globe), &customers);

    let mut group = criterion.benchmark_group("nearest");
    let mut ask = turns(&customers);
    group.bench_function(BenchmarkId::new("rstar", points), |b| b.iter(|| black_box(tree.nearest(ask()))));
    let mut ask = turns(&customers);
    group.bench_function(BenchmarkId::new("rstar-globe", points), |b| b.iter(|| black_box(globe.nearest(ask()))));
    let mut ask = turns(&customers);
    group.bench_function(BenchmarkId::new("floor", points), |b| b.iter(|| black_box(floor.nearest(ask()))));
    // Who and how far, as the other two tell it; then with all that an answer shows.
    let mut request = question(customers[0]);
    let mut ask = turns(&customers);
    group.bench_function(BenchmarkId::new("ranking", points), |b| {
        b.iter(|| {
            request.place = ask();
            black_box(fleet.ranking(&request, NOW))
        });
    });
    for (name, filters, precision) in [
        ("fleet", Filters::default(), Precision::Exact),
        ("fleet-pass-50", filters(50), Precision::Exact),
        ("fleet-pass-5", filters(5), Precision::Exact),
        ("fleet-pass-1", filters(1), Precision::Exact),
        ("fleet-public", Filters::default(), Precision::Public { tie_key: 7 }),
    ] {
        let mut request = Request { filters, precision, ..question(customers[0]) };
        let mut ask = turns(&customers);
        group.bench_function(BenchmarkId::new(name, points), |b| {
            b.iter(|| {
                request.place = ask();
                black_box(fleet.nearest(&request, NOW))
            });
        });
    }
    group.finish();
    let cell = format!("The bare grid's cells at {points} are {floor_cell_m} m. ");
    if points == SMALL {
        return cell;
    }

    let limits = Settings::default().pings;
    let mut group = criterion.benchmark_group("move");
    let mut moves = Moves::of(&places);
    group.bench_function(BenchmarkId::new("fleet", points), |b| b.iter(|| apply(&fleet, moves.advance(), &limits)));
    let mut moves = Moves::of(&places);
    group.throughput(Throughput::Elements(TOGETHER as u64));
    group.bench_function(BenchmarkId::new("fleet-together", points), |b| {
        b.iter_batched(
            || (0..TOGETHER).map(|_| fix(moves.advance())).collect::<Vec<_>>(),
            |fixes| black_box(fleet.apply_fixes(&fixes, &limits)),
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    let mut moves = Moves::of(&places);
    group.bench_function(BenchmarkId::new("floor", points), |b| {
        b.iter(|| {
            let Move { index, to, .. } = moves.advance();
            floor.set(index, to);
        });
    });
    let mut moves = Moves::of(&places);
    group.bench_function(BenchmarkId::new("rstar", points), |b| {
        b.iter(|| {
            let Move { index, to, .. } = moves.advance();
            tree.set(index, to);
        });
    });
    let mut moves = Moves::of(&places);
    group.bench_function(BenchmarkId::new("rstar-globe", points), |b| {
        b.iter(|| {
            let Move { index, to, .. } = moves.advance();
            globe.set(index, to);
        });
    });
    group.finish();

    let ends = moves.ends();
    let crossed = ends.iter().filter(|[from, to]| floor.crosses(*from, *to)).count() as f64 / ends.len() as f64;
    format!(
        "{cell}Of the moves, {:.1} % cross a cell of the bare grid, {:.1} % an H3 cell of resolution 9. ",
        crossed * 100.0,
        moves.h3_crossings() * 100.0
    )
}

/// The bare grid with the cells that suit these points best, by a short trial.
fn best_floor(places: &[LatLng], customers: &[LatLng]) -> (Floor, f32) {
    let tried = FLOOR_CELLS_M.map(|cell_m| {
        let floor = Floor::new(places, cell_m);
        customers.iter().for_each(|&customer| drop(black_box(floor.nearest(customer)))); // into the caches
        let started = clock::monotonic();
        (0..5).for_each(|_| customers.iter().for_each(|&customer| drop(black_box(floor.nearest(customer)))));
        (started.elapsed(), floor, cell_m)
    });
    let best = tried.into_iter().min_by_key(|(took, _, _)| *took);
    best.map(|(_, floor, cell_m)| (floor, cell_m)).expect("some were tried")
}

fn fix(step: Move) -> (ProviderId, Fix) {
    (ProviderId(i64::from(step.index) + 1), Fix::new(step.at, step.to))
}

fn apply(fleet: &Fleet, step: Move, limits: &PingLimits) {
    let (provider, fix) = fix(step);
    let outcome = fleet.apply_fix(provider, &fix, limits);
    assert!(outcome.is_some_and(|outcome| outcome.newest), "a move that moves nobody measures nothing");
}

/// All customers in turn.
fn turns(customers: &[LatLng]) -> impl FnMut() -> LatLng {
    let mut next = 0;
    move || {
        next = (next + 1) % customers.len();
        customers[next]
    }
}

/// Who is compared answers the same question: the same people in the same order.
fn all_agree(fleet: &Fleet, floor: &Floor, (tree, globe): (&Tree, &Globe), customers: &[LatLng]) {
    for &customer in &customers[..500] {
        let answer = fleet.nearest(&question(customer), NOW);
        let fleet: Vec<i64> = answer.candidates.iter().map(|c| c.therapist.provider.0 - 1).collect();
        let ids = |found: Vec<(f64, u32)>| found.into_iter().map(|(_, id)| i64::from(id)).collect::<Vec<_>>();
        assert_eq!(ids(floor.nearest(customer)), fleet, "the bare grid, from {customer}");
        assert_eq!(ids(tree.nearest(customer)), fleet, "rstar, from {customer}");
        assert_eq!(ids(globe.nearest(customer)), fleet, "rstar on the sphere, from {customer}");
    }
}

fn rebuild(criterion: &mut Criterion, town: &Town) {
    let people: Vec<_> = town.therapists(LARGE).collect();
    let mut group = criterion.benchmark_group("rebuild");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.bench_function(BenchmarkId::new("fleet", LARGE), |b| {
        b.iter_custom(|times| {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                let rows = people.clone();
                let started = clock::monotonic();
                let fleet = fleet_of(rows.into_iter());
                took += started.elapsed();
                assert_eq!(fleet.len(), LARGE);
            }
            took
        });
    });
    group.finish();
}

const GROUPS: [&str; 3] = ["nearest", "move", "rebuild"];

/// Where criterion writes.
fn results() -> PathBuf {
    let home = std::env::var_os("CRITERION_HOME").map(PathBuf::from);
    home.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/criterion"))
}

/// Median, ns; `None` when it was not measured (a part was asked for).
fn median(group: &str, name: &str, points: usize) -> Option<f64> {
    let text = std::fs::read_to_string(results().join(format!("{group}/{name}/{points}/new/estimates.json"))).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

/// The table, as far as it was measured.
fn lines(crossings: &str) -> Vec<Line> {
    let ratio = |work: &str, group: &str, (a, a_points): (&str, usize), (b, b_points): (&str, usize), limit: Limit| {
        let (top, bottom) = (median(group, a, a_points)?, median(group, b, b_points)?);
        let figures = format!("{a} {} / {b} {}", time(top), time(bottom));
        Some(Line { work: work.to_owned(), figures, value: top / bottom, limit })
    };
    let mut lines = Vec::new();
    for (points, judged) in [(SMALL, false), (CITY, true), (LARGE, false)] {
        let limit = |limit: Limit| if judged { limit } else { Limit::None };
        let times = |name: &str| format!("nearest 10 in 5 km of {points}: {name}");
        let (fleet, ranking) = (("fleet", points), ("ranking", points));
        lines.extend([
            ratio(&times("times faster than rstar"), "nearest", ("rstar", points), ranking, limit(Limit::AtLeast(4.0))),
            ratio(
                &times("times faster than rstar for the whole Earth"),
                "nearest",
                ("rstar-globe", points),
                ranking,
                Limit::None,
            ),
            ratio(&times("against the bare grid"), "nearest", ranking, ("floor", points), limit(Limit::AtMost(2.0))),
            ratio(&times("with all that is shown, against who and how far"), "nearest", fleet, ranking, Limit::None),
            ratio(
                &times("filters passing 50 %"),
                "nearest",
                ("fleet-pass-50", points),
                fleet,
                limit(Limit::AtMost(2.0)),
            ),
            ratio(&times("filters passing 5 %"), "nearest", ("fleet-pass-5", points), fleet, limit(Limit::AtMost(4.0))),
            ratio(&times("filters passing 1 %"), "nearest", ("fleet-pass-1", points), fleet, Limit::None),
            ratio(&times("public answers"), "nearest", ("fleet-public", points), fleet, limit(Limit::AtMost(2.0))),
        ]);
    }
    lines.push(ratio(
        "1,000,000 against 100,000",
        "nearest",
        ("ranking", LARGE),
        ("ranking", CITY),
        Limit::AtMost(2.5),
    ));
    lines.push(ratio("10,000 against 100,000", "nearest", ("ranking", SMALL), ("ranking", CITY), Limit::AtMost(1.0)));
    for points in [CITY, LARGE] {
        let times = |name: &str| format!("one move of {points}: {name}");
        let fleet = ("fleet", points);
        lines.push(ratio(&times("times faster than rstar"), "move", ("rstar", points), fleet, Limit::AtLeast(15.0)));
        let globe = ("rstar-globe", points);
        lines.push(ratio(&times("times faster than rstar for the whole Earth"), "move", globe, fleet, Limit::None));
        lines.push(ratio(&times("against the bare grid"), "move", fleet, ("floor", points), Limit::None));
        if let (Some(tree), Some(some)) = (median("move", "rstar", points), median("move", "fleet-together", points)) {
            let each = some / TOGETHER as f64;
            lines.push(Some(Line {
                work: times(&format!("{TOGETHER} together, times faster than rstar")),
                figures: format!("rstar {} / fleet {}", time(tree), time(each)),
                value: tree / each,
                limit: Limit::AtLeast(15.0),
            }));
        }
    }
    lines.push(median("rebuild", "fleet", LARGE).map(|ns| Line {
        work: "rebuild of 1,000,000 from rows in memory, s".to_owned(),
        figures: time(ns),
        value: ns / 1e9,
        limit: Limit::AtMost(1.0),
    }));
    println!("\n{crossings}");
    lines.into_iter().flatten().collect()
}
