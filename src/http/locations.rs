//! `POST /v1/locations`: fixes of apps in the background, by the same way as those of a socket.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::auth::Caller;
use super::extract::Body;
use super::problem::Problem;
use super::stream::Desk;
use super::stream::intake::{Intake, Judged, TooFast};
use crate::core::ids::ProviderId;
use crate::store::journal::{JournalStopped, Receipts};
use crate::wire::stream::Rejected;

/// An app in the background does not live long: better an answer that says "again later".
const COMMIT_WITHIN: Duration = Duration::from_secs(10);

/// What became of the fixes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Stored {
    /// All fixes up to here are committed, or were rejected. Null: none had a seq that could be read.
    pub acked_seq: Option<u32>,
    /// Fixes that were not taken.
    pub rejected: Vec<Rejected>,
}

/// Stores a therapist's fixes, at most 1,000, and answers after the commit. Each is judged for itself.
pub async fn create<D: Desk>(
    State(desk): State<Arc<D>>,
    Caller(caller): Caller,
    Body { fields, .. }: Body,
) -> Result<Json<Stored>, Problem> {
    let therapist = caller.therapist().ok_or_else(|| Problem::forbidden("This is for therapists."))?;
    let fixes = match fields.raw("fixes") {
        Some(Value::Array(fixes)) => fixes,
        Some(_) => return Err(Problem::field("invalid", "fixes", "The fixes field must be a list.")),
        None => return Err(Problem::field("invalid", "fixes", "The fixes field is required.")),
    };
    Ok(Json(store(&*desk, therapist, |intake| intake.json(&*desk, &fixes)).await?))
}

/// Takes fixes as `judge` reads them, and returns after their commit.
///
/// # Errors
/// 429 when none was taken, 503 when they were not committed in time: in both cases all of them are to be sent again, after
/// what `Retry-After` says.
pub(super) async fn store<D: Desk>(
    desk: &D,
    therapist: ProviderId,
    judge: impl FnOnce(&mut Intake) -> Result<Judged, TooFast>,
) -> Result<Stored, Problem> {
    desk.introduce(therapist).await?;
    let receipts = Arc::new(Receipts::default());
    let mut intake = Intake::new(therapist, Arc::clone(&receipts));
    let judged = judge(&mut intake).map_err(too_fast)?;
    let mut rejected = judged.rejected;
    let Some(good) = judged.good else { return Ok(Stored { acked_seq: None, rejected }) };
    let commit = async {
        let room = desk.journal().room(good.rows()).await?;
        if let Some(shown) = good.take(desk, room)?
            && desk.bus().is_watched(shown.booking)
        {
            desk.bus().position(shown.booking, shown.position());
        }
        Ok::<_, JournalStopped>(receipts.settled().await)
    };
    match tokio::time::timeout(COMMIT_WITHIN, commit).await {
        Ok(Ok(settled)) => {
            rejected.extend(settled.rejected);
            Ok(Stored { acked_seq: settled.acked, rejected })
        }
        Ok(Err(JournalStopped)) | Err(_) => {
            Err(Problem::unavailable("The fixes could not be stored in time; send all of them again."))
        }
    }
}

fn too_fast(refused: TooFast) -> Problem {
    let problem = |text| Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_fast", text);
    let parts = format!("None of these was taken: {refused}. Send at most {} in one request", refused.burst);
    match refused.again_in {
        Some(wait) => {
            // Whole seconds, and one more: then it is surely over.
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
            let text =
                format!("{parts}, or all of them again in {seconds} s; fixes older than a minute are not limited.");
            problem(text).retry_after(seconds)
        }
        None => problem(format!("{parts}.")),
    }
}
