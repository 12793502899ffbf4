//! Reviews: written by customers, answered by providers, hidden by admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::auth::{Caller, Principal};
use super::bookings::own;
use super::extract::{Body, Given, PathId, PathUuid, read};
use super::idempotency::{self, IdempotencyKey};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use crate::engine::Engine;
use crate::store::reviews::{self, Moderation, NewReview, Review, ReviewRefused};
use crate::store::users;

/// Of a comment, and of a response to it.
const LONGEST_TEXT: usize = 2_000;

/// What a customer says of a booking.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReviewRequest {
    /// 1 to 5; also taken as `rating`.
    #[schema(example = 5)]
    pub overall_rating: i32,
    /// 1 to 5.
    pub professionalism_rating: Option<i32>,
    /// 1 to 5.
    pub communication_rating: Option<i32>,
    /// 1 to 5.
    pub timeliness_rating: Option<i32>,
    /// 1 to 5.
    pub quality_rating: Option<i32>,
    /// At most 2,000 characters.
    pub comment: Option<String>,
    /// At most 10, of at most 50 characters each.
    pub tags: Option<Vec<String>>,
}

fn stars(given: Given<'_>) -> Result<i32, String> {
    let stars = read::integer(1, 5)(given)?;
    i32::try_from(stars).map_err(|error| error.to_string())
}

/// Reviews a booking that is done: its customer, once. Once it is answered, questions at this node go by the provider's new
/// rating.
#[utoipa::path(
    post,
    path = "/v1/bookings/{uuid}/review",
    tag = "reviews",
    params(
        ("uuid" = Uuid, Path),
        IdempotencyKey,
    ),
    request_body = ReviewRequest,
    responses(
        (status = 201, body = Review),
        (status = 400, description = "`bad_json`: the body is not JSON; `bad_idempotency_key`", body = ProblemBody),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`not_completed` with `current_status`; `already_reviewed`; `idempotency_in_flight`", body = ProblemBody),
        (status = 422, description = "`invalid`, `idempotency_key_reused`", body = ProblemBody)
    )
)]
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(booking): PathUuid,
    key: IdempotencyKey,
    Body { mut fields, bytes }: Body,
) -> Result<Response, Problem> {
    let key = key.of(&bytes);
    let keyed = key.is_some();
    let overall = fields.required(if fields.has("rating") { "rating" } else { "overall_rating" }, stars);
    let mut part = |name| fields.optional(name, stars);
    let [professionalism, communication, timeliness, quality] =
        ["professionalism_rating", "communication_rating", "timeliness_rating", "quality_rating"].map(&mut part);
    let comment = fields.optional("comment", read::text(LONGEST_TEXT));
    let tags = fields.optional("tags", read::list(10, read::text(50)));
    let overall = fields.finish(overall)?;
    let customer = caller.user;
    let new =
        NewReview { booking, customer, overall, professionalism, communication, timeliness, quality, comment, tags };
    let made = engine
        .review(&new, key)
        .await
        .map_err(|error| idempotency::not_done(error, keyed, "the review was kept", "/v1/providers/{uuid}/reviews"))?;
    idempotency::answer(made, None, refused)
}

fn refused(why: ReviewRefused) -> Problem {
    match why {
        ReviewRefused::NotFound => Problem::not_found("Booking"),
        ReviewRefused::NotCompleted(status) => {
            Problem::conflict("not_completed", format!("Not possible: the booking is {status}, not completed."))
                .with("current_status", status)
        }
        ReviewRefused::Again => Problem::conflict("already_reviewed", "You have reviewed this booking."),
    }
}

/// The reviews of a provider, newest first; an admin sees those too that are hidden.
#[utoipa::path(
    get,
    path = "/v1/providers/{uuid}/reviews",
    tag = "reviews",
    params(
        ("uuid" = Uuid, Path),
        PageQuery,
    ),
    responses((status = 200, body = Page<Review>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(provider): PathUuid,
    query: PageQuery,
) -> Result<Json<Page<Review>>, Problem> {
    let provider =
        users::provider_by_uuid(&engine.pool, provider).await?.ok_or_else(|| Problem::not_found("Provider"))?;
    let rows = reviews::list(&engine.pool, provider, caller.is_admin(), query.ask()).await?;
    Ok(Json(query.of(rows, |review| review.id)))
}

/// A review, to everybody who is signed in; one that is hidden to who has written it and to admins.
#[utoipa::path(
    get,
    path = "/v1/reviews/{id}",
    tag = "reviews",
    params(("id" = i64, Path)),
    responses((status = 200, body = Review), (status = 404, body = ProblemBody))
)]
pub async fn show(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<Json<Review>, Problem> {
    shown(reviews::find(&engine.pool, id).await?, &caller)
}

/// What its customer says of a booking, to its parties; if it is hidden, to him and to admins.
#[utoipa::path(
    get,
    path = "/v1/bookings/{uuid}/review",
    tag = "reviews",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = Review), (status = 404, body = ProblemBody))
)]
pub async fn of_booking(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
) -> Result<Json<Review>, Problem> {
    let booking = own(&engine, &caller, uuid).await?.id;
    shown(reviews::of_booking(&engine.pool, booking).await?, &caller)
}

fn shown(review: Option<Review>, caller: &Principal) -> Result<Json<Review>, Problem> {
    let review = review.and_then(|review| review.shown_to(caller.user, caller.is_admin()));
    review.map(Json).ok_or_else(|| Problem::not_found("Review"))
}

/// What a provider says to a review.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReviewResponse {
    /// At most 2,000 characters.
    #[schema(example = "Thank you!")]
    pub response: String,
}

/// Answers a review: the provider whom it is about, in place of what he said before.
#[utoipa::path(
    put,
    path = "/v1/reviews/{id}/response",
    tag = "reviews",
    params(("id" = i64, Path)),
    request_body = ReviewResponse,
    responses((status = 200, body = Review), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn respond(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Body { mut fields, .. }: Body,
) -> Result<Json<Review>, Problem> {
    let response = fields.required("response", read::text(LONGEST_TEXT));
    let response = fields.finish(response)?;
    let answered = reviews::respond(&engine.pool, id, caller.user, &response).await?;
    answered.map(Json).ok_or_else(|| Problem::not_found("Review"))
}

/// What an admin changes of a review; what is not given stays.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReviewModeration {
    /// False hides it: only admins see it, and it does not count.
    pub is_visible: Option<bool>,
    /// True hides it likewise, until somebody has looked at it.
    pub is_flagged: Option<bool>,
    /// For admins, at most 500 characters; null clears it.
    pub flagged_reason: Option<String>,
}

/// Hides a review, or shows it again. Once it is answered, questions at this node go by the provider's new rating.
#[utoipa::path(
    patch,
    path = "/v1/reviews/{id}",
    tag = "reviews",
    params(("id" = i64, Path)),
    request_body = ReviewModeration,
    responses(
        (status = 200, body = Review),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`about_oneself`: another admin decides", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn moderate(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    Body { mut fields, .. }: Body,
) -> Result<Json<Review>, Problem> {
    let change = Moderation {
        is_visible: fields.changed("is_visible", read::boolean),
        is_flagged: fields.changed("is_flagged", read::boolean),
        flagged_reason: fields.clearable("flagged_reason", read::text(500)),
    };
    let change = fields.finish(Some(change))?;
    not_about(&engine, id, &caller).await?;
    let moderated = engine.moderate(id, caller.user, &change).await?;
    moderated.map(Json).ok_or_else(|| Problem::not_found("Review"))
}

/// 409 `about_oneself`: an admin who is reviewed has no say in whether it counts.
async fn not_about(engine: &Engine, id: i64, caller: &Principal) -> Result<(), Problem> {
    if reviews::is_about(&engine.pool, id, caller.user).await? {
        return Err(Problem::conflict("about_oneself", "This review is about you: another admin decides."));
    }
    Ok(())
}

/// Deletes a review: who has written it, or an admin. Once it is answered, questions at this node go by the provider's new rating.
/// Its booking is not reviewed anew.
#[utoipa::path(
    delete,
    path = "/v1/reviews/{id}",
    tag = "reviews",
    params(("id" = i64, Path)),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`about_oneself`: another admin decides", body = ProblemBody)
    )
)]
pub async fn delete(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    if caller.is_admin() {
        not_about(&engine, id, &caller).await?;
    }
    let gone = engine.delete_review(id, caller.user, caller.is_admin()).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("Review")) }
}
