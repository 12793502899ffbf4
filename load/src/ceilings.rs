//! `spacall-load pings --ceilings`: how near the service comes to what this machine can do at all, in one run. What is
//! compared is done in turns, so that whatever else the machine does bothers both.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use spacall::client::CancellationToken;
use spacall::clock;
use spacall::core::geo::LatLng;
use spacall::core::ids::ProviderId;
use spacall::core::time::Timestamp;
use spacall::core::track::Fix;
use spacall::store::{self, ceiling};
use spacall::wire::binary;
use spacall::wire::roster::{Roster, RosterEntry};
use spacall::wire::time::WireTime;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::args::PingsOnly;
use crate::process::Process;
use crate::report::Verdict;
use crate::run::first_of;

/// The issue's own: rows of those of a bare COPY, frames of those of a bare socket.
const ROWS_SHARE: f64 = 0.7;
const FRAMES_SHARE: f64 = 0.6;

/// Therapists who send.
const SOCKETS: usize = 64;
/// At least so many; more, where a round would copy more rows than one statement may take time for.
const ROUNDS: u64 = 10;
const ROWS_A_ROUND: u64 = 100_000;
/// Parts of a run whose shares are told one by one; there are no fewer rounds.
const TENTHS: usize = 10;
/// Fixes of a frame when many are to be stored.
const FRAME: usize = 500;
/// Frames of one fix a socket and round: together fewer than the journal holds.
const SINGLES: usize = 400;
/// Fixes are this old: backlog, whose rate is not limited.
const AGE: Duration = Duration::from_secs(20 * 3_600);
/// Copied rows are this much younger than sent ones, so that no two are the same.
const APART: Duration = Duration::from_secs(6 * 3_600);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What was done, in how long, with how much of the server's processor time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Work {
    count: u64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Work {
    fn add(&mut self, count: u64, took: Duration, cpu: Duration) {
        self.count += count;
        self.seconds += took.as_secs_f64();
        self.cpu_seconds += cpu.as_secs_f64();
    }

    fn per_second(&self) -> f64 {
        self.count as f64 / self.seconds.max(1e-9)
    }

    fn per_cpu_second(&self) -> f64 {
        self.count as f64 / self.cpu_seconds.max(1e-9)
    }
}

#[derive(Debug, Serialize)]
struct Report {
    copied: Work,
    stored: Work,
    rows_share: f64,
    /// Of each tenth of the run, in order: whether it is sustained.
    rows_share_by_tenth: Vec<f64>,
    bare_frames: Work,
    frames: Work,
    /// By the clock: server and client share the processors.
    frames_share: f64,
    /// By the servers' processor time.
    frames_share_of_cpu: f64,
    verdict: Verdict,
}

pub(crate) async fn run(options: &PingsOnly, stop: &CancellationToken) -> Result<Verdict> {
    let common = &options.common;
    let url = common.database_url.as_deref().context("--ceilings needs --database-url: it copies rows itself")?;
    let pool = store::connect(url.parse().context("--database-url")?, 2).await.context("--database-url")?;
    let service = Process(options.pid.context("--ceilings needs --pid")?);
    let roster = Roster::read(&common.tokens)?;
    let people = first_of(&roster.therapists, SOCKETS, "therapists")?;
    let uuids: Vec<_> = people.iter().filter_map(|person| person.provider_uuid).collect();
    let providers = ceiling::providers(&pool, &uuids).await?;
    if providers.len() != people.len() {
        bail!("the tokens file is not of this database: {} of {} therapists are in it", providers.len(), people.len());
    }
    let mut phones = Vec::new();
    for (person, provider) in people.iter().zip(&providers) {
        phones.push(Phone::open(&common.url, Some(person), *provider).await?);
    }
    let (mut bare, address) = bare_server().await?;
    let bare_process = Process(bare.id().context("the bare server has ended")?);
    let mut bare_phones = Vec::new();
    for provider in &providers {
        bare_phones.push(Phone::open(&address, None, *provider).await?);
    }

    let begin = clock::now().minus(AGE);
    let rounds = options.rows.div_ceil(ROWS_A_ROUND).max(ROUNDS);
    let each = options.rows.div_ceil(rounds * SOCKETS as u64);
    let (mut copied, mut stored, mut frames, mut bare_frames) =
        (Work::default(), Work::default(), Work::default(), Work::default());
    let mut tenths = vec![(Work::default(), Work::default()); TENTHS];
    for round in 0..rounds {
        if stop.is_cancelled() {
            return Ok(Verdict::Interrupted);
        }
        let rows = (0..each).flat_map(|nth| {
            let at = begin.plus(APART).plus(Duration::from_millis(round * each + nth));
            providers.iter().map(move |provider| (*provider, fix(*provider, at)))
        });
        let rows = ceiling::encode(rows);
        let started = clock::monotonic();
        let count = ceiling::copy(&pool, &rows).await?;
        let tenth = &mut tenths[(round * TENTHS as u64 / rounds) as usize];
        let took = started.elapsed();
        copied.add(count, took, Duration::ZERO);
        tenth.0.add(count, took, Duration::ZERO);

        let (cpu, started) = (service.cpu()?, clock::monotonic());
        phones = together(phones, move |mut phone| async move {
            phone.store(begin.plus(Duration::from_millis(round * each)), each).await.map(|()| phone)
        })
        .await?;
        let took = started.elapsed();
        stored.add(each * SOCKETS as u64, took, service.cpu()?.saturating_sub(cpu));
        tenth.1.add(each * SOCKETS as u64, took, Duration::ZERO);

        bare_phones = burst(bare_phones, bare_process, &mut bare_frames).await?;
        let held = ceiling::hold(&pool).await?;
        phones = burst(phones, service, &mut frames).await?;
        drop(held);
        phones = together(phones, |mut phone| async move { phone.until_acked().await.map(|()| phone) }).await?;
    }
    bare.kill().await?;
    let (rows_share, frames_share) =
        (stored.per_second() / copied.per_second(), frames.per_second() / bare_frames.per_second());
    let frames_share_of_cpu = frames.per_cpu_second() / bare_frames.per_cpu_second();
    let met = rows_share >= ROWS_SHARE && frames_share >= FRAMES_SHARE;
    let verdict = if met { Verdict::Pass } else { Verdict::Fail };
    let rows_share_by_tenth = tenths.iter().map(|(copied, stored)| stored.per_second() / copied.per_second()).collect();
    let report = Report {
        copied,
        stored,
        rows_share,
        rows_share_by_tenth,
        bare_frames,
        frames,
        frames_share,
        frames_share_of_cpu,
        verdict,
    };
    print(&report);
    if let Some(path) = &common.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("--json {}", path.display()))?;
    }
    Ok(verdict)
}

fn print(report: &Report) {
    let (copied, stored) = (&report.copied, &report.stored);
    println!("rows          {:>10.0}/s by a bare COPY ({} rows)", copied.per_second(), copied.count);
    println!(
        "              {:>10.0}/s by the service, {:.2} of it (at least {ROWS_SHARE}); {:.1} us of the service's processor a row",
        stored.per_second(),
        report.rows_share,
        1e6 / stored.per_cpu_second()
    );
    let tenths: Vec<_> = report.rows_share_by_tenth.iter().map(|share| format!("{share:.2}")).collect();
    println!("              by tenths of the run: {}", tenths.join(" "));
    for (name, work) in [("bare socket", &report.bare_frames), ("service", &report.frames)] {
        println!(
            "frames        {:>10.0}/s by the {name} ({} frames of one fix), {:.1} us of its processor a frame",
            work.per_second(),
            work.count,
            1e6 / work.per_cpu_second()
        );
    }
    println!(
        "              {:.2} of it by the clock (at least {FRAMES_SHARE}), {:.2} by processor time",
        report.frames_share, report.frames_share_of_cpu
    );
    println!("verdict       {}", format!("{:?}", report.verdict).to_lowercase());
}

/// One therapist's socket.
struct Phone {
    socket: Socket,
    provider: ProviderId,
    seq: u32,
    /// When the last single fix was recorded.
    last: Timestamp,
}

impl Phone {
    async fn open(url: &str, person: Option<&RosterEntry>, provider: ProviderId) -> Result<Self> {
        let address = url.strip_prefix("http://").context("--url does not begin with http://")?;
        let mut request = format!("ws://{}/v1/stream", address.trim_end_matches('/')).into_client_request()?;
        if let Some(person) = person {
            request.headers_mut().insert("authorization", HeaderValue::try_from(format!("Bearer {}", person.token))?);
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("spacall.v1.bin"));
        }
        let config = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
        let (socket, _) =
            tokio_tungstenite::connect_async_with_config(request, Some(config), true).await.context(url.to_owned())?;
        Ok(Self { socket, provider, seq: 0, last: clock::now().minus(AGE).plus(2 * APART) })
    }

    /// Sends so many fixes, a millisecond after each other, and waits until all are acked.
    async fn store(&mut self, from: Timestamp, count: u64) -> Result<()> {
        let mut nth = 0;
        while nth < count {
            let upto = (nth + FRAME as u64).min(count);
            let mut frame = Vec::with_capacity(32 * FRAME);
            for ms in nth..upto {
                self.seq += 1;
                frame.extend(binary::encode(self.seq, &fix(self.provider, from.plus(Duration::from_millis(ms)))));
            }
            self.socket.send(Message::Binary(frame.into())).await?;
            nth = upto;
        }
        self.until_acked().await
    }

    async fn until_acked(&mut self) -> Result<()> {
        let last = format!("{{\"type\":\"ack\",\"seq\":{}}}", self.seq);
        while let Some(message) = self.socket.next().await {
            match message? {
                Message::Text(text) if text.as_str() == last => return Ok(()),
                Message::Text(text) if text.contains("\"rejected\"") => bail!("a fix was rejected: {text}"),
                Message::Close(frame) => bail!("the service closed the socket: {frame:?}"),
                _ => {}
            }
        }
        bail!("the service hung up")
    }

    /// Frames of one fix, as text.
    fn singles(&mut self) -> Vec<String> {
        let frames = (0..SINGLES).map(|_| {
            self.seq += 1;
            self.last = self.last.plus(Duration::from_millis(1));
            format!(
                r#"{{"type":"location","fixes":[{{"seq":{},"recorded_at":"{}","latitude":14.5547,"longitude":121.0244,"accuracy":8.5,"heading":90,"speed":22.1,"is_moving":true,"battery_level":80}}]}}"#,
                self.seq,
                WireTime(self.last)
            )
        });
        frames.collect()
    }

    /// Sends each as a write of its own, and waits until the last was read: then the pong comes.
    async fn send_all(&mut self, frames: Vec<String>) -> Result<()> {
        for frame in frames {
            self.socket.send(Message::Text(frame.into())).await?;
        }
        self.socket.send(Message::Ping(vec![1].into())).await?;
        while let Some(message) = self.socket.next().await {
            match message? {
                Message::Pong(_) => return Ok(()),
                Message::Close(frame) => bail!("the server closed the socket: {frame:?}"),
                _ => {}
            }
        }
        bail!("the server hung up")
    }
}

fn fix(provider: ProviderId, at: Timestamp) -> Fix {
    // About Metro Manila, each somewhere else: what a spatial index has to do depends on it.
    let (lat, lng) = (provider.0 % 400, (provider.0 * 7 + at.micros() / 1_000) % 300);
    let place = LatLng::from_e7(144_000_000 + lat as i32 * 10_000, 1_209_000_000 + lng as i32 * 10_000);
    let mut fix = Fix::new(at, place.unwrap_or_else(|_| unreachable!("these are places")));
    (fix.accuracy_m, fix.heading, fix.speed_kmh, fix.battery_percent) = (Some(8.5), Some(90.0), Some(22.1), Some(80));
    fix
}

/// All at once, each in a task of its own.
async fn together<F: Future<Output = Result<Phone>> + Send + 'static>(
    phones: Vec<Phone>,
    act: impl Fn(Phone) -> F,
) -> Result<Vec<Phone>> {
    let mut tasks = JoinSet::new();
    for phone in phones {
        tasks.spawn(act(phone));
    }
    let mut done = Vec::new();
    while let Some(phone) = tasks.join_next().await {
        done.push(phone??);
    }
    done.sort_by_key(|phone: &Phone| phone.provider);
    Ok(done)
}

async fn burst(mut phones: Vec<Phone>, server: Process, work: &mut Work) -> Result<Vec<Phone>> {
    let ready = Arc::new(Barrier::new(phones.len() + 1));
    let mut tasks = JoinSet::new();
    for mut phone in phones.drain(..) {
        let (frames, ready) = (phone.singles(), Arc::clone(&ready));
        tasks.spawn(async move {
            ready.wait().await;
            phone.send_all(frames).await.map(|()| phone)
        });
    }
    let count = (tasks.len() * SINGLES) as u64;
    let cpu = server.cpu()?;
    let started = clock::monotonic();
    ready.wait().await;
    while let Some(phone) = tasks.join_next().await {
        phones.push(phone??);
    }
    work.add(count, started.elapsed(), server.cpu()?.saturating_sub(cpu));
    phones.sort_by_key(|phone| phone.provider);
    Ok(phones)
}

async fn bare_server() -> Result<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg("bare-socket").stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe, as asked for")?).lines();
    let line = lines.next_line().await?.context("the bare server ended")?;
    let address = line.strip_prefix("listening on ").context("the bare server says where it listens")?;
    Ok((child, address.to_owned()))
}
