//! A plain HTTP and websocket client for the black-box tests: it knows the contract, nothing of the crate.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Nothing in these tests takes this long; a wait that does has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An answer: its status and its JSON (null when the body is none).
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub json: Value,
    pub headers: reqwest::header::HeaderMap,
}

/// HTTP as one person (or nobody, without a token).
#[derive(Clone)]
pub struct Api {
    base: String,
    token: Option<String>,
    client: reqwest::Client,
}

impl Api {
    pub fn new(base: &str, token: Option<&str>) -> Self {
        Self { base: base.to_owned(), token: token.map(str::to_owned), client: reqwest::Client::new() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, self.url(path)).timeout(PATIENCE);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.expect("a body");
        Answer { status, json: serde_json::from_slice(&body).unwrap_or(Value::Null), headers }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("POST", path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("PUT", path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("PATCH", path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    /// Asks again until `done`, or fails with the last answer.
    pub async fn until(&self, path: &str, done: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = tokio::time::sleep(PATIENCE);
        tokio::pin!(deadline);
        loop {
            let answer = self.get(path).await;
            if done(&answer) {
                return answer;
            }
            tokio::select! {
                () = &mut deadline => panic!("GET {path} never became what was awaited; last: {answer:?}"),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }
}

/// A websocket to `/v1/stream`.
pub struct Stream {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Messages that were read while another was awaited.
    kept: Vec<Value>,
}

impl Stream {
    /// Connects with the token in the header and reads the welcome.
    pub async fn open(base: &str, token: &str) -> (Self, Value) {
        let mut stream = Self::raw(base, Some(token), "spacall.v1.json").await;
        let welcome = stream.expect("welcome").await;
        (stream, welcome)
    }

    /// Connects, and reads nothing.
    pub async fn raw(base: &str, token: Option<&str>, protocol: &str) -> Self {
        let url = format!("{}/v1/stream", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).expect("a protocol"));
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).expect("a token"));
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("a websocket");
        Self { socket, kept: Vec::new() }
    }

    pub async fn send(&mut self, message: Value) {
        self.text(&message.to_string()).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the socket takes a message");
    }

    /// The next message of this type; others are kept for later.
    pub async fn expect(&mut self, kind: &str) -> Value {
        if let Some(at) = self.kept.iter().position(|m| m["type"] == kind) {
            return self.kept.remove(at);
        }
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.next().await {
                    Ok(message) if message["type"] == kind => return message,
                    Ok(message) => self.kept.push(message),
                    Err(end) => panic!("waited for {kind:?}, the socket ended: {end}; kept {:?}", self.kept),
                }
            }
        });
        match found.await {
            Ok(message) => message,
            Err(_) => panic!("no {kind:?} within {PATIENCE:?}; kept {:?}", self.kept),
        }
    }

    /// The next message of this type that satisfies `wanted`; other messages are kept.
    pub async fn expect_where(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut passed = Vec::new();
        loop {
            let message = self.expect(kind).await;
            if wanted(&message) {
                self.kept.extend(passed);
                return message;
            }
            passed.push(message);
        }
    }

    /// Whether a message of this type came while others were awaited.
    pub fn heard(&self, kind: &str) -> bool {
        self.kept.iter().any(|m| m["type"] == kind)
    }

    /// The close code, after whatever was still said.
    pub async fn closed(&mut self) -> u16 {
        let end = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                    Some(Ok(Message::Close(None))) => return 1005,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return 1006,
                }
            }
        });
        end.await.expect("the server closes the socket")
    }

    async fn next(&mut self) -> Result<Value, String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|e| format!("not JSON: {e}: {text}"));
                }
                Some(Ok(Message::Close(frame))) => return Err(format!("closed: {frame:?}")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("end of stream".to_owned()),
            }
        }
    }
}

/// A fix as an app sends it.
pub fn fix(seq: u32, at: chrono::DateTime<chrono::Utc>, latitude: f64, longitude: f64) -> Value {
    json!({"seq": seq, "recorded_at": at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
           "latitude": latitude, "longitude": longitude, "accuracy": 8.0})
}
