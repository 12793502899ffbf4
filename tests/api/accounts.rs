//! Who one is: registration, log-in, passwords, one's own tokens and profile.

use std::process::Stdio;

use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::support::server::Process;
use crate::support::{database, until_told};

/// Of everybody here who has one.
pub const PASSWORD: &str = "correct horse battery";

/// bcrypt's hash of it, of the least cost.
pub fn hash() -> String {
    bcrypt::hash_with_result(PASSWORD, 4).expect("a hash").format_for_version(bcrypt::Version::TwoY)
}

/// Routes about accounts whose body must be whole for the walk of every route as everybody.
pub const ROUTES: &[&str] = &[
    "/v1/auth/register",
    "/v1/auth/login",
    "/v1/me/password",
    "/v1/device-tokens",
    "/v1/users/{uuid}/roles",
    "/v1/users/{uuid}/permissions",
    "/v1/roles/{name}/permissions",
];

/// One of those whom [`prepare`] makes, of routes about users.
pub fn path(route: &str, nth: usize) -> String {
    route.replace("{uuid}", &format!("00000000-0000-4000-8000-{nth:012}"))
}

/// A body of one of [`ROUTES`] for the nth caller of the walk.
pub fn body(route: &str, nth: usize) -> Value {
    match route {
        "/v1/auth/register" => {
            json!({"phone": format!("+6399800000{nth:02}"), "password": PASSWORD, "first_name": "Maria"})
        }
        "/v1/auth/login" => json!({"phone": format!("+6399900000{nth:02}"), "password": PASSWORD}),
        "/v1/device-tokens" => json!({"device_type": "web", "token": format!("push-{nth}")}),
        "/v1/users/{uuid}/roles" => json!({"roles": ["customer"]}),
        "/v1/users/{uuid}/permissions" | "/v1/roles/{name}/permissions" => json!({"permissions": []}),
        _ => json!({"current_password": PASSWORD, "password": PASSWORD}),
    }
}

/// Gives everybody a password, and makes somebody for each caller of the walk to log in as.
pub async fn prepare(pool: &PgPool, callers: usize) {
    let some = "INSERT INTO users (phone, uuid)
                SELECT '+6399900000' || lpad(n::text, 2, '0'), ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
                FROM generate_series(0, $1) n";
    sqlx::query(some).bind(callers as i64).execute(pool).await.expect("users");
    // The first device, as the walk's offer is the first: somebody else's.
    let device = "INSERT INTO device_tokens (user_id, device_type, token) SELECT max(id), 'web', 'push' FROM users";
    sqlx::query(device).execute(pool).await.expect("a device");
    sqlx::query("UPDATE users SET password = $1").bind(hash()).execute(pool).await.expect("passwords");
}

/// Another token of the same user that can do the same.
pub async fn twin(pool: &PgPool, token: &str) -> String {
    let id: i64 = token.split('|').next().and_then(|id| id.parse().ok()).expect("an id");
    let secret = spacall::store::tokens::new_secret();
    let sql = "INSERT INTO personal_access_tokens (tokenable_id, name, token, abilities, expires_at)
               SELECT tokenable_id, 'twin', $2, abilities, expires_at FROM personal_access_tokens WHERE id = $1 RETURNING id";
    let hash = spacall::store::tokens::secret_hash(&secret);
    let id: i64 = sqlx::query_scalar(sql).bind(id).bind(hash).fetch_one(pool).await.expect("a token");
    format!("{id}|{secret}")
}

/// What routes about accounts answer: to be compared with the document.
pub async fn answers(
    server: &Server,
    customer: &Person,
) -> impl Iterator<Item = (&'static str, &'static str, u16, Answer)> {
    let (nobody, mine) = (anyone(server), server.api(&customer.token));
    let whom = |password: &str| json!({"phone": "+639171234567", "password": password, "first_name": "Maria"});
    let chief = people::person(server.pool(), "super_admin", "Corazon").await;
    let (top, permits) = (server.api(&chief.token), json!({"permissions": ["fly"]}));
    let [her, own] = [customer, &chief].map(|person| format!("/v1/users/{}", person.user_uuid));
    let told = "INSERT INTO notifications (user_id, type, title, body) VALUES ($1, 'news', 'News', 'x') RETURNING uuid";
    let told = sqlx::query_scalar::<_, uuid::Uuid>(told).bind(customer.user_id).fetch_one(server.pool()).await;
    let read = format!("/v1/notifications/{}/read", told.expect("a notification"));
    let device = mine.post("/v1/device-tokens", body("/v1/device-tokens", 0)).await;
    let noted = format!("/v1/device-tokens/{}", device.json["id"]);
    [
        ("post", "/v1/auth/register", 201, nobody.post("/v1/auth/register", whom(PASSWORD)).await),
        ("post", "/v1/auth/register", 422, nobody.post("/v1/auth/register", whom(PASSWORD)).await),
        ("post", "/v1/auth/login", 200, nobody.post("/v1/auth/login", whom(PASSWORD)).await),
        ("post", "/v1/auth/login", 401, nobody.post("/v1/auth/login", whom("another one")).await),
        ("get", "/v1/tokens", 200, mine.get("/v1/tokens").await),
        ("patch", "/v1/me", 200, patch(&mine, "/v1/me", json!({"first_name": "Ligaya"})).await),
        ("patch", "/v1/me", 422, patch(&mine, "/v1/me", json!({"gender": 1})).await),
        ("put", "/v1/me/password", 422, mine.put("/v1/me/password", json!({})).await),
        ("put", "/v1/device-tokens", 200, mine.put("/v1/device-tokens", body("/v1/device-tokens", 0)).await),
        ("get", "/v1/device-tokens", 200, mine.get("/v1/device-tokens").await),
        ("get", "/v1/notifications", 200, mine.get("/v1/notifications").await),
        ("put", "/v1/notifications/{uuid}/read", 200, mine.put(&read, json!({})).await),
        ("get", "/v1/users", 200, top.get("/v1/users").await),
        ("get", "/v1/users/{uuid}", 200, top.get(&her).await),
        ("patch", "/v1/users/{uuid}", 200, patch(&top, &her, json!({"is_verified": false})).await),
        ("patch", "/v1/users/{uuid}", 409, patch(&top, &own, json!({"is_active": false})).await),
        ("put", "/v1/users/{uuid}/roles", 200, top.put(&(her + "/roles"), json!({"roles": ["customer"]})).await),
        ("post", "/v1/device-tokens", 201, device),
        ("get", "/v1/device-tokens/{id}", 200, mine.get(&noted).await),
        ("get", "/v1/notifications/{uuid}", 200, mine.get(read.trim_end_matches("/read")).await),
        ("get", "/v1/users/{uuid}/roles", 200, top.get(&format!("{own}/roles")).await),
        ("get", "/v1/users/{uuid}/addresses", 200, top.get(&format!("{own}/addresses")).await),
        ("get", "/v1/users/{uuid}/permissions", 200, top.get(&format!("{own}/permissions")).await),
        ("get", "/v1/roles", 200, top.get("/v1/roles").await),
        ("get", "/v1/roles/{name}", 200, top.get("/v1/roles/admin").await),
        ("put", "/v1/permissions/{name}", 200, top.put("/v1/permissions/fly", json!({})).await),
        ("get", "/v1/permissions", 200, top.get("/v1/permissions").await),
        ("get", "/v1/permissions/{name}", 200, top.get("/v1/permissions/fly").await),
        ("put", "/v1/users/{uuid}/permissions", 200, top.put(&format!("{own}/permissions"), permits.clone()).await),
        ("put", "/v1/roles/{name}/permissions", 200, top.put("/v1/roles/admin/permissions", permits).await),
        ("get", "/v1/audit-logs", 200, top.get("/v1/audit-logs").await),
        ("get", "/v1/audit-logs/{id}", 200, top.get("/v1/audit-logs/1").await),
    ]
    .into_iter()
}

/// Somebody with a password.
pub async fn somebody(server: &Server) -> (Person, String) {
    let person = people::customer(server.pool()).await;
    let sql = "UPDATE users SET password = $2 WHERE id = $1 RETURNING phone";
    let phone = sqlx::query_scalar(sql).bind(person.user_id).bind(hash()).fetch_one(server.pool()).await;
    (person, phone.expect("a phone"))
}

fn anyone(server: &Server) -> Api {
    Api::new(&server.base, None)
}

async fn log_in(server: &Server, phone: &str, password: &str) -> Answer {
    anyone(server).post("/v1/auth/login", json!({"phone": phone, "password": password})).await
}

pub async fn patch(api: &Api, path: &str, body: Value) -> Answer {
    api.send(api.request("PATCH", path).json(&body)).await
}

pub async fn delete(api: &Api, path: &str) -> u16 {
    api.send(api.request("DELETE", path)).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_is_in_with_role_wallet_and_a_hash_that_laravel_knows() {
    let server = Server::start().await;
    let body = json!({"phone": "0917 123 4567", "password": PASSWORD, "first_name": " Maria ", "last_name": "Santos",
        "email": "Maria@Example.com", "role": "therapist", "gender": "female", "date_of_birth": "1990-05-17",
        "preferred_language": "fil", "device_name": "Pixel 9"});
    let made = anyone(&server).post("/v1/auth/register", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.headers["cache-control"], "no-store");
    let token = made.json["token"].as_str().expect("a token");
    let me = server.api(token).get("/v1/me").await;
    assert_eq!((me.status, &me.json), (200, &made.json["user"]));
    for (field, expected) in [
        ("phone", json!("+639171234567")),
        ("email", json!("Maria@Example.com")),
        ("first_name", json!("Maria")),
        ("gender", json!("female")),
        ("date_of_birth", json!("1990-05-17")),
        ("preferred_language", json!("fil")),
        ("roles", json!(["therapist"])),
        ("abilities", json!(["*"])),
        ("provider", Value::Null),
        ("is_verified", json!(false)),
    ] {
        assert_eq!(me.json[field], expected, "{field}");
    }
    let (hash, wallet, tokens): (String, String, i64) = sqlx::query_as(
        "SELECT password, w.balance::text, (SELECT count(*) FROM personal_access_tokens WHERE name = 'Pixel 9')
         FROM users u JOIN wallets w ON w.user_id = u.id WHERE phone = '+639171234567'",
    )
    .fetch_one(server.pool())
    .await
    .expect("one user with a wallet");
    assert!(hash.starts_with("$2y$04$") && bcrypt::verify(PASSWORD, &hash).expect("a hash"), "{hash}");
    assert_eq!((wallet.as_str(), tokens), ("0.00", 1));
    for body in [json!({"phone": "+63 917 123 4567"}), json!({"email": "maria@EXAMPLE.com"})] {
        let mut body = body;
        body["password"] = json!(PASSWORD);
        let inside = anyone(&server).post("/v1/auth/login", body).await;
        assert_eq!((inside.status, &inside.json["user"]["uuid"]), (200, &me.json["uuid"]), "{inside:?}");
        let token = inside.json["token"].as_str().expect("a token");
        assert_eq!(server.api(token).get("/v1/me").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_refused_by_every_field_that_is_wrong() {
    let server = Server::start().await;
    let good = json!({"phone": "+639171234567", "password": PASSWORD, "first_name": "Maria", "email": "m@x.ph"});
    assert_eq!(anyone(&server).post("/v1/auth/register", good.clone()).await.status, 201);
    for (change, fields) in [
        (json!({"phone": "09171234567", "email": "M@X.PH"}), vec!["email", "phone"]),
        (json!({"phone": "+639171234568", "email": "M@X.PH"}), vec!["email"]),
        (json!({"phone": null, "password": null, "first_name": null}), vec!["first_name", "password", "phone"]),
        (json!({"role": "admin"}), vec!["role"]),
        (json!({"role": "super_admin"}), vec!["role"]),
        (json!({"password": "x".repeat(73)}), vec!["password"]),
        (json!({"password": "nul\u{0}nulnul"}), vec!["password"]),
        (json!({"password": "short"}), vec!["password"]),
        (json!({"password_confirmation": "another one"}), vec!["password"]),
        (
            json!({"first_name": "x".repeat(101), "last_name": "\u{0}", "gender": "x"}),
            vec!["first_name", "gender", "last_name"],
        ),
        (
            json!({"date_of_birth": "1899-01-01", "preferred_language": "english"}),
            vec!["date_of_birth", "preferred_language"],
        ),
        (json!({"phone": 639171234567_i64, "email": "m", "device_name": ""}), vec!["device_name", "email", "phone"]),
    ] {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let answer = anyone(&server).post("/v1/auth/register", body.clone()).await;
        assert_eq!((answer.status, &answer.json["code"]), (422, &json!("invalid")), "{body}: {answer:?}");
        let named: Vec<_> = answer.json["errors"].as_object().expect("errors").keys().collect();
        assert_eq!(named, fields, "{body}: {answer:?}");
        assert!(!answer.json.to_string().contains(PASSWORD), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_register_one_phone_at_once_one_has_it() {
    let server = Server::behind("127.0.0.1").await;
    let body = json!({"phone": "+639171234567", "password": PASSWORD, "first_name": "Maria"});
    let many = (0..8).map(|nth| {
        let (api, body) = (anyone(&server), body.clone());
        // Each from elsewhere: an address has its share of hashes at once.
        let request = api.request("POST", "/v1/auth/register").header("x-forwarded-for", format!("198.51.100.{nth}"));
        async move { api.send(request.json(&body)).await.status }
    });
    let mut answers = futures_util::future::join_all(many).await;
    answers.sort_unstable();
    assert_eq!(answers, [vec![201], vec![422; 7]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_come_in_hears_the_same() {
    let server = Server::behind("127.0.0.1").await;
    let mut told = Vec::new();
    let php = "$2y$10$92IXUNpkjO0rOQ5byMi.Ye4oKoEa3Ro9llC/.og/at2.uheWG/igi";
    for (nth, (change, password)) in [
        ("UPDATE users SET password = $2 WHERE id = $1", "another one"),
        ("UPDATE users SET password = $2, is_active = FALSE WHERE id = $1", PASSWORD),
        ("UPDATE users SET password = $2, deleted_at = now() WHERE id = $1", PASSWORD),
        ("UPDATE users SET password = left($2, 0) WHERE id = $1", PASSWORD),
        ("UPDATE users SET password = NULLIF($2, $2) WHERE id = $1", PASSWORD),
        ("UPDATE users SET password = replace($2, '$04$', '$31$') WHERE id = $1", PASSWORD),
        ("UPDATE users SET password = 'correct horse battery' WHERE $1 = id AND $2 <> ''", PASSWORD),
    ]
    .into_iter()
    .enumerate()
    {
        let (person, phone) = somebody(&server).await;
        sqlx::query(change).bind(person.user_id).bind(hash()).execute(server.pool()).await.expect("a change");
        // Each from elsewhere: failures are counted by address.
        let api = anyone(&server);
        let from = |phone: &str, password: &str| {
            let body = json!({"phone": phone, "password": password});
            api.request("POST", "/v1/auth/login").header("x-forwarded-for", format!("198.51.100.{nth}")).json(&body)
        };
        let refused = api.send(from(&phone, password)).await;
        let unknown = api.send(from(&format!("+63917000000{nth}"), password)).await;
        for answer in [refused, unknown] {
            assert_eq!((answer.status, &answer.json["code"]), (401, &json!("bad_credentials")), "{change}");
            told.push((answer.json, answer.headers["x-ratelimit-limit"].clone()));
        }
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    // As PHP wrote it.
    let (person, phone) = somebody(&server).await;
    let set = sqlx::query("UPDATE users SET password = $2 WHERE id = $1").bind(person.user_id).bind(php);
    set.execute(server.pool()).await.expect("a change");
    assert_eq!(log_in(&server, &phone, "password").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_is_refused_by_every_field_that_is_wrong() {
    let server = Server::start().await;
    for (body, fields) in [
        (json!({}), vec!["password", "phone"]),
        (json!({"phone": "+639171234567", "email": "m@x.ph", "password": PASSWORD}), vec!["email"]),
        (json!({"phone": "+639171234567", "password": "a\u{0}b"}), vec!["password"]),
        (json!({"email": "nobody\u{0}@x.ph", "password": PASSWORD}), vec!["email"]),
    ] {
        let answer = anyone(&server).post("/v1/auth/login", body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        let named: Vec<_> = answer.json["errors"].as_object().expect("errors").keys().collect();
        assert_eq!(named, fields, "{body}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_log_ins_a_minute_for_an_account_however_good_they_are() {
    let server = Server::start().await;
    let (_, phone) = somebody(&server).await;
    for left in (0..5).rev() {
        let answer = log_in(&server, &phone, PASSWORD).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["x-ratelimit-limit"], "5");
        assert_eq!(answer.headers["x-ratelimit-remaining"], left.to_string());
    }
    let refused = log_in(&server, &phone, PASSWORD).await;
    assert_eq!((refused.status, &refused.json["code"]), (429, &json!("too_many_requests")), "{refused:?}");
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    let wait: u64 = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    // Others behind the same address get in, however many they are.
    for _ in 0..6 {
        let (_, phone) = somebody(&server).await;
        assert_eq!(log_in(&server, &phone, PASSWORD).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_failures_a_minute_from_an_address_whatever_a_header_says() {
    let server = Server::start().await;
    let api = anyone(&server);
    let from = |api: &Api, address: &str, phone: &str| {
        let body = json!({"phone": phone, "password": "another one"});
        api.request("POST", "/v1/auth/login").header("x-forwarded-for", address.to_owned()).json(&body)
    };
    for nth in 0..5 {
        let answer = api.send(from(&api, &format!("198.51.100.{nth}"), &format!("+63917000000{nth}"))).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    let refused = api.send(from(&api, "203.0.113.9", "+639170000009")).await;
    assert_eq!((refused.status, &refused.json["code"]), (429, &json!("too_many_requests")), "{refused:?}");
    let (_, phone) = somebody(&server).await;
    assert_eq!(log_in(&server, &phone, PASSWORD).await.status, 429, "from that address, nobody");

    // Behind a proxy of ours it is the client's address that counts, as the proxy wrote it.
    let server = Server::behind("127.0.0.0/8").await;
    let api = anyone(&server);
    for nth in 0..6 {
        let mine = format!("6.6.6.{nth}, 198.51.100.1");
        let answer = api.send(from(&api, &mine, &format!("+63917000000{nth}"))).await;
        assert_eq!(answer.status, if nth < 5 { 401 } else { 429 }, "{answer:?}");
    }
    assert_eq!(api.send(from(&api, "198.51.100.2", "+639170000009")).await.status, 401, "another client");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_new_accounts_from_an_address_are_refused() {
    let server = Server::start().await;
    let mut last = None;
    for nth in 0..31 {
        let body = json!({"phone": format!("+6391700000{nth:02}"), "password": PASSWORD, "first_name": "Maria"});
        let answer = anyone(&server).post("/v1/auth/register", body).await;
        assert_eq!(answer.status, if nth < 30 { 201 } else { 429 }, "{nth}: {answer:?}");
        last = Some(answer);
    }
    assert!(last.is_some_and(|last| last.headers.contains_key("retry-after")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_is_out_at_once_and_his_stream_ends() {
    let server = Server::start().await;
    let (person, phone) = somebody(&server).await;
    for round in 0..4 {
        let inside = log_in(&server, &phone, PASSWORD).await;
        let token = inside.json["token"].as_str().expect("a token").to_owned();
        let api = server.api(&token);
        let (mut stream, _) = Stream::open(&server.base, &token).await;
        assert_eq!(api.get("/v1/me").await.status, 200);
        assert_eq!(api.send(api.request("POST", "/v1/auth/logout")).await.status, 204);
        assert_eq!(api.get("/v1/me").await.status, 401, "round {round}");
        assert_eq!(stream.closed().await, 4401);
        assert_eq!(api.send(api.request("POST", "/v1/auth/logout")).await.status, 401);
    }
    assert_eq!(server.api(&person.token).get("/v1/me").await.status, 200, "another device");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_wants_the_old_one_and_leaves_no_other_token() {
    let server = Server::limited(1_000).await;
    let (person, phone) = somebody(&server).await;
    let mine = server.api(&person.token);
    let other = twin(server.pool(), &person.token).await;
    let stranger = people::customer(server.pool()).await;
    assert_eq!(server.api(&other).get("/v1/me").await.status, 200);
    let (mut stream, _) = Stream::open(&server.base, &other).await;
    let wrong = mine.put("/v1/me/password", json!({"current_password": "another", "password": "a new password"})).await;
    assert_eq!((wrong.status, wrong.json["errors"]["current_password"].is_array()), (422, true), "{wrong:?}");
    let same =
        json!({"current_password": PASSWORD, "password": "a new password", "password_confirmation": "a new one"});
    assert_eq!(mine.put("/v1/me/password", same).await.status, 422);
    assert_eq!(server.api(&other).get("/v1/me").await.status, 200, "nothing has changed");

    let done = mine.put("/v1/me/password", json!({"current_password": PASSWORD, "password": "a new password"})).await;
    assert_eq!(done.status, 204, "{done:?}");
    assert_eq!(server.api(&other).get("/v1/me").await.status, 401);
    assert_eq!(stream.closed().await, 4401);
    assert_eq!(mine.get("/v1/me").await.status, 200, "who changed it is not thrown out");
    assert_eq!(server.api(&stranger.token).get("/v1/me").await.status, 200);
    assert_eq!(log_in(&server, &phone, PASSWORD).await.status, 401);
    assert_eq!(log_in(&server, &phone, "a new password").await.status, 200);
    // The old password cannot be tried out with a stolen token, either: two were counted.
    let mut last = None;
    for status in [422, 422, 422, 429] {
        let again = mine.put("/v1/me/password", json!({"current_password": "x", "password": "a new password"})).await;
        assert_eq!(again.status, status, "{again:?}");
        last = Some(again);
    }
    let again = last.expect("an answer");
    assert!(again.headers.contains_key("retry-after"));
    assert_eq!(again.headers["x-ratelimit-limit"], "5", "the limit that refused it");
    assert_eq!(mine.get("/v1/me").await.headers["x-ratelimit-limit"], "2000");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_made_with_the_old_password_outlives_its_change() {
    let server = Server::behind("127.0.0.1").await;
    for round in 0..12 {
        let (person, phone) = somebody(&server).await;
        let body = json!({"current_password": PASSWORD, "password": "a new password"});
        let mine = server.api(&person.token);
        let nobody = anyone(&server);
        let ins = (0..4).map(|_| {
            let body = json!({"phone": phone, "password": PASSWORD});
            let request = nobody.request("POST", "/v1/auth/login").json(&body);
            // Each round from elsewhere: failures are counted by address.
            nobody.send(request.header("x-forwarded-for", format!("198.51.100.{round}")))
        });
        let (ins, changed) = tokio::join!(futures_util::future::join_all(ins), mine.put("/v1/me/password", body));
        assert_eq!(changed.status, 204, "{changed:?}");
        assert!(ins.iter().all(|answer| [200, 401].contains(&answer.status)), "{ins:?}");
        let left: Vec<String> = sqlx::query_scalar("SELECT name FROM personal_access_tokens WHERE tokenable_id = $1")
            .bind(person.user_id)
            .fetch_all(server.pool())
            .await
            .expect("tokens");
        assert_eq!(left, ["test"], "only the one that changed it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_tokens_are_listed_without_what_they_are_and_can_be_taken_away() {
    let server = Server::start().await;
    let (person, phone) = somebody(&server).await;
    let stranger = people::customer(server.pool()).await;
    let inside = log_in(&server, &phone, PASSWORD).await;
    let other = inside.json["token"].as_str().expect("a token").to_owned();
    let mine = server.api(&person.token);
    let first = mine.get("/v1/tokens?per_page=1").await.json;
    assert_eq!((&first["data"][0]["name"], &first["data"][0]["is_current"]), (&json!("api"), &json!(false)));
    let next =
        mine.get(&format!("/v1/tokens?per_page=1&cursor={}", first["next_cursor"].as_str().expect("more"))).await;
    assert_eq!((&next.json["data"][0]["name"], &next.json["data"][0]["is_current"]), (&json!("test"), &json!(true)));
    assert_eq!(next.json["next_cursor"], Value::Null);
    let secret = other.split('|').nth(1).expect("a secret");
    let whole = first.to_string();
    assert!(!whole.contains(secret) && !whole.contains(&spacall::store::tokens::secret_hash(secret)), "{whole}");

    let path = format!("/v1/tokens/{}", first["data"][0]["id"]);
    assert_eq!(server.api(&other).get("/v1/me").await.status, 200);
    assert_eq!(delete(&server.api(&stranger.token), &path).await, 404, "a stranger's");
    assert_eq!(delete(&mine, &path).await, 204);
    assert_eq!(server.api(&other).get("/v1/me").await.status, 401, "at once");
    assert_eq!(delete(&mine, &path).await, 404, "gone");
    for bad in ["0", "-1", "x", "99999999999999999999"] {
        assert_eq!(delete(&mine, &format!("/v1/tokens/{bad}")).await, 404, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_changes_of_oneself_is_changed_and_nothing_else_is() {
    let server = Server::start().await;
    let (person, _) = somebody(&server).await;
    let (stranger, _) = somebody(&server).await;
    let (mine, his) = (server.api(&person.token), server.api(&stranger.token));
    let before = mine.get("/v1/me").await.json;
    let mut change = json!({"first_name": "Ligaya", "email": "Ligaya@Example.com", "gender": "other",
        "date_of_birth": "1991-06-18", "preferred_language": "en-PH", "profile_photo_url": "https://cdn.example.com/1.jpg",
        "notification_preferences": {"push": true}});
    let mut expected = before.clone();
    expected.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
    change["current_password"] = json!(PASSWORD);
    let changed = patch(&mine, "/v1/me", change).await;
    assert_eq!((changed.status, &changed.json), (200, &expected));
    assert_eq!(mine.get("/v1/me").await.json, expected);

    sqlx::query("UPDATE users SET email_verified_at = now()").execute(server.pool()).await.expect("verified");
    assert_eq!(patch(&mine, "/v1/me", json!({"email": "LIGAYA@example.com"})).await.status, 200);
    let verified = async || {
        let sql = "SELECT email_verified_at IS NOT NULL FROM users WHERE id = $1";
        sqlx::query_scalar::<_, bool>(sql).bind(person.user_id).fetch_one(server.pool()).await.expect("a user")
    };
    assert!(verified().await, "the same address");
    assert_eq!(
        patch(&his, "/v1/me", json!({"email": "ligaya@EXAMPLE.com", "current_password": PASSWORD})).await.json["errors"]
            ["email"][0],
        "The email has already been taken."
    );
    let empty = json!({"email": null, "gender": null, "profile_photo_url": null, "current_password": PASSWORD});
    let emptied = patch(&mine, "/v1/me", empty).await;
    assert_eq!((emptied.status, &emptied.json["email"], &emptied.json["gender"]), (200, &Value::Null, &Value::Null));
    assert!(!verified().await);
    assert_eq!(patch(&mine, "/v1/me", json!({})).await.json, emptied.json);

    // What is not his to say is not taken.
    let sly =
        json!({"is_verified": true, "is_active": false, "roles": ["admin"], "phone": "+639990000000", "uuid": "x"});
    assert_eq!(patch(&his, "/v1/me", sly).await.json, his.get("/v1/me").await.json);
    assert_eq!(his.get("/v1/me").await.json["roles"], json!(["customer"]));
    let wrong = json!({"first_name": "a\u{0}", "email": "x", "gender": "x", "date_of_birth": "tomorrow",
        "preferred_language": null, "profile_photo_url": "ftp://x", "notification_preferences": {"a": "\u{0}"}});
    let refused = patch(&mine, "/v1/me", wrong.clone()).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let fields = refused.json["errors"].as_object().expect("errors").keys().collect::<Vec<_>>();
    assert_eq!(fields, wrong.as_object().expect("an object").keys().collect::<Vec<_>>(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_therapist_who_changes_his_name_is_shown_with_it_from_the_answer_on() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let (his, api) = (server.api(&therapist.person.token), server.api(&customer.token));
    for round in 0..12 {
        let name = format!("Luz {round}");
        assert_eq!(patch(&his, "/v1/me", json!({"first_name": name})).await.status, 200);
        assert_eq!(api.get(&nearby(HERE, "")).await.json["data"][0]["first_name"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_has_a_password_or_a_token() {
    let database = database().await;
    let path = std::env::temp_dir().join(format!("spacall-log-{}.txt", std::process::id()));
    let log = std::fs::File::create(&path).expect("a file");
    let process = Process::at(database.url(), "trace", Stdio::from(log)).await;
    let api = Api::new(&process.base, None);
    let body = |password: &str| json!({"phone": "+639171234567", "password": password, "first_name": "Maria"});
    let made = api.post("/v1/auth/register", body(PASSWORD)).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(api.post("/v1/auth/register", body(PASSWORD)).await.status, 422);
    assert_eq!(api.post("/v1/auth/login", body(PASSWORD)).await.status, 200);
    assert_eq!(api.post("/v1/auth/login", body("xyzzy plugh xyzzy")).await.status, 401);
    let token = made.json["token"].as_str().expect("a token").to_owned();
    let mine = process.api(&token);
    let change = json!({"current_password": PASSWORD, "password": "plugh xyzzy plugh"});
    assert_eq!(mine.put("/v1/me/password", change).await.status, 204);
    assert_eq!(mine.send(mine.request("POST", "/v1/auth/logout")).await.status, 204);
    let lines = || std::fs::read_to_string(&path).expect("the log");
    until_told("the log is written", async || lines().contains("/v1/auth/logout")).await;
    process.terminate().await;
    let (text, secret) = (lines(), token.split('|').nth(1).expect("a secret"));
    for told in [PASSWORD, "xyzzy", secret, &spacall::store::tokens::secret_hash(secret), "$2y$"] {
        let found: Vec<_> = text.lines().filter(|line| line.contains(told)).take(3).collect();
        assert!(found.is_empty(), "{told}: {found:?}");
    }
    std::fs::remove_file(&path).expect("removed");
}
