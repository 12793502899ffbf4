//! The main job, end to end.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_books_the_nearest_accepts_and_the_booking_is_completed() {
    let server = Server::start().await;
    let near = therapist_at(&server, "Liwayway", 800.0).await;
    let far = therapist_at(&server, "Amihan", 2_500.0).await;
    let customer = people::customer(server.pool()).await;
    let mut app = app(&server, &near).await;
    let mut other = super::app(&server, &far).await;
    let (mut watcher, _) = Stream::open(&server.base, &customer.token).await;

    let booking = book(&server, &customer, wanted()).await;
    assert_eq!(booking["status"], "pending");
    assert_eq!(booking["total_amount"], "800.00");
    assert_eq!(booking["price_is_estimate"], true);
    let uuid = uuid(&booking).to_owned();

    let offer = app.expect("offer").await;
    assert_eq!(offer["booking"]["uuid"], uuid.as_str());
    assert_eq!(offer["distance_km"], 0.8);
    let told = offer.to_string();
    assert!(!told.contains("Ayala") && !told.contains("Blue gate"), "an offer shows only the area: {told}");
    app.send(json!({"type": "offer.received", "offer_id": offer["offer_id"]})).await;
    app.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    assert_eq!(app.expect("offer.closed").await["reason"], "accepted");
    let mine = app.expect_where("booking", |b| b["status"] == "accepted").await;
    assert_eq!(mine["location"]["address"], "6750 Ayala Avenue, Makati");
    assert_eq!(mine["customer_notes"], "Blue gate");
    let seen = watcher.expect_where("booking", |b| b["status"] == "accepted").await;
    assert_eq!(seen["provider"]["provider_uuid"], near.provider_uuid.to_string());
    assert_eq!(seen["price_is_estimate"], false);
    // What he gets is his to know alone.
    assert_eq!((&mine["earnings"], mine["earnings"].is_string()), (&offer["booking"]["earnings"], true), "{mine}");
    assert_eq!(seen.get("earnings"), None, "{seen}");
    for (who, earns) in [(&near.person, true), (&customer, false)] {
        let api = server.api(&who.token);
        let one = api.get(&format!("/v1/bookings/{uuid}")).await.json;
        let listed = api.get("/v1/bookings").await.json["data"][0].clone();
        for shown in [one, listed] {
            assert_eq!(shown.get("earnings"), earns.then_some(&mine["earnings"]), "{shown}");
        }
    }

    watcher.send(json!({"type": "watch", "booking_uuid": uuid})).await;
    assert_eq!(transition(&server, &near.person, &uuid, "en_route").await.0, 200);
    // A metre at a time (nobody believes that he walks a hundred in a moment), until the index has heard that he is on
    // the way: the customer is told each position from then on.
    let mut told = None;
    for step in 0..40 {
        let (latitude, longitude) = north(799.0 - f64::from(step));
        let seq = 7 + step;
        app.send(json!({"type": "location", "fixes": [fix(seq, now(), latitude, longitude)]})).await;
        app.expect_where("ack", |ack| ack["seq"] == seq).await;
        let heard = tokio::time::timeout(std::time::Duration::from_millis(500), watcher.expect("position")).await;
        if let Ok(position) = heard {
            told = Some((position, latitude));
            break;
        }
    }
    let (position, latitude) = told.expect("a position");
    assert_eq!(position["booking_uuid"], uuid.as_str());
    assert!((position["latitude"].as_f64().expect("degrees") - latitude).abs() < 1e-6);

    for to in ["arrived", "in_progress", "completed"] {
        let (status, body) = transition(&server, &near.person, &uuid, to).await;
        assert_eq!((status, &body["status"], &body["earnings"]), (200, &json!(to), &mine["earnings"]));
        watcher.expect_where("booking", |b| b["status"] == to).await;
    }
    assert_eq!(
        transition(&server, &near.person, &uuid, "completed").await.0,
        200,
        "the status it has: nothing changes"
    );
    assert_eq!(transition(&server, &customer, &uuid, "cancelled").await.0, 409);

    let totals: (i32, String) =
        sqlx::query_as("SELECT total_bookings, total_earnings::text FROM providers WHERE id = $1")
            .bind(near.provider_id)
            .fetch_one(server.pool())
            .await
            .expect("the provider");
    assert_eq!(totals, (1, "680.00".to_owned()));
    let api = server.api(&customer.token);
    let timeline = api.get(&format!("/v1/bookings/{uuid}/timeline")).await.json;
    let statuses: Vec<_> = timeline["data"].as_array().expect("rows").iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, ["pending", "accepted", "en_route", "arrived", "in_progress", "completed"]);
    // The farther one was never asked.
    other.send(json!({"type": "availability", "available": true})).await;
    let asked: i64 = sqlx::query_scalar("SELECT count(*) FROM booking_offers WHERE provider_id = $1")
        .bind(far.provider_id)
        .fetch_one(server.pool())
        .await
        .expect("a count");
    assert_eq!(asked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn declined_and_silent_therapists_are_passed_over_and_not_asked_again() {
    let server = Server::start().await;
    set(&server, "dispatch", "offer_ttl_s", json!(1)).await;
    set(&server, "dispatch", "receipt_grace_s", json!(0)).await;
    let first = therapist_at(&server, "Ligaya", 300.0).await;
    let second = therapist_at(&server, "Dalisay", 600.0).await;
    let third = therapist_at(&server, "Mayumi", 4_000.0).await;
    let customer = people::customer(server.pool()).await;
    let (mut a, mut b, mut c) = (app(&server, &first).await, app(&server, &second).await, app(&server, &third).await);

    let booking = book(&server, &customer, wanted()).await;
    let offer = a.expect("offer").await;
    a.send(json!({"type": "offer.decline", "offer_id": offer["offer_id"], "reason": "too_far"})).await;
    assert_eq!(a.expect("offer.closed").await["reason"], "declined");
    let offer = b.expect("offer").await;
    assert_eq!(b.expect("offer.closed").await["reason"], "expired", "silence ends {offer}");
    // 4 km away: only the second round looks there.
    let offer = c.expect("offer").await;
    c.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    becomes(&server, &customer, uuid(&booking), "accepted").await;
    let asked: Vec<(i64, String)> = sqlx::query_as("SELECT provider_id, status::text FROM booking_offers ORDER BY id")
        .fetch_all(server.pool())
        .await
        .expect("offers");
    let expected: Vec<_> = [(&first, "declined"), (&second, "expired"), (&third, "accepted")]
        .map(|(t, status)| (t.provider_id, status.to_owned()))
        .into();
    assert_eq!(asked, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_ever_a_booking_without_a_therapist_ends_with_a_reason() {
    let server = Server::start().await;
    set(&server, "booking_timeout", "pending", json!(1)).await;
    let customer = people::customer(server.pool()).await;
    // Changed settings hold for bookings made two seconds later at the latest.
    let api = server.api(&customer.token);
    let booking = loop {
        let booking = book(&server, &customer, wanted()).await;
        let timeout: i32 = sqlx::query_scalar("SELECT dispatch_timeout_s FROM bookings WHERE uuid = $1::uuid")
            .bind(uuid(&booking))
            .fetch_one(server.pool())
            .await
            .expect("the timeout");
        if timeout == 1 {
            break booking;
        }
    };
    let ended = api.until(&format!("/v1/bookings/{}", uuid(&booking)), |a| a.json["status"] == "cancelled").await.json;
    assert_eq!(ended["cancellation_reason"], "no_therapist_available");
    assert_eq!(ended.get("cancelled_by"), Some(&Value::Null), "nobody did: {ended}");
    assert_eq!(ended["cancellation_fee"], "0.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn nearest_first_and_only_who_may_take_it() {
    let server = Server::start().await;
    let near = therapist_at(&server, "Luz", 500.0).await;
    let far = therapist_at(&server, "Hiyas", 3_000.0).await;
    let admin = people::admin(server.pool()).await;
    let api = server.api(&admin.token);
    let answer = api.get(&nearby(HERE, "")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let names: Vec<_> = answer.json["data"].as_array().expect("data").iter().map(|t| t["first_name"].clone()).collect();
    assert_eq!(names, ["Luz", "Hiyas"]);
    assert_eq!(answer.json["data"][1]["distance_km"], 3.0);
    assert_eq!(answer.json["data"][1]["total"], "800.00");

    // Each hard constraint, by SQL as another application would change it: felt within a second.
    for (change, undo) in [
        (
            "UPDATE providers SET is_available = FALSE WHERE id = $1",
            "UPDATE providers SET is_available = TRUE WHERE id = $1",
        ),
        ("UPDATE providers SET is_active = FALSE WHERE id = $1", "UPDATE providers SET is_active = TRUE WHERE id = $1"),
        (
            "UPDATE providers SET verification_status = 'under_review' WHERE id = $1",
            "UPDATE providers SET verification_status = 'verified' WHERE id = $1",
        ),
        (
            "UPDATE provider_services SET home_service_enabled = FALSE WHERE provider_id = $1",
            "UPDATE provider_services SET home_service_enabled = TRUE WHERE provider_id = $1",
        ),
        (
            "UPDATE therapist_profiles SET service_radius_km = 0 WHERE provider_id = $1",
            "UPDATE therapist_profiles SET service_radius_km = 20 WHERE provider_id = $1",
        ),
        (
            "UPDATE users SET is_active = FALSE WHERE id = (SELECT user_id FROM providers WHERE id = $1)",
            "UPDATE users SET is_active = TRUE WHERE id = (SELECT user_id FROM providers WHERE id = $1)",
        ),
    ] {
        sqlx::query(change).bind(near.provider_id).execute(server.pool()).await.expect("the change");
        api.until(&nearby(HERE, ""), |a| a.json["data"][0]["first_name"] == "Hiyas").await;
        sqlx::query(undo).bind(near.provider_id).execute(server.pool()).await.expect("the undo");
        api.until(&nearby(HERE, ""), |a| a.json["data"][0]["first_name"] == "Luz").await;
    }
    let audit = api.get("/v1/ops/consistency").await.json;
    assert_eq!((&audit["drift"], &audit["checked"]), (&json!(0), &json!(2)), "{audit}");
    drop(far);
}
