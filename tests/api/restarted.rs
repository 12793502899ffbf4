//! PostgreSQL crashes and is back at once: its old connections are no good, and nearly nobody notices.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use spacall::node::{Node, NodeConfig};
use spacall::postgres::{Cluster, Durability};
use spacall::store;
use tokio::task::JoinSet;

use crate::support::http::Api;
use crate::support::{people, until};

const DATABASE: &str = "spacall_crashed";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_of_postgresql_at_most_one_request_meets_a_dead_connection() {
    // On the short side: unix sockets have short paths.
    let dir = std::env::temp_dir().join(format!("spacall-crash-{}", std::process::id()));
    let cluster = Cluster::open_with(&dir, Durability::ProcessOnly).await.expect("a private cluster");
    cluster.create_database(DATABASE, None).await.expect("a database");
    let config = NodeConfig {
        rate_limit: 0,
        ..NodeConfig::new(cluster.options(DATABASE), "127.0.0.1:0".parse().expect("an address"))
    };
    let node = Node::start(config).await.expect("the node starts");
    node.ready().await;
    let pool = store::connect(cluster.options(DATABASE), 2).await.expect("a pool");
    let customer = people::customer(&pool).await;
    let api = Api::new(&format!("http://{}", node.address()), Some(&customer.token));

    // Many at once, so that there are many connections, all of them used a moment ago.
    let mut held = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE bookings IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.expect("a lock");
    let mut many: JoinSet<_> = (0..12)
        .map(|_| {
            let api = api.clone();
            async move { api.get("/v1/bookings").await.status }
        })
        .collect();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&pool).await.expect("a statement") < 12 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    held.rollback().await.expect("unlocked");
    while let Some(status) = many.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
    // The server ends all its other processes when one is killed, and starts anew.
    let backends: Vec<i32> = sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        .fetch_all(&pool)
        .await
        .expect("a statement");
    assert!(backends.len() > 12, "{backends:?}");
    let backends = backends.into_iter().filter_map(Pid::from_raw);
    kill_process(backends.clone().next().expect("one"), Signal::KILL).expect("it is there");
    for backend in backends {
        until("the old connections are dead", || test_kill_process(backend).is_err()).await;
    }
    let mut failed = Vec::new();
    for nth in 0..40 {
        let answer = api.get("/v1/bookings").await;
        if answer.status != 200 {
            failed.push((nth, answer.status, answer.json));
        }
    }
    assert!(failed.len() <= 1, "{failed:?}");
    pool.close().await;
    node.stop().await;
    cluster.stop().await.expect("a clean stop");
    std::fs::remove_dir_all(&dir).expect("the cluster's directory");
}
