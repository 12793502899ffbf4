//! What readers see while writers write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::world::{any_speed, offer, profile, rating, request, willing};
use crate::core::fleet::word::{Overlap, Witness};
use crate::core::fleet::{Duty, Fleet, MANY, Therapist};
use crate::core::geo::{LatLng, Meters, public_position};
use crate::core::ids::{BookingId, ProviderId, UserId};
use crate::core::matching::{Answer, Candidate, Precision, Request, When};
use crate::core::money::Money;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

const PEOPLE: i64 = 64;
const START: i64 = 1_795_000_000;

/// The `version`th state: every attribute tells which.
fn version(id: i64, version: u64) -> Therapist {
    let mut t = willing(id);
    t.total_reviews = version as u32;
    t.first_name = format!("v{version}").into();
    t.average_rating = rating((version % 500) as u16);
    offer(&mut t, |offering| offering.price = Money::centavos(version as i64));
    profile(&mut t).languages = Arc::from([version.to_string()]);
    t
}

/// Where a therapist is at a second; cells and blocks are crossed all the time, the antimeridian among them.
fn place(id: i64, second: u64) -> LatLng {
    let (lat, lng) = (id * 3_000 + second as i64 * 17_001 % 900_000, second as i64 * 31_007 % 2_000_000 - 1_000_000);
    let lng = if lng < 0 { 1_800_000_000 + lng } else { -1_800_000_000 + lng };
    LatLng::from_e7(lat as i32, lng as i32).unwrap()
}

/// Where everybody sees everybody; of so few that no search waits for the writer before it has tried.
fn everybody() -> Request {
    let middle = LatLng::new(0.0, 180.0).unwrap();
    Request { stale_after: Duration::from_secs(u64::MAX), ..request(middle, Meters::from_km(50.0), MANY) }
}

#[test]
fn readers_never_see_a_therapist_half_changed_twice_or_not_at_all() {
    let (fleet, stop, writes) = (Fleet::new(), AtomicBool::new(false), AtomicU64::new(0));
    for id in 0..PEOPLE {
        fleet.put(version(id, 0));
        fleet.apply_fix(ProviderId(id), &Fix::new(Timestamp::from_secs(START), place(id, 0)), &any_speed());
    }
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (fleet, stop, writes) = (&fleet, &stop, &writes);
            scope.spawn(move || {
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    for id in (writer..PEOPLE).step_by(2) {
                        fleet.put(version(id, turn));
                        let at = Timestamp::from_secs(START + turn as i64);
                        fleet.apply_fix(ProviderId(id), &Fix::new(at, place(id, turn)), &any_speed());
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let (fleet, writes) = (&fleet, &writes);
        let readers: Vec<_> = [Precision::Exact, Precision::Public { tie_key: 3 }]
            .into_iter()
            .map(|precision| scope.spawn(move || read(fleet, writes, Request { precision, ..everybody() })))
            .collect();
        // A reader that fails must not leave the writers running.
        let outcomes: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        stop.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            if let Err(failure) = outcome {
                std::panic::resume_unwind(failure);
            }
        }
    });
}

/// A step of a metre changes one word and one line, so fast that no thread is ever in between: whoever noted the word before
/// must see that it moved.
#[test]
fn a_step_within_the_cell_is_told_to_whoever_reads_it() {
    let fleet = Fleet::new();
    fleet.put(willing(1));
    let step = |second: i32| {
        let place = LatLng::from_e7(145_500_000 + second * 100, 1_210_200_000).expect("a place");
        let at = Timestamp::from_secs(START + i64::from(second));
        fleet.apply_fix(ProviderId(1), &Fix::new(at, place), &any_speed())
    };
    step(0).expect("a first place");
    let tables = fleet.tables.load();
    let cell = tables.fixes().cell_of(0).expect("in the grid");
    for second in 1..10 {
        let mut witness = Witness::new();
        witness.note(tables.fixes().word(cell).expect("a cell")).expect("nobody writes");
        assert_eq!(witness.stands(), Ok(()));
        assert!(step(second).expect("known").newest);
        assert_eq!(tables.fixes().cell_of(0), Some(cell), "a step of a metre");
        assert_eq!(witness.stands(), Err(Overlap), "step {second} was seen by nobody");
    }
}

fn read(fleet: &Fleet, writes: &AtomicU64, request: Request) {
    let mut last: BTreeMap<ProviderId, (u64, u32)> = BTreeMap::new();
    let now = Timestamp::from_secs(START * 2);
    let mut answers = 0;
    // Enough answers, and enough changes between them.
    while answers < 300 || writes.load(Ordering::Relaxed) < 5_000 {
        answers += 1;
        let answer = fleet.nearest(&request, now);
        let ids: BTreeSet<_> = answer.candidates.iter().map(|c| c.therapist.provider).collect();
        assert_eq!((answer.candidates.len(), ids.len()), (PEOPLE as usize, PEOPLE as usize), "missed or doubled");
        assert!(answer.candidates.is_sorted_by_key(|c| c.distance));
        for c in &answer.candidates {
            let (id, seen) = (c.therapist.provider, c.therapist.total_reviews);
            assert_eq!(*c.therapist, version(id.0, seen.into()), "half changed");
            assert_eq!(c.price, Money::centavos(seen.into()), "priced by another moment's attributes");
            let second = (now.since(Timestamp::from_secs(START)) - c.fix_age.unwrap()).as_secs();
            let stood = place(id.0, second);
            let told = if request.precision == Precision::Exact { stood } else { public_position(stood).centre };
            assert_eq!(c.place, told, "the place of one fix with the time of another");
            let before = last.insert(id, (second, seen)).unwrap_or_default();
            assert!(before.0 <= second && before.1 <= seen, "{id} went back in time");
        }
    }
}

#[test]
fn nobody_on_a_booking_or_with_an_offer_is_ever_found() {
    let (fleet, stop) = (Fleet::new(), AtomicBool::new(false));
    let now = Timestamp::from_secs(START);
    for id in 0..PEOPLE {
        fleet.put(version(id, 0));
        fleet.apply_fix(ProviderId(id), &Fix::new(now, place(id, 0)), &any_speed());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let booked = Duty::Booked {
                booking: BookingId(1),
                booking_uuid: Uuid::nil(),
                customer: UserId(2),
                en_route_to: None,
            };
            let offered = Duty::Offered { until: Timestamp::from_secs(START + 5) };
            for turn in 0.. {
                for id in 0..PEOPLE {
                    fleet.set_duty(ProviderId(id), [Duty::Idle, booked, offered][(turn + id) as usize % 3]);
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let reader = scope.spawn(|| {
            for _ in 0..500 {
                let answer = fleet.nearest(&everybody(), now);
                assert!(answer.candidates.iter().all(|c| c.therapist.ties.duty() == Duty::Idle));
            }
        });
        let outcome = reader.join();
        stop.store(true, Ordering::Relaxed);
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure);
        }
    });
}

/// A change that the log can repeat.
#[derive(Clone, Debug)]
enum Change {
    Put(Box<Therapist>),
    Remove(ProviderId),
    Duty(ProviderId, Duty),
    Move(ProviderId, Fix),
}

/// Some stay, the others leave their slots to each other all the time.
#[test]
fn a_snapshot_that_others_overlap_holds_whoever_stays_and_nobody_twice() {
    const ALL: i64 = 1_000;
    let (fleet, over) = (Fleet::new(), AtomicBool::new(false));
    (0..ALL).for_each(|id| fleet.put(version(id, 0)));
    let stays = |id: &ProviderId| id.0 % 2 == 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = StdRng::seed_from_u64(4);
            for round in 0..40_000 {
                let id = rng.random_range(0..ALL / 2) * 2 + 1;
                fleet.remove(ProviderId(id));
                fleet.remove(ProviderId(ALL - id));
                fleet.put(version(id, round));
                fleet.put(version(ALL - id, round));
            }
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            let snapshot: Vec<_> = fleet.snapshot().iter().map(|(therapist, _)| therapist.provider).collect();
            for met in [snapshot, fleet.providers()] {
                assert!(met.is_sorted_by(|a, b| a < b), "somebody is there twice");
                assert!(
                    met.iter().filter(|id| stays(id)).map(|id| id.0).eq((0..ALL).step_by(2)),
                    "somebody is missing"
                );
            }
        }
    });
}

/// In a few cells of a few metres to a few hundred: most moves cross a border, many meet in one cell; and in an H3 cell that
/// nobody else is in.
fn near(rng: &mut StdRng) -> LatLng {
    let far = if rng.random_bool(0.2) { 9_000 } else { 1 };
    let mut around = |middle: i32| middle + rng.random_range(-3..=3) * rng.random_range(1..9_000) * far;
    LatLng::from_e7(around(145_500_000), around(1_210_200_000)).unwrap()
}

/// Starting from somewhere else, or from nowhere.
fn based(mut therapist: Therapist, rng: &mut StdRng) -> Therapist {
    therapist.base_location = Some(near(rng)).filter(|_| rng.random_bool(0.9));
    therapist
}

impl Change {
    fn random(turn: i64, rng: &mut StdRng) -> Self {
        let provider = ProviderId(rng.random_range(0..PEOPLE));
        let booked =
            Duty::Booked { booking: BookingId(1), booking_uuid: Uuid::nil(), customer: UserId(2), en_route_to: None };
        match rng.random_range(0..20) {
            0 => Self::Remove(provider),
            1 | 2 => Self::Put(Box::new(based(version(provider.0, turn as u64), rng))),
            // Somebody new, whom nobody finds yet: in time the index outgrows its tables.
            3 | 4 => Self::Put(Box::new(version(PEOPLE + turn, turn as u64))),
            5 | 6 => Self::Duty(provider, [Duty::Idle, booked][rng.random_range(0..2)]),
            _ => Self::Move(provider, Fix::new(Timestamp::from_micros(START * 1_000_000 + turn), near(rng))),
        }
    }

    fn make(self, fleet: &Fleet) {
        match self {
            Self::Put(therapist) => fleet.put(*therapist),
            Self::Remove(provider) => fleet.remove(provider),
            Self::Duty(provider, duty) => drop(fleet.set_duty(provider, duty)),
            Self::Move(provider, fix) => drop(fleet.apply_fix(provider, &fix, &any_speed())),
        }
    }
}

/// An answer, and the changes that were made before it was asked for and before it was given.
struct Heard {
    from: u64,
    until: u64,
    request: Request,
    answer: Answer,
}

/// Changes are logged, readers ask all the while; afterwards the log is played again, one change at a time, and each
/// answer must be that of a quiet fleet at some instant between its question and its end.
#[test]
fn each_answer_is_the_truth_of_one_instant_during_the_search() {
    const CHANGES: i64 = 20_000;
    let seed: u64 = std::env::var("SPACALL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let (fleet, made, asked) = (Fleet::new(), AtomicU64::new(0), AtomicU64::new(0));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut log: Vec<Change> = (0..PEOPLE).map(|id| Change::Put(Box::new(version(id, 0)))).collect();
    log.extend((0..CHANGES).map(|turn| Change::random(turn, &mut rng)));
    let now = Timestamp::from_secs(START + 1);
    let heard: Vec<Heard> = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut tables = BTreeSet::new();
            for (number, change) in log.iter().enumerate() {
                change.clone().make(&fleet);
                tables.insert(fleet.tables.load().capacity());
                made.fetch_add(1, Ordering::SeqCst);
                // Whoever has the processor: neither runs away from the other.
                while (asked.load(Ordering::SeqCst) as usize) < number / 8 {
                    std::thread::yield_now();
                }
            }
            assert!(tables.len() > 1, "the tables were never replaced under the readers");
        });
        let readers: Vec<_> = (0..2u64)
            .map(|reader| {
                let (fleet, made, asked) = (&fleet, &made, &asked);
                scope.spawn(move || ask_until(fleet, made, asked, log_len(CHANGES), now, seed * 2 + reader))
            })
            .collect();
        writer.join().expect("the writer");
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect()
    });
    let overlapped = heard.iter().filter(|heard| heard.until > heard.from).count();
    println!("{} answers, {overlapped} of them while something changed", heard.len());
    assert!(overlapped > 1_000, "the readers hardly met the writer");
    find_instants(&log, heard, now);
}

fn log_len(changes: i64) -> u64 {
    (PEOPLE + changes) as u64
}

fn ask_until(fleet: &Fleet, made: &AtomicU64, asked: &AtomicU64, all: u64, now: Timestamp, seed: u64) -> Vec<Heard> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut heard = Vec::new();
    loop {
        let from = made.load(Ordering::SeqCst);
        let mut around = |middle: i32| middle + rng.random_range(-20_000..20_000);
        let place = LatLng::from_e7(around(145_500_000), around(1_210_200_000)).unwrap();
        let radius = Meters::new([50.0, 400.0, 5_000.0][rng.random_range(0..3)]);
        let mut request = request(place, radius, [1, 3, 10, 1_000][rng.random_range(0..4)]);
        if rng.random_bool(0.4) {
            request.precision = Precision::Public { tie_key: seed };
        }
        if rng.random_bool(0.3) {
            request.when = When::At { start: now.plus(Duration::from_secs(86_400)) };
        }
        let answer = fleet.nearest(&request, now);
        // One more may have become visible and not been counted yet.
        let until = made.load(Ordering::SeqCst) + 1;
        heard.push(Heard { from, until, request, answer });
        if from == all {
            return heard;
        }
        asked.fetch_add(1, Ordering::SeqCst);
    }
}

fn find_instants(log: &[Change], mut heard: Vec<Heard>, now: Timestamp) {
    let quiet = Fleet::new();
    heard.sort_by_key(|heard| std::cmp::Reverse(heard.from));
    let mut open: Vec<Heard> = Vec::new();
    for version in 0..=log.len() as u64 {
        while heard.last().is_some_and(|next| next.from <= version) {
            open.extend(heard.pop());
        }
        open.retain(|heard| {
            let here = quiet.nearest(&heard.request, now);
            let same = essence(&here) == essence(&heard.answer);
            assert!(
                same || version < heard.until.min(log.len() as u64),
                "changes {}..{}: {:?}\nnever true: {:?}\nat the end: {:?}",
                heard.from,
                heard.until,
                heard.request,
                essence(&heard.answer),
                essence(&here)
            );
            !same
        });
        if let Some(change) = log.get(version as usize) {
            change.clone().make(&quiet);
        }
    }
}

/// What must have been true together. Of public answers not the age of the fix, which changes by itself.
fn essence(answer: &Answer) -> Vec<(ProviderId, LatLng, u32, Option<Duration>)> {
    let age = |c: &Candidate| c.fix_age.filter(|_| c.place != c.public.centre);
    answer.candidates.iter().map(|c| (c.therapist.provider, c.place, c.therapist.total_reviews, age(c))).collect()
}
