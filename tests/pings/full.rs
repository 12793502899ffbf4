//! A full journal: nothing is shown that may never be stored.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use spacall::http::stream::Desk;
use spacall::store::journal::{CAPACITY, Receipts};
use sqlx::{Postgres, Transaction};

use super::desk::{Server, THERAPIST, fix, location};
use super::journal::delivery;
use super::socket::App;
use crate::support::until;

/// The journal is full of the other therapist's fixes, and cannot write them until the transaction ends.
async fn full() -> (Server, Transaction<'static, Postgres>) {
    let server = Server::start().await;
    let mut lock = server.pool().begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE provider_locations IN SHARE MODE").execute(&mut *lock).await.expect("a lock");
    let (journal, other) = (server.desk.journal(), server.desk.therapists[1].1);
    let receipts = Arc::new(Receipts::default());
    for first in (0..CAPACITY).step_by(512) {
        journal.submit(delivery(other, first..first + 512, &receipts)).await.expect("taken");
    }
    assert_eq!(journal.waiting(), CAPACITY as usize);
    (server, lock)
}

async fn written(server: &Server, lock: Transaction<'static, Postgres>) {
    lock.rollback().await.expect("unlocked");
    tokio::time::timeout(Duration::from_secs(60), server.desk.journal().drain()).await.expect("all is written");
}

#[tokio::test]
async fn a_request_that_is_given_up_while_the_journal_is_full_leaves_nothing_behind() {
    let (server, lock) = full().await;
    let request = reqwest::Client::new()
        .post(format!("http://{}/v1/locations", server.address))
        .bearer_auth(THERAPIST)
        .json(&json!({"fixes": [fix(1, 1.0)]}))
        .timeout(Duration::from_millis(300));
    assert!(request.send().await.expect_err("no answer").is_timeout());
    assert_eq!(server.desk.position(), None, "nobody is to be shown where no row will ever be");
    written(&server, lock).await;
    assert_eq!((server.rows().await.len(), server.desk.position()), (0, None));
}

#[tokio::test]
async fn a_socket_that_is_left_while_the_journal_is_full_leaves_nothing_behind() {
    let (server, lock) = full().await;
    let mut app = App::sign_in(&server, THERAPIST).await;
    let mut north_of_the_pole = fix(2, 1.0);
    north_of_the_pole["latitude"] = json!(95);
    app.send(location(&[fix(1, 1.0), north_of_the_pole])).await;
    assert_eq!(app.next().await["type"], "rejected", "the frame was read");
    assert_eq!(server.desk.position(), None);
    // Who comes after the full journal takes a place of his own when there is room, not before.
    let mut newer = App::sign_in(&server, THERAPIST).await;
    assert_eq!(app.closed().await, Some(4409));
    until("the older socket is gone", || server.desk.bus().connected() == 1).await;
    assert_eq!(server.desk.position(), None);
    newer.send(location(&[fix(1, 0.5)])).await;
    assert!(newer.hears_no_message(Duration::from_millis(200)).await, "nothing is acked");
    assert_eq!(server.desk.position(), None);
    written(&server, lock).await;
    newer.until_ack(1).await;
    assert_eq!(server.rows().await.len(), 1, "what was not taken is sent again by the app");
    assert!(server.desk.position().is_some());
}
