//! `/v1/providers/{uuid}/therapist-profile`: for the therapist and admins. It says where he lives.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::auth::{Caller, Principal};
use super::super::columns::Reading;
use super::super::extract::{Body, Given, PathUuid, read};
use super::super::problem::{Problem, ProblemBody};
use super::super::readers;
use super::own;
use crate::core::ids::{ProviderId, UserId};
use crate::core::schedule::Schedule;
use crate::engine::Engine;
use crate::store::providers::therapist_profiles::{self, TherapistProfileRow};
use crate::store::rows::Columns;

const GENDERS: &[&str] = &["male", "female", "other", "prefer_not_to_say"];

/// What to change of a profile, each field for itself; `null` clears what may be empty.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct TherapistProfileChange {
    /// At most 100 characters.
    pub license_number: Option<String>,
    /// `PRC`, `TESDA` …; at most 100 characters.
    pub license_type: Option<String>,
    /// `2027-12-31`
    pub license_expiry_date: Option<String>,
    /// 0 to 80.
    pub years_of_experience: Option<i32>,
    /// At most 50 texts of 100 characters.
    pub specializations: Option<Vec<String>>,
    /// At most 50 of `{name, issuer, date}`; only `name` is required.
    pub certifications: Option<Vec<Value>>,
    /// At most 20 texts of 20 characters.
    #[schema(example = json!(["en", "fil"]))]
    pub languages_spoken: Option<Vec<String>>,
    /// At most 5,000 characters.
    pub bio: Option<String>,
    /// A picture.
    pub professional_photo_url: Option<String>,
    /// 1 to the setting `service_radius_max`.
    pub service_radius_km: Option<i32>,
    /// Degrees, with the longitude; both `null`: nowhere, so no scheduled bookings.
    pub base_location_latitude: Option<f64>,
    /// Degrees.
    pub base_location_longitude: Option<f64>,
    /// Asia/Manila; an `end` before its `start` is on the next day; empty or `null`: always.
    #[schema(value_type = Option<Object>, example = json!({"monday": [{"start": "09:00", "end": "18:00"}]}))]
    pub default_schedule: Option<Value>,
    /// Customers whom he serves, one or more of `male`, `female`, `other`, `prefer_not_to_say`; `null`: all.
    pub accepts_genders: Option<Vec<String>>,
    /// 0 to 240, between two bookings.
    pub buffer_minutes: Option<i32>,
    /// Brings a table, oils …
    pub has_own_equipment: Option<bool>,
    /// At most 50 texts of 100 characters.
    pub equipment_list: Option<Vec<String>>,
}

fn read_columns(mut reading: Reading, radius_most_km: u32) -> Result<Columns, Problem> {
    reading.nullable("license_number", read::text(100));
    reading.nullable("license_type", read::text(100));
    reading.nullable("license_expiry_date", readers::date);
    reading.nullable("years_of_experience", read::integer(0, 80));
    reading.nullable("specializations", readers::texts(50, 100));
    reading.nullable("certifications", certifications);
    reading.defaulted("languages_spoken", readers::texts(20, 20));
    reading.nullable("bio", read::text(5_000));
    reading.nullable("professional_photo_url", readers::url);
    reading.defaulted("service_radius_km", read::integer(1, radius_most_km.into()));
    reading.place_or_none("base_location_latitude", "base_location_longitude");
    reading.nullable("default_schedule", schedule);
    reading.nullable("accepts_genders", genders);
    reading.defaulted("buffer_minutes", read::integer(0, 240));
    reading.defaulted("has_own_equipment", read::boolean);
    reading.nullable("equipment_list", readers::texts(50, 100));
    reading.finish()
}

/// Nobody is no answer: he would be found by none, and not know why.
fn genders(given: Given<'_>) -> Result<Vec<&'static str>, String> {
    let some = readers::words(GENDERS)(given).ok().filter(|words| !words.is_empty());
    some.ok_or_else(|| format!("must be a list of one or more of {}, or null: all", GENDERS.join(", ")))
}

/// As matching will read it.
fn schedule(given: Given<'_>) -> Result<Value, String> {
    readers::checked_json(given, |value| Schedule::canonical(value).map_err(|error| error.to_string()))
        .map_err(|why| format!("must be weekly hours ({why})"))
}

fn certifications(given: Given<'_>) -> Result<Vec<Value>, String> {
    const MOST: usize = 50;
    readers::list(given, MOST, certification).ok_or_else(|| {
        format!("must be a list of at most {MOST} like {{\"name\": \"Hilot NC II\", \"issuer\": \"TESDA\", \"date\": \"2024-05-01\"}}")
    })
}

fn certification(given: Given<'_>) -> Option<Value> {
    let Given::Json(Value::Object(fields)) = given else { return None };
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Some(Value::Null),
        Some(value) => read::text(255)(Given::Json(value)).ok().map(Value::from),
    };
    let date = match fields.get("date") {
        None | Some(Value::Null) => Value::Null,
        Some(value) => json!(readers::date(Given::Json(value)).ok()?),
    };
    let all = [("name", text("name").filter(Value::is_string)?), ("issuer", text("issuer")?), ("date", date)];
    Some(Value::Object(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()))
}

async fn of(engine: &Engine, caller: &Principal, uuid: Uuid) -> Result<(ProviderId, Option<UserId>), Problem> {
    let (found, admin) = own(engine, caller, uuid).await?;
    if found.is_therapist() { Ok((found.provider(), admin)) } else { Err(not_found()) }
}

fn not_found() -> Problem {
    Problem::not_found("Therapist profile")
}

/// A therapist's profile, to himself and to admins.
#[utoipa::path(
    get,
    path = "/v1/providers/{uuid}/therapist-profile",
    tag = "providers",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = TherapistProfileRow), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<Json<TherapistProfileRow>, Problem> {
    let (provider, _) = of(&engine, &caller, uuid).await?;
    therapist_profiles::find(&engine.pool, provider).await?.map(Json).ok_or_else(not_found)
}

/// Changes what is given of a therapist's profile. Once it is answered, matching at this node goes by it; offers and bookings that
/// are there stay.
#[utoipa::path(
    patch,
    path = "/v1/providers/{uuid}/therapist-profile",
    tag = "providers",
    params(("uuid" = Uuid, Path)),
    request_body = TherapistProfileChange,
    responses((status = 200, body = TherapistProfileRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    Body { fields, .. }: Body,
) -> Result<Json<TherapistProfileRow>, Problem> {
    let (provider, admin) = of(&engine, &caller, uuid).await?;
    let columns = read_columns(Reading::of_change(fields), engine.settings().service_radius_max_km)?;
    let row = therapist_profiles::put(&engine.pool, provider, columns, admin).await?;
    engine.shown([provider]).await;
    Ok(Json(row))
}
