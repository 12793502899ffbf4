//! Bookings at a store over HTTP: its owner is told, accepts while there is room, and says what became of it.

use serde_json::json;
use spacall::http::access::{ROUTES, Who};
use uuid::Uuid;

use super::stores::{around_the_clock, daily};
use super::*;

struct Shop {
    provider: i64,
    uuid: Uuid,
    owner: Person,
}

/// One room, every service at its base price.
async fn shop(server: &Server, hours: Value) -> Shop {
    let pool = server.pool();
    let (provider, uuid) = stores::store(pool, "Ginhawa Spa", north(900.0), hours).await;
    let (user_id, user_uuid): (i64, Uuid) =
        sqlx::query_as("SELECT u.id, u.uuid FROM users u JOIN providers p ON p.user_id = u.id WHERE p.id = $1")
            .bind(provider)
            .fetch_one(pool)
            .await
            .expect("an owner");
    let token = people::token(pool, user_id, r#"["*"]"#).await;
    Shop { provider, uuid, owner: Person { user_id, user_uuid, token } }
}

fn at_store(shop: &Shop) -> Value {
    json!({"service": "swedish-massage", "type": "in_store", "booking_type": "now", "payment_method": "cash",
           "provider_uuid": shop.uuid})
}

fn at(shop: &Shop, when: chrono::DateTime<Utc>) -> Value {
    let mut body = at_store(shop);
    body["booking_type"] = json!("scheduled");
    body["scheduled_at"] = json!(when.to_rfc3339());
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_at_a_store_from_asking_to_done() {
    let server = Server::start().await;
    let shop = shop(&server, around_the_clock()).await;
    let customer = people::customer(server.pool()).await;
    let (mut desk, _) = Stream::open(&server.base, &shop.owner.token).await;
    let (mut app, _) = Stream::open(&server.base, &customer.token).await;
    let booking = book(&server, &customer, at_store(&shop)).await;
    assert_eq!(
        (&booking["status"], &booking["type"], &booking["total_amount"], &booking["price_is_estimate"]),
        (&json!("pending"), &json!("in_store"), &json!("800.00"), &json!(false))
    );
    assert_eq!(booking["provider"]["provider_uuid"], json!(shop.uuid));
    assert_eq!(booking["location"]["address"], "6750 Ayala Avenue, Makati");
    assert_eq!(booking["location"]["building_name"], "Ginhawa Spa");
    assert_eq!(desk.expect("booking").await["uuid"], booking["uuid"], "the owner is told");
    let listed = server.api(&shop.owner.token).get("/v1/bookings").await.json;
    assert_eq!(listed["data"][0]["uuid"], booking["uuid"]);

    for (to, status) in
        [("accepted", "accepted"), ("arrived", "arrived"), ("in_progress", "in_progress"), ("completed", "completed")]
    {
        let (refused, body) = transition(&server, &customer, uuid(&booking), to).await;
        assert_eq!((refused, &body["code"]), (409, &json!("not_allowed")), "{body}");
        let (moved, body) = transition(&server, &shop.owner, uuid(&booking), to).await;
        assert_eq!((moved, &body["status"]), (200, &json!(status)), "{body}");
        app.expect_where("booking", |m| m["status"] == status).await;
    }
    let (refused, body) = transition(&server, &shop.owner, uuid(&booking), "no_show").await;
    assert_eq!((refused, &body["current_status"]), (409, &json!("completed")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_says_so_to_who_asks_and_to_its_owner() {
    let server = Server::start().await;
    let shop = shop(&server, around_the_clock()).await;
    let customer = people::customer(server.pool()).await;
    let (first, second) =
        (book(&server, &customer, at_store(&shop)).await, book(&server, &customer, at_store(&shop)).await);
    assert_eq!(transition(&server, &shop.owner, uuid(&first), "accepted").await.0, 200);
    let (status, body) = transition(&server, &shop.owner, uuid(&second), "accepted").await;
    assert_eq!(
        (status, &body["code"], &body["current_status"]),
        (409, &json!("store_full"), &json!("pending")),
        "{body}"
    );
    let free_from = body["free_from"].as_str().expect("a time").to_owned();
    let answer = server.api(&customer.token).post("/v1/bookings", at_store(&shop)).await;
    assert_eq!((answer.status, &answer.json["code"]), (409, &json!("store_full")), "{answer:?}");
    assert_eq!(answer.json["free_from"], free_from.as_str());
    assert!(answer.json["message"].as_str().is_some_and(|text| text.contains(&free_from)), "{answer:?}");
    // Another time is another matter; and who leaves makes room.
    book(&server, &customer, at(&shop, now() + chrono::Duration::hours(3))).await;
    assert_eq!(transition(&server, &customer, uuid(&first), "cancelled").await.0, 200);
    assert_eq!(transition(&server, &shop.owner, uuid(&second), "accepted").await.0, 200);
    let (status, body) = transition(&server, &shop.owner, uuid(&second), "no_show").await;
    assert_eq!(
        (status, &body["status"], &body["cancellation_fee"]),
        (200, &json!("no_show"), &json!("0.00")),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_says_when_it_opens() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    // In three days, at noon in Manila: for an hour, at a store that opens at noon, and one that closes half an hour later.
    let noon = (now() + chrono::Duration::days(3)).date_naive().and_hms_opt(4, 0, 0).expect("noon in Manila").and_utc();
    let late = shop(&server, daily("12:00", "02:00")).await;
    assert_eq!(api.post("/v1/bookings", at(&late, noon)).await.status, 201);
    assert_eq!(
        api.post("/v1/bookings", at(&late, noon + chrono::Duration::hours(13))).await.status,
        201,
        "past midnight"
    );
    let early = api.post("/v1/bookings", at(&late, noon - chrono::Duration::minutes(1))).await;
    assert_eq!((early.status, &early.json["code"]), (422, &json!("store_closed")), "{early:?}");
    let opens = chrono::DateTime::parse_from_rfc3339(early.json["opens_at"].as_str().expect("a time")).expect("a time");
    assert_eq!(opens, noon);
    assert!(early.json["errors"]["scheduled_at"].is_array(), "{early:?}");
    let short = shop(&server, daily("09:00", "12:30")).await;
    let cut = api.post("/v1/bookings", at(&short, noon)).await;
    assert_eq!((cut.status, &cut.json["code"]), (422, &json!("store_closed")), "{cut:?}");
    assert!(cut.json["closes_at"].is_string(), "{cut:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_must_be_named_and_must_serve() {
    let server = Server::start().await;
    let shop = shop(&server, around_the_clock()).await;
    let customer = people::customer(server.pool()).await;
    let therapist = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
    let api = server.api(&customer.token);
    let but = |field: &str, value: Value| {
        let mut body = at_store(&shop);
        body[field] = value;
        body
    };
    for (body, code, field) in [
        (but("provider_uuid", Value::Null), "invalid", "provider_uuid"),
        (but("provider_uuid", json!(Uuid::new_v4())), "invalid", "provider_uuid"),
        (but("provider_uuid", json!(therapist.provider_uuid)), "invalid", "provider_uuid"),
        (but("max_price", json!("799.99")), "provider_unavailable", "max_price"),
        (at(&shop, now() + chrono::Duration::minutes(60)), "invalid", "scheduled_at"),
    ] {
        let answer = api.post("/v1/bookings", body.clone()).await;
        assert_eq!((answer.status, &answer.json["code"]), (422, &json!(code)), "{body}: {answer:?}");
        assert!(answer.json["errors"][field].is_array(), "{field}: {answer:?}");
    }
    // A place that an app sends with every booking is not the place of this one.
    let mut body = wanted();
    body["type"] = json!("in_store");
    body["provider_uuid"] = json!(shop.uuid);
    assert_eq!(book(&server, &customer, body).await["location"]["building_name"], "Ginhawa Spa");
    sqlx::query("UPDATE providers SET is_active = FALSE WHERE id = $1")
        .bind(shop.provider)
        .execute(server.pool())
        .await
        .expect("a statement");
    let answer = api.post("/v1/bookings", at_store(&shop)).await;
    assert_eq!((answer.status, &answer.json["code"]), (422, &json!("provider_unavailable")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_one_but_its_parties_sees_or_moves_it() {
    let server = Server::start().await;
    let pool = server.pool();
    let shop_of_another = shop(&server, around_the_clock()).await;
    let shop = shop(&server, around_the_clock()).await;
    let customer = people::customer(pool).await;
    let booking = book(&server, &customer, at_store(&shop)).await;
    let strangers = [
        ("another store's owner", shop_of_another.owner),
        ("another customer", people::customer(pool).await),
        ("a therapist", people::therapist(pool, "Luz", HERE.0, HERE.1).await.person),
    ];
    let of_a_booking = ROUTES.iter().filter(|route| route.path.starts_with("/v1/bookings/{uuid}"));
    for route in of_a_booking.filter(|route| route.who == Who::SignedIn) {
        let path = route.path.replace("{uuid}", uuid(&booking));
        let ask = async |who: &Person| {
            let api = server.api(&who.token);
            let request = api.request(route.method, &path);
            // What each of them reads.
            let body = json!({"to": "accepted", "message": "x", "note": "x"});
            let request = if route.method == "POST" { request.json(&body) } else { request };
            request.send().await.expect("an answer").status().as_u16()
        };
        for (name, stranger) in &strangers {
            assert_eq!(ask(stranger).await, 404, "{path} as {name}");
        }
        // Nobody has reviewed it yet, and there is no note of this number.
        let none = path.ends_with("/review") || path.contains("{id}");
        let seen: &[u16] = if none { &[404] } else { &[200, 201] };
        assert!(seen.contains(&ask(&shop.owner).await), "{path} as its owner");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_does_not_answer_loses_the_booking() {
    let server = Server::start().await;
    set(&server, "booking_timeout", "pending", json!(1)).await;
    let shop = shop(&server, around_the_clock()).await;
    let customer = people::customer(server.pool()).await;
    let booking = book(&server, &customer, at_store(&shop)).await;
    let ended = becomes(&server, &customer, uuid(&booking), "cancelled").await;
    assert_eq!(
        (&ended["cancellation_reason"], &ended["cancelled_by"]),
        (&json!("provider_did_not_answer"), &Value::Null)
    );
    let (status, body) = transition(&server, &shop.owner, uuid(&booking), "accepted").await;
    assert_eq!((status, &body["current_status"]), (409, &json!("cancelled")), "{body}");
}
