//! Bookings for a time, from outside: asked for, found, taken, reminded of.

use chrono::{SecondsFormat, TimeDelta};
use serde_json::json;

use super::*;

/// What a customer posts for a Swedish massage at home at [`HERE`], so many minutes from now.
fn wanted_in(minutes: i64) -> Value {
    let mut body = wanted();
    body["booking_type"] = json!("scheduled");
    body["scheduled_at"] = json!((now() + TimeDelta::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Secs, true));
    body
}

/// A therapist whose base is this many metres north of [`HERE`]; he is not available today and sends no fixes.
async fn off_today(server: &Server, name: &str, metres: f64) -> Therapist {
    let (latitude, longitude) = north(metres);
    let therapist = people::therapist(server.pool(), name, latitude, longitude).await;
    sqlx::query("UPDATE providers SET is_available = FALSE WHERE id = $1")
        .bind(therapist.provider_id)
        .execute(server.pool())
        .await
        .expect("the change");
    let admin = people::admin(server.pool()).await;
    let path = nearby_at(&wanted_in(24 * 60));
    server.api(&admin.token).until(&path, |a| shows(&a.json, &therapist)).await;
    therapist
}

fn nearby_at(body: &Value) -> String {
    nearby(HERE, &format!("&scheduled_at={}", body["scheduled_at"].as_str().expect("a time")))
}

fn shows(answer: &Value, therapist: &Therapist) -> bool {
    let uuid = therapist.provider_uuid.to_string();
    answer["data"].as_array().is_some_and(|d| d.iter().any(|t| t["provider_uuid"] == uuid.as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_cannot_be_booked_is_refused_with_the_times_that_can() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    for (minutes, possible) in
        [(-10, false), (30, false), (59, false), (65, true), (89 * 1_440, true), (91 * 1_440, false)]
    {
        let answer = api.post("/v1/bookings", wanted_in(minutes)).await;
        assert_eq!(answer.status, if possible { 201 } else { 422 }, "{minutes}: {answer:?}");
        if !possible {
            assert_eq!(answer.json["code"], "invalid");
            let text = answer.json["errors"]["scheduled_at"][0].as_str().expect("a text").to_owned();
            assert!(text.starts_with("The scheduled_at field must be a time from "), "{text}");
        }
    }
    let mut without_offset = wanted_in(120);
    without_offset["scheduled_at"] = json!("2026-12-01T10:00:00");
    let answer = api.post("/v1/bookings", without_offset).await;
    assert!(answer.json["errors"]["scheduled_at"].is_array(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chosen_therapist_is_asked_for_his_time_at_his_price_and_is_taken_then() {
    let server = Server::start().await;
    let chosen = off_today(&server, "Hiyas", 900.0).await;
    let customer = people::customer(server.pool()).await;
    let mut phone = app(&server, &chosen).await;
    let mut body = wanted_in(30 * 60);
    body["provider_uuid"] = json!(chosen.provider_uuid);
    let booking = book(&server, &customer, body.clone()).await;
    assert_eq!((&booking["booking_type"], &booking["price_is_estimate"]), (&json!("scheduled"), &json!(false)));
    assert_eq!(booking["scheduled_at"], body["scheduled_at"]);

    let offer = phone.expect("offer").await;
    assert_eq!(offer["booking"]["scheduled_at"], body["scheduled_at"]);
    let until: chrono::DateTime<Utc> = offer["expires_at"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    assert!(until > now() + TimeDelta::hours(23), "until the search ends, a day from its beginning: {until}");
    phone.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    let taken = becomes(&server, &customer, uuid(&booking), "accepted").await;
    assert_eq!(taken["provider"]["provider_uuid"], chosen.provider_uuid.to_string());

    // At that time he is no more to be had, at another he is.
    let admin = people::admin(server.pool()).await;
    server.api(&admin.token).until(&nearby_at(&body), |a| !shows(&a.json, &chosen)).await;
    assert!(shows(&server.api(&admin.token).get(&nearby_at(&wanted_in(34 * 60))).await.json, &chosen));
    let second = server.api(&customer.token).post("/v1/bookings", body.clone()).await;
    assert_eq!((second.status, &second.json["code"]), (422, &json!("provider_unavailable")), "{second:?}");
    assert_eq!(
        second.json["errors"]["provider_uuid"][0],
        "The chosen therapist cannot take this booking at that time."
    );
    // Nor would he come outside his hours.
    sqlx::query("UPDATE therapist_profiles SET default_schedule = '{\"monday\": []}' WHERE provider_id = $1")
        .bind(chosen.provider_id)
        .execute(server.pool())
        .await
        .expect("the change");
    let other_time = wanted_in(34 * 60);
    server.api(&admin.token).until(&nearby_at(&other_time), |a| !shows(&a.json, &chosen)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_therapist_with_a_booking_soon_is_not_shown_for_what_he_could_not_finish() {
    let server = Server::start().await;
    let (soon, free) = (therapist_at(&server, "Luz", 300.0).await, therapist_at(&server, "Hiyas", 900.0).await);
    let customer = people::customer(server.pool()).await;
    let mut phone = app(&server, &soon).await;
    let mut body = wanted_in(75);
    body["provider_uuid"] = json!(soon.provider_uuid);
    let booking = book(&server, &customer, body).await;
    let offer = phone.expect("offer").await;
    phone.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    becomes(&server, &customer, uuid(&booking), "accepted").await;
    let admin = people::admin(server.pool()).await;
    let seen = server.api(&admin.token).until(&nearby(HERE, ""), |a| !shows(&a.json, &soon)).await;
    assert!(shows(&seen.json, &free));
    // A shorter service fits: half an hour.
    let short = nearby(HERE, "").replace("swedish-massage", "foot-spa");
    assert!(shows(&server.api(&admin.token).get(&short).await.json, &soon));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_reminded_over_the_websocket_and_the_feed_once() {
    let server = Server::start().await;
    let therapist = off_today(&server, "Luz", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let mut phone = app(&server, &therapist).await;
    let (mut hers, _) = Stream::open(&server.base, &customer.token).await;
    let booking = book(&server, &customer, wanted_in(26 * 60)).await;
    let offer = phone.expect("offer").await;
    phone.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    becomes(&server, &customer, uuid(&booking), "accepted").await;
    // As if the day before it had come.
    sqlx::query(
        "UPDATE bookings SET scheduled_at = scheduled_at - interval '3 h', accepted_at = accepted_at - interval '3 h',
                busy_during = tstzrange(lower(busy_during) - interval '3 h', upper(busy_during) - interval '3 h')
         WHERE uuid = $1::uuid",
    )
    .bind(uuid(&booking))
    .execute(server.pool())
    .await
    .expect("the change");
    let reminder = hers.expect("reminder").await;
    assert_eq!((&reminder["booking_uuid"], &reminder["before_s"]), (&booking["uuid"], &json!(86_400)));
    assert_eq!(reminder["set_out_at"], Value::Null);
    assert!(phone.expect("reminder").await["set_out_at"].is_string());
    let path = format!("/v1/bookings/{}/timeline", uuid(&booking));
    let reminders = |answer: &Value| {
        answer["data"].as_array().map_or(0, |all| all.iter().filter(|entry| entry["status"] == "reminder").count())
    };
    assert_eq!(reminders(&server.api(&customer.token).get(&path).await.json), 1);
    // The next node finds it given.
    let server = server.restart().await;
    assert_eq!(server.engine().dispatcher.remind().await.expect("the rows are read"), 0);
    assert_eq!(reminders(&server.api(&customer.token).get(&path).await.json), 1);
}
