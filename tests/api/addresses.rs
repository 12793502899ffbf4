//! Saved addresses: whose they are, the one default, what a booking keeps of one.

use std::process::Stdio;

use serde_json::json;

use super::*;
use crate::support::server::Process;

/// Ayala Avenue, to be saved.
pub fn home() -> Value {
    json!({"label": "home", "address_line1": "6750 Ayala Avenue", "address_line2": "Unit 7", "city": "Makati",
           "province": "Metro Manila", "postal_code": "1226", "latitude": HERE.0, "longitude": HERE.1})
}

/// Saves it, and returns the address.
pub async fn saved(server: &Server, who: &Person, body: Value) -> Value {
    let answer = server.api(&who.token).post("/v1/addresses", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json
}

fn path(address: &Value) -> String {
    format!("/v1/addresses/{}", address["id"])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_saved_changed_and_forgotten() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let answer = api.post("/v1/addresses", home()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let mut address = answer.json.clone();
    assert_eq!(answer.headers["location"], path(&address).as_str());
    assert_eq!(api.get(&path(&address)).await.json, address);
    for given in home().as_object().expect("fields") {
        assert_eq!(&address[given.0], given.1);
    }
    assert_eq!((&address["country"], &address["is_default"]), (&json!("PH"), &json!(false)));

    let changed = api.patch(&path(&address), json!({"address_line2": null, "city": " Pasig "})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    (address["address_line2"], address["city"]) = (Value::Null, json!("Pasig"));
    address["updated_at"] = changed.json["updated_at"].clone();
    assert_eq!(changed.json, address);
    assert_eq!(api.get("/v1/addresses").await.json["data"], json!([address]));

    assert_eq!(api.delete(&path(&address)).await.status, 204);
    assert_eq!(api.delete(&path(&address)).await.status, 404, "it is gone");
    assert_eq!(api.get(&path(&address)).await.status, 404);
    assert_eq!(api.get("/v1/addresses").await.json["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_keeps_its_own_copy_of_the_longest_address() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let mut body = home();
    (body["address_line1"], body["address_line2"]) = (json!("é".repeat(255)), json!("x".repeat(255)));
    let address = saved(&server, &customer, body).await;
    let mut wanted = wanted();
    wanted["address_id"] = address["id"].clone();
    wanted["location"] = Value::Null;
    let booking = book(&server, &customer, wanted.clone()).await;
    let kept = booking["location"].clone();
    assert!(kept["address"].as_str().is_some_and(|line| line.starts_with("éé")), "{kept}");
    assert_eq!(kept["latitude"], HERE.0);

    let moved = json!({"address_line1": "elsewhere", "latitude": 10.3, "longitude": 123.9});
    assert_eq!(api.patch(&path(&address), moved).await.status, 200);
    assert_eq!(api.delete(&path(&address)).await.status, 204);
    let after = api.get(&format!("/v1/bookings/{}", uuid(&booking))).await;
    assert_eq!((after.status, &after.json["location"]), (200, &kept));
    assert_eq!(api.post("/v1/bookings", wanted).await.status, 422, "it cannot be booked with any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_is_the_default_however_many_are_made_it_at_once() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let mut body = home();
    body["is_default"] = json!(true);
    let other = saved(&server, &people::customer(server.pool()).await, body.clone()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (api, body) = (api.clone(), body.clone());
        tasks.spawn(async move { api.post("/v1/addresses", body).await });
    }
    for made in tasks.join_all().await {
        assert_eq!((made.status, &made.json["is_default"]), (201, &json!(true)), "{made:?}");
    }
    let defaults = || async {
        let all = api.get("/v1/addresses?per_page=100").await.json["data"].clone();
        let all = all.as_array().expect("a list").clone();
        assert_eq!(all.len(), 8);
        all.into_iter().filter(|address| address["is_default"] == true).collect::<Vec<_>>()
    };
    assert_eq!(defaults().await.len(), 1);
    let first = api.get("/v1/addresses?per_page=100").await.json["data"][7].clone();
    assert_eq!(api.patch(&path(&first), json!({"is_default": true})).await.json["is_default"], true);
    assert_eq!(defaults().await[0]["id"], first["id"]);
    assert_eq!(api.patch(&path(&first), json!({"is_default": false})).await.json["is_default"], false);
    assert_eq!(defaults().await.len(), 0);
    let still: bool = sqlx::query_scalar("SELECT is_default FROM user_addresses WHERE id = $1")
        .bind(other["id"].as_i64())
        .fetch_one(server.pool())
        .await
        .expect("a row");
    assert!(still, "another user's default is his own");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_finds_it_and_an_admins_change_is_noted_without_the_address() {
    let server = Server::start().await;
    let pool = server.pool();
    let (customer, stranger) = (people::customer(pool).await, people::customer(pool).await);
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let address = saved(&server, &customer, home()).await;
    for token in [&stranger.token, &therapist.person.token] {
        let api = server.api(token);
        assert_eq!(api.get("/v1/addresses").await.json["data"], json!([]));
        assert_eq!(api.get(&path(&address)).await.status, 404);
        assert_eq!(api.patch(&path(&address), json!({"city": "Pasig"})).await.status, 404);
        assert_eq!(api.patch(&path(&address), json!({"city": 5})).await.status, 404, "nothing is told of it");
        assert_eq!(api.delete(&path(&address)).await.status, 404);
        let mut body = wanted();
        body["address_id"] = address["id"].clone();
        body["location"] = Value::Null;
        assert!([403, 422].contains(&api.post("/v1/bookings", body).await.status));
    }
    let admin = people::admin(pool).await;
    let api = server.api(&admin.token);
    assert_eq!(api.get(&path(&address)).await.json, address);
    assert_eq!(api.patch(&path(&address), json!({"city": "Pasig", "label": "work"})).await.status, 200);
    assert_eq!(api.delete(&path(&address)).await.status, 204);
    let noted: Vec<(String, Value, Value)> = sqlx::query_as(
        "SELECT action, COALESCE(old_values, 'null'), COALESCE(new_values, 'null') FROM audit_logs
         WHERE user_id = $1 AND auditable_type = 'App\\Models\\UserAddress' AND auditable_id = $2 ORDER BY id",
    )
    .bind(admin.user_id)
    .bind(address["id"].as_i64())
    .fetch_all(pool)
    .await
    .expect("rows");
    let actions: Vec<_> = noted.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(actions, ["updated", "deleted"]);
    assert_eq!(noted[0].1, json!({"city": "(private)", "label": "(private)"}));
    assert_eq!(noted[0].2, json!({"city": "(private)", "label": "(private)"}));
    let all = format!("{noted:?}");
    for secret in ["Ayala", "Makati", "Pasig", "1226", "14.55", "121.02", "0101000020E6"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sent_is_an_error_of_the_database() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let address = saved(&server, &customer, home()).await;
    let wrong = [
        ("label", json!("x".repeat(51))),
        ("address_line1", json!("x".repeat(256))),
        ("address_line1", json!("a\u{0}b")),
        ("address_line1", json!("  ")),
        ("address_line2", json!(7)),
        ("city", json!("x".repeat(101))),
        ("province", json!([])),
        ("postal_code", json!("12345678901")),
        ("country", json!("ph")),
        ("country", json!("PHL")),
        ("latitude", json!(90.1)),
        ("latitude", json!(1e300)),
        ("longitude", json!("east")),
        ("is_default", json!("yes")),
    ];
    for (field, value) in wrong {
        for new in [true, false] {
            let mut body = if new { home() } else { json!({"latitude": 1, "longitude": 1}) };
            body[field] = value.clone();
            let answer =
                if new { api.post("/v1/addresses", body).await } else { api.patch(&path(&address), body).await };
            assert_eq!(answer.status, 422, "{field} {value}: {answer:?}");
            assert!(answer.json["errors"][field].is_array(), "{field}: {answer:?}");
        }
    }
    for field in ["address_line1", "city", "latitude", "longitude"] {
        let mut body = home();
        body[field] = Value::Null;
        let answer = api.post("/v1/addresses", body).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{field}: {answer:?}");
        let answer = api.patch(&path(&address), json!({field: null})).await;
        assert_eq!(answer.status, 422, "{field}: {answer:?}");
    }
    for half in [json!({"latitude": 1}), json!({"longitude": 1}), json!({}), json!({"citty": "Pasig"})] {
        assert_eq!(api.patch(&path(&address), half.clone()).await.status, 422, "{half}");
    }
    for id in ["0", "-1", "x", "9223372036854775807", "9223372036854775808", "%00"] {
        assert_eq!(api.get(&format!("/v1/addresses/{id}")).await.status, 404, "{id}");
        assert_eq!(api.delete(&format!("/v1/addresses/{id}")).await.status, 404, "{id}");
    }
    let extremes = json!({"latitude": -90, "longitude": 180});
    assert_eq!(api.patch(&path(&address), extremes).await.json["longitude"], 180.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_saves_one_address() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let post = |body: Value| api.send(api.request("POST", "/v1/addresses").header("idempotency-key", "k1").json(&body));
    let (first, again) = tokio::join!(post(home()), post(home()));
    assert_eq!((first.status, &first.json), (201, &again.json), "{again:?}");
    assert_eq!((again.status, &again.headers["location"]), (201, &first.headers["location"]));
    let mut other = home();
    other["city"] = json!("Pasig");
    assert_eq!(post(other).await.json["code"], "idempotency_key_reused");
    assert_eq!(api.get("/v1/addresses").await.json["data"].as_array().map(Vec::len), Some(1));

    // Where he lives is nowhere else than in the address, and goes with it.
    let kept: Value = sqlx::query_scalar("SELECT response_body FROM idempotency_keys WHERE key = 'k1'")
        .fetch_one(server.pool())
        .await
        .expect("kept");
    assert_eq!(kept, json!({"id": first.json["id"]}));
    let changed = api.patch(&path(&first.json), json!({"city": "Taguig"})).await.json;
    assert_eq!(post(home()).await.json, changed, "as it is now");
    assert_eq!(api.delete(&path(&first.json)).await.status, 204);
    assert_eq!(post(home()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_addresses_and_no_more_however_many_are_sent_at_once() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    sqlx::query(
        "INSERT INTO user_addresses (user_id, label, address_line1, city, latitude, longitude)
         SELECT $1, 'home', 'x', 'Makati', 14.5, 121 FROM generate_series(1, 48)",
    )
    .bind(customer.user_id)
    .execute(server.pool())
    .await
    .expect("addresses");
    let post = || api.post("/v1/addresses", home());
    let (a, b, c, d) = tokio::join!(post(), post(), post(), post());
    let all = [&a, &b, &c, &d];
    assert_eq!(all.iter().filter(|answer| answer.status == 201).count(), 2, "{all:?}");
    for refused in all.iter().filter(|answer| answer.status != 201) {
        assert_eq!((refused.status, &refused.json["code"]), (409, &json!("too_many_addresses")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_default_that_is_deleted_meanwhile_leaves_the_old_one() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let mut first = home();
    first["is_default"] = json!(true);
    let old = saved(&server, &customer, first).await;
    let gone = saved(&server, &customer, home()).await;
    let api = server.api(&customer.token);
    // The deletion has begun and holds the row; the change has seen it, and waits.
    let mut deleting = server.pool().begin().await.expect("begun");
    sqlx::query("DELETE FROM user_addresses WHERE id = $1")
        .bind(gone["id"].as_i64())
        .execute(&mut *deleting)
        .await
        .expect("deleted");
    let to = path(&gone);
    let change = api.patch(&to, json!({"is_default": true}));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let commit = async {
        crate::support::until_told("the change waits", async || {
            sqlx::query_scalar::<_, i64>(waits).fetch_one(server.pool()).await.expect("counted") > 0
        })
        .await;
        deleting.commit().await.expect("committed");
    };
    let (answer, ()) = tokio::join!(change, commit);
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(api.get(&path(&old)).await.json["is_default"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_listed_by_pages_in_both_directions() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, saved(&server, &customer, home()).await["id"].clone());
    }
    let of =
        |page: &Value| page["data"].as_array().expect("a list").iter().map(|a| a["id"].clone()).collect::<Vec<_>>();
    let first = api.get("/v1/addresses?per_page=2").await.json;
    assert_eq!((of(&first), &first["prev_cursor"]), (ids[..2].to_vec(), &Value::Null));
    let next = |page: &Value, way: &str| {
        let url = page[format!("{way}_page_url")].as_str().expect("a URL").to_owned();
        url.strip_prefix(&server.base).expect("ours").to_owned()
    };
    let second = api.get(&next(&first, "next")).await.json;
    assert_eq!(of(&second), ids[2..4]);
    let last = api.get(&next(&second, "next")).await.json;
    assert_eq!((of(&last), &last["next_cursor"]), (ids[4..].to_vec(), &Value::Null));
    let back = api.get(&next(&last, "prev")).await.json;
    assert_eq!((of(&back), of(&api.get(&next(&back, "prev")).await.json)), (ids[2..4].to_vec(), ids[..2].to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_reaches_the_log() {
    let database = crate::support::database().await;
    let customer = people::customer(database.pool()).await;
    let log = std::env::temp_dir().join(format!("spacall-addresses-{}", std::process::id()));
    let file = std::fs::File::create(&log).expect("a file");
    let process = Process::at(database.url(), "trace", Stdio::from(file)).await;
    let api = process.api(&customer.token);
    let mut body = home();
    body["address_line1"] = json!("99 Sampaguita Street");
    let made = api.post("/v1/addresses", body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(api.patch(&path(&made.json), json!({"address_line2": "Sampaguita Tower"})).await.status, 200);
    body["city"] = json!("Sampaguita ".repeat(20));
    assert_eq!(api.post("/v1/addresses", body).await.status, 422);
    assert_eq!(api.get("/v1/addresses").await.status, 200);
    assert_eq!(api.delete(&path(&made.json)).await.status, 204);
    assert_eq!(process.terminate().await, Some(0));
    let text = std::fs::read_to_string(&log).expect("the log");
    std::fs::remove_file(&log).expect("removed");
    assert!(text.contains("/v1/addresses"), "the log is of this run");
    let told: Vec<_> = text.lines().filter(|line| line.contains("Sampaguita")).collect();
    assert!(told.is_empty(), "{told:?}");
}
