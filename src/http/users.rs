//! Users, to admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::NaiveDate;
use serde::Serialize;
use uuid::Uuid;

use super::accounts::taken;
use super::auth::{Authenticator, Caller};
use super::extract::{Body, Fields, PathUuid, read};
use super::page::{Page, PageQuery};
use super::person;
use super::problem::{Problem, ProblemBody};
use crate::core::ids::UserId;
use crate::engine::Engine;
use crate::store::directory::{self, Filter, Refused, User};

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound(what) => Self::not_found(what),
            Refused::NotAllowed(why) => Self::forbidden(why),
            Refused::OwnAccount(why) => Self::conflict("own_account", why),
            Refused::ActiveBookings => {
                Self::conflict("active_bookings", "The user is a party of a booking that has not ended.")
            }
            Refused::WalletNotEmpty => Self::conflict("wallet_not_empty", "There is money in the user's wallet."),
            Refused::PendingTransactions => {
                Self::conflict("pending_transactions", "A transaction of the user's is waited for.")
            }
            Refused::Taken(field) => taken(&[field]),
            Refused::NoSuchNames(field, names) => {
                let text = format!("The {field} field must name existing {field}; {} are not.", names.join(", "));
                Self::field("invalid", field, text)
            }
            Refused::Store(error) => error.into(),
        }
    }
}

/// Every live user, newest first.
#[utoipa::path(
    get,
    path = "/v1/users",
    tag = "admin",
    params(
        ("role" = Option<String>, Query, description = "Only who has this role"),
        ("search" = Option<String>, Query, description = "Part of a name, an email or a phone; at most 100 characters"),
        PageQuery,
    ),
    responses((status = 200, body = Page<User>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    query: PageQuery,
    mut fields: Fields,
) -> Result<Json<Page<User>>, Problem> {
    let filter =
        Filter { role: fields.optional("role", read::text(255)), search: fields.optional("search", read::text(100)) };
    let filter = fields.finish(Some(filter))?;
    let page = directory::list(&engine.pool, filter, query.ask()).await?;
    Ok(Json(query.of(page, |user| user.id)))
}

/// The live user with this public id.
pub(super) async fn id_of(engine: &Engine, uuid: Uuid) -> Result<UserId, Problem> {
    let user = directory::find(&engine.pool, uuid).await?;
    user.map(|user| UserId(user.id)).ok_or_else(|| Problem::not_found("User"))
}

/// A live user.
#[utoipa::path(
    get,
    path = "/v1/users/{uuid}",
    tag = "admin",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = User), (status = 404, body = ProblemBody))
)]
pub async fn show(State(engine): State<Arc<Engine>>, PathUuid(uuid): PathUuid) -> Result<Json<User>, Problem> {
    let user = directory::find(&engine.pool, uuid).await?;
    user.map(Json).ok_or_else(|| Problem::not_found("User"))
}

/// What an admin changes of a user: what is not given stays, null empties.
#[derive(Serialize, utoipa::ToSchema)]
pub struct UserChange {
    /// False: he may not come in, within 2 s; his tokens and devices are forgotten.
    pub is_active: Option<bool>,
    /// Whether his identity was checked.
    pub is_verified: Option<bool>,
    /// Nobody else's; another one is not verified. Never null.
    pub phone: Option<String>,
    /// Nobody else's; another one is not verified.
    pub email: Option<String>,
    /// At most 100 characters.
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
}

/// Changes a user. Of a therapist, questions at this node go by it once it is answered.
///
/// An admin's account is changed by himself and by super admins. It is written into `audit_logs`.
#[utoipa::path(
    patch,
    path = "/v1/users/{uuid}",
    tag = "admin",
    params(("uuid" = Uuid, Path)),
    request_body = UserChange,
    responses(
        (status = 200, body = User),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`own_account`: nobody switches himself off", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn change(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    Body { mut fields, .. }: Body,
) -> Result<Json<User>, Problem> {
    let mut change = person::change(&mut fields);
    change.phone = fields.changed("phone", person::phone);
    change.is_active = fields.changed("is_active", read::boolean);
    change.is_verified = fields.changed("is_verified", read::boolean);
    let change = fields.finish(Some(change))?;
    let (user, gone) = directory::change(&engine.pool, caller.user, uuid, &change).await?;
    authenticator.revoked(&gone);
    engine.user_shown(UserId(user.id)).await?;
    Ok(Json(user))
}

/// Deletes a user softly: he may not come in any more within 2 s, and is not matched. His phone and email are free, his tokens and
/// devices forgotten.
#[utoipa::path(
    delete,
    path = "/v1/users/{uuid}",
    tag = "admin",
    params(("uuid" = Uuid, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`own_account`; `active_bookings`: he is a party of one that has not ended; `wallet_not_empty`; `pending_transactions`: one of his is waited for", body = ProblemBody)
    )
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<StatusCode, Problem> {
    let (user, gone) = directory::delete(&engine.pool, caller.user, uuid).await?;
    authenticator.revoked(&gone);
    engine.user_shown(user).await?;
    Ok(StatusCode::NO_CONTENT)
}
