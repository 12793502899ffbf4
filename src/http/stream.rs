//! `GET /v1/stream`: one websocket for both apps. This file negotiates and authenticates; [`session`] is what follows.

mod alive;
mod close;
mod commands;
pub mod desk;
pub mod intake;
mod link;
mod origins;
mod rate;
mod session;
mod sockets;
mod watches;

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

pub use desk::{AuthFailure, Desk, Followed, Member, Refusal, Standing};
pub use origins::Origins;
pub use rate::FixRates;
pub use sockets::{Sockets, Timing};

use super::auth::bearer;
use super::problem::Problem;
use link::{Link, MAX_FRAME};
use session::Session;

/// Text frames only.
pub const JSON: &str = "spacall.v1.json";
/// The same, with pings as 32-byte binary records.
pub const BINARY: &str = "spacall.v1.bin";

/// tungstenite's own default is 128 KiB a socket, which is 1.3 GB for 10,000.
const READ_BUFFER: usize = 4_096;
/// Bytes that may wait for a slow reader.
const WRITE_BUFFER: usize = 256 * 1_024;

/// Answers the upgrade. A token in the `Authorization` header is checked first: a bad one gets 401 and no websocket.
/// Without one the first message has to bring it. An app that offers no subprotocol of ours is spoken to in JSON.
pub async fn open<D: Desk>(
    State(desk): State<Arc<D>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if !desk.sockets().origins().admit(&headers) {
        let text = "This web page may not open the stream; SPACALL_ORIGINS lists those that may.";
        return Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", text).into_response();
    }
    let member = match headers.get(header::AUTHORIZATION) {
        None => None,
        Some(_) => match authenticate_header(&*desk, &headers).await {
            Ok(member) => Some(member),
            Err(refused) => return refused.into_response(),
        },
    };
    if desk.sockets().are_closing() {
        return Problem::unavailable("This node restarts; connect again.").into_response();
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([JSON, BINARY]),
        Err(rejection) => {
            let (status, text) = (rejection.status(), rejection.body_text());
            return Problem::new(status, "not_a_websocket", text).into_response();
        }
    };
    let binary = upgrade.selected_protocol().is_some_and(|protocol| protocol == BINARY);
    let tracker = desk.sockets().tracker().clone();
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        // Twice what is allowed, so that a frame that is too big can be read and answered with 1009.
        .max_frame_size(2 * MAX_FRAME)
        .max_message_size(2 * MAX_FRAME)
        // Boxed: the task that axum makes of it would hold room for it twice.
        .on_upgrade(move |socket| tracker.track_future(Box::pin(serve(desk, socket, member, binary))))
}

async fn serve<D: Desk>(desk: Arc<D>, socket: WebSocket, member: Option<Member>, binary: bool) {
    let mut link = Link::new(socket, desk.sockets().timing());
    let member = match member {
        Some(member) => Ok(member),
        None => session::first_message(&*desk, &mut link).await,
    };
    let close = match member {
        Ok(member) => {
            let (tracker, within) = (desk.sockets().tracker().clone(), desk.sockets().timing().drain_within);
            let mut session = Session::new(desk, member, binary);
            let close = session.run(&mut link).await;
            // Beside the farewell, which may take long.
            if let Some(commands) = session.into_commands().filter(|_| close.ends_commands()) {
                tracker.spawn(tokio::time::timeout(within, commands.end()));
            }
            close
        }
        Err(close) => close,
    };
    tracing::debug!(code = close.code(), reason = close.reason(), "a socket closes");
    metrics::counter!("spacall_sockets_closed_total", "code" => close.code().to_string()).increment(1);
    link.close(close).await;
}

async fn authenticate_header<D: Desk>(desk: &D, headers: &HeaderMap) -> Result<Member, Problem> {
    let token = bearer(headers).ok_or_else(Problem::unauthenticated)?;
    desk.authenticate(token).await.map_err(|failure| match failure {
        AuthFailure::BadToken => Problem::unauthenticated(),
        AuthFailure::Unavailable => Problem::unavailable("The token cannot be checked at the moment; try again."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::desk::FrontDesk;

    fn size<A, F: Future>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    /// A socket lies in its main loop nearly all the time: what is rare is boxed, and must not make every socket larger.
    #[test]
    fn a_socket_costs_little_memory_while_it_waits() {
        let whole = size(|(desk, socket, member, binary)| serve::<FrontDesk>(desk, socket, member, binary));
        assert!(whole <= 3_584, "{whole} bytes a socket");
    }
}
