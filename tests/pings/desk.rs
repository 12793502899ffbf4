//! A small desk: real fleet, journal and bus over a test's database; dispatch is a script.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use spacall::clock;
use spacall::cluster::Bus;
use spacall::core::fleet::{Duty, Fleet, Therapist};
use spacall::core::ids::{BookingId, OfferId, ProviderId, UserId};
use spacall::core::offerings::Offerings;
use spacall::core::settings::Settings;
use spacall::core::time::Timestamp;
use spacall::http::stream::{self, AuthFailure, Desk, Followed, Member, Origins, Refusal, Sockets, Standing, Timing};
use spacall::store::journal::Journal;
use spacall::store::{StoreError, users};
use spacall::wire::booking::{Booking, ServiceRef};
use spacall::wire::stream::{OfferEnd, ServerMessage};
use spacall::wire::time::WireTime;

use crate::support::{TestDatabase, database};

pub(super) const THERAPIST: &str = "1|therapist";
pub(super) const OTHER_THERAPIST: &str = "2|other";
pub(super) const CUSTOMER: &str = "3|customer";
/// The database is away while this one is checked.
pub(super) const UNCHECKED: &str = "4|unchecked";

/// A web page that may open the stream.
pub(super) const LISTED_ORIGIN: &str = "https://app.example";

/// The offer that is still live; any other is gone.
pub(super) const LIVE_OFFER: OfferId = OfferId(9);

pub(super) struct TestDesk {
    pool: PgPool,
    fleet: Fleet,
    journal: Journal,
    bus: Bus,
    sockets: Sockets,
    settings: Mutex<Settings>,
    pub therapists: [(UserId, ProviderId); 2],
    pub customer: UserId,
    pub booking: (BookingId, Uuid),
    pub revoked: CancellationToken,
    /// Each answer to an offer takes one: none, and answers wait.
    pub answers: Semaphore,
    pub heard: Mutex<Vec<String>>,
}

/// A desk that listens.
pub(super) struct Server {
    pub desk: Arc<TestDesk>,
    pub db: Option<TestDatabase>,
    pub address: String,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Timing::default()).await
    }

    pub async fn with(timing: Timing) -> Self {
        let db = database().await;
        let mut server = Self::over(db.pool().clone(), timing).await;
        server.db = Some(db);
        server
    }

    pub async fn over(pool: PgPool, timing: Timing) -> Self {
        let desk = Arc::new(TestDesk::new(pool, timing).await);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let router = Router::new()
            .route("/v1/stream", get(stream::open::<TestDesk>))
            .route("/v1/locations", post(spacall::http::locations::create::<TestDesk>))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&desk), sign_in))
            .with_state(Arc::clone(&desk));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { desk, db: None, address }
    }

    pub fn pool(&self) -> &PgPool {
        &self.desk.pool
    }

    /// Rows of the first therapist, as text.
    pub async fn rows(&self) -> Vec<String> {
        rows(self.pool(), self.desk.therapists[0].1).await
    }

    pub async fn count(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM provider_locations").fetch_one(self.pool()).await.expect("a count")
    }
}

/// What the real guard does for requests: here, for a test's tokens.
async fn sign_in(
    axum::extract::State(desk): axum::extract::State<Arc<TestDesk>>,
    mut request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    if let Some(principal) = desk.principal(request.headers()) {
        request.extensions_mut().insert(Arc::new(principal));
    }
    next.run(request).await
}

pub(super) async fn rows(pool: &PgPool, provider: ProviderId) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', latitude, longitude, coalesce(accuracy::text, '-'), coalesce(heading::text, '-'),
                          coalesce(speed::text, '-'), is_moving, coalesce(battery_level::text, '-'), counted,
                          to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'))
         FROM provider_locations WHERE provider_id = $1 ORDER BY created_at",
    )
    .bind(provider.0)
    .fetch_all(pool)
    .await
    .expect("rows")
}

/// A verified therapist straight in the tables.
pub(super) async fn therapist(pool: &PgPool) -> (UserId, ProviderId) {
    let user = user(pool).await;
    let provider = sqlx::query_scalar(
        "INSERT INTO providers (user_id, type, verification_status, verified_at, is_available)
         VALUES ($1, 'therapist', 'verified', now(), TRUE) RETURNING id",
    )
    .bind(user.0)
    .fetch_one(pool)
    .await
    .expect("a provider");
    (user, ProviderId(provider))
}

async fn user(pool: &PgPool) -> UserId {
    let id =
        sqlx::query_scalar("INSERT INTO users (phone) VALUES ('+63' || floor(random() * 1e10)::bigint) RETURNING id")
            .fetch_one(pool)
            .await
            .expect("a user");
    UserId(id)
}

impl TestDesk {
    async fn new(pool: PgPool, timing: Timing) -> Self {
        let (journal, _writer) = Journal::start(pool.clone());
        let therapists = [therapist(&pool).await, therapist(&pool).await];
        let fleet = Fleet::new();
        for (user, provider) in therapists {
            fleet.put(in_fleet(user, provider));
        }
        Self {
            fleet,
            journal,
            bus: Bus::new(),
            sockets: Sockets::new(timing).with_origins(Origins::parse(LISTED_ORIGIN).expect("an origin")),
            settings: Mutex::new(Settings::default()),
            therapists,
            customer: user(&pool).await,
            booking: (BookingId(7), Uuid::from_u128(7)),
            revoked: CancellationToken::new(),
            answers: Semaphore::new(100),
            heard: Mutex::default(),
            pool,
        }
    }

    /// The first therapist is on his way to the customer.
    pub fn set_out(&self) {
        let there = spacall::core::geo::LatLng::new(14.6, 121.0).expect("a place");
        let duty = Duty::Booked {
            booking: self.booking.0,
            booking_uuid: self.booking.1,
            customer: self.customer,
            en_route_to: Some(there),
        };
        assert!(self.fleet.set_duty(self.therapists[0].1, duty));
    }

    pub fn position(&self) -> Option<(String, Timestamp)> {
        self.fleet.position(self.therapists[0].1).map(|(place, at)| (place.to_string(), at))
    }

    fn member(&self, token: &str) -> Option<Member> {
        let (user, therapist) = match token {
            THERAPIST => (self.therapists[0].0, Some(self.therapists[0].1)),
            OTHER_THERAPIST => (self.therapists[1].0, Some(self.therapists[1].1)),
            CUSTOMER => (self.customer, None),
            _ => return None,
        };
        let user_uuid = Uuid::from_u128(user.0 as u128);
        Some(Member { user, user_uuid, therapist, revoked: self.revoked.clone(), kept: None })
    }

    fn principal(&self, headers: &HeaderMap) -> Option<spacall::http::auth::Principal> {
        let member = self.member(spacall::http::auth::bearer(headers)?)?;
        let provider = member.therapist.map(|id| spacall::store::tokens::OwnProvider {
            id,
            uuid: Uuid::nil(),
            is_therapist: true,
        });
        Some(spacall::http::auth::Principal {
            token: 1,
            user: member.user,
            user_uuid: member.user_uuid,
            gender: None,
            roles: vec![if provider.is_some() { "therapist" } else { "customer" }.to_owned()],
            provider,
            abilities: vec!["*".to_owned()],
            expires_at: None,
        })
    }

    fn note(&self, what: String) {
        self.heard.lock().expect("not poisoned").push(what);
    }

    async fn answer(&self, offer: OfferId, end: OfferEnd) -> Result<Vec<ServerMessage>, Refusal> {
        self.answers.acquire().await.expect("never closed").forget();
        if offer != LIVE_OFFER {
            return Err(Refusal::offer_gone(offer, OfferEnd::Expired));
        }
        Ok(vec![ServerMessage::OfferClosed { offer_id: offer, reason: end }])
    }
}

impl Desk for TestDesk {
    async fn authenticate(&self, token: &str) -> Result<Member, AuthFailure> {
        if token == UNCHECKED {
            return Err(AuthFailure::Unavailable);
        }
        self.member(token).ok_or(AuthFailure::BadToken)
    }

    async fn introduce(&self, _: ProviderId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn standing(&self, member: &Member) -> Result<Standing, Refusal> {
        Ok(Standing { available: member.therapist.is_some(), offers: Vec::new() })
    }

    async fn set_availability(&self, therapist: ProviderId, available: bool) -> Result<(), Refusal> {
        self.note(format!("availability {therapist} {available}"));
        match users::set_available(&self.pool, therapist, available).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::not_found("the therapist")),
            Err(_) => Err(Refusal::unavailable()),
        }
    }

    async fn receive_offer(&self, _: ProviderId, offer: OfferId) -> Result<Vec<ServerMessage>, Refusal> {
        self.note(format!("received {offer}"));
        Ok(Vec::new())
    }

    async fn accept_offer(&self, _: ProviderId, offer: OfferId) -> Result<Vec<ServerMessage>, Refusal> {
        self.note(format!("accept {offer}"));
        self.answer(offer, OfferEnd::Accepted).await
    }

    async fn decline_offer(
        &self,
        _: ProviderId,
        offer: OfferId,
        reason: Option<String>,
    ) -> Result<Vec<ServerMessage>, Refusal> {
        self.note(format!("decline {offer} {reason:?}"));
        self.answer(offer, OfferEnd::Declined).await
    }

    async fn watch(&self, member: &Member, booking: Uuid) -> Result<(Option<Followed>, Booking), Refusal> {
        if member.user != self.customer || booking != self.booking.1 {
            return Err(Refusal::not_found("the booking"));
        }
        let followed = Followed { booking: self.booking.0, therapist: Some(self.therapists[0].1) };
        Ok((Some(followed), a_booking(booking)))
    }

    fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::new(self.settings.lock().expect("not poisoned").clone())
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn bus(&self) -> &Bus {
        &self.bus
    }

    fn sockets(&self) -> &Sockets {
        &self.sockets
    }
}

fn in_fleet(user: UserId, provider: ProviderId) -> Therapist {
    let plain = Therapist::plain(provider, Offerings::default(), 10);
    Therapist { first_name: "Tessa".into(), uuid: Uuid::nil(), user, ..plain }
}

fn a_booking(uuid: Uuid) -> Booking {
    use spacall::core::money::Money;
    Booking {
        uuid,
        booking_number: "SPC-2026-000001".to_owned(),
        status: "en_route".to_owned(),
        r#type: "home_service".to_owned(),
        booking_type: "now".to_owned(),
        service: ServiceRef { id: 1, slug: "s".to_owned(), name: "S".to_owned(), duration_minutes: 60 },
        provider: None,
        location: None,
        service_price: Money::ZERO,
        distance_surcharge: Money::ZERO,
        platform_fee: Money::ZERO,
        tip_amount: Money::ZERO,
        promo_discount: Money::ZERO,
        total_amount: Money::ZERO,
        earnings: None,
        currency: "PHP".to_owned(),
        price_is_estimate: false,
        payment_method: "cash".to_owned(),
        customer_notes: None,
        cancellation_reason: None,
        cancelled_by: None,
        cancellation_fee: Money::ZERO,
        scheduled_at: None,
        created_at: WireTime(clock::now()),
        accepted_at: None,
        started_at: None,
        completed_at: None,
        cancelled_at: None,
    }
}

/// A fix of now, or of so many seconds ago.
pub(super) fn fix(seq: u32, seconds_ago: f64) -> Value {
    let at = clock::now().minus(Duration::from_secs_f64(seconds_ago));
    json!({"seq": seq, "recorded_at": WireTime(at), "latitude": 14.5547, "longitude": 121.0244})
}

pub(super) fn location(fixes: &[Value]) -> Value {
    json!({"type": "location", "fixes": fixes})
}
