//! nearest == brute force.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use super::world::{World, any_speed, offer, request, willing};
use crate::core::fleet::{Fleet, Therapist};
use crate::core::geo::{LatLng, Meters};
use crate::core::ids::{ProviderId, ServiceId};
use crate::core::matching::Precision;
use crate::core::offerings::Offerings;
use crate::core::people::{Gender, GendersServed};
use crate::core::pricing::Offering;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

/// 1,300 worlds of 20 questions with up to 30 changes between them; SPACALL_SEED shifts all seeds.
#[test]
fn nearest_equals_brute_force_everywhere_while_everything_changes() {
    let base: u64 = std::env::var("SPACALL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let (mut cases, mut found, mut full) = (0, 0, 0);
    for seed in base..base + 1_300 {
        let mut world = World::new(seed);
        for question in 0..20 {
            for _ in 0..world.rng.random_range(0..30) {
                world.step();
            }
            let request = world.request();
            let (got, expect) = (world.fleet.nearest(&request, world.now), world.expected(&request));
            let context = || format!("seed {seed}, question {question}, {:?}, {request:?}", world.region);
            assert_eq!(got.candidates, expect.candidates, "{}", context());
            let proven = got.certificate.proven;
            if request.limit > 0 && request.only.is_none() {
                let farthest = got.candidates.last().map_or(Meters::ZERO, |last| last.distance);
                let all = if got.candidates.len() < request.limit { request.radius } else { farthest };
                assert_eq!(proven, all, "proven: {}", context());
            }
            cases += 1;
            found += usize::from(!got.candidates.is_empty());
            full += usize::from(request.limit > 0 && got.candidates.len() == request.limit);
        }
    }
    println!("seeds {base}..{}: {cases} cases, {found} with candidates, {full} with as many as asked", base + 1_300);
    assert!(cases >= 10_000 && found > 10_000 && full > 5_000, "the worlds became too easy: {cases} {found} {full}");
}

#[test]
fn verdicts_name_everybody_in_the_radius_in_order_and_agree_with_nearest() {
    for seed in 10_000..10_200 {
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.step();
        }
        let request = world.request();
        let got: Vec<_> = world.fleet.verdicts(&request, world.now);
        let got: Vec<_> = got.iter().map(|v| (v.therapist.provider, v.place, v.distance, v.unfit.is_none())).collect();
        let expect: Vec<_> =
            world.brute(&request).into_iter().map(|(s, t, fit)| (t.provider, s.place, s.distance, fit)).collect();
        assert_eq!(got, expect, "seed {seed}");
    }
}

#[test]
fn a_snapshot_holds_everybody_by_id() {
    for seed in 20_000..20_050 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        let got: Vec<_> = world.fleet.snapshot().into_iter().map(|(t, at)| ((*t).clone(), at)).collect();
        let expect: Vec<_> =
            world.model.values().map(|(t, track)| (t.clone(), track.last().map(|f| (f.place, f.at)))).collect();
        assert_eq!(got, expect, "seed {seed}");
        assert_eq!(world.fleet.len(), world.model.len());
        assert!(world.fleet.providers().iter().eq(world.model.keys()), "seed {seed}");
    }
}

#[test]
fn ties_go_by_id_or_by_the_secret_key_when_public() {
    let (fleet, now) = (Fleet::new(), Timestamp::from_secs(1_795_000_000));
    let place = LatLng::new(14.55, 121.02).unwrap();
    for id in (0..50).rev() {
        fleet.put(willing(id));
        fleet.apply_fix(ProviderId(id), &Fix::new(now, place), &any_speed());
    }
    let ids = |precision| {
        let request = crate::core::matching::Request { precision, ..request(place, Meters::new(1_000.0), 10) };
        let answer = fleet.nearest(&request, now);
        answer.candidates.iter().map(|c| c.therapist.provider.0).collect::<Vec<_>>()
    };
    assert_eq!(ids(Precision::Exact), (0..10).collect::<Vec<_>>());
    let (one, two) = (ids(Precision::Public { tie_key: 1 }), ids(Precision::Public { tie_key: 2 }));
    assert_eq!(one, ids(Precision::Public { tie_key: 1 }), "the same key, the same order");
    assert_ne!(one, two, "another key, another order");
    assert!(one.iter().chain(&two).any(|id| *id >= 10), "the order does not follow the ids");
}

/// No series of questions may tell two positions in one cell apart.
#[test]
fn public_answers_do_not_change_while_a_therapist_moves_within_his_cell() {
    let now = Timestamp::from_secs(1_795_000_000);
    let fleet = Fleet::new();
    let centre = crate::core::geo::public_position(LatLng::new(14.55, 121.02).unwrap()).centre;
    for id in 0..3 {
        fleet.put(willing(id));
    }
    let around = |dlat: i32, dlng: i32| LatLng::from_e7(centre.lat_e7() + dlat, centre.lng_e7() + dlng).unwrap();
    let mut answers = BTreeSet::new();
    for step in 0..40 {
        let at = now.plus(Duration::from_secs(step));
        let place = around((step as i32 - 20) * 400, (20 - step as i32) * 300);
        fleet.apply_fix(ProviderId(0), &Fix::new(at, place), &any_speed());
        fleet.apply_fix(ProviderId(1), &Fix::new(at, around(20_000, 0)), &any_speed());
        for (place, radius) in [(around(2_000, 2_000), 5_000.0), (around(9_000, 0), 150.0), (around(0, 9_000), 90.0)] {
            let mut request = request(place, Meters::new(radius), 1);
            request.precision = Precision::Public { tie_key: 5 };
            let answer = fleet.nearest(&request, at);
            let all: Vec<_> =
                answer.candidates.iter().map(|c| (c.therapist.provider, c.place, c.distance.get())).collect();
            answers.insert(format!("{place} {all:?} {}", answer.certificate.examined));
        }
    }
    assert_eq!(answers.len(), 3, "{answers:#?}");
}

/// Enough people for chains of chunks, and for windows that look blocks up one by one.
#[test]
fn a_crowded_city_is_searched_exactly() {
    let now = Timestamp::from_secs(1_795_000_000);
    let mut world = World::new(0);
    world.fleet = Fleet::new();
    world.model.clear();
    let mut fixes = Vec::new();
    for id in 0..6_000 {
        let mut therapist = willing(id);
        offer(&mut therapist, |offering| offering.price = crate::core::money::Money::centavos(50_000 + id % 1_000));
        let (dlat, dlng) = (world.rng.random_range(-600_000..600_000), world.rng.random_range(-600_000..600_000));
        let place = LatLng::from_e7(145_500_000 + dlat, 1_210_200_000 + dlng).unwrap();
        let fix = Fix::new(now, place);
        fixes.push((therapist.provider, fix));
        world.model.insert(therapist.provider, (therapist, crate::core::track::Track::of(Some((&fix).into()), None)));
    }
    world.now = now;
    // As at start: all at once, and twice, for the second time changes nothing.
    for _ in 0..2 {
        world.fleet.put_all(world.model.values().map(|(therapist, _)| therapist.clone()).collect());
        world.fleet.restore_all(&fixes);
    }
    for case in 0..150 {
        let place = world.region.place(&mut world.rng);
        let mut request = request(place, Meters::new(world.rng.random_range(500.0..20_000.0)), 10);
        if case % 3 == 0 {
            // One in a hundred, by a filter that the sieve does not know.
            request.filters.max_price = Some(crate::core::money::Money::centavos(50_009));
        }
        if case % 2 == 0 {
            request.precision = Precision::Public { tie_key: case };
        }
        let (got, expect) = (world.fleet.nearest(&request, now), world.expected(&request));
        assert_eq!(got.candidates, expect.candidates, "case {case}");
        let inside = place.distance(LatLng::new(14.55, 121.02).unwrap()) < Meters::from_km(4.0);
        if inside && request.filters.max_price.is_none() && request.precision == Precision::Exact {
            assert!(got.certificate.examined < 1_500, "case {case}: {} of 6000 looked at", got.certificate.examined);
        }
    }
}

/// More kinds of therapists than there are classes for: whoever has none is not taken for somebody who has passed the sieve.
#[test]
fn whoever_is_of_no_class_is_judged_in_full() {
    let (fleet, now) = (Fleet::new(), Timestamp::from_secs(1_795_000_000));
    let place = LatLng::new(14.55, 121.02).unwrap();
    let unfit: [fn(&mut Therapist); 5] = [
        |t| t.available = false,
        |t| Arc::make_mut(&mut t.profile).verified = false,
        |t| Arc::make_mut(&mut t.profile).accepts_home_service = false,
        |t| Arc::make_mut(&mut t.profile).accepts_genders = GendersServed::only([Gender::Female]),
        |t| t.services = offering_only(t, &[20]),
    ];
    for id in 0..64 {
        let mut kind = willing(id);
        let others: Vec<i64> = (0..6).filter(|bit| id >> bit & 1 == 1).map(|bit| bit + 2).collect();
        kind.services = offering_only(&kind, &[&[1], &others[..]].concat());
        if id >= 50 {
            unfit[id as usize % unfit.len()](&mut kind);
        }
        fleet.put(kind);
        fleet.apply_fix(ProviderId(id), &Fix::new(now, place), &any_speed());
    }
    for precision in [Precision::Exact, Precision::Public { tie_key: 1 }] {
        let request = crate::core::matching::Request { precision, ..request(place, Meters::new(1_000.0), 64) };
        let found: BTreeSet<_> = fleet.ranking(&request, now).into_iter().map(|(provider, _)| provider.0).collect();
        assert_eq!(found, (0..50).collect(), "{precision:?}");
        for only in 50..64 {
            let request = crate::core::matching::Request { only: Some(ProviderId(only)), ..request.clone() };
            assert_eq!(fleet.nearest(&request, now).candidates, [], "{only}, {precision:?}");
        }
    }
}

/// What he offers, but of these services.
fn offering_only(t: &Therapist, services: &[i64]) -> Offerings {
    let first = t.services.iter().next().expect("he offers something");
    let all = services.iter().map(|service| Offering { service: ServiceId(*service), ..first });
    Offerings::new(all).expect("as before")
}
