//! `POST /v1/locations`.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::desk::{CUSTOMER, OTHER_THERAPIST, Server, THERAPIST, fix};

async fn post(server: &Server, token: &str, body: &Value) -> (StatusCode, Value) {
    let response = posted(server, token, body).await;
    (response.status(), response.json().await.expect("JSON"))
}

async fn posted(server: &Server, token: &str, body: &Value) -> reqwest::Response {
    let request = reqwest::Client::new().post(format!("http://{}/v1/locations", server.address));
    request.bearer_auth(token).json(body).send().await.expect("an answer")
}

#[tokio::test]
async fn a_request_is_answered_after_the_commit_with_what_was_not_taken() {
    let server = Server::start().await;
    let mut north_of_the_pole = fix(8, 2.0);
    north_of_the_pole["latitude"] = json!(95);
    let body = json!({"fixes": [fix(7, 3.0), north_of_the_pole, {"latitude": 1}, fix(9, 1.0)]});
    let (status, answer) = post(&server, THERAPIST, &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        answer,
        json!({"acked_seq": 9, "rejected": [
            {"seq": 8, "code": "out_of_range", "message": "latitude 95 is outside -90..90"},
            {"seq": null, "code": "missing_field", "message": "seq is missing"},
        ]})
    );
    assert_eq!(server.rows().await.len(), 2);
    let (_, again) = post(&server, THERAPIST, &body).await;
    assert_eq!(again, answer, "a request may be repeated");
    assert_eq!(server.rows().await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_taken_at_all_says_why() {
    let server = Server::start().await;
    for (token, body, status, code) in [
        (THERAPIST, json!({}), StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        (THERAPIST, json!({"fixes": 3}), StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        (CUSTOMER, json!({"fixes": []}), StatusCode::FORBIDDEN, "forbidden"),
        ("5|nobody", json!({"fixes": []}), StatusCode::UNAUTHORIZED, "unauthenticated"),
    ] {
        let (got, answer) = post(&server, token, &body).await;
        assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{answer}");
    }
    let (status, answer) = post(&server, THERAPIST, &json!({"fixes": []})).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"acked_seq": null, "rejected": []})));
    let live: Vec<_> = (0..601).map(|seq| fix(seq, 1.0)).collect();
    let (status, answer) = post(&server, THERAPIST, &json!({"fixes": live})).await;
    assert_eq!((status, answer["code"].as_str()), (StatusCode::TOO_MANY_REQUESTS, Some("too_fast")));
    let backlog: Vec<_> = (0..1_001_u32).map(|seq| fix(seq, f64::from(3_000 - seq))).collect();
    let (_, answer) = post(&server, THERAPIST, &json!({"fixes": backlog})).await;
    assert_eq!((&answer["acked_seq"], &answer["rejected"][0]["code"]), (&json!(1_000), &json!("too_many")));
    assert_eq!(server.count().await, 1_000);
}

#[tokio::test]
async fn who_waits_as_long_as_he_is_told_to_is_taken() {
    let server = Server::start().await;
    // More than a burst, which no pause makes room for: they are taken once they are a minute old.
    let burst: Vec<_> = (0..700).map(|seq| fix(seq, 57.5)).collect();
    // Fewer: they are taken once there is room.
    let few: Vec<_> = (0..15).map(|seq| fix(seq, 1.0)).collect();
    let all: Vec<_> = (0..600).map(|seq| fix(seq, 1.0)).collect();
    for (token, before, fixes, least) in [(THERAPIST, None, burst, 2), (OTHER_THERAPIST, Some(all), few, 1)] {
        if let Some(before) = before {
            assert_eq!(post(&server, token, &json!({"fixes": before})).await.0, StatusCode::OK);
        }
        let body = json!({"fixes": fixes});
        let refused = posted(&server, token, &body).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        let after: u64 = refused.headers()["retry-after"].to_str().ok().and_then(|s| s.parse().ok()).expect("seconds");
        let told: Value = refused.json().await.expect("JSON");
        assert!((least..=least + 2).contains(&after), "{after}: {told}");
        let message = told["message"].as_str().expect("a text");
        assert!(message.contains("600") && message.contains(&format!("in {after} s")), "{message}");
        tokio::time::sleep(Duration::from_secs(after)).await;
        let (status, taken) = post(&server, token, &body).await;
        assert_eq!(status, StatusCode::OK, "after {after} s: {taken}");
    }
    // What is no fix never becomes a backlog.
    let (none, nothing): (Vec<_>, _) = ((0..601).map(|seq| json!({"seq": seq})).collect(), "retry-after");
    let never = posted(&server, THERAPIST, &json!({"fixes": none})).await;
    assert_eq!((never.status(), never.headers().get(nothing)), (StatusCode::TOO_MANY_REQUESTS, None));
    assert!(never.json::<Value>().await.expect("JSON")["message"].as_str().is_some_and(|text| text.contains("600")));
}
