//! What customers do in a run: requests on their own schedule, whether or not the service keeps up (open loop).
//! Latencies count from when a request was due.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spacall::client::{Api, Backoff, CancellationToken, NewBooking};
use spacall::clock;
use spacall::core::geo::LatLng;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::cast::Stage;
use crate::ledger::End;

/// Requests under way at once, of each kind. More would only measure the queue in this tool.
const AT_ONCE: u32 = 512;
/// Tries of one request while the trouble is a passing one.
const TRIES: u32 = 6;

/// Asks for every ride when it is due, by the customers in turn, and returns when all were answered for.
pub(crate) async fn book_all(stage: Arc<Stage>, customers: Vec<Api>, service: String, stop: CancellationToken) {
    let begin = stage.started().await;
    let (run, places) = (Uuid::new_v4(), Arc::new(Semaphore::new(AT_ONCE as usize)));
    for (nth, ride) in stage.rides.iter().enumerate() {
        let due = begin + ride.after;
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = async {
                tokio::time::sleep_until(due.into()).await;
                Arc::clone(&places).acquire_owned().await
            } => permit,
        };
        // The semaphore is never closed.
        let Ok(permit) = permit else { break };
        let Ok(number) = u32::try_from(nth) else { break };
        let booking = NewBooking {
            service: service.clone(),
            address: format!("Pickup {number}"),
            latitude: ride.place.latitude(),
            longitude: ride.place.longitude(),
            provider_uuid: None,
            customer_notes: None,
        };
        let (stage, customer) = (Arc::clone(&stage), customers[nth % customers.len()].clone());
        stage.ledger.requested(number, due);
        tokio::spawn(async move {
            book(&stage, &customer, number, &booking, &format!("load-{run}-{number}")).await;
            drop(permit);
        });
    }
    // All places free: every request was answered for.
    let _ = places.acquire_many(AT_ONCE).await;
}

async fn book(stage: &Stage, customer: &Api, ride: u32, booking: &NewBooking, key: &str) {
    let mut backoff = Backoff::of_an_app(u64::from(ride));
    for _ in 0..TRIES {
        match customer.book(booking, key).await {
            Ok(seen) => return stage.ledger.created(ride, seen.uuid),
            Err(error) => {
                stage.tally.error(&format!("book_{}", error.key()));
                if !error.is_passing() {
                    break;
                }
                tokio::time::sleep(backoff.wait()).await;
            }
        }
    }
    stage.ledger.refused();
}

/// Where nearby requests ask about.
pub(crate) struct Probes {
    pub(crate) per_s: f64,
    pub(crate) places: Vec<LatLng>,
    pub(crate) until: Duration,
    pub(crate) seed: u64,
}

/// Asks who is near, `per_s` times a second.
pub(crate) async fn probe(
    stage: Arc<Stage>,
    customers: Vec<Api>,
    service: String,
    probes: Probes,
    stop: CancellationToken,
) {
    if probes.per_s <= 0.0 || probes.places.is_empty() || customers.is_empty() {
        return;
    }
    let begin = stage.started().await;
    let every = Duration::from_secs_f64(1.0 / probes.per_s);
    let mut rng = StdRng::seed_from_u64(probes.seed);
    let places = Arc::new(Semaphore::new(AT_ONCE as usize));
    let (mut after, mut nth) = (Duration::ZERO, 0);
    while after < probes.until {
        let due = begin + after;
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = async {
                tokio::time::sleep_until(due.into()).await;
                Arc::clone(&places).acquire_owned().await
            } => permit,
        };
        let Ok(permit) = permit else { break };
        let at = probes.places[rng.random_range(0..probes.places.len())];
        let (stage, customer, service) =
            (Arc::clone(&stage), customers[nth % customers.len()].clone(), service.clone());
        tokio::spawn(async move {
            nearby(&stage, &customer, at, &service, due).await;
            drop(permit);
        });
        after += every;
        nth += 1;
    }
    // All places free: every request was answered for.
    let _ = places.acquire_many(AT_ONCE).await;
}

async fn nearby(stage: &Stage, customer: &Api, at: LatLng, service: &str, due: Instant) {
    stage.tally.nearby_requests.fetch_add(1, Relaxed);
    match customer.nearby(at.latitude(), at.longitude(), service).await {
        Ok(_) => stage.tally.nearby.record_since(due),
        Err(error) => {
            stage.tally.nearby_errors.fetch_add(1, Relaxed);
            stage.tally.error(&format!("nearby_{}", error.key()));
        }
    }
}

/// Waits until every booking has ended, for `within` at most. Asks its customer's view of those that the apps did not
/// hear of, now and then: a message may be lost with a connection.
pub(crate) async fn settle(stage: &Stage, customers: &[Api], within: Duration, stop: &CancellationToken) {
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    const ASK_EVERY: u32 = 10;
    const ASK_AT_MOST: usize = 200;
    let give_up = clock::monotonic() + within;
    for round in 1.. {
        let open = stage.ledger.open();
        if open.is_empty() || clock::monotonic() >= give_up || stop.is_cancelled() {
            return;
        }
        if round % ASK_EVERY == 0 {
            for (uuid, ride) in open.into_iter().take(ASK_AT_MOST) {
                match customers[ride as usize % customers.len()].booking(uuid).await {
                    Ok(booking) => {
                        if let Some(end) = End::of(&booking) {
                            stage.ledger.ended(uuid, end);
                        }
                    }
                    Err(error) => stage.tally.error(&format!("booking_{}", error.key())),
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
