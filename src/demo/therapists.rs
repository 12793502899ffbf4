//! A simulated therapist: strolls around home, answers offers, hurries to customers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::BoxFuture;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use super::board::Board;
use super::{AT_DOOR, HURRY_KMH, STROLL_KMH};
use crate::cities::offset;
use crate::client::therapist::{Answer, FixSource, Journey, Therapist};
use crate::client::{Api, ApiError, Offer, Walker};
use crate::clock;
use crate::core::geo::LatLng;
use crate::core::track::Fix;

/// One therapist of the demo.
pub(super) struct Simulated {
    name: String,
    home: LatLng,
    api: Api,
    board: Arc<Board>,
    way: Arc<Mutex<Way>>,
    service: Duration,
    seed: u64,
    offers: AtomicU64,
}

struct Way {
    walker: Walker,
    busy: bool,
}

impl Simulated {
    pub(super) fn new(
        entry: &crate::wire::roster::RosterEntry,
        api: Api,
        board: Arc<Board>,
        service: Duration,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let home = LatLng::new(entry.latitude, entry.longitude).context("the tokens file")?;
        let way = Way { walker: Walker::new(home, STROLL_KMH), busy: false };
        Ok(Self {
            name: entry.first_name.clone().unwrap_or_else(|| "A therapist".to_owned()),
            home,
            api,
            board,
            way: Arc::new(Mutex::new(way)),
            service,
            seed,
            offers: AtomicU64::new(0),
        })
    }

    /// The phone's fixes.
    pub(super) fn legs(&self) -> Legs {
        Legs { way: Arc::clone(&self.way), home: self.home, rng: StdRng::seed_from_u64(self.seed), next: None }
    }

    fn free_again(&self) {
        let mut way = lock(&self.way);
        way.busy = false;
        way.walker = Walker::new(way.walker.at(), STROLL_KMH);
    }
}

fn lock(way: &Mutex<Way>) -> std::sync::MutexGuard<'_, Way> {
    // A place and a target are never half written.
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Therapist for Simulated {
    fn answer(&self, offer: &Offer) -> BoxFuture<'static, Answer> {
        let nth = self.offers.fetch_add(1, Ordering::Relaxed);
        let mut rng = StdRng::seed_from_u64(self.seed ^ nth.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let (think, choice) = (Duration::from_millis(rng.random_range(800..3_000)), rng.random::<f64>());
        let (board, name) = (Arc::clone(&self.board), self.name.clone());
        let (booking, km, minutes) = (offer.booking.uuid, offer.distance_km, offer.eta_minutes);
        Box::pin(async move {
            // Whoever tries the demo by hand gets a yes.
            let Some(number) = board.number(booking).await else {
                tokio::time::sleep(think).await;
                return Answer::Accept;
            };
            board.say(Some(&number), &format!("offered to {name}, {km:.1} km away, {minutes} min"));
            tokio::time::sleep(think).await;
            if choice < 0.75 {
                return Answer::Accept;
            }
            board.say(Some(&number), &format!("{name} declines"));
            Answer::Decline
        })
    }

    fn journey(&self, booking: Uuid) -> BoxFuture<'static, Option<Journey>> {
        let (api, board, way) = (self.api.clone(), Arc::clone(&self.board), Arc::clone(&self.way));
        let (name, service) = (self.name.clone(), self.service);
        Box::pin(async move {
            let place = match api.booking(booking).await {
                Ok(seen) => seen.location.and_then(|at| LatLng::new(at.latitude, at.longitude).ok()),
                Err(error) => {
                    board.say(board.known(booking).as_deref(), &format!("{name} cannot read the address: {error}"));
                    None
                }
            }?;
            let mut way = lock(&way);
            let from = way.walker.at();
            way.busy = true;
            way.walker = Walker::new(from, HURRY_KMH);
            way.walker.head_for(place);
            let hours = from.distance(place).km() / HURRY_KMH;
            // A second more: the last fix should be sent before the door is reached.
            let travel = Duration::from_secs_f64(hours * 3_600.0 + 1.0);
            Some(Journey { set_out: Duration::ZERO, travel, at_door: service.mul_f64(AT_DOOR), service })
        })
    }

    fn moved(&self, _: Uuid, status: &str) {
        if status == "completed" {
            self.free_again();
        }
    }

    fn stopped(&self, booking: Uuid, why: &ApiError) {
        self.board.say(self.board.known(booking).as_deref(), &format!("{} stops: {why}", self.name));
        self.free_again();
    }

    fn error(&self, code: &str, message: &str) {
        self.board.say(None, &format!("the service told {}: {code}: {message}", self.name));
    }

    fn rejected(&self, code: &str, message: &str) {
        self.board.say(None, &format!("a fix of {} was rejected: {code}: {message}", self.name));
    }
}

/// Straight legs around home, or to the customer.
pub(super) struct Legs {
    way: Arc<Mutex<Way>>,
    home: LatLng,
    rng: StdRng,
    next: Option<Instant>,
}

const FIX_EVERY: Duration = Duration::from_secs(3);
const FIX_EVERY_EN_ROUTE: Duration = Duration::from_secs(1);
const STROLL_KM: f64 = 1.5;

impl FixSource for Legs {
    async fn next(&mut self) -> Option<(Fix, Instant)> {
        // The first one at once, so that the fleet is there.
        let due = self.next.unwrap_or_else(clock::monotonic);
        tokio::time::sleep_until(due.into()).await;
        let mut way = lock(&self.way);
        let every = if way.busy { FIX_EVERY_EN_ROUTE } else { FIX_EVERY };
        if !way.busy && way.walker.is_there() {
            let bearing = self.rng.random_range(0.0..std::f64::consts::TAU);
            way.walker.head_for(offset(self.home, bearing, STROLL_KM * self.rng.random::<f64>()));
        }
        let since = if self.next.is_none() { Duration::ZERO } else { every };
        let fix = way.walker.advance(since.as_secs_f64());
        self.next = Some(due + every);
        Some((fix, due))
    }
}
