//! `spacall demo`: a node on its own database, a seeded city, and people in it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use super::{Place, READY_WITHIN, end_signal};
use crate::cities;
use crate::cli::Demo;
use crate::config::Config;
use crate::demo::{self, Plan, Story};
use crate::node::{Node, NodeConfig};
use crate::store::seed::FleetPlan;
use crate::store::{self};
use crate::wire::roster::{Role, RosterEntry};

/// Bookings under way at once: enough to watch, not too many to read.
const AT_ONCE: usize = 6;

pub(super) async fn run(config: &Config, options: Demo) -> anyhow::Result<ExitCode> {
    let end = end_signal();
    println!("starting PostgreSQL …");
    let place = Place::open(config).await?;
    let shown = show(config, &options, &place, end).await;
    place.close().await?;
    println!("stopped");
    shown.map(|()| ExitCode::SUCCESS)
}

async fn show(config: &Config, options: &Demo, place: &Place, end: impl Future<Output = ()>) -> anyhow::Result<()> {
    let node = Node::start(NodeConfig { rate_limit: config.rate_limit, ..NodeConfig::new(place.options().clone(), config.listen) }).await?;
    let town = async {
        let roster = seed(&node, options).await?;
        tokio::time::timeout(READY_WITHIN, node.ready()).await.context("the node did not become ready")?;
        let url = format!("http://{}", node.address());
        introduce(&url, options, &roster)?;
        let plan = Plan { url, roster, seed: options.seed, at_once: AT_ONCE };
        let (stop, story) = (CancellationToken::new(), Arc::new(Story::default()));
        let people = tokio::spawn(demo::run(plan, Arc::clone(&story), stop.clone()));
        let limit = async {
            match options.duration {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = end => {}
            () = limit => {}
        }
        println!("\neverybody goes home …");
        stop.cancel();
        people.await??;
        let count = story.count();
        println!(
            "{} pings stored; {} bookings: {} accepted, {} completed, {} found nobody",
            count.pings, count.asked, count.accepted, count.completed, count.unserved
        );
        anyhow::Ok(())
    };
    let done = town.await;
    node.stop().await;
    done
}

/// A new fleet for each demo: the fleet of the one before it is switched off, its bookings stay.
async fn seed(node: &Node, options: &Demo) -> anyhow::Result<Vec<RosterEntry>> {
    let pool = &node.engine().pool;
    store::seed::retire(pool).await?;
    let plan = FleetPlan {
        therapists: options.therapists,
        customers: options.customers,
        cities: cities::metro_manila(),
        seed: options.seed,
    };
    Ok(store::seed::fleet(pool, &plan).await?)
}

fn introduce(url: &str, options: &Demo, roster: &[RosterEntry]) -> anyhow::Result<()> {
    let token = |role: Role| roster.iter().find(|e| e.role == role).map(|e| e.token.as_str());
    // The last therapist's own app is not needed: who pastes his token takes his place (one session each).
    let therapist = roster.iter().rev().find(|e| e.role == Role::Therapist).map(|e| e.token.as_str());
    let (Some(customer), Some(therapist), Some(admin)) = (token(Role::Customer), therapist, token(Role::Admin)) else {
        bail!("the seeded city lacks a customer, a therapist or an admin");
    };
    println!(
        "
Spacall dispatch is running at {url}      API documentation: {url}/docs

  {} therapists over Metro Manila's 17 cities, {} customers. To be watchable they travel at 180 km/h and a massage takes
  10 seconds; everything else is as in earnest. Paste into another terminal:

    URL={url}
    CUSTOMER='{customer}'
    THERAPIST='{therapist}'
    ADMIN='{admin}'
    curl -s \"$URL/v1/therapists/nearby?latitude=14.5547&longitude=121.0244&service=swedish-massage&limit=5\" -H \"Authorization: Bearer $CUSTOMER\"

  Ctrl-C stops everything.
",
        options.therapists, options.customers
    );
    Ok(())
}
