//! Providers: registered, verified, matched; what of them is whose to see and to change.

use serde_json::json;

use super::*;

/// Registers this person; returns the provider's path.
pub async fn registered(server: &Server, who: &Person, kind: &str) -> String {
    let answer = server.api(&who.token).post("/v1/providers", json!({"type": kind})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    format!("/v1/providers/{}", uuid(&answer.json))
}

/// As an admin.
pub async fn verified(server: &Server, provider: &str) {
    let admin = people::admin(server.pool()).await;
    let answer = server.api(&admin.token).patch(provider, json!({"verification_status": "verified"})).await;
    assert_eq!((answer.status, &answer.json["verification_status"]), (200, &json!("verified")), "{answer:?}");
}

fn path(therapist: &Therapist) -> String {
    format!("/v1/providers/{}", therapist.provider_uuid)
}

async fn shows(api: &Api, question: &str, provider: &str) -> bool {
    let answer = api.get(question).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let is_it = |t: &Value| provider.ends_with(t["provider_uuid"].as_str().expect("a uuid"));
    answer.json["data"].as_array().expect("data").iter().any(is_it)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_registers_is_found_once_he_is_verified_and_no_more_when_that_is_taken_back() {
    let server = Server::start().await;
    let pool = server.pool();
    let luz = people::person(pool, "therapist", "Luz").await;
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let (his, hers, ops) = (server.api(&luz.token), server.api(&customer.token), server.api(&admin.token));
    let early = his.get("/v1/offers").await;
    let message = early.json["message"].as_str().expect("a message");
    assert_eq!((early.status, message.contains("POST /v1/providers")), (403, true), "{early:?}");
    assert_eq!(hers.get("/v1/offers").await.json["message"], "This is for therapists.");
    let provider = registered(&server, &luz, "therapist").await;
    let shown = his.get(&provider).await.json;
    assert_eq!((&shown["verification_status"], &shown["is_active"]), (&json!("pending"), &json!(true)));
    assert_eq!((&shown["accepts_home_service"], &shown["accepts_store_service"]), (&json!(true), &json!(false)));
    assert_eq!(shown["total_earnings"], "0.00");

    let profile = json!({"specializations": ["Swedish"], "languages_spoken": ["fil"], "service_radius_km": 15,
                         "base_location_latitude": HERE.0, "base_location_longitude": HERE.1});
    assert_eq!(his.patch(&format!("{provider}/therapist-profile"), profile).await.status, 200);
    let offered = json!({"price": "850.00", "per_km_surcharge": "20", "max_travel_distance_km": 15});
    assert_eq!(his.put(&format!("{provider}/services/swedish-massage"), offered).await.status, 200);
    // A changed token's owner is felt within two seconds.
    his.until("/v1/me", |answer| provider.ends_with(answer.json["provider"]["provider_uuid"].as_str().unwrap_or("-")))
        .await;
    let (mut phone, _) = Stream::open(&server.base, &luz.token).await;
    let (latitude, longitude) = north(300.0);
    phone.send(json!({"type": "location", "fixes": [fix(1, now(), latitude, longitude)]})).await;
    assert_eq!(phone.expect("ack").await["seq"], 1);
    phone.send(json!({"type": "availability", "available": true})).await;
    assert_eq!(phone.expect("availability").await["available"], true);

    let question = nearby(HERE, "");
    assert!(!shows(&hers, &question, &provider).await, "nobody has seen his papers yet");
    assert_eq!(hers.get(&provider).await.status, 404);
    let seen = ops.patch(&provider, json!({"verification_status": "verified"})).await;
    assert!(seen.status == 200 && seen.json["verified_at"].is_string(), "{seen:?}");
    let by: i64 = sqlx::query_scalar("SELECT verified_by FROM providers WHERE uuid::text = $1")
        .bind(provider.rsplit('/').next())
        .fetch_one(pool)
        .await
        .expect("a row");
    assert_eq!(by, admin.user_id);
    assert!(shows(&hers, &question, &provider).await);
    let found = hers.get(&question).await.json["data"][0].clone();
    assert_eq!((&found["first_name"], &found["price"]), (&json!("Luz"), &json!("850.00")));
    book(&server, &customer, wanted()).await;
    let offer = phone.expect("offer").await["offer_id"].clone();

    let back =
        ops.patch(&provider, json!({"verification_status": "rejected", "rejection_reason": "licence expired"})).await;
    assert_eq!((back.status, &back.json["verified_at"]), (200, &Value::Null), "{back:?}");
    assert!(!shows(&hers, &question, &provider).await, "from the answer on");
    assert_eq!(his.post(&format!("/v1/offers/{offer}/accept"), json!({})).await.status, 409);
    assert_eq!(his.get(&provider).await.json["rejection_reason"], "licence expired");
    let scheduled =
        nearby(HERE, "&scheduled_at=").to_owned() + &(now() + chrono::TimeDelta::days(1)).format("%FT%TZ").to_string();
    for round in 0..4 {
        let again = ops.patch(&provider, json!({"verification_status": "verified"})).await;
        assert_eq!((again.status, &again.json["rejection_reason"]), (200, &Value::Null), "round {round}");
        assert!(shows(&hers, &scheduled, &provider).await, "round {round}");
        assert_eq!(ops.patch(&provider, json!({"is_active": false})).await.status, 200);
        assert!(!shows(&hers, &scheduled, &provider).await, "round {round}");
        assert_eq!(ops.patch(&provider, json!({"is_active": true})).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_registers_as_what_he_is_and_a_therapist_once() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = people::person(pool, "therapist", "Luz").await;
    let owner = people::person(pool, "store_owner", "Jose").await;
    let post = |who: &Person, kind: &str| {
        let (api, body) = (server.api(&who.token), json!({"type": kind}));
        async move { api.post("/v1/providers", body).await }
    };
    let (one, other) = tokio::join!(post(&therapist, "therapist"), post(&therapist, "therapist"));
    let mut both = [one.status, other.status];
    both.sort_unstable();
    assert_eq!(both, [201, 409], "{one:?} {other:?}");
    let made = if one.status == 201 { &one } else { &other };
    assert_eq!(made.headers["location"], format!("/v1/providers/{}", uuid(&made.json)).as_str());
    assert_eq!(post(&therapist, "therapist").await.json["code"], "already_registered");
    assert_eq!(post(&therapist, "store").await.status, 403);
    assert_eq!(post(&owner, "therapist").await.status, 403);
    assert_eq!(post(&people::customer(pool).await, "therapist").await.status, 403);
    for _ in 0..2 {
        let store = post(&owner, "store").await;
        assert_eq!(
            (store.status, &store.json["accepts_store_service"]),
            (201, &json!(true)),
            "an owner may have several"
        );
        assert_eq!(store.json["accepts_home_service"], false);
    }
    for wrong in [json!({}), json!({"type": "spa"}), json!({"type": "store", "tax_id": "x".repeat(51)})] {
        assert_eq!(server.api(&owner.token).post("/v1/providers", wrong.clone()).await.status, 422, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_see_what_is_public_of_a_verified_one_and_nothing_of_where_he_is() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let other = people::therapist(pool, "Amihan", HERE.0, HERE.1).await;
    let (his, hers) = (server.api(&therapist.person.token), server.api(&customer.token));
    let path = path(&therapist);
    assert_eq!(
        his.patch(&format!("{path}/therapist-profile"), json!({"bio": "Strong hands", "license_number": "L-1"}))
            .await
            .status,
        200
    );
    assert_eq!(his.patch(&path, json!({"tax_id": "T-1", "business_name": "Luz' Hilot"})).await.json["tax_id"], "T-1");

    for token in [&customer.token, &other.person.token] {
        let api = server.api(token);
        let public = api.get(&path).await;
        assert_eq!((public.status, &public.json["first_name"]), (200, &json!("Luz")));
        assert_eq!(public.json["therapist_profile"]["bio"], "Strong hands");
        assert_eq!(public.json["store_profile"], Value::Null);
        let services = api.get(&format!("{path}/services")).await;
        assert_eq!(services.json["data"].as_array().map(Vec::len), Some(7), "{services:?}");
        let told = format!("{} {}", public.json, services.json);
        for secret in
            ["14.5", "121.0", "base_location", "L-1", "T-1", "commission", "earnings", "schedule", "Santos", "+639"]
        {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
        for private in [
            "therapist-profile",
            "store-profile",
            "documents",
            "locations?from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z",
        ] {
            assert_eq!(api.get(&format!("{path}/{private}")).await.status, 404, "{private}");
        }
        assert_eq!(api.patch(&path, json!({"business_name": "mine"})).await.status, 404);
        assert_eq!(api.patch(&format!("{path}/therapist-profile"), json!({"bio": "mine"})).await.status, 404);
        assert_eq!(api.put(&format!("{path}/services/foot-spa"), json!({"price": 1})).await.status, 404);
        assert_eq!(api.delete(&format!("{path}/services/foot-spa")).await.status, 404);
        assert_eq!(
            api.post(&format!("{path}/documents"), json!({"document_type": "x", "file_url": "https://a.b/c"}))
                .await
                .status,
            404
        );
    }
    // What is switched off is not shown to others.
    assert_eq!(
        his.put(&format!("{path}/services/foot-spa"), json!({"price": "1.00", "is_available": false})).await.status,
        200
    );
    assert_eq!(hers.get(&format!("{path}/services")).await.json["data"].as_array().map(Vec::len), Some(6));
    for token in [&therapist.person.token, &admin.token] {
        let all = server.api(token).get(&path).await.json;
        assert_eq!((&all["tax_id"], &all["user_uuid"]), (&json!("T-1"), &json!(therapist.person.user_uuid)));
        assert_eq!(
            server.api(token).get(&format!("{path}/services")).await.json["data"].as_array().map(Vec::len),
            Some(7)
        );
    }
    sqlx::query("UPDATE users SET is_active = FALSE WHERE id = $1")
        .bind(therapist.person.user_id)
        .execute(pool)
        .await
        .expect("off");
    assert_eq!(hers.get(&path).await.status, 404, "its owner is gone");
    assert_eq!(server.api(&admin.token).get(&path).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_changes_what_is_his_and_an_admins_word_is_noted() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let (his, hers, ops) = (server.api(&therapist.person.token), server.api(&customer.token), server.api(&admin.token));
    let path = path(&therapist);
    for (field, value) in [
        ("verification_status", json!("verified")),
        ("rejection_reason", json!("x")),
        ("is_active", json!(true)),
        ("commission_rate", json!(0)),
    ] {
        let answer = his.patch(&path, json!({field: value, "business_name": "x"})).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{field}: {answer:?}");
    }
    for (field, value) in [
        ("verification_status", json!("fine")),
        ("verification_status", Value::Null),
        ("rejection_reason", json!("without being rejected")),
        ("is_active", Value::Null),
        ("commission_rate", json!(100.01)),
        ("commission_rate", json!("1.005")),
        ("business_name", json!("x".repeat(256))),
        ("tax_id", json!("a\u{0}")),
    ] {
        let answer = ops.patch(&path, json!({field: value})).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{field} {value}: {answer:?}");
    }
    let unexplained = ops.patch(&path, json!({"verification_status": "rejected"})).await;
    assert!(unexplained.json["errors"]["rejection_reason"].is_array(), "{unexplained:?}");

    assert!(shows(&hers, &nearby(HERE, ""), &path).await);
    assert_eq!(his.patch(&path, json!({"accepts_home_service": false})).await.status, 200);
    assert!(!shows(&hers, &nearby(HERE, ""), &path).await, "from the answer on");
    assert_eq!(
        ops.patch(&path, json!({"commission_rate": "12.5", "accepts_home_service": true})).await.json["commission_rate"],
        12.5
    );
    assert!(shows(&hers, &nearby(HERE, ""), &path).await);
    let noted: Vec<(i64, Value, Value)> = sqlx::query_as(
        "SELECT user_id, old_values, new_values FROM audit_logs
         WHERE auditable_type = 'App\\Models\\Provider' AND auditable_id = $1 ORDER BY id",
    )
    .bind(therapist.provider_id)
    .fetch_all(pool)
    .await
    .expect("rows");
    let [(by, before, after)] = noted.as_slice() else { panic!("the admin's one change: {noted:?}") };
    assert_eq!((*by, before["commission_rate"].as_f64()), (admin.user_id, Some(15.0)));
    assert_eq!(*after, json!({"accepts_home_service": true, "commission_rate": "12.5"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_list_providers_by_what_they_are_and_links_keep_the_question() {
    let server = Server::start().await;
    let pool = server.pool();
    // The oldest, so that the last page would have it if it did not ask for therapists.
    let (_, store) = stores::store(pool, "Ginhawa Spa", HERE, json!({})).await;
    for name in ["A", "B", "C"] {
        people::therapist(pool, name, HERE.0, HERE.1).await;
    }
    registered(&server, &people::person(pool, "therapist", "D").await, "therapist").await;
    let ops = server.api(&people::admin(pool).await.token);
    let count = |page: &Answer| page.json["data"].as_array().map(Vec::len);
    for (filter, expected) in [
        ("", 5),
        ("?type=therapist", 4),
        ("?type=store&is_active=true", 1),
        ("?verification_status=pending", 1),
        ("?verification_status=verified&type=therapist&is_active=1", 3),
        ("?is_active=false", 0),
    ] {
        assert_eq!(count(&ops.get(&format!("/v1/providers{filter}")).await), Some(expected), "{filter}");
    }
    assert_eq!(ops.get("/v1/providers?type=store").await.json["data"][0]["uuid"], json!(store));
    let page = ops.get("/v1/providers?type=therapist&per_page=3").await;
    let next = page.json["next_page_url"].as_str().expect("a URL").strip_prefix(&server.base).expect("ours").to_owned();
    let rest = ops.get(&next).await;
    assert_eq!((count(&page), count(&rest), &rest.json["next_cursor"]), (Some(3), Some(1), &Value::Null));
    for wrong in ["?type=spa", "?verification_status=x", "?is_active=perhaps", "?cursor=x"] {
        assert_eq!(ops.get(&format!("/v1/providers{wrong}")).await.status, 422, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_registers_once_and_keeps_no_number_of_the_providers() {
    let server = Server::start().await;
    let owner = server.api(&people::person(server.pool(), "store_owner", "Olga").await.token);
    let body = json!({"type": "store", "tax_id": "123-456-789", "business_registration_number": "CN-1"});
    let post = || owner.send(owner.request("POST", "/v1/providers").header("idempotency-key", "k1").json(&body));
    let (first, again) = tokio::join!(post(), post());
    assert_eq!((first.status, &first.json), (201, &again.json), "{first:?}");
    assert_eq!((again.status, &again.headers["location"]), (201, &first.headers["location"]));
    assert_eq!(first.json["tax_id"], "123-456-789");
    let kept: Value = sqlx::query_scalar("SELECT response_body FROM idempotency_keys WHERE key = 'k1'")
        .fetch_one(server.pool())
        .await
        .expect("kept");
    assert_eq!(kept, json!({"uuid": first.json["uuid"]}));
    let path = format!("/v1/providers/{}", uuid(&first.json));
    let changed = owner.patch(&path, json!({"tax_id": "987-654-321"})).await.json;
    assert_eq!(post().await.json, changed, "as it is now");
    sqlx::query("UPDATE providers SET deleted_at = now()").execute(server.pool()).await.expect("deleted");
    assert_eq!(post().await.status, 404);
}
