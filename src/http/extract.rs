//! What handlers take from a request: the fields of a query or a body, and path parameters.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};

pub use super::fields::{Fields, Given, read};
use super::problem::Problem;

impl<S: Send + Sync> FromRequestParts<S> for Fields {
    type Rejection = Problem;

    /// The fields of the query string.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::of_query(parts.uri.query().unwrap_or_default()))
    }
}

/// The fields of a JSON body, and the body as it came (for `Idempotency-Key`).
pub struct Body {
    /// To be read.
    pub fields: Fields,
    /// Exactly as sent.
    pub bytes: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    /// 415 unless it says that it is JSON, 413 when it is too big, 400 when it is not JSON, 422 when no object.
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !says_json(&request) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Send the body as application/json.",
            ));
        }
        let bytes = read_bytes(request, state).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Ok(Self { fields: Fields::of_body(map), bytes }),
            Ok(other) => {
                let given = Given::Json(&other).to_string();
                Err(Problem::field("invalid", "body", format!("The body must be a JSON object; {given} is not.")))
            }
            Err(error) => Err(bad_json(&error)),
        }
    }
}

/// A body as it came, whatever it says that it is.
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    /// 413 when it is too big.
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        read_bytes(request, state).await.map(Self)
    }
}

/// An empty body, or a JSON object: for calls whose fields are all optional.
pub struct OptionalBody(pub Body);

impl<S: Send + Sync> FromRequest<S> for OptionalBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if says_json(&request) {
            let bytes = read_bytes(request, state).await?;
            if bytes.is_empty() {
                return Ok(Self(Body { fields: Fields::of_body(Map::new()), bytes }));
            }
            let mut again = Request::new(axum::body::Body::from(bytes));
            again.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            return Body::from_request(again, state).await.map(Self);
        }
        let typed = request.headers().contains_key(header::CONTENT_TYPE);
        let bytes = read_bytes(request, state).await?;
        if typed || !bytes.is_empty() {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Send the body as application/json, or none.",
            ));
        }
        Ok(Self(Body { fields: Fields::of_body(Map::new()), bytes }))
    }
}

/// Reads the whole body, within the router's limit.
pub async fn read_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("The body is longer than {} bytes.", super::BODY_LIMIT),
        ),
        status => Problem::new(status, "bad_body", rejection.body_text()),
    })
}

/// 400 `bad_json`, with the place of the mistake.
pub fn bad_json(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_json", format!("The body is not JSON: {error}."))
}

fn says_json(request: &Request) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// One path parameter, read like a field. A value that cannot be an id is 404: there is no such thing.
pub async fn path<S: Send + Sync, T>(
    parts: &mut Parts,
    state: &S,
    name: &str,
    read: impl FnOnce(Given<'_>) -> Result<T, String>,
) -> Result<T, Problem> {
    let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::not_found("Resource"))?;
    let value = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    value.and_then(|value| read(Given::Text(value)).ok()).ok_or_else(|| Problem::not_found("Resource"))
}

/// `{uuid}` of the path.
pub struct PathUuid(pub uuid::Uuid);

impl<S: Send + Sync> FromRequestParts<S> for PathUuid {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path(parts, state, "uuid", read::uuid).await.map(Self)
    }
}

/// `{id}` of the path.
pub struct PathId(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path(parts, state, "id", read::integer(1, i64::MAX)).await.map(Self)
    }
}

/// `{file}` of the path.
pub struct PathFile(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathFile {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path(parts, state, "file", read::text(100)).await.map(Self)
    }
}
