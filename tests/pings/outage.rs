//! The database goes away and comes back.

use std::time::Duration;

use serde_json::json;
use spacall::http::stream::{Desk, Timing};
use spacall::postgres::{Cluster, Durability};
use spacall::store;

use super::desk::{Server, THERAPIST, fix, location};
use super::socket::App;
use crate::support::until;

const DATABASE: &str = "spacall_outage";

#[tokio::test]
async fn while_the_database_is_stopped_pings_wait_unacked_and_then_all_are_stored() {
    // On the short side: unix sockets have short paths.
    let dir = std::env::temp_dir().join(format!("spacall-outage-{}", std::process::id()));
    let cluster = Cluster::open_with(&dir, Durability::ProcessOnly).await.expect("a private cluster");
    cluster.create_database(DATABASE, None).await.expect("a database");
    let pool = store::connect(cluster.options(DATABASE), 4).await.expect("a pool");
    store::migrate(&pool).await.expect("the migrations");
    let timing =
        Timing { ping_after: Duration::from_millis(300), dead_after: Duration::from_secs(3), ..Timing::default() };
    let server = Server::over(pool, timing).await;
    let mut app = App::sign_in(&server, THERAPIST).await;

    app.send(location(&[fix(1, 9_000.0)])).await;
    app.until_ack(1).await;
    assert!(cluster.stop().await.expect("a clean stop"));

    // More than one socket may have in flight: the last ones are not even read.
    for frame in 0..30_u32 {
        let fixes: Vec<_> = (0..100).map(|i| fix(2 + frame * 100 + i, f64::from(8_000 - frame * 100 - i))).collect();
        app.send(location(&fixes)).await;
    }
    let stuck = async {
        until("the journal says that it cannot write", || !server.desk.journal().healthy()).await;
        until("the socket has enough in flight", || server.desk.journal().waiting() >= 2_000).await;
    };
    // Meanwhile the app answers pings, which nobody reads.
    tokio::select! {
        () = stuck => {}
        code = app.closed() => panic!("closed with {code:?}"),
    }
    assert!(app.hears_no_message(Duration::from_secs(4)).await, "nothing is acked, and nobody is thought dead");
    assert!(server.desk.position().is_some(), "the fleet moves on");

    let cluster = Cluster::open_with(&dir, Durability::ProcessOnly).await.expect("the same cluster");
    let messages = app.until_ack(3_001).await;
    assert!(messages.iter().all(|m| m["type"] == "ack"), "{messages:?}");
    assert_eq!(server.count().await, 3_001);
    assert!(server.desk.journal().healthy());
    app.send(json!({"type": "offer.received", "offer_id": 9})).await;
    until("the socket is read again", || server.desk.heard.lock().expect("not poisoned").len() == 1).await;
    drop(server);
    cluster.stop().await.expect("a clean stop");
    std::fs::remove_dir_all(&dir).expect("the cluster's directory");
}
