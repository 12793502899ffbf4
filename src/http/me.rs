//! `/v1/me`: the caller himself, and what he changes of himself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::accounts::{OwnPassword, taken};
use super::auth::{Caller, Principal};
use super::door::Door;
use super::extract::{Body, read};
use super::passwords::{Password, Passwords};
use super::peer::Peer;
use super::person;
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::engine::Engine;
use crate::store::accounts;
use crate::store::users::{self, MyProvider};
use crate::wire::time::WireTime;

/// The caller.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Me {
    /// `users.uuid`
    pub uuid: Uuid,
    /// E.164
    #[schema(example = "+639171234567")]
    pub phone: String,
    /// If given.
    pub email: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// `gender` of the schema.
    pub gender: Option<String>,
    /// If given.
    #[schema(value_type = Option<String>, format = Date)]
    pub date_of_birth: Option<NaiveDate>,
    /// A URL.
    pub profile_photo_url: Option<String>,
    /// `en`, `fil` …
    pub preferred_language: String,
    /// The app's own affair.
    #[schema(value_type = Object)]
    pub notification_preferences: Value,
    /// Whether his identity was checked.
    pub is_verified: bool,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Of the token in use.
    pub abilities: Vec<String>,
    /// The therapist that he is, or the first store that he owns.
    pub provider: Option<MyProvider>,
    /// When he joined.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
}

/// Who the token stands for.
#[utoipa::path(get, path = "/v1/me", tag = "identity", responses((status = 200, body = Me)))]
pub async fn me(State(engine): State<Arc<Engine>>, Caller(caller): Caller) -> Result<Json<Me>, Problem> {
    Ok(Json(shown(&engine, &caller).await?))
}

/// The caller as he sees himself; 401 once he is deleted.
pub(super) async fn shown(engine: &Engine, caller: &Principal) -> Result<Me, Problem> {
    let profile = users::profile(&engine.pool, caller.user).await?.ok_or_else(Problem::unauthenticated)?;
    let provider = match caller.provider {
        Some(provider) => users::own_provider(&engine.pool, provider.id).await?,
        None => None,
    };
    Ok(Me {
        uuid: profile.uuid,
        phone: profile.phone,
        email: profile.email,
        first_name: profile.first_name,
        last_name: profile.last_name,
        gender: profile.gender,
        date_of_birth: profile.date_of_birth,
        profile_photo_url: profile.profile_photo_url,
        preferred_language: profile.preferred_language,
        notification_preferences: profile.notification_preferences,
        is_verified: profile.is_verified,
        roles: caller.roles.clone(),
        abilities: caller.abilities.clone(),
        provider,
        created_at: profile.created_at.into(),
    })
}

/// What the caller changes of himself: what is not given stays, null empties.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MyChange {
    /// Nobody else's; another one is not verified. Another one, or none, wants `current_password` of who has a password.
    pub email: Option<String>,
    /// With another `email`: he could be somebody who has found a token.
    pub current_password: Option<String>,
    /// At most 100 characters.
    #[schema(example = "Maria")]
    pub first_name: Option<String>,
    /// At most 100 characters.
    pub last_name: Option<String>,
    /// `gender` of the schema.
    pub gender: Option<String>,
    /// After 1900-01-01.
    #[schema(value_type = Option<String>, format = Date)]
    pub date_of_birth: Option<NaiveDate>,
    /// https:// or http://
    pub profile_photo_url: Option<String>,
    /// `en`, `fil`, `en-PH` …; never null.
    pub preferred_language: Option<String>,
    /// At most 4 KiB; never null.
    #[schema(value_type = Option<Object>)]
    pub notification_preferences: Option<Value>,
}

/// Changes what the caller says of himself. Of a therapist, questions at this node show it once it is answered.
///
/// `current_password` is counted as at `PUT /v1/me/password`: 5 times a minute for both.
#[utoipa::path(
    patch,
    path = "/v1/me",
    tag = "identity",
    request_body = MyChange,
    responses(
        (status = 200, body = Me),
        (status = 422, description = "`invalid`: also a `current_password` that is missing or not his", body = ProblemBody),
        (status = 429, description = "Too many passwords for this account or from this address, or requests with this token; `Retry-After`", body = ProblemBody)
    )
)]
pub async fn change(
    State(engine): State<Arc<Engine>>,
    State(passwords): State<Arc<Passwords>>,
    State(door): State<Arc<Door>>,
    Peer(address): Peer,
    Caller(caller): Caller,
    Body { mut fields, .. }: Body,
) -> Result<Json<Me>, Problem> {
    let change = person::own_change(&mut fields);
    let has_password = fields.has("current_password");
    let current = if has_password { Password::given(&mut fields, "current_password") } else { None };
    let change = fields.finish((current.is_some() == has_password).then_some(change))?;
    if let Some(email) = &change.email
        && let Some(stored) = accounts::hash_if_email_differs(&engine.pool, caller.user, email.as_deref()).await?
    {
        let current = current.ok_or_else(|| {
            let text = "The current_password field is required when email is another one.";
            Problem::field("invalid", "current_password", text)
        })?;
        let (door, passwords, user, now) = (&*door, &*passwords, caller.user, clock::monotonic());
        OwnPassword { door, passwords, user, address, now }.confirmed(current, Some(stored)).await?;
    }
    let changed = accounts::change_profile(&engine.pool, caller.user, &change).await?;
    changed.map_err(|known| taken(&[known]))?;
    engine.user_shown(caller.user).await?;
    Ok(Json(shown(&engine, &caller).await?))
}

/// Whether a therapist takes offers.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Availability {
    /// True: offers may come, while verified, idle and with a fresh position.
    pub available: bool,
}

/// Goes online or offline. Once it is answered, questions and bookings at this node go by it. Disconnecting does not change
/// it; a booking or an offer that is there stays.
#[utoipa::path(
    put,
    path = "/v1/me/availability",
    tag = "therapist",
    request_body = Availability,
    responses((status = 200, body = Availability), (status = 422, body = ProblemBody))
)]
pub async fn availability(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    Body { mut fields, .. }: Body,
) -> Result<Json<Availability>, Problem> {
    let available = fields.required("available", read::boolean);
    let available = fields.finish(available)?;
    let therapist = caller.therapist().ok_or_else(|| Problem::forbidden("This is for therapists."))?;
    if !engine.set_available(therapist, available).await? {
        return Err(Problem::not_found("Therapist"));
    }
    Ok(Json(Availability { available }))
}
