//! The dispatcher at work: real database, real index, real bus; what the apps hear.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use spacall::clock;
use spacall::cluster::{Bus, Connection, Heard};
use spacall::core::booking::Status;
use spacall::core::fleet::{Duty, Fleet};
use spacall::core::geo::LatLng;
use spacall::core::ids::{BookingId, OfferId, UserId};
use spacall::core::settings::Settings;
use spacall::core::track::Fix;
use spacall::engine::dispatcher::{self, DispatcherHandle};
use spacall::store::bookings::{Actor, CreateOutcome, NewBooking, TransitionOutcome, Wish};
use spacall::store::offers::AcceptOutcome;
use spacall::store::therapists;
use spacall::wire::stream::{OfferEnd, ServerMessage};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::{Therapist, World};

/// Generous: the machine is shared.
const SOON: Duration = Duration::from_secs(20);

pub(super) struct Node {
    pub dispatcher: DispatcherHandle,
    fleet: Arc<Fleet>,
    pub bus: Arc<Bus>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Node {
    pub fn start(w: &World, change: impl FnOnce(&mut Settings)) -> Self {
        Self::over(w.pool().clone(), change)
    }

    /// With a way of its own into the database.
    pub fn over(pool: PgPool, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let (fleet, bus, shutdown) = (Arc::new(Fleet::new()), Arc::new(Bus::new()), CancellationToken::new());
        let (dispatcher, task) = dispatcher::start(
            pool,
            Arc::clone(&fleet),
            Arc::clone(&bus),
            Arc::new(ArcSwap::from_pointee(settings)),
            shutdown.clone(),
        );
        Self { dispatcher, fleet, bus, shutdown, task }
    }

    /// Puts a therapist into the index as his rows say.
    pub async fn known(&self, w: &World, therapist: Therapist) {
        let (rows, bad) = therapists::load(w.pool(), Some(&[therapist.provider])).await.expect("a statement");
        assert!(bad.is_empty() && rows.len() == 1, "{bad:?}");
        for row in rows {
            self.fleet.put(row);
        }
    }

    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The same, `km` north of the customer's place.
    pub async fn place(&self, w: &World, therapist: Therapist, km: f64) {
        self.known(w, therapist).await;
        let place = LatLng::new(14.5547 + km / 111.195, 121.0244).expect("a place");
        self.fleet.restore_position(therapist.provider, Fix::new(clock::now(), place));
    }

    pub fn duty(&self, therapist: Therapist) -> Duty {
        self.fleet.therapist(therapist.provider).expect("in the index").ties.duty()
    }

    pub async fn book(&self, w: &World, customer: UserId) -> BookingId {
        self.create(w.new_booking(customer).await).await
    }

    pub async fn create(&self, new: NewBooking) -> BookingId {
        match self.dispatcher.create(new, None).await.expect("a statement") {
            CreateOutcome::Created { view, .. } => view.id,
            other => panic!("{other:?}"),
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.task).await.expect("it stops").expect("no panic");
    }
}

/// A booking that its only therapist was just asked to take.
pub(super) struct Asked {
    pub(super) booking: BookingId,
    pub(super) offer: OfferId,
    pub(super) therapist: Therapist,
    /// What the customer hears after `pending`.
    pub(super) customers: Connection,
    /// What the therapist hears after the offer.
    pub(super) his: Connection,
}

impl Asked {
    pub(super) async fn by(node: &Node, w: &World) -> Self {
        let (therapist, customer) = (w.therapist().await, w.customer().await);
        node.place(w, therapist, 1.0).await;
        let (mut customers, mut his) = (node.bus.connect(customer, false), node.bus.connect(therapist.user, true));
        let booking = node.book(w, customer).await;
        assert_eq!(hear_status(&mut customers).await, "pending");
        let offer = hear_offer(&mut his).await;
        Self { booking, offer, therapist, customers, his }
    }
}

pub(super) async fn hear(app: &mut Connection) -> Arc<ServerMessage> {
    match tokio::time::timeout(SOON, app.next()).await.expect("something is told in time") {
        Heard::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn hear_offer(app: &mut Connection) -> OfferId {
    match &*hear(app).await {
        ServerMessage::Offer(offer) => offer.offer_id,
        other => panic!("an offer was expected: {other:?}"),
    }
}

pub(super) async fn hear_closed(app: &mut Connection) -> (OfferId, OfferEnd) {
    match &*hear(app).await {
        ServerMessage::OfferClosed { offer_id, reason } => (*offer_id, *reason),
        other => panic!("an offer's end was expected: {other:?}"),
    }
}

pub(super) async fn hear_status(app: &mut Connection) -> String {
    match &*hear(app).await {
        ServerMessage::Booking(booking) => booking.status.clone(),
        other => panic!("a booking was expected: {other:?}"),
    }
}

pub(super) async fn transition(node: &Node, w: &World, booking: BookingId, user: UserId, to: Status) {
    let uuid: String = w.text("SELECT uuid::text FROM bookings WHERE id = $1", booking.0).await;
    let wish = Wish { booking: uuid.parse().expect("a uuid"), actor: Actor { user, admin: false }, to, reason: None };
    let outcome = node.dispatcher.transition(wish).await.expect("a statement");
    assert!(matches!(outcome, TransitionOutcome::Moved(_)), "{outcome:?}");
}

#[tokio::test]
async fn the_nearest_declines_the_next_accepts_and_everyone_is_told() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (near, far) = (w.therapist().await, w.therapist().await);
    node.place(&w, near, 1.0).await;
    node.place(&w, far, 2.0).await;
    let customer = w.customer().await;
    let (mut app, mut near_app, mut far_app) =
        (node.bus.connect(customer, false), node.bus.connect(near.user, true), node.bus.connect(far.user, true));

    let booking = node.book(&w, customer).await;
    assert_eq!(hear_status(&mut app).await, "pending");
    let first = hear_offer(&mut near_app).await;
    assert!(matches!(node.duty(near), Duty::Offered { .. }));
    assert_eq!(node.duty(far), Duty::Idle, "one offer at a time");
    node.dispatcher.received(first, near.provider).await.expect("a statement");
    assert_eq!(hear_offer(&mut near_app).await, first, "sent again with the time that counts");
    node.dispatcher.decline(first, near.provider, Some("too_far".into())).await.expect("a statement");
    assert_eq!(hear_closed(&mut near_app).await, (first, OfferEnd::Declined));
    assert_eq!(node.duty(near), Duty::Idle);

    let second = hear_offer(&mut far_app).await;
    let won = node.dispatcher.accept(second, far.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    assert_eq!(hear_closed(&mut far_app).await, (second, OfferEnd::Accepted));
    assert_eq!(hear_status(&mut far_app).await, "accepted");
    assert_eq!(hear_status(&mut app).await, "accepted");
    assert!(matches!(node.duty(far), Duty::Booked { en_route_to: None, .. }));

    for (to, way) in [(Status::EnRoute, true), (Status::Arrived, false), (Status::InProgress, false)] {
        transition(&node, &w, booking, far.user, to).await;
        assert_eq!(hear_status(&mut app).await, to.as_str());
        assert_eq!(hear_status(&mut far_app).await, to.as_str());
        assert!(matches!(node.duty(far), Duty::Booked { en_route_to, .. } if en_route_to.is_some() == way));
    }
    transition(&node, &w, booking, far.user, Status::Completed).await;
    assert_eq!(node.duty(far), Duty::Idle);
    node.stop().await;
    let kinds: Vec<String> =
        sqlx::query_scalar("SELECT kind FROM dispatch_decisions WHERE booking_id = $1 ORDER BY id")
            .bind(booking.0)
            .fetch_all(w.pool())
            .await
            .expect("a statement");
    for kind in ["searching", "asked", "offered", "declined", "accepted"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} is not in the log: {kinds:?}");
    }
}

#[tokio::test]
async fn silence_passes_the_offer_on_and_the_deadline_ends_the_search_with_a_reason() {
    let w = World::new().await;
    let node = Node::start(&w, |s| {
        (s.dispatch.offer_ttl_s, s.dispatch.receipt_grace_s) = (1, 0);
    });
    let silent = w.therapist().await;
    node.place(&w, silent, 1.0).await;
    let customer = w.customer().await;
    let (mut app, mut silent_app) = (node.bus.connect(customer, false), node.bus.connect(silent.user, true));
    let mut new = w.new_booking(customer).await;
    new.dispatch_timeout_s = 4;
    let made = node.dispatcher.create(new, None).await.expect("a statement");
    assert!(matches!(made, CreateOutcome::Created { .. }));
    assert_eq!(hear_status(&mut app).await, "pending");
    let offer = hear_offer(&mut silent_app).await;
    assert_eq!(hear_closed(&mut silent_app).await, (offer, OfferEnd::Expired));
    match &*hear(&mut app).await {
        ServerMessage::Booking(b) => {
            assert_eq!((b.status.as_str(), b.cancelled_by.as_deref()), ("cancelled", None));
            assert_eq!(b.cancellation_reason.as_deref(), Some("no_therapist_available"));
        }
        other => panic!("{other:?}"),
    }
    node.stop().await;
}

#[tokio::test]
async fn an_offer_whose_time_ends_with_its_bookings_has_expired() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    for chosen in [false, true] {
        let (therapist, customer) = (w.therapist().await, w.customer().await);
        node.place(&w, therapist, 1.0).await;
        let mut his = node.bus.connect(therapist.user, true);
        let mut new = w.new_booking(customer).await;
        (new.dispatch_timeout_s, new.chosen) = (2, chosen.then_some(therapist.provider));
        let booking = node.create(new).await;
        let offer = hear_offer(&mut his).await;
        let apart = "SELECT count(*) FROM booking_offers o JOIN bookings b ON b.id = o.booking_id
                     WHERE o.id = $1 AND o.expires_at <> b.created_at + make_interval(secs => b.dispatch_timeout_s)";
        assert_eq!(w.one(apart, offer.0).await, 0, "it ends at the deadline");
        assert_eq!(hear_closed(&mut his).await, (offer, OfferEnd::Expired), "chosen: {chosen}");
        assert_eq!(w.offer_status(offer).await, "expired");
        let late = node.dispatcher.accept(offer, therapist.provider).await.expect("a statement");
        assert!(matches!(late, AcceptOutcome::Gone { reason: OfferEnd::Expired, .. }), "{late:?}");
        assert_eq!(w.booking_status(booking).await, "cancelled");
        // The next one is to be asked without him.
        w.run("UPDATE providers SET is_available = FALSE WHERE id = $1", therapist.provider.0).await;
        node.known(&w, therapist).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_therapist_who_comes_online_is_asked_at_once() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let late = w.therapist().await;
    let mut late_app = node.bus.connect(late.user, true);
    node.book(&w, w.customer().await).await;
    node.place(&w, late, 1.0).await;
    node.dispatcher.supply_appeared();
    hear_offer(&mut late_app).await;
    node.stop().await;
}

#[tokio::test]
async fn a_live_offer_survives_a_restart() {
    let w = World::new().await;
    let before = Node::start(&w, |_| {});
    let (therapist, customer) = (w.therapist().await, w.customer().await);
    before.place(&w, therapist, 1.0).await;
    let mut app = before.bus.connect(therapist.user, true);
    let booking = before.book(&w, customer).await;
    let offer = hear_offer(&mut app).await;
    before.stop().await;

    let after = Node::start(&w, |_| {});
    after.place(&w, therapist, 1.0).await;
    after.dispatcher.reconcile().await.expect("the rows are read");
    let mut app = after.bus.connect(customer, false);
    let won = after.dispatcher.accept(offer, therapist.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    assert_eq!(hear_status(&mut app).await, "accepted");
    assert_eq!(w.booking_status(booking).await, "accepted");
    after.stop().await;
}

#[tokio::test]
async fn a_pending_booking_found_at_the_start_is_searched_for() {
    let w = World::new().await;
    let booking = w.booking().await;
    let node = Node::start(&w, |_| {});
    let therapist = w.therapist().await;
    node.place(&w, therapist, 1.0).await;
    let mut app = node.bus.connect(therapist.user, true);
    node.dispatcher.reconcile().await.expect("the rows are read");
    let offer = hear_offer(&mut app).await;
    assert_eq!(w.one("SELECT booking_id FROM booking_offers WHERE id = $1", offer.0).await, booking.0);
    node.stop().await;
}

#[tokio::test]
async fn a_booking_cancelled_by_sql_withdraws_its_offer_and_is_told() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let Asked { booking, offer, therapist, customers: mut app, mut his } = Asked::by(&node, &w).await;
    w.run("UPDATE bookings SET status = 'cancelled', cancelled_by = customer_id WHERE id = $1", booking.0).await;
    for _ in 0..2 {
        node.dispatcher.changed(booking, None).await; // notifications may come twice
    }
    assert_eq!(hear_status(&mut app).await, "cancelled");
    assert_eq!(hear_closed(&mut his).await, (offer, OfferEnd::Withdrawn));
    assert_eq!((w.offer_status(offer).await.as_str(), node.duty(therapist)), ("withdrawn", Duty::Idle));
    let nothing = tokio::time::timeout(Duration::from_millis(200), app.next()).await;
    assert!(nothing.is_err(), "told once: {nothing:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_booking_given_back_goes_to_the_next() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (first, second) = (w.therapist().await, w.therapist().await);
    node.place(&w, first, 1.0).await;
    node.place(&w, second, 2.0).await;
    let (mut first_app, mut second_app) = (node.bus.connect(first.user, true), node.bus.connect(second.user, true));
    let booking = node.book(&w, w.customer().await).await;
    let offer = hear_offer(&mut first_app).await;
    node.dispatcher.accept(offer, first.provider).await.expect("a statement");
    transition(&node, &w, booking, first.user, Status::Pending).await;
    assert_eq!(node.duty(first), Duty::Idle);
    let next = hear_offer(&mut second_app).await;
    let won = node.dispatcher.accept(next, second.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    node.stop().await;
}

#[tokio::test]
async fn who_does_not_set_out_in_time_loses_the_booking_to_the_next() {
    let w = World::new().await;
    let node = Node::start(&w, |s| s.booking_timeout.accepted = 1);
    let (first, second) = (w.therapist().await, w.therapist().await);
    node.place(&w, first, 1.0).await;
    let mut first_app = node.bus.connect(first.user, true);
    let booking = node.book(&w, w.customer().await).await;
    let offer = hear_offer(&mut first_app).await;
    node.dispatcher.accept(offer, first.provider).await.expect("a statement");
    assert_eq!(hear_closed(&mut first_app).await, (offer, OfferEnd::Accepted));
    assert_eq!(hear_status(&mut first_app).await, "accepted");
    node.place(&w, second, 2.0).await;
    let mut second_app = node.bus.connect(second.user, true);
    assert_eq!(hear_status(&mut first_app).await, "pending", "he is told that it is no longer his");
    hear_offer(&mut second_app).await;
    assert_eq!(w.booking_status(booking).await, "pending");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_bookings_and_few_therapists_end_with_one_booking_each() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let mut answering = Vec::new();
    for n in 0..6 {
        let therapist = w.therapist().await;
        node.place(&w, therapist, 0.5 + f64::from(n) * 0.3).await;
        let (mut app, dispatcher) = (node.bus.connect(therapist.user, true), node.dispatcher.clone());
        answering.push(tokio::spawn(async move {
            let offer = hear_offer(&mut app).await;
            matches!(dispatcher.accept(offer, therapist.provider).await, Ok(AcceptOutcome::Accepted(_)))
        }));
    }
    for _ in 0..12 {
        node.book(&w, w.customer().await).await;
    }
    for task in answering {
        assert!(task.await.expect("no panic"), "each therapist wins the booking he was asked for");
    }
    assert_eq!(w.one("SELECT count(*) FROM bookings WHERE status = 'accepted'", 0).await, 6);
    let twice = "SELECT count(*) FROM (SELECT provider_id FROM bookings WHERE status = 'accepted'
                 GROUP BY provider_id HAVING count(*) > 1) t";
    assert_eq!(w.one(twice, 0).await, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_cut_off_what_follows_the_commit() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let Asked { offer, therapist, customers: mut app, .. } = Asked::by(&node, &w).await;
    let gave_up = tokio::time::timeout(Duration::ZERO, node.dispatcher.accept(offer, therapist.provider)).await;
    assert!(gave_up.is_err(), "the request was dropped while its transaction ran");
    assert_eq!(hear_status(&mut app).await, "accepted");
    assert!(matches!(node.duty(therapist), Duty::Booked { .. }));
    node.stop().await;
}
