//! Either side blocks the other, and from the answer on neither is matched with the other.

use serde_json::json;

use super::*;

async fn finds(api: &Api, therapist: &Therapist) -> bool {
    let answer = api.get(&nearby(HERE, "")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let uuid = therapist.provider_uuid.to_string();
    answer.json["data"].as_array().expect("data").iter().any(|t| t["provider_uuid"] == uuid.as_str())
}

fn block(uuid: impl std::fmt::Display) -> String {
    format!("/v1/blocks/{uuid}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_blocks_a_therapist_and_changes_her_mind() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, other) = (people::customer(pool).await, people::customer(pool).await);
    let (hers, others) = (server.api(&customer.token), server.api(&other.token));
    for round in 0..6 {
        let made = hers.put(&block(therapist.provider_uuid), json!({"reason": "rude"})).await;
        assert_eq!((made.status, &made.json["uuid"]), (200, &json!(therapist.provider_uuid)), "{made:?}");
        assert_eq!(
            (&made.json["type"], &made.json["name"], &made.json["reason"]),
            (&json!("provider"), &json!("Luz"), &json!("rude"))
        );
        assert!(!finds(&hers, &therapist).await, "round {round}");
        assert!(finds(&others, &therapist).await, "round {round}");
        let mut body = wanted();
        body["provider_uuid"] = json!(therapist.provider_uuid);
        assert_eq!(hers.post("/v1/bookings", body).await.json["code"], "provider_unavailable");
        // Repeated without a reason, it stands as it was.
        assert_eq!(hers.send(hers.request("PUT", &block(therapist.provider_uuid))).await.json, made.json);
        assert_eq!(hers.get("/v1/blocks").await.json["data"], json!([made.json]));
        assert_eq!(others.get("/v1/blocks").await.json["data"], json!([]));
        assert_eq!(others.delete(&block(therapist.provider_uuid)).await.status, 404, "it is not hers");
        assert_eq!(hers.delete(&block(therapist.provider_uuid)).await.status, 204);
        assert!(finds(&hers, &therapist).await, "round {round}");
        assert_eq!(hers.delete(&block(therapist.provider_uuid)).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_therapist_blocks_whom_he_has_served_and_the_others_block_is_not_his_to_take_back() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, stranger) = (people::customer(pool).await, people::customer(pool).await);
    let (his, hers) = (server.api(&therapist.person.token), server.api(&customer.token));
    let mut chosen = wanted();
    chosen["provider_uuid"] = json!(therapist.provider_uuid);
    let booking = book(&server, &customer, chosen).await;
    let by_booking = block(uuid(&booking));
    let offers = his.until("/v1/offers", |answer| answer.json["data"][0].is_object()).await.json;
    for uuid in [uuid(&booking).to_owned(), customer.user_uuid.to_string()] {
        assert_eq!(his.put(&block(uuid), json!({})).await.status, 404, "he is only asked");
    }
    assert_eq!(his.post(&format!("/v1/offers/{}/accept", offers["data"][0]["offer_id"]), json!({})).await.status, 200);
    assert_eq!(his.put(&block(stranger.user_uuid), json!({})).await.status, 404, "he does not know her");
    assert_eq!(server.api(&stranger.token).put(&by_booking, json!({})).await.status, 404);

    let made = his.put(&by_booking, json!({"reason": "no tip"})).await;
    assert_eq!((made.status, &made.json["uuid"]), (200, &json!(customer.user_uuid)), "{made:?}");
    assert_eq!((&made.json["type"], &made.json["name"]), (&json!("customer"), &json!("Maria")));
    assert_eq!(
        his.put(&block(customer.user_uuid), json!({"reason": "no tip at all"})).await.json["reason"],
        "no tip at all"
    );
    assert_eq!(hers.get("/v1/blocks").await.json["data"], json!([]), "she is not told");
    // The booking goes on; afterwards they are not matched.
    for to in ["en_route", "arrived", "in_progress", "completed"] {
        assert_eq!(transition(&server, &therapist.person, uuid(&booking), to).await.0, 200, "{to}");
    }
    assert!(!finds(&hers, &therapist).await);
    assert!(finds(&server.api(&stranger.token), &therapist).await);

    // Hers stands beside his, and each takes back his own.
    assert_eq!(hers.put(&by_booking, json!({})).await.json["uuid"], json!(therapist.provider_uuid));
    assert_eq!(his.delete(&block(customer.user_uuid)).await.status, 204);
    assert_eq!(his.delete(&block(customer.user_uuid)).await.status, 404);
    assert!(!finds(&hers, &therapist).await, "she still blocks him");
    assert_eq!(hers.delete(&block(therapist.provider_uuid)).await.status, 204);
    assert!(finds(&hers, &therapist).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owners_stores_block_as_one_and_nobody_blocks_himself() {
    let server = Server::start().await;
    let pool = server.pool();
    let (first, first_uuid) = stores::store(pool, "Ginhawa", HERE, stores::around_the_clock()).await;
    let owner: i64 = sqlx::query_scalar("SELECT user_id FROM providers WHERE id = $1")
        .bind(first)
        .fetch_one(pool)
        .await
        .expect("a row");
    let (second, _) = stores::store(pool, "Lunas", north(500.0), stores::around_the_clock()).await;
    sqlx::query("UPDATE providers SET user_id = $1 WHERE id = $2")
        .bind(owner)
        .bind(second)
        .execute(pool)
        .await
        .expect("his");
    let his = server.api(&people::token(pool, owner, r#"["*"]"#).await);
    let customer = people::customer(pool).await;
    let hers = server.api(&customer.token);
    let visit = json!({"service": "swedish-massage", "type": "in_store", "booking_type": "now", "payment_method": "cash",
                       "provider_uuid": first_uuid});
    hers.until(&stores::nearby(HERE, ""), |answer| answer.json["data"].as_array().is_some_and(|all| all.len() == 2))
        .await;
    let booking = book(&server, &customer, visit).await;
    assert_eq!(his.put(&block(uuid(&booking)), json!({})).await.json["uuid"], json!(customer.user_uuid));
    assert_eq!(his.get("/v1/blocks").await.json["data"].as_array().map(Vec::len), Some(1));
    let rows = "SELECT count(*) FROM customer_blocks WHERE customer_id = $1";
    let rows = || sqlx::query_scalar::<_, i64>(rows).bind(customer.user_id).fetch_one(pool);
    assert_eq!(rows().await.expect("a count"), 2);
    assert_eq!(his.delete(&block(customer.user_uuid)).await.status, 204);
    assert_eq!(rows().await.expect("a count"), 0);

    assert_eq!(his.put(&block(first_uuid), json!({})).await.status, 404, "it is his own");
    assert_eq!(hers.put(&block(customer.user_uuid), json!({})).await.status, 404);
    for none in ["00000000-0000-4000-8000-000000000000", "x", "%00"] {
        assert_eq!(hers.put(&block(none), json!({})).await.status, 404, "{none}");
        assert_eq!(hers.delete(&block(none)).await.status, 404, "{none}");
    }
    for reason in [json!("x".repeat(501)), json!("a\u{0}"), json!(7)] {
        let answer = hers.put(&block(first_uuid), json!({"reason": reason})).await;
        assert!(answer.status == 422 && answer.json["errors"]["reason"].is_array(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_shown_cannot_be_asked_for_by_blocking_him() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let customer = people::customer(pool).await;
    let hers = server.api(&customer.token);
    for (hide, show) in [
        ("UPDATE providers SET verification_status = 'pending' WHERE id = $1", "verification_status = 'verified'"),
        ("UPDATE providers SET verification_status = 'rejected' WHERE id = $1", "verification_status = 'verified'"),
        ("UPDATE providers SET is_active = FALSE WHERE id = $1", "is_active = TRUE"),
    ] {
        sqlx::query(hide).bind(therapist.provider_id).execute(pool).await.expect("hidden");
        assert_eq!(hers.get(&format!("/v1/providers/{}", therapist.provider_uuid)).await.status, 404, "{hide}");
        assert_eq!(hers.put(&block(therapist.provider_uuid), json!({})).await.status, 404, "{hide}");
        let show = format!("UPDATE providers SET {show} WHERE id = $1");
        sqlx::query(sqlx::AssertSqlSafe(show)).bind(therapist.provider_id).execute(pool).await.expect("shown");
    }
    assert_eq!(hers.put(&block(therapist.provider_uuid), json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_listed_by_pages_and_there_are_so_many_and_no_more() {
    let server = Server::start().await;
    let pool = server.pool();
    let customer = people::customer(pool).await;
    let hers = server.api(&customer.token);
    let mut uuids = Vec::new();
    for name in ["Luz", "Ana", "Rosa"] {
        let therapist = people::therapist(pool, name, HERE.0, HERE.1).await;
        assert_eq!(hers.put(&block(therapist.provider_uuid), json!({})).await.status, 200);
        uuids.insert(0, json!(therapist.provider_uuid));
    }
    let of =
        |page: &Value| page["data"].as_array().expect("data").iter().map(|b| b["uuid"].clone()).collect::<Vec<_>>();
    let first = hers.get("/v1/blocks?per_page=2").await.json;
    assert_eq!(of(&first), uuids[..2]);
    let next = first["next_page_url"].as_str().expect("a URL").strip_prefix(&server.base).expect("ours").to_owned();
    let second = hers.get(&next).await.json;
    assert_eq!((of(&second), &second["next_cursor"]), (uuids[2..].to_vec(), &Value::Null));

    let many = "WITH made AS (INSERT INTO users (phone, first_name, last_name)
                    SELECT '+63800' || lpad(n::text, 7, '0'), 'X', 'Y' FROM generate_series(1, 497) n RETURNING id),
                theirs AS (INSERT INTO providers (user_id, type) SELECT id, 'store' FROM made RETURNING id)
                INSERT INTO customer_blocks (customer_id, provider_id, blocked_by) SELECT $1, id, $1 FROM theirs";
    sqlx::query(many).bind(customer.user_id).execute(pool).await.expect("blocks");
    let one_more = people::therapist(pool, "Pia", HERE.0, HERE.1).await;
    let full = hers.put(&block(one_more.provider_uuid), json!({})).await;
    assert_eq!((full.status, &full.json["code"]), (409, &json!("too_many_blocks")), "{full:?}");
    let known = block(uuids[0].as_str().expect("a uuid"));
    assert_eq!(hers.put(&known, json!({"reason": "late"})).await.json["reason"], "late", "it is there");
    assert_eq!(hers.delete(&known).await.status, 204);
    assert_eq!(hers.put(&block(one_more.provider_uuid), json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_store_is_not_shown_to_who_blocked_it_and_to_others_it_is() {
    let server = Server::start().await;
    let pool = server.pool();
    let (_, uuid) = stores::store(pool, "Ginhawa", HERE, stores::daily("00:00", "24:00")).await;
    let (customer, other) = (people::customer(pool).await, people::customer(pool).await);
    let (hers, others) = (server.api(&customer.token), server.api(&other.token));
    let near = stores::nearby(HERE, "");
    let shown = |answer: &Answer| answer.json["data"].as_array().map(Vec::len);
    hers.until(&near, |answer| shown(answer) == Some(1)).await;
    assert_eq!(hers.put(&block(uuid), json!({})).await.status, 200);
    assert_eq!((shown(&hers.get(&near).await), shown(&others.get(&near).await)), (Some(0), Some(1)));
    assert_eq!(hers.delete(&block(uuid)).await.status, 204);
    assert_eq!(shown(&hers.get(&near).await), Some(1));
}
