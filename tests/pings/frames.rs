//! What a therapist's and a customer's app say, and what they hear.

use std::time::Duration;

use serde_json::json;
use spacall::clock;
use spacall::core::geo::LatLng;
use spacall::core::track::Fix;
use spacall::http::stream::{BINARY, Desk, JSON};
use spacall::wire::binary;
use spacall::wire::stream::{OfferEnd, ServerMessage};
use spacall::wire::time::WireTime;

use super::desk::{CUSTOMER, LIVE_OFFER, OTHER_THERAPIST, Server, THERAPIST, fix, location};
use super::socket::App;
use crate::support::until;

#[tokio::test]
async fn a_bad_fix_is_rejected_before_the_ack_and_the_good_ones_beside_it_are_stored() {
    let server = Server::start().await;
    let mut app = App::sign_in(&server, THERAPIST).await;
    let (mut bad, mut nameless) = (fix(4, 2.0), fix(5, 2.0));
    bad["latitude"] = json!(95);
    nameless["seq"] = json!("five");
    app.send(location(&[fix(3, 4.0), bad, nameless, fix(6, 1.0), fix(6, 0.0), fix(2, 0.0)])).await;
    let messages = app.until_ack(6).await;
    let told: Vec<_> = messages.iter().map(|m| (m["type"].as_str(), m["seq"].as_u64(), m["code"].as_str())).collect();
    assert_eq!(
        told,
        [
            (Some("rejected"), Some(4), Some("out_of_range")),
            (Some("rejected"), None, Some("bad_type")),
            (Some("rejected"), Some(6), Some("out_of_range")),
            (Some("rejected"), Some(2), Some("out_of_range")),
            (Some("ack"), Some(6), None),
        ]
    );
    assert_eq!(messages[0]["message"], "latitude 95 is outside -90..90");
    assert_eq!(messages[2]["message"], "seq 6 is not above 6, the last one of this connection");
    assert_eq!(server.rows().await.len(), 2);

    // All rejected: there is still an ack, so that the app forgets them.
    let mut old = fix(7, 0.0);
    old["recorded_at"] = json!("2020-01-01T00:00:00Z");
    app.send(location(&[old])).await;
    let messages = app.until_ack(7).await;
    assert_eq!(messages[0]["code"], "too_old");
}

#[tokio::test]
async fn a_fix_sent_again_after_a_reconnect_is_stored_once() {
    let server = Server::start().await;
    let fixes: Vec<_> = (1..=5).map(|seq| fix(seq, f64::from(10 - seq))).collect();
    for _ in 0..3 {
        let mut app = App::sign_in(&server, THERAPIST).await;
        app.send(location(&fixes)).await;
        app.until_ack(5).await;
        app.socket.close(None).await.expect("closed");
    }
    assert_eq!(server.count().await, 5);
}

#[tokio::test]
async fn binary_records_are_taken_where_they_were_agreed_on_and_text_everywhere() {
    let server = Server::start().await;
    let mut app = App::open(&server, Some(THERAPIST), Some(&format!("{BINARY}, {JSON}"))).await.expect("an upgrade");
    assert_eq!(app.protocol.as_deref(), Some(JSON), "the server prefers what needs no explanation");
    drop(app);
    app = App::open(&server, Some(THERAPIST), Some(BINARY)).await.expect("an upgrade");
    assert_eq!(app.protocol.as_deref(), Some(BINARY));
    assert_eq!(app.next().await["type"], "welcome");
    let now = clock::now();
    let record = |seq: u32, age: u64| {
        let fix = Fix::new(now.minus(Duration::from_secs(age)), LatLng::new(14.5, 121.0).expect("a place"));
        binary::encode(seq, &fix).to_vec()
    };
    let (mut unknown, mut off_the_map) = (record(2, 2), record(3, 2));
    unknown[0] = 9;
    off_the_map[16..20].copy_from_slice(&i32::MAX.to_le_bytes());
    app.binary([record(1, 3), unknown, off_the_map, record(4, 1)].concat()).await;
    let messages = app.until_ack(4).await;
    let told: Vec<_> = messages.iter().map(|m| (m["type"].as_str(), m["code"].as_str())).collect();
    assert_eq!(
        told,
        [(Some("rejected"), Some("out_of_range")), (Some("error"), Some("bad_frame")), (Some("ack"), None)]
    );
    assert_eq!(messages[1]["message"], "record 1 is of kind 9, expected 1");
    app.send(location(&[fix(5, 0.0)])).await;
    app.until_ack(5).await;
    assert_eq!(server.rows().await.len(), 3);

    let mut plain = App::sign_in(&server, OTHER_THERAPIST).await;
    assert_eq!(plain.protocol, None);
    plain.binary(record(1, 3)).await;
    assert_eq!(plain.next().await["code"], "bad_frame");
}

#[tokio::test]
async fn who_sends_again_on_the_same_socket_what_was_acked_hears_the_ack_again() {
    let server = Server::start().await;
    let mut app = App::sign_in_with(&server, THERAPIST, Some(BINARY)).await;
    // Nothing was acked yet: there is no ack to repeat.
    app.send(location(&[json!({"latitude": 1})])).await;
    assert_eq!(app.next().await["type"], "rejected");
    let fixes = [fix(7, 3.0), fix(8, 2.0), fix(9, 1.0)];
    app.send(location(&fixes)).await;
    assert_eq!(app.until_ack(9).await.len(), 1);
    for again in [&fixes[..], &fixes[..1]] {
        app.send(location(again)).await;
        let heard = tokio::time::timeout(Duration::from_secs(10), app.until_ack(9)).await.expect("the ack, again");
        let rejected: Vec<_> = heard.iter().filter(|m| m["type"] == "rejected").map(|m| m["seq"].clone()).collect();
        let sent: Vec<_> = again.iter().map(|fix| fix["seq"].clone()).collect();
        assert_eq!((rejected, heard.len()), (sent, again.len() + 1), "{heard:?}");
    }
    // What is not committed is not acked, however often it is sent: the ack that stands is older.
    let mut hold = server.pool().begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE provider_locations IN SHARE MODE").execute(&mut *hold).await.expect("a lock");
    app.send(location(&[fix(10, 0.5)])).await;
    app.send(location(&[fix(10, 0.5)])).await;
    assert_eq!(app.next().await["seq"], 10);
    assert_eq!(app.next().await, json!({"type": "ack", "seq": 9}));
    hold.rollback().await.expect("a rollback");
    app.until_ack(10).await;
    assert_eq!(server.count().await, 4);
}

#[tokio::test]
async fn commands_run_beside_pings_and_in_their_own_order() {
    let server = Server::start().await;
    let mut app = App::sign_in(&server, THERAPIST).await;
    // The accept waits for its transaction; what comes after it is read all the same.
    server.desk.answers.forget_permits(100);
    app.send(json!({"type": "offer.accept", "offer_id": 9})).await;
    app.send(json!({"type": "availability", "available": false})).await;
    app.send(location(&[fix(1, 0.0)])).await;
    app.send(json!({"type": "offer.accept", "offer_id": 8})).await;
    app.until_ack(1).await;
    assert_eq!(server.count().await, 1);
    server.desk.answers.add_permits(100);
    assert_eq!(app.next().await, json!({"type": "offer.closed", "offer_id": 9, "reason": "accepted"}));
    assert_eq!(app.next().await, json!({"type": "availability", "available": false}));
    let gone = app.next().await;
    assert_eq!(
        (&gone["code"], &gone["offer_id"], &gone["reason"]),
        (&json!("offer_gone"), &json!(8), &json!("expired"))
    );
    app.send(json!({"type": "offer.received", "offer_id": 9})).await;
    app.send(json!({"type": "offer.decline", "offer_id": 9, "reason": "too_far"})).await;
    assert_eq!(app.next().await["reason"], "declined");
    let provider = server.desk.therapists[0].1;
    let heard = server.desk.heard.lock().expect("not poisoned").clone();
    assert_eq!(
        heard,
        [
            "accept 9".to_owned(),
            format!("availability {provider} false"),
            "accept 8".to_owned(),
            "received 9".to_owned(),
            "decline 9 Some(\"too_far\")".to_owned(),
        ]
    );
}

#[tokio::test]
async fn what_is_told_to_a_user_reaches_all_his_sockets() {
    let server = Server::start().await;
    let mut phone = App::sign_in(&server, CUSTOMER).await;
    let mut tablet = App::sign_in(&server, CUSTOMER).await;
    let message = ServerMessage::OfferClosed { offer_id: LIVE_OFFER, reason: OfferEnd::Withdrawn };
    assert_eq!(server.desk.bus().tell(server.desk.customer, message), 2);
    for app in [&mut phone, &mut tablet] {
        assert_eq!(app.next().await, json!({"type": "offer.closed", "offer_id": 9, "reason": "withdrawn"}));
    }
    drop((phone, tablet));
    until("both are gone", || server.desk.bus().connected() == 0).await;
}

#[tokio::test]
async fn a_customer_follows_his_therapist_and_nobody_elses() {
    let server = Server::start().await;
    server.desk.set_out();
    let mut customer = App::sign_in(&server, CUSTOMER).await;
    let mut therapist = App::sign_in(&server, THERAPIST).await;
    let mut stranger = App::sign_in(&server, OTHER_THERAPIST).await;
    let watch = json!({"type": "watch", "booking_uuid": server.desk.booking.1});
    stranger.send(watch.clone()).await;
    assert_eq!(stranger.next().await["code"], "not_found");
    customer.send(watch).await;
    let booking = customer.next().await;
    assert_eq!((&booking["type"], &booking["service_type"]), (&json!("booking"), &json!("home_service")));

    // A burst is shown once at once, and its end a second later: never an old place last.
    let fixes: Vec<_> = (1..=5).map(|seq| fix(seq, f64::from(10 - seq))).collect();
    for one in &fixes {
        therapist.send(location(std::slice::from_ref(one))).await;
    }
    let first = customer.next().await;
    assert_eq!((&first["type"], &first["booking_uuid"]), (&json!("position"), &json!(server.desk.booking.1)));
    assert_eq!((&first["latitude"], &first["longitude"]), (&json!(14.5547), &json!(121.0244)));
    assert!(first["eta_minutes"].as_u64() > Some(0));
    let mut last = first;
    while last["recorded_at"] != fixes[4]["recorded_at"] {
        last = customer.next().await;
        assert_eq!(last["type"], "position");
    }
    let (_, shown_at) = server.desk.position().expect("a position");
    assert_eq!(json!(WireTime(shown_at)), fixes[4]["recorded_at"]);
}

#[tokio::test]
async fn who_begins_to_follow_is_shown_at_once_where_the_therapist_was_last_seen() {
    let server = Server::start().await;
    let mut therapist = App::sign_in(&server, THERAPIST).await;
    let seen = fix(1, 40.0);
    therapist.send(location(std::slice::from_ref(&seen))).await;
    assert_eq!(therapist.next().await["type"], "ack");
    let watch = json!({"type": "watch", "booking_uuid": server.desk.booking.1});

    let mut customer = App::sign_in(&server, CUSTOMER).await;
    for en_route in [false, true] {
        if en_route {
            server.desk.set_out();
        }
        customer.send(watch.clone()).await;
        assert_eq!(customer.next().await["type"], "booking");
        if en_route {
            let position = customer.next().await;
            assert_eq!((&position["type"], &position["recorded_at"]), (&json!("position"), &seen["recorded_at"]));
            assert_eq!((&position["latitude"], &position["longitude"]), (&json!(14.5547), &json!(121.0244)));
        }
    }
    let mut stranger = App::sign_in(&server, OTHER_THERAPIST).await;
    stranger.send(watch.clone()).await;
    assert_eq!(stranger.next().await["code"], "not_found");
    stranger.send(watch).await;
    assert_eq!(stranger.next().await["code"], "not_found", "and nothing between");
}

/// An accept that waits for its transaction; one thread, so that who is woken first runs first.
async fn accepting() -> (Server, App) {
    let server = Server::start().await;
    let mut app = App::sign_in(&server, THERAPIST).await;
    server.desk.answers.forget_permits(100);
    app.send(json!({"type": "offer.accept", "offer_id": 9})).await;
    app.send(location(&[fix(1, 0.0)])).await;
    app.until_ack(1).await;
    (server, app)
}

#[tokio::test]
async fn an_answer_is_sent_before_what_is_told_after_it() {
    let (server, mut app) = accepting().await;
    server.desk.answers.add_permits(1);
    server.desk.bus().tell(server.desk.therapists[0].0, ServerMessage::Availability { available: true });
    assert_eq!(app.next().await["type"], "offer.closed");
    assert_eq!(app.next().await["type"], "availability");
}

#[tokio::test]
async fn an_answer_that_is_there_when_the_node_drains_is_sent_before_the_socket_closes() {
    let (server, mut app) = accepting().await;
    server.desk.answers.add_permits(1);
    let ((heard, closed), ()) =
        tokio::join!(async { (app.next().await, app.closed().await) }, server.desk.sockets().drain());
    assert_eq!((&heard["type"], closed), (&json!("offer.closed"), Some(1012)));
}
