//! Requests, counted and timed by route. To look a metric up hashes its name and every label, so what a good answer of
//! a known route needs is looked up once.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

use super::access::{Found, ROUTES};

const REQUESTS: &str = "spacall_http_requests_total";
const SECONDS: &str = "spacall_http_request_seconds";

/// The metrics of [`ROUTES`]. To be made after the process's recorder is set up: what is looked up before is lost.
pub(super) struct Measures {
    /// In the order of [`ROUTES`].
    routes: Vec<OfRoute>,
}

#[derive(Default)]
struct OfRoute {
    ok: OnceLock<Counter>,
    seconds: OnceLock<Histogram>,
}

impl Measures {
    /// Of all routes; none shows before its first request.
    pub(super) fn new() -> Self {
        Self { routes: ROUTES.iter().map(|_| OfRoute::default()).collect() }
    }

    /// One answer, by the pattern of its route and never by the path as it was asked.
    pub(super) fn note(&self, method: &str, found: Found, status: StatusCode, took: Duration) {
        let (method, route) = (known(method), found.pattern);
        let Some(of) = found.route.filter(|at| ROUTES[*at].method == method).and_then(|at| self.routes.get(at)) else {
            count(method, route, status).increment(1);
            histogram!(SECONDS, "route" => route).record(took.as_secs_f64());
            return;
        };
        if status == StatusCode::OK {
            of.ok.get_or_init(|| count(method, route, status)).increment(1);
        } else {
            count(method, route, status).increment(1);
        }
        of.seconds.get_or_init(|| histogram!(SECONDS, "route" => route)).record(took.as_secs_f64());
    }
}

/// A method as a label: one that nobody registered is any text that a client likes, and every text would be kept for ever.
pub(super) fn known(method: &str) -> &'static str {
    const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

fn count(method: &'static str, route: &'static str, status: StatusCode) -> Counter {
    let labels = [("method", method.to_owned()), ("route", route.into()), ("status", status.as_str().to_owned())];
    counter!(REQUESTS, &labels)
}
