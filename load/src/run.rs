//! One run, whatever is played: everyone connects, the curtain goes up, the day goes by, bookings come to their end,
//! and what was found is written down.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use spacall::client::therapist::TherapistApp;
use spacall::client::{Api, CancellationToken, Endpoint, Wire, customer};
use spacall::clock;
use spacall::core::time::Timestamp;
use spacall::store;
use spacall::wire::roster::RosterEntry;
use tokio::task::JoinSet;

use crate::cast::{Driver, Listener, Source, Stage};
use crate::demand::{self, Probes};
use crate::process::Process;
use crate::progress::Progress;
use crate::report::{Bookings, Nearby, Pings, Report, Server, Verdict};
use crate::visible::Probe;

/// What is played.
pub(crate) struct Play {
    pub(crate) scenario: &'static str,
    pub(crate) url: String,
    pub(crate) wire: Wire,
    pub(crate) stage: Arc<Stage>,
    /// Therapists and where their fixes come from.
    pub(crate) therapists: Vec<(RosterEntry, Source, crate::cast::LastPlace)>,
    pub(crate) customers: Vec<RosterEntry>,
    pub(crate) service: String,
    pub(crate) probes: Probes,
    /// Measures how soon fixes are found.
    pub(crate) visible: Option<Probe>,
    /// How long fixes and requests come.
    pub(crate) length: Duration,
    /// How long to wait for the bookings' ends after that.
    pub(crate) settle: Duration,
    /// Begin of the day for the progress line, seconds of the day.
    pub(crate) clock_from_s: Option<i64>,
    pub(crate) database_url: Option<String>,
    /// The service's process, if it is to be looked at.
    pub(crate) process: Option<Process>,
    pub(crate) bad_rows: u64,
    pub(crate) quiet: bool,
}

/// Connections opened a second: a server under test is not to be judged by a stampede at its door.
const CONNECTS_PER_S: u32 = 200;
/// Everyone must be in by then.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// How long apps wait for outstanding acks at the end.
const DRAIN: Duration = Duration::from_secs(30);
/// The same when the run was stopped: whoever did that waits.
const DRAIN_STOPPED: Duration = Duration::from_secs(3);

/// Plays, and reports without a verdict. `stop` ends it early, with what there is until then.
pub(crate) async fn play(play: Play, stop: CancellationToken) -> Result<Report> {
    let stage = Arc::clone(&play.stage);
    // Before the run: a wrong address should not cost the run.
    let database = match &play.database_url {
        Some(url) => {
            let options = url.parse().map_err(|e| anyhow::anyhow!("--database-url: {e}"))?;
            Some(store::connect(options, 2).await.context("--database-url")?)
        }
        None => None,
    };
    let memory = play.process.map(Process::memory_kib).transpose()?;
    let curtain = CancellationToken::new();
    let mut apps = JoinSet::new();
    let customers = customer_apis(&play)?;
    let sockets = play.therapists.len() + play.customers.len();
    let mut drivers = Vec::with_capacity(play.therapists.len());
    for (number, (entry, source, last)) in play.therapists.into_iter().enumerate() {
        let driver = Arc::new(Driver {
            number: number as u64,
            stage: Arc::clone(&stage),
            last,
            acked: std::sync::Mutex::default(),
        });
        drivers.push((entry.provider_uuid.unwrap_or_default(), Arc::clone(&driver)));
        let app = TherapistApp {
            endpoint: Endpoint { url: play.url.clone(), token: entry.token.clone(), wire: play.wire },
            api: api(&play.url, &entry.token, customers.first())?,
            seed: number as u64,
            drain: DRAIN,
            leave_offline: true,
        };
        apps.spawn(in_turn(number, app.run(driver, source, curtain.clone()), |left| left.unacked));
    }
    for (nth, entry) in play.customers.iter().enumerate() {
        let endpoint = Endpoint { url: play.url.clone(), token: entry.token.clone(), wire: Wire::Json };
        let (_, watch) = tokio::sync::mpsc::channel(1);
        let app = customer::run(endpoint, Listener(Arc::clone(&stage)), watch, curtain.clone(), nth as u64);
        apps.spawn(in_turn(drivers.len() + nth, app, |()| 0));
    }
    let visible = play.visible.map(|probe| probe.start(Arc::clone(&stage), play.length, stop.clone())).transpose()?;
    let progress = Progress::start(Arc::clone(&stage), play.clock_from_s, play.length, play.quiet);
    everyone_in(&stage, &mut apps, sockets, &stop).await?;
    let cpu = play.process.map(Process::cpu).transpose()?;

    let begin = stage.start();
    let booking =
        tokio::spawn(demand::book_all(Arc::clone(&stage), customers.clone(), play.service.clone(), stop.clone()));
    let probing =
        tokio::spawn(demand::probe(Arc::clone(&stage), customers.clone(), play.service, play.probes, stop.clone()));
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep_until((begin + play.length).into()) => {}
    }
    booking.await.context("the task that books")?;
    probing.await.context("the task that asks who is near")?;
    let played = clock::monotonic().saturating_duration_since(begin);
    let server = match (play.process, cpu, memory) {
        (Some(process), Some(cpu), Some(memory)) => Some(Server {
            processor_percent: process.cpu()?.saturating_sub(cpu).as_secs_f64() / played.as_secs_f64().max(0.001)
                * 100.0,
            kib_per_socket: process.memory_kib()?.saturating_sub(memory) as f64 / sockets.max(1) as f64,
        }),
        _ => None,
    };
    if let Some(visible) = visible {
        visible.await.context("the thread that looks for fixes")?;
    }
    if !customers.is_empty() {
        demand::settle(&stage, &customers, play.settle, &stop).await;
    }
    curtain.cancel();
    let patience = if stop.is_cancelled() { DRAIN_STOPPED } else { DRAIN + Duration::from_secs(10) };
    let unacked = everyone_out(&stage, &mut apps, patience).await;
    progress.finish();

    let acked = drivers.iter().map(|(provider, driver)| (*provider, take_acked(driver))).collect();
    let stored = match database {
        Some(pool) => {
            let stored = store::stored::count_all(&pool, acked).await;
            pool.close().await;
            Some(stored.unwrap_or_else(|e| {
                // None known to be stored: the report stays, and fails.
                eprintln!("the acked fixes could not be counted: {e}");
                0
            }))
        }
        None => None,
    };
    let report = report(&stage, play.scenario, sockets, played, stored, unacked, play.bad_rows);
    Ok(Report { server, ..report })
}

fn take_acked(driver: &Driver) -> Vec<Timestamp> {
    std::mem::take(&mut *driver.acked.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn customer_apis(play: &Play) -> Result<Vec<Api>> {
    let mut apis: Vec<Api> = Vec::with_capacity(play.customers.len());
    for entry in &play.customers {
        let api = api(&play.url, &entry.token, apis.first())?;
        apis.push(api);
    }
    Ok(apis)
}

/// Shares the connections of `like`.
fn api(url: &str, token: &str, like: Option<&Api>) -> Result<Api> {
    match like {
        Some(like) => Ok(like.with_token(token)),
        None => Api::new(url, token).context("an HTTP client"),
    }
}

/// What became of an app: fixes left unacked, or why it gave up.
type Gone = Result<usize, String>;

async fn in_turn<L, E: std::fmt::Display>(
    nth: usize,
    app: impl Future<Output = Result<L, E>>,
    unacked: impl FnOnce(L) -> usize,
) -> Gone {
    let nth = u32::try_from(nth).unwrap_or(u32::MAX);
    tokio::time::sleep(Duration::from_secs(1) / CONNECTS_PER_S * nth).await;
    app.await.map(unacked).map_err(|e| e.to_string())
}

async fn everyone_in(stage: &Stage, apps: &mut JoinSet<Gone>, sockets: usize, stop: &CancellationToken) -> Result<()> {
    let give_up: Instant =
        clock::monotonic() + CONNECT_WITHIN + Duration::from_secs(1) / CONNECTS_PER_S * sockets as u32;
    loop {
        let connected = usize::try_from(stage.tally.connected.load(Relaxed)).unwrap_or(0);
        if connected >= sockets {
            return Ok(());
        }
        tokio::select! {
            Some(gone) = apps.join_next() => {
                let why = gone.map_or_else(|e| e.to_string(), |gone| gone.err().unwrap_or_default());
                bail!("an app gave up before the begin: {why}");
            }
            () = stop.cancelled() => bail!("stopped before the begin"),
            () = tokio::time::sleep_until(give_up.into()) => bail!("only {connected} of {sockets} apps could connect"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

/// Waits for the apps; an app that gave up on the way counts as an error, and so do the fixes it left.
async fn everyone_out(stage: &Stage, apps: &mut JoinSet<Gone>, patience: Duration) -> usize {
    let mut unacked = 0;
    let all = async {
        while let Some(gone) = apps.join_next().await {
            match gone {
                Ok(Ok(left)) => unacked += left,
                Ok(Err(_)) => stage.tally.error("app_gave_up"),
                Err(_) => stage.tally.error("app_panicked"),
            }
        }
    };
    if tokio::time::timeout(patience, all).await.is_err() {
        stage.tally.error("app_did_not_end");
    }
    unacked
}

fn report(
    stage: &Stage,
    scenario: &str,
    sockets: usize,
    played: Duration,
    stored: Option<u64>,
    unacked: usize,
    bad_rows: u64,
) -> Report {
    let tally = &stage.tally;
    let seconds = played.as_secs_f64().max(0.001);
    let per_s = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
    let (sent, acked, rejected) = (tally.sent.load(Relaxed), tally.acked.load(Relaxed), tally.rejected.load(Relaxed));
    // An app that gave up did not count what it left.
    let unanswered = tally.unacked().max(unacked as u64);
    let nearby = tally.nearby_requests.load(Relaxed);
    let (offers, accepts) = (crate::tally::Latencies::default(), crate::tally::Latencies::default());
    stage.ledger.latencies(|offer, accept| {
        offer.into_iter().for_each(|latency| offers.record(latency));
        accept.into_iter().for_each(|latency| accepts.record(latency));
    });
    Report {
        scenario: scenario.to_owned(),
        seed: stage.rule.seed,
        speed: stage.rule.speed,
        duration_s: (seconds * 10.0).round() / 10.0,
        sockets,
        reconnects: tally.reconnects.load(Relaxed),
        pings: Pings {
            sent,
            acked,
            rejected,
            stored,
            lost: unanswered + stored.map_or(0, |stored| acked.saturating_sub(stored)),
            rate_per_s: per_s(sent),
            ack_ms: tally.ping_ack.percentiles(),
            visible_ms: tally.visible.percentiles(),
        },
        nearby: Nearby {
            requests: nearby,
            errors: tally.nearby_errors.load(Relaxed),
            rate_per_s: per_s(nearby),
            latency_ms: tally.nearby.percentiles(),
        },
        bookings: Bookings::of(
            stage.ledger.counts(),
            offers.percentiles(),
            accepts.percentiles(),
            tally.accept.percentiles(),
        ),
        errors: tally.errors(),
        bad_rows,
        greedy: None,
        server: None,
        slo: Vec::new(),
        verdict: Verdict::Fail,
    }
}

/// Prints the table, and writes the JSON where asked.
pub(crate) fn publish(report: &Report, json: Option<&PathBuf>) -> Result<()> {
    print!("{}", report.table());
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("--json {}", path.display()))?;
    }
    Ok(())
}

/// The first `wanted` of a kind of people, or all; an error that says how to get more.
pub(crate) fn first_of(people: &[RosterEntry], wanted: usize, kind: &str) -> Result<Vec<RosterEntry>> {
    if people.len() < wanted {
        bail!(
            "the tokens file has {} {kind}, wanted are {wanted}: `spacall seed fleet --{kind} {wanted} …` makes more",
            people.len()
        );
    }
    Ok(people[..wanted].to_vec())
}
