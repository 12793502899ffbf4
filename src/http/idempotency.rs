//! `Idempotency-Key`.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Required, Schema};

use super::auth::Principal;
use super::problem::{Problem, UNAVAILABLE_RETRY_S};
use crate::engine::Engine;
use crate::store::StoreError;
use crate::store::idempotency::{self, Begun, Claim, Key, Once};

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

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let key =
            ParameterBuilder::new().name("Idempotency-Key").parameter_in(ParameterIn::Header).required(Required::False);
        let key = key.description(Some("Repeat the request with the same key and get the same answer"));
        let text = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null])).build();
        vec![key.schema(Some(Schema::Object(text))).build()]
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

/// A request that makes something and is answered with it.
pub(super) enum Making {
    /// It is to be made: in this transaction, then [`made`].
    Now(Begun),
    /// It was made before; this was the answer.
    Before(Response),
}

/// Begins, unless the key's first request has been answered. `collection`: the path below which it will be found, if it will.
///
/// # Errors
/// 422 `idempotency_key_reused`, 409 `idempotency_in_flight`.
pub(super) async fn begin(
    engine: &Engine,
    caller: &Principal,
    key: Option<Key>,
    collection: Option<&str>,
) -> Result<Making, Problem> {
    Ok(match begin_of_private(engine, caller, key).await? {
        MakingPrivate::Now(once) => Making::Now(once),
        MakingPrivate::Before(body) => Making::Before(created(body, collection)),
    })
}

/// The same of what must not outlive its row: only by what it is found is kept.
pub(super) enum MakingPrivate {
    /// It is to be made: in this transaction, then [`made_private`].
    Now(Begun),
    /// It was made before, and this was kept of it: it is answered as it is now, with [`again`].
    Before(Value),
}

/// As [`begin`].
///
/// # Errors
/// As [`begin`].
pub(super) async fn begin_of_private(
    engine: &Engine,
    caller: &Principal,
    key: Option<Key>,
) -> Result<MakingPrivate, Problem> {
    match idempotency::begin(&engine.pool, caller.user, key).await? {
        Ok(once) => Ok(MakingPrivate::Now(once)),
        Err(claim) => before(claim).map(MakingPrivate::Before),
    }
}

/// Commits, keeping nothing but `found_by` for the key, and answers 201 with what was made. `list` as of [`not_done`].
pub(super) async fn made_private(
    once: Begun,
    found_by: &Value,
    row: &impl Serialize,
    collection: Option<&str>,
    list: &str,
) -> Result<Response, Problem> {
    keep(once, found_by, list).await?;
    again(row, collection)
}

/// Answers 201 with what was made, as it is now.
pub(super) fn again(row: &impl Serialize, collection: Option<&str>) -> Result<Response, Problem> {
    Ok(created(json(row)?, collection))
}

fn json(row: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(row).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Problem::internal()
    })
}

/// Commits, and answers 201 with what was made. `list` as of [`not_done`].
pub(super) async fn made(
    once: Begun,
    row: &impl Serialize,
    collection: Option<&str>,
    list: &str,
) -> Result<Response, Problem> {
    let body = json(row)?;
    keep(once, &body, list).await?;
    Ok(created(body, collection))
}

async fn keep(once: Begun, answer: &Value, list: &str) -> Result<(), Problem> {
    let keyed = once.is_keyed();
    let kept = once.answer(StatusCode::CREATED.as_u16(), answer).await;
    kept.map_err(|error| not_done(error, keyed, "it was made", list))
}

/// 201 with what was made, and where it is.
pub(super) fn created(body: Value, collection: Option<&str>) -> Response {
    let id = body["uuid"].as_str().map(str::to_owned).or_else(|| body["id"].as_i64().map(|id| id.to_string()));
    let location = collection.zip(id).and_then(|(path, id)| HeaderValue::from_str(&format!("{path}/{id}")).ok());
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
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

/// The answer where the store makes it: 201 with what was made, or the answer that was given before. `collection` as of
/// [`begin`]; `refused` says why not.
pub(super) fn answer<T, R>(
    once: Once<T, R>,
    collection: Option<&str>,
    refused: impl FnOnce(R) -> Problem,
) -> Result<Response, Problem> {
    Ok(created(body(once, refused)?, collection))
}

/// The same where what is there is moved: 200 with the row as it stands.
pub(super) fn moved<T, R>(once: Once<T, R>, refused: impl FnOnce(R) -> Problem) -> Result<Json<Value>, Problem> {
    body(once, refused).map(Json)
}

fn body<T, R>(once: Once<T, R>, refused: impl FnOnce(R) -> Problem) -> Result<Value, Problem> {
    match once {
        Once::Made(_, body) => Ok(body),
        Once::Before(claim) => before(claim),
        Once::Refused(why) => Err(refused(why)),
    }
}

/// The answer that was given before.
///
/// # Errors
/// What its key says in place of one.
pub(super) fn before(claim: Claim) -> Result<Value, Problem> {
    match claim {
        Claim::Replay { body, .. } => Ok(body),
        Claim::Reused => Err(reused()),
        Claim::InFlight | Claim::New => Err(in_flight()),
    }
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
