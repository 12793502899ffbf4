//! A phone as the contract wants it: keeps each fix until it is acked, sends what is left after a reconnect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use spacall::clock;
use spacall::core::time::Timestamp;
use spacall::wire::time::WireTime;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use super::day::Way;
use crate::support::people::Therapist;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Without an ack for so long a connection counts as dead; twice as long after each that brought none, since a machine that is
/// slow is not made faster by phones that come again and again.
const PATIENCE: Duration = Duration::from_millis(1_500);
const LONGEST_PATIENCE: Duration = Duration::from_secs(12);
/// Fixes a frame when many are left.
const FRAME: usize = 50;

/// What a phone did and heard, for whoever judges. Times in microseconds since 1970.
#[derive(Default)]
pub(super) struct Diary {
    /// Every fix ever made, and its place.
    pub(super) made: BTreeMap<i64, (f64, f64)>,
    pub(super) acked: BTreeSet<i64>,
    /// Refused for good, by code.
    pub(super) refused: BTreeMap<i64, String>,
    unanswered: BTreeSet<i64>,
}

pub(super) struct Phone {
    pub(super) therapist: Therapist,
    diary: Mutex<Diary>,
    /// Off the true time, microseconds.
    pub(super) clock_off: AtomicI64,
    pub(super) repeats: AtomicBool,
    pub(super) reorders: AtomicBool,
    pub(super) reconnects: AtomicU64,
    /// Fixes that were acked or refused.
    pub(super) answered: AtomicU64,
    pub(super) made: AtomicU64,
    stopped: CancellationToken,
}

impl Phone {
    pub(super) fn start(therapist: Therapist, way: Way, address: String, tick: Duration) -> Arc<Self> {
        let phone = Arc::new(Self {
            therapist,
            diary: Mutex::default(),
            clock_off: AtomicI64::default(),
            repeats: AtomicBool::default(),
            reorders: AtomicBool::default(),
            reconnects: AtomicU64::default(),
            answered: AtomicU64::default(),
            made: AtomicU64::default(),
            stopped: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&phone).measure(way, tick));
        tokio::spawn(Arc::clone(&phone).talk(address));
        phone
    }

    pub(super) fn diary(&self) -> MutexGuard<'_, Diary> {
        self.diary.lock().expect("not poisoned")
    }

    pub(super) fn left(&self) -> usize {
        self.diary().unanswered.len()
    }

    /// No more fixes; what is left is still sent.
    pub(super) fn stop(&self) {
        self.stopped.cancel();
    }

    async fn measure(self: Arc<Self>, way: Way, tick: Duration) {
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for place in way.into_iter().cycle() {
            tokio::select! {
                () = self.stopped.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let mut at = clock::now().micros() + self.clock_off.load(SeqCst);
            let mut diary = self.diary();
            // A clock that stepped back may show a time again: no two fixes have the same.
            while diary.made.contains_key(&at) {
                at += 1;
            }
            diary.made.insert(at, place);
            diary.unanswered.insert(at);
            drop(diary);
            self.made.fetch_add(1, SeqCst);
        }
    }

    async fn talk(self: Arc<Self>, address: String) {
        let mut patience = PATIENCE;
        loop {
            let heard_before = self.answered.load(SeqCst);
            if let Some(socket) = self.connect(&address, patience).await {
                self.converse(socket, patience).await;
            }
            let in_vain = self.answered.load(SeqCst) == heard_before;
            patience = if in_vain { (patience * 2).min(LONGEST_PATIENCE) } else { PATIENCE };
            self.reconnects.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn connect(&self, address: &str, within: Duration) -> Option<Socket> {
        let mut request = format!("ws://{address}/v1/stream").into_client_request().expect("a request");
        let bearer = format!("Bearer {}", self.therapist.person.token);
        request.headers_mut().insert("authorization", HeaderValue::from_str(&bearer).expect("a header"));
        let connecting = tokio_tungstenite::connect_async(request);
        tokio::time::timeout(within, connecting).await.ok()?.ok().map(|(socket, _)| socket)
    }

    /// Until the connection is, or seems, dead.
    async fn converse(&self, mut socket: Socket, patience: Duration) {
        let (mut seq, mut sent, mut heard) = (0_u32, BTreeMap::<u32, i64>::new(), clock::monotonic());
        // What went over this connection already; held back for the wrong order.
        let (mut gone, mut held): (BTreeSet<i64>, Option<Vec<i64>>) = (BTreeSet::new(), None);
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        heard = clock::monotonic();
                        self.hear(&serde_json::from_str(&text).expect("JSON"), &mut sent);
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
                _ = ticks.tick() => {
                    if sent.is_empty() {
                        heard = clock::monotonic();
                    } else if heard.elapsed() > patience {
                        return;
                    }
                    let new: Vec<i64> = {
                        let diary = self.diary();
                        diary.unanswered.iter().filter(|at| !gone.contains(at)).copied().take(FRAME).collect()
                    };
                    gone.extend(&new);
                    let mut frames = Vec::new();
                    if !new.is_empty() && held.is_none() && self.reorders.swap(false, SeqCst) {
                        held = Some(new);
                    } else if !new.is_empty() {
                        let again = self.repeats.swap(false, SeqCst).then(|| new.clone());
                        frames.push(new);
                        frames.extend(again);
                        // Later ones first, then these, from the last to the first.
                        frames.extend(held.take().map(|late| late.into_iter().rev().collect()));
                    }
                    for frame in frames {
                        let text = self.frame(&frame, &mut seq, &mut sent);
                        let sending = socket.send(Message::text(text));
                        if !matches!(tokio::time::timeout(patience, sending).await, Ok(Ok(()))) {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn frame(&self, times: &[i64], seq: &mut u32, sent: &mut BTreeMap<u32, i64>) -> String {
        let diary = self.diary();
        let fixes: Vec<Value> = times
            .iter()
            .map(|at| {
                *seq += 1;
                sent.insert(*seq, *at);
                let (latitude, longitude) = diary.made[at];
                let recorded_at = WireTime(Timestamp::from_micros(*at));
                json!({"seq": *seq, "recorded_at": recorded_at, "latitude": latitude, "longitude": longitude})
            })
            .collect();
        json!({"type": "location", "fixes": fixes}).to_string()
    }

    fn hear(&self, message: &Value, sent: &mut BTreeMap<u32, i64>) {
        let seq = || message["seq"].as_u64().map(|seq| seq as u32);
        match message["type"].as_str() {
            Some("ack") => {
                let upto = seq().expect("a seq");
                let later = sent.split_off(&(upto + 1));
                let mut diary = self.diary();
                for at in std::mem::replace(sent, later).into_values() {
                    diary.unanswered.remove(&at);
                    diary.acked.insert(at);
                }
                self.answered.fetch_max((diary.made.len() - diary.unanswered.len()) as u64, SeqCst);
            }
            Some("rejected") => {
                let Some(at) = seq().and_then(|seq| sent.remove(&seq)) else { return };
                let mut diary = self.diary();
                diary.unanswered.remove(&at);
                diary.refused.insert(at, message["code"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
}
