//! Bookings at a store, at a real database: rooms, hours, prices, who wins, and how each one ends.

use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::json;
use spacall::core::booking::{Kind, Refusal, Status};
use spacall::core::dispatch::EndReason;
use spacall::core::ids::{BookingId, ProviderId, UserId};
use spacall::core::money::Money;
use spacall::core::pricing;
use spacall::core::settings::Settings;
use spacall::core::stores::rooms::NoRoom;
use spacall::core::time::Timestamp;
use spacall::store::bookings::{
    self, Actor, EndOutcome, MoveRules, Moved, NewBooking, TransitionOutcome, VisitRefused, Wish,
};
use spacall::store::pages::{Ask, From};

use super::dispatcher::{Node, hear_status};
use super::world::World;

#[derive(Clone, Copy)]
pub(super) struct Store {
    pub provider: ProviderId,
    pub owner: UserId,
}

impl World {
    /// Verified, always open, Swedish massage (an hour) in the store for 700.00; commission 10 %.
    pub async fn store(&self, rooms: i64) -> Store {
        let owner = self.user("Jose").await;
        let id = self
            .one(
                "INSERT INTO providers (user_id, type, verification_status, verified_at, accepts_store_service, commission_rate)
                 VALUES ($1, 'store', 'verified', now(), TRUE, 10) RETURNING id",
                owner.0,
            )
            .await;
        self.run(
            "INSERT INTO store_profiles (provider_id, store_name, address_line1, city, latitude, longitude)
             VALUES ($1, 'Ginhawa Spa', '10 Rizal Avenue', 'Makati', 14.5, 121.0)",
            id,
        )
        .await;
        self.run(
            "INSERT INTO provider_services (provider_id, service_id, price, home_service_enabled, store_service_enabled)
             SELECT $1, id, 700, FALSE, TRUE FROM services WHERE slug = 'swedish-massage'",
            id,
        )
        .await;
        let store = Store { provider: ProviderId(id), owner };
        self.rooms(store, rooms).await;
        store
    }

    async fn rooms(&self, store: Store, rooms: i64) {
        sqlx::query("UPDATE store_profiles SET number_of_rooms = $2 WHERE provider_id = $1")
            .bind(store.provider.0)
            .bind(rooms as i32)
            .execute(self.pool())
            .await
            .expect("a statement");
    }

    async fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.one("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", 0).await)
    }

    /// At the store, now, or so many minutes from now.
    pub async fn visit(&self, customer: UserId, store: Store, in_minutes: Option<u64>) -> NewBooking {
        let now = self.now().await;
        NewBooking {
            kind: Kind::InStore,
            scheduled_at: in_minutes.map(|m| now.plus(Duration::from_secs(m * 60))),
            chosen: Some(store.provider),
            price: pricing::price(Money::centavos(70_000), Money::ZERO, Decimal::from(10), None),
            price_is_estimate: false,
            ..self.new_booking(customer).await
        }
    }

    async fn visited(&self, store: Store, in_minutes: Option<u64>) -> BookingId {
        let customer = self.customer().await;
        self.create(&self.visit(customer, store, in_minutes).await).await
    }

    pub async fn wish(&self, booking: BookingId, user: UserId, to: Status) -> TransitionOutcome {
        let uuid = self.text("SELECT uuid::text FROM bookings WHERE id = $1", booking.0).await;
        let actor = Actor { user, admin: false };
        let wish = Wish { booking: uuid.parse().expect("a uuid"), actor, to, reason: Some("so".to_owned()) };
        let rules = MoveRules::from(&Settings::default());
        bookings::transition(self.pool(), &wish, &rules).await.expect("a statement")
    }

    pub async fn moved(&self, booking: BookingId, user: UserId, to: Status) -> Moved {
        match self.wish(booking, user, to).await {
            TransitionOutcome::Moved(moved) => *moved,
            other => panic!("{to}: {other:?}"),
        }
    }

    async fn full(&self, booking: BookingId, store: Store) -> Option<Timestamp> {
        match self.wish(booking, store.owner, Status::Accepted).await {
            TransitionOutcome::StoreCannot(VisitRefused::NoRoom(NoRoom::Full { free_from, .. })) => free_from,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn from_the_owners_accept_to_completion_at_the_stores_price_and_place() {
    let w = World::new().await;
    let (store, customer) = (w.store(1).await, w.customer().await);
    let booking = w.create(&w.visit(customer, store, None).await).await;
    let stranger = w.store(1).await;
    for who in [stranger.owner, w.therapist().await.user] {
        assert!(matches!(w.wish(booking, who, Status::Accepted).await, TransitionOutcome::NotFound));
    }
    let not_his = w.wish(booking, customer, Status::Accepted).await;
    assert!(matches!(not_his, TransitionOutcome::Refused { why: Refusal::NotAllowed { .. }, .. }), "{not_his:?}");
    let accepted = w.moved(booking, store.owner, Status::Accepted).await.view.booking;
    assert_eq!((accepted.total_amount.to_string(), accepted.price_is_estimate), ("700.00".to_owned(), false));
    assert!(accepted.accepted_at.is_some() && accepted.distance_surcharge == Money::ZERO);
    let again = w.wish(booking, store.owner, Status::Accepted).await;
    assert!(matches!(again, TransitionOutcome::Unchanged(_)), "{again:?}");
    for to in [Status::Arrived, Status::InProgress, Status::Completed] {
        w.moved(booking, store.owner, to).await;
    }
    let earned = "SELECT (total_earnings * 100)::bigint FROM providers WHERE id = $1";
    assert_eq!(w.one(earned, store.provider.0).await, 63_000);
    assert_eq!(w.one("SELECT total_bookings::bigint FROM providers WHERE id = $1", store.provider.0).await, 1);
}

#[tokio::test]
async fn the_owner_sees_it_from_the_start() {
    let w = World::new().await;
    let (store, customer) = (w.store(1).await, w.customer().await);
    let booking = w.create(&w.visit(customer, store, None).await).await;
    for (user, sees) in [(store.owner, true), (customer, true), (w.store(1).await.owner, false)] {
        let newest = Ask { from: From::Start, per_page: 10 };
        let page = bookings::list(w.pool(), Some(user), None, newest).await.expect("a statement");
        let ids: Vec<_> = page.rows.iter().map(|view| view.id).collect();
        assert_eq!(ids, if sees { vec![booking] } else { vec![] });
    }
}

#[tokio::test]
async fn a_room_is_taken_for_the_time_of_a_service_and_no_longer() {
    let w = World::new().await;
    let store = w.store(2).await;
    // 10:00 to 11:00, as it were, and one that begins when it ends: they fit into one room.
    for start in [600, 660, 630] {
        w.moved(w.visited(store, Some(start)).await, store.owner, Status::Accepted).await;
    }
    let full = w.visited(store, Some(640)).await;
    let free_from = w.full(full, store).await.expect("a time");
    assert_eq!(w.booking_status(full).await, "pending", "a refused accept changes nothing");
    let wanted =
        w.one("SELECT (extract(epoch FROM scheduled_at) * 1000000)::bigint FROM bookings WHERE id = $1", full.0);
    let minutes_later = (free_from.micros() - wanted.await) / 60_000_000;
    assert!((49..=50).contains(&minutes_later), "free when the one of 630 is over: {minutes_later}");
    // Before, after, and in a gap there is room.
    for start in [540, 720] {
        w.moved(w.visited(store, Some(start)).await, store.owner, Status::Accepted).await;
    }
    w.rooms(store, 3).await;
    w.moved(full, store.owner, Status::Accepted).await;
}

#[tokio::test]
async fn who_is_still_being_served_has_his_room_and_who_did_not_come_has_none_after_his_time() {
    let w = World::new().await;
    let store = w.store(1).await;
    let guest = w.visited(store, None).await;
    w.moved(guest, store.owner, Status::Accepted).await;
    let next = w.visited(store, None).await;
    w.full(next, store).await;
    let hours_ago =
        "UPDATE bookings SET accepted_at = accepted_at - interval '3 h', started_at = started_at - interval '3 h',
                     busy_during = tstzrange(lower(busy_during) - interval '3 h', upper(busy_during) - interval '3 h')
                     WHERE id = $1";
    // Begun: until he leaves, however long it takes.
    w.moved(guest, store.owner, Status::InProgress).await;
    w.run(hours_ago, guest.0).await;
    w.full(next, store).await;
    w.moved(guest, store.owner, Status::Completed).await;
    w.moved(next, store.owner, Status::Accepted).await;
    // Accepted, and nobody came: his time is over, and so is his claim.
    w.run(hours_ago, next.0).await;
    let third = w.visited(store, None).await;
    w.moved(third, store.owner, Status::Accepted).await;
    // He comes late after all: now he needs a room, from now on.
    w.moved(next, store.owner, Status::Arrived).await;
    w.moved(third, store.owner, Status::Cancelled).await;
    w.full(w.visited(store, Some(30)).await, store).await;
}

#[tokio::test]
async fn a_store_is_open_for_all_of_it_when_it_accepts() {
    let w = World::new().await;
    let store = w.store(1).await;
    let hours = |value: serde_json::Value| {
        sqlx::query("UPDATE store_profiles SET operating_hours = $2 WHERE provider_id = $1")
            .bind(store.provider.0)
            .bind(value)
    };
    let booking = w.visited(store, None).await;
    hours(json!({"monday": {"closed": true}})).execute(w.pool()).await.expect("a statement");
    let closed = w.wish(booking, store.owner, Status::Accepted).await;
    assert!(
        matches!(closed, TransitionOutcome::StoreCannot(VisitRefused::NoRoom(NoRoom::Closed { opens_at: None }))),
        "{closed:?}"
    );
    // Hours that nobody can read, or that were never told, are the owner's to know.
    hours(json!("by appointment")).execute(w.pool()).await.expect("a statement");
    w.moved(booking, store.owner, Status::Accepted).await;
}

#[tokio::test]
async fn a_store_that_no_longer_serves_does_not_accept() {
    let w = World::new().await;
    for change in [
        "UPDATE providers SET is_active = FALSE WHERE id = $1",
        "UPDATE providers SET accepts_store_service = FALSE WHERE id = $1",
        "UPDATE provider_services SET store_service_enabled = FALSE WHERE provider_id = $1",
        "INSERT INTO customer_blocks (customer_id, provider_id, blocked_by)
         SELECT customer_id, provider_id, customer_id FROM bookings WHERE provider_id = $1",
    ] {
        let store = w.store(1).await;
        let booking = w.visited(store, None).await;
        w.run(change, store.provider.0).await;
        let refused = w.wish(booking, store.owner, Status::Accepted).await;
        assert!(matches!(refused, TransitionOutcome::StoreCannot(VisitRefused::NotServed)), "{change}: {refused:?}");
    }
}

#[tokio::test]
async fn nobody_is_a_no_show_before_his_time_and_then_it_costs_as_a_late_cancellation_does() {
    let w = World::new().await;
    let store = w.store(1).await;
    let scheduled = w.visited(store, Some(120)).await;
    w.moved(scheduled, store.owner, Status::Accepted).await;
    let early = w.wish(scheduled, store.owner, Status::NoShow).await;
    assert!(matches!(early, TransitionOutcome::Refused { why: Refusal::NotDueYet { .. }, .. }), "{early:?}");
    w.run(
        "UPDATE bookings SET scheduled_at = now() - interval '1 s', accepted_at = now() - interval '3 h' WHERE id = $1",
        scheduled.0,
    )
    .await;
    let gone = w.moved(scheduled, store.owner, Status::NoShow).await.view.booking;
    assert_eq!((gone.status.as_str(), gone.cancellation_fee.to_string().as_str()), ("no_show", "350.00"));
    // Of a `now` booking: nothing within five minutes of the accept, as a cancellation then would cost nothing.
    for (minutes, fee) in [(0, "0.00"), (6, "350.00")] {
        let now = w.visited(store, None).await;
        w.moved(now, store.owner, Status::Accepted).await;
        if minutes > 0 {
            w.run("UPDATE bookings SET accepted_at = accepted_at - interval '6 min' WHERE id = $1", now.0).await;
        }
        let gone = w.moved(now, store.owner, Status::NoShow).await.view.booking;
        assert_eq!(gone.cancellation_fee.to_string(), fee, "after {minutes} min");
    }
}

#[tokio::test]
async fn cancelling_costs_by_who_and_when() {
    let w = World::new().await;
    let store = w.store(9).await;
    // By the customer or the owner, so many minutes ahead, accepted or not -> fee
    for (by_customer, ahead, accept, fee) in [
        (true, 120, false, "0.00"),
        (true, 120, true, "350.00"),
        (true, 25 * 60, true, "0.00"),
        (false, 120, true, "0.00"),
    ] {
        let customer = w.customer().await;
        let booking = w.create(&w.visit(customer, store, Some(ahead)).await).await;
        if accept {
            w.moved(booking, store.owner, Status::Accepted).await;
        }
        let who = if by_customer { customer } else { store.owner };
        let made = w.moved(booking, who, Status::Cancelled).await.view.booking;
        assert_eq!(made.cancellation_fee.to_string(), fee, "{by_customer} {ahead} {accept}");
        assert_eq!(made.cancelled_by.as_deref(), Some(if by_customer { "customer" } else { "provider" }));
    }
}

#[tokio::test]
async fn the_promo_code_is_computed_anew_at_the_accept_and_given_back_by_a_no_show() {
    let w = World::new().await;
    let store = w.store(1).await;
    let code = w
        .one(
            "INSERT INTO promo_codes (code, discount_type, discount_value, valid_from, valid_until, usage_limit)
             VALUES ('TEN', 'percentage', 10, now() - interval '1 d', now() + interval '1 d', 5) RETURNING id",
            0,
        )
        .await;
    let customer = w.customer().await;
    let mut new = w.visit(customer, store, None).await;
    new.promo_code = Some(code);
    new.price.promo_discount = Money::centavos(7_000);
    new.price.total_amount = Money::centavos(63_000);
    let booking = w.create(&new).await;
    w.run("UPDATE promo_codes SET discount_value = 20 WHERE id = $1", code).await;
    let accepted = w.moved(booking, store.owner, Status::Accepted).await.view.booking;
    assert_eq!(
        (accepted.promo_discount.to_string(), accepted.total_amount.to_string()),
        ("140.00".into(), "560.00".into())
    );
    let used = "SELECT usage_count::bigint FROM promo_codes WHERE id = $1";
    assert_eq!(w.one(used, code).await, 1);
    w.moved(booking, store.owner, Status::NoShow).await;
    assert_eq!(w.one(used, code).await, 0);
}

#[tokio::test]
async fn the_system_ends_what_no_owner_answers_at_its_deadline_and_not_before() {
    let w = World::new().await;
    let store = w.store(1).await;
    let booking = w.visited(store, None).await;
    let reason = EndReason::ProviderDidNotAnswer;
    let early = w.end(booking, reason).await;
    assert!(matches!(early, EndOutcome::NotDue(left) if left > Duration::from_secs(290)), "{early:?}");
    w.make_overdue(booking).await;
    let late = w.wish(booking, store.owner, Status::Accepted).await;
    assert!(matches!(late, TransitionOutcome::StoreCannot(VisitRefused::TooLate)), "{late:?}");
    let ended = w.end(booking, reason).await;
    let EndOutcome::Ended { view, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(view.booking.cancellation_reason.as_deref(), Some("provider_did_not_answer"));
    assert_eq!(view.booking.cancelled_by, None);
}

#[tokio::test]
async fn the_dispatcher_tells_the_owner_and_ends_what_he_does_not_answer_also_after_a_restart() {
    let w = World::new().await;
    let (store, customer) = (w.store(1).await, w.customer().await);
    let mut new = w.visit(customer, store, None).await;
    new.dispatch_timeout_s = 1;
    let node = Node::start(&w, |_| {});
    let (mut app, mut desk) = (node.bus.connect(customer, false), node.bus.connect(store.owner, false));
    node.create(new.clone()).await;
    for hears in [&mut app, &mut desk] {
        assert_eq!(hear_status(hears).await, "pending");
        assert_eq!(hear_status(hears).await, "cancelled");
    }
    node.stop().await;

    // Nobody watched when its time was over.
    let left = w.create(&new).await;
    w.make_overdue(left).await;
    let node = Node::start(&w, |_| {});
    let mut desk = node.bus.connect(store.owner, false);
    node.dispatcher.reconcile().await.expect("a statement");
    assert_eq!(hear_status(&mut desk).await, "cancelled");
    node.stop().await;
    assert_eq!(w.one("SELECT count(*) FROM booking_offers", 0).await, 0, "a store's bookings have no offers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_accepts_for_the_last_room_one_wins() {
    let w = World::new().await;
    for _ in 0..16 {
        let store = w.store(2).await;
        w.moved(w.visited(store, Some(90)).await, store.owner, Status::Accepted).await;
        let (one, other) = (w.visited(store, Some(100)).await, w.visited(store, Some(110)).await);
        let (a, b) =
            tokio::join!(w.wish(one, store.owner, Status::Accepted), w.wish(other, store.owner, Status::Accepted));
        let won = [&a, &b].iter().filter(|o| matches!(o, TransitionOutcome::Moved(_))).count();
        assert_eq!(won, 1, "{a:?} {b:?}");
        let accepted = "SELECT count(*) FROM bookings WHERE provider_id = $1 AND status = 'accepted'";
        assert_eq!(w.one(accepted, store.provider.0).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_an_accept_and_a_cancel_at_once_one_comes_first() {
    let w = World::new().await;
    let store = w.store(1).await;
    for _ in 0..24 {
        let customer = w.customer().await;
        let booking = w.create(&w.visit(customer, store, None).await).await;
        let (accept, cancel) =
            tokio::join!(w.wish(booking, store.owner, Status::Accepted), w.wish(booking, customer, Status::Cancelled));
        let TransitionOutcome::Moved(cancelled) = cancel else { panic!("{cancel:?}") };
        match accept {
            TransitionOutcome::Moved(_) => assert_eq!(cancelled.from, Status::Accepted),
            TransitionOutcome::Refused { status, .. } => {
                assert_eq!((status, cancelled.from), (Status::Cancelled, Status::Pending));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(w.booking_status(booking).await, "cancelled");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_an_accept_and_the_deadline_one_comes_first() {
    let w = World::new().await;
    let store = w.store(99).await;
    let mut won = [0, 0];
    for _ in 0..24 {
        let booking = w.visited(store, None).await;
        // It is due while both are on their way.
        w.run("UPDATE bookings SET created_at = clock_timestamp() - interval '299.995 s' WHERE id = $1", booking.0)
            .await;
        let end = async {
            loop {
                match w.end(booking, EndReason::ProviderDidNotAnswer).await {
                    EndOutcome::NotDue(left) => tokio::time::sleep(left).await,
                    other => return other,
                }
            }
        };
        let accept = async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            w.wish(booking, store.owner, Status::Accepted).await
        };
        let (accept, end) = tokio::join!(accept, end);
        match (accept, end) {
            (TransitionOutcome::Moved(_), EndOutcome::NotPending) => won[0] += 1,
            (TransitionOutcome::StoreCannot(VisitRefused::TooLate), EndOutcome::Ended { .. }) => won[1] += 1,
            (TransitionOutcome::Refused { status: Status::Cancelled, .. }, EndOutcome::Ended { .. }) => won[1] += 1,
            both => panic!("{both:?}"),
        }
    }
    println!("accept first {}, deadline first {}", won[0], won[1]);
}
