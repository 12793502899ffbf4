//! One running node: everything that `spacall serve` starts, in order, and stops, in reverse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::{self, Engine};
use crate::http::app::{App, Rules};
use crate::http::passwords;
use crate::http::peer::Proxies;
use crate::http::stream::Origins;
use crate::store;

/// What is under way at the end may take this long.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where the truth is.
    pub database: PgConnectOptions,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Bring the schema up to date first.
    pub migrate: bool,
    /// Requests a second and token; 0 is no limit.
    pub rate_limit: u32,
    /// Connections to the database, at most.
    pub max_connections: u32,
    /// Web pages, besides this service's own, that may open the stream.
    pub origins: Origins,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
    /// bcrypt's cost of new passwords.
    pub password_cost: u32,
    /// How often the whole index is compared with the database.
    pub compared_every: Duration,
}

impl NodeConfig {
    /// The defaults of `spacall serve`.
    pub fn new(database: PgConnectOptions, listen: SocketAddr) -> Self {
        Self {
            database,
            listen,
            migrate: true,
            rate_limit: 100,
            max_connections: 20,
            origins: Origins::default(),
            proxies: Proxies::default(),
            password_cost: passwords::COST,
            compared_every: engine::COMPARED_EVERY,
        }
    }
}

/// A node that listens. It is ready a little later: see [`Node::ready`].
pub struct Node {
    engine: Arc<Engine>,
    app: App,
    address: SocketAddr,
    server: JoinHandle<()>,
    running: engine::Running,
    /// Cancelled when no more requests are taken.
    closing: CancellationToken,
}

impl Node {
    /// Connects, migrates, listens, and rebuilds the index in the background.
    pub async fn start(config: NodeConfig) -> anyhow::Result<Self> {
        let pool = store::connect(config.database, config.max_connections)
            .await
            .context("the database (DATABASE_URL) does not let this node in")?;
        if config.migrate {
            store::migrate(&pool).await.context("the schema could not be brought up to date")?;
        } else if let behind @ 1.. = store::migrations_behind(&pool).await? {
            bail!("the database lacks {behind} migrations: run `spacall migrate` first, or start without --no-migrate");
        }
        let (engine, running) = engine::start(pool, config.compared_every).await?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("SPACALL_LISTEN {} cannot be listened on", config.listen))?;
        let address = listener.local_addr()?;
        let rules = Rules {
            rate_limit: config.rate_limit,
            origins: config.origins,
            proxies: config.proxies,
            password_cost: config.password_cost,
        };
        let app = App::new(Arc::clone(&engine), rules)?;
        let closing = CancellationToken::new();
        let server = tokio::spawn(app.serve(listener, closing.clone()));
        Ok(Self { engine, app, address, server, running, closing })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the handlers see.
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Waits until the index is complete and pending bookings are taken up.
    pub async fn ready(&self) {
        while !self.engine.readiness.missing().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Drains: no new connections, sockets told to reconnect, pings that were taken in committed and acked.
    pub async fn stop(self) {
        // While sockets are told to go, balancers can still ask and hear 503; then streams of events end, and the listener.
        self.engine.readiness.set_draining();
        self.app.drain().await;
        self.engine.shutdown.cancel();
        self.closing.cancel();
        self.running.stop(&self.engine).await;
        let abort = self.server.abort_handle();
        match tokio::time::timeout(LAST_REQUESTS, self.server).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the listener's task failed"),
            Err(_) => {
                tracing::warn!("some requests do not come to an end: they are cut off");
                abort.abort();
            }
        }
        self.engine.dispatcher.announce_rest().await;
        if tokio::time::timeout(LAST_REQUESTS, self.engine.pool.close()).await.is_err() {
            tracing::warn!("some statements do not come to an end: their connections are cut off");
        }
    }
}
