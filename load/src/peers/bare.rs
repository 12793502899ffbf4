//! One stored answer behind a route and nothing else: no token, no rate, no log, no search. What HTTP, axum and the
//! kernel cost alone, on this machine, at this moment.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use clap::Args;
use tokio::net::TcpListener;

#[derive(Clone, Debug, Args)]
pub(crate) struct Bare {
    /// Port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The answer
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
}

pub(super) async fn serve(options: &Bare) -> Result<()> {
    let body = std::fs::read(&options.body).with_context(|| format!("--body {}", options.body.display()))?;
    let body = Bytes::from(body);
    let answer = move || std::future::ready(([(CONTENT_TYPE, "application/json")], body.clone()));
    let router = Router::new().route("/v1/therapists/nearby", get(answer));
    let listener = TcpListener::bind(options.listen).await.with_context(|| format!("--listen {}", options.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
