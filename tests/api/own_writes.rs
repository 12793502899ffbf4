//! Whoever was answered that something is done finds it done: the next question and the next booking at this node go by it.

use chrono::{SecondsFormat, TimeDelta};
use serde_json::json;

use super::*;

/// Back to back, so that none of them is answered in time by chance.
const ROUNDS: i64 = 12;

/// His live offer for this booking, answered over HTTP.
async fn answers(server: &Server, therapist: &Therapist, booking: &Value, how: &str) {
    let offer = offered(server, therapist, booking).await;
    let api = server.api(&therapist.person.token);
    let answered = api.post(&format!("/v1/offers/{offer}/{how}"), json!({})).await;
    assert_eq!(answered.status, 200, "{answered:?}");
}

/// Waits until he is asked to take this booking.
async fn offered(server: &Server, therapist: &Therapist, booking: &Value) -> Value {
    let api = server.api(&therapist.person.token);
    let asked = |answer: &Answer| answer.json["data"][0]["booking"]["uuid"] == booking["uuid"];
    api.until("/v1/offers", asked).await.json["data"][0]["offer_id"].clone()
}

fn choosing(therapist: &Therapist, mut body: Value) -> Value {
    body["provider_uuid"] = json!(therapist.provider_uuid);
    body
}

async fn is_shown(api: &Api, path: &str, therapist: &Therapist) -> bool {
    let uuid = therapist.provider_uuid.to_string();
    let answer = api.get(path).await.json;
    answer["data"].as_array().expect("data").iter().any(|t| t["provider_uuid"] == uuid.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_off_duty_is_not_booked_from_the_answer_on_and_who_is_on_is() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let (his, api) = (server.api(&therapist.person.token), server.api(&customer.token));
    for round in 0..ROUNDS {
        assert_eq!(his.put("/v1/me/availability", json!({"available": false})).await.status, 200);
        let refused = api.post("/v1/bookings", choosing(&therapist, wanted())).await;
        assert_eq!((refused.status, &refused.json["code"]), (422, &json!("provider_unavailable")), "round {round}");
        assert_eq!(his.put("/v1/me/availability", json!({"available": true})).await.status, 200);
        let booked = api.post("/v1/bookings", choosing(&therapist, wanted())).await;
        assert_eq!(booked.status, 201, "round {round}: {booked:?}");
        // Only an offer that was made can be seen to end.
        offered(&server, &therapist, &booked.json).await;
        assert_eq!(transition(&server, &customer, uuid(&booked.json), "cancelled").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn availability_answered_over_the_websocket_is_what_is_shown() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Hiyas", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let mut phone = app(&server, &therapist).await;
    for round in 0..ROUNDS {
        for available in [false, true] {
            phone.send(json!({"type": "availability", "available": available})).await;
            assert_eq!(phone.expect("availability").await["available"], available);
            assert_eq!(is_shown(&api, &nearby(HERE, ""), &therapist).await, available, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_go_by_anybody_can_be_booked_from_the_answer_on() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Amihan", 300.0).await;
    let pool = server.pool();
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let him = &therapist.person;
    for (who, steps) in [
        (&customer, &["cancelled"][..]),
        (him, &["cancelled"]),
        (&admin, &["cancelled"]),
        (him, &["pending"]),
        (him, &["en_route", "arrived", "in_progress", "completed"]),
    ] {
        for round in 0..ROUNDS {
            let path = format!("{steps:?} by {}, round {round}", who.user_uuid);
            let answer = server.api(&customer.token).post("/v1/bookings", choosing(&therapist, wanted())).await;
            assert_eq!(answer.status, 201, "{path}: {answer:?}");
            answers(&server, &therapist, &answer.json, "accept").await;
            for to in steps {
                let (status, body) = transition(&server, who, uuid(&answer.json), to).await;
                assert_eq!(status, 200, "{path}: {body}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_no_more_can_be_booked_from_the_answer_on() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Ligaya", 300.0).await;
    let customer = people::customer(server.pool()).await;
    for round in 0..ROUNDS {
        for declined in [true, false] {
            let answer = server.api(&customer.token).post("/v1/bookings", choosing(&therapist, wanted())).await;
            assert_eq!(answer.status, 201, "round {round}: {answer:?}");
            if declined {
                answers(&server, &therapist, &answer.json, "decline").await;
            } else {
                offered(&server, &therapist, &answer.json).await;
                assert_eq!(transition(&server, &customer, uuid(&answer.json), "cancelled").await.0, 200);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_accepted_is_not_booked_for_the_same_time_from_the_answer_on() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Dalisay", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    for round in 0..ROUNDS {
        let mut body = choosing(&therapist, wanted());
        body["booking_type"] = json!("scheduled");
        let at = now() + TimeDelta::hours(24 + 6 * round);
        body["scheduled_at"] = json!(at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let booking = book(&server, &customer, body.clone()).await;
        answers(&server, &therapist, &booking, "accept").await;
        let then = nearby(HERE, &format!("&scheduled_at={}", body["scheduled_at"].as_str().expect("a time")));
        assert!(!is_shown(&api, &then, &therapist).await, "round {round}");
        let again = api.post("/v1/bookings", body).await;
        assert_eq!((again.status, &again.json["code"]), (422, &json!("provider_unavailable")), "round {round}");
        assert_eq!(transition(&server, &customer, uuid(&booking), "cancelled").await.0, 200);
        assert!(is_shown(&api, &then, &therapist).await, "round {round}");
    }
}
