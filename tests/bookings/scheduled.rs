//! Bookings for a time: who is asked, whose time they take, what happens when that time comes.

use std::time::Duration;

use spacall::clock;
use spacall::core::booking::{Refusal, Status};
use spacall::core::dispatch::{EndReason, Standing};
use spacall::core::fleet::Duty;
use spacall::core::geo::{LatLng, Meters, km_2, public_position};
use spacall::core::ids::{BookingId, OfferId, UserId};
use spacall::core::money::Money;
use spacall::core::settings::Settings;
use spacall::core::time::Timestamp;
use spacall::store::bookings::lease::{self, NodeId};
use spacall::store::bookings::{
    self, Actor, Anew, CreateOutcome, EndOutcome, MoveRules, NewBooking, ReleaseOutcome, SearchRules,
    TransitionOutcome, Wish,
};
use spacall::store::offers::{self, AcceptOutcome, PersistOutcome};
use spacall::wire::stream::{OfferEnd, ServerMessage};
use spacall::wire::time::from_chrono;

use super::dispatcher::{Node, hear, hear_closed, hear_offer, hear_status, transition};
use super::world::{Therapist, World};

const HOUR: Duration = Duration::from_secs(3_600);

fn ahead(by: Duration) -> Timestamp {
    clock::now().plus(by)
}

/// For anyone, at that time, searched for until an hour before it, a day at most.
pub(super) async fn for_time(w: &World, at: Timestamp) -> NewBooking {
    let new = w.new_booking(w.customer().await).await;
    let search = spacall::core::scheduling::search_for(at, HOUR, clock::now());
    NewBooking { scheduled_at: Some(at), dispatch_timeout_s: search.as_secs() as u32, ..new }
}

/// Lives `km` north of the customers' place.
pub(super) async fn lives(w: &World, therapist: Therapist, km: f64) {
    sqlx::query(
        "UPDATE therapist_profiles SET base_location_latitude = 14.5547 + $2 / 111.195, base_location_longitude = 121.0244
         WHERE provider_id = $1",
    )
    .bind(therapist.provider.0)
    .bind(km)
    .execute(w.pool())
    .await
    .expect("a statement");
}

/// Not available today, never seen by a fix; only his base location is known.
async fn at_home(w: &World, node: &Node, km: f64) -> Therapist {
    let therapist = w.therapist().await;
    lives(w, therapist, km).await;
    w.run("UPDATE providers SET is_available = FALSE WHERE id = $1", therapist.provider.0).await;
    node.known(w, therapist).await;
    therapist
}

async fn start(node: &Node, new: NewBooking) -> BookingId {
    match node.dispatcher.create(new, None).await.expect("a statement") {
        CreateOutcome::Created { view, .. } => view.id,
        other => panic!("{other:?}"),
    }
}

/// A booking for that time which this therapist has accepted, 2.5 km away.
pub(super) async fn taken(w: &World, therapist: Therapist, at: Timestamp) -> BookingId {
    let booking = w.create(&for_time(w, at).await).await;
    let offer = w.offer(booking, therapist, 1).await;
    let outcome = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
    assert!(matches!(outcome, AcceptOutcome::Accepted(_)), "{outcome:?}");
    booking
}

/// As if that much time had passed since everything that the booking knows of.
pub(super) async fn time_passes(w: &World, booking: BookingId, by: Duration) {
    sqlx::query(
        "UPDATE bookings SET created_at = created_at - t.by, accepted_at = accepted_at - t.by,
                scheduled_at = scheduled_at - t.by,
                busy_during = tstzrange(lower(busy_during) - t.by, upper(busy_during) - t.by)
         FROM (SELECT make_interval(secs => $2) AS by) t WHERE id = $1",
    )
    .bind(booking.0)
    .bind(by.as_secs_f64())
    .execute(w.pool())
    .await
    .expect("a statement");
}

async fn deadline(w: &World, booking: BookingId) -> Timestamp {
    let at =
        sqlx::query_scalar("SELECT created_at + make_interval(secs => dispatch_timeout_s) FROM bookings WHERE id = $1");
    from_chrono(at.bind(booking.0).fetch_one(w.pool()).await.expect("a booking"))
}

async fn set_out_by(w: &World, booking: BookingId) -> Option<Timestamp> {
    let rules = SearchRules::from(&Settings::default());
    match bookings::standing(w.pool(), booking, &rules).await.expect("a statement") {
        Standing::Accepted { set_out_by, .. } => set_out_by,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_off_today_is_asked_for_tomorrow_by_his_base_location() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (near, far) = (at_home(&w, &node, 1.0).await, at_home(&w, &node, 2.0).await);
    let (mut near_app, mut far_app) = (node.bus.connect(near.user, true), node.bus.connect(far.user, true));
    let at = ahead(HOUR * 26);
    let booking = start(&node, for_time(&w, at).await).await;
    let offer = match &*hear(&mut near_app).await {
        ServerMessage::Offer(offer) => offer.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(offer.booking.booking_type, "scheduled");
    assert_eq!(offer.booking.scheduled_at.map(|t| t.0), Some(at));
    assert_eq!(node.duty(near), Duty::Idle, "today he is free for what comes now");
    node.dispatcher.decline(offer.offer_id, near.provider, None).await.expect("a statement");
    let second = hear_offer(&mut far_app).await;
    let won = node.dispatcher.accept(second, far.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    assert_eq!(node.duty(far), Duty::Idle, "he is not on it before he sets out");
    assert_eq!(w.booking_status(booking).await, "accepted");
    node.stop().await;
}

#[tokio::test]
async fn the_way_that_a_customer_is_shown_tells_no_more_than_the_cell_his_therapist_lives_in() {
    let w = World::new().await;
    let customers_place = LatLng::new(14.5547, 121.0244).expect("a place");
    let mut shown = Vec::new();
    for km in [2.5, 2.53] {
        let home = LatLng::new(14.5547 + km / 111.195, 121.0244).expect("a place");
        let from_cell = public_position(home).centre.distance(customers_place);
        let therapist = w.therapist().await;
        lives(&w, therapist, km).await;
        let booking = w.create(&for_time(&w, ahead(HOUR * 26)).await).await;
        let mut offer = w.new_offer(booking, therapist, 1).await;
        offer.distance = Meters::from_km(km);
        let PersistOutcome::Offered(offer) = offers::persist(w.pool(), &offer).await.expect("a statement") else {
            panic!("not offered")
        };
        let AcceptOutcome::Accepted(won) =
            offers::accept(w.pool(), offer.offer, therapist.provider).await.expect("a statement")
        else {
            panic!("not accepted")
        };
        let location = won.view.booking.location.as_ref().expect("a place");
        assert_eq!(location.distance_km, Some(f64::try_from(km_2(from_cell)).expect("a number")));
        let surcharge = Money::centavos((1_000.0 * (km - 1.0)).round() as i64);
        assert_eq!(won.view.booking.distance_surcharge, surcharge, "the price is that of the whole way");
        shown.push((public_position(home).cell, location.distance_km, location.estimated_travel_time_minutes));
    }
    assert_eq!(shown[0], shown[1], "two homes in one cell look alike");
}

#[tokio::test]
async fn nobody_is_asked_for_a_time_at_which_he_does_not_work() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (closed, open) = (at_home(&w, &node, 1.0).await, at_home(&w, &node, 2.0).await);
    w.run(
        "UPDATE therapist_profiles SET default_schedule = '{\"monday\": [], \"sunday\": null}' WHERE provider_id = $1",
        closed.provider.0,
    )
    .await;
    node.known(&w, closed).await;
    let mut open_app = node.bus.connect(open.user, true);
    let new = for_time(&w, ahead(HOUR * 26)).await;
    let booking = start(&node, new).await;
    hear_offer(&mut open_app).await;
    // An index that is behind does not help: the row says no.
    let asked = w.persist(booking, closed, 2).await;
    assert!(matches!(asked, PersistOutcome::ProviderUnfit), "{asked:?}");
    node.stop().await;
}

#[tokio::test]
async fn the_chosen_one_has_until_the_deadline_and_his_no_ends_it() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (near, chosen) = (at_home(&w, &node, 1.0).await, at_home(&w, &node, 2.0).await);
    let customer = w.customer().await;
    let (mut app, mut his) = (node.bus.connect(customer, false), node.bus.connect(chosen.user, true));
    let mut new = for_time(&w, ahead(HOUR * 5)).await;
    (new.chosen, new.customer) = (Some(chosen.provider), customer);
    let booking = start(&node, new).await;
    assert_eq!(hear_status(&mut app).await, "pending");
    let offer = hear_offer(&mut his).await;
    let expires = "SELECT (extract(epoch FROM expires_at) * 1000000)::bigint FROM booking_offers WHERE id = $1";
    let until = deadline(&w, booking).await.micros();
    assert_eq!(w.one(expires, offer.0).await, until);
    node.dispatcher.received(offer, chosen.provider).await.expect("a statement");
    assert_eq!((hear_offer(&mut his).await, w.one(expires, offer.0).await), (offer, until), "a receipt takes nothing");
    node.dispatcher.decline(offer, chosen.provider, None).await.expect("a statement");
    match &*hear(&mut app).await {
        ServerMessage::Booking(b) => assert_eq!(b.cancellation_reason.as_deref(), Some("provider_declined")),
        other => panic!("{other:?}"),
    }
    let asked = "SELECT count(*) FROM booking_offers WHERE provider_id = $1";
    assert_eq!(w.one(asked, near.provider.0).await, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_search_ends_at_its_deadline_with_a_reason() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let customer = w.customer().await;
    let mut app = node.bus.connect(customer, false);
    let mut new = for_time(&w, ahead(HOUR * 3)).await;
    (new.customer, new.dispatch_timeout_s) = (customer, 2);
    start(&node, new).await;
    assert_eq!(hear_status(&mut app).await, "pending");
    match &*hear(&mut app).await {
        ServerMessage::Booking(b) => {
            assert_eq!((b.status.as_str(), b.cancelled_by.as_deref()), ("cancelled", None));
            assert_eq!(b.cancellation_reason.as_deref(), Some("no_therapist_available"));
        }
        other => panic!("{other:?}"),
    }
    node.stop().await;
    // Nor may it be ended before, by the database's clock.
    let booking = w.create(&for_time(&w, ahead(HOUR * 3)).await).await;
    let early = w.end(booking, EndReason::NoTherapistAvailable).await;
    assert!(matches!(early, EndOutcome::NotDue(left) if left > HOUR), "{early:?}");
}

#[tokio::test]
async fn one_may_be_asked_for_several_times_at_once_and_for_one_now() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let therapist = w.therapist().await;
    lives(&w, therapist, 1.0).await;
    node.place(&w, therapist, 1.0).await;
    let mut app = node.bus.connect(therapist.user, true);
    let mut asked = Vec::new();
    for hours in [26, 50] {
        start(&node, for_time(&w, ahead(HOUR * hours)).await).await;
        asked.push(hear_offer(&mut app).await);
    }
    node.book(&w, w.customer().await).await;
    let now = hear_offer(&mut app).await;
    assert!(matches!(node.duty(therapist), Duty::Offered { .. }));
    // The end of a scheduled one does not free him of what he is asked for now.
    node.dispatcher.decline(asked[0], therapist.provider, None).await.expect("a statement");
    assert_eq!(hear_closed(&mut app).await, (asked[0], OfferEnd::Declined));
    assert!(matches!(node.duty(therapist), Duty::Offered { .. }));
    for offer in [now, asked[1]] {
        let won = node.dispatcher.accept(offer, therapist.provider).await.expect("a statement");
        assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn an_accepted_time_is_taken_with_the_way_and_the_buffer() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    lives(&w, therapist, 2.5).await;
    let at = ahead(HOUR * 26);
    let first = taken(&w, therapist, at).await;
    let minutes =
        "SELECT (extract(epoch FROM upper(busy_during) - lower(busy_during)) / 60)::bigint FROM bookings WHERE id = $1";
    let busy = w.one(minutes, first.0).await;
    assert!((60 + 15 + 4..60 + 15 + 10).contains(&busy), "way, service and buffer: {busy} minutes");
    let sets_out = "SELECT (extract(epoch FROM scheduled_at - lower(busy_during)))::bigint FROM bookings WHERE id = $1";
    let travel = w.one(sets_out, first.0).await;
    assert!((240..600).contains(&travel), "he sets out before: {travel} s");

    // One that would begin within his buffer, one whose buffer would reach into his way, and those just beside them.
    let minute = |m: i64| {
        if m < 0 {
            at.minus(Duration::from_secs(m.unsigned_abs() * 60))
        } else {
            at.plus(Duration::from_secs(m as u64 * 60))
        }
    };
    let node = Node::start(&w, |_| {});
    node.known(&w, therapist).await;
    for (starts, free) in [(70, false), (60 + 15 + 4, false), (60 + 15 + 11, true), (-78, false), (-60 - 15 - 11, true)]
    {
        let new = for_time(&w, minute(starts)).await;
        let booking = w.create(&new).await;
        let asked = w.persist(booking, therapist, 1).await;
        assert_eq!(matches!(asked, PersistOutcome::Offered(_)), free, "{starts} min: {asked:?}");
        let request = node.dispatcher.question(booking).await.expect("a statement").expect("a booking");
        assert_eq!(node.fleet().nearest(&request, clock::now()).candidates.len(), usize::from(free), "{starts} min");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_overlapping_bookings_that_a_therapist_accepts_at_once_he_gets_one() {
    let w = World::new().await;
    for round in 0..10 {
        let therapist = w.therapist().await;
        let at = ahead(HOUR * 26);
        let mut asked = Vec::new();
        for apart in [0, 40] {
            let booking = w.create(&for_time(&w, at.plus(Duration::from_secs(apart * 60))).await).await;
            asked.push((booking, w.offer(booking, therapist, 1).await));
        }
        let mut tries = Vec::new();
        for (booking, offer) in asked {
            let pool = w.pool().clone();
            let task = tokio::spawn(async move {
                loop {
                    match offers::accept(&pool, offer, therapist.provider).await {
                        Err(lost) if lost.is_conflict() => {}
                        ended => return ended.expect("a statement"),
                    }
                }
            });
            tries.push((booking, task));
        }
        let mut won = 0;
        for (booking, task) in tries {
            match task.await.expect("no panic") {
                AcceptOutcome::Accepted(_) => won += 1,
                AcceptOutcome::Gone { reason, closed_now, .. } => {
                    assert_eq!((reason, closed_now), (OfferEnd::Withdrawn, true));
                    assert_eq!(w.booking_status(booking).await, "pending", "the other goes on being searched for");
                }
                other @ (AcceptOutcome::Unpaid { .. } | AcceptOutcome::NotYours) => panic!("{other:?}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_now_booking_that_he_could_not_finish_before_his_next_one_is_not_offered() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (busy_soon, other) = (w.therapist().await, w.therapist().await);
    taken(&w, busy_soon, ahead(Duration::from_secs(75 * 60))).await;
    node.place(&w, busy_soon, 0.5).await;
    node.place(&w, other, 2.0).await;
    let mut other_app = node.bus.connect(other.user, true);
    let booking = node.book(&w, w.customer().await).await;
    hear_offer(&mut other_app).await;
    // An index that has not heard of it does not help.
    let asked = w.persist(booking, busy_soon, 2).await;
    assert!(matches!(asked, PersistOutcome::ProviderUnfit), "{asked:?}");
    let accepted = w.one(
        "SELECT count(*) FROM booking_offers WHERE provider_id = $1 AND booking_type = 'now'",
        busy_soon.provider.0,
    );
    assert_eq!(accepted.await, 0);

    // With time enough he is.
    let free_now = w.therapist().await;
    taken(&w, free_now, ahead(HOUR * 5)).await;
    let asked = w.persist(w.booking().await, free_now, 1).await;
    assert!(matches!(asked, PersistOutcome::Offered(_)), "{asked:?}");
    node.stop().await;
}

#[tokio::test]
async fn what_an_accept_makes_impossible_is_asked_of_others_at_once() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (both, other) = (at_home(&w, &node, 1.0).await, at_home(&w, &node, 2.0).await);
    let (mut app, mut other_app) = (node.bus.connect(both.user, true), node.bus.connect(other.user, true));
    let at = ahead(HOUR * 26);
    let mut offers = Vec::new();
    for minutes in [0, 45, 6 * 60] {
        start(&node, for_time(&w, at.plus(Duration::from_secs(minutes * 60))).await).await;
        offers.push(hear_offer(&mut app).await);
    }
    node.dispatcher.accept(offers[0], both.provider).await.expect("a statement");
    assert_eq!(hear_closed(&mut app).await, (offers[0], OfferEnd::Accepted));
    assert_eq!(hear_status(&mut app).await, "accepted");
    assert_eq!(hear_closed(&mut app).await, (offers[1], OfferEnd::Withdrawn));
    let again = hear_offer(&mut other_app).await;
    let of = "SELECT booking_id FROM booking_offers WHERE id = $1";
    assert_eq!(w.one(of, again.0).await, w.one(of, offers[1].0).await);
    assert_eq!(w.offer_status(offers[2]).await, "offered", "what he can still do stays");
    node.stop().await;
}

#[tokio::test]
async fn what_an_accept_made_impossible_unnoticed_is_found_by_the_next_reconciliation() {
    let w = World::new().await;
    let both = w.therapist().await;
    lives(&w, both, 1.0).await;
    let at = ahead(HOUR * 26);
    let mut offered = Vec::new();
    for minutes in [0, 45, 6 * 60] {
        let booking = w.create(&for_time(&w, at.plus(Duration::from_secs(minutes * 60))).await).await;
        offered.push(w.offer(booking, both, 1).await);
    }
    // Nobody was there to see what follows from it.
    let won = offers::accept(w.pool(), offered[0], both.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    let node = Node::start(&w, |_| {});
    node.known(&w, both).await;
    node.dispatcher.reconcile().await.expect("the rows are read");
    assert_eq!(w.offer_status(offered[1]).await, "withdrawn");
    assert_eq!(w.offer_status(offered[2]).await, "offered");
    node.stop().await;
}

#[tokio::test]
async fn he_is_waited_for_from_when_he_should_set_out_not_from_the_accept() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let at = ahead(HOUR * 26);
    let booking = taken(&w, therapist, at).await;
    let watched = set_out_by(&w, booking).await.expect("watched");
    let from = at.minus(Duration::from_secs(10 * 60));
    assert!((from.plus(HOUR / 2)..at.plus(HOUR / 2)).contains(&watched), "{watched:?}, at {at:?}");
    let anew = Anew::from(&Settings::default());
    let early = bookings::release_unstarted(w.pool(), booking, HOUR / 2, &anew).await.expect("a statement");
    assert!(matches!(early, ReleaseOutcome::NotDue(left) if left > HOUR * 25), "{early:?}");
    // Who accepts when he should be on his way already has his half hour from the accept.
    let late = w.therapist().await;
    let booking = w.create(&for_time(&w, ahead(HOUR * 2)).await).await;
    let offer = w.offer(booking, late, 1).await;
    w.run("UPDATE bookings SET scheduled_at = scheduled_at - interval '2 h' WHERE id = $1", booking.0).await;
    let outcome = offers::accept(w.pool(), offer, late.provider).await.expect("a statement");
    assert!(matches!(outcome, AcceptOutcome::Accepted(_)), "{outcome:?}");
    let watched = set_out_by(&w, booking).await.expect("watched");
    assert!(watched > ahead(HOUR / 2 - Duration::from_secs(60)), "{watched:?}");
    let busy =
        "SELECT (extract(epoch FROM upper(busy_during) - clock_timestamp()) / 60)::bigint FROM bookings WHERE id = $1";
    assert!(w.one(busy, booking.0).await > 60 + 15, "he begins when he can be there");
}

#[tokio::test]
async fn who_does_not_set_out_in_time_loses_it_to_another_and_the_customer_is_told() {
    let w = World::new().await;
    let customer = w.customer().await;
    let (late, next) = (w.therapist().await, w.therapist().await);
    for therapist in [late, next] {
        lives(&w, therapist, 1.0).await;
    }
    let mut new = for_time(&w, ahead(HOUR * 26)).await;
    new.customer = customer;
    let booking = w.create(&new).await;
    let offer = w.offer(booking, late, 1).await;
    offers::accept(w.pool(), offer, late.provider).await.expect("a statement");
    time_passes(&w, booking, HOUR * 26 + HOUR / 2).await;

    let node = Node::start(&w, |_| {});
    node.known(&w, next).await;
    let (mut app, mut his) = (node.bus.connect(customer, false), node.bus.connect(late.user, true));
    let mut next_app = node.bus.connect(next.user, true);
    node.dispatcher.reconcile().await.expect("the rows are read");
    assert_eq!(hear_status(&mut app).await, "pending", "the customer is told");
    assert_eq!(hear_status(&mut his).await, "pending", "he is told that it is no longer his");
    let offer = hear_offer(&mut next_app).await;
    let left = deadline(&w, booking).await.since(clock::now());
    assert!((Duration::from_secs(200)..=Duration::from_secs(302)).contains(&left), "it is urgent, and ends: {left:?}");
    let won = node.dispatcher.accept(offer, next.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    assert_eq!(hear_status(&mut app).await, "accepted");
    node.stop().await;
}

#[tokio::test]
async fn one_given_back_is_searched_for_until_the_lead_and_the_next_is_asked() {
    let w = World::new().await;
    let node = Node::start(&w, |_| {});
    let (first, second) = (at_home(&w, &node, 1.0).await, at_home(&w, &node, 2.0).await);
    let (mut first_app, mut second_app) = (node.bus.connect(first.user, true), node.bus.connect(second.user, true));
    let at = ahead(HOUR * 5);
    let booking = start(&node, for_time(&w, at).await).await;
    let offer = hear_offer(&mut first_app).await;
    node.dispatcher.accept(offer, first.provider).await.expect("a statement");
    transition(&node, &w, booking, first.user, Status::Pending).await;
    hear_offer(&mut second_app).await;
    let ends = deadline(&w, booking).await;
    let lead = at.minus(HOUR);
    assert!((lead.minus(Duration::from_secs(2))..=lead.plus(Duration::from_secs(2))).contains(&ends));
    node.stop().await;
}

#[tokio::test]
async fn nobody_sets_out_to_one_booking_while_he_is_on_another() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let scheduled = taken(&w, therapist, ahead(HOUR * 26)).await;
    let now = w.booking().await;
    let offer = w.offer(now, therapist, 1).await;
    offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
    let set_out = async || {
        let uuid = w.text("SELECT uuid::text FROM bookings WHERE id = $1", scheduled.0).await;
        let actor = Actor { user: therapist.user, admin: false };
        let wish = Wish { booking: uuid.parse().expect("a uuid"), actor, to: Status::EnRoute, reason: None };
        bookings::transition(w.pool(), &wish, &MoveRules::from(&Settings::default())).await.expect("a statement")
    };
    let refused = set_out().await;
    assert!(
        matches!(refused, TransitionOutcome::Refused { why: Refusal::OnAnotherBooking, status: Status::Accepted }),
        "{refused:?}"
    );
    w.run("UPDATE bookings SET status = 'cancelled' WHERE id = $1", now.0).await;
    assert!(matches!(set_out().await, TransitionOutcome::Moved(_)));
}

#[tokio::test]
async fn calling_off_costs_half_within_a_day_of_its_time() {
    let w = World::new().await;
    let fee = async |ahead_by: Duration| {
        let booking = taken(&w, w.therapist().await, ahead(ahead_by)).await;
        let customer = UserId(w.one("SELECT customer_id FROM bookings WHERE id = $1", booking.0).await);
        let uuid = w.text("SELECT uuid::text FROM bookings WHERE id = $1", booking.0).await;
        let actor = Actor { user: customer, admin: false };
        let wish = Wish { booking: uuid.parse().expect("a uuid"), actor, to: Status::Cancelled, reason: None };
        let made = bookings::transition(w.pool(), &wish, &MoveRules::from(&Settings::default())).await;
        match made.expect("a statement") {
            TransitionOutcome::Moved(moved) => moved.view.booking.cancellation_fee.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fee(HOUR * 25).await, "0.00");
    assert_eq!(fee(HOUR * 23).await, "457.50");
}

#[tokio::test]
async fn after_a_restart_what_was_searched_for_is_and_what_was_taken_is_watched() {
    let w = World::new().await;
    let (asked, has_it) = (w.therapist().await, w.therapist().await);
    lives(&w, asked, 1.0).await;
    let accepted = taken(&w, has_it, ahead(HOUR * 26)).await;
    let before = Node::start(&w, |_| {});
    before.known(&w, asked).await;
    let mut app = before.bus.connect(asked.user, true);
    let mut new = for_time(&w, ahead(HOUR * 30)).await;
    new.chosen = Some(asked.provider);
    let booking = start(&before, new).await;
    let offer: OfferId = hear_offer(&mut app).await;
    let unasked = w.create(&for_time(&w, ahead(HOUR * 40)).await).await;
    before.stop().await;

    let rules = SearchRules::from(&Settings::default());
    let node = NodeId(uuid::Uuid::new_v4());
    lease::claim(w.pool(), node, HOUR, 100).await.expect("a statement");
    let found = bookings::unsettled(w.pool(), &rules, node).await.expect("a statement");
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [accepted, booking, unasked]);
    assert!(matches!(found[0].1, Standing::Accepted { set_out_by: Some(_), .. }));
    let after = Node::start(&w, |_| {});
    after.known(&w, asked).await;
    let mut app = after.bus.connect(asked.user, true);
    after.dispatcher.reconcile().await.expect("the rows are read");
    let other = hear_offer(&mut app).await;
    assert_eq!(w.one("SELECT booking_id FROM booking_offers WHERE id = $1", other.0).await, unasked.0);
    let won = after.dispatcher.accept(offer, asked.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "the offer from before the restart: {won:?}");
    after.stop().await;
}

#[tokio::test]
async fn the_way_of_an_offer_is_that_of_its_hour() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    // 18:30 in Manila, where the evening's traffic is, some days from now.
    let days = clock::now().micros().div_euclid(86_400_000_000) + 3;
    let evening = Timestamp::from_secs(days * 86_400 + 10 * 3_600 + 1_800);
    let booking = w.create(&for_time(&w, evening).await).await;
    let offer = w.persisted(booking, therapist, 1).await.message;
    let way = spacall::core::travel::travel_time_over(Meters::from_km(2.5), evening);
    assert_eq!(offer.eta_minutes, spacall::core::travel::whole_minutes(way));
}
