//! What a customer may ask for when he books.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_address_takes_the_place_of_a_location_and_a_strangers_does_not() {
    let server = Server::start().await;
    let (customer, stranger) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let mut ids = Vec::new();
    for user in [customer.user_id, stranger.user_id] {
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO user_addresses (user_id, address_line1, city, latitude, longitude)
             VALUES ($1, '1 Rizal Drive', 'Taguig', 14.55, 121.05) RETURNING id",
        )
        .bind(user)
        .fetch_one(server.pool())
        .await
        .expect("an address");
        ids.push(id);
    }
    let with = |id: i64| {
        let mut body = wanted();
        body["location"] = Value::Null;
        body["address_id"] = json!(id);
        body
    };
    let booking = book(&server, &customer, with(ids[0])).await;
    assert_eq!(booking["location"]["address"], "1 Rizal Drive, Taguig");
    assert_eq!(booking["location"]["longitude"], 121.05);
    let refused = server.api(&customer.token).post("/v1/bookings", with(ids[1])).await;
    assert_eq!((refused.status, refused.json["errors"]["address_id"].is_array()), (422, true), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_therapist_must_be_able_to_come_and_is_priced_from_his_public_position() {
    let server = Server::start().await;
    let far = therapist_at(&server, "Tala", 6_470.0).await;
    let near = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let choosing = |t: &Therapist| {
        let mut body = wanted();
        body["provider_uuid"] = json!(t.provider_uuid);
        body
    };
    let shown = api.get(&nearby(HERE, "")).await.json["data"][1].clone();
    assert_eq!(shown["provider_uuid"], far.provider_uuid.to_string());
    let booking = book(&server, &customer, choosing(&far)).await;
    assert_eq!(booking["distance_surcharge"], shown["distance_surcharge"]);
    assert_eq!(booking["total_amount"], shown["total"]);
    assert_eq!(booking["price_is_estimate"], false);

    let unavailable = |answer: crate::support::http::Answer| {
        let told = format!("{answer:?}");
        assert_eq!((answer.status, &answer.json["code"]), (422, &json!("provider_unavailable")), "{told}");
        assert!(answer.json["errors"]["provider_uuid"].is_array(), "{told}");
    };
    let phone = server.api(&near.person.token);
    assert_eq!(phone.put("/v1/me/availability", json!({"available": false})).await.status, 200);
    api.until(&nearby(HERE, ""), |a| {
        a.json["data"].as_array().is_some_and(|d| d.iter().all(|t| t["first_name"] != "Luz"))
    })
    .await;
    unavailable(api.post("/v1/bookings", choosing(&near)).await);
    let mut nobody = wanted();
    nobody["provider_uuid"] = json!(uuid::Uuid::new_v4());
    unavailable(api.post("/v1/bookings", nobody).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_for_a_therapist_who_is_asked_already_gets_the_first_answer() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let mut phone = app(&server, &therapist).await;
    let api = server.api(&customer.token);
    let mut body = wanted();
    body["provider_uuid"] = json!(therapist.provider_uuid);
    let send = || api.send(api.request("POST", "/v1/bookings").header("idempotency-key", "k").json(&body));
    let first = send().await;
    assert_eq!(first.status, 201, "{first:?}");
    // Now he is no longer free for anyone, this customer included.
    phone.expect("offer").await;
    let again = send().await;
    assert_eq!((again.status, &again.json), (201, &first.json));
    assert_eq!(again.headers["location"], first.headers["location"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promo_code_is_taken_off_once_and_its_limits_hold() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    sqlx::query(
        "INSERT INTO promo_codes (code, discount_type, discount_value, max_discount_amount, valid_from, valid_until, min_booking_amount)
         VALUES ('HILOT50', 'percentage', 50, 300, now() - interval '1 day', now() + interval '1 day', NULL),
                ('RICH', 'fixed_amount', 100, NULL, now() - interval '1 day', now() + interval '1 day', 5000),
                ('OVER', 'fixed_amount', 100, NULL, now() - interval '2 days', now() - interval '1 day', NULL)",
    )
    .execute(server.pool())
    .await
    .expect("codes");
    let api = server.api(&customer.token);
    let with = |code: &str| {
        let mut body = wanted();
        body["promo_code"] = json!(code);
        body
    };
    let booking = book(&server, &customer, with("hilot50")).await;
    assert_eq!((&booking["promo_discount"], &booking["total_amount"]), (&json!("300.00"), &json!("500.00")));
    for code in ["HILOT50", "RICH", "OVER", "NOPE"] {
        let answer = api.post("/v1/bookings", with(code)).await;
        assert_eq!((answer.status, &answer.json["code"]), (422, &json!("promo_refused")), "{code}: {answer:?}");
        assert!(answer.json["errors"]["promo_code"].is_array(), "{code}: {answer:?}");
    }
}
