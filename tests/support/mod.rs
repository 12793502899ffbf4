//! What the integration tests share: one private cluster per test process, a database per test, waiting without hoping.

pub mod cluster;
pub mod door;
pub mod http;
pub mod people;
pub mod server;

use std::time::Duration;

use spacall::clock;

pub use cluster::{TestDatabase, database, empty_database};

/// Asks every 10 ms until it is so; panics after 60 s, naming what was waited for.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    until_told(what, async || so()).await;
}

/// The same where the answer takes time.
pub async fn until_told(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = clock::monotonic() + Duration::from_secs(60);
    while !so().await {
        assert!(clock::monotonic() < deadline, "waited 60 s until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
