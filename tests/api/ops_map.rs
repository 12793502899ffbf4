//! The live map: who gets it, how a browser stays logged in, and what it is told.

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use serde_json::json;

use super::*;
use crate::support::http::PATIENCE;

/// As a browser asks for a page.
const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A browser, as far as this service sees one: it shows pages, keeps cookies by their paths, and follows nothing by itself.
struct Browser {
    client: reqwest::Client,
    base: String,
    /// Path and `name=value`, as set last.
    cookies: Vec<(String, String)>,
}

/// What it got.
struct Page {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }

    fn is_html(&self) -> bool {
        self.header("content-type").starts_with("text/html")
    }
}

impl Browser {
    fn new(server: &Server) -> Self {
        let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
        Self { client, base: server.base.clone(), cookies: Vec::new() }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(PATIENCE);
        let is_for = |at: &str| path == at || path.starts_with(&format!("{at}/"));
        let sent: Vec<_> = self.cookies.iter().filter(|(at, _)| is_for(at)).map(|(_, pair)| pair.as_str()).collect();
        if sent.is_empty() { request } else { request.header("cookie", sent.join("; ")) }
    }

    async fn take(&mut self, request: reqwest::RequestBuilder) -> Page {
        let response = request.send().await.expect("an answer");
        for cookie in response.headers().get_all("set-cookie") {
            let mut parts = cookie.to_str().expect("text").split("; ");
            let pair = parts.next().expect("a pair").to_owned();
            let attributes: Vec<_> = parts.collect();
            let of = |name: &str| attributes.iter().find_map(|a| a.strip_prefix(name)).expect("an attribute");
            self.cookies.retain(|(path, _)| path != of("Path="));
            if of("Max-Age=") != "0" {
                self.cookies.push((of("Path=").to_owned(), pair));
            }
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Page { status, headers, text: response.text().await.expect("a text") }
    }

    async fn open(&mut self, path: &str) -> Page {
        let request = self.request("GET", path).header("accept", HTML);
        self.take(request).await
    }

    async fn log_in(&mut self, token: &str) -> Page {
        let form = form(token);
        let request = self.request("POST", "/ops").header("accept", HTML);
        self.take(request.header("content-type", "application/x-www-form-urlencoded").body(form)).await
    }
}

fn form(token: &str) -> String {
    format!("username=ops&token={}", token.replace('|', "%7C"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_asked_for_an_admins_token_once_and_then_gets_the_map_until_it_logs_out() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let mut browser = Browser::new(&server);

    let door = browser.open("/ops").await;
    assert!(door.status == 401 && door.is_html(), "{}", door.status);
    assert!(door.text.contains(r#"<form method="post" action="/ops">"#) && door.text.contains(r#"name="token""#));
    assert!(door.text.contains(r#"role="alert"></p>"#), "who comes for the first time has done nothing wrong");
    assert_eq!(door.header("www-authenticate"), "Bearer");
    let slash = browser.open("/ops/").await;
    assert_eq!((slash.status, slash.header("location")), (303, "/ops"));

    let back = browser.log_in(&admin.token).await;
    assert_eq!((back.status, back.header("location")), (303, "/ops"));
    let set: Vec<_> = back.headers.get_all("set-cookie").iter().map(|c| c.to_str().expect("text").to_owned()).collect();
    assert_eq!(set.len(), 2, "{set:?}");
    for (cookie, path) in set.iter().zip(["/ops", "/v1/ops"]) {
        let expected = format!("spacall_ops={}; Path={path}; Max-Age=2592000; HttpOnly; SameSite=Strict", admin.token);
        assert_eq!(*cookie, expected);
    }

    let map = browser.open("/ops").await;
    assert!(map.status == 200 && map.is_html() && map.text.contains(r#"<canvas id="map""#), "{}", map.text);
    assert!(!map.text.contains(&admin.token), "no script is to find it");
    for page in [&door, &map] {
        let policy = page.header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!((page.header("x-content-type-options"), page.header("referrer-policy")), ("nosniff", "same-origin"));
        assert!(page.header("vary").contains("cookie"));
    }

    // What the page reads, it may.
    for path in ["/v1/ops/fleet", "/v1/ops/heat?resolution=8"] {
        assert_eq!(browser.open(path).await.status, 200, "{path}");
    }
    // What mends the index is the page's alone to ask for, over plain HTTP too, where a browser only names the page.
    let own = format!("{}/ops", server.base);
    for (page, status) in [(Some(own.as_str()), 200), (Some("http://elsewhere.test/ops"), 401), (None, 401)] {
        let request = browser.request("GET", "/v1/ops/consistency");
        let request = match page {
            Some(page) => request.header("referer", page),
            None => request,
        };
        assert_eq!(browser.take(request).await.status, status, "{page:?}");
    }

    let request = browser.request("POST", "/ops/logout").header("accept", HTML);
    let out = browser.take(request).await;
    assert_eq!((out.status, out.header("location"), browser.cookies.len()), (303, "/ops", 0));
    assert_eq!(browser.open("/ops").await.status, 401);
    assert_eq!(server.api(&admin.token).get("/v1/settings").await.status, 200, "the token itself stays good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_refused_as_everywhere_and_let_in_with_its_bearer_token() {
    let server = Server::start().await;
    let (admin, customer) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    for (token, status, code) in [(None, 401, "unauthenticated"), (Some(&customer.token), 403, "forbidden")] {
        let answer = Api::new(&server.base, token.map(String::as_str)).get("/ops").await;
        assert_eq!((answer.status, &answer.json["code"]), (status, &json!(code)), "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let answer = server.api(&admin.token).get("/ops").await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (200, &HeaderValue::from_static("text/html; charset=utf-8"))
    );
    let head = server.api(&admin.token);
    assert_eq!(head.send(head.request("HEAD", "/ops")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_at_the_door_is_told_why_and_gets_no_cookie() {
    let server = Server::start().await;
    let (admin, customer) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    let mut browser = Browser::new(&server);
    for (token, status, why) in [
        ("1|wrong", 401, "This token is not good."),
        ("", 401, "This token is not good."),
        (customer.token.as_str(), 403, "its owner is no admin"),
    ] {
        let page = browser.log_in(token).await;
        assert!(
            page.status == status && page.is_html() && page.text.contains(why),
            "{token}: {} {}",
            page.status,
            page.text
        );
        assert!(browser.cookies.is_empty() && page.header("content-security-policy").contains("default-src 'none'"));
    }
    // Another site's page logs nobody in, nor out.
    let said = [("sec-fetch-site", "cross-site"), ("origin", "http://elsewhere.test"), ("origin", "null")];
    for ((path, status), (name, value)) in
        [("/ops", 401), ("/ops/logout", 403)].into_iter().flat_map(|tried| said.map(|said| (tried, said)))
    {
        let request = browser.request("POST", path).header(name, value);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form(&admin.token));
        let page = browser.take(request).await;
        assert!(page.status == status && page.header("set-cookie").is_empty(), "{path}: {}", page.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_secure_where_the_browser_came_by_tls() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let mut browser = Browser::new(&server);
    for (name, value, secure) in [
        ("x-forwarded-proto", "https", true),
        ("origin", "https://ops.example", true),
        ("x-forwarded-proto", "http", false),
    ] {
        // By TLS browsers say of whose page a request is; the host may be the proxy's own name of this service.
        let request = browser.request("POST", "/ops").header(name, value).header("sec-fetch-site", "same-origin");
        let page = browser
            .take(request.header("content-type", "application/x-www-form-urlencoded").body(form(&admin.token)))
            .await;
        assert_eq!(page.header("set-cookie").ends_with("; Secure"), secure, "{name}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_opens_the_map_and_what_it_reads_and_nothing_else() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
    let nobody = uuid::Uuid::new_v4().to_string();
    let mut opened = Vec::new();
    for route in spacall::http::access::ROUTES.iter().filter(|route| route.who.needs_token()) {
        let path = route.path.replace("{uuid}", &nobody).replace("{id}", "1");
        // Browsers would not even send it to most of these: a program that does is refused as well.
        let request = client.request(route.method.parse().expect("a method"), format!("{}{path}", server.base));
        let request = request.header("cookie", format!("spacall_ops={}", admin.token)).timeout(PATIENCE);
        let status = request.send().await.expect("an answer").status().as_u16();
        if status != 401 {
            opened.push((route.method, route.path));
        }
    }
    assert!(opened.iter().all(|(method, path)| *method == "GET" && (*path == "/ops" || path.starts_with("/v1/ops/"))));
    assert!(opened.contains(&("GET", "/ops")) && opened.contains(&("GET", "/v1/ops/live")), "{opened:?}");
    // And not when a page of elsewhere has made the browser send it.
    let request = client.get(format!("{}/v1/ops/fleet", server.base)).header("sec-fetch-site", "cross-site");
    let response = request.header("cookie", format!("spacall_ops={}", admin.token)).send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_or_an_admin_who_is_none_any_more_is_felt_by_the_map() {
    let server = Server::start().await;
    for (change, status, why) in [
        ("DELETE FROM personal_access_tokens WHERE tokenable_id = $1", 401, "your token is no longer good"),
        ("DELETE FROM model_has_roles WHERE model_id = $1", 403, "no admin"),
    ] {
        let admin = people::admin(server.pool()).await;
        let mut browser = Browser::new(&server);
        browser.log_in(&admin.token).await;
        assert_eq!(browser.open("/ops").await.status, 200);
        let mut live = Live::open(&server, &admin).await;
        live.next().await.expect("an update");
        sqlx::query(change).bind(admin.user_id).execute(server.pool()).await.expect("the change");
        let changed = spacall::clock::monotonic();
        while live.next().await.is_some() {}
        let mut page = browser.open("/ops").await;
        while page.status == 200 && changed.elapsed() < std::time::Duration::from_millis(2_500) {
            page = browser.open("/ops").await;
        }
        assert!(changed.elapsed() < std::time::Duration::from_millis(2_500), "{change}: {:?}", changed.elapsed());
        assert!(page.status == status && page.text.contains(why), "{change}: {} {}", page.status, page.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_limit_holds_for_the_map_too() {
    let server = Server::limited(1).await;
    let admin = people::admin(server.pool()).await;
    let mut browser = Browser::new(&server);
    let mut page = browser.log_in(&admin.token).await;
    for _ in 0..10 {
        page = browser.open("/ops").await;
        if page.status == 429 {
            break;
        }
    }
    assert!(page.status == 429 && page.is_html() && page.text.contains("Too many requests"), "{}", page.status);
    assert!(!page.header("retry-after").is_empty() && page.header("x-ratelimit-remaining") == "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_files_are_there_for_anyone_and_never_kept_unasked() {
    let server = Server::start().await;
    let mut browser = Browser::new(&server);
    for (name, kind) in [
        ("style.css", "text/css"),
        ("main.js", "text/javascript"),
        ("login.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
        ("cities.json", "application/json"),
    ] {
        let page = browser.open(&format!("/ops/{name}")).await;
        assert!(page.status == 200 && page.header("content-type").starts_with(kind) && !page.text.is_empty(), "{name}");
        assert_eq!((page.header("cache-control"), page.header("x-content-type-options")), ("no-cache", "nosniff"));
    }
    let cities: Value = serde_json::from_str(&browser.open("/ops/cities.json").await.text).expect("JSON");
    assert_eq!(cities.as_array().map(Vec::len), Some(17));
    for none in ["secret.js", "..%2Fmap.html", "map.html"] {
        assert_eq!(browser.open(&format!("/ops/{none}")).await.status, 404, "{none}");
    }
}

/// A reader of `/v1/ops/live`.
struct Live {
    response: reqwest::Response,
    text: String,
    updates: u32,
}

/// One comes every second: who still waits after so many waits for ever.
const MOST_UPDATES: u32 = 30;

impl Live {
    async fn open(server: &Server, who: &Person) -> Self {
        let api = server.api(&who.token);
        let client = reqwest::Client::new();
        let response = client.get(api.url("/v1/ops/live")).bearer_auth(&who.token).send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new(), updates: 0 }
    }

    /// The next update; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Value> {
        let next = async {
            loop {
                if let Some(end) = self.text.find("\n\n") {
                    let event = self.text[..end].to_owned();
                    self.text.drain(..end + 2);
                    let (name, data) = event.split_once('\n').expect("two lines");
                    assert_eq!(name, "event: update");
                    self.updates += 1;
                    assert!(self.updates < MOST_UPDATES, "what was awaited is still not told: {event}");
                    return Some(serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON"));
                }
                match self.response.chunk().await {
                    Ok(Some(chunk)) => self.text.push_str(&String::from_utf8_lossy(&chunk)),
                    _ => return None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("an update, or the end of the stream")
    }

    /// The first update with something in this list that is wanted.
    async fn until(&mut self, list: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        while found.is_none() {
            let update = self.next().await.expect("an update");
            found = update[list].as_array().expect("a list").iter().find(|item| wanted(item)).cloned();
        }
        found.expect("found")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_is_told_who_is_where_and_what_he_does_as_it_changes() {
    let server = Server::start().await;
    let pool = server.pool();
    let luz = therapist_at(&server, "Luz", 300.0).await;
    people::therapist(pool, "Never", HERE.0, HERE.1).await;
    let (admin, customer) = (people::admin(pool).await, people::customer(pool).await);
    server.api(&admin.token).until("/v1/ops/fleet", |_| server.engine().fleet.len() == 2).await;
    let mut live = Live::open(&server, &admin).await;

    let first = live.next().await.expect("an update");
    let n = first["joined"][0][0].clone();
    assert_eq!(first["joined"], json!([[n, luz.provider_uuid, "Luz"]]));
    assert_eq!(first["states"], json!([[n, "idle", false, null]]));
    assert_eq!((&first["places"][0][0], &first["places"][0][2]), (&n, &json!(121.0244)));
    assert!((first["places"][0][1].as_f64().expect("degrees") - north(300.0).0).abs() < 1e-5, "{first}");
    assert!(first["places"][0][3].as_u64().expect("an age") < 20, "{first}");
    assert_eq!(
        (&first["without_position"], &first["stale_after_s"], &first["not_ready"]),
        (&json!(1), &json!(600), &json!([]))
    );

    // He moves, is asked, takes it, gives up work: each is told.
    let mut phone = app(&server, &luz).await;
    let (latitude, longitude) = north(250.0);
    phone.send(json!({"type": "location", "fixes": [fix(1, now(), latitude, longitude)]})).await;
    live.until("places", |place| place[0] == n).await;
    let booking = book(&server, &customer, wanted()).await;
    let shown = live.until("bookings", |b| b["offered_to"] == json!([luz.provider_uuid])).await;
    assert_eq!((&shown["uuid"], &shown["status"], &shown["offers"]), (&booking["uuid"], &json!("pending"), &json!(1)));
    assert_eq!((&shown["latitude"], &shown["service"]), (&json!(14.5547), &json!("Swedish Massage")));
    assert!(shown.get("address").is_none() && !shown.to_string().contains("Ayala"), "no address: {shown}");
    let offer = phone.expect("offer").await["offer_id"].clone();
    let accept = server.api(&luz.person.token).post(&format!("/v1/offers/{offer}/accept"), json!({})).await;
    assert_eq!(accept.status, 200);
    let taken = live.until("bookings", |b| b["status"] == "accepted").await;
    assert_eq!((&taken["provider_uuid"], &taken["offered_to"]), (&json!(luz.provider_uuid), &json!([])));
    let uuid = uuid(&booking).to_owned();
    assert_eq!(transition(&server, &luz.person, &uuid, "en_route").await.0, 200);
    let way = live.until("states", |state| state[1] == "en_route").await;
    assert_eq!(way, json!([n, "en_route", false, uuid]));

    let person = server.api(&admin.token).get(&format!("/v1/ops/fleet/{}", luz.provider_uuid)).await;
    assert_eq!(
        (person.status, &person.json["state"], &person.json["booking_uuid"]),
        (200, &json!("en_route"), &json!(uuid))
    );
    assert_eq!((&person.json["connected"], &person.json["first_name"]), (&json!(true), &json!("Luz")));
    let told = person.json.to_string();
    assert!(!told.contains("+639") && !told.contains("base_location") && !told.contains("Santos"), "{told}");
    let none = server.api(&admin.token).get(&format!("/v1/ops/fleet/{}", uuid::Uuid::new_v4())).await;
    assert_eq!(none.status, 404);

    assert_eq!(transition(&server, &luz.person, &uuid, "cancelled").await.0, 200);
    assert_eq!(live.until("over", |over| *over == json!(uuid)).await, json!(uuid));
    assert_eq!(server.api(&luz.person.token).put("/v1/me/availability", json!({"available": false})).await.status, 200);
    live.until("states", |state| state[1] == "off_duty").await;
    sqlx::query("UPDATE providers SET verification_status = 'rejected' WHERE id = $1")
        .bind(luz.provider_id)
        .execute(pool)
        .await
        .expect("rejected");
    live.until("states", |state| state[1] == "barred").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_at_a_store_is_shown_where_the_store_is_and_all_maps_are_told_the_same() {
    let server = Server::start().await;
    let (_, store) = stores::store(server.pool(), "Ginhawa Spa", north(900.0), stores::around_the_clock()).await;
    let (admin, customer) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    let mut maps = [Live::open(&server, &admin).await, Live::open(&server, &admin).await];
    let body = json!({"service": "swedish-massage", "type": "in_store", "booking_type": "now", "payment_method": "cash",
                      "provider_uuid": store});
    let booking = book(&server, &customer, body).await;
    for map in &mut maps {
        let shown = map.until("bookings", |shown| shown["uuid"] == booking["uuid"]).await;
        assert_eq!((&shown["type"], &shown["provider_uuid"]), (&json!("in_store"), &json!(store)));
        assert!((shown["latitude"].as_f64().expect("degrees") - north(900.0).0).abs() < 1e-5, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_fleet_is_told_on_and_the_bookings_say_that_they_are_old() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let mut live = Live::open(&server, &admin).await;
    let before = live.next().await.expect("an update");
    assert!(before["bookings_as_of"].is_string());
    // Only the node's way to it: this test's own is another.
    server.engine().pool.close().await;
    let mut last = live.next().await.expect("an update");
    let mut the_same = 0;
    while the_same < 2 {
        let next = live.next().await.expect("the fleet is told on");
        let time = |update: &Value, name: &str| update[name].as_str().expect("a time").to_owned();
        assert!(time(&next, "as_of") > time(&last, "as_of"));
        the_same += usize::from(time(&next, "bookings_as_of") == time(&last, "bookings_as_of"));
        last = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_map_ends_when_the_node_stops() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let mut live = Live::open(&server, &admin).await;
    live.next().await.expect("an update");
    let ended = async { while live.next().await.is_some() {} };
    let restarted = tokio::time::timeout(PATIENCE, server.restart());
    let (_server, ()) = tokio::join!(async { restarted.await.expect("the node stops in time") }, ended);
}
