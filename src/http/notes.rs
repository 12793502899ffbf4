//! `/v1/bookings/{uuid}/notes` and `/status-history`: what is remembered of a booking.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::auth::{Caller, Principal};
use super::bookings::own;
use super::columns::Reading;
use super::extract::{Body, Fields, PathId, PathUuid, read};
use super::idempotency::{self, IdempotencyKey, Making};
use super::page::{Page, PageQuery, WholeList};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::bookings::BookingView;
use crate::store::notes::{self, NoteRow, Reader};
use crate::store::rows::Columns;
use crate::store::timeline::{self, Step};
use crate::wire::time::WireTime;

/// A note to write.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewNote {
    /// At most 4,000 characters.
    #[schema(example = "The dog is friendly.")]
    pub note: String,
    /// For whom: `customer`, `provider` or `all` (which a party's is if nothing is given); an admin's also `internal` (which his is
    /// then). Who writes a note reads it in any case.
    pub visibility: Option<String>,
}

/// One step of a booking's status.
#[derive(Serialize, utoipa::ToSchema)]
pub struct StatusChange {
    /// Before; null at creation.
    pub from_status: Option<String>,
    /// After.
    pub to_status: String,
    /// `customer`, `provider`, `admin`; null: the service.
    pub changed_by: Option<String>,
    /// Of a cancellation, or of a booking that was given back.
    pub reason: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
}

impl From<Step> for StatusChange {
    fn from(step: Step) -> Self {
        Self {
            from_status: step.from,
            to_status: step.to,
            changed_by: step.by,
            reason: step.reason,
            created_at: step.at,
        }
    }
}

fn reader(view: &BookingView, caller: &Principal) -> Reader {
    if caller.is_admin() {
        Reader::Admin
    } else if view.customer == caller.user {
        Reader::Customer(caller.user)
    } else {
        Reader::Provider(caller.user)
    }
}

/// For whom the reader may write, and for whom he does if he says nothing.
fn visibilities(reader: Reader) -> (&'static [&'static str], &'static str) {
    match reader {
        Reader::Admin => (&["internal", "customer", "provider", "all"], "internal"),
        Reader::Customer(_) | Reader::Provider(_) => (&["customer", "provider", "all"], "all"),
    }
}

fn read_note(mut reading: Reading, words: &'static [&'static str]) -> Result<Columns, Problem> {
    reading.required("note", read::text(4_000));
    reading.defaulted("visibility", read::word(words));
    reading.finish()
}

fn read_new(fields: Fields, reader: Reader) -> Result<Columns, Problem> {
    let (words, usual) = visibilities(reader);
    let mut columns = read_note(Reading::of_new(fields), words)?;
    if columns.get("visibility").is_none() {
        columns.set("visibility", usual);
    }
    Ok(columns)
}

/// A booking's notes that are for the caller, and his own, the newest first; an admin reads all.
#[utoipa::path(
    get,
    path = "/v1/bookings/{uuid}/notes",
    tag = "bookings",
    params(
        ("uuid" = Uuid, Path),
        PageQuery,
    ),
    responses((status = 200, body = Page<NoteRow>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    query: PageQuery,
) -> Result<Json<Page<NoteRow>>, Problem> {
    let view = own(&engine, &caller, uuid).await?;
    let rows = notes::list(&engine.pool, view.id, reader(&view, &caller), query.ask()).await?;
    Ok(Json(query.of(rows, |row| row.id)))
}

/// Writes a note, at any time: a party or an admin.
#[utoipa::path(
    post,
    path = "/v1/bookings/{uuid}/notes",
    tag = "bookings",
    params(("uuid" = Uuid, Path),
        IdempotencyKey),
    request_body = NewNote,
    responses(
        (status = 201, body = NoteRow),
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
    let view = own(&engine, &caller, uuid).await?;
    let reader = reader(&view, &caller);
    let columns = read_new(fields, reader)?;
    let mut once = match idempotency::begin(&engine, &caller, key.of(&bytes), None).await? {
        Making::Now(once) => once,
        Making::Before(answer) => return Ok(answer),
    };
    let row = notes::create(&mut once.tx, view.id, caller.user, columns, reader == Reader::Admin).await?;
    idempotency::made(once, &row, None, &format!("/v1/bookings/{uuid}/notes")).await
}

/// What to change of a note; what is not given stays.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct NoteChange {
    /// At most 4,000 characters.
    pub note: Option<String>,
    /// As of a new one.
    pub visibility: Option<String>,
}

/// Changes a note of the caller's own.
#[utoipa::path(
    patch,
    path = "/v1/bookings/{uuid}/notes/{id}",
    tag = "bookings",
    params(("uuid" = Uuid, Path), ("id" = i64, Path)),
    request_body = NoteChange,
    responses((status = 200, body = NoteRow), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn change(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    PathId(id): PathId,
    Body { fields, .. }: Body,
) -> Result<Json<NoteRow>, Problem> {
    let view = own(&engine, &caller, uuid).await?;
    let reader = reader(&view, &caller);
    let columns = read_note(Reading::of_change(fields), visibilities(reader).0)?;
    let row = notes::change(&engine.pool, view.id, id, caller.user, &columns, reader == Reader::Admin).await?;
    row.map(Json).ok_or_else(|| Problem::not_found("Note"))
}

/// Deletes a note of the caller's own; an admin anybody's.
#[utoipa::path(
    delete,
    path = "/v1/bookings/{uuid}/notes/{id}",
    tag = "bookings",
    params(("uuid" = Uuid, Path), ("id" = i64, Path)),
    responses((status = 204, description = "Gone"), (status = 404, body = ProblemBody))
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    let view = own(&engine, &caller, uuid).await?;
    let admin = reader(&view, &caller) == Reader::Admin;
    let gone = notes::delete(&engine.pool, view.id, id, caller.user, admin).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("Note")) }
}

/// Every status that a booking has had, oldest first, to its parties.
#[utoipa::path(
    get,
    path = "/v1/bookings/{uuid}/status-history",
    tag = "bookings",
    params(("uuid" = Uuid, Path), WholeList),
    responses((status = 200, body = Page<StatusChange>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn status_history(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    list: WholeList,
) -> Result<Json<Page<StatusChange>>, Problem> {
    let view = own(&engine, &caller, uuid).await?;
    let steps = timeline::history(&engine.pool, view.id).await?;
    Ok(Json(list.page(steps.into_iter().map(StatusChange::from).collect())))
}
