//! Offers, to the therapist who is asked.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::auth::{Caller, Principal};
use super::extract::{OptionalBody, PathId, read};
use super::page::{Page, WholeList};
use super::payment;
use super::problem::{Problem, ProblemBody};
use crate::core::ids::{OfferId, ProviderId};
use crate::engine::Engine;
use crate::store::offers::{self, AcceptOutcome, DeclineOutcome};
use crate::wire::booking::Booking;
use crate::wire::stream::{Offer, OfferEnd};

/// The caller's live offers, oldest first.
#[utoipa::path(
    get,
    path = "/v1/offers",
    tag = "therapist",
    params(WholeList),
    responses((status = 200, body = Page<Offer>), (status = 422, body = ProblemBody))
)]
pub async fn list(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    list: WholeList,
) -> Result<Json<Page<Offer>>, Problem> {
    Ok(Json(list.page(offers::live_for(&engine.pool, therapist(&caller)?).await?)))
}

/// Takes the booking. Exactly one accept wins; the winner may repeat it.
#[utoipa::path(
    post,
    path = "/v1/offers/{id}/accept",
    tag = "therapist",
    params(("id" = i64, Path)),
    responses(
        (status = 200, body = Booking),
        (status = 404, description = "No such offer, or another's", body = ProblemBody),
        (status = 409, description = "`offer_gone`, with `reason`; `insufficient_balance`: the booking was cancelled", body = ProblemBody)
    )
)]
pub async fn accept(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    _: OptionalBody,
) -> Result<Json<Booking>, Problem> {
    match engine.accept(OfferId(id), therapist(&caller)?).await? {
        AcceptOutcome::Accepted(accepted) => Ok(Json(accepted.view.shown_to(caller.user))),
        AcceptOutcome::Gone { reason, .. } => Err(gone(reason)),
        AcceptOutcome::Unpaid { .. } => Err(payment::insufficient_balance()),
        AcceptOutcome::NotYours => Err(Problem::not_found("Offer")),
    }
}

/// Why a therapist does not want a booking.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Decline {
    /// In his words, at most 500 characters; kept for ops.
    #[schema(example = "too_far")]
    pub reason: Option<String>,
}

/// A declined offer.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Declined {
    /// Which.
    pub offer_id: i64,
    /// `declined`
    #[schema(value_type = String, example = "declined")]
    pub reason: OfferEnd,
}

/// Does not take the booking; he is not asked for it again. May be repeated.
#[utoipa::path(
    post,
    path = "/v1/offers/{id}/decline",
    tag = "therapist",
    params(("id" = i64, Path)),
    request_body = Option<Decline>,
    responses(
        (status = 200, body = Declined),
        (status = 404, description = "No such offer, or another's", body = ProblemBody),
        (status = 409, description = "`offer_gone`, with `reason`", body = ProblemBody)
    )
)]
pub async fn decline(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathId(id): PathId,
    OptionalBody(mut body): OptionalBody,
) -> Result<Json<Declined>, Problem> {
    let reason = body.fields.optional("reason", read::text(500));
    let reason = body.fields.finish(Some(reason))?;
    match engine.decline(OfferId(id), therapist(&caller)?, reason).await? {
        DeclineOutcome::Declined { .. } => Ok(Json(Declined { offer_id: id, reason: OfferEnd::Declined })),
        DeclineOutcome::Gone { reason, .. } => Err(gone(reason)),
        DeclineOutcome::NotYours => Err(Problem::not_found("Offer")),
    }
}

fn therapist(caller: &Principal) -> Result<ProviderId, Problem> {
    caller.therapist().ok_or_else(|| Problem::forbidden("This is for therapists."))
}

fn gone(reason: OfferEnd) -> Problem {
    let word = match reason {
        OfferEnd::Accepted => "accepted",
        OfferEnd::Declined => "declined",
        OfferEnd::Expired => "expired",
        OfferEnd::Withdrawn => "withdrawn",
    };
    Problem::conflict("offer_gone", format!("The offer is no longer live: {word}.")).with("reason", word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_that_is_gone_says_why_in_the_wires_word() {
        for reason in [OfferEnd::Accepted, OfferEnd::Declined, OfferEnd::Expired, OfferEnd::Withdrawn] {
            let json = gone(reason).to_json();
            assert_eq!(json["code"], "offer_gone");
            assert_eq!(Some(json["reason"].clone()), serde_json::to_value(reason).ok());
        }
    }
}
