//! `GET /v1/providers/{uuid}/locations`: where a therapist was, exactly; to himself and to admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::super::auth::Caller;
use super::super::extract::{Fields, PathUuid, read};
use super::super::page::{Page, PageQuery};
use super::super::problem::{Problem, ProblemBody};
use super::own;
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::store::providers::locations::{self, LocationRow};
use crate::wire::time::from_chrono;

fn read_period(mut fields: Fields) -> Result<(Timestamp, Timestamp), Problem> {
    let from = fields.required("from", read::time);
    let to = fields.required("to", read::time);
    if let Some((from, to)) = from.zip(to)
        && to <= from
    {
        fields.error("to", format!("The to field must be after from; {to} is not after {from}."));
    }
    fields.finish(from.zip(to).map(|(from, to)| (from.0, to.0)))
}

/// A therapist's fixes of a period, the newest first, as they are stored: exact. To himself and to admins.
#[utoipa::path(
    get,
    path = "/v1/providers/{uuid}/locations",
    tag = "providers",
    params(
        ("uuid" = Uuid, Path),
        ("from" = String, Query, description = "RFC 3339 with an offset"),
        ("to" = String, Query, description = "RFC 3339 with an offset; not included"),
        PageQuery,
    ),
    responses((status = 200, body = Page<LocationRow>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    fields: Fields,
    query: PageQuery,
) -> Result<Json<Page<LocationRow>>, Problem> {
    let (found, _) = own(&engine, &caller, uuid).await?;
    let (from, to) = read_period(fields)?;
    let rows = locations::list(&engine.pool, found.provider(), from, to, query.ask()).await?;
    Ok(Json(query.of(rows, |row| from_chrono(row.created_at).micros())))
}
