//! A simulated customer: books from home, and says what the app shows.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, RngExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Demo;
use super::board::{Board, Counted};
use crate::client::customer::{self, Customer};
use crate::client::{Api, BookingSeen, ConnectError, Endpoint, NewBooking, PositionSeen, Wire, therapist};
use crate::core::geo::LatLng;
use crate::wire::roster::RosterEntry;

/// One customer of the demo.
pub(super) struct Household {
    entry: RosterEntry,
    api: Api,
    watch: mpsc::Sender<Uuid>,
    /// The booking under way.
    open: Arc<Mutex<Option<Uuid>>>,
}

/// The services that the demo's customers like, the first most.
const WISHES: [(&str, &str); 4] = [
    ("swedish-massage", "a Swedish Massage"),
    ("swedish-massage", "a Swedish Massage"),
    ("deep-tissue-massage", "a Deep Tissue Massage"),
    ("foot-spa", "a Foot Spa"),
];

impl Household {
    /// Opens the customer's app.
    pub(super) fn open(
        demo: &Demo,
        entry: &RosterEntry,
        api: &Api,
        board: &Arc<Board>,
        apps: &mut JoinSet<Result<therapist::Left, ConnectError>>,
        stop: &CancellationToken,
        nth: u64,
    ) -> Self {
        let (watch, watched) = mpsc::channel(8);
        let open = Arc::new(Mutex::new(None));
        let screen = Screen {
            board: Arc::clone(board),
            open: Arc::clone(&open),
            home: LatLng::new(entry.latitude, entry.longitude).ok(),
            last: Mutex::new(Shown::default()),
        };
        let endpoint = Endpoint { url: demo.url.clone(), token: entry.token.clone(), wire: Wire::Json };
        let app = customer::run(endpoint, screen, watched, stop.clone(), demo.seed ^ nth);
        apps.spawn(async move { app.await.map(|()| therapist::Left { unacked: 0 }) });
        Self { entry: entry.clone(), api: api.with_token(&entry.token), watch, open }
    }

    /// Books, unless a booking is under way.
    pub(super) async fn book(&mut self, rng: &mut impl Rng, board: &Board) {
        let under_way = *lock(&self.open);
        if let Some(uuid) = under_way {
            // The app may have been away when it ended.
            match self.api.booking(uuid).await {
                Ok(seen) if seen.has_ended() => *lock(&self.open) = None,
                _ => return,
            }
        }
        let (service, wish) = WISHES[rng.random_range(0..WISHES.len())];
        let booking = NewBooking {
            service: service.to_owned(),
            address: format!("At {}'s", self.name()),
            latitude: self.entry.latitude,
            longitude: self.entry.longitude,
            provider_uuid: None,
            customer_notes: None,
        };
        match self.api.book(&booking, &Uuid::new_v4().to_string()).await {
            Err(error) => board.say(None, &format!("{} cannot book: {error}", self.name())),
            Ok(seen) => {
                *lock(&self.open) = Some(seen.uuid);
                board.asked(seen.uuid, &seen.booking_number);
                let city = self.entry.city.as_deref().unwrap_or("town");
                let text = format!("{} in {city} asks for {wish}, about PHP {}", self.name(), seen.total_amount);
                board.say(Some(&seen.booking_number), &text);
                // A full queue means an app that has stopped; then nobody looks at positions.
                let _ = self.watch.try_send(seen.uuid);
            }
        }
    }

    fn name(&self) -> &str {
        self.entry.first_name.as_deref().unwrap_or("A customer")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Plain values, written whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the customer's app shows.
struct Screen {
    board: Arc<Board>,
    open: Arc<Mutex<Option<Uuid>>>,
    home: Option<LatLng>,
    last: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    status: String,
    positions: u32,
}

/// Every so many positions one is said: a fix comes each second.
const SAY_EVERY: u32 = 5;

impl Customer for Screen {
    fn booking(&self, booking: BookingSeen) {
        {
            let mut last = lock(&self.last);
            if last.status == booking.status {
                return;
            }
            last.status.clone_from(&booking.status);
            last.positions = 0;
        }
        let who = booking.provider.as_ref().and_then(|p| p.first_name.as_deref()).unwrap_or("The therapist");
        let text = match booking.status.as_str() {
            "accepted" => {
                self.board.count(Counted::Matched);
                accepted(&booking, who)
            }
            "en_route" => format!("{who} is on the way"),
            "arrived" => format!("{who} is at the door"),
            "in_progress" => format!("{who} begins"),
            "completed" => {
                self.board.count(Counted::Completed);
                format!("done; PHP {} to {who}, in cash", booking.total_amount)
            }
            "cancelled" => {
                self.board.count(Counted::EndedOtherwise);
                format!("cancelled: {}", booking.cancellation_reason.as_deref().unwrap_or("no reason given"))
            }
            _ => return,
        };
        self.board.say(Some(&booking.booking_number), &text);
        if booking.has_ended() {
            *lock(&self.open) = None;
        }
    }

    fn position(&self, position: PositionSeen) {
        let nth = {
            let mut last = lock(&self.last);
            last.positions += 1;
            last.positions
        };
        let (Some(home), Ok(at)) = (self.home, LatLng::new(position.latitude, position.longitude)) else { return };
        if nth % SAY_EVERY == 1 {
            let km = home.distance(at).km();
            let text = format!("  {km:.2} km to go, {} min", position.eta_minutes);
            self.board.say(self.board.known(position.booking_uuid).as_deref(), &text);
        }
    }

    fn error(&self, code: &str, message: &str) {
        self.board.say(None, &format!("the service told a customer: {code}: {message}"));
    }
}

fn accepted(booking: &BookingSeen, who: &str) -> String {
    let mut text = format!("{who} accepts, PHP {}", booking.total_amount);
    if let Some(place) = &booking.location {
        if let Some(km) = place.distance_km {
            text.push_str(&format!(", {km:.2} km"));
        }
        if let Some(minutes) = place.estimated_travel_time_minutes {
            text.push_str(&format!(", {minutes} min"));
        }
    }
    text
}
