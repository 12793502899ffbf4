//! The customer's app: hears of its bookings. Booking itself is [`Api::book`](super::Api::book).

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Backoff;
use super::messages::{BookingSeen, Incoming, PositionSeen};
use super::socket::{ConnectError, Endpoint, Goodbye, Socket};

/// What a customer hears. Called from the app's own task: must be quick and must not block.
pub trait Customer: Send + Sync + 'static {
    /// Connected, for the first time or again.
    fn connected(&self) {}
    /// One of the own bookings changed.
    fn booking(&self, _booking: BookingSeen) {}
    /// The therapist is on the way.
    fn position(&self, _position: PositionSeen) {}
    /// An error message of the server.
    fn error(&self, _code: &str, _message: &str) {}
    /// The connection ended.
    fn disconnected(&self, _goodbye: &Goodbye) {}
}

/// Runs the app until `stop`, or until the server says not to come back. `watch` names bookings whose therapist's
/// position is wanted; they are asked for again after a reconnect.
pub async fn run(
    endpoint: Endpoint,
    customer: impl Customer,
    mut watch: mpsc::Receiver<Uuid>,
    stop: CancellationToken,
    seed: u64,
) -> Result<(), ConnectError> {
    let mut backoff = Backoff::of_an_app(seed);
    let mut watched: Vec<Uuid> = Vec::new();
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            socket = Socket::open(&endpoint) => socket,
        };
        let goodbye = match socket {
            Err(ConnectError::Refused(why)) => return Err(ConnectError::Refused(why)),
            Err(ConnectError::Unreachable(why)) => Goodbye::Reconnect { code: None, reason: why },
            Ok(socket) => match talk(socket, &customer, &mut watch, &mut watched, &stop, &mut backoff).await {
                None => return Ok(()),
                Some(goodbye) => goodbye,
            },
        };
        customer.disconnected(&goodbye);
        if let Goodbye::Stay { code, reason } = goodbye {
            return Err(ConnectError::Refused(format!("closed with {code} {reason}")));
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(backoff.wait()) => {}
        }
    }
}

/// Until the connection ends, or (`None`) the app is stopped.
async fn talk(
    mut socket: Socket,
    customer: &impl Customer,
    watch: &mut mpsc::Receiver<Uuid>,
    watched: &mut Vec<Uuid>,
    stop: &CancellationToken,
    backoff: &mut Backoff,
) -> Option<Goodbye> {
    let mut alive = tokio::time::interval(Duration::from_secs(20));
    let mut heard = true;
    for booking in watched.iter() {
        if let Err(goodbye) = socket.send_text(watch_message(*booking)).await {
            return Some(goodbye);
        }
    }
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => {
                socket.close().await;
                return None;
            }
            message = socket.next() => {
                heard = true;
                match message {
                    Err(goodbye) => return Some(goodbye),
                    Ok(message) => hear(message, customer, watched, backoff),
                }
                Ok(())
            }
            Some(booking) = watch.recv() => {
                watched.push(booking);
                socket.send_text(watch_message(booking)).await
            }
            _ = alive.tick() => {
                if !std::mem::take(&mut heard) {
                    return Some(Goodbye::Reconnect { code: None, reason: "nothing heard for 20 s".to_owned() });
                }
                socket.ping().await
            }
        };
        if let Err(goodbye) = done {
            return Some(goodbye);
        }
    }
}

fn hear(message: Incoming, customer: &impl Customer, watched: &mut Vec<Uuid>, backoff: &mut Backoff) {
    match message {
        Incoming::Welcome { .. } => {
            backoff.reset();
            customer.connected();
        }
        Incoming::Booking(booking) => {
            if booking.has_ended() {
                watched.retain(|uuid| *uuid != booking.uuid);
            }
            customer.booking(*booking);
        }
        Incoming::Position(position) => customer.position(position),
        Incoming::Error { code, message, .. } => customer.error(&code, &message),
        _ => {}
    }
}

fn watch_message(booking: Uuid) -> String {
    format!(r#"{{"type":"watch","booking_uuid":"{booking}"}}"#)
}
