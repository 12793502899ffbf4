//! Prices that others wrote and no booking can hold; and codes whose limits count from the first moment.

use rust_decimal::Decimal;
use spacall::core::booking::Status;
use spacall::core::money::Money;
use spacall::core::pricing;
use spacall::store::bookings::{self, CreateOutcome, CreateRefused, NewBooking};
use spacall::store::offers::{self, AcceptOutcome, PersistOutcome};
use spacall::store::promos::PromoRefused;
use spacall::wire::stream::OfferEnd;

use super::world::World;

const BASE: &str = "UPDATE services SET base_price = 90000000 WHERE id = $1";

#[tokio::test]
async fn who_costs_more_than_a_booking_can_hold_is_not_asked_and_cannot_accept() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    for huge in [
        "UPDATE provider_services SET price = 90000000 WHERE provider_id = $1", // 20 % of it
        "UPDATE provider_services SET price = 900, per_km_surcharge = 999999.99, base_distance_km = 0 WHERE provider_id = $1",
    ] {
        let usual = "UPDATE provider_services SET price = 900, per_km_surcharge = 10, base_distance_km = 1 WHERE provider_id = $1";
        w.run(usual, therapist.provider.0).await;
        let offer = w.offer(w.booking().await, therapist, 3).await;
        w.run(huge, therapist.provider.0).await;
        let late = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
        assert!(matches!(late, AcceptOutcome::Gone { reason: OfferEnd::Withdrawn, .. }), "{huge}: {late:?}");
        let unfit = w.persist(w.booking().await, therapist, 3).await;
        assert!(matches!(unfit, PersistOutcome::ProviderUnfit), "{huge}: {unfit:?}");
    }
}

#[tokio::test]
async fn a_base_price_that_no_booking_can_hold_makes_none_and_keeps_none_with_who_gives_it_back() {
    let w = World::new().await;
    let therapist = w.therapist().await;
    let booking = w.booking().await;
    let offer = w.offer(booking, therapist, 1).await;
    let won = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
    assert!(matches!(won, AcceptOutcome::Accepted(_)), "{won:?}");
    w.run(BASE, w.service().await.0).await;
    w.moved(booking, therapist.user, Status::Pending).await;
    assert_eq!(w.booking_status(booking).await, "pending");

    let mut new = w.new_booking(w.customer().await).await;
    new.price = pricing::price(Money::centavos(9_000_000_000), Money::ZERO, Decimal::from(15), None);
    let refused = bookings::create(w.pool(), &new, None).await.expect("a statement");
    assert!(matches!(refused, CreateOutcome::Refused(CreateRefused::TooDear)), "{refused:?}");
}

/// A booking of 800.00 with this code.
async fn with_code(w: &World, code: i64, discount: i64) -> NewBooking {
    let mut new = w.new_booking(w.customer().await).await;
    new.promo_code = Some(code);
    new.price.promo_discount = Money::centavos(discount);
    new.price.total_amount = new.price.total_amount - Money::centavos(discount);
    new
}

async fn refusal(w: &World, new: &NewBooking) -> Option<PromoRefused> {
    match bookings::create(w.pool(), new, None).await.expect("a statement") {
        CreateOutcome::Created { .. } => None,
        CreateOutcome::Refused(CreateRefused::Promo(why)) => Some(why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_code_that_takes_nothing_off_yet_is_used_all_the_same() {
    let w = World::new().await;
    let code = w
        .one(
            "INSERT INTO promo_codes (code, discount_type, discount_value, valid_from, valid_until, usage_limit)
             VALUES ('ONCE', 'percentage', 10, now() - interval '1 day', now() + interval '1 day', 1) RETURNING id",
            0,
        )
        .await;
    let first = w.create(&with_code(&w, code, 0).await).await;
    assert_eq!(refusal(&w, &with_code(&w, code, 0).await).await, Some(PromoRefused::UsedUp));
    let therapist = w.therapist().await;
    let offer = w.offer(first, therapist, 1).await;
    let won = offers::accept(w.pool(), offer, therapist.provider).await.expect("a statement");
    let AcceptOutcome::Accepted(won) = won else { panic!("{won:?}") };
    assert_eq!(won.view.booking.promo_discount, Money::centavos(9_150), "10 % of 915.00");
    let used = "SELECT (discount_amount * 100)::bigint FROM promo_code_usages WHERE booking_id = $1";
    assert_eq!(w.one(used, first.0).await, 9_150);
}

#[tokio::test]
async fn of_two_codes_for_new_customers_one_customer_uses_one() {
    let w = World::new().await;
    let mut codes = Vec::new();
    for insert in [
        "INSERT INTO promo_codes (code, discount_type, discount_value, valid_from, valid_until, new_customers_only)
         VALUES ('NEW1', 'fixed_amount', 100, now() - interval '1 day', now() + interval '1 day', TRUE) RETURNING id",
        "INSERT INTO promo_codes (code, discount_type, discount_value, valid_from, valid_until, new_customers_only)
         VALUES ('NEW2', 'fixed_amount', 100, now() - interval '1 day', now() + interval '1 day', TRUE) RETURNING id",
    ] {
        codes.push(w.one(insert, 0).await);
    }
    for _ in 0..10 {
        let one = with_code(&w, codes[0], 10_000).await;
        let two = NewBooking { promo_code: Some(codes[1]), ..one.clone() };
        let (one, two) = tokio::join!(refusal(&w, &one), refusal(&w, &two));
        let mut refused = [one, two];
        refused.sort_by_key(Option::is_some);
        assert_eq!(refused, [None, Some(PromoRefused::NewCustomersOnly)]);
    }
    assert_eq!(w.one("SELECT count(*) FROM bookings", 0).await, 10);
}
