//! The app against a server that follows a script: what the contract asks of an app.

use std::sync::Mutex;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::*;
use crate::core::geo::LatLng;
use crate::core::time::Timestamp;

const PATIENCE: Duration = Duration::from_secs(20);

/// Says yes at once, and remembers what happened.
#[derive(Default)]
struct Willing {
    heard: Mutex<Vec<String>>,
}

impl Willing {
    fn note(&self, text: String) {
        self.heard.lock().expect("no panic").push(text);
    }
}

impl Therapist for Willing {
    fn answer(&self, _: &Offer) -> BoxFuture<'static, Answer> {
        Box::pin(async { Answer::Accept })
    }
    fn journey(&self, _: Uuid) -> BoxFuture<'static, Option<Journey>> {
        Box::pin(async { None })
    }
    fn rejected(&self, code: &str, _: &str) {
        self.note(format!("rejected {code}"));
    }
    fn closed(&self, _: Uuid, reason: OfferEnd, accept_sent: Option<Instant>) {
        self.note(format!("closed {reason:?}, accept sent {}", accept_sent.is_some()));
    }
    fn error(&self, code: &str, _: &str) {
        self.note(format!("error {code}"));
    }
}

struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    // The type is the handshake's, not ours.
    #[allow(clippy::result_large_err)]
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("in time").expect("a peer");
        let subprotocol = |request: &Request, mut response: Response| {
            assert_eq!(request.headers()["authorization"], "Bearer 1|secret");
            let name = HeaderValue::from_static("spacall.v1.json");
            response.headers_mut().insert("sec-websocket-protocol", name);
            Ok(response)
        };
        Self(tokio_tungstenite::accept_hdr_async(stream, subprotocol).await.expect("a handshake"))
    }

    async fn welcome(&mut self, offers: Value) {
        let id = Uuid::nil();
        self.say(json!({"type": "welcome", "session_id": id, "user_uuid": id, "available": true, "offers": offers}))
            .await;
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.expect("a listener");
    }

    /// The next message that is no sign of life.
    async fn hear(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time").expect("open");
            if let Message::Text(text) = message.expect("a frame") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    /// `seq` and `recorded_at` of the fixes of messages until there are `count`.
    async fn fixes(&mut self, count: usize) -> Vec<(u64, String)> {
        let mut fixes = Vec::new();
        while fixes.len() < count {
            let message = self.hear().await;
            for fix in message["fixes"].as_array().expect("a location message") {
                let at = fix["recorded_at"].as_str().expect("a time").to_owned();
                fixes.push((fix["seq"].as_u64().expect("a seq"), at));
            }
        }
        fixes
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "as scripted".into() };
        self.0.close(Some(frame)).await.expect("an open connection");
    }
}

struct Running {
    listener: TcpListener,
    fixes: mpsc::Sender<Fix>,
    stop: CancellationToken,
    therapist: Arc<Willing>,
    app: tokio::task::JoinHandle<Result<Left, ConnectError>>,
}

async fn running() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app = TherapistApp {
        endpoint: Endpoint { url: url.clone(), token: "1|secret".to_owned(), wire: Wire::Json },
        api: Api::new(&url, "1|secret").expect("a client"),
        seed: 1,
        drain: Duration::from_secs(5),
        leave_offline: false,
    };
    let (fixes, source) = mpsc::channel(16);
    let (therapist, stop) = (Arc::new(Willing::default()), CancellationToken::new());
    let app = tokio::spawn(app.run(Arc::clone(&therapist), source, stop.clone()));
    Running { listener, fixes, stop, therapist, app }
}

fn fix(latitude: f64) -> Fix {
    Fix::new(Timestamp::from_micros(0), LatLng::new(latitude, 121.0).expect("a place"))
}

async fn ended(app: tokio::task::JoinHandle<Result<Left, ConnectError>>) -> Result<Left, ConnectError> {
    tokio::time::timeout(PATIENCE, app).await.expect("in time").expect("no panic")
}

#[tokio::test]
async fn unacked_fixes_are_sent_again_after_a_reconnect_with_their_own_times() {
    let run = running().await;
    let mut first = Peer::accept(&run.listener).await;
    first.welcome(json!([])).await;
    for latitude in [14.1, 14.2, 14.3] {
        run.fixes.send(fix(latitude)).await.expect("an app");
    }
    let sent = first.fixes(3).await;
    first.say(json!({"type": "ack", "seq": sent[0].0})).await;
    // The ack is read before the end of the connection, which it precedes.
    drop(first);
    // What is measured while there is no connection is kept too.
    run.fixes.send(fix(14.4)).await.expect("an app");

    let mut second = Peer::accept(&run.listener).await;
    second.welcome(json!([])).await;
    let again = second.fixes(3).await;
    assert_eq!(again[..2], sent[1..]);
    assert!(again.is_sorted());
    run.stop.cancel();
    second.say(json!({"type": "ack", "seq": again[2].0})).await;
    // Reads on, so that the app's goodbye is answered.
    tokio::spawn(async move { while let Some(Ok(_)) = second.0.next().await {} });
    assert_eq!(ended(run.app).await.expect("a good end"), Left { unacked: 0 });
}

#[tokio::test]
async fn a_replaced_app_stays_away() {
    let run = running().await;
    let mut peer = Peer::accept(&run.listener).await;
    peer.welcome(json!([])).await;
    peer.close(4409).await;
    let end = ended(run.app).await;
    assert!(matches!(&end, Err(ConnectError::Refused(why)) if why.contains("4409")), "{end:?}");
}

#[tokio::test]
async fn an_offer_is_confirmed_once_and_its_accept_repeated_after_a_reconnect() {
    let run = running().await;
    let offer = json!({"type": "offer", "offer_id": 9, "distance_km": 1.2, "eta_minutes": 6,
        "expires_at": "2026-11-22T09:00:25Z", "booking": {"uuid": Uuid::nil(), "total": "800.00", "earnings": "680.00",
            "service": {"slug": "swedish-massage", "name": "Swedish Massage"},
            "location": {"area": null, "latitude": 14.5, "longitude": 121.0}}});
    let mut first = Peer::accept(&run.listener).await;
    first.welcome(json!([])).await;
    first.say(offer.clone()).await;
    assert_eq!(first.hear().await, json!({"type": "offer.received", "offer_id": 9}));
    assert_eq!(first.hear().await, json!({"type": "offer.accept", "offer_id": 9}));
    drop(first);

    let mut second = Peer::accept(&run.listener).await;
    second.welcome(json!([offer])).await;
    assert_eq!(second.hear().await, json!({"type": "offer.accept", "offer_id": 9}));
    second.say(json!({"type": "offer.closed", "offer_id": 9, "reason": "accepted"})).await;
    second.say(json!({"type": "rain"})).await;
    second.say(json!({"type": "ack"})).await;
    second.say(json!({"type": "error", "code": "offer_gone", "message": "", "offer_id": 9, "reason": "expired"})).await;
    let read = tokio::time::timeout(PATIENCE, async {
        while run.therapist.heard.lock().expect("no panic").len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    read.await.expect("both are told");
    run.stop.cancel();
    tokio::spawn(async move { while let Some(Ok(_)) = second.0.next().await {} });
    ended(run.app).await.expect("a good end");
    // The message that could not be read is told and costs no other; the offer ends once.
    let heard = run.therapist.heard.lock().expect("no panic").clone();
    assert_eq!(heard, ["closed Accepted, accept sent true", "error unreadable_message"]);
}

#[tokio::test]
async fn a_rejected_fix_is_told_and_given_up() {
    let run = running().await;
    let mut peer = Peer::accept(&run.listener).await;
    peer.welcome(json!([])).await;
    run.fixes.send(fix(14.1)).await.expect("an app");
    let seq = peer.fixes(1).await[0].0;
    peer.say(json!({"type": "rejected", "seq": seq, "code": "in_future", "message": "too early"})).await;
    peer.say(json!({"type": "ack", "seq": seq})).await;
    run.stop.cancel();
    tokio::spawn(async move { while let Some(Ok(_)) = peer.0.next().await {} });
    assert_eq!(ended(run.app).await.expect("a good end"), Left { unacked: 0 });
    assert_eq!(*run.therapist.heard.lock().expect("no panic"), ["rejected in_future"]);
}
