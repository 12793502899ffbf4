//! A node before a database that is not up to date.

use spacall::node::{Node, NodeConfig};
use spacall::store;

use crate::support::{database, empty_database};

/// `serve --no-migrate`.
#[tokio::test]
async fn a_node_that_is_not_to_migrate_says_what_the_database_lacks() {
    let (empty, whole) = (empty_database().await, database().await);
    let config =
        NodeConfig { migrate: false, ..NodeConfig::new(empty.options(), "127.0.0.1:0".parse().expect("an address")) };
    let refused = Node::start(config).await.err().expect("nothing to serve").to_string();
    let all = store::MIGRATIONS.iter().count();
    assert!(refused.contains(&format!("lacks {all} migrations: run `spacall migrate`")), "{refused}");
    assert_eq!(store::migrations_behind(whole.pool()).await.expect("asked"), 0);
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(whole.pool())
        .await
        .expect("one fewer");
    assert_eq!(store::migrations_behind(whole.pool()).await.expect("asked"), 1);
}
