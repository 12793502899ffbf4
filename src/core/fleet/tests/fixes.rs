//! What fixes, duty and attributes do to answers.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use super::world::{any_speed, offer, profile, request, willing};
use crate::core::fleet::{Duty, EnRoute, Fleet, Therapist, Ties};
use crate::core::geo::{LatLng, Meters};
use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::matching::{Precision, Request, Unfit, When};
use crate::core::money::Money;
use crate::core::people::{Gender, GendersServed};
use crate::core::schedule::Schedule;
use crate::core::settings::Settings;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

const NOW: Timestamp = Timestamp::from_secs(1_795_363_200); // Monday 2026-11-23 00:00 in Manila

fn makati() -> LatLng {
    LatLng::new(14.55, 121.02).unwrap()
}

/// One therapist 2 km north of the customer, changed by `change`, and the first reason against a changed request.
fn verdict(therapist: impl FnOnce(&mut Therapist), change: impl FnOnce(&mut Request)) -> Option<Unfit> {
    let fleet = Fleet::new();
    let mut t = willing(5);
    t.base_location = LatLng::new(14.568, 121.02).ok();
    therapist(&mut t);
    fleet.put(t);
    let fix = Fix::new(NOW.minus(Duration::from_secs(600)), LatLng::new(14.568, 121.02).unwrap());
    fleet.apply_fix(ProviderId(5), &fix, &any_speed());
    let mut r = request(makati(), Meters::from_km(5.0), 10);
    change(&mut r);
    let verdicts = fleet.verdicts(&r, NOW);
    assert_eq!(verdicts.len(), 1);
    assert_eq!(
        fleet.nearest(&r, NOW).candidates.len(),
        usize::from(verdicts[0].unfit.is_none()),
        "{:?}",
        verdicts[0].unfit
    );
    verdicts[0].unfit
}

fn at(r: &mut Request, hour: u64) {
    r.when = When::At { start: NOW.plus(Duration::from_secs(hour * 3_600)) };
}

fn hour(h: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(h * 3_600))
}

#[test]
fn each_hard_constraint_has_its_reason() {
    let booked =
        Duty::Booked { booking: BookingId(1), booking_uuid: Uuid::nil(), customer: UserId(9), en_route_to: None };
    let any = |_: &mut Request| {};
    let as_is = |_: &mut Therapist| {};
    let cases: Vec<(Option<Unfit>, Option<Unfit>)> = vec![
        (None, verdict(as_is, any)),
        (Some(Unfit::NotChosen), verdict(as_is, |r| r.only = Some(ProviderId(6)))),
        (None, verdict(as_is, |r| r.only = Some(ProviderId(5)))),
        (Some(Unfit::Excluded), verdict(as_is, |r| r.exclude = BTreeSet::from([ProviderId(5)]))),
        (Some(Unfit::Himself), verdict(|t| t.user = UserId(1), any)),
        (Some(Unfit::Blocked), verdict(|t| t.ties = Ties::new(Duty::Idle, [], [UserId(1)]), any)),
        (Some(Unfit::NotVerified), verdict(|t| profile(t).verified = false, any)),
        (Some(Unfit::NotActive), verdict(|t| profile(t).active = false, any)),
        (Some(Unfit::NotAvailable), verdict(|t| t.available = false, any)),
        (None, verdict(|t| t.available = false, |r| at(r, 10))),
        (Some(Unfit::NoHomeService), verdict(|t| profile(t).accepts_home_service = false, any)),
        (Some(Unfit::ServiceNotOffered), verdict(as_is, |r| r.service = ServiceId(33))),
        (Some(Unfit::ServiceNotOffered), verdict(|t| offer(t, |o| o.home = false), any)),
        (Some(Unfit::OnBooking), verdict(|t| t.ties.set_duty(booked), any)),
        (None, verdict(|t| t.ties.set_duty(booked), |r| at(r, 10))),
        (
            Some(Unfit::HasOffer),
            verdict(|t| t.ties.set_duty(Duty::Offered { until: Timestamp::from_micros(NOW.micros() + 1) }), any),
        ),
        (None, verdict(|t| t.ties.set_duty(Duty::Offered { until: NOW }), any)),
        (None, verdict(as_is, |r| r.stale_after = Duration::from_secs(600))),
        (Some(Unfit::StaleFix), verdict(as_is, |r| r.stale_after = Duration::from_micros(599_999_999))),
        (
            Some(Unfit::GenderNotServed),
            verdict(|t| profile(t).accepts_genders = GendersServed::only([Gender::Female]), any),
        ),
        (None, verdict(|t| profile(t).accepts_genders = GendersServed::only([Gender::Male]), any)),
        (
            Some(Unfit::GenderNotServed),
            verdict(|t| profile(t).accepts_genders = GendersServed::only(Gender::ALL), |r| r.customer_gender = None),
        ),
        (Some(Unfit::GenderNotWanted), verdict(as_is, |r| r.filters.gender = Some(Gender::Male))),
        (Some(Unfit::GenderNotWanted), verdict(|t| t.gender = None, |r| r.filters.gender = Some(Gender::Female))),
        (Some(Unfit::Language), verdict(as_is, |r| r.filters.language = Some("ceb".into()))),
        (None, verdict(as_is, |r| r.filters.language = Some("FIL".into()))),
        (Some(Unfit::Specialization), verdict(as_is, |r| r.filters.specialization = Some("Thai".into()))),
        (None, verdict(as_is, |r| r.filters.specialization = Some("swedish".into()))),
        (Some(Unfit::Rating), verdict(as_is, |r| r.filters.min_rating = Some(Decimal::new(451, 2)))),
        (None, verdict(as_is, |r| r.filters.min_rating = Some(Decimal::new(450, 2)))),
        (Some(Unfit::BeyondOwnRadius), verdict(|t| profile(t).service_radius_km = 2, any)), // 2.0015 km
        (None, verdict(|t| profile(t).service_radius_km = 3, any)),
        (Some(Unfit::BeyondTravelDistance), verdict(|t| offer(t, |o| o.max_travel_km = 2), any)),
        (Some(Unfit::TooExpensive), verdict(as_is, |r| r.filters.max_price = Some(Money::centavos(79_999)))),
        (None, verdict(as_is, |r| r.filters.max_price = Some(Money::centavos(80_000)))),
        // 2.00 km at 15.00 a kilometre beyond the first: the surcharge counts.
        (
            Some(Unfit::TooExpensive),
            verdict(|t| offer(t, |o| o.base_distance_km = 1), |r| r.filters.max_price = Some(Money::centavos(81_499))),
        ),
        (
            None,
            verdict(|t| offer(t, |o| o.base_distance_km = 1), |r| r.filters.max_price = Some(Money::centavos(81_500))),
        ),
        (Some(Unfit::OffSchedule), verdict(nine_to_five, |r| at(r, 17))),
        (None, verdict(nine_to_five, |r| at(r, 16))),
        (None, verdict(busy(8, 10), any)),
        // An hour's service, its way and the buffer must be over before the next one's way begins.
        (Some(Unfit::Busy), verdict(busy(1, 3), any)),
        (None, verdict(busy(2, 3), any)),
        (Some(Unfit::Busy), verdict(busy(2, 3), |r| r.duration = Duration::from_secs(7_200))),
        (Some(Unfit::Busy), verdict(busy(0, 1), any)),
        (Some(Unfit::Busy), verdict(busy(8, 10), |r| at(r, 9))),
        (Some(Unfit::Busy), verdict(busy(8, 10), |r| at(r, 10))), // no time for the way
        (None, verdict(busy(8, 10), |r| at(r, 11))),
        (Some(Unfit::Busy), verdict(busy(8, 10), |r| at(r, 7))), // no buffer after it
        (None, verdict(without_buffer, |r| at(r, 7))),
    ];
    for (n, (expect, got)) in cases.iter().enumerate() {
        assert_eq!(got, expect, "case {n}");
    }
    let seen: BTreeSet<_> = cases.iter().filter_map(|(expect, _)| *expect).collect();
    assert_eq!(seen.len(), Unfit::ALL.len(), "a reason without a case: {seen:?}");
}

fn busy(from: u64, until: u64) -> impl FnOnce(&mut Therapist) {
    move |t| t.ties = Ties::new(Duty::Idle, [(hour(from), hour(until))], [])
}

fn without_buffer(t: &mut Therapist) {
    busy(8, 10)(t);
    profile(t).buffer_minutes = 0;
}

fn nine_to_five(t: &mut Therapist) {
    profile(t).schedule = Schedule::parse(&json!({"monday": [{"start": "09:00", "end": "17:00"}]})).unwrap();
}

#[test]
fn a_therapist_without_a_fix_is_nowhere_and_put_keeps_the_position() {
    let fleet = Fleet::new();
    let nearest = || fleet.nearest(&request(makati(), Meters::from_km(5.0), 10), NOW).candidates.len();
    fleet.put(willing(1));
    assert_eq!((nearest(), fleet.position(ProviderId(1))), (0, None));
    assert!(fleet.restore_position(ProviderId(1), Fix::new(NOW, makati())));
    fleet.put(willing(1));
    assert_eq!((nearest(), fleet.position(ProviderId(1))), (1, Some((makati(), NOW))));
    let older = Fix::new(NOW.minus(Duration::from_secs(1)), LatLng::new(14.0, 121.0).unwrap());
    fleet.restore_position(ProviderId(1), older);
    assert_eq!(fleet.position(ProviderId(1)), Some((makati(), NOW)), "restoring never moves back");
    fleet.remove(ProviderId(1));
    fleet.put(willing(1));
    assert_eq!((nearest(), fleet.position(ProviderId(1))), (0, None), "who comes back starts anew");
    assert!(
        !fleet.restore_position(ProviderId(2), older) && fleet.apply_fix(ProviderId(2), &older, &any_speed()).is_none()
    );
}

#[test]
fn an_implausible_fix_moves_nobody_in_the_index() {
    let (fleet, limits) = (Fleet::new(), Settings::default().pings);
    fleet.put(willing(1));
    let at = |second: u64, lat: f64| Fix::new(NOW.plus(Duration::from_secs(second)), LatLng::new(lat, 121.02).unwrap());
    let seen_near = |lat: f64| {
        let request = request(LatLng::new(lat, 121.02).unwrap(), Meters::from_km(1.0), 1);
        fleet.nearest(&request, NOW.plus(Duration::from_secs(30))).candidates.len() == 1
    };
    fleet.apply_fix(ProviderId(1), &at(0, 14.5), &limits);
    let outcome = fleet.apply_fix(ProviderId(1), &at(10, 15.5), &limits).unwrap();
    assert_eq!((outcome.counted, outcome.newest, seen_near(14.5), seen_near(15.5)), (false, false, true, false));
    let outcome = fleet.apply_fix(ProviderId(1), &at(20, 15.5), &limits).unwrap();
    assert_eq!((outcome.counted, outcome.newest, seen_near(14.5), seen_near(15.5)), (true, true, false, true));
}

#[test]
fn only_a_new_position_on_the_way_is_told_to_the_customer() {
    let (fleet, limits) = (Fleet::new(), Settings::default().pings);
    fleet.put(willing(1));
    let fix = |second: u64| Fix::new(NOW.plus(Duration::from_secs(second)), makati());
    let told = |second| fleet.apply_fix(ProviderId(1), &fix(second), &limits).unwrap().en_route;
    assert_eq!(told(1), None);
    let booked =
        |to| Duty::Booked { booking: BookingId(4), booking_uuid: Uuid::max(), customer: UserId(9), en_route_to: to };
    assert!(fleet.set_duty(ProviderId(1), booked(None)));
    assert_eq!(told(2), None);
    assert!(fleet.set_duty(ProviderId(1), booked(Some(makati()))));
    assert_eq!(
        told(3),
        Some(Box::new(EnRoute { booking: BookingId(4), booking_uuid: Uuid::max(), destination: makati() }))
    );
    assert_eq!(told(3), None, "a repeated fix");
    assert_eq!(told(2), None, "a late fix");
    assert!(!fleet.set_duty(ProviderId(2), Duty::Idle));
}

#[test]
fn fixes_taken_in_together_do_what_they_do_one_by_one() {
    let (together, alone, limits) = (Fleet::new(), Fleet::new(), Settings::default().pings);
    for id in 0..50 {
        together.put(willing(id));
        alone.put(willing(id));
    }
    let mut rng = StdRng::seed_from_u64(7);
    for round in 0..200 {
        // Unknown ones, the same one several times, late ones, jumps that the next may confirm.
        let fixes: Vec<_> = (0..rng.random_range(0..150))
            .map(|_| {
                let at = NOW.plus(Duration::from_secs(round * 20 + rng.random_range(0..40)));
                let north = f64::from(rng.random_range(0..3)) * 0.5 + rng.random_range(0.0..0.01);
                let place = LatLng::new(14.0 + north, 121.02).unwrap();
                (ProviderId(rng.random_range(0..55)), Fix::new(at, place))
            })
            .collect();
        let expect: Vec<_> = fixes.iter().map(|(id, fix)| alone.apply_fix(*id, fix, &limits)).collect();
        assert_eq!(together.apply_fixes(&fixes, &limits), expect, "round {round}");
        assert_eq!(together.snapshot(), alone.snapshot(), "round {round}");
    }
    let newest = |fleet: &Fleet| fleet.nearest(&request(makati(), Meters::from_km(500.0), 1), NOW).certificate.version;
    assert_eq!(newest(&together), newest(&alone), "each move is a change");
}

#[test]
fn what_is_known_already_changes_nothing() {
    let fleet = Fleet::new();
    let version = || fleet.nearest(&request(makati(), Meters::from_km(5.0), 1), NOW).certificate.version;
    fleet.put(willing(1));
    let first = version();
    fleet.put(willing(1));
    fleet.put_all(vec![willing(1)]);
    assert!(fleet.set_duty(ProviderId(1), Duty::Idle), "known");
    assert_eq!(version(), first, "readers are not disturbed");
    fleet.put(Therapist { total_reviews: 4, ..willing(1) });
    assert!(fleet.set_duty(ProviderId(1), Duty::Offered { until: NOW }));
    assert_eq!(version(), first + 2);
    assert_eq!(fleet.therapist(ProviderId(1)).map(|t| t.total_reviews), Some(4));
}

#[test]
fn the_first_fix_is_public_wherever_it_is() {
    let fleet = Fleet::new();
    let centre = crate::core::geo::public_position(makati()).centre;
    // Where nobody has been, and where the one before him in the slot was.
    for (id, place) in [(1, LatLng::new(0.0, 0.0).unwrap()), (2, makati()), (3, centre)] {
        fleet.put(willing(id));
        fleet.apply_fix(ProviderId(id), &Fix::new(NOW, place), &any_speed());
        let public = Request { precision: Precision::Public { tie_key: 1 }, ..request(place, Meters::from_km(1.0), 1) };
        assert_eq!(fleet.nearest(&public, NOW).candidates.len(), 1, "{place}");
        fleet.remove(ProviderId(id));
    }
}

#[test]
fn those_who_stay_are_known_however_many_come_and_go() {
    let fleet = Fleet::new();
    (0..20).for_each(|id| fleet.put(willing(id)));
    for id in 20..20_000 {
        fleet.put(willing(id));
        assert!(fleet.therapist(ProviderId(id)).is_some());
        fleet.remove(ProviderId(id));
        assert!(fleet.therapist(ProviderId(id)).is_none() && fleet.len() == 20);
    }
    for unknown in [-1, 20, 19_999, i64::MIN, i64::MAX] {
        assert!(!fleet.set_duty(ProviderId(unknown), Duty::Idle), "{unknown}");
    }
    assert!((0..20).all(|id| fleet.therapist(ProviderId(id)).is_some_and(|t| t.provider.0 == id)));
}

#[test]
fn a_position_is_taken_back_only_while_it_is_the_shown_one() {
    let fleet = Fleet::new();
    fleet.put(willing(5));
    let (him, at) = (ProviderId(5), |second: u64, latitude: f64| {
        Fix::new(NOW.plus(Duration::from_secs(second)), LatLng::new(latitude, 121.02).unwrap())
    });
    let shown = |fix: Fix| (fix.place, fix.at);
    let (stored, phantom, newer) = (at(0, 14.5), at(9, 14.6), at(10, 14.6001));
    fleet.restore_position(him, stored);
    fleet.set_duty(him, Duty::Offered { until: NOW });
    assert!(fleet.apply_fix(him, &phantom, &any_speed()).unwrap().newest);
    assert!(!fleet.take_back(him, shown(stored), None), "he has moved on");
    assert!(fleet.take_back(him, shown(phantom), Some(stored)));
    assert_eq!(fleet.position(him), Some(shown(stored)));
    assert_eq!(fleet.therapist(him).unwrap().ties.duty(), Duty::Offered { until: NOW }, "all else is as it was");
    assert!(fleet.apply_fix(him, &newer, &any_speed()).unwrap().newest);
    assert!(!fleet.take_back(him, shown(phantom), Some(stored)));
    assert_eq!(fleet.position(him), Some(shown(newer)));
    assert!(fleet.take_back(him, shown(newer), None));
    assert_eq!((fleet.position(him), fleet.len()), (None, 1));
    assert!(!fleet.take_back(ProviderId(6), shown(newer), None));
}
