//! `app_settings`, for admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::Value;

use super::auth::Caller;
use super::extract::{self, Body, read};
use super::page::{Page, WholeList};
use super::problem::{Problem, ProblemBody};
use crate::core::settings::Settings;
use crate::engine::Engine;
use crate::store::settings::{self, SettingRow};

/// A new value.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NewSetting {
    /// In the key's shape.
    #[schema(example = json!({"pending": 300, "accepted": 1800}))]
    pub value: Value,
}

/// `{key}` of the path.
pub struct Key(String);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        extract::path(parts, state, "key", read::text(100)).await.map(Self)
    }
}

/// Every setting as it is stored, by key.
#[utoipa::path(
    get,
    path = "/v1/settings",
    tag = "ops",
    params(WholeList),
    responses((status = 200, body = Page<SettingRow>), (status = 422, body = ProblemBody))
)]
pub async fn list(State(engine): State<Arc<Engine>>, list: WholeList) -> Result<Json<Page<SettingRow>>, Problem> {
    let rows = settings::list(&engine.pool).await?;
    Ok(Json(list.page(rows)))
}

/// A setting as it is stored.
#[utoipa::path(
    get,
    path = "/v1/settings/{key}",
    tag = "ops",
    params(("key" = String, Path, description = "Of an existing setting")),
    responses((status = 200, body = SettingRow), (status = 404, description = "No such setting", body = ProblemBody))
)]
pub async fn show(State(engine): State<Arc<Engine>>, Key(key): Key) -> Result<Json<SettingRow>, Problem> {
    settings::find(&engine.pool, &key).await?.map(Json).ok_or_else(|| Problem::not_found("Setting"))
}

/// Changes a setting. It is felt within 2 s, by bookings made from then on.
///
/// Only keys that this service reads can be changed here: each has a shape, and the value is checked against it.
#[utoipa::path(
    put,
    path = "/v1/settings/{key}",
    tag = "ops",
    params(("key" = String, Path, description = "Of an existing setting")),
    request_body = NewSetting,
    responses(
        (status = 200, body = SettingRow),
        (status = 404, description = "No such setting", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn put(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    Key(key): Key,
    Body { mut fields, .. }: Body,
) -> Result<Json<SettingRow>, Problem> {
    let value = check(&key, &mut fields)?;
    let row = settings::put(&engine.pool, &key, &value, caller.user).await?;
    row.map(Json).ok_or_else(|| Problem::not_found("Setting"))
}

fn check(key: &str, fields: &mut extract::Fields) -> Result<Value, Problem> {
    if !Settings::KEYS.contains(&key) {
        return Err(Problem::not_found("Setting").detail(format!("One of {}.", Settings::KEYS.join(", "))));
    }
    let Some(value) = fields.raw("value") else {
        return Err(Problem::field("invalid", "value", "The value field is required."));
    };
    match Settings::default().set(key, &value) {
        Ok(_) => Ok(value),
        Err(error) => Err(Problem::field("invalid", "value", format!("{error}."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(key: &str, body: Value) -> Result<Value, Problem> {
        let Value::Object(map) = body else { panic!("an object") };
        check(key, &mut extract::Fields::of_body(map))
    }

    #[test]
    fn a_value_is_checked_against_its_keys_shape_and_the_error_names_it() {
        let problem =
            checked("booking_timeout", json!({"value": {"pending": 0, "accepted": 1}})).expect_err("too short");
        assert_eq!(problem.to_json()["errors"]["value"][0], "setting booking_timeout: pending 0 is outside 1..86400.");
        assert!(checked("service_radius_max", json!({"value": 20})).is_ok());
        assert!(checked("service_radius_max", json!({})).is_err());
        assert!(checked("service_radius_max", json!({"value": null})).is_err());
    }

    #[test]
    fn a_key_without_a_shape_is_no_setting_of_ours() {
        assert_eq!(checked("theme", json!({"value": "dark"})).expect_err("unknown").status().as_u16(), 404);
    }
}
