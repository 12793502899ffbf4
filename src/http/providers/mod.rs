//! `/v1/providers`: therapists and stores. Whoever owns one and admins see and change all that is theirs to change; others see what
//! is public of a verified one. Exact places reach nobody else.

pub mod documents;
pub mod locations;
pub mod services;
pub mod store_profile;
pub mod therapist_profile;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::auth::{Authenticator, Caller, Principal};
use super::columns::Reading;
use super::extract::{Body, Fields, PathUuid, read};
use super::idempotency::{self, IdempotencyKey, MakingPrivate};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::core::ids::UserId;
use crate::engine::Engine;
use crate::store::providers::{self, Filter, Found, ProviderRow, PublicProvider};
use crate::store::rows::{Columns, Refused, RowError};

const COLLECTION: &str = "/v1/providers";
const TYPES: &[&str] = &["therapist", "store"];
const STATUSES: &[&str] = &["pending", "under_review", "verified", "rejected"];

/// A provider to register.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewProvider {
    /// `therapist` (for role `therapist`) or `store` (for role `store_owner`).
    #[schema(example = "therapist")]
    pub r#type: String,
    /// At most 255 characters.
    pub business_name: Option<String>,
    /// At most 100 characters.
    pub business_registration_number: Option<String>,
    /// At most 50 characters.
    pub tax_id: Option<String>,
    /// Goes to customers; if not given, a therapist does.
    pub accepts_home_service: Option<bool>,
    /// Receives customers; if not given, a store does.
    pub accepts_store_service: Option<bool>,
}

/// What to change of a provider, each field for itself.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProviderChange {
    /// At most 255 characters.
    pub business_name: Option<String>,
    /// At most 100 characters.
    pub business_registration_number: Option<String>,
    /// At most 50 characters.
    pub tax_id: Option<String>,
    /// Goes to customers.
    pub accepts_home_service: Option<bool>,
    /// Receives customers.
    pub accepts_store_service: Option<bool>,
    /// An admin's: `pending`, `under_review`, `verified`, `rejected`.
    pub verification_status: Option<String>,
    /// An admin's, required with `rejected`; at most 1,000 characters.
    pub rejection_reason: Option<String>,
    /// An admin's: whether it may work at all.
    pub is_active: Option<bool>,
    /// An admin's: percent, at most two decimals.
    #[schema(example = 15.0)]
    pub commission_rate: Option<f64>,
}

/// A provider as the caller may see it: all of it to its owner and admins, else what is public.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Shown {
    /// To its owner and admins.
    All(Box<ProviderRow>),
    /// To everybody else.
    Public(Box<PublicProvider>),
}

/// A provider of the caller's own; an admin sees all. With the caller, if it is not his own.
async fn own(engine: &Engine, caller: &Principal, uuid: Uuid) -> Result<(Found, Option<UserId>), Problem> {
    let found = seen(engine, caller, uuid).await?;
    if caller.user.0 == found.user_id {
        return Ok((found, None));
    }
    if caller.is_admin() { Ok((found, Some(caller.user))) } else { Err(not_found()) }
}

/// A provider that the caller may see at least the public part of.
async fn seen(engine: &Engine, caller: &Principal, uuid: Uuid) -> Result<Found, Problem> {
    let found = providers::find(&engine.pool, uuid).await?;
    found.filter(|found| found.public || sees_all(caller, found)).ok_or_else(not_found)
}

fn sees_all(caller: &Principal, found: &Found) -> bool {
    caller.user.0 == found.user_id || caller.is_admin()
}

fn not_found() -> Problem {
    Problem::not_found("Provider")
}

/// Fields that are the owner's to change.
fn read_business(reading: &mut Reading) {
    reading.nullable("business_name", read::text(255));
    reading.nullable("business_registration_number", read::text(100));
    reading.nullable("tax_id", read::text(50));
    reading.defaulted("accepts_home_service", read::boolean);
    reading.defaulted("accepts_store_service", read::boolean);
}

/// Registers the caller as a provider, pending: it is matched once an admin has verified it.
///
/// A therapist is registered once; an owner may have several stores. Then its profile and services, its papers. Its numbers are kept
/// with the provider alone: the same `Idempotency-Key` again is answered with the provider as it is then, or with 404 once it is deleted.
#[utoipa::path(
    post,
    path = "/v1/providers",
    tag = "providers",
    params(IdempotencyKey),
    request_body = NewProvider,
    responses(
        (status = 201, body = ProviderRow, headers(("location" = String, description = "Of the provider"))),
        (status = 404, description = "Made with this `Idempotency-Key`, and deleted since", body = ProblemBody),
        (status = 409, description = "`already_registered`: as a therapist; `idempotency_in_flight`", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    State(authenticator): State<Authenticator>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body { fields, bytes }: Body,
) -> Result<Response, Problem> {
    let columns = read_new(fields, &caller)?;
    let mut once = match idempotency::begin_of_private(&engine, &caller, key.of(&bytes)).await? {
        MakingPrivate::Now(once) => once,
        MakingPrivate::Before(kept) => {
            let uuid = kept["uuid"].as_str().and_then(|text| text.parse().ok()).ok_or_else(not_found)?;
            let found = providers::find(&engine.pool, uuid).await?.ok_or_else(not_found)?;
            return idempotency::again(&found.row, Some(COLLECTION));
        }
    };
    let made = providers::create(&mut once.tx, caller.user, columns).await;
    let (provider, row) = made.map_err(|error| match error {
        RowError::Refused(Refused::Taken(_)) => {
            Problem::conflict("already_registered", "You are registered as a therapist already.")
        }
        other => other.into(),
    })?;
    let found_by = json!({"uuid": row.uuid});
    let answer = idempotency::made_private(once, &found_by, &row, Some(COLLECTION), "/v1/me").await;
    authenticator.changed(caller.user); // who is told to look for himself, too
    let answer = answer?;
    engine.shown([provider]).await;
    Ok(answer)
}

fn read_new(fields: Fields, caller: &Principal) -> Result<Columns, Problem> {
    let mut reading = Reading::of_new(fields);
    reading.required("type", read::word(TYPES));
    read_business(&mut reading);
    let mut columns = reading.finish()?;
    let therapist = columns.get("type").is_some_and(|word| word == "therapist");
    let role = if therapist { "therapist" } else { "store_owner" };
    if !caller.has_role(role) {
        return Err(Problem::forbidden(format!("This is for the role {role}.")));
    }
    for (column, usual) in [("accepts_home_service", therapist), ("accepts_store_service", !therapist)] {
        if columns.get(column).is_none() {
            columns.set(column, usual);
        }
    }
    Ok(columns)
}

/// All providers, the newest first.
#[utoipa::path(
    get,
    path = "/v1/providers",
    tag = "providers",
    params(
        ("type" = Option<String>, Query, description = "`therapist` or `store`"),
        ("verification_status" = Option<String>, Query, description = "`pending`, `under_review`, `verified` or `rejected`"),
        ("is_active" = Option<bool>, Query, description = "Whether it may work at all"),
        PageQuery,
    ),
    responses((status = 200, body = Page<ProviderRow>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    mut fields: Fields,
    query: PageQuery,
) -> Result<Json<Page<ProviderRow>>, Problem> {
    let filter = Filter {
        r#type: fields.optional("type", read::word(TYPES)),
        verification_status: fields.optional("verification_status", read::word(STATUSES)),
        is_active: fields.optional("is_active", read::boolean),
    };
    let filter = fields.finish(Some(filter))?;
    let found = providers::list(&engine.pool, filter, query.ask()).await?;
    Ok(Json(query.of(found, |found| found.id).map(|found| found.row)))
}

/// A provider: all of it to its owner and admins; to others, once it is verified, what customers may see.
#[utoipa::path(
    get,
    path = "/v1/providers/{uuid}",
    tag = "providers",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = Shown), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<Json<Shown>, Problem> {
    let found = seen(&engine, &caller, uuid).await?;
    if sees_all(&caller, &found) {
        return Ok(Json(Shown::All(Box::new(found.row))));
    }
    let public = providers::public(&engine.pool, found.provider()).await?.ok_or_else(not_found)?;
    Ok(Json(Shown::Public(Box::new(public))))
}

/// Changes what is given of a provider: its owner what is his, an admin all. Once it is answered, matching at this node goes by it.
///
/// A verification that is taken back, or `is_active` `false`, ends matching at once; a booking that was accepted goes on.
#[utoipa::path(
    patch,
    path = "/v1/providers/{uuid}",
    tag = "providers",
    params(("uuid" = Uuid, Path)),
    request_body = ProviderChange,
    responses((status = 200, body = ProviderRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    Body { fields, .. }: Body,
) -> Result<Json<ProviderRow>, Problem> {
    let (found, admin) = own(&engine, &caller, uuid).await?;
    let columns = read_change(fields, caller.is_admin())?;
    // An admin's judgement is noted, be it of himself.
    let admin = admin.or_else(|| Some(caller.user).filter(|_| caller.is_admin()));
    let row = providers::change(&engine.pool, found.provider(), columns, admin).await?.ok_or_else(not_found)?;
    engine.shown([found.provider()]).await;
    Ok(Json(row))
}

fn read_change(fields: Fields, admin: bool) -> Result<Columns, Problem> {
    const ADMINS: [&str; 4] = ["verification_status", "rejection_reason", "is_active", "commission_rate"];
    let mut reading = Reading::of_change(fields);
    read_business(&mut reading);
    if admin {
        read_judgement(&mut reading, STATUSES);
        reading.defaulted("is_active", read::boolean);
        reading.defaulted("commission_rate", percent);
    } else {
        ADMINS.into_iter().for_each(|field| reading.prohibited(field, "an admin's to change"));
    }
    reading.finish()
}

/// `verification_status`, and with `rejected`, and only then, why.
fn read_judgement(reading: &mut Reading, words: &'static [&'static str]) {
    reading.defaulted("verification_status", read::word(words));
    let status = reading.fields.raw("verification_status");
    match status.as_ref().and_then(serde_json::Value::as_str) {
        Some("rejected") => {
            reading.nullable("rejection_reason", read::text(1_000));
            if !reading.fields.has("rejection_reason") {
                reading.fields.error("rejection_reason", "The rejection_reason field is required with rejected.");
            }
        }
        _ => reading.prohibited("rejection_reason", "given with verification_status rejected"),
    }
}

fn percent(given: super::extract::Given<'_>) -> Result<Decimal, String> {
    let percent = read::decimal(0, 100)(given).ok().filter(|percent| percent.normalize().scale() <= 2);
    percent.ok_or_else(|| "must be a number from 0 to 100, with at most two decimals".to_owned())
}
