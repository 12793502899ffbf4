//! The ceiling for frames: an axum websocket that parses the same JSON with the same buffers, and does nothing with it.

use std::hint::black_box;

use anyhow::Result;
use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use crate::report::Verdict;

#[derive(Deserialize)]
struct Location<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    fixes: Vec<Fix<'a>>,
}

#[derive(Deserialize)]
struct Fix<'a> {
    seq: u32,
    recorded_at: &'a str,
    latitude: f64,
    longitude: f64,
    accuracy: Option<f64>,
    heading: Option<f64>,
    speed: Option<f64>,
    is_moving: Option<bool>,
    battery_level: Option<u8>,
}

impl Fix<'_> {
    /// Of every field: none may be left unparsed.
    fn sum(&self) -> f64 {
        let numbers = [self.accuracy, self.heading, self.speed, self.battery_level.map(f64::from)];
        let moving = if self.is_moving == Some(true) { 1.0 } else { 0.0 };
        let named = f64::from(self.seq) + self.recorded_at.len() as f64 + self.latitude + self.longitude;
        named + moving + numbers.into_iter().flatten().sum::<f64>()
    }
}

/// Listens on a free port, says on which, and serves until it is killed.
pub(crate) async fn serve() -> Result<Verdict> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/v1/stream", get(open))).await?;
    Ok(Verdict::Pass)
}

async fn open(upgrade: WebSocketUpgrade) -> Response {
    upgrade.read_buffer_size(4_096).write_buffer_size(0).on_upgrade(read)
}

async fn read(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(text) = message {
            let location = serde_json::from_str::<Location<'_>>(&text).ok().filter(|l| l.r#type == "location");
            black_box(location.map(|location| location.fixes.iter().map(Fix::sum).sum::<f64>()));
        }
    }
}
