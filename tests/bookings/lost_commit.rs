//! The connection is lost between COMMIT and its answer: what was made is found, and dispatch starts.

use spacall::cluster::Connection;
use spacall::core::booking::Status;
use spacall::core::money::Money;
use spacall::store::bookings::{self, Actor, CreateOutcome, NewBooking, Wish};
use spacall::store::changes::{Change, Listener};
use spacall::store::idempotency::{Claim, Key, Once};
use spacall::store::tips::{self, NewTip};
use spacall::store::transactions::{self, Verdict};
use spacall::store::wallets;
use spacall::store::{self, StoreError};
use spacall::wire::stream::OfferEnd;

use super::announced::heard;
use super::dispatcher::{Asked, Node, hear_closed, hear_offer, hear_status};
use super::world::{Therapist, World};
use crate::support::door::Door;

async fn opened(w: &World, late: bool) -> (Door, sqlx::PgPool) {
    let (door, options) = Door::open(&w.db, late);
    (door, store::connect(options, 8).await.expect("a pool"))
}

/// A customer's request, and the one therapist who may be asked.
async fn asked(w: &World, node: &Node) -> (NewBooking, Therapist) {
    let (customer, therapist) = (w.customer().await, w.therapist().await);
    node.place(w, therapist, 1.0).await;
    (w.new_booking(customer).await, therapist)
}

/// The customer's app, and his.
fn listening(node: &Node, new: &NewBooking, therapist: Therapist) -> (Connection, Connection) {
    (node.bus.connect(new.customer, false), node.bus.connect(therapist.user, true))
}

fn key() -> Key {
    Key { key: "k".to_owned(), request_hash: [1; 32] }
}

async fn bookings_made(w: &World) -> i64 {
    w.one("SELECT count(*) FROM bookings", 0).await
}

#[tokio::test]
async fn a_booking_whose_commit_was_not_answered_is_found_at_once_and_its_search_starts() {
    let w = World::new().await;
    let (door, pool) = opened(&w, false).await;
    let node = Node::over(pool, |_| {});
    let (new, therapist) = asked(&w, &node).await;
    let (mut app, mut his) = listening(&node, &new, therapist);
    door.lose_the_next_commit_of(new.customer);
    let made = node.dispatcher.create(new.clone(), Some(key())).await.expect("found");
    let CreateOutcome::Created { view, body } = made else { panic!("{made:?}") };
    assert_eq!(hear_status(&mut app).await, "pending");
    hear_offer(&mut his).await;

    let again = node.dispatcher.create(new, Some(key())).await.expect("a statement");
    assert!(matches!(&again, CreateOutcome::Replay { body: kept, .. } if *kept == body), "{again:?}");
    assert_eq!((bookings_made(&w).await, view.booking.status.as_str()), (1, "pending"));
    node.stop().await;
}

#[tokio::test]
async fn a_commit_that_happens_after_its_connection_was_lost_is_found_too() {
    let w = World::new().await;
    let (door, pool) = opened(&w, true).await;
    let node = Node::over(pool, |_| {});
    let (new, therapist) = asked(&w, &node).await;
    let (mut app, mut his) = listening(&node, &new, therapist);
    door.lose_the_next_commit_of(new.customer);
    let lost = node.dispatcher.create(new, None).await.expect_err("nobody knows");
    assert!(matches!(lost, StoreError::Undecided(_)) && lost.is_unavailable(), "{lost}");
    assert_eq!(bookings_made(&w).await, 0);
    door.let_the_late_one_through();
    assert_eq!(hear_status(&mut app).await, "pending");
    hear_offer(&mut his).await;
    node.stop().await;
}

#[tokio::test]
async fn a_request_that_is_sent_again_starts_the_search_that_nobody_has_started() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (new, therapist) = asked(&w, &node).await;
    let (mut app, mut his) = listening(&node, &new, therapist);
    // The first time at a node that was killed before it told anybody.
    let made = bookings::create(w.pool(), &new, Some(&key())).await.expect("a statement");
    assert!(matches!(made, CreateOutcome::Created { .. }), "{made:?}");
    for _ in 0..2 {
        let again = node.dispatcher.create(new.clone(), Some(key())).await.expect("a statement");
        assert!(matches!(again, CreateOutcome::Replay { .. }), "{again:?}");
    }
    assert_eq!(hear_status(&mut app).await, "pending");
    hear_offer(&mut his).await;
    let nothing = tokio::time::timeout(std::time::Duration::from_millis(200), app.next()).await;
    assert!(nothing.is_err(), "told once: {nothing:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_request_that_is_sent_again_withdraws_the_offers_of_a_booking_that_was_ended_in_sql() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (new, therapist) = asked(&w, &node).await;
    let (mut app, mut his) = listening(&node, &new, therapist);
    let made = node.dispatcher.create(new.clone(), Some(key())).await.expect("a statement");
    let CreateOutcome::Created { view, .. } = made else { panic!("{made:?}") };
    assert_eq!(hear_status(&mut app).await, "pending");
    let offer = hear_offer(&mut his).await;
    node.stop().await;
    w.run("UPDATE bookings SET status = 'cancelled', cancelled_by = customer_id WHERE id = $1", view.id.0).await;
    // Another node, which knows of neither: its state is told once, so all that follows from it must be done then.
    let node = Node::start(&w, |_| {});
    let (mut app, mut his) = listening(&node, &new, therapist);
    let again = node.dispatcher.create(new, Some(key())).await.expect("a statement");
    assert!(matches!(again, CreateOutcome::Replay { .. }), "{again:?}");
    assert_eq!(hear_status(&mut app).await, "cancelled");
    assert_eq!(hear_closed(&mut his).await, (offer, OfferEnd::Withdrawn));
    node.stop().await;
}

#[tokio::test]
async fn a_move_whose_commit_was_not_answered_is_told_and_its_therapist_is_read_again() {
    let w = World::new().await;
    let (door, pool) = opened(&w, false).await;
    let node = Node::over(pool, |_| {});
    let Asked { booking, offer, therapist, customers: mut app, .. } = Asked::by(&node, &w).await;
    node.dispatcher.accept(offer, therapist.provider).await.expect("a statement");
    assert_eq!(hear_status(&mut app).await, "accepted");
    let uuid: String = w.text("SELECT uuid::text FROM bookings WHERE id = $1", booking.0).await;
    let actor = Actor { user: therapist.user, admin: false };
    let wish = Wish { booking: uuid.parse().expect("a uuid"), actor, to: Status::EnRoute, reason: None };
    node.dispatcher.announce_rest().await;
    let mut listener = Listener::open(w.pool()).await.expect("a connection");
    door.lose_the_next_commit_of(therapist.user);
    let lost = node.dispatcher.transition(wish).await.expect_err("its answer was lost");
    assert!(matches!(lost, StoreError::Undecided(_)), "{lost}");
    assert_eq!(hear_status(&mut app).await, "en_route");
    heard(&mut listener, [w.version(booking).await, Change::Provider(therapist.provider)]).await;
    node.stop().await;
}

#[tokio::test]
async fn money_whose_commit_was_not_answered_is_moved_once_and_its_key_tells() {
    let w = World::new().await;
    let (door, pool) = opened(&w, false).await;
    let (customer, admin) = (w.customer().await, w.user("Ada").await);
    let key = |key: &str| Some(Key { key: key.to_owned(), request_hash: [1; 32] });
    let undecided = |error: StoreError| assert!(matches!(error, StoreError::Undecided(_)), "{error}");

    door.lose_the_commit_after("lost-top-up".to_owned());
    let ask = async || wallets::ask_top_up(&pool, customer, Money::centavos(50_000), "gcash", key("lost-top-up")).await;
    undecided(ask().await.expect_err("its answer was lost"));
    let again = ask().await.expect("a statement");
    let Once::Before(Claim::Replay { status: 201, body }) = again else { panic!("{again:?}") };
    assert_eq!(w.one("SELECT count(*) FROM transactions", 0).await, 1);

    let transaction = body["uuid"].as_str().expect("a uuid").parse().expect("a uuid");
    let verdict = Verdict { transaction, by: admin, completed: true, reason: None, gateway: None };
    door.lose_the_commit_after("lost-verdict".to_owned());
    undecided(transactions::settle(&pool, &verdict, key("lost-verdict")).await.expect_err("its answer was lost"));
    for repeated in [key("lost-verdict"), None] {
        let again = transactions::settle(&pool, &verdict, repeated).await.expect("a statement");
        assert!(matches!(again, Once::Before(Claim::Replay { status: 200, .. }) | Once::Made(None, _)), "{again:?}");
    }
    assert_eq!(wallets::balance(&pool, customer).await.expect("a statement"), Money::centavos(50_000));

    let mut new = w.new_booking(customer).await;
    new.payment_method = "wallet".to_owned();
    let booking = w.create(&new).await;
    w.therapist().await;
    for step in [
        "UPDATE bookings SET status = 'accepted', accepted_at = now(), provider_id = (SELECT max(id) FROM providers)
         WHERE id = $1",
        "UPDATE bookings SET status = 'en_route' WHERE id = $1",
        "UPDATE bookings SET status = 'arrived' WHERE id = $1",
        "UPDATE bookings SET status = 'in_progress' WHERE id = $1",
        "UPDATE bookings SET status = 'completed' WHERE id = $1",
    ] {
        w.run(step, booking.0).await;
    }
    let uuid: String = w.text("SELECT uuid::text FROM bookings WHERE id = $1", booking.0).await;
    let tip = NewTip { booking: uuid.parse().expect("a uuid"), customer, amount: Money::centavos(10_000) };
    door.lose_the_commit_after("lost-tip".to_owned());
    undecided(tips::give(&pool, &tip, key("lost-tip")).await.expect_err("its answer was lost"));
    let again = tips::give(&pool, &tip, key("lost-tip")).await.expect("a statement");
    assert!(matches!(again, Once::Before(Claim::Replay { status: 201, .. })), "{again:?}");
    assert_eq!(wallets::balance(&pool, customer).await.expect("a statement"), Money::centavos(40_000));
    assert_eq!(w.one("SELECT count(*) FROM transactions WHERE type = 'tip'", 0).await, 1);
    assert_eq!(w.one("SELECT (tip_amount * 100)::bigint FROM bookings WHERE id = $1", booking.0).await, 10_000);
}
