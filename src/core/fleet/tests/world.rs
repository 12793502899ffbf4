//! Seeded worlds of therapists, kept twice: in the index, and in a plain map that brute force reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::core::fleet::{Duty, Fleet, Profile, Therapist, Ties};
use crate::core::geo::{LatLng, Meters, public_position};
use crate::core::hundredths::{Percent, Rating};
use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::matching::{
    Answer, Candidate, Certificate, Filters, Precision, Request, Stand, When, judge, tie_rank,
};
use crate::core::money::Money;
use crate::core::offerings::Offerings;
use crate::core::people::{Gender, GendersServed};
use crate::core::pricing::{Offering, surcharge};
use crate::core::schedule::Schedule;
use crate::core::settings::{PingLimits, Settings};
use crate::core::time::Timestamp;
use crate::core::track::{Fix, Track};

/// Nothing is too fast: worlds jump about, plausibility is tested elsewhere.
pub(super) fn any_speed() -> PingLimits {
    PingLimits { max_speed_kmh: 10_000_000.0, ..Settings::default().pings }
}

/// A therapist who may take anything anywhere.
pub(super) fn willing(id: i64) -> Therapist {
    Therapist {
        services: Offerings::new([Offering {
            service: ServiceId(1),
            price: Money::centavos(80_000),
            base_distance_km: 5,
            per_km_surcharge: Money::centavos(1_500),
            max_travel_km: 50_000,
            home: true,
            store: false,
        }])
        .unwrap(),
        first_name: format!("T{id}").into(),
        profile: Arc::new(Profile {
            specializations: Arc::from(["Swedish".into()]),
            languages: Arc::from(["en".into(), "fil".into()]),
            schedule: Schedule::always(),
            buffer_minutes: 15,
            service_radius_km: 50_000,
            commission_rate: Percent::from_hundredths(1_500).unwrap(),
            accepts_genders: GendersServed::ALL,
            verified: true,
            active: true,
            accepts_home_service: true,
        }),
        uuid: Uuid::from_u128(id as u128),
        total_reviews: 3,
        average_rating: rating(450),
        gender: Some(Gender::Female),
        available: true,
        ties: Ties::NONE,
        base_location: None,
        provider: ProviderId(id),
        user: UserId(1_000_000 + id),
    }
}

/// In hundredths.
pub(super) fn rating(hundredths: u16) -> Rating {
    Rating::from_hundredths(hundredths).unwrap()
}

/// To be changed.
pub(super) fn profile(t: &mut Therapist) -> &mut Profile {
    Arc::make_mut(&mut t.profile)
}

/// Changes the one thing that is offered.
pub(super) fn offer(t: &mut Therapist, change: impl FnOnce(&mut Offering)) {
    let mut offering = t.services.iter().next().unwrap();
    change(&mut offering);
    t.services = Offerings::new([offering]).unwrap();
}

/// A request for anybody within `radius`.
pub(super) fn request(place: LatLng, radius: Meters, limit: usize) -> Request {
    Request {
        service: ServiceId(1),
        place,
        when: When::Now,
        duration: Duration::from_secs(3_600),
        customer: UserId(1),
        customer_gender: Some(Gender::Male),
        radius,
        stale_after: Duration::from_secs(600),
        limit,
        filters: Filters::default(),
        exclude: Default::default(),
        only: None,
        precision: Precision::Exact,
    }
}

/// Where a world's people are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Region {
    City,
    Street,
    OnePlace,
    FewPlaces,
    Antimeridian,
    NorthPole,
    SouthPole,
    Equator,
    CellBorders,
    Globe,
    Mixed,
}

impl Region {
    const ALL: [Self; 11] = [
        Self::City,
        Self::Street,
        Self::OnePlace,
        Self::FewPlaces,
        Self::Antimeridian,
        Self::NorthPole,
        Self::SouthPole,
        Self::Equator,
        Self::CellBorders,
        Self::Globe,
        Self::Mixed,
    ];

    pub(super) fn place(self, rng: &mut StdRng) -> LatLng {
        let e7 = |lat: i64, lng: i64| {
            let lng = (lng + 1_800_000_000).rem_euclid(3_600_000_000) - 1_800_000_000;
            LatLng::from_e7(lat.clamp(-900_000_000, 900_000_000) as i32, lng as i32).unwrap()
        };
        // Far from the middle is rarer than near it: distances of every order of magnitude.
        match self {
            Self::City => e7(145_500_000 + near(rng, 1.5e6), 1_210_200_000 + near(rng, 1.5e6)),
            Self::Street => e7(145_500_000 + near(rng, 5e3), 1_210_200_000 + near(rng, 5e3)),
            Self::OnePlace => e7(145_500_000, 1_210_200_000),
            Self::FewPlaces => {
                e7(145_500_000 + rng.random_range(0..3) * 9_000, 1_210_200_000 + rng.random_range(0..3) * 9_000)
            }
            Self::Antimeridian => {
                let lng = if rng.random_bool(0.1) { 0 } else { near(rng, 3e6) };
                if rng.random_bool(0.05) {
                    return LatLng::from_e7(-170_000_000, [-1_800_000_000, 1_800_000_000][rng.random_range(0..2)])
                        .unwrap();
                }
                e7(-170_000_000 + rng.random_range(-2_000_000..2_000_000), 1_800_000_000 + lng)
            }
            Self::NorthPole | Self::SouthPole => {
                let from_pole = if rng.random_bool(0.05) { 0 } else { near(rng, 1e8).abs() };
                let lat = 900_000_000 - from_pole;
                let lng = rng.random_range(-1_800_000_000..1_800_000_000);
                e7(if matches!(self, Self::NorthPole) { lat } else { -lat }, lng)
            }
            Self::Equator => e7(near(rng, 1e7), near(rng, 1e7)),
            Self::CellBorders => {
                let rows = rng.random_range(23_200..23_260);
                let lat = rows * 45_000 - 900_000_000 + rng.random_range(-1..=1);
                // There columns are 46,875 wide.
                e7(lat, rng.random_range(64_200..64_260) * 46_875 - 1_800_000_000 + rng.random_range(-1..=1))
            }
            Self::Globe => {
                let sine: f64 = rng.random_range(-1.0..1.0);
                e7((sine.asin().to_degrees() * 1e7) as i64, rng.random_range(-1_800_000_000..1_800_000_000))
            }
            Self::Mixed => Self::ALL[rng.random_range(0..10)].place(rng),
        }
    }
}

/// Up to `most` to either side; far is rarer than near: distances of every order of magnitude.
fn near(rng: &mut StdRng, most: f64) -> i64 {
    let far = 10f64.powf(rng.random_range(0.0..most.log10())) as i64;
    if rng.random_bool(0.5) { far } else { -far }
}

/// A fleet and what it should hold.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) region: Region,
    pub(super) rng: StdRng,
    pub(super) fleet: Fleet,
    pub(super) model: BTreeMap<ProviderId, (Therapist, Track)>,
    pub(super) now: Timestamp,
    people: i64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let region = Region::ALL[(seed % 11) as usize];
        let people = [1, 4, 30, 120][rng.random_range(0..4)];
        let now = Timestamp::from_secs(1_795_000_000);
        let mut world = Self { seed, region, rng, fleet: Fleet::new(), model: BTreeMap::new(), now, people };
        for _ in 0..people * 3 {
            world.step();
        }
        world
    }

    fn flip(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())].clone()
    }

    fn duty(&mut self) -> Duty {
        let until = Timestamp::from_micros(self.now.micros() + self.rng.random_range(-20_000_000..20_000_000));
        let customer = UserId(1);
        let booking = Duty::Booked { booking: BookingId(1), booking_uuid: Uuid::nil(), customer, en_route_to: None };
        self.pick(&[Duty::Idle, Duty::Idle, Duty::Idle, Duty::Offered { until }, booking])
    }

    fn therapist(&mut self, id: i64) -> Therapist {
        let mut t = willing(id);
        t.base_location = if self.flip(0.8) { Some(self.region.place(&mut self.rng)) } else { None };
        // Half take anything: then distance decides.
        if self.flip(0.5) {
            return t;
        }
        t.gender =
            self.pick(&[None, Some(Gender::Female), Some(Gender::Female), Some(Gender::Male), Some(Gender::Other)]);
        t.average_rating = rating(self.rng.random_range(0..=500));
        let words = |of: &[&str]| of.iter().map(|&word| word.to_owned()).collect::<Arc<[String]>>();
        let profile = profile(&mut t);
        profile.languages = self.pick(&[words(&[]), words(&["en"]), words(&["EN", "fil"]), words(&["Español"])]);
        profile.specializations = self.pick(&[words(&[]), words(&["Swedish"]), words(&["shiatsu", "ΜΑΣΣ"])]);
        profile.service_radius_km = self.pick(&[0, 5, 300, 50_000, 50_000]);
        let (all, women) = (GendersServed::ALL, GendersServed::only([Gender::Female]));
        profile.accepts_genders = self.pick(&[all, all, women, GendersServed::only([Gender::Male, Gender::Other])]);
        profile.verified = self.flip(0.95);
        profile.active = self.flip(0.95);
        profile.accepts_home_service = self.flip(0.95);
        offer(&mut t, |offering| {
            offering.service = ServiceId(self.pick(&[1, 1, 1, 2, 33]));
            offering.home = self.flip(0.95);
            offering.max_travel_km = self.pick(&[3, 50_000, 50_000, 50_000]);
            offering.price = Money::centavos(self.rng.random_range(50_000..150_000));
        });
        t.available = self.flip(0.9);
        let blocked = if self.flip(0.05) { vec![UserId(7), UserId(1)] } else { vec![UserId(7)] };
        let duty = self.duty();
        let from = self.now.plus(Duration::from_secs(self.rng.random_range(0..7_200)));
        let busy = if self.flip(0.2) { vec![(from, from.plus(Duration::from_secs(3_600)))] } else { Vec::new() };
        t.ties = Ties::new(duty, busy, blocked);
        t
    }

    /// One change of anything, to both.
    pub(super) fn step(&mut self) {
        self.now = self.now.plus(Duration::from_millis(self.rng.random_range(0..4_000)));
        let provider = ProviderId(self.rng.random_range(0..self.people));
        match self.rng.random_range(0..100) {
            0..=2 => {
                self.fleet.remove(provider);
                self.model.remove(&provider);
            }
            3..=29 => {
                let therapist = self.therapist(provider.0);
                self.fleet.put(therapist.clone());
                match self.model.get_mut(&provider) {
                    Some((known, _)) => *known = therapist,
                    None => drop(self.model.insert(provider, (therapist, Track::default()))),
                }
            }
            30..=39 => {
                let duty = self.duty();
                let known = self.model.get_mut(&provider).map(|(t, _)| t.ties.set_duty(duty)).is_some();
                assert_eq!(self.fleet.set_duty(provider, duty), known);
            }
            _ => {
                let place = self.place_near(provider);
                let late = if self.flip(0.1) { self.rng.random_range(0..900) } else { 0 };
                let fix = Fix::new(self.now.minus(Duration::from_secs(late)), place);
                let expect = self.model.get_mut(&provider).map(|(_, track)| track.apply(&fix, &any_speed()));
                let got = self.fleet.apply_fix(provider, &fix, &any_speed());
                assert_eq!(
                    got.map(|o| (o.counted, o.newest)),
                    expect.map(|a| (a.counted, a.newest)),
                    "seed {}",
                    self.seed
                );
            }
        }
    }

    /// A few metres on, or somewhere else.
    fn place_near(&mut self, provider: ProviderId) -> LatLng {
        let last = self.model.get(&provider).and_then(|(_, track)| track.last()).map(|fix| fix.place);
        match last {
            Some(last) if self.rng.random_bool(0.6) && !matches!(self.region, Region::OnePlace | Region::FewPlaces) => {
                let mut step = |at: i32| at + self.rng.random_range(-5_000..=5_000);
                LatLng::from_e7(step(last.lat_e7()), step(last.lng_e7())).unwrap_or(last)
            }
            _ => self.region.place(&mut self.rng),
        }
    }

    pub(super) fn request(&mut self) -> Request {
        let someone = self.model.values().filter_map(|(_, track)| track.last()).map(|fix| fix.place).next();
        let place = match (self.rng.random_range(0..10), someone) {
            (0, Some(place)) => place,
            (1, _) => Region::Globe.place(&mut self.rng),
            (2, _) => Region::Mixed.place(&mut self.rng),
            _ => self.region.place(&mut self.rng),
        };
        let radius = match self.rng.random_range(0..10) {
            0 => 0.0,
            1..=4 => 1e9,
            5 => self.rng.random_range(14_000_000.0..20_100_000.0),
            _ => 10f64.powf(self.rng.random_range(0.0..7.3)),
        };
        let limit = self.pick(&[1, 1, 1, 2, 2, 3, 5, 10, 10, 50, 1_000, usize::MAX, 0]);
        let mut r = request(place, Meters::new(radius), limit);
        if self.flip(0.4) {
            let tie_key = self.rng.random();
            r.precision = Precision::Public { tie_key };
        }
        if self.flip(0.4) {
            let start = self.now.plus(Duration::from_secs(self.rng.random_range(0..9_000)));
            r.when = When::At { start };
        }
        if self.flip(0.5) {
            return r;
        }
        r.customer_gender = self.pick(&[None, Some(Gender::Female), Some(Gender::Male)]);
        r.customer = UserId(self.pick(&[1, 2, 1_000_000]));
        r.service = ServiceId(self.pick(&[1, 1, 1, 2, 33]));
        if self.flip(0.4) {
            r.filters = Filters {
                gender: self.pick(&[None, None, Some(Gender::Female), Some(Gender::Male)]),
                language: self.pick(&[None, None, Some("En".into()), Some("ESPAÑOL".into())]),
                specialization: self.pick(&[None, None, Some("SHIATSU".into()), Some("μασς".into())]),
                min_rating: self.pick(&[None, Some(Decimal::new(3_005, 3)), Some(Decimal::from(4))]),
                max_price: self.pick(&[None, Some(Money::centavos(100_000))]),
            };
        }
        for _ in 0..self.pick(&[0, 0, 3]) {
            r.exclude.insert(ProviderId(self.rng.random_range(0..self.people)));
        }
        if self.flip(0.03) {
            r.only = Some(ProviderId(self.rng.random_range(0..self.people)));
        }
        r
    }

    /// Everybody in the radius as brute force sees them, in order, with the judgement.
    pub(super) fn brute(&self, r: &Request) -> Vec<(Stand, &Therapist, bool)> {
        let stand = |t: &Therapist, track: &Track| {
            let place = match r.when {
                When::Now => track.last()?.place,
                When::At { .. } => t.base_location?,
            };
            let fix_at = if r.when == When::Now { track.last().map(|fix| fix.at) } else { None };
            let public = matches!(r.precision, Precision::Public { .. });
            let place = if public { public_position(place).centre } else { place };
            Some(Stand { place, fix_at, distance: place.distance(r.place) }).filter(|s| s.distance <= r.radius)
        };
        let mut all: Vec<_> = self
            .model
            .values()
            .filter_map(|(t, track)| Some((stand(t, track)?, t)))
            .map(|(stand, t)| (stand, t, judge(t, &stand, r, self.now).is_ok()))
            .collect();
        all.sort_by_key(|(stand, t, _)| (stand.distance, tie_rank(r.precision, t.provider), t.provider));
        all
    }

    /// What [`Fleet::nearest`] must answer, but for the certificate.
    pub(super) fn expected(&self, r: &Request) -> Answer {
        let all = self.brute(r);
        let eligible: Vec<_> = all.iter().filter(|(_, _, fit)| *fit).collect();
        let candidates: Vec<Candidate> = eligible
            .iter()
            .take(r.limit)
            .map(|(stand, t, _)| {
                let offering = t.services.iter().find(|o| o.service == r.service).unwrap();
                Candidate {
                    therapist: (*t).clone().into(),
                    place: stand.place,
                    fix_age: stand.fix_at.map(|at| self.now.since(at)),
                    distance: stand.distance,
                    price: offering.price,
                    surcharge: surcharge(&offering, stand.distance),
                    public: match r.when {
                        When::Now => public_position(self.model[&t.provider].1.last().unwrap().place),
                        When::At { .. } => public_position(t.base_location.unwrap()),
                    },
                }
            })
            .collect();
        Answer { candidates, certificate: Certificate::default() }
    }
}
