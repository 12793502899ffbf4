//! The socket itself: frames in, messages out, each with its limit.

use std::time::Duration;

use axum::Error;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite;

use super::close::Close;
use super::sockets::Timing;
use crate::wire::stream::ServerMessage;

/// Bytes of the largest frame that is taken.
pub(super) const MAX_FRAME: usize = 256 * 1_024;

/// For the peer's half of the closing handshake.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the peer sent.
pub(super) enum Frame {
    Text(axum::extract::ws::Utf8Bytes),
    Binary(Bytes),
    /// A ping or pong: only a sign of life. (tungstenite answers pings.)
    Alive,
}

pub(super) struct Link {
    socket: WebSocket,
    write_within: Duration,
}

impl Link {
    pub(super) fn new(socket: WebSocket, timing: Timing) -> Self {
        Self { socket, write_within: timing.write_within }
    }

    /// The next frame. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Frame, Close> {
        let message = match self.socket.next().await {
            None => return Err(Close::Gone),
            Some(Err(error)) => return Err(after(error)),
            Some(Ok(message)) => message,
        };
        match message {
            Message::Text(text) if text.len() > MAX_FRAME => Err(Close::TooBig),
            Message::Binary(bytes) if bytes.len() > MAX_FRAME => Err(Close::TooBig),
            Message::Text(text) => Ok(Frame::Text(text)),
            Message::Binary(bytes) => Ok(Frame::Binary(bytes)),
            Message::Ping(_) | Message::Pong(_) => Ok(Frame::Alive),
            Message::Close(_) => Err(Close::Gone),
        }
    }

    /// Sends all of `messages`; a peer that does not take them within the time reads too slowly.
    pub(super) async fn send<'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a ServerMessage>,
    ) -> Result<(), Close> {
        let socket = &mut self.socket;
        let sending = async {
            for message in messages {
                let text = serde_json::to_string(message).map_err(Error::new)?;
                socket.feed(Message::Text(text.into())).await?;
            }
            socket.flush().await
        };
        within(self.write_within, sending).await
    }

    /// Asks the peer for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), Close> {
        within(self.write_within, self.socket.send(Message::Ping(Bytes::new()))).await
    }

    /// Says why, then reads what is still under way until the peer closes too: closing a TCP connection with unread
    /// data resets it, and the reset can overtake the close frame.
    pub(super) async fn close(mut self, why: Close) {
        let goodbye = async {
            if why != Close::Gone {
                let frame = CloseFrame { code: why.code(), reason: why.reason().into() };
                self.socket.send(Message::Close(Some(frame))).await?;
            }
            while self.socket.next().await.transpose()?.is_some() {}
            Ok::<(), Error>(())
        };
        // Whatever goes wrong here, the socket is gone either way.
        let _ended = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}

async fn within(limit: Duration, sending: impl Future<Output = Result<(), Error>>) -> Result<(), Close> {
    match tokio::time::timeout(limit, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(after(error)),
        Err(_) => Err(Close::TooSlow),
    }
}

/// What is left to do after an error of the socket.
fn after(error: Error) -> Close {
    use tungstenite::Error as E;
    match error.into_inner().downcast_ref::<E>() {
        Some(E::Capacity(_)) => Close::TooBig,
        Some(E::WriteBufferFull(_)) => Close::TooSlow,
        _ => Close::Gone,
    }
}
