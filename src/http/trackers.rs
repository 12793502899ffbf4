//! `/v1/locations/owntracks` and `/v1/locations/osmand`: phones with a tracker that exists today, by the same way as
//! `POST /v1/locations`.
//!
//! These apps send again what is not answered with 2xx, in order, for ever. So 200 means that the app may forget the
//! message: its fix is committed, or will never be taken (the answer says why; see `docs/therapist-app.md`). Only what
//! may succeed later gets another status: 401 and 403 (the token), 429, 503.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::auth::Caller;
use super::desk::FrontDesk;
use super::extract::Raw;
use super::locations::{Stored, store};
use super::problem::{Problem, ProblemBody};
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::wire::trackers::{Read, osmand, owntracks as protocol};

/// Why the fix of a message was not taken, where the body has no room for it.
const REJECTED: HeaderName = HeaderName::from_static("x-spacall-rejected");

/// OwnTracks in HTTP mode: `_type: location` is stored and answered after the commit; every other `_type`, and a fix that
/// will never be taken, is answered 200 too, so that the app forgets it. The token is the password.
#[utoipa::path(
    post,
    path = "/v1/locations/owntracks",
    tag = "trackers",
    request_body(content = serde_json::Value, example = json!({"_type": "location", "tst": 1795338000, "lat": 14.5547,
        "lon": 121.0244, "acc": 8, "vel": 22, "cog": 90, "batt": 80})),
    responses((
        status = 200, body = Vec<serde_json::Value>, description = "Always `[]`: no messages for the app",
        headers(("x-spacall-rejected" = Option<String>, description = "Code of `rejected`: the fix will never be taken"))
    ), (status = 429, body = ProblemBody), (status = 503, body = ProblemBody))
)]
pub(super) async fn owntracks(
    State(desk): State<Arc<FrontDesk>>,
    Caller(caller): Caller,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let stored =
        take(&desk, &caller, "owntracks", |now, limits| protocol::read(&body, now, limits).into_iter().collect());
    let mut response = Json([Value::Null; 0]).into_response();
    if let Some(rejected) = stored.await?.rejected.first()
        && let Ok(code) = HeaderValue::from_str(&rejected.code)
    {
        response.headers_mut().insert(REJECTED, code);
    }
    Ok(response)
}

/// Traccar Client and OsmAnd, fields in the query. A fix that will never be taken is answered 200 and told in `rejected`,
/// so that the app forgets it. Whose fix it is the token says, not `id`.
#[utoipa::path(
    get,
    path = "/v1/locations/osmand",
    tag = "trackers",
    params(
        ("timestamp" = Option<String>, Query, description = "Unix seconds or milliseconds, RFC 3339, or `YYYY-MM-DD HH:MM:SS` in UTC"),
        ("lat" = Option<f64>, Query, description = "Degrees; or `location=LAT,LON`"),
        ("lon" = Option<f64>, Query),
        ("accuracy" = Option<f64>, Query, description = "Metres"),
        ("speed" = Option<f64>, Query, description = "Knots"),
        ("bearing" = Option<f64>, Query, description = "Degrees; `heading` is the same"),
        ("batt" = Option<f64>, Query, description = "Percent"),
        ("id" = Option<String>, Query, description = "Not looked at; nor is any other field"),
    ),
    responses((status = 200, body = Stored), (status = 429, body = ProblemBody), (status = 503, body = ProblemBody))
)]
pub(super) async fn osmand_get(
    State(desk): State<Arc<FrontDesk>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    osmand_any(&desk, caller, query, &[]).await
}

/// The same as a form, or as JSON of Traccar Client since 9.0.
#[utoipa::path(
    post,
    path = "/v1/locations/osmand",
    tag = "trackers",
    request_body(content = serde_json::Value, example = json!({"location": {"timestamp": "2026-11-22T09:00:00.000Z",
        "coords": {"latitude": 14.5547, "longitude": 121.0244, "accuracy": 5, "speed": 6.1, "heading": 90},
        "is_moving": true, "battery": {"level": 0.8}}, "device_id": "1"})),
    responses((status = 200, body = Stored), (status = 429, body = ProblemBody), (status = 503, body = ProblemBody))
)]
pub(super) async fn osmand_post(
    State(desk): State<Arc<FrontDesk>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    osmand_any(&desk, caller, query, &body).await
}

async fn osmand_any(desk: &FrontDesk, caller: Caller, query: Option<String>, body: &[u8]) -> Result<Response, Problem> {
    let read = |now: Timestamp, limits: &PingLimits| {
        // Content types are not to be trusted here: a form never begins with a brace.
        if body.trim_ascii_start().starts_with(b"{") {
            return osmand::json(body, now, limits);
        }
        let query = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
        let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = query.chain(form_urlencoded::parse(body)).collect();
        vec![osmand::fields(&pairs, now, limits)]
    };
    let stored = take(desk, &caller.0, "osmand", read).await?;
    // A GET that stores: no cache may answer the next one.
    Ok(([(CACHE_CONTROL, "no-store")], Json(stored)).into_response())
}

async fn take(
    desk: &FrontDesk,
    caller: &super::auth::Principal,
    app: &'static str,
    read: impl FnOnce(Timestamp, &PingLimits) -> Vec<Read>,
) -> Result<Stored, Problem> {
    let therapist = caller.therapist().ok_or_else(|| Problem::forbidden("This is for therapists."))?;
    let stored = store(desk, therapist, |intake| intake.foreign(desk, read)).await?;
    for rejected in &stored.rejected {
        metrics::counter!("spacall_tracker_fixes_refused_total", "app" => app, "code" => rejected.code.clone())
            .increment(1);
        tracing::debug!(
            app,
            provider_id = therapist.0,
            code = rejected.code,
            "a tracker's fix was refused: {}",
            rejected.message
        );
    }
    Ok(stored)
}
