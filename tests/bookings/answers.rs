//! What else happens to an offer: made, received, declined, expired.

use std::time::Duration;

use spacall::core::ids::OfferId;
use spacall::store::offers::{self, DeclineOutcome, ExpireOutcome, PersistOutcome, ReceiptOutcome, Ttls};
use spacall::wire::stream::OfferEnd;

use super::world::World;

const TTLS: Ttls = Ttls {
    offer: Duration::from_secs(20),
    chosen: Duration::from_secs(60),
    scheduled: Duration::from_secs(20),
    scheduled_chosen: Duration::from_secs(86_400),
};

async fn lives_s(w: &World, offer: OfferId) -> f64 {
    sqlx::query_scalar("SELECT extract(epoch FROM expires_at - offered_at)::float8 FROM booking_offers WHERE id = $1")
        .bind(offer.0)
        .fetch_one(w.pool())
        .await
        .expect("the offer")
}

#[tokio::test]
async fn an_offer_ends_with_its_booking_at_the_latest() {
    let w = World::new().await;
    let long = w.offer(w.booking().await, w.therapist().await, 1).await;
    assert_eq!(lives_s(&w, long).await, 25.0);
    let booking = w.booking().await;
    w.run("UPDATE bookings SET created_at = created_at - interval '290 s' WHERE id = $1", booking.0).await;
    let short = w.offer(booking, w.therapist().await, 1).await;
    assert!(lives_s(&w, short).await < 10.1);
    w.make_overdue(booking).await;
    assert!(matches!(w.persist(booking, w.therapist().await, 2).await, PersistOutcome::BookingGone));
}

#[tokio::test]
async fn a_therapist_has_one_live_offer_and_an_unswept_one_does_not_block_him() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let first = w.offer(w.booking().await, therapist, 1).await;
    let second = w.booking().await;
    assert!(matches!(w.persist(second, therapist, 1).await, PersistOutcome::ProviderTaken));
    w.make_due(first).await;
    w.offer(second, therapist, 1).await;
    assert_eq!(w.offer_status(first).await, "expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_bookings_that_want_one_therapist_exactly_one_offer_is_made() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (pool, new) = (w.pool().clone(), w.new_offer(w.booking().await, therapist, 1).await);
        tasks.push(tokio::spawn(async move { offers::persist(&pool, &new).await.expect("a statement") }));
    }
    let mut offered = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            PersistOutcome::Offered(_) => offered += 1,
            PersistOutcome::ProviderTaken => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(offered, 1);
}

#[tokio::test]
async fn an_offer_written_again_after_a_lost_answer_is_the_same_offer() {
    let w = World::new().await;
    let (booking, therapist) = (w.booking().await, w.therapist().await);
    let first = w.persisted(booking, therapist, 1).await;
    let again = w.persisted(booking, therapist, 1).await;
    assert_eq!((first.offer, first.expires_at), (again.offer, again.expires_at));
    w.make_due(first.offer).await;
    offers::expire(w.pool(), first.offer).await.expect("a statement");
    match w.persist(booking, therapist, 1).await {
        PersistOutcome::Known { offer, .. } => assert_eq!(offer, first.offer),
        other => panic!("its row is the answer, whatever its status: {other:?}"),
    }
}

#[tokio::test]
async fn who_is_busy_or_offline_is_not_asked() {
    let w = World::new().await;
    let busy = w.therapist().await;
    let offer = w.offer(w.booking().await, busy, 1).await;
    offers::accept(w.pool(), offer, busy.provider).await.expect("a statement");
    assert!(matches!(w.persist(w.booking().await, busy, 1).await, PersistOutcome::ProviderUnfit));
    let offline = w.therapist().await;
    w.run("UPDATE providers SET is_available = FALSE WHERE id = $1", offline.provider.0).await;
    assert!(matches!(w.persist(w.booking().await, offline, 1).await, PersistOutcome::ProviderUnfit));
    let other = w.therapist().await;
    let mut chosen = w.new_booking(w.customer().await).await;
    chosen.chosen = Some(w.therapist().await.provider);
    let named = w.create(&chosen).await;
    assert!(matches!(w.persist(named, other, 1).await, PersistOutcome::ProviderUnfit), "it names another");
}

#[tokio::test]
async fn a_receipt_only_shortens() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let offer = w.offer(w.booking().await, therapist, 1).await;
    let received = || offers::received(w.pool(), offer, therapist.provider, TTLS);
    let ReceiptOutcome::Noted { expires_at, .. } = received().await.expect("a statement") else { panic!() };
    let lives = lives_s(&w, offer).await;
    assert!((20.0..25.0).contains(&lives), "20 s from the receipt: {lives}");
    let again = received().await.expect("a statement");
    assert!(matches!(again, ReceiptOutcome::Noted { expires_at: at, .. } if at == expires_at), "{again:?}");
    w.make_due(offer).await;
    let late = received().await.expect("a statement");
    assert!(matches!(late, ReceiptOutcome::Gone { reason: OfferEnd::Expired, .. }), "{late:?}");
}

#[tokio::test]
async fn the_receipt_of_a_booking_that_names_its_therapist_leaves_him_a_minute() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let mut new = w.new_booking(w.customer().await).await;
    new.chosen = Some(therapist.provider);
    let booking = w.create(&new).await;
    let mut asked = w.new_offer(booking, therapist, 1).await;
    asked.ttl = TTLS.chosen;
    let PersistOutcome::Offered(made) = offers::persist(w.pool(), &asked).await.expect("a statement") else { panic!() };
    offers::received(w.pool(), made.offer, therapist.provider, TTLS).await.expect("a statement");
    assert!((60.0..65.0).contains(&lives_s(&w, made.offer).await));
}

#[tokio::test]
async fn a_no_is_heard_once_and_a_late_one_is_told_why() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let offer = w.offer(w.booking().await, therapist, 1).await;
    let decline = |offer| offers::decline(w.pool(), offer, therapist.provider, Some("too_far"));
    let first = decline(offer).await.expect("a statement");
    assert!(matches!(first, DeclineOutcome::Declined { repeated: false, .. }), "{first:?}");
    let again = decline(offer).await.expect("a statement");
    assert!(matches!(again, DeclineOutcome::Declined { repeated: true, .. }), "{again:?}");
    let taken = w.offer(w.booking().await, therapist, 1).await;
    offers::accept(w.pool(), taken, therapist.provider).await.expect("a statement");
    let late = decline(taken).await.expect("a statement");
    assert!(matches!(late, DeclineOutcome::Gone { reason: OfferEnd::Accepted, .. }), "{late:?}");
}

#[tokio::test]
async fn an_offer_expires_when_the_database_says_so_and_never_over_an_answer() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let offer = w.offer(w.booking().await, therapist, 1).await;
    let expire = |offer| offers::expire(w.pool(), offer);
    match expire(offer).await.expect("a statement") {
        ExpireOutcome::NotDue(left) => assert!((20..=25).contains(&left.as_secs()), "{left:?}"),
        other => panic!("{other:?}"),
    }
    w.make_due(offer).await;
    for _ in 0..2 {
        let expired = expire(offer).await.expect("a statement");
        assert!(matches!(expired, ExpireOutcome::Expired(c) if c.user == therapist.user), "{expired:?}");
    }
    let taken = w.offer(w.booking().await, therapist, 1).await;
    offers::accept(w.pool(), taken, therapist.provider).await.expect("a statement");
    w.make_due(taken).await;
    assert_eq!(expire(taken).await.expect("a statement"), ExpireOutcome::Refused);
    assert_eq!(w.offer_status(taken).await, "accepted");
}

#[tokio::test]
async fn live_offers_are_shown_until_they_end() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let offer = w.offer(w.booking().await, therapist, 1).await;
    let shown = offers::live_for(w.pool(), therapist.provider).await.expect("a statement");
    assert_eq!(shown.iter().map(|o| o.offer_id).collect::<Vec<_>>(), [offer]);
    w.make_due(offer).await;
    assert!(offers::live_for(w.pool(), therapist.provider).await.expect("a statement").is_empty());
}
