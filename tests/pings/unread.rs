//! An app that does not read what it is told: its commands are done, and nobody else's wait for it.

use std::time::Duration;

use serde_json::json;
use spacall::http::stream::{Desk, Timing};
use spacall::store;
use spacall::wire::stream::ServerMessage;

use super::desk::{OTHER_THERAPIST, Server, THERAPIST, fix, location};
use super::socket::App;
use crate::support::{database, until};

/// More than the buffers between the two hold: whoever writes them to an app that does not read never comes to an end.
const MESSAGES: usize = 64;
const LETTERS: usize = 200 * 1_024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_app_does_not_read_its_commands_are_done_in_order_and_hold_nobody_up() {
    let db = database().await;
    // One connection for everybody: who keeps it is noticed.
    let pool = store::connect(db.options(), 1).await.expect("a pool");
    let timing = Timing { write_within: Duration::from_secs(120), ..Timing::default() };
    let server = Server::over(pool, timing).await;
    let (user, provider) = server.desk.therapists[0];
    let mut silent = App::sign_in_with_small_buffer(&server, THERAPIST).await;
    let mut other = App::sign_in(&server, OTHER_THERAPIST).await;

    // Its first command waits for a row, with the connection; the others wait for the first, and all have been read.
    let mut held = db.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT FROM providers WHERE id = $1 FOR UPDATE")
        .bind(provider.0)
        .execute(&mut *held)
        .await
        .expect("the row");
    for available in [true, false, true, false] {
        silent.send(json!({"type": "availability", "available": available})).await;
    }
    silent.send(location(&[fix(1, 0.0)])).await;
    until("all of it was read", || server.desk.position().is_some()).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(db.pool()).await.expect("a statement") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..MESSAGES {
        let message = ServerMessage::Error {
            code: "long".to_owned(),
            message: "x".repeat(LETTERS),
            offer_id: None,
            reason: None,
        };
        assert_eq!(server.desk.bus().tell(user, message), 1);
    }
    held.rollback().await.expect("released");

    other.send(json!({"type": "availability", "available": false})).await;
    assert_eq!(other.next().await, json!({"type": "availability", "available": false}));
    let done = || server.desk.heard.lock().expect("not poisoned").len() == 5;
    until("what the silent one asked for is done too", done).await;
    let available = "SELECT is_available FROM providers WHERE id = $1";
    while sqlx::query_scalar::<_, bool>(available).bind(provider.0).fetch_one(db.pool()).await.expect("a row") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.desk.bus().is_connected(user), "nobody was let go of");

    // It reads at last: every answer, in order.
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let message = silent.next().await;
        if message["type"] == "availability" {
            answers.push(message["available"].as_bool().expect("a boolean"));
        }
    }
    assert_eq!(answers, [true, false, true, false]);
}
