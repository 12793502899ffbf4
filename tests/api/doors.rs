//! What a stranger can do to others at the door: nothing.

use serde_json::json;

use super::accounts::{PASSWORD, patch, somebody};
use super::*;

/// A log-in from an address.
async fn from(server: &Server, address: &str, body: Value) -> Answer {
    let api = Api::new(&server.base, None);
    api.send(api.request("POST", "/v1/auth/login").header("x-forwarded-for", address).json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_locks_nobody_out() {
    let server = Server::behind("127.0.0.1").await;
    let (person, phone) = somebody(&server).await;
    let wrong = json!({"phone": phone, "password": "another one"});
    for nth in 0..6 {
        assert_eq!(from(&server, "198.51.100.1", wrong.clone()).await.status, if nth < 5 { 401 } else { 429 });
    }
    let good = json!({"phone": phone, "password": PASSWORD});
    assert_eq!(from(&server, "198.51.100.2", good.clone()).await.status, 200, "the owner, elsewhere");
    let body = json!({"current_password": PASSWORD, "password": PASSWORD});
    assert_eq!(server.api(&person.token).put("/v1/me/password", body).await.status, 204);
    // But from everywhere together there is an end to it: 5 + 1 + 94.
    for nth in 0..94 {
        assert_eq!(from(&server, &format!("203.0.113.{}", nth / 5), wrong.clone()).await.status, 401, "{nth}");
    }
    let end = from(&server, "203.0.113.99", good).await;
    assert_eq!((end.status, &end.headers["x-ratelimit-limit"]), (429, &"100".parse().expect("a value")), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_tell_that_a_phone_and_an_email_are_one_persons() {
    let server = Server::behind("127.0.0.1").await;
    let (person, phone) = somebody(&server).await;
    let sql = "UPDATE users SET email = 'Maria@Example.com' WHERE id = $1";
    sqlx::query(sql).bind(person.user_id).execute(server.pool()).await.expect("an email");
    for _ in 0..3 {
        let body = json!({"phone": phone, "password": PASSWORD});
        assert_eq!(from(&server, "198.51.100.1", body).await.status, 200);
    }
    for (address, email) in [("198.51.100.1", "maria@example.com"), ("198.51.100.2", "nobody@example.com")] {
        for left in ["4", "3", "2", "1", "0"] {
            let failed = from(&server, address, json!({"email": email, "password": "another one"})).await;
            assert_eq!(failed.status, 401, "{failed:?}");
            assert_eq!(failed.headers["x-ratelimit-remaining"], left, "{email}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_retries_does_not_lock_out_who_shares_its_address() {
    let server = Server::behind("127.0.0.1").await;
    let (_, retries) = somebody(&server).await;
    let (_, neighbour) = somebody(&server).await;
    let body = |phone: &str, password| json!({"phone": phone, "password": password});
    for nth in 0..12 {
        let answer = from(&server, "198.51.100.1", body(&retries, PASSWORD)).await;
        assert_eq!(answer.status, if nth < 5 { 200 } else { 429 }, "{nth}: {answer:?}");
    }
    // The same all at once.
    let at_once = (0..12).map(|_| from(&server, "198.51.100.1", body(&retries, PASSWORD)));
    for refused in futures_util::future::join_all(at_once).await {
        assert_eq!(refused.status, 429, "{refused:?}");
    }
    // Every place that the address has is there still.
    for left in ["4", "3", "2", "1", "0"] {
        let failed = from(&server, "198.51.100.1", body("+639180000000", "another one")).await;
        assert_eq!(failed.status, 401, "{failed:?}");
        assert_eq!(failed.headers["x-ratelimit-remaining"], left);
    }
    let full = from(&server, "198.51.100.1", body(&neighbour, PASSWORD)).await;
    assert_eq!(full.status, 429, "what did fail counts: {full:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_accounts_of_its_own_has_thirty_hashes_a_minute() {
    let server = Server::behind("127.0.0.1").await;
    for _ in 0..6 {
        let (_, phone) = somebody(&server).await;
        for _ in 0..4 {
            let body = json!({"phone": phone, "password": PASSWORD});
            assert_eq!(from(&server, "198.51.100.1", body).await.status, 200);
        }
    }
    // Two for each change of a password, one for a registration.
    let change = async |person: &Person| {
        let api = server.api(&person.token);
        let body = json!({"current_password": PASSWORD, "password": PASSWORD});
        api.send(api.request("PUT", "/v1/me/password").header("x-forwarded-for", "198.51.100.1").json(&body))
            .await
            .status
    };
    let (person, phone) = somebody(&server).await;
    assert_eq!([change(&person).await, change(&person).await], [204, 204]);
    let registration = async |phone: &str| {
        let api = Api::new(&server.base, None);
        let body = json!({"phone": phone, "password": PASSWORD, "first_name": "Maria"});
        let request = api.request("POST", "/v1/auth/register").header("x-forwarded-for", "198.51.100.1");
        api.send(request.json(&body)).await.status
    };
    assert_eq!([registration("+639170000001").await, registration("+639170000002").await], [201, 201]);
    assert_eq!((registration("+639170000003").await, change(&person).await), (429, 429));
    let body = json!({"phone": phone, "password": PASSWORD});
    let refused = from(&server, "198.51.100.1", body.clone()).await;
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (429, true), "{refused:?}");
    assert_eq!(from(&server, "198.51.100.2", body).await.status, 200, "others are let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_email_wants_the_password() {
    let server = Server::start().await;
    let (person, _) = somebody(&server).await;
    let mine = server.api(&person.token);
    let change = |more: Value| {
        let mut body = json!({"email": "thief@example.com", "first_name": "Luz"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    for refused in [json!({}), json!({"email": "a@b.ph"}), json!({"current_password": "another one"})] {
        let answer = patch(&mine, "/v1/me", change(refused)).await;
        assert_eq!((answer.status, answer.json["errors"]["current_password"].is_array()), (422, true), "{answer:?}");
    }
    assert_eq!(mine.get("/v1/me").await.json["first_name"], "Maria", "nothing has changed");
    let right = |email: Value| json!({"email": email, "current_password": PASSWORD});
    assert_eq!(patch(&mine, "/v1/me", right(json!("maria@example.com"))).await.json["email"], "maria@example.com");
    assert_eq!(patch(&mine, "/v1/me", json!({"email": "Maria@example.com"})).await.status, 200, "the same");
    assert_eq!(patch(&mine, "/v1/me", json!({"email": null})).await.status, 422);
    assert_eq!(patch(&mine, "/v1/me", right(Value::Null)).await.status, 200);
    // Counted like the password's change: one was wrong, two were right.
    let wrong = json!({"email": "a@b.ph", "current_password": "another one"});
    for status in [422, 422, 429] {
        assert_eq!(patch(&mine, "/v1/me", wrong.clone()).await.status, status);
    }
    let body = json!({"current_password": PASSWORD, "password": PASSWORD});
    assert_eq!(mine.put("/v1/me/password", body).await.status, 429);
    assert_eq!(patch(&mine, "/v1/me", json!({"first_name": "Luz"})).await.status, 200, "the rest wants none");

    // Who never had a password has none to give.
    let other = people::customer(server.pool()).await;
    assert_eq!(patch(&server.api(&other.token), "/v1/me", json!({"email": "o@b.ph"})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_one_however_it_is_written() {
    let server = Server::start().await;
    let nobody = Api::new(&server.base, None);
    let body = |phone: &str| json!({"phone": phone, "password": PASSWORD, "first_name": "Maria"});
    let made = nobody.post("/v1/auth/register", body("+63 (0)917 123 4567")).await;
    assert_eq!((made.status, &made.json["user"]["phone"]), (201, &json!("+639171234567")), "{made:?}");
    assert_eq!(nobody.post("/v1/auth/register", body("0917 123 4567")).await.status, 422);
    for phone in ["+6309171234567", "0917-123-4567", "+639171234567"] {
        assert_eq!(nobody.post("/v1/auth/login", body(phone)).await.status, 200, "{phone}");
        let found = spacall::store::users::by_phone(server.pool(), phone).await.expect("an answer");
        assert!(found.is_some(), "{phone}");
    }
    let sql = "INSERT INTO users (phone) VALUES ('+63 (0)918 123 4567') RETURNING phone";
    let stored: String = sqlx::query_scalar(sql).fetch_one(server.pool()).await.expect("a user");
    assert_eq!(stored, "+639181234567", "the trigger does the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_again_and_again_keeps_a_hundred_tokens() {
    let server = Server::start().await;
    let (person, phone) = somebody(&server).await;
    let many = "INSERT INTO personal_access_tokens (tokenable_id, name, token, last_used_at, created_at)
                SELECT $1, 'old', encode(sha256(n::text::bytea), 'hex'), now() - n * interval '1 hour', now() - interval '1 year'
                FROM generate_series(1, 120) n";
    sqlx::query(many).bind(person.user_id).execute(server.pool()).await.expect("tokens");
    let inside = from(&server, "198.51.100.1", json!({"phone": phone, "password": PASSWORD})).await;
    let mine = server.api(inside.json["token"].as_str().expect("a token"));
    let (all, oldest): (i64, i64) = sqlx::query_as(
        "SELECT count(*), (extract(epoch FROM now() - min(last_used_at)) / 3600)::bigint FROM personal_access_tokens
         WHERE tokenable_id = $1",
    )
    .bind(person.user_id)
    .fetch_one(server.pool())
    .await
    .expect("counts");
    assert_eq!((all, oldest), (100, 98), "those that were used last");
    assert_eq!((mine.get("/v1/me").await.status, server.api(&person.token).get("/v1/me").await.status), (200, 200));
}
