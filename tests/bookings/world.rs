//! People, services and bookings for these tests, straight into the tables.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rust_decimal::Decimal;
use spacall::core::booking::Kind;
use spacall::core::dispatch::EndReason;
use spacall::core::geo::{LatLng, Meters};
use spacall::core::ids::{BookingId, OfferId, ProviderId, ServiceId, UserId};
use spacall::core::money::Money;
use spacall::core::pricing;
use spacall::core::time::Timestamp;
use spacall::store::bookings::{self, CreateOutcome, EndOutcome, NewBooking, Place};
use spacall::store::offers::{self, NewOffer, PersistOutcome, Persisted};
use spacall::wire::time::from_chrono;
use sqlx::PgPool;

use crate::support::{TestDatabase, database};

/// A database with the seeded catalog.
pub(super) struct World {
    pub db: TestDatabase,
}

/// A therapist: his row and the person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Therapist {
    pub provider: ProviderId,
    pub user: UserId,
}

static PHONE: AtomicU32 = AtomicU32::new(0);

impl World {
    pub async fn new() -> Self {
        Self { db: database().await }
    }

    pub fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    pub async fn user(&self, first_name: &str) -> UserId {
        let phone = format!("+639{:09}", PHONE.fetch_add(1, Ordering::Relaxed));
        let id = sqlx::query_scalar("INSERT INTO users (phone, first_name) VALUES ($1, $2) RETURNING id")
            .bind(phone)
            .bind(first_name)
            .fetch_one(self.pool())
            .await
            .expect("a user");
        UserId(id)
    }

    pub async fn customer(&self) -> UserId {
        self.user("Carla").await
    }

    /// Verified, online, offers Swedish massage at home for 900.00, 10.00 a km beyond 1 km; commission 20 %.
    pub async fn therapist(&self) -> Therapist {
        let user = self.user("Tessa").await;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO providers (user_id, type, verification_status, verified_at, is_available, commission_rate)
             VALUES ($1, 'therapist', 'verified', now(), TRUE, 20) RETURNING id",
        )
        .bind(user.0)
        .fetch_one(self.pool())
        .await
        .expect("a provider");
        self.run("INSERT INTO therapist_profiles (provider_id) VALUES ($1)", id).await;
        self.run(
            "INSERT INTO provider_services (provider_id, service_id, price, base_distance_km, per_km_surcharge)
             SELECT $1, id, 900, 1, 10 FROM services WHERE slug = 'swedish-massage'",
            id,
        )
        .await;
        Therapist { provider: ProviderId(id), user }
    }

    pub async fn service(&self) -> ServiceId {
        ServiceId(self.one("SELECT id FROM services WHERE slug = 'swedish-massage'", 0).await)
    }

    /// Now, at home, for anyone, at the service's base price of 800.00.
    pub async fn new_booking(&self, customer: UserId) -> NewBooking {
        NewBooking {
            uuid: None,
            customer,
            kind: Kind::HomeService,
            service: self.service().await,
            place: Place {
                address: "1 Ayala Avenue, Makati".to_owned(),
                unit_number: Some("12B".to_owned()),
                building_name: None,
                landmark: None,
                at: LatLng::new(14.5547, 121.0244).expect("a place"),
            },
            chosen: None,
            scheduled_at: None,
            price: pricing::price(Money::centavos(80_000), Money::ZERO, Decimal::from(15), None),
            price_is_estimate: true,
            max_price: None,
            preferences: serde_json::json!({}),
            promo_code: None,
            payment_method: "cash".to_owned(),
            customer_notes: Some("Ring twice".to_owned()),
            dispatch_timeout_s: 300,
            lease: None,
        }
    }

    pub async fn create(&self, new: &NewBooking) -> BookingId {
        match bookings::create(self.pool(), new, None).await.expect("a statement") {
            CreateOutcome::Created { view, .. } => view.id,
            other => panic!("not created: {other:?}"),
        }
    }

    pub async fn booking(&self) -> BookingId {
        let customer = self.customer().await;
        self.create(&self.new_booking(customer).await).await
    }

    /// A live offer of `booking`, 2.5 km away, for 20 s and 5 s more.
    pub async fn offer(&self, booking: BookingId, therapist: Therapist, rank: u16) -> OfferId {
        self.persisted(booking, therapist, rank).await.offer
    }

    pub async fn persisted(&self, booking: BookingId, therapist: Therapist, rank: u16) -> Persisted {
        match self.persist(booking, therapist, rank).await {
            PersistOutcome::Offered(persisted) => *persisted,
            other => panic!("not offered: {other:?}"),
        }
    }

    pub async fn persist(&self, booking: BookingId, therapist: Therapist, rank: u16) -> PersistOutcome {
        offers::persist(self.pool(), &self.new_offer(booking, therapist, rank).await).await.expect("a statement")
    }

    /// What the search of `booking`, as it stands, would write.
    pub async fn new_offer(&self, booking: BookingId, therapist: Therapist, rank: u16) -> NewOffer {
        let deadline = sqlx::query_scalar(
            "SELECT created_at + make_interval(secs => dispatch_timeout_s) FROM bookings WHERE id = $1",
        );
        let deadline = from_chrono(deadline.bind(booking.0).fetch_one(self.pool()).await.expect("a booking"));
        NewOffer {
            booking,
            provider: therapist.provider,
            round: 1,
            rank,
            distance: Meters::new(2_500.0),
            ttl: Duration::from_secs(20),
            grace: Duration::from_secs(5),
            deadline,
            until: deadline,
            width: 20,
        }
    }

    /// Runs a statement with one id.
    pub async fn run(&self, sql: &'static str, id: i64) -> u64 {
        sqlx::query(sql).bind(id).execute(self.pool()).await.expect(sql).rows_affected()
    }

    /// One number, of a statement with one id (unused when 0).
    pub async fn one(&self, sql: &'static str, id: i64) -> i64 {
        let query = sqlx::query_scalar(sql);
        let query = if id == 0 { query } else { query.bind(id) };
        query.fetch_one(self.pool()).await.expect(sql)
    }

    /// One text, of a statement with one id.
    pub async fn text(&self, sql: &'static str, id: i64) -> String {
        sqlx::query_scalar::<_, Option<String>>(sql)
            .bind(id)
            .fetch_one(self.pool())
            .await
            .expect(sql)
            .unwrap_or_else(|| "NULL".to_owned())
    }

    /// Its end by the service, were the search to want it; whom it names has had his time.
    pub async fn end(&self, booking: BookingId, reason: EndReason) -> EndOutcome {
        let answer_by = Timestamp::from_micros(0);
        bookings::end_by_system(self.pool(), booking, reason, answer_by).await.expect("a statement")
    }

    pub async fn booking_status(&self, booking: BookingId) -> String {
        self.text("SELECT status::text FROM bookings WHERE id = $1", booking.0).await
    }

    pub async fn offer_status(&self, offer: OfferId) -> String {
        self.text("SELECT status::text FROM booking_offers WHERE id = $1", offer.0).await
    }

    /// Puts an offer's time into the past: what waiting would do.
    pub async fn make_due(&self, offer: OfferId) {
        self.run(
            "UPDATE booking_offers SET offered_at = now() - interval '1 hour', expires_at = now() - interval '1 ms'
             WHERE id = $1",
            offer.0,
        )
        .await;
    }

    /// Puts a booking's deadline into the past.
    pub async fn make_overdue(&self, booking: BookingId) {
        self.run("UPDATE bookings SET created_at = created_at - interval '301 s' WHERE id = $1", booking.0).await;
    }
}
