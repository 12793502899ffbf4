//! Bookings: made, seen, listed, moved.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Caller, Principal};
use super::extract::{Body, Fields, PathUuid, read};
use super::idempotency::{self, IdempotencyKey};
use super::new_booking::{self, BookingRequest};
use super::new_visit;
use super::page::{Page, PageQuery, WholeList};
use super::payment;
use super::problem::{Problem, ProblemBody};
use super::transactions::whose;
use crate::core::booking::{Refusal, Status};
use crate::engine::Engine;
use crate::store::StoreError;
use crate::store::bookings::{self, Actor, BookingView, CreateOutcome, CreateRefused, TransitionOutcome, Wish};
use crate::store::idempotency::{Claim, Key};
use crate::store::timeline::{self, Entry};
use crate::wire::booking::Booking;
use crate::wire::time::WireTime;

const COLLECTION: &str = "/v1/bookings";

/// Longest feed that is answered at once; nobody's booking has more.
const LONGEST_TIMELINE: u32 = 1_000;

/// The words of [`Status`], as an error lists them.
const STATUSES: &[&str] =
    &["pending", "accepted", "en_route", "arrived", "in_progress", "completed", "cancelled", "no_show"];

/// Books. Dispatch starts at once: follow it with `/events`, or over the websocket.
///
/// Without `provider_uuid` the price is an estimate from the service's base price; the therapist who accepts has his
/// own. With it, that therapist alone is asked. With `booking_type` `scheduled`, base locations, schedules and calendars
/// count instead of who is free now; both parties are reminded before its time.
///
/// With `in_store` it names the store: its owner accepts with a transition, at the store's price, while a room is free and
/// the store is open for the whole of the service.
#[utoipa::path(
    post,
    path = "/v1/bookings",
    tag = "bookings",
    params(IdempotencyKey),
    request_body = BookingRequest,
    responses(
        (status = 201, body = Booking, headers(("location" = String, description = "Of the booking"))),
        (status = 400, description = "`bad_json`: the body is not JSON; `bad_idempotency_key`", body = ProblemBody),
        (status = 409, description = "`idempotency_in_flight`; `store_full` with `free_from`", body = ProblemBody),
        (status = 503, description = "The database is not reachable; `Retry-After` says when to try again. `undecided`: whether it was booked is not known: repeat with the same Idempotency-Key; without one there is no `Retry-After`, and `GET /v1/bookings` tells", body = ProblemBody),
        (status = 422, description = "`invalid`, `provider_unavailable`, `store_closed` with `opens_at` or `closes_at`, `promo_refused`, `insufficient_balance` with `balance`, `idempotency_key_reused`", body = ProblemBody)
    )
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    key: IdempotencyKey,
    Body { fields, bytes }: Body,
) -> Result<Response, Problem> {
    let key = key.of(&bytes);
    let new = match new_booking::prepare(&engine, &caller, fields).await {
        Ok(new) => new,
        // A repeated request may no longer be possible because of what the first one did.
        Err(problem) => return answered_before(&engine, &caller, key.as_ref()).await?.ok_or(problem),
    };
    let keyed = key.is_some();
    match engine.dispatcher.create(new, key).await.map_err(|error| not_done(error, keyed))? {
        CreateOutcome::Created { body, .. } | CreateOutcome::Replay { body, .. } => Ok(created(body)),
        CreateOutcome::KeyReused => Err(idempotency::reused()),
        CreateOutcome::InFlight => Err(idempotency::in_flight()),
        CreateOutcome::Refused(refused) => Err(not_created(refused)),
    }
}

async fn answered_before(engine: &Engine, caller: &Principal, key: Option<&Key>) -> Result<Option<Response>, Problem> {
    let Some(key) = key else { return Ok(None) };
    match crate::store::idempotency::look(&engine.pool, caller.user, key).await? {
        Claim::New => Ok(None),
        claim => {
            let body = idempotency::before(claim)?;
            engine.dispatcher.booked_before(&body).await;
            Ok(Some(created(body)))
        }
    }
}

fn created(body: Value) -> Response {
    idempotency::created(body, Some(COLLECTION))
}

fn not_done(error: StoreError, keyed: bool) -> Problem {
    idempotency::not_done(error, keyed, "it was booked", COLLECTION)
}

fn not_created(refused: CreateRefused) -> Problem {
    match refused {
        CreateRefused::NoSuchCustomer => Problem::unauthenticated(),
        CreateRefused::OwnTherapist | CreateRefused::NoSuchProvider => Problem::field(
            "provider_unavailable",
            "provider_uuid",
            format!("The provider_uuid field is wrong: {refused}."),
        ),
        CreateRefused::TooDear => Problem::field(
            "invalid",
            "service",
            format!("The service field is of one that cannot be booked: {refused}."),
        ),
        CreateRefused::Promo(_) => new_booking::promo_refused(refused),
    }
}

/// A booking of the caller's own; an admin sees all.
pub async fn own(engine: &Engine, caller: &Principal, uuid: Uuid) -> Result<BookingView, Problem> {
    let view = bookings::view(&engine.pool, uuid).await?;
    view.filter(|view| may_see(view, caller)).ok_or_else(|| Problem::not_found("Booking"))
}

/// Whether the caller may see this booking.
pub fn may_see(view: &BookingView, caller: &Principal) -> bool {
    view.is_party(caller.user) || caller.is_admin()
}

/// A booking, to its parties.
#[utoipa::path(
    get,
    path = "/v1/bookings/{uuid}",
    tag = "bookings",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = Booking), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<Json<Booking>, Problem> {
    Ok(Json(own(&engine, &caller, uuid).await?.shown_to(caller.user)))
}

/// The caller's bookings, as customer, as therapist and as a store's owner, newest first; an admin sees everybody's.
#[utoipa::path(
    get,
    path = "/v1/bookings",
    tag = "bookings",
    params(
        ("status" = Option<String>, Query, description = "Only those that are `pending`, `accepted`, `en_route`, `arrived`, `in_progress`, `completed`, `cancelled` or `no_show`"),
        PageQuery,
    ),
    responses((status = 200, body = Page<Booking>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    mut fields: Fields,
    query: PageQuery,
) -> Result<Json<Page<Booking>>, Problem> {
    let status = fields.optional("status", read::word(STATUSES)).and_then(Status::parse);
    let status = fields.finish(Some(status))?;
    let views = bookings::list(&engine.pool, whose(&caller), status, query.ask()).await?;
    Ok(Json(query.of(views, |view| view.id.0).map(|view| view.shown_to(caller.user))))
}

/// What happened to a booking, oldest first, to its parties: the first thousand changes.
#[utoipa::path(
    get,
    path = "/v1/bookings/{uuid}/timeline",
    tag = "bookings",
    params(("uuid" = Uuid, Path), WholeList),
    responses((status = 200, body = Page<Entry>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn timeline(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    list: WholeList,
) -> Result<Json<Page<Entry>>, Problem> {
    let view = own(&engine, &caller, uuid).await?;
    Ok(Json(list.page(timeline::after(&engine.pool, view.id, 0, LONGEST_TIMELINE).await?)))
}

/// The status that a booking shall have.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Transition {
    /// A `booking_status`; `pending` gives an accepted booking back.
    #[schema(example = "en_route")]
    pub to: String,
    /// With `cancelled` and `pending`; at most 500 characters. `customer_absent` is the therapist's at the door.
    pub reason: Option<String>,
}

/// Moves a booking: the party whom the state machine allows.
///
/// Once it is answered, who can be matched at this node goes by it. The status it already has: 200, nothing changed. Not
/// allowed (a therapist may not set out while he is on another booking, either): 409 `not_allowed` with `current_status`. A store's owner accepts while a room is free (409
/// `store_full` with `free_from`), the store is open for the whole of the service (409 `store_closed` with `opens_at` or
/// `closes_at`) and his time to answer is not over (409 `too_late`).
#[utoipa::path(
    post,
    path = "/v1/bookings/{uuid}/transitions",
    tag = "bookings",
    params(("uuid" = Uuid, Path)),
    request_body = Transition,
    responses(
        (status = 200, body = Booking),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`not_allowed`; to a store's owner `store_full`, `store_closed`, `provider_unavailable`, `too_late`, `insufficient_balance` (the booking was cancelled); with `current_status`; `sum_too_large`: what would be given back does not fit into the wallet", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn transition(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    Body { mut fields, .. }: Body,
) -> Result<Json<Booking>, Problem> {
    let to = fields.required("to", read::word(STATUSES)).and_then(Status::parse);
    let reason = fields.optional("reason", read::text(500));
    let to = fields.finish(to)?;
    let actor = Actor { user: caller.user, admin: caller.is_admin() };
    let wish = Wish { booking: uuid, actor, to, reason };
    match engine.transition(wish).await? {
        TransitionOutcome::Moved(moved) => Ok(Json(as_far_as_his(moved.view, &caller))),
        TransitionOutcome::Unchanged(view) => Ok(Json(as_far_as_his(*view, &caller))),
        TransitionOutcome::Refused { why, status } => Err(refused(&why, status)),
        TransitionOutcome::Unpaid(_) => Err(payment::insufficient_balance()),
        TransitionOutcome::StoreCannot(why) => Err(new_visit::refused(&why)),
        TransitionOutcome::NotFound => Err(Problem::not_found("Booking")),
    }
}

/// Who has given a booking back sees of it what strangers see.
fn as_far_as_his(view: BookingView, caller: &Principal) -> Booking {
    if may_see(&view, caller) { view.shown_to(caller.user) } else { view.booking.for_a_stranger() }
}

fn refused(why: &Refusal, status: Status) -> Problem {
    let problem =
        Problem::conflict("not_allowed", format!("Not allowed: {why}.")).with("current_status", status.as_str());
    match *why {
        Refusal::TooEarly { from } | Refusal::NotDueYet { from } => {
            problem.with("allowed_from", WireTime(from).to_string())
        }
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};
    use axum::response::IntoResponse;

    use super::*;
    use crate::http::problem::UNAVAILABLE_RETRY_S;

    #[test]
    fn every_status_of_the_schema_can_be_asked_for() {
        assert_eq!(STATUSES, Status::ALL.map(Status::as_str));
    }

    #[test]
    fn a_refused_move_tells_the_current_status() {
        let why = Refusal::NotAllowed { from: Status::Completed, to: Status::Cancelled };
        let json = refused(&why, Status::Completed).to_json();
        assert_eq!((&json["code"], &json["current_status"]), (&"not_allowed".into(), &"completed".into()));
        assert_eq!(json["message"], "Not allowed: a booking that is completed cannot become cancelled this way.");
    }

    #[test]
    fn who_has_no_key_is_not_told_to_book_again_when_nobody_knows_whether_he_has() {
        for (keyed, again_in) in [(true, Some(HeaderValue::from(UNAVAILABLE_RETRY_S))), (false, None)] {
            let problem = not_done(StoreError::Undecided(sqlx::Error::WorkerCrashed), keyed);
            assert_eq!((problem.status().as_u16(), problem.code()), (503, "undecided"));
            assert!(problem.message().contains("Idempotency-Key"), "{}", problem.message());
            assert_eq!(problem.into_response().headers().get(header::RETRY_AFTER).cloned(), again_in);
        }
        let gone = not_done(StoreError::Database(sqlx::Error::PoolTimedOut), false);
        assert_eq!((gone.status().as_u16(), gone.code()), (503, "unavailable"), "nothing was booked");
    }
}
