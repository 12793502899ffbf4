//! Who books a therapist at his price pays that price: he cannot ask for more once he has been chosen.

use super::*;

async fn chosen_then<F: Future>(metres: f64, change: impl FnOnce(Api, String) -> F) -> (Value, Answer) {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", metres).await;
    let mut phone = app(&server, &therapist).await;
    let customer = people::customer(server.pool()).await;
    let mut body = wanted();
    body["provider_uuid"] = json!(therapist.provider_uuid);
    let booking = book(&server, &customer, body).await;
    let offer = phone.expect("offer").await["offer_id"].as_i64().expect("an id");
    let his = server.api(&therapist.person.token);
    change(
        server.api(&therapist.person.token),
        format!("/v1/providers/{}/services/swedish-massage", therapist.provider_uuid),
    )
    .await;
    let accepted = his.post(&format!("/v1/offers/{offer}/accept"), json!({})).await;
    let booking = server.api(&customer.token).get(&format!("/v1/bookings/{}", uuid(&booking))).await.json;
    (booking, accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_raised_after_he_was_chosen_is_not_charged() {
    for terms in [json!({"price": "9000.00"}), json!({"base_distance_km": 0, "per_km_surcharge": "500.00"})] {
        let (booking, accepted) = chosen_then(3_000.0, async |his: Api, service: String| {
            let before = his.get(&service.replace("/swedish-massage", "")).await.json;
            let price = before["data"][0]["price"].clone();
            let mut change = json!({"price": price});
            change.as_object_mut().expect("an object").extend(terms.as_object().expect("an object").clone());
            let changed = his.put(&service, change).await;
            assert_eq!(changed.status, 200, "{changed:?}");
        })
        .await;
        assert_eq!((accepted.status, &accepted.json["code"]), (409, &json!("offer_gone")), "{accepted:?}");
        assert_eq!(accepted.json["reason"], "withdrawn");
        assert_ne!(booking["status"], "accepted", "{booking}");
        assert_eq!(booking["price_is_estimate"], false);
        assert_ne!(booking["service_price"], "9000.00", "{booking}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_nothing_takes_the_booking_at_the_price_that_was_shown() {
    let (booking, accepted) = chosen_then(300.0, async |_, _| ()).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    assert_eq!(booking["status"], "accepted");
}

/// As Laravel inserts it: the price it shows, and the schema's default of `price_is_estimate`. Its id and uuid.
async fn inserted(server: &Server, customer: &Person, chosen: Option<i64>) -> (i64, uuid::Uuid) {
    sqlx::query_as(
        "WITH made AS (
             INSERT INTO bookings (customer_id, provider_id, service_id, payment_method, type, booking_type, service_price,
                                   total_amount, provider_earnings, commission_amount, commission_rate)
             SELECT $1, $2, id, 'cash', 'home_service', 'now', 800, 800, 680, 120, 15 FROM services
             WHERE slug = 'swedish-massage'
             RETURNING id, uuid),
         placed AS (
             INSERT INTO booking_locations (booking_id, address, latitude, longitude)
             SELECT id, '6750 Ayala Avenue, Makati', $3, $4 FROM made)
         SELECT id, uuid FROM made",
    )
    .bind(customer.user_id)
    .bind(chosen)
    .bind(HERE.0)
    .bind(HERE.1)
    .fetch_one(server.pool())
    .await
    .expect("a booking")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_chosen_therapist_the_price_is_an_estimate_whatever_the_column_says() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let dearer = "UPDATE provider_services SET price = 900 WHERE provider_id = $1";
    sqlx::query(dearer).bind(therapist.provider_id).execute(server.pool()).await.expect("his price");
    let mut phone = app(&server, &therapist).await;
    let customer = people::customer(server.pool()).await;

    let (named, _) = inserted(&server, &customer, Some(therapist.provider_id)).await;
    let (_, anyone) = inserted(&server, &customer, None).await;
    let offer = phone.expect("offer").await;
    let api = server.api(&customer.token);
    let shown = api.get(&format!("/v1/bookings/{anyone}")).await.json;
    assert_eq!(shown["price_is_estimate"], true, "{shown}");
    phone.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    let taken = becomes(&server, &customer, &anyone.to_string(), "accepted").await;
    assert_eq!((&taken["service_price"], &taken["price_is_estimate"]), (&json!("900.00"), &json!(false)), "{taken}");
    let asked: i64 = sqlx::query_scalar("SELECT count(*) FROM booking_offers WHERE booking_id = $1")
        .bind(named)
        .fetch_one(server.pool())
        .await
        .expect("a count");
    assert_eq!(asked, 0);
}
