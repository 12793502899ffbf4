//! How fast dispatch decides, without a database: `cargo bench --bench dispatch`.
//!
//! *Bookings*: request, matching in the live index of 100,000 therapists, offer, decline, offer, accept, through the pure
//! machine. *Matching*: a window of 1,000 bookings and 5,000 therapists, 50 edges a booking.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spacall::cities::{Places, metro_manila};
use spacall::clock;
use spacall::core::assignment::{Edge, assign};
use spacall::core::dispatch::{Dispatch, Effect, Found, Input, Job, Merit};
use spacall::core::fleet::{Duty, Fleet, Therapist};
use spacall::core::geo::{LatLng, Meters};
use spacall::core::hundredths::Rating;
use spacall::core::ids::{BookingId, OfferId, ProviderId, ServiceId, UserId};
use spacall::core::matching::{Filters, Precision, Request, When};
use spacall::core::money::Money;
use spacall::core::offerings::Offerings;
use spacall::core::pricing::Offering;
use spacall::core::settings::Settings;
use spacall::core::time::Timestamp;
use spacall::core::track::Fix;
use spacall::core::travel::travel_time_over;

const THERAPISTS: i64 = 100_000;
const BOOKINGS: i64 = 50_000;
const START: Timestamp = Timestamp::from_secs(1_795_000_000);

fn main() {
    bookings();
    matching("ample", 5_000, 20_000.0);
    matching("scarce", 700, 20_000.0);
    matching("ample, all bookings in a tenth of the town's width", 5_000, 2_000.0);
}

fn bookings() {
    let places = Places::new(metro_manila()).expect("the built-in cities are inhabited");
    let mut rng = StdRng::seed_from_u64(1);
    let fleet = Fleet::new();
    fleet.put_all((1..=THERAPISTS).map(|n| therapist(ProviderId(n))).collect());
    let fixes: Vec<_> = (1..=THERAPISTS).map(|n| (ProviderId(n), Fix::new(START, places.draw(&mut rng).1))).collect();
    fleet.restore_all(&fixes);
    let wishes: Vec<_> = (0..BOOKINGS).map(|_| places.draw(&mut rng).1).collect();
    let mut desk = Desk { machine: Dispatch::new(), fleet, now: START, offers: 0, declined: false, accepted: 0 };
    let began = clock::monotonic();
    for (n, &place) in wishes.iter().enumerate() {
        desk.book(BookingId(n as i64 + 1), place);
    }
    let took = began.elapsed().as_secs_f64();
    assert_eq!(desk.accepted, BOOKINGS);
    println!(
        "whole bookings, {THERAPISTS} therapists: {:.0}/s, {:.1} us each",
        BOOKINGS as f64 / took,
        took * 1e6 / BOOKINGS as f64
    );
}

struct Desk {
    machine: Dispatch,
    fleet: Fleet,
    now: Timestamp,
    offers: i64,
    declined: bool,
    accepted: i64,
}

impl Desk {
    /// One booking from request to accept, declined once on the way; then its therapist is free again.
    fn book(&mut self, booking: BookingId, place: LatLng) {
        self.now = self.now.plus(Duration::from_millis(10));
        self.declined = false;
        let rules = Settings::default().dispatch.rules("", None, Meters::from_km(20.0));
        let deadline = self.now.plus(Duration::from_secs(300));
        let excluded = Default::default();
        let job = Job {
            booking,
            created_at: self.now,
            deadline,
            scheduled: false,
            chosen: None,
            rules,
            excluded,
            silent: false,
            round: 1,
        };
        self.machine.handle(Input::Wanted { job, live: Vec::new() }, self.now);
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::FindCandidates { ask, radius, exclude, .. } => {
                    let answer = self.fleet.nearest(&request(place, radius, exclude), self.now);
                    let list = answer.candidates.iter().map(|c| {
                        let travel_ms = travel_time_over(c.distance, self.now).as_millis() as u32;
                        let merit = Merit { travel_ms, ..Merit::default() };
                        Found { provider: c.therapist.provider, distance: c.distance, merit, connected: true }
                    });
                    let list = list.collect();
                    self.machine.handle(Input::Candidates { booking, ask, list }, self.now);
                }
                Effect::PersistOffer { ask, provider, deadline, .. } => self.offered(booking, ask, provider, deadline),
                _ => {}
            }
        }
    }

    fn offered(&mut self, booking: BookingId, ask: u64, provider: ProviderId, expires_at: Timestamp) {
        self.offers += 1;
        let offer = OfferId(self.offers);
        self.fleet.set_duty(provider, Duty::Offered { until: expires_at });
        self.machine.handle(Input::OfferPersisted { booking, ask, provider, offer, expires_at }, self.now);
        self.fleet.set_duty(provider, Duty::Idle);
        if self.declined {
            self.accepted += 1;
            self.machine.handle(Input::Accepted { booking, provider, set_out_by: None }, self.now);
        } else {
            self.declined = true;
            self.machine.handle(Input::Declined { booking, offer }, self.now);
        }
    }
}

fn request(place: LatLng, radius: Meters, exclude: std::collections::BTreeSet<ProviderId>) -> Request {
    Request {
        service: ServiceId(1),
        place,
        when: When::Now,
        duration: Duration::from_secs(3_600),
        customer: UserId(-1),
        customer_gender: None,
        radius,
        stale_after: Duration::from_secs(86_400),
        limit: 20,
        filters: Filters::default(),
        exclude,
        only: None,
        precision: Precision::Exact,
    }
}

fn therapist(provider: ProviderId) -> Therapist {
    let services = Offerings::new([Offering {
        service: ServiceId(1),
        price: Money::centavos(80_000),
        base_distance_km: 5,
        per_km_surcharge: Money::centavos(1_000),
        max_travel_km: 20,
        home: true,
        store: false,
    }]);
    let average_rating = Rating::from_hundredths(400).expect("a rating");
    let plain = Therapist::plain(provider, services.expect("within the columns"), 20);
    Therapist { total_reviews: 10, average_rating, ..plain }
}

/// Therapists on a square of 20 km, 1,000 bookings on one of `width` metres; each booking has edges to its 50 nearest
/// therapists, at the way's milliseconds.
fn matching(name: &str, therapists: usize, width: f64) {
    let mut rng = StdRng::seed_from_u64(2);
    let mut place = |width: f64| (rng.random_range(0.0..width), rng.random_range(0.0..width));
    let at: Vec<_> = (0..therapists).map(|_| place(20_000.0)).collect();
    let rows: Vec<Vec<Edge>> = (0..1_000)
        .map(|_| {
            let (x, y) = place(width);
            let cost = |&(a, b): &(f64, f64)| ((a - x).hypot(b - y) * 160.0) as i64;
            let mut edges: Vec<_> = at.iter().enumerate().map(|(column, to)| Edge { column, cost: cost(to) }).collect();
            edges.sort_by_key(|edge| edge.cost);
            edges.truncate(50);
            edges
        })
        .collect();
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let began = clock::monotonic();
            std::hint::black_box(assign(therapists, &rows));
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let pairs = assign(therapists, &rows).pairs();
    println!(
        "{name}: 1000 bookings x {therapists} therapists, 50 edges each: median {:.1} ms, worst {:.1} ms, {pairs} pairs",
        times[10], times[20]
    );
}
