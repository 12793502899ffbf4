//! The policies at a real database: who is asked at a time, who wins, who may be asked again.

use std::time::Duration;

use spacall::clock;
use spacall::core::booking::Status;
use spacall::core::dispatch::{Decision, Standing};
use spacall::core::settings::{DispatchPolicy, Settings};
use spacall::store::bookings::{self, SearchRules};
use spacall::store::decisions;
use spacall::store::offers::{self, AcceptOutcome, PersistOutcome};
use spacall::wire::stream::OfferEnd;
use spacall::wire::time::to_chrono;

use super::dispatcher::{Node, hear_closed, hear_offer, transition};
use super::world::World;

fn broadcast(settings: &mut Settings) {
    settings.dispatch.policy = DispatchPolicy::Broadcast;
    settings.dispatch.broadcast.width = 2;
}

#[tokio::test]
async fn a_broadcast_is_won_by_the_first_and_withdrawn_from_the_others() {
    let w = World::new().await;
    let node = Node::start(&w, broadcast);
    let (near, next, far) = (w.therapist().await, w.therapist().await, w.therapist().await);
    for (therapist, km) in [(near, 1.0), (next, 1.5), (far, 2.0)] {
        node.place(&w, therapist, km).await;
    }
    let [mut near_app, mut next_app] = [near, next].map(|t| node.bus.connect(t.user, true));
    let booking = node.book(&w, w.customer().await).await;
    let (first, second) = (hear_offer(&mut near_app).await, hear_offer(&mut next_app).await);
    let asked = "SELECT count(*) FROM booking_offers WHERE booking_id = $1 AND status = 'offered'";
    assert_eq!(w.one(asked, booking.0).await, 2, "two at a time, not three");

    let won = node.dispatcher.accept(second, next.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    assert_eq!(hear_closed(&mut near_app).await, (first, OfferEnd::Withdrawn));
    let late = node.dispatcher.accept(first, near.provider).await.expect("a statement");
    assert!(matches!(late, AcceptOutcome::Gone { reason: OfferEnd::Withdrawn, .. }), "{late:?}");
    assert_eq!(w.one(asked, booking.0).await, 0);

    // Who was only too slow may be asked when the winner gives it back.
    transition(&node, &w, booking, next.user, Status::Pending).await;
    hear_offer(&mut near_app).await;
    node.stop().await;
}

#[tokio::test]
async fn a_window_gives_two_bookings_two_therapists() {
    let w = World::new().await;
    let node = Node::start(&w, |settings| {
        settings.dispatch.policy = DispatchPolicy::Batched;
        settings.dispatch.batch.window_s = 0.5;
    });
    let (one, other) = (w.therapist().await, w.therapist().await);
    node.place(&w, one, 1.0).await;
    node.place(&w, other, 2.0).await;
    let [mut one_app, mut other_app] = [one, other].map(|t| node.bus.connect(t.user, true));
    for _ in 0..2 {
        node.book(&w, w.customer().await).await;
    }
    let offers = [hear_offer(&mut one_app).await, hear_offer(&mut other_app).await];
    for (offer, therapist) in offers.into_iter().zip([one, other]) {
        let won = node.dispatcher.accept(offer, therapist.provider).await.expect("a statement");
        assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    }
    node.stop().await;
    let matched = "SELECT count(*) FROM dispatch_decisions WHERE kind = 'matched'";
    assert!(w.one(matched, 0).await >= 2, "explain shows the matchings");
}

#[tokio::test]
async fn a_therapist_who_finishes_is_asked_for_who_waits() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let therapist = w.therapist().await;
    node.place(&w, therapist, 1.0).await;
    let mut app = node.bus.connect(therapist.user, true);
    let booking = node.book(&w, w.customer().await).await;
    let offer = hear_offer(&mut app).await;
    node.dispatcher.accept(offer, therapist.provider).await.expect("a statement");
    let waiting = node.book(&w, w.customer().await).await;
    for to in [Status::EnRoute, Status::Arrived, Status::InProgress, Status::Completed] {
        transition(&node, &w, booking, therapist.user, to).await;
    }
    let offered = loop {
        let heard = tokio::time::timeout(Duration::from_secs(20), app.next()).await.expect("in time");
        if let spacall::cluster::Heard::Message(message) = heard
            && let spacall::wire::stream::ServerMessage::Offer(offer) = &*message
        {
            break offer.offer_id;
        }
    };
    assert_eq!(w.one("SELECT booking_id FROM booking_offers WHERE id = $1", offered.0).await, waiting.0);
    node.stop().await;
}

#[tokio::test]
async fn a_booking_has_no_more_live_offers_than_its_policy_says() {
    let w = World::new().await;
    let (one, other) = (w.therapist().await, w.therapist().await);
    let booking = w.booking().await;
    let mut new = w.new_offer(booking, one, 1).await;
    new.width = 1;
    assert!(matches!(offers::persist(w.pool(), &new).await, Ok(PersistOutcome::Offered(_))));
    let mut second = w.new_offer(booking, other, 2).await;
    second.width = 1;
    assert!(matches!(offers::persist(w.pool(), &second).await, Ok(PersistOutcome::Enough)));
    second.width = 2;
    assert!(matches!(offers::persist(w.pool(), &second).await, Ok(PersistOutcome::Offered(_))));

    let standing = bookings::standing(w.pool(), booking, &SearchRules::from(&Settings::default())).await;
    match standing.expect("a statement") {
        Standing::Pending { live, .. } => {
            assert_eq!(live.iter().map(|offer| offer.provider).collect::<Vec<_>>(), [one.provider, other.provider]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_write_that_comes_after_its_search_is_refused() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let booking = w.booking().await;
    let new = w.new_offer(booking, therapist, 1).await;
    w.run("UPDATE bookings SET dispatch_timeout_s = dispatch_timeout_s + 60 WHERE id = $1", booking.0).await;
    assert!(matches!(offers::persist(w.pool(), &new).await, Ok(PersistOutcome::BookingGone)));
}

#[tokio::test]
async fn what_is_logged_can_be_read_back_for_a_replay() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let therapist = w.therapist().await;
    node.place(&w, therapist, 1.0).await;
    let mut app = node.bus.connect(therapist.user, true);
    let booking = node.book(&w, w.customer().await).await;
    let offer = hear_offer(&mut app).await;
    node.dispatcher.accept(offer, therapist.provider).await.expect("a statement");
    node.stop().await;
    let now = to_chrono(clock::now()).expect("a time of our days");
    let hour = chrono::TimeDelta::hours(1);
    let (log, unknown) = decisions::between(w.pool(), now - hour, now + hour, 100).await.expect("a statement");
    assert_eq!(unknown, 0);
    assert!(log.iter().all(|Decision { booking: of, .. }| *of == booking));
    let replayed = spacall::simulate::replay::replay(&log, |logged| logged.expect("logged"));
    assert_eq!(replayed.changed().count(), 0, "{}", replayed.text());
    assert_eq!(replayed.bookings[0].replayed.taken_by, Some(therapist.provider));
}
