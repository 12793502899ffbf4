//! `GET /v1/ops/live`: what the live map shows, as it changes.
//!
//! Each stream remembers what it has told, and tells once a second what is different. So an update costs by what has
//! changed and no reader can miss a part of it; one who reads slowly gets fewer and larger ones. The fleet comes from the
//! index, the bookings from the database.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract;
use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use super::super::auth::{Authenticator, Caller};
use super::super::revocation::Watch;
use super::super::sse;
use super::state::{State, is_stale};
use crate::clock;
use crate::core::fleet::Therapist;
use crate::core::geo::LatLng;
use crate::core::ids::{BookingId, ProviderId};
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::store::StoreError;
use crate::store::bookings::{self, OpenBooking};
use crate::wire::time::WireTime;

/// From one update to the next. Each says so, so that who hears nothing for longer knows that it is old.
const EVERY: Duration = Duration::from_secs(1);

/// The database may take so long to tell the bookings; then the fleet is told without them.
const BOOKINGS_WITHIN: Duration = Duration::from_millis(800);

/// Bookings shown at once.
const MOST_BOOKINGS: u32 = 3_000;

/// What is different from the update before; the first one tells all. A therapist is `n` in this stream.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Update {
    /// When the fleet was so.
    #[schema(value_type = String, format = DateTime)]
    as_of: Option<WireTime>,
    /// Seconds after which a fix no longer counts for matching.
    stale_after_s: u64,
    /// Why this node's picture is not whole; empty when it is.
    not_ready: Vec<&'static str>,
    /// Therapists who are known but have never been seen anywhere.
    without_position: usize,
    /// `[n, provider_uuid, first_name]` of who is new, or has a new name.
    #[schema(value_type = Vec<Vec<Object>>)]
    joined: Vec<(u32, Uuid, String)>,
    /// `[n, state, stale, booking_uuid]`
    #[schema(value_type = Vec<Vec<Object>>)]
    states: Vec<(u32, State, bool, Option<Uuid>)>,
    /// `[n, latitude, longitude, age of the fix in seconds]`, degrees to five decimals.
    #[schema(value_type = Vec<Vec<Object>>)]
    places: Vec<(u32, f64, f64, u64)>,
    /// Who is gone.
    left: Vec<u32>,
    /// When the bookings were read. The same as before: the database did not answer.
    #[schema(value_type = Option<String>, format = DateTime)]
    bookings_as_of: Option<WireTime>,
    /// There are more open bookings than are told.
    more_bookings: bool,
    /// Bookings that are new, or different.
    bookings: Vec<ShownBooking>,
    /// `uuid` of bookings that are over.
    over: Vec<Uuid>,
}

/// An open booking, without whose it is and his address.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ShownBooking {
    uuid: Uuid,
    booking_number: String,
    /// `booking_status` of the schema.
    status: String,
    /// `home_service` or `in_store`.
    r#type: String,
    service: String,
    /// Degrees: the customer's place, or the store's.
    latitude: f64,
    /// Degrees.
    longitude: f64,
    #[schema(value_type = String, format = DateTime)]
    created_at: WireTime,
    #[schema(value_type = Option<String>, format = DateTime)]
    scheduled_at: Option<WireTime>,
    /// Who accepted, or whom the customer chose.
    provider_uuid: Option<Uuid>,
    /// Who is asked now.
    offered_to: Vec<Uuid>,
    /// Offers made of it so far.
    offers: i64,
}

/// Follows the fleet and the open bookings: one event `update` a second.
#[utoipa::path(
    get,
    path = "/v1/ops/live",
    tag = "ops",
    responses((status = 200, description = "`update` events; the data of each is an `Update`", body = Update, content_type = "text/event-stream"))
)]
pub async fn live(
    extract::State(engine): extract::State<Arc<Engine>>,
    extract::State(authenticator): extract::State<Authenticator>,
    extract::State(open): extract::State<Arc<OpenBookings>>,
    Caller(caller): Caller,
) -> Response {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follower = Follower { watch: authenticator.watch(&caller), engine, open, ticks, told: Told::default() };
    sse::answer(stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((event, follower))
    }))
}

/// The open bookings, read once for all maps that are open.
#[derive(Default)]
pub struct OpenBookings(Mutex<Option<Arc<Read>>>);

/// The open bookings of a moment.
struct Read {
    as_of: Timestamp,
    bookings: Vec<OpenBooking>,
}

impl OpenBookings {
    /// Those of less than [`EVERY`] ago.
    async fn read(&self, engine: &Engine) -> Result<Arc<Read>, StoreError> {
        let mut last = self.0.lock().await;
        let as_of = clock::now();
        if let Some(read) = last.as_ref().filter(|read| as_of.since(read.as_of) < EVERY * 9 / 10) {
            return Ok(Arc::clone(read));
        }
        let read = Arc::new(Read { as_of, bookings: bookings::open(&engine.pool, MOST_BOOKINGS).await? });
        *last = Some(Arc::clone(&read));
        Ok(read)
    }
}

/// One map that is open.
struct Follower {
    engine: Arc<Engine>,
    open: Arc<OpenBookings>,
    watch: Arc<Watch>,
    ticks: Interval,
    told: Told,
}

impl Follower {
    /// The next update; `None`: the stream ends.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            () = self.watch.revoked().cancelled() => return None,
            () = self.engine.shutdown.cancelled() => return None,
            _ = self.ticks.tick() => {}
        }
        let mut update = Update { not_ready: self.engine.readiness.missing(), ..Update::default() };
        match tokio::time::timeout(BOOKINGS_WITHIN, self.open.read(&self.engine)).await {
            Ok(Ok(open)) => self.told.bookings(&open, &mut update),
            Ok(Err(error)) => tracing::debug!(%error, "the open bookings could not be read for a live map"),
            Err(_) => tracing::debug!("the open bookings could not be read in time for a live map"),
        }
        update.bookings_as_of = self.told.bookings_as_of.map(WireTime);
        let (now, stale_after) = (clock::now(), self.engine.settings().stale_after());
        self.told.fleet(&self.engine.fleet.snapshot(), now, stale_after, &mut update);
        match Event::default().event("update").json_data(&update) {
            Ok(event) => Some(event),
            Err(error) => {
                tracing::error!(%error, "an update of a live map could not be written as JSON");
                None
            }
        }
    }
}

/// A therapist, and where he was seen last, and when.
type Seen = (Arc<Therapist>, Option<(LatLng, Timestamp)>);

/// What a stream has told.
#[derive(Default)]
struct Told {
    people: HashMap<ProviderId, Row>,
    updates: u64,
    next_n: u32,
    bookings: HashMap<BookingId, OpenBooking>,
    bookings_as_of: Option<Timestamp>,
}

/// What was told of one therapist.
struct Row {
    n: u32,
    /// The last update in which he was.
    told_in: u64,
    therapist: Arc<Therapist>,
    at: (LatLng, Timestamp),
    state: (State, bool, Option<Uuid>),
}

impl Told {
    /// Writes down what is different in the fleet. O(its size).
    fn fleet(&mut self, fleet: &[Seen], now: Timestamp, stale_after: Duration, update: &mut Update) {
        (update.as_of, update.stale_after_s) = (Some(WireTime(now)), stale_after.as_secs());
        self.updates += 1;
        for (therapist, at) in fleet {
            let Some(at) = *at else {
                update.without_position += 1;
                continue;
            };
            let (state, booking) = State::of(therapist, now);
            let state = (state, is_stale(at.1, now, stale_after), booking);
            let was = self.people.get(&therapist.provider);
            let n = was.map_or(self.next_n, |row| row.n);
            if was.is_none_or(|row| row.therapist.first_name != therapist.first_name) {
                update.joined.push((n, therapist.uuid, therapist.first_name.to_string()));
            }
            if was.is_none_or(|row| row.state != state) {
                update.states.push((n, state.0, state.1, state.2));
            }
            if was.is_none_or(|row| row.at != at) {
                let (place, seen) = at;
                update.places.push((n, degrees(place.lat_e7()), degrees(place.lng_e7()), now.since(seen).as_secs()));
            }
            self.next_n = self.next_n.max(n + 1);
            let row = Row { n, told_in: self.updates, therapist: Arc::clone(therapist), at, state };
            self.people.insert(therapist.provider, row);
        }
        self.people.retain(|_, row| {
            let is_there = row.told_in == self.updates;
            if !is_there {
                update.left.push(row.n);
            }
            is_there
        });
        update.left.sort_unstable();
    }

    /// Writes down what is different in the open bookings.
    fn bookings(&mut self, open: &Read, update: &mut Update) {
        self.bookings_as_of = Some(open.as_of);
        update.more_bookings = open.bookings.len() == MOST_BOOKINGS as usize;
        let mut before = std::mem::take(&mut self.bookings);
        for booking in &open.bookings {
            let was = before.remove(&booking.id);
            if was.as_ref() != Some(booking) {
                update.bookings.push(ShownBooking::from(booking));
            }
            self.bookings.insert(booking.id, was.filter(|was| was == booking).unwrap_or_else(|| booking.clone()));
        }
        update.over = before.into_values().map(|booking| booking.uuid).collect();
        update.over.sort_unstable();
    }
}

/// To a metre: more digits than a map can show are only bytes.
fn degrees(e7: i32) -> f64 {
    (f64::from(e7) / 100.0).round() / 100_000.0
}

impl From<&OpenBooking> for ShownBooking {
    fn from(booking: &OpenBooking) -> Self {
        Self {
            uuid: booking.uuid,
            booking_number: booking.number.clone(),
            status: booking.status.clone(),
            r#type: booking.kind.clone(),
            service: booking.service.clone(),
            latitude: degrees(booking.place.lat_e7()),
            longitude: degrees(booking.place.lng_e7()),
            created_at: WireTime(booking.created_at),
            scheduled_at: booking.scheduled_at.map(WireTime),
            provider_uuid: booking.provider,
            offered_to: booking.offered_to.clone(),
            offers: booking.offers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fleet::Duty;
    use crate::core::ids::UserId;
    use crate::core::offerings::Offerings;

    const NOW: Timestamp = Timestamp::from_secs(10_000);
    const STALE_AFTER: Duration = Duration::from_secs(600);

    fn seen(id: i64, longitude_e7: i32, seconds_ago: u64, change: fn(&mut Therapist)) -> Seen {
        let mut therapist = Therapist::plain(ProviderId(id), Offerings::default(), 10);
        change(&mut therapist);
        let place = LatLng::from_e7(145_547_049, longitude_e7).expect("a place");
        (Arc::new(therapist), Some((place, NOW.minus(Duration::from_secs(seconds_ago)))))
    }

    fn told(told: &mut Told, fleet: &[Seen]) -> Update {
        let mut update = Update::default();
        told.fleet(fleet, NOW, STALE_AFTER, &mut update);
        update
    }

    #[test]
    fn the_first_update_tells_all_and_each_later_one_what_is_different() {
        let mut stream = Told::default();
        let (one, two) = (seen(1, 1_210_244_049, 5, |_| {}), seen(2, 1_210_000_000, 601, |_| {}));
        let nowhere = (seen(3, 0, 0, |_| {}).0, None);
        let first = told(&mut stream, &[one.clone(), two.clone(), nowhere.clone()]);
        assert_eq!(
            first.joined.iter().map(|(n, uuid, _)| (*n, *uuid)).collect::<Vec<_>>(),
            [(0, one.0.uuid), (1, two.0.uuid)]
        );
        assert_eq!(first.states, [(0, State::Idle, false, None), (1, State::Idle, true, None)]);
        assert_eq!(first.places, [(0, 14.55470, 121.02440, 5), (1, 14.55470, 121.0, 601)]);
        assert_eq!((first.without_position, first.stale_after_s), (1, 600));

        let nothing = told(&mut stream, &[one.clone(), two.clone(), nowhere.clone()]);
        assert!(nothing.joined.is_empty() && nothing.states.is_empty() && nothing.places.is_empty());

        let moved = seen(1, 1_210_250_000, 1, |t| t.available = false);
        let later = told(&mut stream, &[moved, nowhere]);
        assert!(later.joined.is_empty());
        assert_eq!(later.states, [(0, State::OffDuty, false, None)]);
        assert_eq!(later.places, [(0, 14.55470, 121.025, 1)]);
        assert_eq!(later.left, [1]);

        let back = told(&mut stream, &[two]);
        assert_eq!(
            (back.joined[0].0, &back.left[..]),
            (2, &[0][..]),
            "who comes again is new; no number means two people"
        );
    }

    #[test]
    fn what_ties_a_therapist_comes_before_what_keeps_him_from_being_asked() {
        let barred = |t: &mut Therapist| Arc::make_mut(&mut t.profile).verified = false;
        let on = |t: &mut Therapist, en_route_to| {
            let uuid = Uuid::from_u128(7);
            t.ties.set_duty(Duty::Booked {
                booking: BookingId(7),
                booking_uuid: uuid,
                customer: UserId(1),
                en_route_to,
            });
        };
        let state = |change: &dyn Fn(&mut Therapist)| {
            let mut therapist = Therapist::plain(ProviderId(1), Offerings::default(), 10);
            change(&mut therapist);
            State::of(&therapist, NOW)
        };
        let booking = Some(Uuid::from_u128(7));
        assert_eq!(state(&|t| on(t, None)), (State::Booked, booking));
        assert_eq!(state(&|t| on(t, LatLng::from_e7(0, 0).ok())), (State::EnRoute, booking));
        assert_eq!(
            state(&|t| {
                on(t, None);
                barred(t)
            }),
            (State::Booked, booking)
        );
        let asked = |t: &mut Therapist, until| t.ties.set_duty(Duty::Offered { until });
        assert_eq!(state(&|t| asked(t, NOW.plus(Duration::from_secs(1)))), (State::Offered, None));
        assert_eq!(state(&|t| asked(t, NOW)), (State::Idle, None), "an offer that is over is none");
        assert_eq!(state(&|t| t.available = false), (State::OffDuty, None));
        assert_eq!(
            state(&|t| {
                t.available = false;
                barred(t)
            }),
            (State::Barred, None)
        );
    }

    #[test]
    fn a_booking_is_told_when_it_is_new_or_different_and_once_more_when_it_is_over() {
        let booking = |id: i64, status: &str| OpenBooking {
            id: BookingId(id),
            uuid: Uuid::from_u128(id as u128),
            number: format!("SPC-{id}"),
            status: status.to_owned(),
            kind: "home_service".to_owned(),
            service: "Swedish Massage".to_owned(),
            place: LatLng::from_e7(145_547_000, 1_210_244_000).expect("a place"),
            created_at: NOW,
            scheduled_at: None,
            provider: None,
            offered_to: vec![Uuid::from_u128(9), Uuid::from_u128(8)],
            offers: 2,
        };
        let mut stream = Told::default();
        let mut tell = |open: Vec<OpenBooking>| {
            let mut update = Update::default();
            stream.bookings(&Read { as_of: NOW, bookings: open }, &mut update);
            let told: Vec<_> = update.bookings.iter().map(|b| (b.booking_number.clone(), b.status.clone())).collect();
            (told, update.over)
        };
        let of = |id: i64, status: &str| (format!("SPC-{id}"), status.to_owned());
        assert_eq!(tell(vec![booking(1, "pending"), booking(2, "pending")]).0, [of(1, "pending"), of(2, "pending")]);
        assert_eq!(tell(vec![booking(1, "pending"), booking(2, "accepted")]), (vec![of(2, "accepted")], vec![]));
        assert_eq!(tell(vec![booking(2, "accepted")]), (vec![], vec![Uuid::from_u128(1)]));
        assert_eq!(tell(vec![]).1, [Uuid::from_u128(2)]);
    }
}
