//! One winner, whatever the code above does; and the record of what happened.

use sqlx::PgPool;

use super::fixture::{self, Therapist, booking, customer, offer, refused, set, therapist};
use crate::support::database;

async fn two_of_each(pool: &PgPool) -> (Therapist, Therapist, i64, i64) {
    let a = therapist(pool, "+639170000001", 14.55, 121.02).await;
    let b = therapist(pool, "+639170000002", 14.56, 121.02).await;
    let c = customer(pool, "+639170000003").await;
    (a, b, booking(pool, c).await, booking(pool, c).await)
}

async fn answer(pool: &PgPool, offer: i64, status: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE booking_offers SET status = $2::booking_offer_status, responded_at = now() WHERE id = $1")
        .bind(offer)
        .bind(status)
        .execute(pool)
        .await
        .map(|_| ())
}

#[tokio::test]
async fn a_booking_has_at_most_one_accepted_offer() {
    let db = database().await;
    let pool = db.pool();
    let (a, b, first, _) = two_of_each(pool).await;
    let (of_a, of_b) =
        (offer(pool, first, a.provider, 1).await.unwrap(), offer(pool, first, b.provider, 2).await.unwrap());
    answer(pool, of_a, "accepted").await.unwrap();
    assert_eq!(refused(answer(pool, of_b, "accepted").await), "uq_booking_offers_one_accepted");
    answer(pool, of_a, "released").await.unwrap();
    answer(pool, of_b, "accepted").await.unwrap();
}

#[tokio::test]
async fn a_therapist_has_at_most_one_live_offer() {
    let db = database().await;
    let pool = db.pool();
    let (a, _, first, second) = two_of_each(pool).await;
    let live = offer(pool, first, a.provider, 1).await.unwrap();
    assert_eq!(refused(offer(pool, second, a.provider, 1).await), "uq_booking_offers_one_live_per_therapist");
    answer(pool, live, "declined").await.unwrap();
    offer(pool, second, a.provider, 1).await.unwrap();
    assert_eq!(refused(offer(pool, first, a.provider, 1).await), "booking_offers_once_per_round");
}

#[tokio::test]
async fn a_therapist_has_at_most_one_active_booking() {
    let db = database().await;
    let pool = db.pool();
    let (a, b, first, second) = two_of_each(pool).await;
    let accept = |provider: i64| format!("provider_id = {provider}, status = 'accepted'");
    set(pool, first, &accept(a.provider)).await.unwrap();
    assert_eq!(refused(set(pool, second, &accept(a.provider)).await), "uq_bookings_one_active_per_therapist");
    set(pool, second, &accept(b.provider)).await.unwrap();
}

#[tokio::test]
async fn accepted_times_of_a_therapist_do_not_overlap() {
    let db = database().await;
    let pool = db.pool();
    let (a, _, first, second) = two_of_each(pool).await;
    let accept = |from: &str, to: &str| {
        format!(
            "booking_type = 'scheduled', scheduled_at = '2027-01-05 {from}+08', provider_id = {}, status = 'accepted',
             busy_during = tstzrange('2027-01-05 {from}+08', '2027-01-05 {to}+08')",
            a.provider
        )
    };
    set(pool, first, &accept("10:00", "11:30")).await.unwrap();
    assert_eq!(refused(set(pool, second, &accept("11:00", "12:00")).await), "bookings_no_overlap");
    set(pool, second, &accept("11:30", "12:30")).await.unwrap();
}

#[tokio::test]
async fn a_status_moves_only_where_the_machine_allows() {
    let db = database().await;
    let pool = db.pool();
    let (a, _, first, second) = two_of_each(pool).await;
    for status in ["en_route", "arrived", "in_progress", "completed", "no_show"] {
        let to = format!("provider_id = {}, status = '{status}'", a.provider);
        assert_eq!(refused(set(pool, first, &to).await), "bookings_status_transition", "pending -> {status}");
    }
    assert_eq!(refused(set(pool, first, "status = 'accepted'").await), "bookings_provider_required");
    set(pool, first, &format!("provider_id = {}, status = 'accepted'", a.provider)).await.unwrap();
    set(pool, first, "status = 'pending'").await.unwrap();
    let given_back: (Option<i64>, bool) =
        sqlx::query_as("SELECT provider_id, accepted_at IS NULL FROM bookings WHERE id = $1")
            .bind(first)
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!(given_back, (None, true), "given back, it is nobody's");
    set(pool, second, "status = 'cancelled'").await.unwrap();
    assert_eq!(refused(set(pool, second, "status = 'pending'").await), "bookings_status_transition");
}

#[tokio::test]
async fn every_step_is_on_record_with_who_did_it() {
    let db = database().await;
    let pool = db.pool();
    let (a, _, first, _) = two_of_each(pool).await;
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("SELECT set_config('spacall.actor_id', $1, true)")
        .bind(a.user.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE bookings SET provider_id = $2, status = 'accepted' WHERE id = $1")
        .bind(first)
        .bind(a.provider)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    set(pool, first, "status = 'cancelled', cancellation_reason = 'no_show_up'").await.unwrap();
    type Step = (Option<String>, String, Option<i64>, Option<String>);
    let history: Vec<Step> = sqlx::query_as(
        "SELECT from_status::text, to_status::text, changed_by, reason FROM booking_status_history
         WHERE booking_id = $1 ORDER BY id",
    )
    .bind(first)
    .fetch_all(pool)
    .await
    .unwrap();
    let word = |s: &str| Some(s.to_owned());
    assert_eq!(
        history,
        [
            (None, "pending".into(), None, None),
            (word("pending"), "accepted".into(), Some(a.user), None),
            (word("accepted"), "cancelled".into(), None, word("no_show_up")),
        ]
    );
    let timeline: Vec<String> =
        sqlx::query_scalar("SELECT status FROM booking_timeline WHERE booking_id = $1 ORDER BY id")
            .bind(first)
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(timeline, ["pending", "accepted", "cancelled"]);
}

#[tokio::test]
async fn a_total_that_does_not_add_up_is_refused() {
    let db = database().await;
    let pool = db.pool();
    let (.., first, _) = two_of_each(pool).await;
    for (wrong, constraint) in [
        ("total_amount = 801", "bookings_total"),
        ("distance_surcharge = 10, total_amount = 810", "bookings_commission"),
        ("provider_earnings = 700", "bookings_earnings"),
        ("promo_discount = 900, total_amount = -100", "bookings_promo_cap"),
        ("cancellation_fee = 10", "bookings_cancellation_fee"),
    ] {
        assert_eq!(refused(set(pool, first, wrong).await), constraint, "{wrong}");
    }
    set(pool, first, "tip_amount = 50, total_amount = 850").await.unwrap();
}

#[tokio::test]
async fn the_millionth_booking_has_a_number_of_its_own() {
    let db = database().await;
    let pool = db.pool();
    let person = customer(pool, "+639170000001").await;
    sqlx::query("SELECT setval('booking_number_seq', 999998)").execute(pool).await.unwrap();
    let mut numbers: Vec<String> = Vec::new();
    for _ in 0..2 {
        let id = booking(pool, person).await;
        let number = sqlx::query_scalar("SELECT split_part(booking_number, '-', 3) FROM bookings WHERE id = $1");
        numbers.push(number.bind(id).fetch_one(pool).await.unwrap());
    }
    assert_eq!(numbers, ["999999", "1000000"]);
}

#[tokio::test]
async fn a_rating_counts_visible_reviews_of_customers_only() {
    let db = database().await;
    let pool = db.pool();
    let (a, _, pending, _) = two_of_each(pool).await;
    let person: i64 = sqlx::query_scalar("SELECT customer_id FROM bookings WHERE id = $1")
        .bind(pending)
        .fetch_one(pool)
        .await
        .unwrap();
    let review = async |booking: i64, stars: i32| {
        sqlx::query(
            "INSERT INTO reviews (booking_id, reviewer_id, reviewee_id, reviewer_type, overall_rating)
             VALUES ($1, $2, $3, 'customer', $4)",
        )
        .bind(booking)
        .bind(person)
        .bind(a.user)
        .bind(stars)
        .execute(pool)
        .await
    };
    assert_eq!(refused(review(pending, 5).await), "reviews_booking_completed");
    for stars in [5, 4] {
        let done = fixture::completed(pool, person, &a, "2026-02-01T10:00:00+08:00").await;
        review(done, stars).await.unwrap();
    }
    let rating = async || -> (String, i32) {
        sqlx::query_as("SELECT average_rating::text, total_reviews FROM providers WHERE id = $1")
            .bind(a.provider)
            .fetch_one(pool)
            .await
            .unwrap()
    };
    assert_eq!(rating().await, ("4.50".into(), 2));
    sqlx::query("UPDATE reviews SET is_visible = FALSE WHERE overall_rating = 4").execute(pool).await.unwrap();
    assert_eq!(rating().await, ("5.00".into(), 1));
    sqlx::query("DELETE FROM reviews").execute(pool).await.unwrap();
    assert_eq!(rating().await, ("0.00".into(), 0));
}
