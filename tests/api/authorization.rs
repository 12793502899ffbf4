//! No one sees what is not theirs: every route of the one table, as every role, as a stranger, without a token.

use reqwest::Method;
use serde_json::json;
use spacall::http::access::{ROUTES, Route, Who};

use super::money::belongings::Belongings;
use super::*;

/// Somebody, and what he is admitted to.
struct Caller {
    name: &'static str,
    token: Option<String>,
    admitted: &'static [Who],
}

/// What is somebody else's, to be asked for: of a path that begins so, the `{uuid}` or `{id}`.
type Others = Vec<(&'static str, String)>;

/// A request that is complete enough to get past the guard, about what is somebody else's.
fn request(
    api: &Api,
    route: &Route,
    others: &Others,
    nth: usize,
    of_money: (&Belongings, Option<Value>),
) -> reqwest::RequestBuilder {
    let of = |name: &str| {
        let id = others.iter().find(|(prefix, _)| route.path.starts_with(prefix)).map_or("", |(_, id)| id);
        (name.to_owned(), id.to_owned())
    };
    let path =
        ["{uuid}", "{id}"].map(of).into_iter().fold(route.path.to_owned(), |path, (name, id)| path.replace(&name, &id));
    // Of the catalogue's service nothing is left in the end.
    let service = if route.path.starts_with("/v1/services") { "body-scrub" } else { "foot-spa" };
    let path = path
        .replace("{service}", service)
        .replace("{key}", "location_stale_after")
        .replace("{name}", "customer")
        .replace("{file}", "index.html");
    let path = match route.path {
        path if path.starts_with("/v1/users/{uuid}") => accounts::path(path, nth),
        "/v1/therapists/nearby" => nearby(HERE, ""),
        "/v1/stores/nearby" => stores::nearby(HERE, ""),
        "/v1/bookings/{uuid}/notes/{id}" => {
            format!(
                "/v1/bookings/{}/notes/{}",
                of("{uuid}").1,
                others.iter().find(|(of, _)| *of == "note").map_or("", |(_, id)| id)
            )
        }
        "/ops/{file}" => "/ops/style.css".to_owned(),
        "/v1/providers/{uuid}/locations" => format!("{path}?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"),
        _ => of_money.0.path(route).unwrap_or(path),
    };
    let request = api.request(route.method, &path);
    let body = match route.path {
        "/v1/bookings/{uuid}/transitions" => json!({"to": "cancelled"}),
        "/v1/settings/{key}" => json!({"value": 600}),
        "/v1/me/availability" => json!({"available": true}),
        "/v1/locations" => json!({"fixes": []}),
        "/v1/locations/owntracks" => json!({"_type": "lwt"}),
        "/v1/bookings" => wanted(),
        "/v1/services" => catalog::ventosa(),
        "/v1/services/{service}" | "/v1/service-categories/{id}" => json!({"name": "x"}),
        "/v1/service-categories" => json!({"name": "x", "slug": "x"}),
        "/v1/providers" => json!({"type": "store"}),
        "/v1/providers/{uuid}" => json!({"business_name": "x"}),
        "/v1/providers/{uuid}/therapist-profile" => json!({"bio": "x"}),
        "/v1/providers/{uuid}/store-profile" => json!({"city": "Pasig"}),
        "/v1/providers/{uuid}/services/{service}" => json!({"price": "1.00"}),
        "/v1/providers/{uuid}/documents" => provider_papers::paper(),
        "/v1/provider-documents/{id}" => json!({"verification_status": "pending"}),
        "/v1/bookings/{uuid}/messages" => json!({"message": "x"}),
        "/v1/bookings/{uuid}/notes" | "/v1/bookings/{uuid}/notes/{id}" => json!({"note": "x"}),
        "/v1/blocks" => {
            json!({"uuid": others.iter().find(|(prefix, _)| *prefix == "/v1/ops/fleet/{uuid}").map(|(_, id)| id)})
        }
        "/v1/addresses" => addresses::home(),
        "/v1/addresses/{id}" => json!({"label": "work"}),
        path if accounts::ROUTES.contains(&path) => accounts::body(path, nth),
        _ => of_money.1.unwrap_or(json!({})),
    };
    if [Method::GET, Method::DELETE].iter().any(|method| route.method == method.as_str()) {
        request
    } else {
        request.json(&body)
    }
}

/// Routes at which an admin is a stranger too.
const BETWEEN_PARTIES: [(&str, &str); 5] = [
    ("PATCH", "/v1/bookings/{uuid}/notes/{id}"),
    ("GET", "/v1/blocks/{uuid}"),
    ("PUT", "/v1/blocks/{uuid}"),
    ("DELETE", "/v1/blocks/{uuid}"),
    ("POST", "/v1/bookings/{uuid}/messages"),
];

/// Routes about something that everybody may see who gets there.
const OF_ALL: [(&str, &str); 3] =
    [("GET", "/v1/providers/{uuid}/reviews"), ("GET", "/v1/reviews/{id}"), ("GET", "/v1/service-categories/{id}")];

/// Routes about one booking or one offer: for who is let in but is a stranger, they are 404.
fn is_of_a_party(route: &Route) -> bool {
    if OF_ALL.contains(&(route.method, route.path)) {
        return false;
    }
    route.path.contains("{id}") || (route.path.contains("{uuid}") && route.who != Who::Admin)
}

/// Routes about what is its owner's alone: admins are strangers, too.
fn is_of_its_owner(route: &Route) -> bool {
    ["/v1/tokens/{id}", "/v1/device-tokens/{id}", "/v1/notifications/{uuid}", "/v1/notifications/{uuid}/read"]
        .contains(&route.path)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_as_every_role_as_a_stranger_and_without_a_token() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let luz = therapist.provider_uuid.to_string();
    let mut phone = app(&server, &therapist).await;
    let owner = people::customer(pool).await;
    let booking = book(&server, &owner, wanted()).await;
    let offer = phone.expect("offer").await["offer_id"].as_i64().expect("an id");
    let address = addresses::saved(&server, &owner, addresses::home()).await;
    let category = "INSERT INTO service_categories (name, slug) VALUES ('Empty', 'empty') RETURNING id";
    let category: i64 = sqlx::query_scalar(category).fetch_one(pool).await.expect("a category");
    let unverified = people::person(pool, "therapist", "Bituin").await;
    let provider = providers::registered(&server, &unverified, "therapist").await;
    let document = server.api(&unverified.token).post(&format!("{provider}/documents"), provider_papers::paper()).await;
    let ana = people::person(pool, "store_owner", "Ana").await;
    let store = providers::registered(&server, &ana, "store").await;
    let profile =
        json!({"store_name": "Ana's", "address_line1": "1", "city": "Makati", "latitude": HERE.0, "longitude": HERE.1});
    assert_eq!(server.api(&ana.token).patch(&format!("{store}/store-profile"), profile).await.status, 200);
    let note = format!("/v1/bookings/{}/notes", uuid(&booking));
    let note = server.api(&owner.token).post(&note, json!({"note": "x"})).await.json["id"].to_string();
    let others = vec![
        ("note", note),
        ("/v1/ops/fleet/{uuid}", luz),
        ("/v1/providers/{uuid}/store-profile", store.replace("/v1/providers/", "")),
        ("/v1/providers", provider.replace("/v1/providers/", "")),
        ("/v1/provider-documents", document.json["id"].to_string()),
        ("/v1/service-categories", category.to_string()),
        ("/v1/addresses", address["id"].to_string()),
        ("/v1/offers", offer.to_string()),
        // What an admin has changed above.
        ("/v1/audit-logs", "1".to_owned()),
        ("/v1/", uuid(&booking).to_owned()),
    ];

    let stranger = people::customer(pool).await;
    let other = people::therapist(pool, "Amihan", HERE.0, HERE.1).await;
    let belongings = Belongings::make(&server, &owner, &therapist, &other).await;
    let admin = people::admin(pool).await;
    let nobody = people::person(pool, "store_owner", "Jose").await;
    let backend = people::person(pool, "store_owner", "Backend").await;
    let exact = people::token(pool, backend.user_id, r#"["match:exact"]"#).await;
    let expired = people::token(pool, stranger.user_id, r#"["*"]"#).await;
    sqlx::query("UPDATE personal_access_tokens SET expires_at = now() - interval '1 second' WHERE id = $1")
        .bind(expired.split('|').next().and_then(|id| id.parse::<i64>().ok()))
        .execute(pool)
        .await
        .expect("expired");

    let open = [Who::Anyone, Who::OwnCheck];
    let callers = [
        Caller { name: "nobody", token: None, admitted: &[] },
        Caller { name: "an expired token", token: Some(expired), admitted: &[] },
        Caller {
            name: "a stranger",
            token: Some(stranger.token),
            admitted: &[Who::SignedIn, Who::Customer, Who::Searcher],
        },
        Caller {
            name: "another therapist",
            token: Some(other.person.token),
            admitted: &[Who::SignedIn, Who::Therapist],
        },
        Caller { name: "an admin", token: Some(admin.token), admitted: &[Who::SignedIn, Who::Searcher, Who::Admin] },
        Caller {
            name: "a super admin",
            token: Some(people::person(pool, "super_admin", "Corazon").await.token),
            admitted: &[Who::SignedIn, Who::Searcher, Who::Admin, Who::SuperAdmin],
        },
        // Therapists may register too, but not the store that is sent.
        Caller { name: "a store owner", token: Some(nobody.token), admitted: &[Who::SignedIn, Who::Provider] },
        Caller { name: "a backend", token: Some(exact), admitted: &[Who::SignedIn, Who::Searcher, Who::Provider] },
    ];
    accounts::prepare(pool, callers.len()).await;
    for route in ROUTES {
        for (nth, caller) in callers.iter().enumerate() {
            // An admin may end what is not his: that is his right, and would end this test's booking.
            let runs_it = caller.admitted.contains(&Who::Admin);
            if runs_it && route.path.ends_with("/transitions") {
                continue;
            }
            // These lead to the map, which is tried for itself.
            if ["/ops/", "/ops/logout"].contains(&route.path) {
                continue;
            }
            let token = match &caller.token {
                Some(token) if route.path == "/v1/auth/logout" => Some(accounts::twin(pool, token).await),
                token => token.clone(),
            };
            let between_parties = BETWEEN_PARTIES.contains(&(route.method, route.path));
            let api = Api::new(&server.base, token.as_deref());
            let of_money = (&belongings, belongings.body(&server, route).await);
            let response = request(&api, route, &others, nth, of_money).send().await.expect("an answer");
            let status = response.status().as_u16();
            let told = format!("{} {} as {}: {status}", route.method, route.path, caller.name);
            let admitted = open.contains(&route.who) || caller.admitted.contains(&route.who);
            match (admitted, &caller.token) {
                (false, None) => assert_eq!(status, 401, "{told}"),
                (false, Some(_)) if caller.admitted.is_empty() => assert_eq!(status, 401, "{told}"),
                (false, Some(_)) => assert_eq!(status, 403, "{told}"),
                (true, _) if is_of_its_owner(route) => assert_eq!(status, 404, "{told}"),
                // Only who is reviewed answers a review.
                (true, _) if route.path.ends_with("/response") => assert_eq!(status, 404, "{told}"),
                (true, _) if (!runs_it || between_parties) && is_of_a_party(route) => assert_eq!(status, 404, "{told}"),
                // The admin before him has done what can be done once.
                (true, _) if caller.name == "a super admin" && [404, 409, 422].contains(&status) => {}
                (true, _) if route.who == Who::OwnCheck => assert!([400, 401, 426].contains(&status), "{told}"),
                (true, _) => assert!((200..400).contains(&status), "{told}"),
            }
            if status >= 400 && route.path != "/v1/stream" {
                assert_eq!(response.headers()["content-type"], "application/problem+json", "{told}");
            }
        }
    }
    // Nothing that was tried had an effect on the booking.
    let still = server.api(&owner.token).get(&format!("/v1/bookings/{}", uuid(&booking))).await.json;
    assert_eq!(still["status"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_a_lost_role_and_an_inactive_user_are_felt_within_two_seconds() {
    let server = Server::start().await;
    let pool = server.pool();
    for (change, status) in [
        ("DELETE FROM personal_access_tokens WHERE tokenable_id = $1", 401),
        ("UPDATE users SET is_active = FALSE WHERE id = $1", 401),
        ("UPDATE users SET deleted_at = now() WHERE id = $1", 401),
        ("UPDATE personal_access_tokens SET expires_at = now() WHERE tokenable_id = $1", 401),
        ("DELETE FROM model_has_roles WHERE model_id = $1", 403),
    ] {
        let admin = people::admin(pool).await;
        let (mut socket, _) = Stream::open(&server.base, &admin.token).await;
        let api = server.api(&admin.token);
        assert_eq!(api.get("/v1/settings").await.status, 200);
        sqlx::query(change).bind(admin.user_id).execute(pool).await.expect("the change");
        let changed = spacall::clock::monotonic();
        api.until("/v1/settings", |a| a.status == status).await;
        assert_eq!(socket.closed().await, 4401, "{change}");
        assert!(changed.elapsed() < std::time::Duration::from_millis(2_500), "{change}: {:?}", changed.elapsed());
    }
}
