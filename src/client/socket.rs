//! One connection of an app: how it is opened, and what its end means.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::messages::Incoming;

/// How fixes travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wire {
    /// `spacall.v1.json`
    #[default]
    Json,
    /// `spacall.v1.bin`: fixes as 32-byte records.
    Binary,
}

impl Wire {
    const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "spacall.v1.json",
            Self::Binary => "spacall.v1.bin",
        }
    }
}

/// Where and as whom an app connects.
#[derive(Clone)]
pub struct Endpoint {
    /// `http://127.0.0.1:8080`
    pub url: String,
    /// `{id}|{secret}`
    pub token: String,
    /// How fixes travel.
    pub wire: Wire,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Trying again is of no use: wrong URL, wrong token, not allowed.
    #[error("the server refuses this app: {0}")]
    Refused(String),
    /// Try again later.
    #[error("no connection: {0}")]
    Unreachable(String),
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Goodbye {
    /// Come back after a backoff: the network, a restart, a drain, a policy's close.
    Reconnect {
        /// Of the close frame; `None` when there was none.
        code: Option<u16>,
        /// For people.
        reason: String,
    },
    /// Do not come back: 4401, 4403, or 4409 because a newer session of the same therapist took over.
    Stay {
        /// Of the close frame.
        code: u16,
        /// For people.
        reason: String,
    },
}

impl Goodbye {
    fn of(code: u16, reason: String) -> Self {
        match code {
            4401 | 4403 | 4409 => Self::Stay { code, reason },
            _ => Self::Reconnect { code: Some(code), reason },
        }
    }

    fn broken(reason: impl std::fmt::Display) -> Self {
        Self::Reconnect { code: None, reason: reason.to_string() }
    }
}

/// An open connection.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

const CONNECT_WITHIN: Duration = Duration::from_secs(10);

impl Socket {
    /// Connects with the token in the header. Bounded in time.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let request = request(endpoint)?;
        // Small buffers: the load tool holds hundreds of these, and frames are small.
        let config =
            WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0).max_write_buffer_size(1 << 20);
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
            Err(_) => Err(ConnectError::Unreachable(format!("no answer within {} s", CONNECT_WITHIN.as_secs()))),
            Ok(Ok((stream, _))) => Ok(Self { stream }),
            Ok(Err(tungstenite::Error::Http(answer))) => Err(refusal(answer.status())),
            Ok(Err(e)) => Err(ConnectError::Unreachable(e.to_string())),
        }
    }

    /// The next message that the app understands; how it ended, when it ended. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Incoming, Goodbye> {
        loop {
            match self.stream.next().await {
                None => return Err(Goodbye::broken("the server hung up")),
                Some(Err(e)) => return Err(Goodbye::broken(e)),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(Goodbye::of(frame.code.into(), frame.reason.as_str().to_owned()));
                }
                Some(Ok(Message::Close(None))) => return Err(Goodbye::broken("closed without a code")),
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                    Ok(message) => return Ok(message),
                    // The others may still be good: told like an error of the server's, and not a reason to hang up.
                    Err(e) => {
                        let code = "unreadable_message".to_owned();
                        return Ok(Incoming::Error { code, message: e.to_string(), offer_id: None, reason: None });
                    }
                },
                Some(Ok(Message::Pong(_))) => return Ok(Incoming::Unknown),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Sends a text frame.
    pub(super) async fn send_text(&mut self, text: String) -> Result<(), Goodbye> {
        self.stream.send(Message::Text(text.into())).await.map_err(Goodbye::broken)
    }

    /// Sends a binary frame.
    pub(super) async fn send_binary(&mut self, bytes: Vec<u8>) -> Result<(), Goodbye> {
        self.stream.send(Message::Binary(bytes.into())).await.map_err(Goodbye::broken)
    }

    /// Asks whether the server is still there; it answers with a pong, which [`Socket::next`] reports as unknown.
    pub(super) async fn ping(&mut self) -> Result<(), Goodbye> {
        self.stream.send(Message::Ping(Vec::new().into())).await.map_err(Goodbye::broken)
    }

    /// Says goodbye; a server that does not answer within a second is left.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            // The connection is given up either way.
            let _ = self.stream.close(None).await;
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

fn request(endpoint: &Endpoint) -> Result<tungstenite::handshake::client::Request, ConnectError> {
    let refused = |e: &dyn std::fmt::Display| ConnectError::Refused(e.to_string());
    let Some(rest) = endpoint.url.strip_prefix("http://") else {
        return Err(ConnectError::Refused(format!("URL {} does not start with http://", endpoint.url)));
    };
    let url = format!("ws://{}/v1/stream", rest.trim_end_matches('/'));
    let mut request = url.into_client_request().map_err(|e| refused(&e))?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", endpoint.token)).map_err(|e| refused(&e))?;
    bearer.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let subprotocol = HeaderValue::from_static(endpoint.wire.subprotocol());
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    Ok(request)
}

fn refusal(status: StatusCode) -> ConnectError {
    let text = format!("GET /v1/stream answered {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => ConnectError::Unreachable(text),
        status if status.is_client_error() => ConnectError::Refused(text),
        _ => ConnectError::Unreachable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_comes_back_after_a_drain_and_stays_away_when_replaced() {
        for code in [1001, 1008, 1012, 4408, 4429] {
            assert!(matches!(Goodbye::of(code, String::new()), Goodbye::Reconnect { code: Some(c), .. } if c == code));
        }
        for code in [4401, 4403, 4409] {
            assert!(matches!(Goodbye::of(code, String::new()), Goodbye::Stay { .. }));
        }
    }

    #[test]
    fn a_wrong_token_is_not_tried_again_and_a_starting_server_is() {
        assert!(matches!(refusal(StatusCode::UNAUTHORIZED), ConnectError::Refused(_)));
        assert!(matches!(refusal(StatusCode::SERVICE_UNAVAILABLE), ConnectError::Unreachable(_)));
    }

    #[test]
    fn the_token_travels_in_the_header_never_in_the_url() {
        let endpoint = Endpoint { url: "http://127.0.0.1:8080/".into(), token: "7|secret".into(), wire: Wire::Binary };
        let request = request(&endpoint).expect("a request");
        assert_eq!(request.uri(), "ws://127.0.0.1:8080/v1/stream");
        assert_eq!(request.headers()["authorization"], "Bearer 7|secret");
        assert_eq!(request.headers()["sec-websocket-protocol"], "spacall.v1.bin");
    }
}
