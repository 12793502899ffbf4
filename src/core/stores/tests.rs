//! The R-tree against comparing everybody, everywhere on Earth.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::*;
use crate::core::schedule::Schedule;

const SEED: u64 = 20_261_122;

fn place(latitude: f64, longitude: f64) -> LatLng {
    let wrapped = (longitude + 540.0).rem_euclid(360.0) - 180.0;
    LatLng::new(latitude.clamp(-90.0, 90.0), wrapped).expect("a place")
}

/// Where a world's stores are: each kind of place at which a search could go wrong.
#[derive(Clone, Copy, Debug)]
enum Region {
    Earth,
    Manila,
    Antimeridian,
    NorthPole,
    SouthPole,
    OnePlace,
    AFewMillimetres,
}

impl Region {
    const ALL: [Self; 7] = [
        Self::Earth,
        Self::Manila,
        Self::Antimeridian,
        Self::NorthPole,
        Self::SouthPole,
        Self::OnePlace,
        Self::AFewMillimetres,
    ];

    fn draw(self, rng: &mut StdRng) -> LatLng {
        match self {
            // Even over the sphere.
            Self::Earth => {
                place(rng.random_range(-1.0_f64..=1.0).asin().to_degrees(), rng.random_range(-180.0..=180.0))
            }
            Self::Manila => place(rng.random_range(14.3..14.8), rng.random_range(120.9..121.2)),
            Self::Antimeridian => place(rng.random_range(-60.0..60.0), 180.0 + rng.random_range(-0.5..0.5)),
            Self::NorthPole => place(90.0 - rng.random_range(0.0..0.3_f64).powi(2), rng.random_range(-180.0..180.0)),
            Self::SouthPole => place(-90.0 + rng.random_range(0.0..0.3_f64).powi(2), rng.random_range(-180.0..180.0)),
            Self::OnePlace => place(14.55, 121.02),
            Self::AFewMillimetres => {
                let mut near = |e7: i32| e7 + rng.random_range(-3..=3);
                LatLng::from_e7(near(145_500_000), near(1_210_200_000)).expect("a place")
            }
        }
    }
}

fn antipode(of: LatLng) -> LatLng {
    place(-of.latitude(), of.longitude() + 180.0)
}

fn hours(rng: &mut StdRng) -> Option<Schedule> {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let mut days = serde_json::Map::new();
    for day in DAYS {
        let clock = |m: u32| format!("{:02}:{:02}", m % 1_440 / 60, m % 60);
        let (open, long) = (rng.random_range(0..1_440), rng.random_range(1..1_440));
        let closed = rng.random_bool(0.2);
        if rng.random_bool(0.8) {
            days.insert(day.to_owned(), json!({"open": clock(open), "close": clock(open + long), "closed": closed}));
        }
    }
    hours::parse(&serde_json::Value::Object(days)).expect("hours")
}

fn store(id: i64, place: LatLng, rng: &mut StdRng) -> Store {
    Store {
        provider: ProviderId(id),
        uuid: Uuid::from_u128(id as u128),
        name: format!("Store {id}"),
        address: Address::default(),
        place,
        phone: None,
        average_rating: Decimal::new(rng.random_range(300..=500), 2),
        total_reviews: 1,
        amenities: ["WiFi", "Sauna", "Shower"]
            .iter()
            .filter(|_| rng.random_bool(0.7))
            .map(ToString::to_string)
            .collect(),
        hours: if rng.random_bool(0.9) { hours(rng) } else { None },
        services: (1..=3)
            .filter(|_| rng.random_bool(0.7))
            .map(|service| InStore { service: ServiceId(service), price: Money::centavos(service * 10_000 + id) })
            .collect(),
        blocked: (1..=3).filter(|_| rng.random_bool(0.2)).map(UserId).collect(),
        verified: rng.random_bool(0.9),
        active: rng.random_bool(0.9),
        accepts_store_service: rng.random_bool(0.9),
    }
}

fn question(place: LatLng, rng: &mut StdRng) -> Question {
    let radius = *[0.0, 0.01, 5.0, 5_000.0, 50_000.0, 2e6, 2.1e7].choose(rng).expect("some");
    let when = Timestamp::from_secs(1_795_363_200 + rng.random_range(-700_000..700_000));
    Question {
        customer: Some(UserId(rng.random_range(1..=4))).filter(|user| user.0 < 4),
        place,
        radius: Meters::new(radius),
        limit: *[1, 2, 5, 10, 50, 1_000].choose(rng).expect("some"),
        service: rng.random_bool(0.5).then(|| ServiceId(rng.random_range(1..=3))),
        open: (0..rng.random_range(0..=2))
            .map(|hour| when.plus(std::time::Duration::from_secs(hour * 3_600)))
            .collect(),
        amenities: if rng.random_bool(0.3) { vec!["wifi".to_owned()] } else { Vec::new() },
        min_rating: rng.random_bool(0.3).then(|| Decimal::new(400, 2)),
    }
}

/// The definition.
fn brute_force(stores: &[Store], q: &Question) -> Vec<(Meters, ProviderId, Option<Money>)> {
    let mut all: Vec<_> = stores
        .iter()
        .filter(|s| s.verified && s.active)
        .filter(|s| q.service.is_none() || s.accepts_store_service)
        .filter(|s| q.service.is_none_or(|wanted| s.services.iter().any(|o| o.service == wanted)))
        .filter(|s| !q.customer.is_some_and(|who| s.blocked.contains(&who)))
        .filter(|s| q.open.iter().all(|at| s.hours.as_ref().is_some_and(|h| h.covers(*at, std::time::Duration::ZERO))))
        .filter(|s| q.amenities.is_empty() || s.amenities.contains(&"WiFi".to_owned()))
        .filter(|s| q.min_rating.is_none_or(|least| s.average_rating >= least))
        .map(|s| {
            let price = s.services.iter().find(|o| Some(o.service) == q.service).map(|o| o.price);
            (s.place.distance(q.place), s.provider, price)
        })
        .filter(|(distance, ..)| *distance <= q.radius)
        .collect();
    all.sort();
    all.truncate(q.limit);
    all
}

fn answered(stores: &Stores, q: &Question) -> Vec<(Meters, ProviderId, Option<Money>)> {
    stores.nearest(q).found.iter().map(|f| (f.distance, f.store.provider, f.price)).collect()
}

#[test]
fn the_answer_is_what_comparing_all_of_them_gives_everywhere_on_earth() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut answers = 0;
    for world in 0..700 {
        let region = Region::ALL[world % Region::ALL.len()];
        let size = *[0, 1, 7, 60, 300].choose(&mut rng).expect("some");
        let stores: Vec<Store> = (1..=size)
            .map(|id| {
                let at = if rng.random_bool(0.1) { Region::Earth } else { region }.draw(&mut rng);
                store(id, at, &mut rng)
            })
            .collect();
        let index = Stores::new(stores.clone());
        assert_eq!(index.len(), stores.len());
        for _ in 0..15 {
            let mut from = region.draw(&mut rng);
            if rng.random_bool(0.2) {
                // Where the metric itself is at its coarsest.
                from = antipode(from);
            }
            let question = question(from, &mut rng);
            let expected = brute_force(&stores, &question);
            answers += expected.len();
            assert_eq!(answered(&index, &question), expected, "seed {SEED}, world {world}, {region:?}: {question:?}");
        }
    }
    assert!(answers > 20_000, "the questions became too easy: {answers}");
}

#[test]
fn the_slack_is_more_than_rounding_explains() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut widest: f64 = 0.0;
    for i in 0..200_000 {
        let region = Region::ALL[i % Region::ALL.len()];
        let (a, mut b) = (region.draw(&mut rng), region.draw(&mut rng));
        if i % 3 == 0 {
            b = antipode(b);
        }
        let (p, q) = (unit(a), unit(b));
        let chord_squared = (0..3).map(|i| (p[i] - q[i]).powi(2)).sum();
        widest = widest.max((haversine_of_chord(chord_squared) - haversine_of(a.distance(b))).abs());
    }
    assert!(widest < SLACK / 5.0, "widest {widest:e}");
    assert!(widest > SLACK / 1_000.0, "widest {widest:e}: the slack is of another order than what it bounds");
}

#[test]
fn a_nearby_search_looks_at_few_of_many() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let stores = (1..=5_000).map(|id| {
        let at = Region::Manila.draw(&mut rng);
        Store { verified: true, active: true, ..store(id, at, &mut rng) }
    });
    let stores = Stores::new(stores.collect::<Vec<_>>());
    let question = Question {
        customer: None,
        service: None,
        open: Vec::new(),
        amenities: Vec::new(),
        min_rating: None,
        limit: 10,
        radius: Meters::from_km(5.0),
        ..question(place(14.55, 121.02), &mut rng)
    };
    let answer = stores.nearest(&question);
    assert_eq!(answer.found.len(), 10);
    assert!(answer.considered <= 11, "{}", answer.considered);
}

#[test]
fn a_change_replaces_adds_and_removes_and_what_is_the_same_changes_nothing() {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut make = |id| store(id, place(14.55, 121.0 + id as f64 / 100.0), &mut rng);
    let (one, two, three) = (make(1), make(2), make(3));
    let before = Stores::new([one.clone(), two.clone()]);
    assert!(before.with(&[ProviderId(1)], vec![one.clone()]).is_none());
    assert!(before.with(&[ProviderId(9)], Vec::new()).is_none(), "a therapist's id, say");
    let moved = Store { place: place(0.0, 0.0), verified: true, active: true, ..one };
    let ids = [1, 2, 3].map(ProviderId);
    let after = before.with(&ids, vec![moved.clone(), three.clone()]).expect("changes");
    assert_eq!((after.get(ids[0]), after.get(ids[1]), after.get(ids[2])), (Some(&moved), None, Some(&three)));
    let here = Question {
        customer: None,
        radius: Meters::ZERO,
        limit: 1,
        service: None,
        open: Vec::new(),
        amenities: Vec::new(),
        min_rating: None,
        place: moved.place,
    };
    assert_eq!(answered(&after, &here), [(Meters::ZERO, ids[0], None)]);
    assert_eq!(before.len(), 2, "who holds the old ones sees them as they were");
}
