//! `GET /v1/ops/heat`: where therapists are, and where they are wanted.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::extract::{Fields, read};
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::core::heat::{Cell, Heat, Resolution, heat};
use crate::engine::Engine;
use crate::engine::audit::matchable;
use crate::store::bookings;
use crate::wire::time::WireTime;

/// Cells of about 0.7 km²: a neighbourhood.
const DEFAULT_RESOLUTION: i64 = 8;

/// Supply and demand by H3 cell, as a GeoJSON FeatureCollection of polygons.
///
/// Supply: therapists who could be offered a booking now, by the index. Demand: bookings for a home that are pending,
/// and those made within the last hour, by the database. A cell without any is left out.
#[utoipa::path(
    get,
    path = "/v1/ops/heat",
    tag = "ops",
    params(("resolution" = Option<u8>, Query, description = "H3 resolution of the cells, 7 (about 5.2 km²) to 9 (0.1 km²); 8 (0.7 km²) if not given")),
    responses(
        (status = 200, description = "RFC 7946, with `resolution` and `as_of`; properties: `h3`, `supply`, `pending`, `last_hour`", body = Object, content_type = "application/geo+json"),
        (status = 422, body = ProblemBody),
    )
)]
pub async fn cells(State(engine): State<Arc<Engine>>, mut fields: Fields) -> Result<impl IntoResponse, Problem> {
    let (coarsest, finest) = (i64::from(Resolution::COARSEST), i64::from(Resolution::FINEST));
    let resolution = fields.optional("resolution", read::integer(coarsest, finest)).unwrap_or(DEFAULT_RESOLUTION);
    let resolution = fields.finish(u8::try_from(resolution).ok().and_then(Resolution::new))?;
    let demand = bookings::demand(&engine.pool).await?;
    let (now, stale_after) = (clock::now(), engine.settings().stale_after());
    let fleet = engine.fleet.snapshot();
    let supply = fleet
        .iter()
        .filter(|(therapist, at)| matchable(therapist, *at, now, stale_after))
        .filter_map(|(_, at)| at.map(|(place, _)| place));
    let features: Vec<Value> = heat(resolution, supply, demand).into_iter().map(feature).collect();
    let body = json!({"type": "FeatureCollection", "resolution": resolution.get(), "as_of": WireTime(now), "features": features});
    Ok(([(header::CONTENT_TYPE, "application/geo+json")], body.to_string()))
}

fn feature((cell, heat): (Cell, Heat)) -> Value {
    json!({
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [cell.ring()]},
        "properties": {"h3": cell.name(), "supply": heat.supply, "pending": heat.pending, "last_hour": heat.last_hour},
    })
}
