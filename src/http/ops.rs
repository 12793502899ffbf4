//! For admins: is the index right, where is the fleet, why was this therapist (not) asked.

pub mod live;
pub mod page;
pub mod person;
mod state;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::extract::PathUuid;
use super::nearby::as_number;
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::core::dispatch::Standing;
use crate::core::fleet::{Duty, Fleet, Therapist};
use crate::core::geo::{LatLng, km_2};
use crate::core::ids::ProviderId;
use crate::core::matching::Verdict;
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::engine::audit::{self, Drift};
use crate::store::bookings;
use crate::store::decisions::{self, Logged};
use crate::store::offers::{self, PastOffer};
use crate::wire::time::WireTime;

/// Decisions shown of one booking.
const MOST_DECISIONS: u32 = 1_000;

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

/// Why each therapist was, or was not, offered a booking.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Explanation {
    /// Which.
    pub booking_uuid: Uuid,
    /// `booking_status` of the schema.
    pub status: String,
    /// The moment at which `therapists` is true; the offers and decisions are of then.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: WireTime,
    /// Therapists within this many km were judged.
    pub radius_km: f64,
    /// What became of every offer, in the order they were made.
    pub offers: Vec<PastOffer>,
    /// What dispatch decided, in that order.
    pub decisions: Vec<Logged>,
    /// Everyone within the radius, nearest first, as the index has them now.
    pub therapists: Vec<Judged>,
}

/// A therapist, judged for a booking as of now.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Judged {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// Given name.
    pub first_name: String,
    /// Straight line, km to two decimals, exact.
    pub distance_km: f64,
    /// Whether he could take it.
    pub eligible: bool,
    /// Why not: the first reason of `not_verified`, `not_active`, `not_available`, `on_booking`, `stale_fix` …
    pub reason: Option<String>,
}

/// Why each therapist was, or was not, offered a booking: what was decided then, and how each stands now.
#[utoipa::path(
    get,
    path = "/v1/ops/bookings/{uuid}/explain",
    tag = "ops",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = Explanation), (status = 404, body = ProblemBody))
)]
pub async fn explain(
    State(engine): State<Arc<Engine>>,
    PathUuid(uuid): PathUuid,
) -> Result<Json<Explanation>, Problem> {
    let missing = || Problem::not_found("Booking");
    let view = bookings::view(&engine.pool, uuid).await?.ok_or_else(missing)?;
    // The question that dispatch itself asks, at its widest.
    let mut request = engine.dispatcher.question(view.id).await?.ok_or_else(missing)?;
    let settings = engine.settings();
    let (exclude, only) = match bookings::standing(&engine.pool, view.id, &(&*settings).into()).await? {
        Standing::Pending { job, .. } => (job.excluded, job.chosen),
        _ => (BTreeSet::new(), None),
    };
    let now = clock::now();
    let radius_km = f64::from(settings.service_radius_max_km);
    (request.exclude, request.only) = (exclude, only);
    // A store's booking asks no therapist.
    let verdicts = if view.is_in_store() { Vec::new() } else { engine.fleet.verdicts(&request, now) };
    let therapists = verdicts.iter().map(judged).collect();
    Ok(Json(Explanation {
        booking_uuid: uuid,
        status: view.booking.status,
        as_of: WireTime(now),
        radius_km,
        offers: offers::of_booking(&engine.pool, view.id).await?,
        decisions: decisions::of_booking(&engine.pool, view.id, MOST_DECISIONS)
            .await?
            .into_iter()
            .map(|mut decision| {
                name_publicly(&engine.fleet, &mut decision.detail);
                decision
            })
            .collect(),
        therapists,
    }))
}

/// The log holds `providers.id`; people are told `providers.uuid`, as everywhere. Who is gone by now is null.
fn name_publicly(fleet: &Fleet, detail: &mut Value) {
    let public = |id: &Value| {
        let therapist = fleet.therapist(ProviderId(id.as_i64()?))?;
        Some(Value::from(therapist.uuid.to_string()))
    };
    match detail {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), &mut *value) {
                    ("provider" | "chosen", id) => *value = public(id).unwrap_or(Value::Null),
                    ("excluded", Value::Array(ids)) => {
                        ids.iter_mut().for_each(|id| *id = public(id).unwrap_or(Value::Null))
                    }
                    _ => name_publicly(fleet, value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| name_publicly(fleet, item)),
        _ => {}
    }
}

fn judged(verdict: &Verdict) -> Judged {
    Judged {
        provider_uuid: verdict.therapist.uuid,
        first_name: verdict.therapist.first_name.to_string(),
        distance_km: as_number(km_2(verdict.distance)),
        eligible: verdict.unfit.is_none(),
        reason: verdict.unfit.map(|unfit| unfit.as_str().to_owned()),
    }
}
