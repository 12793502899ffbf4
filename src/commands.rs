//! What each command of the command line does. Results go to stdout, logs and errors to stderr.

mod audit;
mod demo;
mod simulate;

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::cli::{Command, Seed, SeedFleet, Serve, Token, TokenCreate};
use crate::config::{Config, Database};
use crate::node::{Node, NodeConfig};
use crate::postgres::Cluster;
use crate::store::seed::{FleetPlan, StorePlan};
use crate::{cities, clock, http, store};

/// The database of a private cluster.
const DATABASE: &str = "spacall";
/// A command that is not the service needs few.
const FEW_CONNECTIONS: u32 = 4;

/// Runs one command.
pub async fn run(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(options) => serve(&config, options).await,
        Command::Demo(options) => demo::run(&config, options).await,
        Command::Audit(options) => audit::run(&config, options).await,
        Command::Simulate(options) => simulate::simulate(&options),
        Command::Openapi => {
            println!("{}", http::openapi_json()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Asyncapi => {
            println!("{}", http::asyncapi_json());
            Ok(ExitCode::SUCCESS)
        }
        other => {
            if let Command::Restore(options) = &other {
                // Before a cluster is made for it.
                store::backup::readable(&options.file)?;
            }
            let place = Place::open(&config).await?;
            let done = with_database(other, &place).await;
            place.close().await?;
            done
        }
    }
}

async fn with_database(command: Command, place: &Place) -> anyhow::Result<ExitCode> {
    match command {
        Command::Backup(options) => {
            let path = store::backup::write(place.options(), &options.dir, options.prune).await?;
            println!("{}", path.display());
        }
        Command::Restore(options) => store::backup::restore(place.options(), &options.file).await?,
        command => {
            let pool = store::connect(place.options().clone(), FEW_CONNECTIONS).await?;
            store::migrate(&pool).await?;
            let done = with_pool(command, &pool).await;
            pool.close().await;
            return done;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn with_pool(command: Command, pool: &PgPool) -> anyhow::Result<ExitCode> {
    match command {
        Command::Migrate => println!("the schema is up to date"),
        Command::Partitions => return partitions(pool).await,
        Command::Seed(Seed::Fleet(options)) => seed_fleet(pool, &options).await?,
        Command::Token(Token::Create(options)) => token(pool, &options).await?,
        Command::ReplayDecisions(options) => simulate::replay_decisions(pool, &options).await?,
        other => bail!("{other:?} needs no database"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The database that a command works on, and the private cluster around it if there is one.
pub(crate) struct Place {
    options: PgConnectOptions,
    cluster: Option<Cluster>,
}

impl Place {
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        match &config.database {
            Database::Server { options, .. } => Ok(Self { options: (**options).clone(), cluster: None }),
            Database::Private(dir) => {
                let cluster = Cluster::open(dir).await?;
                cluster.create_database(DATABASE, None).await?;
                Ok(Self { options: cluster.options(DATABASE), cluster: Some(cluster) })
            }
        }
    }

    pub(crate) const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Stops the private cluster if this process is its owner.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }
}

async fn serve(config: &Config, options: Serve) -> anyhow::Result<ExitCode> {
    // Before anything else: a signal during start-up ends it as cleanly as one later.
    let end = end_signal();
    let place = Place::open(config).await?;
    let served = serve_at(config, &options, &place, end).await;
    place.close().await?;
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve_at(
    config: &Config,
    options: &Serve,
    place: &Place,
    end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if config.redis_url.is_some() {
        tracing::warn!("REDIS_URL is set, but nodes do not speak to each other yet: run one node on this database");
    }
    let node = Node::start(NodeConfig {
        migrate: !options.no_migrate,
        rate_limit: config.rate_limit,
        origins: config.origins.clone(),
        proxies: config.proxies.clone(),
        ..NodeConfig::new(place.options().clone(), config.listen)
    })
    .await?;
    println!("listening on http://{}", node.address());
    let failed = tokio::select! {
        () = end => false,
        () = node.engine().failed.cancelled() => true,
    };
    tracing::info!("going away: sockets are told to reconnect, pings are committed");
    node.stop().await;
    if failed {
        bail!("a task that the node cannot do without has died (see the log): start it again");
    }
    Ok(())
}

/// Ctrl-C or SIGTERM.
pub(crate) fn end_signal() -> impl Future<Output = ()> {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    async move {
        match terminate {
            Ok(mut terminate) => tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            },
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be heard, only Ctrl-C");
                // An error here means that no signal can be heard at all: then only kill ends this.
                if tokio::signal::ctrl_c().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

async fn partitions(pool: &PgPool) -> anyhow::Result<ExitCode> {
    let report = store::partitions::maintain(pool, clock::now()).await?;
    println!("made: {}", list(&report.created));
    println!("dropped: {}", list(&report.dropped));
    println!("present: {}", list(&report.present));
    if report.default_rows > 0 {
        println!("ALARM: {} rows are in the default partition", report.default_rows);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

async fn token(pool: &PgPool, options: &TokenCreate) -> anyhow::Result<()> {
    let Some(user) = store::users::by_phone(pool, &options.phone).await? else {
        bail!("--phone is `{}`, allowed: the phone of a user who exists and is active", options.phone);
    };
    let abilities = if options.abilities.is_empty() { vec!["*".to_owned()] } else { options.abilities.clone() };
    println!("{}", store::tokens::create(pool, user, "command line", &abilities).await?);
    Ok(())
}

async fn seed_fleet(pool: &PgPool, options: &SeedFleet) -> anyhow::Result<()> {
    let cities = match &options.city {
        None => cities::metro_manila(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("--city is `{}`, allowed: a readable file", path.display()))?;
            cities::read_cities(&text).with_context(|| format!("--city is `{}`", path.display()))?
        }
    };
    let stores = StorePlan { stores: options.stores, cities: cities.clone(), seed: options.seed };
    store::seed::stores(pool, &stores).await?;
    let plan = FleetPlan { therapists: options.therapists, customers: options.customers, cities, seed: options.seed };
    let roster = store::seed::fleet(pool, &plan).await?;
    let mut lines = String::new();
    for entry in &roster {
        lines.push_str(&serde_json::to_string(entry)?);
        lines.push('\n');
    }
    // Everyone is in the database by now: a file that cannot be written costs their tokens, so say which it was.
    write_secret(&options.tokens, lines.as_bytes())
        .with_context(|| format!("--tokens is `{}`, allowed: a file that can be written", options.tokens.display()))?;
    println!(
        "{} therapists, {} customers and an admin; tokens in {}",
        options.therapists,
        options.customers,
        options.tokens.display()
    );
    Ok(())
}

/// Whoever reads it can act for everybody in it: it is for this user alone, as it may not have been before.
fn write_secret(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    file.write_all(text)
}

/// Waits as long as this at most for a node of this machine to be ready.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);
