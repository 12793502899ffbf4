//! A test's app on a real socket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::desk::Server;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Opened = (Socket, Response<Option<Vec<u8>>>);

pub(super) struct App {
    pub socket: Socket,
    pub protocol: Option<String>,
}

impl App {
    /// With a token in the header; returns after `welcome`.
    pub async fn sign_in(server: &Server, token: &str) -> Self {
        Self::sign_in_with(server, token, None).await
    }

    pub async fn sign_in_with(server: &Server, token: &str, protocol: Option<&str>) -> Self {
        let mut app = Self::open(server, Some(token), protocol).await.expect("an upgrade");
        let welcome = app.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        app
    }

    /// Only the upgrade; the HTTP status if it is refused.
    pub async fn open(server: &Server, token: Option<&str>, protocol: Option<&str>) -> Result<Self, StatusCode> {
        Self::from_page(server, token, protocol, None).await
    }

    /// The same in a browser, from a page of this origin.
    pub async fn from_page(
        server: &Server,
        token: Option<&str>,
        protocol: Option<&str>,
        origin: Option<&str>,
    ) -> Result<Self, StatusCode> {
        let request = request(server, token, protocol, origin);
        Self::opened(tokio_tungstenite::connect_async(request).await)
    }

    /// The same as [`Self::sign_in`], of a phone that keeps little of what it does not read.
    pub async fn sign_in_with_small_buffer(server: &Server, token: &str) -> Self {
        let phone = TcpSocket::new_v4().expect("a socket");
        phone.set_recv_buffer_size(16 * 1_024).expect("a small buffer");
        let phone = phone.connect(server.address.parse().expect("an address")).await.expect("a connection");
        let request = request(server, Some(token), None, None);
        let opened = tokio_tungstenite::client_async(request, MaybeTlsStream::Plain(phone)).await;
        let mut app = Self::opened(opened).expect("an upgrade");
        assert_eq!(app.next().await["type"], "welcome");
        app
    }

    fn opened(opened: Result<Opened, Error>) -> Result<Self, StatusCode> {
        match opened {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|value| value.to_str().expect("text").to_owned());
                Ok(Self { socket, protocol })
            }
            Err(Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("no answer to the upgrade: {error}"),
        }
    }

    pub async fn send(&mut self, message: Value) {
        self.text(message.to_string()).await;
    }

    pub async fn text(&mut self, text: String) {
        self.socket.send(Message::Text(text.into())).await.expect("sent");
    }

    pub async fn binary(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(bytes.into())).await.expect("sent");
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        match self.frame().await {
            Ok(value) => value,
            Err(code) => panic!("closed with {code:?}"),
        }
    }

    /// The close code, after whatever else still comes.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.frame().await {
                return code;
            }
        }
    }

    /// Whether no message comes for so long (pings do, and are answered).
    pub async fn hears_no_message(&mut self, within: Duration) -> bool {
        tokio::time::timeout(within, self.frame()).await.is_err()
    }

    async fn frame(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Everything up to the ack of `seq`, that ack included.
    pub async fn until_ack(&mut self, seq: u32) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.next().await);
            if messages.last() == Some(&json!({"type": "ack", "seq": seq})) {
                return messages;
            }
        }
    }
}

fn request(server: &Server, token: Option<&str>, protocol: Option<&str>, origin: Option<&str>) -> Request<()> {
    let mut request = format!("ws://{}/v1/stream", server.address).into_client_request().expect("a request");
    let bearer = token.map(|token| format!("Bearer {token}"));
    for (name, value) in
        [("authorization", bearer.as_deref()), ("sec-websocket-protocol", protocol), ("origin", origin)]
    {
        if let Some(value) = value {
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header"));
        }
    }
    request
}
