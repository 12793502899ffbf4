//! One winner, whoever races whom, over real sockets and HTTP at once.

use serde_json::json;

use super::*;

/// How often each race is run: the order of arrival differs from run to run.
const ROUNDS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_accepted_on_two_doors_at_once_is_accepted_once() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Ligaya", 300.0).await;
    let customer = people::customer(server.pool()).await;
    for _ in 0..ROUNDS {
        let mut app = app(&server, &therapist).await;
        let booking = book(&server, &customer, wanted()).await;
        let offer = app.expect("offer").await;
        let id = offer["offer_id"].as_i64().expect("an id");
        let api = server.api(&therapist.person.token);
        let path = format!("/v1/offers/{id}/accept");
        let (by_http, again, ()) = tokio::join!(
            api.post(&path, json!({})),
            api.post(&path, json!({})),
            app.send(json!({"type": "offer.accept", "offer_id": id})),
        );
        assert_eq!((by_http.status, again.status), (200, 200), "the winner may say it again");
        assert_eq!(app.expect("offer.closed").await["reason"], "accepted");
        let accepted: i64 = sqlx::query_scalar("SELECT count(*) FROM booking_status_history WHERE to_status = 'accepted' AND booking_id = (SELECT id FROM bookings WHERE uuid = $1::uuid)")
            .bind(uuid(&booking))
            .fetch_one(server.pool())
            .await
            .expect("a count");
        assert_eq!(accepted, 1);
        finish(&server, &therapist, uuid(&booking)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_races_the_accept_leaves_one_truth() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Amihan", 300.0).await;
    let customer = people::customer(server.pool()).await;
    for _ in 0..ROUNDS {
        let mut app = app(&server, &therapist).await;
        let booking = book(&server, &customer, wanted()).await;
        let offer = app.expect("offer").await;
        let accept = format!("/v1/offers/{}/accept", offer["offer_id"]);
        let api = server.api(&therapist.person.token);
        let (accepted, (cancelled, _)) =
            tokio::join!(api.post(&accept, json!({})), transition(&server, &customer, uuid(&booking), "cancelled"));
        assert_eq!(cancelled, 200, "a customer may cancel before and after the accept");
        match accepted.status {
            200 => {}
            409 => assert_eq!(
                (&accepted.json["code"], &accepted.json["reason"]),
                (&json!("offer_gone"), &json!("withdrawn"))
            ),
            other => panic!("{other}: {accepted:?}"),
        }
        becomes(&server, &customer, uuid(&booking), "cancelled").await;
        let live: i64 = sqlx::query_scalar("SELECT count(*) FROM booking_offers WHERE status = 'offered'")
            .fetch_one(server.pool())
            .await
            .expect("a count");
        assert_eq!(live, 0, "no offer outlives its booking");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_customers_who_want_the_only_therapist_get_him_one_after_the_other() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (one, two) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let mut app = app(&server, &therapist).await;
    let (first, second) = tokio::join!(book(&server, &one, wanted()), book(&server, &two, wanted()));
    let offer = app.expect("offer").await;
    app.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    app.expect("offer.closed").await;
    let busy: i64 = sqlx::query_scalar("SELECT count(*) FROM bookings WHERE provider_id = $1 AND status = 'accepted'")
        .bind(therapist.provider_id)
        .fetch_one(server.pool())
        .await
        .expect("a count");
    assert_eq!(busy, 1);
    let served = offer["booking"]["uuid"].as_str().expect("a uuid").to_owned();
    finish(&server, &therapist, &served).await;
    // He is free again: the one who waits is offered to him without being asked for anew.
    let offer = app.expect("offer").await;
    let waiting = offer["booking"]["uuid"].as_str().expect("a uuid");
    assert_ne!(waiting, served);
    assert!([uuid(&first), uuid(&second)].contains(&waiting));
}

async fn finish(server: &Server, therapist: &Therapist, uuid: &str) {
    for to in ["en_route", "arrived", "in_progress", "completed"] {
        let (status, body) = transition(server, &therapist.person, uuid, to).await;
        assert_eq!(status, 200, "{body}");
    }
}
