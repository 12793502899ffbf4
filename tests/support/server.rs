//! The service under test: in this process over a database of its own, or as a process that can be killed.

use std::process::Stdio;
use std::time::Duration;

use spacall::node::{Node, NodeConfig};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::door::Door;
use super::http::{Api, PATIENCE};
use super::{TestDatabase, database};

/// A node in this process.
pub struct Server {
    pub database: TestDatabase,
    pub base: String,
    node: Option<Node>,
}

impl Server {
    /// A node over a fresh database.
    pub async fn start() -> Self {
        Self::over(database().await).await
    }

    /// A node over a fresh database that lets each token make so many requests a second.
    pub async fn limited(per_second: u32) -> Self {
        Self::with(database().await, |config| config.rate_limit = per_second).await
    }

    /// A node over this database.
    pub async fn over(database: TestDatabase) -> Self {
        Self::with(database, |_| {}).await
    }

    /// A node over this database that compares its whole index with it so often.
    pub async fn comparing(database: TestDatabase, every: Duration) -> Self {
        Self::with(database, |config| config.compared_every = every).await
    }

    /// A node over a fresh database behind these proxies.
    pub async fn behind(proxies: &str) -> Self {
        let proxies = spacall::http::peer::Proxies::parse(proxies).expect("proxies");
        Self::with(database().await, |config| config.proxies = proxies).await
    }

    /// A node over a fresh database that it reaches by a door.
    pub async fn through_a_door() -> (Self, Door) {
        let database = database().await;
        let (door, options) = Door::open(&database, false);
        (Self::with(database, |config| config.database = options).await, door)
    }

    async fn with(database: TestDatabase, change: impl FnOnce(&mut NodeConfig)) -> Self {
        let mut config = NodeConfig {
            rate_limit: 0,
            password_cost: 4,
            ..NodeConfig::new(database.options(), "127.0.0.1:0".parse().expect("an address"))
        };
        change(&mut config);
        let node = Node::start(config).await.expect("the node starts");
        node.ready().await;
        Self { base: format!("http://{}", node.address()), database, node: Some(node) }
    }

    pub fn pool(&self) -> &sqlx::PgPool {
        self.database.pool()
    }

    pub fn api(&self, token: &str) -> Api {
        Api::new(&self.base, Some(token))
    }

    /// What the node's handlers see: to break it from inside.
    pub fn engine(&self) -> &std::sync::Arc<spacall::engine::Engine> {
        self.node.as_ref().expect("a running node").engine()
    }

    /// Stops the node.
    pub async fn stop(mut self) -> TestDatabase {
        self.node.take().expect("a running node").stop().await;
        self.database
    }

    /// Stops the node and starts another over the same database.
    pub async fn restart(self) -> Self {
        Self::over(self.stop().await).await
    }
}

/// `spacall serve` as its own process.
pub struct Process {
    pub base: String,
    child: Child,
}

impl Process {
    /// Starts `spacall serve` over this database and waits until it is ready.
    pub async fn serve(database: &TestDatabase) -> Self {
        Self::at(database.url(), "warn", Stdio::inherit()).await
    }

    /// The same over the database of this URL, with its log going there.
    pub async fn at(url: &str, log_filter: &str, log: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spacall"))
            .arg("serve")
            .env("DATABASE_URL", url)
            .env("SPACALL_LISTEN", "127.0.0.1:0")
            .env("SPACALL_RATE_LIMIT", "0")
            .env("SPACALL_LOG", log_filter)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let listening = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if let Some((_, url)) = line.split_once("listening on ") {
                    return url.trim().to_owned();
                }
            }
            panic!("the process ended before it listened");
        });
        let base = listening.await.expect("the process says where it listens");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Api::new(&base, None).until("/readyz", |a| a.status == 200).await;
        Self { base, child }
    }

    pub fn api(&self, token: &str) -> Api {
        Api::new(&self.base, Some(token))
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.start_kill().expect("it can be killed");
        self.child.wait().await.expect("it is dead");
    }

    /// `kill -TERM`; returns the exit code.
    pub async fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(self.child.id().expect("a pid") as i32).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be told");
        let status = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        status.expect("it ends").expect("a status").code()
    }
}
