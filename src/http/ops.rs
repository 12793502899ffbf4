//! For admins: is the index right, where is the fleet, why was this therapist (not) asked.

pub mod explain;
pub mod live;
pub mod page;
pub mod person;
mod state;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::problem::Problem;
use crate::clock;
use crate::core::fleet::{Duty, Therapist};
use crate::core::geo::LatLng;
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::engine::audit::{self, Drift};
use crate::wire::time::WireTime;

/// Compares the index with the database, repairs what differs and tells.
#[utoipa::path(get, path = "/v1/ops/consistency", tag = "ops", responses((status = 200, body = Drift)))]
pub async fn consistency(State(engine): State<Arc<Engine>>) -> Result<Json<Drift>, Problem> {
    Ok(Json(audit::run(&engine).await?))
}

/// Every therapist with a position, as a GeoJSON FeatureCollection of points.
#[utoipa::path(
    get,
    path = "/v1/ops/fleet",
    tag = "ops",
    responses((status = 200, description = "RFC 7946; properties: `provider_uuid`, `first_name`, `state` (`idle`, `offered`, `booked`), `available`, `verified`, `booking_uuid`, `recorded_at`, `stale`", body = Object, content_type = "application/geo+json"))
)]
pub async fn fleet(State(engine): State<Arc<Engine>>) -> impl IntoResponse {
    let (now, stale_after) = (clock::now(), engine.settings().stale_after());
    let features: Vec<Value> = engine
        .fleet
        .snapshot()
        .iter()
        .filter_map(|(therapist, position)| position.map(|at| feature(therapist, at, now, stale_after)))
        .collect();
    let body = json!({"type": "FeatureCollection", "features": features}).to_string();
    ([(header::CONTENT_TYPE, "application/geo+json")], body)
}

fn feature(therapist: &Therapist, (at, seen): (LatLng, Timestamp), now: Timestamp, stale_after: Duration) -> Value {
    let (state, booking) = match therapist.ties.duty() {
        Duty::Booked { booking_uuid, .. } => ("booked", Some(booking_uuid)),
        Duty::Offered { until } if until > now => ("offered", None),
        Duty::Idle | Duty::Offered { .. } => ("idle", None),
    };
    json!({
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [at.longitude(), at.latitude()]},
        "properties": {
            "provider_uuid": therapist.uuid,
            "first_name": &*therapist.first_name,
            "state": state,
            "available": therapist.available,
            "verified": therapist.profile.verified,
            "booking_uuid": booking,
            "recorded_at": WireTime(seen),
            "stale": now.since(seen) > stale_after,
        },
    })
}
