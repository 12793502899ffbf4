//! Every close code, and what it is for.

use std::time::Duration;

use serde_json::json;
use spacall::http::stream::{BINARY, Desk, Timing};
use spacall::wire::stream::{OfferEnd, ServerMessage};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::desk::{CUSTOMER, LISTED_ORIGIN, LIVE_OFFER, Server, THERAPIST, UNCHECKED, fix, location};
use super::socket::App;
use crate::support::until;

#[tokio::test]
async fn a_token_in_the_header_is_checked_before_the_upgrade() {
    let server = Server::start().await;
    assert_eq!(App::open(&server, Some("1|wrong"), None).await.err(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(App::open(&server, Some(UNCHECKED), None).await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
}

#[tokio::test]
async fn a_web_page_of_another_host_is_refused_before_the_upgrade_and_apps_are_not_asked() {
    let server = Server::start().await;
    let own = format!("http://{}", server.address);
    for (origin, answer) in [
        (Some("https://evil.example"), Some(StatusCode::FORBIDDEN)),
        (Some("null"), Some(StatusCode::FORBIDDEN)),
        (Some(own.as_str()), None),
        (Some(LISTED_ORIGIN), None),
        (None, None),
    ] {
        let opened = App::from_page(&server, Some(THERAPIST), None, origin).await;
        assert_eq!(opened.err(), answer, "{origin:?}");
    }
}

#[tokio::test]
async fn a_token_in_the_first_message_opens_the_socket_and_anything_else_closes_it() {
    let timing = Timing { auth_within: Duration::from_millis(200), ..Timing::default() };
    let server = Server::with(timing).await;
    let unsigned = || async { App::open(&server, None, None).await.expect("an upgrade") };

    let mut good = unsigned().await;
    good.send(json!({"type": "auth", "token": THERAPIST})).await;
    let welcome = good.next().await;
    assert_eq!(
        (&welcome["type"], &welcome["available"], &welcome["offers"]),
        (&json!("welcome"), &json!(true), &json!([]))
    );
    good.send(location(&[fix(1, 0.0)])).await;
    good.until_ack(1).await;

    let mut silent = unsigned().await;
    assert_eq!(silent.closed().await, Some(4408));
    for (first, code) in [
        (json!({"type": "auth", "token": "1|wrong"}), 4401),
        (json!({"type": "auth", "token": UNCHECKED}), 1012),
        (location(&[fix(1, 0.0)]), 4401),
        (json!("hello"), 4401),
    ] {
        let mut app = unsigned().await;
        app.send(first.clone()).await;
        assert_eq!(app.closed().await, Some(code), "{first}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_understood_is_answered_and_the_tenth_in_a_minute_closes() {
    let server = Server::start().await;
    let mut app = App::sign_in_with(&server, THERAPIST, Some(BINARY)).await;
    let bad =
        [r#"{"type":"location"}"#, "{", r#"{"type":"dance"}"#, "[1,2]", r#"{"type":"offer.accept","offer_id":"x"}"#];
    for (index, text) in bad.iter().cycle().take(8).enumerate() {
        app.text((*text).to_owned()).await;
        let answer = app.next().await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("bad_message")), "{text}");
        // A good one between them is followed.
        app.send(location(&[fix(index as u32, 0.0)])).await;
        app.until_ack(index as u32).await;
    }
    app.binary(vec![1; 33]).await;
    assert_eq!(app.next().await["code"], "bad_frame");
    app.binary(vec![]).await;
    assert_eq!(app.next().await["code"], "bad_frame");
    assert_eq!(app.closed().await, Some(1008));
    assert_eq!(server.count().await, 8);
}

#[tokio::test]
async fn a_frame_over_256_kib_closes_with_1009_and_one_of_just_that_is_read() {
    let server = Server::start().await;
    let mut app = App::sign_in(&server, THERAPIST).await;
    let mut filled = location(&[fix(1, 0.0)]).to_string();
    filled.push_str(&" ".repeat(256 * 1024 - filled.len()));
    app.text(filled.clone()).await;
    app.until_ack(1).await;
    app.text(filled + " ").await;
    assert_eq!(app.closed().await, Some(1009));
    // Far too big: not even read.
    let mut app = App::sign_in(&server, THERAPIST).await;
    app.text(" ".repeat(600 * 1024)).await;
    assert_eq!(app.closed().await, Some(1009));
}

#[tokio::test]
async fn more_than_a_thousand_fixes_are_too_many_and_the_first_thousand_are_taken() {
    let server = Server::start().await;
    let mut app = App::sign_in(&server, THERAPIST).await;
    let fixes: Vec<_> = (1..=1_003_u32).map(|seq| fix(seq, f64::from(5_000 - seq))).collect();
    app.send(location(&fixes)).await;
    let messages = app.until_ack(1_003).await;
    let too_many: Vec<_> = messages.iter().filter(|m| m["code"] == "too_many").map(|m| m["seq"].as_u64()).collect();
    assert_eq!(too_many, [Some(1_001), Some(1_002), Some(1_003)]);
    assert_eq!(server.count().await, 1_000);
}

#[tokio::test]
async fn live_fixes_above_the_rate_close_with_4429_and_backlog_never_does() {
    let server = Server::start().await;
    let mut app = App::sign_in(&server, THERAPIST).await;
    let (mut seq, day) = (0, 86_000.0);
    for _ in 0..20 {
        let frame: Vec<_> = (0..500).map(|i| fix(seq + i, day - f64::from(seq + i))).collect();
        seq += 500;
        app.send(location(&frame)).await;
    }
    app.until_ack(seq - 1).await;
    assert_eq!(server.count().await, 10_000);
    let burst = |from: u32| location(&(from..from + 300).map(|i| fix(i, 1.0)).collect::<Vec<_>>());
    app.send(burst(seq)).await;
    app.until_ack(seq + 299).await;
    app.send(burst(seq + 300)).await;
    app.send(burst(seq + 600)).await;
    assert_eq!(app.closed().await, Some(4429));
    // A new connection is no new bucket.
    let mut again = App::sign_in(&server, THERAPIST).await;
    again.send(burst(0)).await;
    assert_eq!(again.closed().await, Some(4429));
}

#[tokio::test]
async fn a_customer_who_sends_what_only_therapists_may_is_told_and_closed() {
    let server = Server::start().await;
    for message in [
        location(&[fix(1, 0.0)]),
        json!({"type": "availability", "available": true}),
        json!({"type": "offer.accept", "offer_id": 9}),
    ] {
        let mut app = App::sign_in(&server, CUSTOMER).await;
        app.send(message).await;
        assert_eq!(app.next().await["code"], "forbidden");
        assert_eq!(app.closed().await, Some(4403));
    }
    assert_eq!(server.count().await, 0);
    assert!(server.desk.heard.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn a_therapists_newer_session_replaces_the_older() {
    let server = Server::start().await;
    let mut old = App::sign_in(&server, THERAPIST).await;
    let mut new = App::sign_in(&server, THERAPIST).await;
    assert_eq!(old.closed().await, Some(4409));
    new.send(location(&[fix(1, 0.0)])).await;
    new.until_ack(1).await;
    assert_eq!(server.desk.bus().connected(), 1);
}

#[tokio::test]
async fn a_revoked_token_closes_its_socket() {
    let server = Server::start().await;
    let mut app = App::sign_in(&server, CUSTOMER).await;
    server.desk.revoked.cancel();
    assert_eq!(app.closed().await, Some(4401));
}

#[tokio::test]
async fn a_peer_that_gives_no_sign_of_life_is_let_go_and_one_that_answers_pings_stays() {
    let timing =
        Timing { ping_after: Duration::from_millis(100), dead_after: Duration::from_secs(2), ..Timing::default() };
    let server = Server::with(timing).await;
    let mut alive = App::sign_in(&server, CUSTOMER).await;
    let half_open = App::sign_in(&server, THERAPIST).await;
    // Nobody polls it: pings stay unanswered, as on a dead phone.
    let dead_user = server.desk.therapists[0].0;
    let waiting = tokio::spawn(async move { alive.closed().await });
    until("the dead one is gone", || !server.desk.bus().is_connected(dead_user)).await;
    assert!(server.desk.bus().is_connected(server.desk.customer));
    assert!(!waiting.is_finished());
    drop(half_open);
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_not_buffered_for() {
    let timing = Timing { write_within: Duration::from_millis(200), ..Timing::default() };
    let server = Server::with(timing).await;
    let stuck = App::sign_in(&server, CUSTOMER).await;
    // It reads nothing: first the sockets' buffers fill, then the write waits in vain.
    let mut told = 0;
    until("the slow one is gone", || {
        let message = ServerMessage::Error {
            code: "x".to_owned(),
            message: "y".repeat(64 * 1024),
            offer_id: Some(LIVE_OFFER),
            reason: Some(OfferEnd::Expired),
        };
        told += server.desk.bus().tell(server.desk.customer, message);
        !server.desk.bus().is_connected(server.desk.customer)
    })
    .await;
    assert!(told < 2_000, "{told} messages of 64 KiB were taken for a peer that reads nothing");
    drop(stuck);
}

#[tokio::test]
async fn a_draining_node_acks_what_it_has_read_says_1012_and_takes_no_one_new() {
    let server = Server::start().await;
    let mut app = App::sign_in(&server, THERAPIST).await;
    let mut customer = App::sign_in(&server, CUSTOMER).await;
    app.send(location(&[fix(1, 0.0)])).await;
    until("it was read", || server.desk.position().is_some()).await;
    let (acked, (), told) = tokio::join!(
        async { (app.next().await, app.closed().await) },
        server.desk.sockets().drain(),
        customer.closed(),
    );
    assert_eq!(acked, (json!({"type": "ack", "seq": 1}), Some(1012)));
    assert_eq!(told, Some(1012));
    assert_eq!(server.desk.bus().connected(), 0);
    assert_eq!(App::open(&server, Some(CUSTOMER), None).await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
}
