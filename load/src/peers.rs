//! `spacall-load peers`: the same question, asked of one server after the other as fast as it answers (closed loop).
//!
//! `script/bench peers` starts the servers, gives all of them the same points and makes one table of what is printed.

mod bare;
mod http;
mod resp;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use hdrhistogram::Histogram;
use serde::Serialize;
use spacall::clock;
use spacall::core::geo::LatLng;
use tokio::task::JoinSet;

/// The question: so many nearest
const NEAREST: usize = 10;
/// within so many kilometres.
const RADIUS_KM: u32 = 5;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Peers {
    /// Ask `GET /v1/therapists/nearby`, or a bare route in its place
    Http(http::Http),
    /// Ask Redis or Tile38
    Resp(resp::Resp),
    /// Serve one stored answer at `/v1/therapists/nearby`: what HTTP costs alone
    Bare(bare::Bare),
}

/// How a server is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Asking {
    /// Where the questions come from: lines of latitude,longitude
    #[arg(long, value_name = "FILE")]
    places: PathBuf,
    /// Questions under way at once, each on a connection of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    duration: u64,
}

/// What one server did.
#[derive(Debug, Serialize)]
struct Told {
    connections: u32,
    requests: u64,
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
    /// Mean length of an answer.
    bytes: f64,
}

/// One connection to a server.
trait Peer: Send + 'static {
    /// Asks from the `nth` place; the length of the answer.
    fn ask(&mut self, nth: usize) -> impl Future<Output = Result<usize>> + Send;
}

/// Does one of them; what is found goes to standard output, as a line of JSON.
pub(crate) async fn run(peers: &Peers) -> Result<()> {
    let told = match peers {
        Peers::Http(options) => http::ask(options).await?,
        Peers::Resp(options) => resp::ask(options).await?,
        Peers::Bare(options) => return bare::serve(options).await,
    };
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

/// The places of the questions.
fn places(asking: &Asking) -> Result<Vec<LatLng>> {
    let at = asking.places.display();
    let text = fs::read_to_string(&asking.places).with_context(|| format!("--places {at}"))?;
    let place = |line: &str| {
        let (latitude, longitude) = line.split_once(',')?;
        LatLng::new(latitude.trim().parse().ok()?, longitude.trim().parse().ok()?).ok()
    };
    let places: Option<Vec<_>> = text.lines().map(place).collect();
    match places {
        Some(places) if !places.is_empty() => Ok(places),
        _ => bail!("--places {at}: wanted are lines of latitude,longitude in degrees, at least one"),
    }
}

/// Every connection asks, waits for the answer, and asks again, until the time is up. The first tenth is not counted.
async fn drive<P: Peer>(peers: Vec<P>, asking: &Asking) -> Result<Told> {
    let connections = asking.connections;
    let begin = clock::monotonic() + Duration::from_secs_f64(asking.duration as f64 / 10.0);
    let end = begin + Duration::from_secs(asking.duration);
    let mut tasks = JoinSet::new();
    for (first, mut peer) in peers.into_iter().enumerate() {
        tasks.spawn(async move {
            let (mut took, mut bytes) = (histogram()?, 0_u64);
            // Connections start apart, or all would ask from the same place at the same time.
            for nth in (first * 7_919).. {
                let asked = clock::monotonic();
                if asked >= end {
                    break;
                }
                let length = peer.ask(nth).await?;
                if asked >= begin {
                    took.saturating_record(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
                    bytes += length as u64;
                }
            }
            Ok::<_, anyhow::Error>((took, bytes))
        });
    }
    let (mut all, mut bytes) = (histogram()?, 0);
    while let Some(done) = tasks.join_next().await {
        let (took, length) = done??;
        all.add(took)?;
        bytes += length;
    }
    let us = |quantile: f64| all.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Told {
        connections,
        requests: all.len(),
        per_s: all.len() as f64 / asking.duration as f64,
        p50_us: us(0.5),
        p99_us: us(0.99),
        bytes: bytes as f64 / all.len().max(1) as f64,
    })
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}
