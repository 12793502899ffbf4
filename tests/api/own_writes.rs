//! Whoever was answered that something is done finds it done: the next question and the next booking at this node go by it.

use chrono::{SecondsFormat, TimeDelta};
use serde_json::json;

use super::*;

/// Back to back, so that none of them is answered in time by chance.
const ROUNDS: i64 = 12;

/// His live offer for this booking, accepted over HTTP.
async fn accepts(server: &Server, therapist: &Therapist, booking: &Value) {
    let api = server.api(&therapist.person.token);
    let offered = |answer: &Answer| answer.json["data"][0]["booking"]["uuid"] == booking["uuid"];
    let offers = api.until("/v1/offers", offered).await.json;
    let accepted = api.post(&format!("/v1/offers/{}/accept", offers["data"][0]["offer_id"]), json!({})).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
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
        his.until("/v1/offers", |a| a.json["data"][0]["booking"]["uuid"] == booked.json["uuid"]).await;
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
            accepts(&server, &therapist, &answer.json).await;
            for to in steps {
                let (status, body) = transition(&server, who, uuid(&answer.json), to).await;
                assert_eq!(status, 200, "{path}: {body}");
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
        accepts(&server, &therapist, &booking).await;
        let then = nearby(HERE, &format!("&scheduled_at={}", body["scheduled_at"].as_str().expect("a time")));
        assert!(!is_shown(&api, &then, &therapist).await, "round {round}");
        let again = api.post("/v1/bookings", body).await;
        assert_eq!((again.status, &again.json["code"]), (422, &json!("provider_unavailable")), "round {round}");
        assert_eq!(transition(&server, &customer, uuid(&booking), "cancelled").await.0, 200);
        assert!(is_shown(&api, &then, &therapist).await, "round {round}");
    }
}
