//! The simulated people: therapists' drivers, where their fixes come from, customers who listen.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spacall::cities::offset;
use spacall::client::customer::Customer;
use spacall::client::therapist::{Answer, FixSource, Journey, Therapist};
use spacall::client::{Acked, ApiError, BookingSeen, CancellationToken, Goodbye, Offer, Walker};
use spacall::clock;
use spacall::core::geo::{LatLng, Meters};
use spacall::core::time::Timestamp;
use spacall::core::track::Fix;
use spacall::wire::stream::OfferEnd;
use uuid::Uuid;

use crate::answers::Rule;
use crate::ledger::{End, Ledger};
use crate::recorded::RecordedFix;
use crate::tally::Tally;

/// A booking to be asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Ride {
    /// After the begin, in the run's own time.
    pub(crate) after: Duration,
    pub(crate) place: LatLng,
    /// Recorded length of the service, seconds.
    pub(crate) service_s: f64,
}

/// What everyone in a run shares.
pub(crate) struct Stage {
    pub(crate) rule: Rule,
    pub(crate) rides: Vec<Ride>,
    pub(crate) ledger: Ledger,
    pub(crate) tally: Tally,
    /// Keep the times of acked fixes, to look for them in the database afterwards.
    pub(crate) keep_acked: bool,
    /// When the first fix is due; set once everyone is connected.
    pub(crate) begin: OnceLock<Instant>,
    pub(crate) begun: CancellationToken,
}

impl Stage {
    pub(crate) fn new(rule: Rule, rides: Vec<Ride>, keep_acked: bool) -> Self {
        Self {
            rule,
            rides,
            ledger: Ledger::default(),
            tally: Tally::default(),
            keep_acked,
            begin: OnceLock::new(),
            begun: CancellationToken::new(),
        }
    }

    /// Curtain up.
    pub(crate) fn start(&self) -> Instant {
        let begin = *self.begin.get_or_init(clock::monotonic);
        self.begun.cancel();
        begin
    }

    /// Waits for the begin.
    pub(crate) async fn started(&self) -> Instant {
        self.begun.cancelled().await;
        *self.begin.get_or_init(clock::monotonic)
    }

    fn ride(&self, ride: u32) -> Option<&Ride> {
        self.rides.get(ride as usize)
    }
}

/// Where a vehicle was last.
pub(crate) type LastPlace = Arc<Mutex<Option<LatLng>>>;

/// One therapist.
pub(crate) struct Driver {
    pub(crate) number: u64,
    pub(crate) stage: Arc<Stage>,
    pub(crate) last: LastPlace,
    pub(crate) acked: Mutex<Vec<Timestamp>>,
}

/// How long an offer may be faster than the answer to the customer's request.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);

impl Therapist for Driver {
    fn answer(&self, offer: &Offer) -> BoxFuture<'static, Answer> {
        let (stage, number, booking) = (Arc::clone(&self.stage), self.number, offer.booking.uuid);
        let shown = clock::monotonic();
        Box::pin(async move {
            let Some(ride) = stage.ledger.ride_of(booking, KNOWN_WITHIN).await else {
                stage.tally.error("offer_of_a_foreign_booking");
                return Answer::Decline;
            };
            let (answer, after) = stage.rule.answer(u64::from(ride), number);
            tokio::time::sleep_until((shown + after).into()).await;
            answer
        })
    }

    fn journey(&self, booking: Uuid) -> BoxFuture<'static, Option<Journey>> {
        let stage = Arc::clone(&self.stage);
        let from = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(async move {
            let ride = stage.ledger.ride_of(booking, KNOWN_WITHIN).await?;
            let ride = stage.ride(ride)?;
            let distance = from.map_or(Meters::ZERO, |from| from.distance(ride.place));
            Some(stage.rule.journey(distance, ride.service_s))
        })
    }

    fn connected(&self) {
        self.stage.tally.connected.fetch_add(1, Relaxed);
    }

    fn disconnected(&self, goodbye: &Goodbye) {
        self.stage.tally.connected.fetch_sub(1, Relaxed);
        gone(&self.stage.tally, goodbye);
    }

    fn sent(&self) {
        self.stage.tally.sent.fetch_add(1, Relaxed);
    }

    fn acked(&self, fix: Acked) {
        self.stage.tally.acked.fetch_add(1, Relaxed);
        self.stage.tally.ping_ack.record_since(fix.due);
        if self.stage.keep_acked {
            self.acked.lock().unwrap_or_else(PoisonError::into_inner).push(fix.recorded_at);
        }
    }

    fn rejected(&self, code: &str, _message: &str) {
        self.stage.tally.rejected.fetch_add(1, Relaxed);
        self.stage.tally.error(&format!("rejected_{code}"));
    }

    fn offered(&self, offer: &Offer) {
        self.stage.ledger.offered(offer.booking.uuid);
    }

    fn closed(&self, booking: Uuid, reason: OfferEnd, accept_sent: Option<Instant>) {
        if reason == OfferEnd::Accepted {
            self.stage.ledger.accepted(booking);
            if let Some(sent) = accept_sent {
                self.stage.tally.accept.record_since(sent);
            }
        }
    }

    fn moved(&self, booking: Uuid, status: &str) {
        self.stage.ledger.accepted(booking);
        if status == "completed" {
            self.stage.ledger.ended(booking, End::Completed);
        }
    }

    fn stopped(&self, _: Uuid, why: &ApiError) {
        self.stage.tally.error(&format!("transition_{}", why.key()));
    }

    fn error(&self, code: &str, _: &str) {
        self.stage.tally.error(code);
    }
}

fn gone(tally: &Tally, goodbye: &Goodbye) {
    tally.reconnects.fetch_add(1, Relaxed);
    match goodbye {
        Goodbye::Reconnect { code: Some(code), .. } | Goodbye::Stay { code, .. } => {
            tally.error(&format!("close_{code}"))
        }
        Goodbye::Reconnect { code: None, .. } => tally.error("connection_lost"),
    }
}

/// One customer's app.
pub(crate) struct Listener(pub(crate) Arc<Stage>);

impl Customer for Listener {
    fn booking(&self, booking: BookingSeen) {
        let ledger = &self.0.ledger;
        if matches!(booking.status.as_str(), "accepted" | "en_route" | "arrived" | "in_progress" | "completed") {
            ledger.accepted(booking.uuid);
        }
        if let Some(end) = End::of(&booking) {
            ledger.ended(booking.uuid, end);
        }
    }

    fn connected(&self) {
        self.0.tally.connected.fetch_add(1, Relaxed);
    }

    fn disconnected(&self, goodbye: &Goodbye) {
        self.0.tally.connected.fetch_sub(1, Relaxed);
        gone(&self.0.tally, goodbye);
    }

    fn error(&self, code: &str, _: &str) {
        self.0.tally.error(code);
    }
}

/// The fixes of one therapist.
pub(crate) enum Source {
    Recorded(Recorded),
    Wandering(Box<Wandering>),
}

impl FixSource for Source {
    async fn next(&mut self) -> Option<(Fix, Instant)> {
        match self {
            Self::Recorded(source) => source.next().await,
            Self::Wandering(source) => source.next().await,
        }
    }
}

/// A vehicle of a recorded day.
pub(crate) struct Recorded {
    pub(crate) stage: Arc<Stage>,
    pub(crate) fixes: VecDeque<RecordedFix>,
    pub(crate) last: LastPlace,
}

impl FixSource for Recorded {
    async fn next(&mut self) -> Option<(Fix, Instant)> {
        let begin = self.stage.started().await;
        let next = *self.fixes.front()?;
        let due = begin + self.stage.rule.faster(f64::from(next.after_s));
        tokio::time::sleep_until(due.into()).await;
        // Only now: the wait above may have been dropped.
        self.fixes.pop_front();
        let before = lock(&self.last).replace(next.place);
        Some((fix(next.place, before.is_some_and(|before| before != next.place)), due))
    }
}

/// Somebody who goes about the town on straight legs, a fix each `every`.
pub(crate) struct Wandering {
    pub(crate) stage: Arc<Stage>,
    pub(crate) home: LatLng,
    pub(crate) walker: Walker,
    pub(crate) rng: StdRng,
    pub(crate) every: Duration,
    /// After the begin; the first is different for everyone.
    pub(crate) next: Duration,
    pub(crate) until: Duration,
    pub(crate) last: LastPlace,
}

/// Legs end within this distance of home, km.
const WANDER_KM: f64 = 4.0;
/// On the way, km/h.
const WANDER_KMH: f64 = 20.0;

impl Wandering {
    /// The first fix at once, the rest spread evenly over the therapists; `turn` is this one's share, 0..1.
    pub(crate) fn new(stage: Arc<Stage>, home: LatLng, seed: u64, every: Duration, until: Duration, turn: f64) -> Self {
        Self {
            stage,
            home,
            walker: Walker::new(home, WANDER_KMH),
            rng: StdRng::seed_from_u64(seed),
            every,
            next: every.mul_f64(turn),
            until,
            last: LastPlace::default(),
        }
    }
}

impl FixSource for Wandering {
    async fn next(&mut self) -> Option<(Fix, Instant)> {
        let begin = self.stage.started().await;
        if self.next >= self.until {
            return None;
        }
        let due = begin + self.next;
        tokio::time::sleep_until(due.into()).await;
        self.next += self.every;
        if self.walker.is_there() {
            let bearing = self.rng.random_range(0.0..std::f64::consts::TAU);
            self.walker.head_for(offset(self.home, bearing, WANDER_KM * self.rng.random::<f64>().sqrt()));
        }
        let fix = self.walker.advance(self.every.as_secs_f64());
        *lock(&self.last) = Some(fix.place);
        Some((fix, due))
    }
}

fn lock(last: &LastPlace) -> std::sync::MutexGuard<'_, Option<LatLng>> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fix(place: LatLng, moving: bool) -> Fix {
    Fix { accuracy_m: Some(10.0), moving, battery_percent: Some(80), ..Fix::new(Timestamp::from_micros(0), place) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::tests::RULE;

    fn stage() -> Arc<Stage> {
        Arc::new(Stage::new(Rule { speed: 1_000.0, ..RULE }, Vec::new(), false))
    }

    #[tokio::test]
    async fn recorded_fixes_come_in_order_when_due_even_when_the_wait_is_dropped() {
        let stage = stage();
        let place = |i: u32| LatLng::new(14.0 + f64::from(i), 121.0).expect("a place");
        let fixes = (0..3).map(|i| RecordedFix { after_s: i * 10, place: place(i) }).collect();
        let mut source = Recorded { stage: Arc::clone(&stage), fixes, last: LastPlace::default() };
        assert!(tokio::time::timeout(Duration::from_millis(5), source.next()).await.is_err(), "before the begin");
        let begin = stage.start();
        for i in 0..3 {
            // Dropped and called again, as in a select.
            let (fix, due) = loop {
                if let Ok(next) = tokio::time::timeout(Duration::from_millis(2), source.next()).await {
                    break next.expect("three fixes");
                }
            };
            assert_eq!((fix.place, due), (place(i), begin + Duration::from_millis(u64::from(i) * 10)));
        }
        assert!(source.next().await.is_none());
    }

    #[tokio::test]
    async fn a_wanderer_keeps_its_rate_and_stays_near_home() {
        let stage = stage();
        let home = LatLng::new(14.55, 121.02).expect("a place");
        let (every, until) = (Duration::from_millis(2), Duration::from_millis(20));
        let mut source = Wandering::new(Arc::clone(&stage), home, 1, every, until, 0.5);
        let begin = stage.start();
        let mut dues = Vec::new();
        while let Some((fix, due)) = source.next().await {
            assert!(home.distance(fix.place).km() < WANDER_KM);
            dues.push(due - begin);
        }
        assert_eq!((dues.len(), dues[0], dues[9]), (10, Duration::from_millis(1), Duration::from_millis(19)));
    }
}
