//! The router: every route, the guard before it, and the document made from both.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{FromRef, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, ContentBuilder, Ref, RefOr, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{ROUTES, TokenIn, Who};
use super::auth::{Authenticator, Caller};
use super::desk::FrontDesk;
use super::door::Door;
use super::extract::Body;
use super::guard::{self, Guard};
use super::ops::live::OpenBookings;
use super::passwords::Passwords;
use super::peer::Proxies;
use super::problem::Problem;
use super::rate_limit::RateLimiter;
use super::stream::{Desk, Origins};
use super::{
    accounts, addresses, audit_logs, blocks, bookings, credentials, device_tokens, docs, events, health, heat, listen,
    locations, me, messages, nearby, notes, notifications, offers, ops, payouts, problem, promo_codes, providers,
    reviews, roles, service_categories, services, settings, stores, stream, tips, tokens, trackers, transactions,
    users, wallet,
};
use crate::engine::Engine;
use crate::telemetry::{Metrics, TelemetryError};

const BEARER: &str = "bearer";
const BASIC: &str = "basic";
const URL_TOKEN: &str = "url_token";
const COOKIE: &str = "cookie";
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
const PROBLEM_JSON: &str = "application/problem+json";
const PROBLEM_SCHEMA: &str = "#/components/schemas/Problem";

/// What is asked of whoever comes.
pub struct Rules {
    /// Requests a second and token, 0 for no limit.
    pub rate_limit: u32,
    /// Web pages that may open the stream, besides the service's own.
    pub origins: Origins,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
    /// bcrypt's cost of new passwords.
    pub password_cost: u32,
}

/// Everything that is served over HTTP.
pub struct App {
    guard: Arc<Guard>,
    desk: Arc<FrontDesk>,
}

/// What handlers are given.
#[derive(Clone, FromRef)]
struct AppState {
    engine: Arc<Engine>,
    desk: Arc<FrontDesk>,
    authenticator: Authenticator,
    passwords: Arc<Passwords>,
    door: Arc<Door>,
    metrics: Metrics,
    open_bookings: Arc<OpenBookings>,
}

impl App {
    /// To be called within a runtime: it starts the tasks that look after tokens, which end with the engine's shutdown.
    ///
    /// # Errors
    /// When the process's metrics cannot be collected.
    pub fn new(engine: Arc<Engine>, rules: Rules) -> Result<Self, TelemetryError> {
        let authenticator = Authenticator::start(engine.pool.clone(), engine.shutdown.clone());
        let desk = Arc::new(FrontDesk::new(Arc::clone(&engine), authenticator.clone(), rules.origins));
        let metrics = Metrics::install()?;
        tokio::spawn(keep_up(metrics.clone(), engine.shutdown.clone()));
        let state = AppState {
            engine,
            desk: Arc::clone(&desk),
            authenticator: authenticator.clone(),
            passwords: Arc::new(Passwords::new(rules.password_cost)),
            door: Arc::default(),
            metrics,
            open_bookings: Arc::default(),
        };
        let (routes, _) = all_routes().split_for_parts();
        let router =
            routes.method_not_allowed_fallback(guard::no_such_method).fallback(guard::no_such_route).with_state(state);
        let limiter = RateLimiter::new(rules.rate_limit);
        let guard = Arc::new(Guard::new(router, authenticator, limiter, rules.proxies));
        Ok(Self { guard, desk })
    }

    /// Answers whoever connects, until `closing`; then ends when every request under way is answered.
    pub fn serve(&self, listener: TcpListener, closing: CancellationToken) -> impl Future<Output = ()> + use<> {
        listen::serve(listener, Arc::clone(&self.guard), closing)
    }

    /// Tells all sockets to come back later, and waits until they are gone: axum does not wait for upgraded ones.
    pub async fn drain(&self) {
        self.desk.sockets().drain().await;
    }
}

/// Histograms grow until somebody folds them: a scrape, or this.
async fn keep_up(metrics: Metrics, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(UPKEEP_EVERY)).await.is_some() {
        metrics.upkeep();
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Spacall dispatch",
    description = "Nearest therapists, bookings and offers. Errors are RFC 9457 problems with a stable `code`. Times are RFC 3339 with an offset, money is a decimal string, public ids are uuids where there is one. `PUT` is taken as `PATCH` wherever a path has `PATCH` alone. The websocket is described in [/asyncapi.json](/asyncapi.json). For ops, the live map is at [/ops](/ops): it asks for an admin's token once.",
    license(name = "MIT")
))]
struct Document;

fn all_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(docs::openapi))
        .routes(routes!(docs::asyncapi))
        .routes(routes!(docs::root))
        .routes(routes!(docs::docs))
        .routes(routes!(docs::docs_file))
        .routes(routes!(services::list, services::create))
        .routes(routes!(services::show, services::update, services::delete))
        .routes(routes!(service_categories::list, service_categories::create))
        .routes(routes!(service_categories::show, service_categories::update, service_categories::delete))
        .routes(routes!(open_stream))
        .routes(routes!(store_locations))
        .routes(routes!(trackers::owntracks))
        .routes(routes!(trackers::osmand_get, trackers::osmand_post))
        .routes(routes!(accounts::register))
        .routes(routes!(accounts::login))
        .routes(routes!(accounts::logout))
        .routes(routes!(accounts::change_password))
        .routes(routes!(tokens::list))
        .routes(routes!(tokens::delete))
        .routes(routes!(device_tokens::list, device_tokens::put, device_tokens::create))
        .routes(routes!(device_tokens::show, device_tokens::delete))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::show))
        .routes(routes!(notifications::read))
        .routes(routes!(users::list))
        .routes(routes!(users::show, users::change, users::delete))
        .routes(routes!(wallet::of_user))
        .routes(routes!(addresses::of_user))
        .routes(routes!(roles::of_user, roles::put_of_user))
        .routes(routes!(roles::permissions_of_user, roles::put_permissions_of_user))
        .routes(routes!(roles::list))
        .routes(routes!(roles::show))
        .routes(routes!(roles::put_permissions))
        .routes(routes!(roles::permissions))
        .routes(routes!(roles::show_permission, roles::put_permission, roles::delete_permission))
        .routes(routes!(audit_logs::list))
        .routes(routes!(audit_logs::show))
        .routes(routes!(me::me, me::change))
        .routes(routes!(me::availability))
        .routes(routes!(nearby::nearby))
        .routes(routes!(stores::nearby))
        .routes(routes!(bookings::list, bookings::create))
        .routes(routes!(bookings::show))
        .routes(routes!(bookings::timeline))
        .routes(routes!(events::events))
        .routes(routes!(bookings::transition))
        .routes(routes!(offers::list))
        .routes(routes!(offers::accept))
        .routes(routes!(offers::decline))
        .routes(routes!(wallet::show))
        .routes(routes!(wallet::ledger))
        .routes(routes!(wallet::line))
        .routes(routes!(wallet::top_up))
        .routes(routes!(transactions::list))
        .routes(routes!(transactions::show))
        .routes(routes!(transactions::transition))
        .routes(routes!(tips::give))
        .routes(routes!(payouts::list, payouts::create))
        .routes(routes!(payouts::show))
        .routes(routes!(payouts::transition))
        .routes(routes!(promo_codes::list, promo_codes::create))
        .routes(routes!(promo_codes::show, promo_codes::change, promo_codes::delete))
        .routes(routes!(promo_codes::usages))
        .routes(routes!(reviews::of_booking, reviews::create))
        .routes(routes!(reviews::list))
        .routes(routes!(reviews::respond))
        .routes(routes!(reviews::show, reviews::moderate, reviews::delete))
        .routes(routes!(providers::list, providers::create))
        .routes(routes!(providers::show, providers::update))
        .routes(routes!(providers::therapist_profile::show, providers::therapist_profile::update))
        .routes(routes!(providers::store_profile::show, providers::store_profile::update))
        .routes(routes!(providers::services::list))
        .routes(routes!(providers::services::put, providers::services::delete))
        .routes(routes!(providers::documents::list, providers::documents::create))
        .routes(routes!(providers::documents::show, providers::documents::update, providers::documents::delete))
        .routes(routes!(providers::locations::list))
        .routes(routes!(messages::list, messages::create))
        .routes(routes!(messages::mark_read))
        .routes(routes!(notes::list, notes::create))
        .routes(routes!(notes::change, notes::delete))
        .routes(routes!(notes::status_history))
        .routes(routes!(blocks::list, blocks::create))
        .routes(routes!(blocks::show, blocks::put, blocks::delete))
        .routes(routes!(addresses::list, addresses::create))
        .routes(routes!(addresses::show, addresses::update, addresses::delete))
        .routes(routes!(settings::list))
        .routes(routes!(settings::show, settings::put))
        .routes(routes!(ops::page::show, ops::page::log_in))
        .routes(routes!(ops::page::with_slash))
        .routes(routes!(ops::page::file))
        .routes(routes!(ops::page::log_out))
        .routes(routes!(ops::live::live))
        .routes(routes!(ops::fleet))
        .routes(routes!(ops::person::person))
        .routes(routes!(heat::cells))
        .routes(routes!(ops::explain::explain))
        .routes(routes!(ops::consistency))
}

/// The websocket of both apps; its messages are in `/asyncapi.json`.
#[utoipa::path(
    get,
    path = "/v1/stream",
    tag = "stream",
    params(("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`spacall.v1.json` or `spacall.v1.bin`")),
    responses((status = 101, description = "A websocket"), (status = 401, body = problem::ProblemBody),
        (status = 403, body = problem::ProblemBody, description = "A web page that `SPACALL_ORIGINS` does not list"))
)]
async fn open_stream(
    desk: State<Arc<FrontDesk>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    stream::open(desk, headers, upgrade).await
}

/// Stores a therapist's fixes, at most 1,000, and answers after the commit. Each is judged for itself.
#[utoipa::path(
    post,
    path = "/v1/locations",
    tag = "therapist",
    request_body(content = serde_json::Value, example = json!({"fixes": [{"seq": 1, "recorded_at": "2026-11-22T09:00:00.123Z",
        "latitude": 14.5547, "longitude": 121.0244, "accuracy": 8.5, "heading": 90, "speed": 22.1, "is_moving": true,
        "battery_level": 80}]})),
    responses(
        (status = 200, body = locations::Stored),
        (status = 422, body = problem::ProblemBody, description = "`fixes` is missing or no list"),
        (status = 429, body = problem::ProblemBody, description = "`too_fast`: more live fixes than `app_settings.pings` allows, none was taken. After `Retry-After` the same request is; without it, send fewer at once"),
        (status = 503, body = problem::ProblemBody, description = "Not committed in time: send all of them again"),
    )
)]
async fn store_locations(
    desk: State<Arc<FrontDesk>>,
    caller: Caller,
    body: Body,
) -> Result<Json<locations::Stored>, Problem> {
    locations::create(desk, caller, body).await
}

/// The OpenAPI document: what the handlers say, and for each route who may call it and what the guard answers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = all_routes().into_openapi();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(BEARER, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    components.add_security_scheme(BASIC, SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    components.add_security_scheme(URL_TOKEN, SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::new("token"))));
    let of_map = ApiKeyValue::with_description(credentials::COOKIE, "Of the live map: `POST /ops` sets it");
    components.add_security_scheme(COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(of_map)));
    for (path, item) in &mut document.paths.paths {
        let methods = [
            ("GET", &mut item.get),
            ("PUT", &mut item.put),
            ("POST", &mut item.post),
            ("PATCH", &mut item.patch),
            ("DELETE", &mut item.delete),
        ];
        for (method, operation) in methods {
            let Some(operation) = operation else { continue };
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    name_problems(response);
                }
            }
            if let Some(route) = ROUTES.iter().find(|route| route.method == method && route.path == path) {
                describe_access(operation, route.who, route.token_in);
                // The live map's own forms are good or not.
                if !["GET", "DELETE"].contains(&method) && !path.starts_with("/ops") {
                    describe_body(operation, route.token_in);
                }
            }
        }
    }
    document
}

/// The macro calls every body `application/json`; errors are problems.
fn name_problems(response: &mut utoipa::openapi::Response) {
    let is_problem = |content: &RefOr<Content>| match content {
        RefOr::T(Content { schema: Some(RefOr::Ref(reference)), .. }) => reference.ref_location == PROBLEM_SCHEMA,
        _ => false,
    };
    let found = response.content.get("application/json").filter(|&content| is_problem(content)).cloned();
    if let Some(content) = found {
        response.content.clear();
        response.content.insert(PROBLEM_JSON.to_owned(), content);
    }
}

/// What every body may be refused for. Trackers send what they send, and are not told.
fn describe_body(operation: &mut Operation, token_in: TokenIn) {
    let read = token_in == TokenIn::Header;
    for (status, description, possible) in [
        ("400", "`bad_json`: the body is not JSON", read),
        ("413", "`too_large`: the body is longer than 512 KiB", true),
        ("415", "`unsupported_media_type`: the body is not called `application/json`", read),
        ("422", "`invalid`: the body is no object, or a field of it cannot be used", read),
    ] {
        if possible {
            describe_problem(operation, status, description);
        }
    }
}

/// Unless the operation says more of it itself.
fn describe_problem(operation: &mut Operation, status: &str, description: &str) {
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| {
        let content = ContentBuilder::new().schema(Some(Ref::new(PROBLEM_SCHEMA))).build();
        ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build().into()
    });
}

fn describe_access(operation: &mut Operation, who: Who, token_in: TokenIn) {
    if !who.needs_token() {
        return;
    }
    let ways = [
        (BEARER, true),
        (BASIC, token_in.takes_password()),
        (URL_TOKEN, token_in == TokenIn::Url),
        (COOKIE, token_in.takes_cookie()),
    ];
    let taken = ways.into_iter().filter(|(_, is_taken)| *is_taken);
    operation.security = Some(taken.map(|(name, _)| SecurityRequirement::new(name, Vec::<String>::new())).collect());
    let refusals = [
        ("401", "No token, or one that is not good", true),
        ("403", "Not one of those who may", who != Who::SignedIn),
        ("429", "Too many requests with this token", true),
        ("503", "The database is not reachable; `Retry-After` says when to try again", true),
    ];
    for (status, description, possible) in refusals {
        if possible {
            describe_problem(operation, status, description);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_in_the_table_and_nothing_else_is() {
        let document = serde_json::to_value(openapi()).expect("JSON");
        let mut documented: Vec<(String, String)> = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for method in item
                .as_object()
                .expect("an item")
                .keys()
                .filter(|k| ["get", "put", "post", "patch", "delete"].contains(&k.as_str()))
            {
                documented.push((method.to_uppercase(), path.clone()));
            }
        }
        let mut table: Vec<_> = ROUTES.iter().map(|r| (r.method.to_owned(), r.path.to_owned())).collect();
        documented.sort();
        table.sort();
        assert_eq!(documented, table);
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        let document = serde_json::to_value(openapi()).expect("JSON");
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().expect("a pointer");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn every_documented_error_is_a_problem() {
        let document = serde_json::to_value(openapi()).expect("JSON");
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("an item") {
                for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                    if status.starts_with(['4', '5']) {
                        let schema = &response["content"][PROBLEM_JSON]["schema"]["$ref"];
                        assert_eq!(schema, PROBLEM_SCHEMA, "{method} {path} {status}: {response}");
                    }
                }
            }
        }
    }

    #[test]
    fn routes_that_need_a_token_say_so_in_the_document() {
        let document = serde_json::to_value(openapi()).expect("JSON");
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.to_lowercase()];
            assert_eq!(operation["security"].is_array(), route.who.needs_token(), "{route:?}");
        }
    }
}
