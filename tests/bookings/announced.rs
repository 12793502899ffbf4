//! What one node does, the others hear of: after the commit, each change once.

use std::collections::BTreeSet;
use std::time::Duration;

use spacall::core::booking::Status;
use spacall::core::ids::BookingId;
use spacall::store::changes::{Change, Listener};
use spacall::store::offers::{self, AcceptOutcome};

use super::dispatcher::{Asked, Node, hear_offer, hear_status, transition};
use super::world::World;

/// Generous: the machine is shared.
const SOON: Duration = Duration::from_secs(20);

/// What is heard until all of `wanted` are; each at most once.
pub(super) async fn heard(listener: &mut Listener, wanted: impl IntoIterator<Item = Change>) {
    let mut wanted: BTreeSet<_> = wanted.into_iter().collect();
    while !wanted.is_empty() {
        let change = tokio::time::timeout(SOON, listener.next()).await.expect("heard in time").expect("a connection");
        let change = change.expect("a connection");
        assert!(wanted.remove(&change), "{change:?} was heard, waited for are {wanted:?}");
    }
}

impl World {
    pub(super) async fn version(&self, booking: BookingId) -> Change {
        let view =
            spacall::store::bookings::view_by_id(&mut self.pool().acquire().await.expect("a connection"), booking)
                .await
                .expect("a statement")
                .expect("a booking");
        Change::Booking(booking, Some(view.version))
    }
}

#[tokio::test]
async fn each_move_of_a_node_is_heard_by_all_with_the_state_it_made() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (first, second) = (w.therapist().await, w.therapist().await);
    node.place(&w, first, 1.0).await;
    node.place(&w, second, 2.0).await;
    let (mut app, mut next_app) = (node.bus.connect(first.user, true), node.bus.connect(second.user, true));
    let mut listener = Listener::open(w.pool()).await.expect("a connection");
    let provider = |of: super::world::Therapist| Change::Provider(of.provider);

    let booking = node.book(&w, w.customer().await).await;
    let offer = hear_offer(&mut app).await;
    heard(&mut listener, [w.version(booking).await, provider(first)]).await;
    node.dispatcher.decline(offer, first.provider, None).await.expect("a statement");
    let offer = hear_offer(&mut next_app).await;
    heard(&mut listener, [provider(first), provider(second)]).await;
    node.dispatcher.accept(offer, second.provider).await.expect("a statement");
    heard(&mut listener, [w.version(booking).await, provider(second)]).await;
    transition(&node, &w, booking, second.user, Status::EnRoute).await;
    heard(&mut listener, [w.version(booking).await, provider(second)]).await;

    // What others do in SQL is told by the triggers.
    w.run("UPDATE bookings SET status = 'arrived' WHERE id = $1", booking.0).await;
    heard(&mut listener, [Change::Booking(booking, None), provider(second)]).await;
    node.stop().await;
}

#[tokio::test]
async fn what_a_node_had_not_told_when_it_died_is_found_by_the_others_next_look() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let Asked { offer, therapist, customers: mut app, .. } = Asked::by(&node, &w).await;
    // Another node commits the accept, and is killed before it tells anybody.
    let won = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    for _ in 0..2 {
        node.dispatcher.catch_up().await.expect("the rows are read");
    }
    assert_eq!(hear_status(&mut app).await, "accepted");
    let nothing = tokio::time::timeout(Duration::from_millis(200), app.next()).await;
    assert!(nothing.is_err(), "told once: {nothing:?}");
    node.stop().await;
}

#[tokio::test]
async fn however_much_moved_while_nobody_listened_nothing_is_left_out() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let Asked { offer, therapist, customers: mut app, .. } = Asked::by(&node, &w).await;
    node.dispatcher.catch_up().await.expect("the rows are read");
    // An hour of others' bookings is before it, and after it.
    let other = w.booking().await;
    let much = "INSERT INTO booking_status_history (booking_id, from_status, to_status)
                SELECT $1, 'pending', 'accepted' FROM generate_series(1, 21000)";
    w.run(much, other.0).await;
    let won = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    w.run(much, other.0).await;
    w.run("UPDATE booking_status_history SET created_at = now() - interval '1 hour' WHERE id > $1", 0).await;
    node.dispatcher.catch_up().await.expect("the rows are read");
    assert_eq!(hear_status(&mut app).await, "accepted");
    node.stop().await;
}
