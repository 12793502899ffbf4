//! One winner.

use spacall::core::booking::Status;
use spacall::core::ids::{BookingId, OfferId};
use spacall::core::money::Money;
use spacall::core::pricing::{self, Discount, Promo};
use spacall::store::offers::{self, AcceptOutcome, Accepted, PersistOutcome};
use spacall::wire::stream::OfferEnd;

use super::world::{Therapist, World};

async fn accept(w: &World, offer: OfferId, therapist: Therapist) -> AcceptOutcome {
    offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement")
}

async fn won(w: &World, offer: OfferId, therapist: Therapist) -> Accepted {
    match accept(w, offer, therapist).await {
        AcceptOutcome::Accepted(accepted) => *accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

fn gone(outcome: &AcceptOutcome) -> Option<OfferEnd> {
    match outcome {
        AcceptOutcome::Gone { reason, .. } => Some(*reason),
        _ => None,
    }
}

/// All at once; how each ended. Who loses against another transaction tries again, as the dispatcher does.
async fn race(w: &World, tries: &[(OfferId, Therapist)]) -> Vec<AcceptOutcome> {
    let tasks: Vec<_> = tries
        .iter()
        .map(|&(offer, therapist)| {
            let pool = w.pool().clone();
            tokio::spawn(async move {
                loop {
                    match offers::accept(&pool, offer, therapist.provider).await {
                        Err(lost) if lost.is_conflict() => {}
                        ended => return ended.expect("a statement"),
                    }
                }
            })
        })
        .collect();
    let mut ended = Vec::new();
    for task in tasks {
        ended.push(task.await.expect("no panic"));
    }
    ended
}

async fn accepted_rows(w: &World, booking: BookingId) -> i64 {
    w.one("SELECT count(*) FROM booking_offers WHERE booking_id = $1 AND status = 'accepted'", booking.0).await
}

#[tokio::test]
async fn the_accept_prices_at_the_acceptors_own_price_and_tells_where() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let booking = w.booking().await;
    let persisted = w.persisted(booking, therapist, 1).await;
    let offer = &persisted.message;
    assert_eq!((offer.booking.total, offer.booking.earnings), (Money::centavos(91_500), Money::centavos(73_200)));
    assert_eq!((offer.distance_km, offer.booking.customer_notes.as_deref()), (2.5, None));
    let shown = serde_json::to_string(&offer).expect("JSON");
    assert!(!shown.contains("Ayala") && !shown.contains("Ring"), "no address, no notes before the accept: {shown}");

    let accepted = won(&w, persisted.offer, therapist).await;
    let b = &accepted.view.booking;
    assert!(accepted.view.is_party(therapist.user) && !accepted.repeated);
    assert_eq!((b.status.as_str(), b.price_is_estimate), ("accepted", false));
    // 900 + 10 x (2.5 - 1) km; commission 20 %
    assert_eq!(b.service_price, Money::centavos(90_000));
    assert_eq!(b.distance_surcharge, Money::centavos(1_500));
    assert_eq!(b.total_amount, Money::centavos(91_500));
    let location = b.location.as_ref().expect("a place");
    assert_eq!(location.distance_km, Some(2.5));
    assert!(location.estimated_travel_time_minutes.is_some_and(|m| (4..=10).contains(&m)), "{location:?}");
    let minutes = w
        .one(
            "SELECT (extract(epoch FROM upper(busy_during) - lower(busy_during)) / 60)::bigint FROM bookings WHERE id = $1",
            booking.0,
        )
        .await;
    assert!((60 + 15 + 4..60 + 15 + 10).contains(&minutes), "way, service and buffer: {minutes} minutes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_accept_one_booking_exactly_one_wins() {
    let w = World::new().await;
    for _ in 0..10 {
        let booking = w.booking().await;
        let mut tries = Vec::new();
        for rank in 1..=4 {
            let therapist = w.therapist().await;
            let offer = w.offer(booking, therapist, rank).await;
            tries.extend([(offer, therapist); 2]); // each of them from two phones
        }
        let ended = race(&w, &tries).await;
        let winners: Vec<_> = tries
            .iter()
            .zip(&ended)
            .filter(|(_, e)| matches!(e, AcceptOutcome::Accepted(_)))
            .map(|((offer, _), _)| *offer)
            .collect();
        assert_eq!(winners.len(), 2, "the winner twice: {ended:?}");
        assert_eq!(winners[0], winners[1]);
        assert!(ended.iter().filter_map(gone).all(|reason| reason == OfferEnd::Withdrawn), "{ended:?}");
        assert_eq!(accepted_rows(&w, booking).await, 1);
        let live = "SELECT count(*) FROM booking_offers WHERE booking_id = $1 AND status = 'offered'";
        assert_eq!(w.one(live, booking.0).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_offer_accepted_at_once_many_times_is_one_accept() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let booking = w.booking().await;
    let offer = w.offer(booking, therapist, 1).await;
    let ended = race(&w, &[(offer, therapist); 8]).await;
    let first = ended.iter().filter(|e| matches!(e, AcceptOutcome::Accepted(a) if !a.repeated)).count();
    let repeated = ended.iter().filter(|e| matches!(e, AcceptOutcome::Accepted(a) if a.repeated)).count();
    assert_eq!((first, repeated), (1, 7));
    let steps = "SELECT count(*) FROM booking_status_history WHERE booking_id = $1 AND to_status = 'accepted'";
    assert_eq!(w.one(steps, booking.0).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_therapist_who_accepts_two_bookings_at_once_gets_one() {
    let w = World::new().await;
    for _ in 0..10 {
        let therapist = w.therapist().await;
        let (a, b) = (w.booking().await, w.booking().await);
        let first = w.offer(a, therapist, 1).await;
        // The service never makes him two live offers; someone else's SQL might.
        w.run("UPDATE booking_offers SET booking_type = 'scheduled' WHERE id = $1", first.0).await;
        let second = w.offer(b, therapist, 1).await;
        let ended = race(&w, &[(first, therapist), (second, therapist)]).await;
        let wins = ended.iter().filter(|e| matches!(e, AcceptOutcome::Accepted(_))).count();
        assert_eq!(wins, 1, "{ended:?}");
        assert!(ended.iter().any(|e| gone(e) == Some(OfferEnd::Withdrawn)), "{ended:?}");
        let active = "SELECT count(*) FROM bookings WHERE provider_id = $1 AND status = 'accepted'";
        assert_eq!(w.one(active, therapist.provider.0).await, 1);
        let pending = if w.booking_status(a).await == "pending" { a } else { b };
        assert_eq!(w.booking_status(pending).await, "pending", "the other one goes on being searched for");
    }
}

#[tokio::test]
async fn the_databases_clock_decides_at_the_accept() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let booking = w.booking().await;
    let offer = w.offer(booking, therapist, 1).await;
    w.make_due(offer).await;
    let late = accept(&w, offer, therapist).await;
    assert!(
        matches!(late, AcceptOutcome::Gone { reason: OfferEnd::Expired, closed_now: true, .. }),
        "nobody had swept it: {late:?}"
    );
    assert_eq!(w.offer_status(offer).await, "expired");
    let again = accept(&w, offer, therapist).await;
    assert!(matches!(again, AcceptOutcome::Gone { reason: OfferEnd::Expired, closed_now: false, .. }), "{again:?}");
    assert_eq!(w.booking_status(booking).await, "pending");
}

#[tokio::test]
async fn an_accept_that_waited_behind_a_lock_past_its_time_is_too_late() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let booking = w.booking().await;
    let offer = w.offer(booking, therapist, 1).await;
    let mut blocker = w.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT 1 FROM bookings WHERE id = $1 FOR UPDATE")
        .bind(booking.0)
        .execute(&mut *blocker)
        .await
        .expect("a lock");
    let pool = w.pool().clone();
    let waiting = tokio::spawn(async move { offers::accept(&pool, offer, therapist.provider).await });
    // Once it waits, its transaction has begun: now() in it is before the expiry that follows.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while w.one(waits, 0).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it waits for the lock");
    w.run("UPDATE booking_offers SET expires_at = clock_timestamp() WHERE id = $1", offer.0).await;
    blocker.commit().await.expect("a commit");
    let late = waiting.await.expect("no panic").expect("a statement");
    assert_eq!(gone(&late), Some(OfferEnd::Expired), "{late:?}");
}

#[tokio::test]
async fn anothers_offer_and_no_offer_look_alike() {
    let w = World::new().await;
    let (therapist, stranger) = (w.therapist().await, w.therapist().await);
    let offer = w.offer(w.booking().await, therapist, 1).await;
    assert!(matches!(accept(&w, offer, stranger).await, AcceptOutcome::NotYours));
    assert!(matches!(accept(&w, OfferId(offer.0 + 1_000), stranger).await, AcceptOutcome::NotYours));
}

#[tokio::test]
async fn who_became_unfit_or_too_dear_does_not_get_it() {
    let w = World::new().await;
    for change in [
        "UPDATE providers SET is_active = FALSE WHERE id = $1",
        "UPDATE providers SET verification_status = 'rejected' WHERE id = $1",
        "UPDATE provider_services SET is_available = FALSE WHERE provider_id = $1",
        "UPDATE provider_services SET price = 1200 WHERE provider_id = $1",
        "INSERT INTO customer_blocks (customer_id, provider_id, blocked_by)
         SELECT b.customer_id, o.provider_id, b.customer_id
         FROM booking_offers o JOIN bookings b ON b.id = o.booking_id WHERE o.provider_id = $1",
    ] {
        let therapist = w.therapist().await;
        let mut new = w.new_booking(w.customer().await).await;
        new.max_price = Some(Money::centavos(100_000));
        let booking = w.create(&new).await;
        let offer = w.offer(booking, therapist, 1).await;
        w.run(change, therapist.provider.0).await;
        assert_eq!(gone(&accept(&w, offer, therapist).await), Some(OfferEnd::Withdrawn), "{change}");
        assert_eq!(w.booking_status(booking).await, "pending");
        let unfit = w.persist(w.booking().await, therapist, 1).await;
        let free_of_max = change.contains("price = 1200") || change.contains("customer_blocks");
        assert_eq!(matches!(unfit, PersistOutcome::ProviderUnfit), !free_of_max, "{change}: {unfit:?}");
    }
}

#[tokio::test]
async fn a_promo_is_computed_anew_at_the_accept() {
    let w = World::new().await;
    let code = w
        .one(
            "INSERT INTO promo_codes (code, discount_type, discount_value, max_discount_amount, valid_from, valid_until)
             VALUES ('TEN', 'percentage', 10, 85, now() - interval '1 day', now() + interval '1 day') RETURNING id",
            0,
        )
        .await;
    let service = w.service().await;
    let mut new = w.new_booking(w.customer().await).await;
    let found = spacall::store::promos::check(w.pool(), "TEN", new.customer, service, None).await.expect("a statement");
    let terms = found.expect("usable").terms;
    new.promo_code = Some(code);
    new.price = pricing::price(Money::centavos(80_000), Money::ZERO, 15.into(), Some(&terms));
    assert_eq!(new.price.promo_discount, Money::centavos(8_000));
    let booking = w.create(&new).await;
    let therapist = w.therapist().await;
    let offer = w.offer(booking, therapist, 1).await;
    let accepted = won(&w, offer, therapist).await;
    assert_eq!(accepted.view.booking.promo_discount, Money::centavos(8_500), "10 % of 915.00, capped at 85.00");
    let used = "SELECT (discount_amount * 100)::bigint FROM promo_code_usages WHERE booking_id = $1";
    assert_eq!(w.one(used, booking.0).await, 8_500);
}

#[tokio::test]
async fn a_promo_that_takes_nothing_off_in_the_end_was_not_used() {
    let w = World::new().await;
    let (friend, other) = (w.therapist().await, w.therapist().await);
    let code = w
        .one(
            "INSERT INTO promo_codes (code, discount_type, discount_value, valid_from, valid_until, applicable_provider_ids)
             VALUES ('FRIEND', 'fixed_amount', 100, now() - interval '1 day', now() + interval '1 day', jsonb_build_array($1::bigint))
             RETURNING id",
            friend.provider.0,
        )
        .await;
    let terms = Promo { discount: Discount::FixedAmount(Money::centavos(10_000)), max_discount: None };
    let uses = "SELECT usage_count::bigint FROM promo_codes WHERE id = $1";
    for (therapist, used) in [(other, 0), (friend, 1)] {
        let mut new = w.new_booking(w.customer().await).await;
        new.promo_code = Some(code);
        new.price = pricing::price(Money::centavos(80_000), Money::ZERO, 15.into(), Some(&terms));
        let booking = w.create(&new).await;
        assert_eq!(w.one(uses, code).await, 1, "taken when it is made");
        let offer = w.offer(booking, therapist, 1).await;
        won(&w, offer, therapist).await;
        for to in [Status::EnRoute, Status::Arrived, Status::InProgress, Status::Completed] {
            w.moved(booking, therapist.user, to).await;
        }
        assert_eq!(w.one(uses, code).await, used);
    }
}
