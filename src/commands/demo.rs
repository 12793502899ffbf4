//! `spacall demo`: a node on its own database, a seeded city, and people in it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{Place, READY_WITHIN, end_signal};
use crate::cities;
use crate::cli;
use crate::config::Config;
use crate::demo::{self, Demo, Told};
use crate::node::{Node, NodeConfig};
use crate::store::seed::{self, FleetPlan, StorePlan};
use crate::wire::roster::Roster;

/// Stores in the city; those of the demo before are still there.
const STORES: u32 = 80;
/// Somebody books this often, on average.
const BOOK_EVERY: Duration = Duration::from_secs(3);

pub(super) async fn run(config: &Config, options: cli::Demo) -> anyhow::Result<ExitCode> {
    let end = end_signal();
    println!("Starting PostgreSQL …");
    let place = Place::open(config).await?;
    let shown = show(config, &options, &place, end).await;
    place.close().await?;
    println!("Everything is stopped.");
    shown.map(|()| ExitCode::SUCCESS)
}

async fn show(
    config: &Config,
    options: &cli::Demo,
    place: &Place,
    end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let node = Node::start(NodeConfig {
        rate_limit: config.rate_limit,
        origins: config.origins.clone(),
        proxies: config.proxies.clone(),
        ..NodeConfig::new(place.options().clone(), config.listen)
    })
    .await?;
    let played = play(&node, options, end).await;
    node.stop().await;
    played
}

async fn play(node: &Node, options: &cli::Demo, end: impl Future<Output = ()>) -> anyhow::Result<()> {
    let roster = people(node, options).await?;
    tokio::time::timeout(READY_WITHIN, node.ready()).await.context("the node did not become ready")?;
    let demo = Demo {
        url: format!("http://{}", node.address()),
        roster,
        seed: options.seed,
        book_every: BOOK_EVERY,
        service: demo::SERVICE,
    };
    println!("{}", demo.banner());
    let stop = CancellationToken::new();
    let told: Told = Arc::new(|line: &str| println!("{line}"));
    let town = tokio::spawn({
        let stop = stop.clone();
        async move { demo::play(&demo, told, stop).await }
    });
    tokio::select! {
        () = end => {}
        () = limit(options.duration) => {}
    }
    println!("Everybody goes home …");
    stop.cancel();
    town.await?
}

async fn limit(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// A new fleet for each demo; that of the one before, which may have been killed, goes home: nobody answers for it.
async fn people(node: &Node, options: &cli::Demo) -> anyhow::Result<Roster> {
    seed::send_home(&node.engine().pool).await?;
    let stores = StorePlan { stores: STORES, cities: cities::metro_manila(), seed: options.seed };
    seed::stores(&node.engine().pool, &stores).await?;
    let plan = FleetPlan {
        therapists: options.therapists,
        customers: options.customers,
        cities: cities::metro_manila(),
        seed: options.seed,
    };
    let mut roster = Roster::default();
    for entry in seed::fleet(&node.engine().pool, &plan).await? {
        roster.add(entry);
    }
    Ok(roster)
}
