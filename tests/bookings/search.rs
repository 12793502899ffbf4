//! How a search ends, and how it is taken up again.

use std::collections::BTreeSet;
use std::time::Duration;

use spacall::clock;
use spacall::core::dispatch::{EndReason, Standing};
use spacall::core::ids::BookingId;
use spacall::core::settings::Settings;
use spacall::core::time::Timestamp;
use spacall::store::bookings::lease::{self, NodeId};
use spacall::store::bookings::{self, Anew, EndOutcome, ReleaseOutcome, SearchRules};
use spacall::store::offers::{self, AcceptOutcome};
use spacall::wire::stream::OfferEnd;

use super::world::{Therapist, World};

async fn accepted(w: &World, booking: BookingId, therapist: Therapist) {
    let offer = w.offer(booking, therapist, 1).await;
    let outcome = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
    assert!(matches!(outcome, AcceptOutcome::Accepted(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_search_ends_at_its_deadline_by_the_databases_clock_with_a_reason() {
    let w = World::new().await;
    let booking = w.booking().await;
    match w.end(booking, EndReason::NoTherapistAvailable).await {
        EndOutcome::NotDue(left) => assert!((290..=300).contains(&left.as_secs()), "{left:?}"),
        other => panic!("{other:?}"),
    }
    let offer = w.offer(booking, w.therapist().await, 1).await;
    w.make_overdue(booking).await;
    match w.end(booking, EndReason::NoTherapistAvailable).await {
        EndOutcome::Ended { view, closed } => {
            assert_eq!(closed.iter().map(|c| c.offer).collect::<Vec<_>>(), [offer]);
            assert_eq!(view.booking.cancelled_by, None);
            assert_eq!(view.booking.cancellation_reason.as_deref(), Some("no_therapist_available"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(w.end(booking, EndReason::NoTherapistAvailable).await, EndOutcome::NotPending));
}

#[tokio::test]
async fn a_timeout_never_overwrites_an_accept() {
    let w = World::new().await;
    let booking = w.booking().await;
    accepted(&w, booking, w.therapist().await).await;
    w.make_overdue(booking).await;
    assert!(matches!(w.end(booking, EndReason::NoTherapistAvailable).await, EndOutcome::NotPending));
    assert_eq!(w.booking_status(booking).await, "accepted");
}

#[tokio::test]
async fn a_booking_that_names_its_therapist_ends_with_his_no() {
    let w = World::new().await;
    let mut new = w.new_booking(w.customer().await).await;
    new.chosen = Some(w.therapist().await.provider);
    let booking = w.create(&new).await;
    assert!(matches!(w.end(booking, EndReason::ProviderDeclined).await, EndOutcome::Ended { .. }));
}

#[tokio::test]
async fn a_chosen_therapist_is_not_silent_before_his_time_is_over_by_the_databases_clock() {
    let w = World::new().await;
    let (mut new, chosen) = (w.new_booking(w.customer().await).await, w.therapist().await);
    new.chosen = Some(chosen.provider);
    let booking = w.create(&new).await;
    let offer = w.offer(booking, chosen, 1).await;
    match w.end(booking, EndReason::ProviderDidNotAnswer).await {
        EndOutcome::NotDue(left) => assert!((20..=25).contains(&left.as_secs()), "{left:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(w.offer_status(offer).await, "offered", "he may still accept");
    w.make_due(offer).await;
    match w.end(booking, EndReason::ProviderDidNotAnswer).await {
        EndOutcome::Ended { closed, .. } => {
            assert_eq!(closed.iter().map(|c| (c.offer, c.end)).collect::<Vec<_>>(), [(offer, OfferEnd::Expired)]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_chosen_therapist_who_was_never_asked_is_not_silent_before_he_would_have_been() {
    let w = World::new().await;
    let (mut new, chosen) = (w.new_booking(w.customer().await).await, w.therapist().await);
    new.chosen = Some(chosen.provider);
    let booking = w.create(&new).await;
    let end = |second: i64| {
        let answer_by = Timestamp::from_micros(clock::now().micros() + second * 1_000_000);
        bookings::end_by_system(w.pool(), booking, EndReason::ProviderDidNotAnswer, answer_by)
    };
    match end(40).await.expect("a statement") {
        EndOutcome::NotDue(left) => assert!((35..=40).contains(&left.as_secs()), "{left:?}"),
        other => panic!("{other:?}"),
    }
    let offer = w.offer(booking, chosen, 1).await;
    w.make_due(offer).await;
    assert!(matches!(end(40).await.expect("a statement"), EndOutcome::NotDue(_)), "nor earlier for having been asked");
    assert!(matches!(end(-1).await.expect("a statement"), EndOutcome::Ended { .. }));
}

#[tokio::test]
async fn after_a_restart_silence_is_told_from_a_no() {
    let w = World::new().await;
    let rules = SearchRules::from(&Settings::default());
    for (says_no, silent) in [(false, true), (true, false)] {
        let (mut new, chosen) = (w.new_booking(w.customer().await).await, w.therapist().await);
        new.chosen = Some(chosen.provider);
        let booking = w.create(&new).await;
        let offer = w.offer(booking, chosen, 1).await;
        if says_no {
            offers::decline(w.pool(), offer, chosen.provider, None).await.expect("a statement");
        } else {
            w.make_due(offer).await;
            offers::expire(w.pool(), offer).await.expect("a statement");
        }
        match bookings::standing(w.pool(), booking, &rules).await.expect("a statement") {
            Standing::Pending { job, .. } => {
                assert_eq!((job.excluded, job.silent), (BTreeSet::from([chosen.provider]), silent));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_does_not_set_out_loses_the_booking_and_the_search_starts_anew() {
    let w = World::new().await;
    let (settings, therapist) = (Settings::default(), w.therapist().await);
    let booking = w.booking().await;
    accepted(&w, booking, therapist).await;
    let anew = Anew::from(&settings);
    let release = |within| bookings::release_unstarted(w.pool(), booking, Duration::from_secs(within), &anew);
    let early = release(1_800).await.expect("a statement");
    assert!(matches!(early, ReleaseOutcome::NotDue(left) if left.as_secs() > 1_700), "{early:?}");
    w.run(
        "UPDATE bookings SET created_at = created_at - interval '40 min', accepted_at = accepted_at - interval '31 min'
         WHERE id = $1",
        booking.0,
    )
    .await;
    match release(1_800).await.expect("a statement") {
        ReleaseOutcome::Released { view, provider, user } => {
            assert_eq!((provider, user), (therapist.provider, therapist.user));
            let b = &view.booking;
            assert_eq!((b.status.as_str(), b.price_is_estimate), ("pending", true));
            assert_eq!(b.total_amount.to_string(), "800.00");
            assert!(b.provider.is_none() && b.accepted_at.is_none());
            assert!(!view.is_party(therapist.user));
        }
        other => panic!("{other:?}"),
    }
    let left =
        "SELECT extract(epoch FROM created_at + make_interval(secs => dispatch_timeout_s) - clock_timestamp())::bigint
                FROM bookings WHERE id = $1";
    assert!((298..=301).contains(&w.one(left, booking.0).await), "a whole window from now");
    assert_eq!(w.text("SELECT status::text FROM booking_offers WHERE booking_id = $1", booking.0).await, "released");
    let rules = SearchRules::from(&settings);
    match bookings::standing(w.pool(), booking, &rules).await.expect("a statement") {
        Standing::Pending { job, live } => {
            assert_eq!(job.excluded, BTreeSet::from([therapist.provider]));
            assert_eq!((job.round, job.chosen, live), (2, None, Vec::new()));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(release(1_800).await.expect("a statement"), ReleaseOutcome::NotAccepted));
}

#[tokio::test]
async fn after_a_restart_every_search_is_where_it_was() {
    let w = World::new().await;
    let rules = SearchRules::from(&Settings::default());
    let (said_no, asked, driver) = (w.therapist().await, w.therapist().await, w.therapist().await);
    let waiting = w.booking().await;
    let refused = w.offer(waiting, said_no, 1).await;
    offers::decline(w.pool(), refused, said_no.provider, None).await.expect("a statement");
    let live = w.persisted(waiting, asked, 2).await;
    let taken = w.booking().await;
    accepted(&w, taken, driver).await;
    let over = w.booking().await;
    w.make_overdue(over).await;
    w.end(over, EndReason::NoTherapistAvailable).await;

    let node = NodeId(uuid::Uuid::new_v4());
    lease::claim(w.pool(), node, Duration::from_secs(30), 100).await.expect("a statement");
    let found = bookings::unsettled(w.pool(), &rules, node).await.expect("a statement");
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [waiting, taken]);
    match &found[0].1 {
        Standing::Pending { job, live: offers } => {
            let [offer] = offers[..] else { panic!("{offers:?}") };
            assert_eq!(job.excluded, BTreeSet::from([said_no.provider]));
            assert_eq!((offer.provider, offer.offer, offer.expires_at), (asked.provider, live.offer, live.expires_at));
            assert_eq!(job.deadline, job.created_at.plus(Duration::from_secs(300)));
        }
        other => panic!("{other:?}"),
    }
    match &found[1].1 {
        Standing::Accepted { provider, set_out_by: Some(_) } => assert_eq!(*provider, driver.provider),
        other => panic!("{other:?}"),
    }
    let settled = bookings::standing(w.pool(), over, &rules).await.expect("a statement");
    assert_eq!(settled, Standing::Settled);
}
