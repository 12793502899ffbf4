//! What stands before every handler: the request's id and trace, its log line and metrics, panics, time, tokens, rate.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
#[cfg(test)]
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::Instrument;
use uuid::Uuid;

use super::BODY_LIMIT;
use super::access::{ROUTES, Table, TokenIn};
use super::auth::Authenticator;
use super::credentials;
use super::measures::{Measures, known};
use super::ops::page::Visitor;
use super::peer::{Peer, Proxies};
use super::problem::Problem;
use super::rate_limit::{Allowance, RateLimiter};
use crate::clock;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest request id taken over from a client.
const REQUEST_ID_LONGEST: usize = 128;

/// A handler that has not begun to answer by then is given up. Streams have begun long before.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The router's, and all that stands before it.
pub struct Guard {
    router: Router,
    table: Table,
    measures: Measures,
    authenticator: Authenticator,
    limiter: RateLimiter,
    proxies: Proxies,
}

impl Guard {
    /// To be made after the process's metrics are set up, as [`Measures`] says.
    pub fn new(router: Router, authenticator: Authenticator, limiter: RateLimiter, proxies: Proxies) -> Self {
        Self { router, table: Table::of_routes(), measures: Measures::new(), authenticator, limiter, proxies }
    }

    /// Before routes that are none of the table's, so that nobody is asked for a token.
    #[cfg(test)]
    pub(super) fn of_none(router: Router) -> Self {
        let pool = sqlx::PgPool::connect_lazy_with(sqlx::postgres::PgConnectOptions::new());
        let authenticator = Authenticator::start(pool, CancellationToken::new());
        Self::new(router, authenticator, RateLimiter::new(0), Proxies::default())
    }

    /// Answers one request that came on a connection from `peer`: gives it its id, one span, one log line, its metrics, and turns
    /// panics into 500.
    ///
    /// The span holds the route's pattern, never the query (customers' places) nor a header (tokens).
    pub async fn answer(self: Arc<Self>, mut request: Request, peer: IpAddr) -> Response {
        let started = clock::monotonic();
        let method = request.method().clone();
        let found = self.table.find(method.as_str(), request.uri().path());
        if method == Method::PUT && found.route.is_some_and(|at| ROUTES[at].method == "PATCH") {
            *request.method_mut() = Method::PATCH;
        }
        let id = request_id(request.headers());
        let span = tracing::info_span!(
            "request",
            method = known(method.as_str()),
            route = found.pattern,
            request_id = %id.to_str().unwrap_or_default(),
            trace_id = tracing::field::Empty,
            parent_span_id = tracing::field::Empty,
        );
        if let Some((trace, parent)) = traceparent(request.headers()) {
            span.record("trace_id", trace);
            span.record("parent_span_id", parent);
        }
        async {
            let admitted = pin!(AssertUnwindSafe(self.admit(request, peer, found.route, started)).catch_unwind());
            let mut response = match within(ANSWER_WITHIN, admitted).await {
                Some(Ok(response)) => response,
                Some(Err(panic)) => {
                    tracing::error!(panic = panic_text(panic.as_ref()), "a handler panicked");
                    Problem::internal().into_response()
                }
                None => {
                    tracing::error!(seconds = ANSWER_WITHIN.as_secs(), "a handler did not answer in time");
                    Problem::unavailable("The service did not answer in time; try again.").into_response()
                }
            };
            response.headers_mut().insert(REQUEST_ID, id);
            let (status, took) = (response.status(), started.elapsed());
            self.measures.note(method.as_str(), found, status, took);
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

    /// Lets in whom [`ROUTES`] lets in, at the rate that the token has. Handlers then find the caller with
    /// [`super::auth::Caller`]; what is no route finds none, and is answered with 404 or 405.
    async fn admit(&self, mut request: Request, peer: IpAddr, route: Option<usize>, now: Instant) -> Response {
        // Who has no token is known by his address; and what somebody with one does to passwords is counted by it, too.
        let client = self.proxies.client(peer, request.headers());
        request.extensions_mut().insert(Peer(client));
        let Some(route) = route.map(|at| &ROUTES[at]).filter(|route| route.who.needs_token()) else {
            return self.handle(request).await;
        };
        let visitor = if route.is_page { Visitor::of(&request) } else { None };
        let refused = |problem: Problem| match &visitor {
            Some(visitor) => visitor.refused(problem),
            None => problem.into_response(),
        };
        if route.token_in == TokenIn::Form {
            request = credentials::out_of_form(request).await;
        }
        let verified = match credentials::take(&mut request, route.token_in) {
            Some(token) if route.goes_on => self.authenticator.verify_for_stream(&token).await.map_err(Problem::from),
            Some(token) => self.authenticator.verify(&token, now).await.map_err(Problem::from),
            None => Err(Problem::unauthenticated()),
        };
        let caller = match verified {
            Ok(caller) => caller,
            Err(problem) => return credentials::challenge(refused(problem), route.token_in),
        };
        let allowance = self.limiter.take(caller.token, now);
        let refusal = allowance.and_then(Allowance::refusal).or_else(|| route.who.admits(&caller).err());
        let mut response = match refusal {
            Some(problem) => refused(problem),
            None => {
                request.extensions_mut().insert(caller);
                self.handle(request).await
            }
        };
        // A refusal of the handler's own speaks of its own limit.
        let own = response.status() == StatusCode::TOO_MANY_REQUESTS && Allowance::is_in(response.headers());
        if let Some(allowance) = allowance.filter(|_| !own) {
            allowance.write(response.headers_mut());
        }
        response
    }

    fn handle(&self, mut request: Request) -> impl Future<Output = Response> + use<> {
        if !request.body().is_end_stream() {
            DefaultBodyLimit::max(BODY_LIMIT).apply(&mut request);
        }
        self.router.clone().call(request).map(|Ok(response)| response)
    }
}

/// What the future gives, or `None` when the time is up first. One that gives it at once needs no timer.
async fn within<T>(limit: Duration, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut late = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let late = late.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        late.as_mut().poll(cx).map(|()| None)
    })
    .await
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
    use axum::body::Body;
    use axum::routing::get;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    async fn ask(guard: &Arc<Guard>, path: &str) -> Response {
        let request = axum::http::Request::get(path).header(REQUEST_ID, "req-1").body(Body::empty());
        Arc::clone(guard).answer(request.expect("a request"), std::net::Ipv4Addr::LOCALHOST.into()).await
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_with_a_problem_and_the_next_request_is_served() {
        let router = Router::new()
            .route("/panics", get(|| async { panic!("a bug") as () }))
            .route("/panics_later", get(|| tokio::task::yield_now().map(|()| panic!("a bug") as ())))
            .route("/works", get(|| async {}));
        let guard = Arc::new(Guard::of_none(router));
        for path in ["/panics", "/panics_later"] {
            let response = ask(&guard, path).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(response.headers()[REQUEST_ID], "req-1");
            let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
            assert!(!String::from_utf8_lossy(&body).contains("a bug"), "what happened is for the log");
        }
        assert_eq!(ask(&guard, "/works").await.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_does_not_answer_in_time_is_given_up_and_a_slow_one_is_not() {
        let slow = || tokio::time::sleep(ANSWER_WITHIN - Duration::from_secs(1));
        let router = Router::new().route("/never", get(std::future::pending::<()>)).route("/slow", get(slow));
        let guard = Arc::new(Guard::of_none(router));
        let patience = ANSWER_WITHIN + Duration::from_secs(1);
        let response = tokio::time::timeout(patience, ask(&guard, "/never")).await.expect("given up");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(ask(&guard, "/slow").await.status(), StatusCode::OK);
    }

    #[test]
    fn what_is_counted_by_method_is_not_named_by_clients() {
        assert_eq!(["GET", "DELETE", "get", "BREW", ""].map(known), ["GET", "DELETE", "other", "other", "other"]);
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
