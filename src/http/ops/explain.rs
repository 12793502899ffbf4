//! Why each therapist was, or was not, offered a booking: what was decided then, and how each stands now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::clock;
use crate::core::dispatch::Standing;
use crate::core::fleet::Fleet;
use crate::core::geo::km_2;
use crate::core::ids::ProviderId;
use crate::core::matching::Verdict;
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::http::extract::PathUuid;
use crate::http::nearby::as_number;
use crate::http::problem::{Problem, ProblemBody};
use crate::store::bookings;
use crate::store::decisions::{self, Logged};
use crate::store::offers::{self, PastOffer};
use crate::wire::time::WireTime;

/// Decisions shown of one booking.
const MOST_DECISIONS: u32 = 1_000;
/// He could take it, and was not asked: the search ended before it came to him, or asks others first.
const NOT_REACHED: &str = "not_reached";

/// Why each therapist was, or was not, offered a booking.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Explanation {
    /// Which.
    pub booking_uuid: Uuid,
    /// `booking_status` of the schema.
    pub status: String,
    /// The moment at which `eligible` and `reason` are true; all else is of then.
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

/// A therapist, judged for a booking.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Judged {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// Given name.
    pub first_name: String,
    /// Straight line, km to two decimals, exact.
    pub distance_km: f64,
    /// Whether he could take it as of now.
    pub eligible: bool,
    /// Why not: the first reason of `not_verified`, `not_active`, `not_available`, `on_booking`, `stale_fix` …
    pub reason: Option<String>,
    /// Whether he was, or is, offered it.
    pub offered: bool,
    /// Why he was not: what dispatch last decided of him (`provider_unfit`, `provider_taken`, `booking_gone`, `has_offer`,
    /// `disconnected`), else `not_reached` if he could take it now: the search ended before it came to him, or asks others
    /// first. Null if he was offered it, or dispatch says nothing of him and `reason` says why he could not now.
    pub not_offered: Option<String>,
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
    let offers = offers::of_booking(&engine.pool, view.id).await?;
    let mut decisions = decisions::of_booking(&engine.pool, view.id, MOST_DECISIONS).await?;
    let settings = engine.settings();
    (request.exclude, request.only) = match bookings::standing(&engine.pool, view.id, &(&*settings).into()).await? {
        Standing::Pending { job, .. } => (job.excluded, job.chosen),
        _ => (BTreeSet::new(), chosen(&decisions)),
    };
    let now = clock::now();
    // A store's booking asks no therapist.
    let verdicts = if view.is_in_store() { Vec::new() } else { engine.fleet.verdicts(&request, now) };
    let offered: BTreeSet<Uuid> = offers.iter().map(|offer| offer.provider_uuid).collect();
    let passed_over = passed_over(&decisions);
    let judged = |verdict: &Verdict| judged(verdict, &offered, &passed_over);
    let therapists = verdicts.iter().map(judged).collect();
    decisions.iter_mut().for_each(|decision| for_people(&engine.fleet, &mut decision.detail));
    Ok(Json(Explanation {
        booking_uuid: uuid,
        status: view.booking.status,
        as_of: WireTime(now),
        radius_km: f64::from(settings.service_radius_max_km),
        offers,
        decisions,
        therapists,
    }))
}

/// Whom the booking named when it was last searched for.
fn chosen(decisions: &[Logged]) -> Option<ProviderId> {
    let search = decisions.iter().rev().find(|decision| decision.kind == "searching")?;
    search.detail["chosen"].as_i64().map(ProviderId)
}

/// Whom dispatch met and did not ask, and why, the last time it did.
fn passed_over(decisions: &[Logged]) -> BTreeMap<ProviderId, &str> {
    decisions.iter().filter_map(|Logged { kind, detail, .. }| not_asked(kind, detail)).collect()
}

fn not_asked<'a>(kind: &str, detail: &'a Value) -> Option<(ProviderId, &'a str)> {
    let why = match kind {
        "not_offered" => detail["why"].as_str()?,
        "skipped" => "has_offer",
        "disconnected" => "disconnected",
        _ => return None,
    };
    Some((ProviderId(detail["provider"].as_i64()?), why))
}

fn judged(verdict: &Verdict, offered: &BTreeSet<Uuid>, passed_over: &BTreeMap<ProviderId, &str>) -> Judged {
    let (therapist, eligible) = (&verdict.therapist, verdict.unfit.is_none());
    let offered = offered.contains(&therapist.uuid);
    let decided = passed_over.get(&therapist.provider).copied();
    let why = decided.or(eligible.then_some(NOT_REACHED)).filter(|_| !offered);
    Judged {
        provider_uuid: therapist.uuid,
        first_name: therapist.first_name.to_string(),
        distance_km: as_number(km_2(verdict.distance)),
        eligible,
        reason: verdict.unfit.map(|unfit| unfit.as_str().to_owned()),
        offered,
        not_offered: why.map(str::to_owned),
    }
}

/// The log holds `providers.id` and microseconds, which replay reads; people are told `providers.uuid` (who is gone by now is
/// null) and RFC 3339, as everywhere.
fn for_people(fleet: &Fleet, detail: &mut Value) {
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
                    ("deadline" | "expires_at", Value::Number(micros)) => {
                        if let Some(micros) = micros.as_i64() {
                            *value = WireTime(Timestamp::from_micros(micros)).to_string().into();
                        }
                    }
                    _ => for_people(fleet, value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| for_people(fleet, item)),
        _ => {}
    }
}
