//! What readers see while writers write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rust_decimal::Decimal;
use uuid::Uuid;

use super::world::{any_speed, request, willing};
use crate::core::fleet::{Duty, Fleet, Therapist};
use crate::core::geo::{LatLng, Meters};
use crate::core::ids::{BookingId, ProviderId, UserId};
use crate::core::matching::{Precision, Request};
use crate::core::money::Money;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

const PEOPLE: i64 = 64;
const START: i64 = 1_795_000_000;

/// The `version`th state: every attribute tells which.
fn version(id: i64, version: u64) -> Therapist {
    let mut t = willing(id);
    t.total_reviews = version as u32;
    t.first_name = format!("v{version}");
    t.average_rating = Decimal::new(version as i64 % 500, 2);
    t.services[0].price = Money::centavos(version as i64);
    t.languages = vec![version.to_string()];
    t
}

/// Where a therapist is at a second; cells and blocks are crossed all the time, the antimeridian among them.
fn place(id: i64, second: u64) -> LatLng {
    let (lat, lng) = (id * 3_000 + second as i64 * 17_001 % 900_000, second as i64 * 31_007 % 2_000_000 - 1_000_000);
    let lng = if lng < 0 { 1_800_000_000 + lng } else { -1_800_000_000 + lng };
    LatLng::from_e7(lat as i32, lng as i32).unwrap()
}

/// Where everybody sees everybody.
fn everybody() -> Request {
    let middle = LatLng::new(0.0, 180.0).unwrap();
    Request { stale_after: Duration::from_secs(u64::MAX), ..request(middle, Meters::from_km(50.0), 1_000) }
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
            if request.precision == Precision::Exact {
                assert_eq!(c.place, place(id.0, second), "the place of one fix with the time of another");
            }
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
                assert!(answer.candidates.iter().all(|c| c.therapist.duty == Duty::Idle));
            }
        });
        let outcome = reader.join();
        stop.store(true, Ordering::Relaxed);
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure);
        }
    });
}
