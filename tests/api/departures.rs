//! Who goes: what he had is gone with him, and nothing of his is left behind.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::accounts::{PASSWORD, delete, patch, somebody, twin};
use super::*;
use crate::support::until_told;

fn of(person: &Person) -> String {
    format!("/v1/users/{}", person.user_uuid)
}

/// Notes a device with this token.
async fn note(server: &Server, token: &str, device: &str) {
    let body = json!({"device_type": "web", "token": device});
    assert_eq!(server.api(token).put("/v1/device-tokens", body).await.status, 200);
}

async fn devices(server: &Server) -> Vec<String> {
    let sql = "SELECT token FROM device_tokens ORDER BY token";
    sqlx::query_scalar(sql).fetch_all(server.pool()).await.expect("devices")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_told_as_long_as_the_token_that_noted_it_is_good() {
    let server = Server::start().await;
    let (person, _) = somebody(&server).await;
    let [one, two, three] =
        [twin(server.pool(), &person.token).await, twin(server.pool(), &person.token).await, person.token.clone()];
    for (token, device) in [(&one, "one"), (&two, "two"), (&three, "three")] {
        note(&server, token, device).await;
    }
    let laravels = "INSERT INTO device_tokens (user_id, device_type, token) VALUES ($1, 'ios', 'laravels')";
    sqlx::query(laravels).bind(person.user_id).execute(server.pool()).await.expect("a device");
    let api = server.api(&one);
    assert_eq!(api.send(api.request("POST", "/v1/auth/logout")).await.status, 204);
    assert_eq!(devices(&server).await, ["laravels", "three", "two"], "who has logged out is not told");
    let body = json!({"current_password": PASSWORD, "password": PASSWORD});
    assert_eq!(server.api(&three).put("/v1/me/password", body).await.status, 204);
    assert_eq!(devices(&server).await, ["three"], "but for the one that changed the password");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_switched_off_or_deleted_has_no_token_and_no_device_if_he_comes_back() {
    let server = Server::start().await;
    let (person, other) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let api = server.api(&people::admin(server.pool()).await.token);
    let (hers, his) = (server.api(&person.token), server.api(&other.token));
    note(&server, &person.token, "hers").await;
    note(&server, &other.token, "his").await;
    let (mut stream, _) = Stream::open(&server.base, &person.token).await;
    assert_eq!(patch(&api, &of(&person), json!({"is_active": false})).await.status, 200);
    assert_eq!(hers.get("/v1/me").await.status, 401, "at once");
    assert_eq!(stream.closed().await, 4401);
    assert_eq!(patch(&api, &of(&person), json!({"is_active": true})).await.status, 200);
    assert_eq!((hers.get("/v1/me").await.status, devices(&server).await), (401, vec!["his".to_owned()]));

    let (mut stream, _) = Stream::open(&server.base, &other.token).await;
    assert_eq!((delete(&api, &of(&other)).await, his.get("/v1/me").await.status), (204, 401));
    assert_eq!((stream.closed().await, devices(&server).await), (4401, vec![]));
    sqlx::query("UPDATE users SET deleted_at = NULL").execute(server.pool()).await.expect("back");
    assert_eq!(his.get("/v1/me").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_deleted_with_his_money() {
    let server = Server::start().await;
    let person = people::customer(server.pool()).await;
    let api = server.api(&people::admin(server.pool()).await.token);
    let asked = json!({"amount": "500.00", "payment_method": "gcash"});
    let asked = server.api(&person.token).post("/v1/wallet/topups", asked).await;
    assert_eq!(asked.status, 201, "{asked:?}");
    let refused = async || api.delete(&of(&person)).await.json["code"].clone();
    assert_eq!(refused().await, "pending_transactions");
    let settled = format!("/v1/transactions/{}/transitions", uuid(&asked.json));
    assert_eq!(api.post(&settled, json!({"to": "completed"})).await.status, 200);
    assert_eq!(refused().await, "wallet_not_empty");
    assert_eq!(server.api(&person.token).get("/v1/me").await.status, 200, "nothing was done");
}

/// A transaction by hand, and how many wait for it.
struct ByHand(PgConnection);

impl ByHand {
    async fn begin(server: &Server, sql: &'static [&'static str], user: i64) -> Self {
        let mut own = PgConnection::connect_with(&server.database.options()).await.expect("a connection");
        sqlx::query("BEGIN").execute(&mut own).await.expect("a transaction");
        for sql in sql {
            sqlx::query(*sql).bind(user).execute(&mut own).await.expect("a statement");
        }
        Self(own)
    }

    /// Commits once somebody waits.
    async fn commit(mut self, server: &Server) {
        until_told("somebody waits for a lock", async || {
            let sql = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            sqlx::query_scalar::<_, bool>(sql).fetch_one(server.pool()).await.expect("an answer")
        })
        .await;
        sqlx::query("COMMIT").execute(&mut self.0).await.expect("committed");
    }
}

const DELETES: &[&str] =
    &["SELECT 1 FROM users WHERE id = $1 FOR UPDATE", "UPDATE users SET deleted_at = clock_timestamp() WHERE id = $1"];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_deleted_while_he_books_and_nobody_books_while_he_is_deleted() {
    let server = Server::start().await;
    let person = people::customer(server.pool()).await;
    let api = server.api(&people::admin(server.pool()).await.token);
    // A booking is being made, which refers to him: the deletion waits for it.
    let held = ByHand::begin(&server, &["SELECT 1 FROM users WHERE id = $1 FOR KEY SHARE"], person.user_id).await;
    let path = of(&person);
    let (status, ()) = tokio::join!(delete(&api, &path), held.commit(&server));
    assert_eq!(status, 204);

    // The deletion is under way: the booking waits for it, and is none.
    let person = people::customer(server.pool()).await;
    let hers = server.api(&person.token);
    assert_eq!(hers.get("/v1/me").await.status, 200);
    let held = ByHand::begin(&server, DELETES, person.user_id).await;
    let (answer, ()) = tokio::join!(hers.post("/v1/bookings", wanted()), held.commit(&server));
    assert_eq!(answer.status, 401, "{answer:?}");
    let made: i64 =
        sqlx::query_scalar("SELECT count(*) FROM bookings").fetch_one(server.pool()).await.expect("a count");
    assert_eq!(made, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_accepts_while_he_is_deleted_nor_is_named() {
    let server = Server::start().await;
    let (luz, customer) = (therapist_at(&server, "Luz", 300.0).await, people::customer(server.pool()).await);
    let api = server.api(&luz.person.token);
    let mut stream = app(&server, &luz).await;
    let booking = book(&server, &customer, wanted()).await;
    let offer = stream.expect("offer").await["offer_id"].clone();
    let held = ByHand::begin(&server, DELETES, luz.person.user_id).await;
    let path = format!("/v1/offers/{offer}/accept");
    let (answer, ()) = tokio::join!(api.post(&path, json!({})), held.commit(&server));
    assert_ne!(answer.status, 200, "{answer:?}");
    let seen = server.api(&customer.token).get(&format!("/v1/bookings/{}", uuid(&booking))).await;
    assert_ne!(seen.json["status"], "accepted", "{seen:?}");
    // Who comes next is else asked at once, and then she is not to be found.
    assert_eq!(transition(&server, &customer, uuid(&booking), "cancelled").await.0, 200);

    let tala = therapist_at(&server, "Tala", 300.0).await;
    let held = ByHand::begin(&server, DELETES, tala.person.user_id).await;
    let mut body = wanted();
    body["provider_uuid"] = json!(tala.provider_uuid);
    let other = people::customer(server.pool()).await;
    let other = server.api(&other.token);
    let (answer, ()) = tokio::join!(other.post("/v1/bookings", body), held.commit(&server));
    assert_eq!((answer.status, &answer.json["code"]), (422, &json!("provider_unavailable")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_settles_nothing_of_his_own_and_gives_himself_no_role() {
    let server = Server::start().await;
    let (admin, other) = (people::admin(server.pool()).await, people::admin(server.pool()).await);
    let (his, hers) = (server.api(&admin.token), server.api(&other.token));
    let sql = "INSERT INTO transactions (user_id, type, payment_method, amount, status)
               VALUES ($1, 'wallet_topup', 'gcash', 500, 'pending') RETURNING uuid";
    let own: uuid::Uuid = sqlx::query_scalar(sql).bind(admin.user_id).fetch_one(server.pool()).await.expect("a top-up");
    let path = format!("/v1/transactions/{own}/transitions");
    for to in ["completed", "failed"] {
        let refused = his.post(&path, json!({"to": to})).await;
        assert_eq!((refused.status, &refused.json["code"]), (409, &json!("own_transaction")), "{refused:?}");
    }
    assert_eq!(hers.post(&path, json!({"to": "completed"})).await.status, 200);
    for whom in [&admin, &other] {
        let roles = json!({"roles": ["admin", "customer"]});
        assert_eq!(his.put(&(of(whom) + "/roles"), roles).await.status, 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_another_guard_opens_nothing_and_is_nobodys_affair() {
    let server = Server::start().await;
    let (admin, person) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    let sql = "WITH made AS (INSERT INTO roles (name, guard_name) VALUES ('super_admin', 'web') RETURNING id)
               INSERT INTO model_has_roles (role_id, model_id) SELECT made.id, $1 FROM made";
    sqlx::query(sql).bind(person.user_id).execute(server.pool()).await.expect("a role");
    let (api, hers) = (server.api(&admin.token), server.api(&person.token));
    assert_eq!(hers.get("/v1/me").await.json["roles"], json!(["customer"]));
    assert_eq!(hers.get("/v1/settings").await.status, 403);
    assert_eq!(api.get("/v1/users?role=super_admin").await.json["data"], json!([]));
    let given = api.put(&(of(&person) + "/roles"), json!({"roles": ["customer", "therapist"]})).await;
    assert_eq!((given.status, &given.json["roles"]), (200, &json!(["customer", "therapist"])), "{given:?}");
    let sql = "SELECT count(*) FROM model_has_roles WHERE model_id = $1";
    let all: i64 = sqlx::query_scalar(sql).bind(person.user_id).fetch_one(server.pool()).await.expect("a count");
    assert_eq!(all, 3, "the other guard's is left alone");
}
