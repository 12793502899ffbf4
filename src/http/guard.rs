//! What stands before every handler: the request's id and trace, its log line and metrics, panics, time, tokens, rate.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use super::access;
use super::auth::{Authenticator, Principal};
use super::credentials;
use super::measures::Measures;
use super::problem::Problem;
use super::rate_limit::RateLimiter;
use crate::clock;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest request id taken over from a client.
const REQUEST_ID_LONGEST: usize = 128;

/// A handler that has not begun to answer by then is given up. Streams have begun long before.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What the guard needs.
#[derive(Clone)]
pub struct Guard {
    /// Checks tokens.
    pub authenticator: Authenticator,
    /// Counts requests.
    pub limiter: Arc<RateLimiter>,
}

/// The outermost layer: gives the request its id, one span, one log line, its metrics, and turns panics into 500.
///
/// The span holds the route's pattern, never the query (customers' places) nor a header (tokens).
pub async fn observe(State(measures): State<Arc<Measures>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let id = request_id(request.headers());
    let span = tracing::info_span!(
        "request",
        %method,
        route,
        request_id = %id.to_str().unwrap_or_default(),
        trace_id = tracing::field::Empty,
        parent_span_id = tracing::field::Empty,
    );
    if let Some((trace, parent)) = traceparent(request.headers()) {
        span.record("trace_id", trace);
        span.record("parent_span_id", parent);
    }
    async {
        let started = clock::monotonic();
        let answer = tokio::time::timeout(ANSWER_WITHIN, AssertUnwindSafe(next.run(request)).catch_unwind());
        let mut response = match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => {
                tracing::error!(panic = panic_text(panic.as_ref()), "a handler panicked");
                Problem::internal().into_response()
            }
            Err(_) => {
                tracing::error!(seconds = ANSWER_WITHIN.as_secs(), "a handler did not answer in time");
                Problem::unavailable("The service did not answer in time; try again.").into_response()
            }
        };
        response.headers_mut().insert(REQUEST_ID, id.clone());
        let (status, took) = (response.status(), started.elapsed());
        measures.note(method.as_str(), route, status, took);
        let (status, took_us) = (status.as_u16(), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if status >= 500 {
            tracing::warn!(status, took_us, "answered");
        } else {
            tracing::debug!(status, took_us, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// Lets in whom [`access::ROUTES`] lets in, at the rate that the token has. Handlers then find the caller with
/// [`super::auth::Caller`]; a route that the table does not know finds none.
pub async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let Some(route) = path.and_then(|path| access::find(request.method().as_str(), path.as_str())) else {
        return next.run(request).await; // 404 or 405
    };
    let who = route.who;
    if !who.needs_token() {
        request.extensions_mut().insert(guard.authenticator);
        return next.run(request).await;
    }
    let caller = match authenticate(&guard, credentials::take(&mut request, route.token_in)).await {
        Ok(caller) => caller,
        Err(problem) => return credentials::challenge(problem.into_response(), route.token_in),
    };
    let allowance = guard.limiter.take(caller.token, clock::monotonic());
    let mut response = match allowance.and_then(super::rate_limit::Allowance::refusal) {
        Some(problem) => problem.into_response(),
        None => match who.admits(&caller) {
            Err(problem) => problem.into_response(),
            Ok(()) => {
                request.extensions_mut().insert(caller);
                request.extensions_mut().insert(guard.authenticator);
                next.run(request).await
            }
        },
    };
    if let Some(allowance) = allowance {
        allowance.write(response.headers_mut());
    }
    response
}

async fn authenticate(guard: &Guard, token: Option<String>) -> Result<Arc<Principal>, Problem> {
    let token = token.ok_or_else(Problem::unauthenticated)?;
    Ok(guard.authenticator.verify(&token).await?)
}

/// The client's id, if it is one that can be logged and sent back; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fits = |id: &&HeaderValue| {
        (1..=REQUEST_ID_LONGEST).contains(&id.len())
            && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
    };
    headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(new_request_id)
}

/// A UUID of version 7, from this thread's random numbers: the system's cost a call each.
fn new_request_id() -> HeaderValue {
    let millis = u64::try_from(clock::now().micros() / 1_000).unwrap_or_default();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
    let mut text = Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static("-"))
}

/// Trace id and parent id of a W3C `traceparent`: `00-{32 hex}-{16 hex}-{2 hex}`, neither id all zeros.
fn traceparent(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let real = |text: &str| text.bytes().any(|b| b != b'0');
    let whole = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    (whole && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && real(trace) && real(parent))
        .then_some((trace, parent))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// 404 for what is no route.
pub async fn no_such_route() -> Problem {
    Problem::not_found("Route")
}

/// 405 for a route without this method. axum adds `Allow`.
pub async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This route does not have this method.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_with_a_problem_and_the_next_request_is_served() {
        let router = axum::Router::new()
            .route("/panics", axum::routing::get(|| async { panic!("a bug") as () }))
            .route("/works", axum::routing::get(|| async {}))
            .layer(axum::middleware::from_fn_with_state(Arc::new(Measures::new()), observe));
        let ask = |path: &'static str| {
            let request = axum::http::Request::get(path).header(REQUEST_ID, "req-1").body(axum::body::Body::empty());
            tower::ServiceExt::oneshot(router.clone(), request.expect("a request"))
        };
        let response = ask("/panics").await.expect("an answer");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()[REQUEST_ID], "req-1");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
        assert!(!String::from_utf8_lossy(&body).contains("a bug"), "what happened is for the log");
        assert_eq!(ask("/works").await.expect("an answer").status(), StatusCode::OK);
    }

    #[test]
    fn a_clients_request_id_is_kept_unless_it_could_forge_a_log_line() {
        assert_eq!(request_id(&headers(REQUEST_ID, "req-42")), "req-42");
        for bad in ["", "a b", "a\tb", "\"x\""] {
            assert_ne!(request_id(&headers(REQUEST_ID, bad)), bad, "{bad:?}");
        }
    }

    #[test]
    fn only_a_whole_traceparent_is_honoured() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(
            traceparent(&headers(TRACEPARENT, good)),
            Some(("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))
        );
        for bad in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "x",
        ] {
            assert_eq!(traceparent(&headers(TRACEPARENT, bad)), None, "{bad}");
        }
    }
}
