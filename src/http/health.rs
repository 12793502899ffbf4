//! `GET /healthz`, `/readyz`, `/metrics`: for machines that watch.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::telemetry::Metrics;

/// That the process answers.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `ok`
    #[schema(example = "ok")]
    pub status: &'static str,
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the node may be asked: 503 until the index is rebuilt and pending bookings are taken up, while the database
/// does not answer, and while draining; `detail` says which.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses((status = 200, body = Health), (status = 503, body = ProblemBody))
)]
pub async fn readyz(State(engine): State<Arc<Engine>>) -> Result<Json<Health>, Problem> {
    let mut missing = engine.readiness.missing();
    if !engine.journal.healthy() {
        missing.push("pings are not stored");
    }
    if missing.is_empty() {
        return Ok(Json(Health { status: "ready" }));
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The node is not ready.")
        .detail(missing.join(", "))
        .retry_after(1))
}

/// Measurements in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4"))
)]
pub async fn metrics(State(engine): State<Arc<Engine>>, State(metrics): State<Metrics>) -> impl IntoResponse {
    ::metrics::gauge!("spacall_therapists").set(engine.fleet.len() as f64);
    ::metrics::gauge!("spacall_sockets").set(engine.bus.connected() as f64);
    ::metrics::gauge!("spacall_ready").set(if engine.readiness.missing().is_empty() { 1.0 } else { 0.0 });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
}
