//! Papers of providers: shown by their owners, verified or rejected by admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::auth::{Caller, Principal};
use super::super::columns::Reading;
use super::super::extract::{Body, Fields, PathId, PathUuid, read};
use super::super::idempotency::{self, IdempotencyKey, MakingPrivate};
use super::super::page::{Page, PageQuery};
use super::super::problem::{Problem, ProblemBody};
use super::super::readers;
use super::{own, read_judgement};
use crate::core::ids::UserId;
use crate::engine::Engine;
use crate::store::providers::documents::{self, Deleted, DocumentRow};
use crate::store::rows::Columns;

const STATUSES: &[&str] = &["pending", "verified", "rejected"];

/// A paper to show.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewDocument {
    /// `government_id`, `license`, `nbi_clearance`, `health_cert` …; at most 50 characters.
    #[schema(example = "license")]
    pub document_type: String,
    /// Where it lies.
    #[schema(example = "https://files.example.com/license.pdf")]
    pub file_url: String,
    /// At most 255 characters.
    pub file_name: Option<String>,
    /// Bytes.
    pub file_size: Option<i64>,
    /// At most 100 characters.
    pub mime_type: Option<String>,
    /// Its last day.
    #[schema(example = "2027-12-31")]
    pub expiry_date: Option<String>,
}

/// What an admin found of a paper.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct DocumentChange {
    /// `pending`, `verified` or `rejected`.
    pub verification_status: Option<String>,
    /// Required with `rejected`; at most 1,000 characters.
    pub rejection_reason: Option<String>,
    /// Its last day.
    pub expiry_date: Option<String>,
}

fn read_new(fields: Fields) -> Result<Columns, Problem> {
    let mut reading = Reading::of_new(fields);
    reading.required("document_type", read::text(50));
    reading.required("file_url", readers::url);
    reading.nullable("file_name", read::text(255));
    reading.nullable("file_size", read::integer(0, i64::MAX));
    reading.nullable("mime_type", read::text(100));
    reading.nullable("expiry_date", readers::date);
    reading.prohibited("verification_status", "an admin's to change");
    reading.finish()
}

fn read_change(fields: Fields) -> Result<Columns, Problem> {
    let mut reading = Reading::of_change(fields);
    read_judgement(&mut reading, STATUSES);
    reading.nullable("expiry_date", readers::date);
    reading.finish()
}

fn not_found() -> Problem {
    Problem::not_found("Document")
}

/// A provider's papers, the newest first: to its owner and to admins.
#[utoipa::path(
    get,
    path = "/v1/providers/{uuid}/documents",
    tag = "providers",
    params(
        ("uuid" = Uuid, Path),
        PageQuery,
    ),
    responses((status = 200, body = Page<DocumentRow>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    query: PageQuery,
) -> Result<Json<Page<DocumentRow>>, Problem> {
    let (found, _) = own(&engine, &caller, uuid).await?;
    let rows = documents::list(&engine.pool, found.provider(), query.ask()).await?;
    Ok(Json(query.of(rows, |row| row.id)))
}

/// Shows a paper, pending. Where it lies is kept with the paper alone: the same `Idempotency-Key` again is answered with the paper as
/// it is then, or with 404 once it is removed.
#[utoipa::path(
    post,
    path = "/v1/providers/{uuid}/documents",
    tag = "providers",
    params(("uuid" = Uuid, Path),
        IdempotencyKey),
    request_body = NewDocument,
    responses(
        (status = 201, body = DocumentRow),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`idempotency_in_flight`", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    key: IdempotencyKey,
    Body { fields, bytes }: Body,
) -> Result<Response, Problem> {
    let (found, admin) = own(&engine, &caller, uuid).await?;
    let columns = read_new(fields)?;
    let mut once = match idempotency::begin_of_private(&engine, &caller, key.of(&bytes)).await? {
        MakingPrivate::Now(once) => once,
        MakingPrivate::Before(body) => {
            let id = body["id"].as_i64().ok_or_else(not_found)?;
            let row = documents::find(&engine.pool, id).await?.ok_or_else(not_found)?;
            return idempotency::again(&row, None);
        }
    };
    let row = documents::create(&mut once.tx, found.provider(), columns, admin).await?;
    idempotency::made_private(once, &json!({"id": row.id}), &row, None, &format!("/v1/providers/{uuid}/documents"))
        .await
}

/// A paper: to its owner and to admins.
#[utoipa::path(
    get,
    path = "/v1/provider-documents/{id}",
    tag = "providers",
    params(("id" = i64, Path)),
    responses((status = 200, body = DocumentRow), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<Json<DocumentRow>, Problem> {
    owner(&engine, &caller, id).await?;
    documents::find(&engine.pool, id).await?.map(Json).ok_or_else(not_found)
}

/// Whose paper it is, if the caller may see it.
async fn owner(engine: &Engine, caller: &Principal, id: i64) -> Result<UserId, Problem> {
    let owner = documents::owner(&engine.pool, id).await?;
    owner.filter(|owner| *owner == caller.user || caller.is_admin()).ok_or_else(not_found)
}

/// Verifies or rejects a paper.
#[utoipa::path(
    patch,
    path = "/v1/provider-documents/{id}",
    tag = "providers",
    params(("id" = i64, Path)),
    request_body = DocumentChange,
    responses((status = 200, body = DocumentRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn update(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Body { fields, .. }: Body,
) -> Result<Json<DocumentRow>, Problem> {
    let columns = read_change(fields)?;
    documents::change(&engine.pool, id, columns, caller.user).await?.map(Json).ok_or_else(not_found)
}

/// Removes a paper: its owner until it is verified, an admin at any time.
#[utoipa::path(
    delete,
    path = "/v1/provider-documents/{id}",
    tag = "providers",
    params(("id" = i64, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`document_verified`: only an admin removes it", body = ProblemBody)
    )
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    let owner = owner(&engine, &caller, id).await?;
    let admin = Some(caller.user).filter(|user| *user != owner || caller.is_admin());
    match documents::delete(&engine.pool, id, admin).await? {
        Deleted::Gone => Ok(StatusCode::NO_CONTENT),
        Deleted::Verified => {
            Err(Problem::conflict("document_verified", "The document is verified: only an admin removes it."))
        }
        Deleted::NotFound => Err(not_found()),
    }
}
