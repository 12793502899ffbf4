//! A tip changes a booking that moves no more: it is told all the same, at every node.

use spacall::core::money::Money;
use spacall::store::bookings::view_by_id;
use spacall::store::changes::{Change, Listener};
use spacall::store::idempotency::Once;
use spacall::store::tips::{self, NewTip};
use spacall::wire::stream::ServerMessage;

use super::announced::heard;
use super::dispatcher::{Node, hear};
use super::world::World;

#[tokio::test]
async fn a_tip_is_told_to_both_parties_and_heard_by_all_nodes() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (customer, therapist) = (w.customer().await, w.therapist().await);
    let booking = w.create(&w.new_booking(customer).await).await;
    w.run(
        "UPDATE bookings SET status = 'accepted', accepted_at = now(),
                provider_id = (SELECT max(id) FROM providers) WHERE id = $1",
        booking.0,
    )
    .await;
    for status in ["en_route", "arrived", "in_progress", "completed"] {
        let step = "UPDATE bookings SET status = $2::booking_status WHERE id = $1";
        sqlx::query(step).bind(booking.0).bind(status).execute(w.pool()).await.expect("a step");
    }
    let (mut hers, mut his) = (node.bus.connect(customer, false), node.bus.connect(therapist.user, true));
    let mut listener = Listener::open(w.pool()).await.expect("a connection");
    let view = view_by_id(&mut w.pool().acquire().await.expect("a connection"), booking).await.expect("a statement");
    let tip = NewTip { booking: view.expect("a booking").booking.uuid, customer, amount: Money::centavos(5_000) };
    let given = tips::give(w.pool(), &tip, None).await.expect("a statement");
    let Once::Made(Some(view), _) = given else { panic!("{given:?}") };
    node.dispatcher.changed_here(&view);
    for app in [&mut hers, &mut his] {
        match &*hear(app).await {
            ServerMessage::Booking(told) => assert_eq!(told.tip_amount, Money::centavos(5_000)),
            other => panic!("{other:?}"),
        }
    }
    // By the transaction itself, and by the node that knows the state it made.
    let told = [Change::Booking(booking, None), w.version(booking).await, Change::Provider(therapist.provider)];
    heard(&mut listener, told).await;
    node.stop().await;
}
