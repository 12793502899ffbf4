//! `/v1/bookings/{uuid}/messages`: what the parties of a booking write to each other.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::auth::Caller;
use super::bookings::own;
use super::columns::Reading;
use super::extract::{Body, Fields, OptionalBody, PathUuid, read};
use super::idempotency::{self, IdempotencyKey, Making};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use super::readers;
use crate::engine::Engine;
use crate::store::messages::{self, MessageRow, OPEN_AFTER_END_H, Sent};
use crate::store::rows::Columns;

/// A message to write: text, an attachment, or both.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewMessage {
    /// At most 4,000 characters.
    #[schema(example = "I am at the gate.")]
    pub message: Option<String>,
    /// `image` or `location`.
    pub attachment_type: Option<String>,
    /// With `image`, and only then.
    pub attachment_url: Option<String>,
    /// With `location`, and only then: `{latitude, longitude}`.
    #[schema(value_type = Option<Object>)]
    pub attachment_metadata: Option<serde_json::Value>,
}

fn read_new(fields: Fields) -> Result<Columns, Problem> {
    let mut reading = Reading::of_new(fields);
    reading.defaulted("message", read::text(4_000));
    reading.nullable("attachment_type", read::word(&["image", "location"]));
    let kind = reading.fields.raw("attachment_type");
    let kind = kind.as_ref().and_then(serde_json::Value::as_str);
    let mut place = None;
    if kind == Some("image") {
        reading.required("attachment_url", readers::url);
    } else {
        reading.prohibited("attachment_url", "an image's");
    }
    if kind != Some("location") {
        reading.prohibited("attachment_metadata", "a location's");
    } else if let Some(mut nested) = reading.fields.object("attachment_metadata") {
        place = read::place(&mut nested);
        reading.fields.absorb(nested);
    } else {
        reading.fields.error("attachment_metadata", "The attachment_metadata field is required with location.");
    }
    if kind.is_none() && !reading.fields.has("message") {
        reading.fields.error("message", "The message field is required when there is no attachment.");
    }
    let mut columns = reading.finish()?;
    if let Some(place) = place {
        let at = serde_json::json!({"latitude": place.latitude(), "longitude": place.longitude()});
        columns.set("attachment_metadata", at);
    }
    Ok(columns)
}

/// A booking's messages from and to the caller, the newest first; an admin reads all.
#[utoipa::path(
    get,
    path = "/v1/bookings/{uuid}/messages",
    tag = "bookings",
    params(
        ("uuid" = Uuid, Path),
        PageQuery,
    ),
    responses((status = 200, body = Page<MessageRow>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    query: PageQuery,
) -> Result<Json<Page<MessageRow>>, Problem> {
    let view = own(&engine, &caller, uuid).await?;
    let party = Some(caller.user).filter(|_| !caller.is_admin());
    let rows = messages::list(&engine.pool, view.id, party, query.ask()).await?;
    Ok(Json(query.of(rows, |row| row.id)))
}

/// Writes to the other party, who is told over the websocket (`message`): from the accept until 24 hours after the booking's end.
#[utoipa::path(
    post,
    path = "/v1/bookings/{uuid}/messages",
    tag = "bookings",
    params(("uuid" = Uuid, Path),
        IdempotencyKey),
    request_body = NewMessage,
    responses(
        (status = 201, body = MessageRow),
        (status = 404, description = "Not a booking of the caller's; an admin does not write for others", body = ProblemBody),
        (status = 409, description = "`messages_closed` with `current_status`: nobody has accepted it, or it ended too long ago; `idempotency_in_flight`", body = ProblemBody),
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
    own(&engine, &caller, uuid).await?;
    let columns = read_new(fields)?;
    let mut once = match idempotency::begin(&engine, &caller, key.of(&bytes), None).await? {
        Making::Now(once) => once,
        Making::Before(answer) => return Ok(answer),
    };
    match messages::create(&mut once.tx, uuid, caller.user, columns).await? {
        Sent::Written(row) => idempotency::made(once, &row, None, &format!("/v1/bookings/{uuid}/messages")).await,
        Sent::Closed(status) => {
            let text = format!(
                "Messages are written from the accept until {OPEN_AFTER_END_H} hours after the end; the booking is {status}."
            );
            Err(Problem::conflict("messages_closed", text).with("current_status", status))
        }
        Sent::NotFound => Err(Problem::not_found("Booking")),
    }
}

/// How many messages were marked.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MarkedRead {
    /// That were not read before.
    pub read: u64,
}

/// Marks all messages of a booking to the caller as read. May be repeated.
#[utoipa::path(
    put,
    path = "/v1/bookings/{uuid}/messages/read",
    tag = "bookings",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = MarkedRead), (status = 404, body = ProblemBody))
)]
pub async fn mark_read(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    _: OptionalBody,
) -> Result<Json<MarkedRead>, Problem> {
    let view = own(&engine, &caller, uuid).await?;
    Ok(Json(MarkedRead { read: messages::mark_read(&engine.pool, view.id, caller.user).await? }))
}
