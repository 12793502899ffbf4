//! Bookings at their edges: bad input, repeated requests, cancelling, giving back.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_value_of_a_booking_is_named() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let but = |field: &str, value: Value| {
        let mut body = wanted();
        body[field] = value;
        body
    };
    let location = |field: &str, value: Value| {
        let mut body = wanted();
        body["location"][field] = value;
        body
    };
    for (body, field) in [
        (but("service", json!("no-such-massage")), "service"),
        (but("type", json!("on_the_moon")), "type"),
        (but("booking_type", json!("soon")), "booking_type"),
        (but("booking_type", json!("scheduled")), "scheduled_at"),
        (but("scheduled_at", json!("2026-12-01T10:00:00Z")), "scheduled_at"),
        (but("payment_method", json!("barter")), "payment_method"),
        (but("max_price", json!("-1")), "max_price"),
        (but("provider_uuid", json!("not-a-uuid")), "provider_uuid"),
        (but("preferences", json!({"gender": "robot"})), "preferences.gender"),
        (but("promo_code", json!("NOPE")), "promo_code"),
        (but("location", Value::Null), "location"),
        (location("latitude", json!(95)), "location.latitude"),
        (location("longitude", json!(-181)), "location.longitude"),
        (location("address", json!("")), "location.address"),
    ] {
        let answer = api.post("/v1/bookings", body.clone()).await;
        assert_eq!(answer.status, 422, "{field}: {answer:?}");
        let errors = answer.json["errors"].as_object().expect("errors");
        assert!(errors.contains_key(field), "{field} is named in {errors:?} for {body}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let answer = api.post("/v1/bookings", but("payment_method", json!("wallet"))).await;
    assert_eq!((answer.status, &answer.json["code"]), (422, &json!("insufficient_balance")), "{answer:?}");
    let broken =
        api.send(api.request("POST", "/v1/bookings").header("content-type", "application/json").body("{")).await;
    assert_eq!(broken.status, 400, "{broken:?}");
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(server.pool()).await.expect("a count");
    assert_eq!(count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_one_booking_and_gets_the_same_answer() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let send = |body: Value| api.send(api.request("POST", "/v1/bookings").header("idempotency-key", "k-1").json(&body));
    let answers = futures_util::future::join_all((0..8).map(|_| send(wanted()))).await;
    let first = &answers[0].json["uuid"];
    for answer in &answers {
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(&answer.json["uuid"], first);
    }
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(server.pool()).await.expect("a count");
    assert_eq!(count, 1);
    let mut other = wanted();
    other["customer_notes"] = json!("another");
    let answer = send(other).await;
    assert_eq!((answer.status, &answer.json["code"]), (422, &json!("idempotency_key_reused")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_given_back_is_dispatched_anew_to_somebody_else() {
    let server = Server::start().await;
    let (first, second) = (therapist_at(&server, "Luz", 300.0).await, therapist_at(&server, "Hiyas", 900.0).await);
    let customer = people::customer(server.pool()).await;
    let (mut a, mut b) = (app(&server, &first).await, app(&server, &second).await);
    let booking = book(&server, &customer, wanted()).await;
    let offer = a.expect("offer").await;
    a.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    a.expect("offer.closed").await;
    a.send(json!({"type": "watch", "booking_uuid": uuid(&booking)})).await;
    let (status, body) = transition(&server, &first.person, uuid(&booking), "pending").await;
    assert_eq!((status, &body["status"], &body["location"]), (200, &json!("pending"), &Value::Null), "{body}");
    let offer = b.expect("offer").await;
    b.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    let seen = becomes(&server, &customer, uuid(&booking), "accepted").await;
    assert_eq!(seen["provider"]["provider_uuid"], second.provider_uuid.to_string());
    // Who gave it back may no longer see it, nor the way of who took it, though he had asked to follow it.
    let path = format!("/v1/bookings/{}", uuid(&booking));
    assert_eq!(server.api(&first.person.token).get(&path).await.status, 404);
    let (mut watcher, _) = Stream::open(&server.base, &customer.token).await;
    watcher.send(json!({"type": "watch", "booking_uuid": uuid(&booking)})).await;
    assert_eq!(transition(&server, &second.person, uuid(&booking), "en_route").await.0, 200);
    let (latitude, longitude) = north(899.0);
    b.send(json!({"type": "location", "fixes": [fix(2, now(), latitude, longitude)]})).await;
    watcher.expect("position").await;
    a.send(json!({"type": "watch", "booking_uuid": uuid(&booking)})).await;
    assert_eq!(a.expect("error").await["code"], "not_found");
    assert!(!a.heard("position"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_therapist_who_accepts_and_does_not_set_out_loses_the_booking_to_another() {
    let server = Server::start().await;
    set(&server, "booking_timeout", "accepted", json!(1)).await;
    let (first, second) = (therapist_at(&server, "Luz", 300.0).await, therapist_at(&server, "Hiyas", 900.0).await);
    let customer = people::customer(server.pool()).await;
    let (mut a, mut b) = (app(&server, &first).await, app(&server, &second).await);
    let booking = book(&server, &customer, wanted()).await;
    let offer = a.expect("offer").await;
    a.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    a.expect_where("booking", |b| b["status"] == "accepted").await;
    let offer = b.expect("offer").await;
    assert_eq!(offer["booking"]["uuid"], booking["uuid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_cancelled_in_sql_withdraws_its_offer() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let mut app = app(&server, &therapist).await;
    let booking = book(&server, &customer, wanted()).await;
    app.expect("offer").await;
    sqlx::query("UPDATE bookings SET status = 'cancelled', cancellation_reason = 'by phone' WHERE uuid = $1::uuid")
        .bind(uuid(&booking))
        .execute(server.pool())
        .await
        .expect("the change");
    assert_eq!(app.expect("offer.closed").await["reason"], "withdrawn");
    let offers = server.api(&therapist.person.token).get("/v1/offers").await.json;
    assert_eq!(offers["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_is_nobodys_or_anothers_is_named_in_the_error() {
    let server = Server::start().await;
    let (asked, other) = (therapist_at(&server, "Luz", 300.0).await, therapist_at(&server, "Hiyas", 900.0).await);
    let customer = people::customer(server.pool()).await;
    let (mut his, mut hers) = (app(&server, &asked).await, app(&server, &other).await);
    book(&server, &customer, wanted()).await;
    let foreign = his.expect("offer").await["offer_id"].clone();
    for offer in [foreign, json!(4_711)] {
        for command in ["offer.received", "offer.accept", "offer.decline"] {
            hers.send(json!({"type": command, "offer_id": offer})).await;
            let error = hers.expect("error").await;
            assert_eq!((&error["code"], &error["offer_id"]), (&json!("not_found"), &offer), "{command}: {error}");
            assert_eq!(error.get("reason"), None, "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_therapist_alone_is_asked_and_his_no_ends_it() {
    let server = Server::start().await;
    let (near, chosen) = (therapist_at(&server, "Luz", 300.0).await, therapist_at(&server, "Hiyas", 900.0).await);
    let customer = people::customer(server.pool()).await;
    let (mut a, mut b) = (app(&server, &near).await, app(&server, &chosen).await);
    let mut body = wanted();
    body["provider_uuid"] = json!(chosen.provider_uuid);
    let booking = book(&server, &customer, body).await;
    assert_eq!(booking["provider"]["provider_uuid"], chosen.provider_uuid.to_string());
    let offer = b.expect("offer").await;
    b.send(json!({"type": "offer.decline", "offer_id": offer["offer_id"]})).await;
    let ended = becomes(&server, &customer, uuid(&booking), "cancelled").await;
    assert_eq!(ended["cancellation_reason"], "provider_declined");
    a.send(json!({"type": "location", "fixes": []})).await;
    let asked: i64 = sqlx::query_scalar("SELECT count(*) FROM booking_offers WHERE provider_id = $1")
        .bind(near.provider_id)
        .fetch_one(server.pool())
        .await
        .expect("a count");
    assert_eq!(asked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_resume_after_the_last_one_seen() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let booking = book(&server, &customer, wanted()).await;
    let api = server.api(&customer.token);
    let path = format!("/v1/bookings/{}/events", uuid(&booking));
    let first = first_event(&api, &path, None).await;
    assert_eq!(first.1["status"], "pending");
    assert_eq!(transition(&server, &customer, uuid(&booking), "cancelled").await.0, 200);
    let next = first_event(&api, &path, Some(&first.0)).await;
    assert_eq!(next.1["status"], "cancelled", "the first event is not repeated");
}

/// The id and data of the first event with an id.
async fn first_event(api: &Api, path: &str, last: Option<&str>) -> (String, Value) {
    let mut request = api.request("GET", path);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let mut response = request.send().await.expect("a stream");
    assert_eq!(response.status().as_u16(), 200);
    let mut text = String::new();
    while let Some(chunk) = response.chunk().await.expect("a chunk") {
        text.push_str(&String::from_utf8_lossy(&chunk));
        for event in text.split("\n\n").filter(|e| e.contains("id:") && e.contains("data:")) {
            let field = |name: &str| {
                event.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim_start_matches(':').trim().to_owned())
            };
            if let (Some(id), Some(data)) = (field("id"), field("data"))
                && let Ok(data) = serde_json::from_str(&data)
            {
                return (id, data);
            }
        }
    }
    panic!("the stream ended without an event: {text}");
}
