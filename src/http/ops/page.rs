//! `/ops`, the live map: its files from `web/`, which are part of the binary, and the cookie that opens it.
//!
//! The cookie holds the admin's token itself, so it means what the token means at every moment: revoked, expired or of
//! somebody who is no admin any more, it opens nothing. Scripts cannot read it, other sites cannot use it, and no route
//! that changes anything takes it ([`super::super::access`]).

use std::sync::LazyLock;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;

use super::super::auth::bearer;
use super::super::credentials::{self, COOKIE, is_own_page};
use super::super::extract::PathFile;
use super::super::problem::{Problem, ProblemBody};
use crate::cities;

/// Where the browser sends the cookie, and nowhere else: the page, and what it reads.
const COOKIE_PATHS: [&str; 2] = ["/ops", "/v1/ops"];

/// The browser forgets the token after so long, if nothing else ends it: 30 days.
const KEPT_S: u32 = 30 * 86_400;

const MAP: &str = include_str!("../../../web/map.html");
const LOG_IN: &str = include_str!("../../../web/login.html");

/// Where the log-in page says why it is shown.
const WHY: &str = "<!-- why -->";

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, kind and text of every file of the page.
static FILES: LazyLock<[(&str, &str, &str); 11]> = LazyLock::new(|| {
    [
        ("style.css", "text/css; charset=utf-8", include_str!("../../../web/style.css")),
        ("icon.svg", "image/svg+xml", include_str!("../../../web/icon.svg")),
        ("login.js", SCRIPT, include_str!("../../../web/login.js")),
        ("main.js", SCRIPT, include_str!("../../../web/main.js")),
        ("feed.js", SCRIPT, include_str!("../../../web/feed.js")),
        ("fleet.js", SCRIPT, include_str!("../../../web/fleet.js")),
        ("view.js", SCRIPT, include_str!("../../../web/view.js")),
        ("draw.js", SCRIPT, include_str!("../../../web/draw.js")),
        ("marks.js", SCRIPT, include_str!("../../../web/marks.js")),
        ("panel.js", SCRIPT, include_str!("../../../web/panel.js")),
        ("cities.json", "application/json", CITIES.as_str()),
    ]
});

/// The names on the map.
static CITIES: LazyLock<String> = LazyLock::new(|| {
    let city = |city: cities::City| {
        json!({"name": city.name, "latitude": city.centre.latitude(), "longitude": city.centre.longitude(),
               "population": city.population, "spread_km": city.spread_km})
    };
    json!(cities::metro_manila().into_iter().map(city).collect::<Vec<_>>()).to_string()
});

/// What the page may do: load its own files, and ask this service. Nothing from elsewhere, nothing written into it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The live map. Who is not logged in gets, in a browser, a page that asks for a token.
#[utoipa::path(
    get,
    path = "/ops",
    tag = "ops",
    responses((status = 200, description = "The live map", body = String, content_type = "text/html"))
)]
pub async fn show() -> Response {
    html(StatusCode::OK, MAP.to_owned())
}

/// To the live map, for who wrote its address with a slash: its parts are below it.
#[utoipa::path(get, path = "/ops/", tag = "ops", responses((status = 303, description = "To `/ops`")))]
pub async fn with_slash() -> Redirect {
    Redirect::to("/ops")
}

/// Logs a browser in: an admin's token, in the form's field `token`, becomes a cookie that only the live map and what it
/// reads take. It lasts 30 days, or until the token does not.
#[utoipa::path(
    post,
    path = "/ops",
    tag = "ops",
    request_body(content = Object, content_type = "application/x-www-form-urlencoded", example = json!({"token": "1|secret"})),
    responses((
        status = 303, description = "To `/ops`",
        headers(("set-cookie" = String, description = "`spacall_ops`, HttpOnly, SameSite=Strict"))
    ))
)]
pub async fn log_in(headers: HeaderMap) -> Result<Response, Problem> {
    // The guard has found it good, and an admin's.
    let token = bearer(&headers).ok_or_else(Problem::unauthenticated)?;
    back_with(&headers, token, KEPT_S)
}

/// Logs a browser out: its cookie is forgotten. The token stays good.
#[utoipa::path(
    post,
    path = "/ops/logout",
    tag = "ops",
    responses((status = 303, description = "To `/ops`, which asks for a token"), (status = 403, body = ProblemBody))
)]
pub async fn log_out(headers: HeaderMap) -> Result<Response, Problem> {
    if !is_own_page(&headers) {
        return Err(Problem::forbidden("Only the live map itself logs out of it."));
    }
    back_with(&headers, "", 0)
}

/// A part of the live map: no more than the program, so anyone may have it.
#[utoipa::path(
    get,
    path = "/ops/{file}",
    tag = "ops",
    params(("file" = String, Path, description = "`style.css` …")),
    responses((status = 200, body = String, content_type = "text/javascript"), (status = 404, body = ProblemBody))
)]
pub async fn file(PathFile(name): PathFile) -> Result<Response, Problem> {
    let (_, kind, text) =
        FILES.iter().find(|(known, _, _)| *known == name).ok_or_else(|| Problem::not_found("File"))?;
    let mut response = ([(header::CONTENT_TYPE, *kind)], *text).into_response();
    // A new release is felt at the next load.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Somebody with a browser, at the door.
pub(in crate::http) struct Visitor {
    /// He came with the cookie.
    was_logged_in: bool,
    /// He has sent the log-in form.
    tries: bool,
}

impl Visitor {
    /// `None`: a program, which takes anything, and gets what programs get.
    pub(in crate::http) fn of(request: &Request) -> Option<Self> {
        let headers = request.headers();
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut kinds = accepted.flat_map(|text| text.split(','));
        kinds.any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"))).then(
            || Self { was_logged_in: credentials::cookie(headers).is_some(), tries: request.method() == Method::POST },
        )
    }

    /// The page that asks for a token, and says why.
    pub(in crate::http) fn refused(&self, problem: Problem) -> Response {
        let (status, why) = (problem.status(), escaped(&self.why(&problem)));
        let mut response = html(status, LOG_IN.replace(WHY, &why));
        for (name, value) in problem.into_response().headers() {
            if name != header::CONTENT_TYPE {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    fn why(&self, problem: &Problem) -> String {
        let text = match (problem.status(), self) {
            (StatusCode::UNAUTHORIZED, Self { tries: true, .. }) => {
                "This token is not good. It may be mistyped, expired or revoked."
            }
            (StatusCode::UNAUTHORIZED, Self { was_logged_in: true, .. }) => {
                "You were logged in, but your token is no longer good: it has expired or was revoked."
            }
            (StatusCode::UNAUTHORIZED, _) => "",
            (StatusCode::FORBIDDEN, _) => "This token is good, but its owner is no admin. The map is for admins alone.",
            _ => problem.message(),
        };
        text.to_owned()
    }
}

/// The browser's way back to the map, with this token in its cookie.
fn back_with(headers: &HeaderMap, token: &str, kept_s: u32) -> Result<Response, Problem> {
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "/ops")]).into_response();
    let secure = if came_encrypted(headers) { "; Secure" } else { "" };
    for path in COOKIE_PATHS {
        let cookie = format!("{COOKIE}={token}; Path={path}; Max-Age={kept_s}; HttpOnly; SameSite=Strict{secure}");
        let mut cookie = HeaderValue::try_from(cookie).map_err(|_| Problem::unauthenticated())?;
        cookie.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Whether the browser's own connection is TLS: a proxy before this service says so, or the browser in the page's origin.
fn came_encrypted(headers: &HeaderMap) -> bool {
    let says = |name: HeaderName, told: fn(&str) -> bool| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|text| told(&text.to_ascii_lowercase()))
    };
    says(FORWARDED_PROTO, |proto| proto.split(',').next().is_some_and(|first| first.trim() == "https"))
        || says(header::FORWARDED, |text| text.contains("proto=https"))
        || says(header::ORIGIN, |origin| origin.starts_with("https://"))
}

fn html(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, HTML),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Nothing to others; to itself the log-in form says by what scheme it came.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // What is answered depends on these: no cache may mix them up.
        (header::VARY, "accept, cookie, authorization"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_loads_is_there_and_nothing_is_loaded_from_elsewhere() {
        let texts = FILES.iter().map(|(_, _, text)| *text).chain([MAP, LOG_IN]);
        for text in texts {
            for quote in ["\"", "'"] {
                for start in [format!("{quote}/ops/"), format!("from {quote}./")] {
                    for rest in text.split(start.as_str()).skip(1) {
                        let name = rest.split(quote).next().unwrap_or_default();
                        let known = name == "logout" || FILES.iter().any(|(known, _, _)| *known == name);
                        assert!(known, "{name} is no file of the page");
                    }
                }
            }
            let elsewhere = text.replace("http://www.w3.org/", "").replace("https://h3geo.org", "");
            assert!(!elsewhere.contains("://"), "{elsewhere:.200}");
            assert!(!text.contains("innerHTML"), "a text of the world must not become a part of the page");
        }
        assert!(LOG_IN.contains(WHY));
    }

    #[test]
    fn the_cookie_is_for_encrypted_connections_alone_where_it_came_by_one() {
        let from = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        for (headers, secure) in [
            (HeaderMap::new(), false),
            (from("x-forwarded-proto", "https"), true),
            (from("x-forwarded-proto", "HTTPS, http"), true),
            (from("x-forwarded-proto", "http"), false),
            (from("forwarded", "for=192.0.2.60;proto=https"), true),
            (from("origin", "https://ops.spacall.example"), true),
            (from("origin", "http://127.0.0.1:8080"), false),
        ] {
            assert_eq!(came_encrypted(&headers), secure, "{headers:?}");
        }
    }

    #[test]
    fn only_who_asks_for_a_page_gets_one() {
        let ask = |accept: Option<&str>| {
            let request = accept.map_or(Request::get("/ops"), |kind| Request::get("/ops").header(header::ACCEPT, kind));
            Visitor::of(&request.body(axum::body::Body::empty()).expect("a request")).is_some()
        };
        assert!(ask(Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")));
        assert!(ask(Some("application/xml, TEXT/HTML;q=0.5")));
        assert!(!ask(Some("*/*")) && !ask(Some("application/json")) && !ask(None));
    }

    #[test]
    fn what_is_said_in_the_page_cannot_become_a_part_of_it() {
        assert_eq!(escaped("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
