//! `Idempotency-Key`.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::problem::{Problem, UNAVAILABLE_RETRY_S};
use crate::store::StoreError;
use crate::store::idempotency::Key;
use crate::store::once::{Before, Once};

/// Longest key, characters: the column's width.
const LONGEST: usize = 255;

/// The header as it came, with what its request is known again by.
pub struct IdempotencyKey {
    key: Option<String>,
    method: Method,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let key = match parts.headers.get("idempotency-key") {
            None => None,
            Some(value) => Some(
                value
                    .to_str()
                    .ok()
                    .map(str::trim)
                    .filter(|key| (1..=LONGEST).contains(&key.len()))
                    .map(str::to_owned)
                    .ok_or_else(bad_key)?,
            ),
        };
        Ok(Self { key, method: parts.method.clone(), path: parts.uri.path().to_owned() })
    }
}

impl IdempotencyKey {
    /// The key for the store, if one was given. The hash covers method, path and body, so that the same key on another
    /// request is found out.
    pub fn of(self, body: &[u8]) -> Option<Key> {
        let mut hash = Sha256::new();
        for part in [self.method.as_str().as_bytes(), self.path.as_bytes(), body] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        self.key.map(|key| Key { key, request_hash: hash.finalize().into() })
    }
}

fn bad_key() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad_idempotency_key",
        format!("The Idempotency-Key header must be 1 to {LONGEST} visible ASCII characters."),
    )
}

/// 422: the key belongs to another request.
pub fn reused() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        "This Idempotency-Key was used for another request.",
    )
}

/// 409: the first request with the key is not answered yet.
pub fn in_flight() -> Problem {
    Problem::conflict("idempotency_in_flight", "The first request with this Idempotency-Key is still being answered.")
        .retry_after(1)
}

/// The answer to a request that makes something: 201 with it, or the answer that was given before. `refused` says why not.
pub fn answer<T, R>(once: Once<T, R>, refused: impl FnOnce(R) -> Problem) -> Result<Response, Problem> {
    let (status, body) = match once {
        Once::Made(_, body) => (StatusCode::CREATED, body),
        Once::Before(Before::Replay { status, body }) => {
            (StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED), body)
        }
        Once::Before(Before::KeyReused) => return Err(reused()),
        Once::Before(Before::InFlight) => return Err(in_flight()),
        Once::Refused(why) => return Err(refused(why)),
    };
    Ok((status, Json(body)).into_response())
}

/// Something may have been made though nobody can tell: who asks again without a key may make it twice, and is not asked to.
/// `done`: `it was booked`; `list`: where he can see it.
pub fn not_done(error: StoreError, keyed: bool, done: &str, list: &str) -> Problem {
    if !matches!(error, StoreError::Undecided(_)) {
        return error.into();
    }
    tracing::warn!(%error, "whether {done} is not known");
    let text = format!(
        "Whether {done} is not known. Repeat the request with the same Idempotency-Key, or look in GET {list}."
    );
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "undecided", text);
    if keyed { problem.retry_after(UNAVAILABLE_RETRY_S) } else { problem }
}
