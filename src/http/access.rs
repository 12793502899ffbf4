//! Who may call what: one table of every route. The guard enforces it, the OpenAPI document is checked against it, and
//! a test walks it as every role and without a token.

use std::collections::BTreeSet;

use super::auth::Principal;
use super::problem::Problem;

/// Who may call a route. What a caller may see of a single resource is the handler's: a stranger's is 404.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// No token needed.
    Anyone,
    /// Checks its token itself: the websocket, whose token may come in its first message.
    OwnCheck,
    /// Any good token.
    SignedIn,
    /// Role `customer`.
    Customer,
    /// Role `customer`, an admin, or a token with the ability `match:exact`.
    Searcher,
    /// Role `therapist`, with a therapist's provider.
    Therapist,
    /// Role `therapist` or `store_owner`, whether registered or not.
    Provider,
    /// Role `admin` or `super_admin`.
    Admin,
    /// Role `super_admin`.
    SuperAdmin,
}

impl Who {
    /// Whether this caller is one of them.
    ///
    /// # Errors
    /// 403 that names who may.
    pub fn admits(self, caller: &Principal) -> Result<(), Problem> {
        let (admitted, who) = match self {
            Self::Anyone | Self::OwnCheck | Self::SignedIn => (true, ""),
            Self::Customer => (caller.is_customer(), "customers"),
            Self::Searcher => (caller.is_customer() || caller.sees_exact(), "customers"),
            Self::Therapist => (caller.therapist().is_some(), "therapists"),
            Self::Provider => (caller.may_be_provider(), "therapists and store owners"),
            Self::Admin => (caller.is_admin(), "admins"),
            Self::SuperAdmin => (caller.is_super_admin(), "super admins"),
        };
        if self == Self::Therapist && !admitted && caller.has_role("therapist") {
            let how = r#"Register as a therapist first: POST /v1/providers with {"type": "therapist"}."#;
            return Err(Problem::forbidden(how));
        }
        if admitted { Ok(()) } else { Err(Problem::forbidden(format!("This is for {who}."))) }
    }

    /// Whether the guard asks for a token.
    pub const fn needs_token(self) -> bool {
        !matches!(self, Self::Anyone | Self::OwnCheck)
    }
}

/// How a request may carry its token. A bearer header is taken everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenIn {
    /// `Authorization: Bearer`.
    Header,
    /// Also as the password of `Authorization: Basic`: apps that know nothing else.
    Password,
    /// Also as `?token=`, or as that password: apps of which only the URL can be set. Nowhere else, and it is taken out of
    /// the URL before anything else sees the request: URLs end up in logs.
    Url,
    /// Also as the cookie of the live map. A browser sends it by itself, so only what the map reads takes it: another page
    /// that gets a browser to ask for it changes nothing.
    Cookie,
    /// The same of a request that surely comes from the map's own page: what it asks for mends what it finds.
    PageCookie,
    /// Also as the field of a form: the log-in of the live map.
    Form,
}

impl TokenIn {
    /// Whether a cookie is taken.
    pub const fn takes_cookie(self) -> bool {
        matches!(self, Self::Cookie | Self::PageCookie)
    }

    /// Whether a password is taken.
    pub const fn takes_password(self) -> bool {
        matches!(self, Self::Password | Self::Url)
    }
}

/// A method on a path, and who may call it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// In capitals.
    pub method: &'static str,
    /// With its parameters, as axum and OpenAPI write them.
    pub path: &'static str,
    /// Who may call it.
    pub who: Who,
    /// How it may bring its token.
    pub token_in: TokenIn,
    /// People open it in a browser: a refusal asks them for their token.
    pub is_page: bool,
    /// Its answer goes on: the token is believed for less long before it begins.
    pub goes_on: bool,
}

const fn route(method: &'static str, path: &'static str, who: Who) -> Route {
    Route { method, path, who, token_in: TokenIn::Header, is_page: false, goes_on: false }
}

/// For trackers that exist today.
const fn tracker(method: &'static str, path: &'static str, token_in: TokenIn) -> Route {
    Route { token_in, ..route(method, path, Who::Therapist) }
}

/// The live map itself.
const fn map(method: &'static str, token_in: TokenIn) -> Route {
    Route { token_in, is_page: true, ..route(method, "/ops", Who::Admin) }
}

/// What the live map reads.
const fn on_map(path: &'static str) -> Route {
    Route { token_in: TokenIn::Cookie, ..route("GET", path, Who::Admin) }
}

/// Every route of the service.
pub const ROUTES: &[Route] = &[
    route("GET", "/healthz", Who::Anyone),
    route("GET", "/readyz", Who::Anyone),
    route("GET", "/metrics", Who::Anyone),
    route("GET", "/openapi.json", Who::Anyone),
    route("GET", "/asyncapi.json", Who::Anyone),
    route("GET", "/", Who::Anyone),
    route("GET", "/docs", Who::Anyone),
    route("GET", "/docs/{file}", Who::Anyone),
    route("GET", "/v1/services", Who::Anyone),
    route("GET", "/v1/stream", Who::OwnCheck),
    route("POST", "/v1/locations", Who::Therapist),
    tracker("POST", "/v1/locations/owntracks", TokenIn::Password),
    tracker("GET", "/v1/locations/osmand", TokenIn::Url),
    tracker("POST", "/v1/locations/osmand", TokenIn::Url),
    route("POST", "/v1/auth/register", Who::Anyone),
    route("POST", "/v1/auth/login", Who::Anyone),
    route("POST", "/v1/auth/logout", Who::SignedIn),
    route("PUT", "/v1/me/password", Who::SignedIn),
    route("GET", "/v1/tokens", Who::SignedIn),
    route("DELETE", "/v1/tokens/{id}", Who::SignedIn),
    route("GET", "/v1/device-tokens", Who::SignedIn),
    route("PUT", "/v1/device-tokens", Who::SignedIn),
    route("POST", "/v1/device-tokens", Who::SignedIn),
    route("GET", "/v1/device-tokens/{id}", Who::SignedIn),
    route("DELETE", "/v1/device-tokens/{id}", Who::SignedIn),
    route("GET", "/v1/notifications", Who::SignedIn),
    route("GET", "/v1/notifications/{uuid}", Who::SignedIn),
    route("PUT", "/v1/notifications/{uuid}/read", Who::SignedIn),
    route("GET", "/v1/users", Who::Admin),
    route("GET", "/v1/users/{uuid}", Who::Admin),
    route("PATCH", "/v1/users/{uuid}", Who::Admin),
    route("GET", "/v1/users/{uuid}/wallet", Who::Admin),
    route("GET", "/v1/users/{uuid}/addresses", Who::Admin),
    route("GET", "/v1/users/{uuid}/permissions", Who::Admin),
    route("PUT", "/v1/users/{uuid}/permissions", Who::SuperAdmin),
    route("GET", "/v1/users/{uuid}/roles", Who::Admin),
    route("PUT", "/v1/users/{uuid}/roles", Who::Admin),
    route("DELETE", "/v1/users/{uuid}", Who::Admin),
    route("GET", "/v1/roles", Who::Admin),
    route("GET", "/v1/roles/{name}", Who::Admin),
    route("PUT", "/v1/roles/{name}/permissions", Who::SuperAdmin),
    route("GET", "/v1/permissions", Who::Admin),
    route("PUT", "/v1/permissions/{name}", Who::SuperAdmin),
    route("GET", "/v1/permissions/{name}", Who::Admin),
    route("DELETE", "/v1/permissions/{name}", Who::SuperAdmin),
    route("GET", "/v1/audit-logs", Who::Admin),
    route("GET", "/v1/audit-logs/{id}", Who::Admin),
    route("GET", "/v1/me", Who::SignedIn),
    route("PATCH", "/v1/me", Who::SignedIn),
    route("PUT", "/v1/me/availability", Who::Therapist),
    route("GET", "/v1/therapists/nearby", Who::Searcher),
    route("GET", "/v1/stores/nearby", Who::Searcher),
    route("GET", "/v1/bookings", Who::SignedIn),
    route("POST", "/v1/bookings", Who::Customer),
    route("GET", "/v1/bookings/{uuid}", Who::SignedIn),
    route("GET", "/v1/bookings/{uuid}/timeline", Who::SignedIn),
    Route { goes_on: true, ..route("GET", "/v1/bookings/{uuid}/events", Who::SignedIn) },
    route("POST", "/v1/bookings/{uuid}/transitions", Who::SignedIn),
    route("GET", "/v1/offers", Who::Therapist),
    route("POST", "/v1/offers/{id}/accept", Who::Therapist),
    route("POST", "/v1/offers/{id}/decline", Who::Therapist),
    route("GET", "/v1/wallet", Who::SignedIn),
    route("GET", "/v1/wallet/transactions", Who::SignedIn),
    route("GET", "/v1/wallet/transactions/{id}", Who::SignedIn),
    route("POST", "/v1/wallet/topups", Who::Customer),
    route("GET", "/v1/transactions", Who::SignedIn),
    route("GET", "/v1/transactions/{uuid}", Who::SignedIn),
    route("POST", "/v1/transactions/{uuid}/transitions", Who::Admin),
    route("POST", "/v1/bookings/{uuid}/tips", Who::Customer),
    route("GET", "/v1/payouts", Who::SignedIn),
    route("POST", "/v1/payouts", Who::Admin),
    route("GET", "/v1/payouts/{id}", Who::SignedIn),
    route("POST", "/v1/payouts/{id}/transitions", Who::Admin),
    route("GET", "/v1/promo-codes", Who::Admin),
    route("POST", "/v1/promo-codes", Who::Admin),
    route("GET", "/v1/promo-codes/{id}", Who::Admin),
    route("GET", "/v1/promo-codes/{id}/usages", Who::Admin),
    route("PATCH", "/v1/promo-codes/{id}", Who::Admin),
    route("DELETE", "/v1/promo-codes/{id}", Who::Admin),
    route("POST", "/v1/bookings/{uuid}/review", Who::Customer),
    route("GET", "/v1/bookings/{uuid}/review", Who::SignedIn),
    route("GET", "/v1/providers/{uuid}/reviews", Who::SignedIn),
    route("PUT", "/v1/reviews/{id}/response", Who::SignedIn),
    route("GET", "/v1/reviews/{id}", Who::SignedIn),
    route("PATCH", "/v1/reviews/{id}", Who::Admin),
    route("DELETE", "/v1/reviews/{id}", Who::SignedIn),
    route("POST", "/v1/services", Who::Admin),
    route("GET", "/v1/services/{service}", Who::Anyone),
    route("PATCH", "/v1/services/{service}", Who::Admin),
    route("DELETE", "/v1/services/{service}", Who::Admin),
    route("GET", "/v1/service-categories", Who::Anyone),
    route("POST", "/v1/service-categories", Who::Admin),
    route("GET", "/v1/service-categories/{id}", Who::Anyone),
    route("PATCH", "/v1/service-categories/{id}", Who::Admin),
    route("DELETE", "/v1/service-categories/{id}", Who::Admin),
    route("POST", "/v1/providers", Who::Provider),
    route("GET", "/v1/providers", Who::Admin),
    route("GET", "/v1/providers/{uuid}", Who::SignedIn),
    route("PATCH", "/v1/providers/{uuid}", Who::SignedIn),
    route("GET", "/v1/providers/{uuid}/therapist-profile", Who::SignedIn),
    route("PATCH", "/v1/providers/{uuid}/therapist-profile", Who::SignedIn),
    route("GET", "/v1/providers/{uuid}/store-profile", Who::SignedIn),
    route("PATCH", "/v1/providers/{uuid}/store-profile", Who::SignedIn),
    route("GET", "/v1/providers/{uuid}/services", Who::SignedIn),
    route("PUT", "/v1/providers/{uuid}/services/{service}", Who::SignedIn),
    route("DELETE", "/v1/providers/{uuid}/services/{service}", Who::SignedIn),
    route("GET", "/v1/providers/{uuid}/documents", Who::SignedIn),
    route("POST", "/v1/providers/{uuid}/documents", Who::SignedIn),
    route("GET", "/v1/provider-documents/{id}", Who::SignedIn),
    route("PATCH", "/v1/provider-documents/{id}", Who::Admin),
    route("DELETE", "/v1/provider-documents/{id}", Who::SignedIn),
    route("GET", "/v1/providers/{uuid}/locations", Who::SignedIn),
    route("GET", "/v1/bookings/{uuid}/messages", Who::SignedIn),
    route("POST", "/v1/bookings/{uuid}/messages", Who::SignedIn),
    route("PUT", "/v1/bookings/{uuid}/messages/read", Who::SignedIn),
    route("GET", "/v1/bookings/{uuid}/notes", Who::SignedIn),
    route("POST", "/v1/bookings/{uuid}/notes", Who::SignedIn),
    route("PATCH", "/v1/bookings/{uuid}/notes/{id}", Who::SignedIn),
    route("DELETE", "/v1/bookings/{uuid}/notes/{id}", Who::SignedIn),
    route("GET", "/v1/bookings/{uuid}/status-history", Who::SignedIn),
    route("GET", "/v1/blocks", Who::SignedIn),
    route("POST", "/v1/blocks", Who::SignedIn),
    route("GET", "/v1/blocks/{uuid}", Who::SignedIn),
    route("PUT", "/v1/blocks/{uuid}", Who::SignedIn),
    route("DELETE", "/v1/blocks/{uuid}", Who::SignedIn),
    route("GET", "/v1/addresses", Who::SignedIn),
    route("POST", "/v1/addresses", Who::SignedIn),
    route("GET", "/v1/addresses/{id}", Who::SignedIn),
    route("PATCH", "/v1/addresses/{id}", Who::SignedIn),
    route("DELETE", "/v1/addresses/{id}", Who::SignedIn),
    route("GET", "/v1/settings", Who::Admin),
    route("GET", "/v1/settings/{key}", Who::Admin),
    route("PUT", "/v1/settings/{key}", Who::Admin),
    map("GET", TokenIn::Cookie),
    map("POST", TokenIn::Form),
    route("GET", "/ops/", Who::Anyone),
    route("GET", "/ops/{file}", Who::Anyone),
    route("POST", "/ops/logout", Who::Anyone),
    Route { goes_on: true, ..on_map("/v1/ops/live") },
    on_map("/v1/ops/fleet"),
    on_map("/v1/ops/fleet/{uuid}"),
    on_map("/v1/ops/heat"),
    on_map("/v1/ops/bookings/{uuid}/explain"),
    Route { token_in: TokenIn::PageCookie, ..on_map("/v1/ops/consistency") },
];

/// Finds the route of a request before the router does, by the same patterns and the same rules.
pub struct Table(matchit::Router<Vec<usize>>);

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Of the path; `unmatched` for what is none of ours.
    pub pattern: &'static str,
    /// In [`ROUTES`]; `None` when no route has this path with this method. HEAD is answered by GET's handler, and PUT, where a path
    /// has none, by PATCH's: Laravel's `apiResource` takes either.
    pub route: Option<usize>,
}

impl Table {
    /// Of [`ROUTES`].
    pub fn of_routes() -> Self {
        let mut table = matchit::Router::new();
        for path in ROUTES.iter().map(|route| route.path).collect::<BTreeSet<_>>() {
            let routes = (0..ROUTES.len()).filter(|at| ROUTES[*at].path == path).collect();
            table.insert(path, routes).expect("the patterns of ROUTES are whole and apart");
        }
        Self(table)
    }

    /// Where a request for this path goes. O(length of the path).
    pub fn find(&self, method: &str, path: &str) -> Found {
        let Ok(matched) = self.0.at(path) else { return Found { pattern: "unmatched", route: None } };
        let of = |method| matched.value.iter().copied().find(|at| ROUTES[*at].method == method);
        let route = match method {
            "HEAD" => of("GET"),
            "PUT" => of("PUT").or_else(|| of("PATCH")),
            method => of(method),
        };
        Found { pattern: matched.value.first().map_or("unmatched", |at| ROUTES[*at].path), route }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_is_listed_twice() {
        for (i, route) in ROUTES.iter().enumerate() {
            assert!(!ROUTES[..i].iter().any(|r| (r.method, r.path) == (route.method, route.path)), "{route:?}");
        }
    }

    #[test]
    fn only_these_need_no_token() {
        let open: Vec<_> = ROUTES.iter().filter(|route| !route.who.needs_token()).map(|route| route.path).collect();
        assert_eq!(
            open,
            [
                "/healthz",
                "/readyz",
                "/metrics",
                "/openapi.json",
                "/asyncapi.json",
                "/",
                "/docs",
                "/docs/{file}",
                "/v1/services",
                "/v1/stream",
                "/v1/auth/register",
                "/v1/auth/login",
                "/v1/services/{service}",
                "/v1/service-categories",
                "/v1/service-categories/{id}",
                "/ops/",
                "/ops/{file}",
                "/ops/logout"
            ]
        );
    }

    #[test]
    fn only_trackers_and_the_map_bring_a_token_other_than_in_a_bearer_header() {
        let others =
            ROUTES.iter().filter(|r| ![TokenIn::Header, TokenIn::Cookie, TokenIn::PageCookie].contains(&r.token_in));
        let others: Vec<_> = others.map(|r| (r.path, r.token_in)).collect();
        let (owntracks, osmand) = ("/v1/locations/owntracks", "/v1/locations/osmand");
        assert_eq!(
            others,
            [(owntracks, TokenIn::Password), (osmand, TokenIn::Url), (osmand, TokenIn::Url), ("/ops", TokenIn::Form)]
        );
    }

    #[test]
    fn a_cookie_changes_nothing() {
        let with_cookie = ROUTES.iter().filter(|r| r.token_in.takes_cookie());
        for route in with_cookie {
            assert!(route.method == "GET" && route.who == Who::Admin, "{route:?}");
            assert!(
                route.path == "/ops" || route.path.starts_with("/v1/ops/"),
                "its paths are the cookie's: {route:?}"
            );
        }
    }

    #[test]
    fn only_the_map_is_a_page_that_asks_for_a_token() {
        let pages: Vec<_> = ROUTES.iter().filter(|r| r.is_page).map(|r| (r.method, r.path)).collect();
        assert_eq!(pages, [("GET", "/ops"), ("POST", "/ops")]);
    }

    #[test]
    fn head_is_allowed_to_whom_get_is() {
        let table = Table::of_routes();
        let who = |method| table.find(method, "/v1/settings").route.map(|at| ROUTES[at].who);
        assert_eq!((who("HEAD"), who("DELETE")), (Some(Who::Admin), None));
    }

    #[test]
    fn put_is_patch_where_there_is_only_that() {
        let table = Table::of_routes();
        let method = |path| table.find("PUT", path).route.map(|at| ROUTES[at].method);
        for (path, expected) in [
            ("/v1/addresses/1", Some("PATCH")),
            ("/v1/me", Some("PATCH")),
            ("/v1/settings/dispatch", Some("PUT")),
            ("/v1/bookings", None),
        ] {
            assert_eq!(method(path), expected, "{path}");
        }
    }

    #[test]
    fn every_route_is_found_by_a_path_of_its_pattern_and_nothing_else_is() {
        let table = Table::of_routes();
        for (at, route) in ROUTES.iter().enumerate() {
            let path = route.path.replace("{uuid}", "0192").replace(['{', '}'], "");
            assert_eq!(table.find(route.method, &path), Found { pattern: route.path, route: Some(at) });
        }
        for (path, pattern) in [("/v1/settings/key/more", "unmatched"), ("/v1", "unmatched"), ("/v1/me/", "unmatched")]
        {
            assert_eq!(table.find("GET", path), Found { pattern, route: None });
        }
        assert_eq!(table.find("POST", "/v1/settings"), Found { pattern: "/v1/settings", route: None });
    }
}
