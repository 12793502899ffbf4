//! A request makes one booking, however often it is sent.

use spacall::core::ids::BookingId;
use spacall::core::money::Money;
use spacall::core::pricing::{self, Discount, Promo};
use spacall::store::bookings::{self, BookingView, CreateOutcome, CreateRefused};
use spacall::store::idempotency::Key;
use spacall::store::pages::{Ask, From, Rows};
use spacall::store::promos::{self, PromoRefused};
use spacall::store::timeline;

use super::world::World;

fn key(name: &str, request: u8) -> Key {
    Key { key: name.to_owned(), request_hash: [request; 32] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_raced_by_many_makes_one_booking_and_one_answer() {
    let w = World::new().await;
    let new = w.new_booking(w.customer().await).await;
    let tries: Vec<_> = (0..12)
        .map(|_| {
            let (pool, new) = (w.pool().clone(), new.clone());
            tokio::spawn(async move { bookings::create(&pool, &new, Some(&key("k", 1))).await.expect("a statement") })
        })
        .collect();
    let mut bodies = Vec::new();
    let mut created = 0;
    for task in tries {
        match task.await.expect("no panic") {
            CreateOutcome::Created { body, .. } => {
                created += 1;
                bodies.push(body);
            }
            CreateOutcome::Replay { status, body } => {
                assert_eq!(status, 201);
                bodies.push(body);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(created, 1);
    assert!(bodies.iter().all(|b| *b == bodies[0]), "every answer is the first one");
    assert_eq!(w.one("SELECT count(*) FROM bookings", 0).await, 1);
}

#[tokio::test]
async fn a_key_of_another_request_is_refused_and_an_outlived_one_is_new() {
    let w = World::new().await;
    let new = w.new_booking(w.customer().await).await;
    let create = async |request| bookings::create(w.pool(), &new, Some(&key("k", request))).await.expect("a statement");
    assert!(matches!(create(1).await, CreateOutcome::Created { .. }));
    assert!(matches!(create(2).await, CreateOutcome::KeyReused));
    w.run("UPDATE idempotency_keys SET created_at = created_at - interval '24 h' WHERE user_id = $1", new.customer.0)
        .await;
    assert!(matches!(create(2).await, CreateOutcome::Created { .. }));
    assert_eq!(w.one("SELECT count(*) FROM bookings", 0).await, 2);
}

#[tokio::test]
async fn a_refused_booking_leaves_its_key_free() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let mut new = w.new_booking(therapist.user).await;
    new.chosen = Some(therapist.provider);
    let refused = bookings::create(w.pool(), &new, Some(&key("k", 1))).await.expect("a statement");
    assert!(matches!(refused, CreateOutcome::Refused(CreateRefused::OwnTherapist)), "{refused:?}");
    new.chosen = Some(spacall::core::ids::ProviderId(999_999));
    let refused = bookings::create(w.pool(), &new, Some(&key("k", 1))).await.expect("a statement");
    assert!(matches!(refused, CreateOutcome::Refused(CreateRefused::NoSuchProvider)), "{refused:?}");
    new.chosen = None;
    let made = bookings::create(w.pool(), &new, Some(&key("k", 1))).await.expect("a statement");
    assert!(matches!(made, CreateOutcome::Created { .. }), "{made:?}");
}

#[tokio::test]
async fn a_new_booking_is_shown_as_it_was_asked_for() {
    let w = World::new().await;
    let customer = w.customer().await;
    let id = w.create(&w.new_booking(customer).await).await;
    let mut db = w.pool().acquire().await.expect("a connection");
    let view = bookings::view_by_id(&mut db, id).await.expect("a statement").expect("the booking");
    let shown = serde_json::to_value(&view.booking).expect("JSON");
    assert_eq!(shown["status"], "pending");
    assert_eq!(shown["total_amount"], "800.00");
    assert_eq!(shown["price_is_estimate"], true);
    assert_eq!(shown["location"]["unit_number"], "12B");
    assert_eq!(shown["location"]["latitude"], 14.5547);
    assert_eq!(shown["customer_notes"], "Ring twice");
    assert_eq!(shown["provider"], serde_json::Value::Null);
    assert!(view.is_party(customer) && !view.is_party(w.customer().await));
    let feed = timeline::after(w.pool(), id, 0, 10).await.expect("a statement");
    assert_eq!(feed.iter().map(|e| e.status.as_str()).collect::<Vec<_>>(), ["pending"]);
    assert!(timeline::after(w.pool(), id, feed[0].id, 10).await.expect("a statement").is_empty());
    let history = timeline::history(w.pool(), id).await.expect("a statement");
    assert_eq!((history.len(), history[0].changed_by), (1, Some(customer)));
}

#[tokio::test]
async fn pages_of_a_list_go_both_ways_and_miss_nothing() {
    let w = World::new().await;
    let customer = w.customer().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(w.create(&w.new_booking(customer).await).await);
        w.booking().await; // somebody else's
    }
    ids.reverse();
    let ids_of = |page: &Rows<BookingView>| page.rows.iter().map(|v| v.id).collect::<Vec<BookingId>>();
    let list = |from| bookings::list(w.pool(), Some(customer), None, Ask { from, per_page: 2 });
    let first = list(From::Start).await.expect("a page");
    assert_eq!((ids_of(&first), first.older, first.newer), (ids[0..2].to_vec(), true, false));
    let second = list(From::OlderThan(ids[1].0)).await.expect("a page");
    assert_eq!((ids_of(&second), second.older, second.newer), (ids[2..4].to_vec(), true, true));
    let last = list(From::OlderThan(ids[3].0)).await.expect("a page");
    assert_eq!((ids_of(&last), last.older, last.newer), (ids[4..].to_vec(), false, true));
    let back = list(From::NewerThan(ids[4].0)).await.expect("a page");
    assert_eq!((ids_of(&back), back.older, back.newer), (ids[2..4].to_vec(), true, true));
    let back = list(From::NewerThan(ids[2].0)).await.expect("a page");
    assert_eq!((ids_of(&back), back.older, back.newer), (ids[0..2].to_vec(), true, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_use_of_a_promo_code_goes_to_one_booking() {
    let w = World::new().await;
    let code = w
        .one(
            "INSERT INTO promo_codes (code, discount_type, discount_value, valid_from, valid_until, usage_limit)
             VALUES ('ONCE', 'fixed_amount', 100, now() - interval '1 day', now() + interval '1 day', 1) RETURNING id",
            0,
        )
        .await;
    let promo = Promo { discount: Discount::FixedAmount(Money::centavos(10_000)), max_discount: None };
    let customers = [w.customer().await, w.customer().await];
    let service = w.service().await;
    let found = promos::check(w.pool(), "once", customers[0], service, None).await.expect("a statement");
    assert_eq!(found.map(|c| (c.id, c.terms)), Ok((code, promo.clone())));
    let mut tries = Vec::new();
    for customer in customers {
        let mut new = w.new_booking(customer).await;
        new.promo_code = Some(code);
        new.price = pricing::price(Money::centavos(80_000), Money::ZERO, 15.into(), Some(&promo));
        let pool = w.pool().clone();
        tries.push(tokio::spawn(async move { bookings::create(&pool, &new, None).await.expect("a statement") }));
    }
    let mut made = 0;
    for task in tries {
        match task.await.expect("no panic") {
            CreateOutcome::Created { view, .. } => {
                made += 1;
                assert_eq!(view.booking.total_amount, Money::centavos(70_000));
            }
            CreateOutcome::Refused(CreateRefused::Promo(PromoRefused::UsedUp | PromoRefused::UsedByYou)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(w.one("SELECT usage_count::bigint FROM promo_codes WHERE id = $1", code).await, 1);
    let again = promos::check(w.pool(), "ONCE", customers[0], service, None).await.expect("a statement");
    assert_eq!(again, Err(PromoRefused::UsedUp));
}
