//! Who moves a booking, and what each move keeps.

use spacall::core::booking::{Refusal, Status};
use spacall::core::ids::{BookingId, UserId};
use spacall::core::settings::Settings;
use spacall::store::bookings::{self, Actor, MoveRules, Moved, TransitionOutcome, Wish};
use spacall::store::offers::{self, AcceptOutcome};
use spacall::store::timeline;
use spacall::wire::stream::OfferEnd;
use uuid::Uuid;

use super::world::{Therapist, World};

async fn uuid(w: &World, booking: BookingId) -> Uuid {
    sqlx::query_scalar("SELECT uuid FROM bookings WHERE id = $1")
        .bind(booking.0)
        .fetch_one(w.pool())
        .await
        .expect("the booking")
}

async fn wish(w: &World, booking: BookingId, user: UserId, to: Status, reason: Option<&str>) -> TransitionOutcome {
    let actor = Actor { user, admin: false };
    let wish = Wish { booking: uuid(w, booking).await, actor, to, reason: reason.map(str::to_owned) };
    let rules = MoveRules::from(&Settings::default());
    bookings::transition(w.pool(), &wish, &rules).await.expect("a statement")
}

async fn moved(w: &World, booking: BookingId, user: UserId, to: Status, reason: Option<&str>) -> Moved {
    match wish(w, booking, user, to, reason).await {
        TransitionOutcome::Moved(moved) => *moved,
        other => panic!("{to}: {other:?}"),
    }
}

/// A booking of this customer that this therapist has.
async fn accepted(w: &World, customer: UserId, therapist: Therapist) -> BookingId {
    let booking = w.create(&w.new_booking(customer).await).await;
    let offer = w.offer(booking, therapist, 1).await;
    let outcome = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
    assert!(matches!(outcome, AcceptOutcome::Accepted(_)), "{outcome:?}");
    booking
}

#[tokio::test]
async fn from_accept_to_completion_the_totals_are_kept_once() {
    let w = World::new().await;
    let (customer, therapist) = (w.customer().await, w.therapist().await);
    let booking = accepted(&w, customer, therapist).await;
    w.run("UPDATE bookings SET tip_amount = 50, total_amount = total_amount + 50 WHERE id = $1", booking.0).await;
    for to in [Status::EnRoute, Status::Arrived, Status::InProgress, Status::Completed] {
        let outcome = wish(&w, booking, customer, to, None).await;
        assert!(matches!(outcome, TransitionOutcome::Refused { why: Refusal::NotAllowed { .. }, .. }), "{outcome:?}");
        let made = moved(&w, booking, therapist.user, to, None).await;
        assert_eq!((made.view.booking.status.as_str(), made.to), (to.as_str(), to));
        let again = wish(&w, booking, therapist.user, to, None).await;
        assert!(matches!(again, TransitionOutcome::Unchanged(_)), "{again:?}");
    }
    // 915.00 less 20 %, and the tip
    let earned = "SELECT (total_earnings * 100)::bigint FROM providers WHERE id = $1";
    assert_eq!(w.one(earned, therapist.provider.0).await, 73_200 + 5_000);
    assert_eq!(w.one("SELECT total_bookings::bigint FROM providers WHERE id = $1", therapist.provider.0).await, 1);
    let history = timeline::history(w.pool(), booking).await.expect("a statement");
    let steps: Vec<_> = history.iter().map(|s| (s.to.as_str(), s.changed_by)).collect();
    let his = Some(therapist.user);
    let expected = [
        ("pending", Some(customer)),
        ("accepted", his),
        ("en_route", his),
        ("arrived", his),
        ("in_progress", his),
        ("completed", his),
    ];
    assert_eq!(steps, expected);
}

#[tokio::test]
async fn a_strangers_booking_does_not_exist() {
    let w = World::new().await;
    let (customer, therapist, asked) = (w.customer().await, w.therapist().await, w.therapist().await);
    let booking = accepted(&w, customer, therapist).await;
    let stranger = wish(&w, booking, w.customer().await, Status::Cancelled, None).await;
    assert!(matches!(stranger, TransitionOutcome::NotFound));
    // Who is only asked is no party yet: he answers the offer.
    let mut new = w.new_booking(customer).await;
    new.chosen = Some(asked.provider);
    let pending = w.create(&new).await;
    assert!(matches!(wish(&w, pending, asked.user, Status::Cancelled, None).await, TransitionOutcome::NotFound));
}

#[tokio::test]
async fn a_cancelled_booking_keeps_who_why_and_the_fee() {
    let w = World::new().await;
    let (customer, therapist) = (w.customer().await, w.therapist().await);
    let fee = async |minutes_ago: i64, by: UserId, booking: BookingId| {
        sqlx::query("UPDATE bookings SET accepted_at = accepted_at - make_interval(mins => $2) WHERE id = $1")
            .bind(booking.0)
            .bind(minutes_ago as i32)
            .execute(w.pool())
            .await
            .expect("a statement");
        let made = moved(&w, booking, by, Status::Cancelled, Some("changed_my_mind")).await;
        assert_eq!(made.view.booking.cancellation_reason.as_deref(), Some("changed_my_mind"));
        let who = if by == customer { "customer" } else { "provider" };
        assert_eq!(made.view.booking.cancelled_by.as_deref(), Some(who));
        made.view.booking.cancellation_fee.to_string()
    };
    assert_eq!(fee(0, customer, accepted(&w, customer, therapist).await).await, "0.00");
    assert_eq!(fee(6, customer, accepted(&w, customer, therapist).await).await, "457.50");
    assert_eq!(fee(60, therapist.user, accepted(&w, customer, therapist).await).await, "0.00");
}

#[tokio::test]
async fn an_absent_customer_pays_after_ten_minutes_at_the_door() {
    let w = World::new().await;
    let (customer, therapist) = (w.customer().await, w.therapist().await);
    let booking = accepted(&w, customer, therapist).await;
    moved(&w, booking, therapist.user, Status::EnRoute, None).await;
    moved(&w, booking, therapist.user, Status::Arrived, None).await;
    let early = wish(&w, booking, therapist.user, Status::Cancelled, Some("customer_absent")).await;
    assert!(matches!(early, TransitionOutcome::Refused { why: Refusal::TooEarly { .. }, .. }), "{early:?}");
    w.run(
        "UPDATE booking_status_history SET created_at = created_at - interval '10 min' WHERE booking_id = $1",
        booking.0,
    )
    .await;
    let made = moved(&w, booking, therapist.user, Status::Cancelled, Some("customer_absent")).await;
    assert_eq!(made.view.booking.cancellation_fee.to_string(), "457.50");
}

#[tokio::test]
async fn who_gives_a_booking_back_is_not_asked_again_and_the_promo_stays() {
    let w = World::new().await;
    let (customer, therapist) = (w.customer().await, w.therapist().await);
    let booking = accepted(&w, customer, therapist).await;
    let made = moved(&w, booking, therapist.user, Status::Pending, Some("flat_tyre")).await;
    assert_eq!(made.had_it, Some((therapist.provider, therapist.user)));
    assert_eq!((made.view.booking.status.as_str(), made.view.booking.price_is_estimate), ("pending", true));
    let why = "SELECT decline_reason FROM booking_offers WHERE booking_id = $1 AND status = 'released'";
    assert_eq!(w.text(why, booking.0).await, "flat_tyre");
    let history = timeline::history(w.pool(), booking).await.expect("a statement");
    assert_eq!(history.last().and_then(|s| s.reason.as_deref()), Some("flat_tyre"));
    let gone = wish(&w, booking, therapist.user, Status::EnRoute, None).await;
    assert!(matches!(gone, TransitionOutcome::NotFound), "no longer his: {gone:?}");
    let again = wish(&w, booking, therapist.user, Status::Pending, None).await;
    assert!(matches!(again, TransitionOutcome::Unchanged(_)), "an answer that got lost is given again: {again:?}");
    let stranger = w.therapist().await;
    let nothing = wish(&w, booking, stranger.user, Status::Pending, None).await;
    assert!(matches!(nothing, TransitionOutcome::NotFound), "{nothing:?}");
    // He is free again, and another may take it.
    let other = w.therapist().await;
    let mut second = w.new_offer(booking, other, 1).await;
    second.round = 2;
    assert!(matches!(
        offers::persist(w.pool(), &second).await.expect("a statement"),
        offers::PersistOutcome::Offered(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_an_accept_and_a_cancel_at_once_both_may_not_win() {
    let w = World::new().await;
    let mut seen = [0, 0];
    for _ in 0..24 {
        let (customer, therapist) = (w.customer().await, w.therapist().await);
        let booking = w.create(&w.new_booking(customer).await).await;
        let offer = w.offer(booking, therapist, 1).await;
        let pool = w.pool().clone();
        let accept = tokio::spawn(async move { offers::accept(&pool, offer, therapist.provider).await });
        let cancelled = moved(&w, booking, customer, Status::Cancelled, None).await;
        match accept.await.expect("no panic").expect("a statement") {
            AcceptOutcome::Accepted(_) => {
                seen[0] += 1;
                assert_eq!(cancelled.from, Status::Accepted, "the cancel saw the accept");
                assert_eq!(w.offer_status(offer).await, "accepted");
            }
            AcceptOutcome::Gone { reason, .. } => {
                seen[1] += 1;
                assert_eq!((reason, cancelled.from), (OfferEnd::Withdrawn, Status::Pending));
                assert_eq!(cancelled.closed.len(), 1);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(w.booking_status(booking).await, "cancelled");
        let active = "SELECT count(*) FROM bookings WHERE provider_id = $1 AND status = 'accepted'";
        assert_eq!(w.one(active, therapist.provider.0).await, 0);
    }
    println!("accept first {}, cancel first {}", seen[0], seen[1]);
}
