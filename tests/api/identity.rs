//! Tokens as Sanctum has them, and what each caller may know of positions.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn sanctums_tokens_work_unchanged_in_both_forms() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    // As Sanctum stored them before it put ids in front: the whole text is hashed.
    let plain = "B".repeat(48);
    let hash = spacall::store::tokens::secret_hash(&plain);
    sqlx::query(
        "INSERT INTO personal_access_tokens (tokenable_id, name, token, abilities) VALUES ($1, 'old', $2, '[\"*\"]')",
    )
    .bind(customer.user_id)
    .bind(&hash)
    .execute(server.pool())
    .await
    .expect("a token");
    let user = spacall::core::ids::UserId(customer.user_id);
    let created =
        spacall::store::tokens::create(server.pool(), user, "cli", &["match:exact".to_owned()]).await.expect("created");
    for token in [&customer.token, &plain, &created] {
        let me = server.api(token).get("/v1/me").await;
        assert_eq!((me.status, &me.json["uuid"]), (200, &json!(customer.user_uuid)), "{me:?}");
        assert_eq!(me.json["roles"], json!(["customer"]));
    }
    assert_eq!(server.api(&created).get("/v1/me").await.json["abilities"], json!(["match:exact"]));
    let id = customer.token.split('|').next().expect("an id");
    for bad in [
        format!("{id}|"),
        format!("{id}|wrong"),
        format!("x|{plain}"),
        format!("-{}", customer.token),
        hash,
        "|".into(),
    ] {
        let answer = server.api(&bad).get("/v1/me").await;
        assert_eq!((answer.status, &answer.json["code"]), (401, &json!("unauthenticated")), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_a_token_is_noted_once_a_minute() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    assert_eq!(api.get("/v1/me").await.status, 200);
    let noted = || async {
        sqlx::query_scalar::<_, Option<chrono::DateTime<Utc>>>(
            "SELECT last_used_at FROM personal_access_tokens WHERE tokenable_id = $1",
        )
        .bind(customer.user_id)
        .fetch_one(server.pool())
        .await
        .expect("the token")
    };
    let deadline = spacall::clock::monotonic() + crate::support::http::PATIENCE;
    while noted().await.is_none() {
        assert!(spacall::clock::monotonic() < deadline, "the use was never noted");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_answered_from_public_positions_and_exact_tokens_from_exact_ones() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapists = [
        therapist_at(&server, "Luz", 310.0).await,
        therapist_at(&server, "Hiyas", 1_730.0).await,
        therapist_at(&server, "Tala", 6_470.0).await,
    ];
    let customer = people::customer(pool).await;
    let backend = people::token(pool, customer.user_id, r#"["*", "match:exact"]"#).await;
    let public = server.api(&customer.token).get(&nearby(HERE, "")).await.json;
    let exact = server.api(&backend).get(&nearby(HERE, "")).await.json;
    let km: Vec<_> = exact["data"].as_array().expect("data").iter().map(|t| t["distance_km"].clone()).collect();
    assert_eq!(km, [json!(0.31), json!(1.73), json!(6.47)]);
    assert_eq!(exact["data"][2]["distance_surcharge"], "29.40", "20 a km beyond 5");
    for (i, therapist) in therapists.iter().enumerate() {
        let (shown, known) = (&public["data"][i], &exact["data"][i]);
        assert_eq!(shown["provider_uuid"], therapist.provider_uuid.to_string());
        // All that depends on the position depends on the cell's centre, and is the same for everyone in the cell.
        let cell: h3o::CellIndex = shown["approximate_location"]["h3"].as_str().expect("a cell").parse().expect("H3");
        assert_eq!(cell.resolution(), h3o::Resolution::Nine);
        assert_eq!(shown["approximate_location"], known["approximate_location"], "never exact, whoever asks");
        let degrees = |name: &str| shown["approximate_location"][name].as_f64().expect("degrees");
        let centre = spacall::core::geo::LatLng::new(degrees("latitude"), degrees("longitude")).expect("a place");
        let here = spacall::core::geo::LatLng::new(HERE.0, HERE.1).expect("a place");
        let km = (centre.distance(here).km() * 100.0).round() / 100.0;
        assert_eq!(shown["distance_km"], json!(km));
        assert!(shown["location_age_seconds"].is_u64(), "{shown}");
    }
    assert!(public["meta"]["considered"].as_u64().is_some_and(|n| n >= 3), "{}", public["meta"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_learn_what_an_answer_rests_on_and_customers_do_not() {
    let server = Server::start().await;
    therapist_at(&server, "Luz", 310.0).await;
    let customer = people::customer(server.pool()).await;
    let backend = people::token(server.pool(), customer.user_id, r#"["*", "match:exact"]"#).await;
    let question = format!("{}&certify=true", nearby(HERE, ""));
    let refused = server.api(&customer.token).get(&question).await;
    assert_eq!((refused.status, &refused.json["code"]), (403, &json!("forbidden")), "{}", refused.json);
    let ask = || async { server.api(&backend).get(&question).await.json["meta"]["certificate"].clone() };
    let fresh = ask().await;
    assert!(fresh["version"].as_u64().is_some_and(|n| n > 0) && fresh["examined"] == json!(1), "{fresh}");
    assert!(fresh["proven_km"].as_f64().is_some_and(|km| km > 1.0), "{fresh}");
    assert_eq!(fresh["stale_could_be_nearer"], json!(false), "{fresh}");
    // Last seen an hour ago: he may be anywhere within 60 km by now.
    let (latitude, longitude) = north(1_730.0);
    let gone = people::therapist(server.pool(), "Hiyas", latitude, longitude).await;
    let hour_ago = now() - chrono::Duration::hours(1);
    let fixes = json!({"fixes": [fix(1, hour_ago, latitude, longitude)]});
    let sent = server.api(&gone.person.token).post("/v1/locations", fixes).await;
    assert_eq!(sent.status, 200, "{}", sent.json);
    assert_eq!(ask().await["stale_could_be_nearer"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_can_be_ordered_by_price_and_rating_over_the_whole_radius() {
    let server = Server::start().await;
    let near = therapist_at(&server, "Luz", 300.0).await;
    let far = therapist_at(&server, "Hiyas", 2_000.0).await;
    for (sql, id) in [
        ("UPDATE provider_services SET price = 1500 WHERE provider_id = $1", near.provider_id),
        ("UPDATE providers SET average_rating = 4.9, total_reviews = 10 WHERE id = $1", far.provider_id),
    ] {
        sqlx::query(sql).bind(id).execute(server.pool()).await.expect("the change");
    }
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let first = |sort: &str| format!("{}&sort={sort}", nearby(HERE, "").replace("limit=50", "limit=1"));
    for (sort, name) in [("price", "Hiyas"), ("rating", "Hiyas"), ("distance", "Luz"), ("eta", "Luz")] {
        let answer = api.until(&first(sort), |a| a.json["data"][0]["first_name"] == name).await.json;
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(1), "{sort}");
    }
    for (filter, names) in [
        ("&max_price=1000", vec!["Hiyas"]),
        ("&min_rating=4.5", vec!["Hiyas"]),
        ("&specialization=SWEDISH", vec!["Luz", "Hiyas"]),
        ("&language=fil", vec!["Luz", "Hiyas"]),
        ("&language=de", vec![]),
        ("&gender=male", vec![]),
    ] {
        let data = api.get(&nearby(HERE, filter)).await.json["data"].clone();
        let found: Vec<_> = data.as_array().expect("data").iter().map(|t| t["first_name"].clone()).collect();
        assert_eq!(found, names, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_therapist_who_goes_offline_is_not_found_and_can_come_back() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let (phone, api) = (server.api(&therapist.person.token), server.api(&customer.token));
    for (available, found) in [(false, 0), (true, 1)] {
        let answer = phone.put("/v1/me/availability", json!({"available": available})).await;
        assert_eq!((answer.status, &answer.json), (200, &json!({"available": available})));
        api.until(&nearby(HERE, ""), |a| a.json["data"].as_array().map(Vec::len) == Some(found)).await;
        assert_eq!(phone.get("/v1/me").await.json["provider"]["is_available"], available);
    }
    let wrong = phone.put("/v1/me/availability", json!({"available": "yes"})).await;
    assert_eq!((wrong.status, wrong.json["errors"]["available"].is_array()), (422, true), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_kept_and_written_down() {
    let server = Server::start().await;
    let admin = people::admin(server.pool()).await;
    let api = server.api(&admin.token);
    let bad = api.put("/v1/settings/dispatch", json!({"value": {"offer_ttl_s": -1}})).await;
    assert_eq!((bad.status, bad.json["errors"]["value"].is_array()), (422, true), "{bad:?}");
    assert_eq!(api.put("/v1/settings/theme", json!({"value": 1})).await.status, 404);
    let good = api.put("/v1/settings/location_stale_after", json!({"value": 601})).await;
    assert_eq!((good.status, &good.json["value"]), (200, &json!(601)), "{good:?}");
    let all = api.get("/v1/settings").await.json;
    assert!(
        all["data"].as_array().expect("data").iter().any(|s| s["key"] == "location_stale_after" && s["value"] == 601)
    );
    let log: (Option<i64>, Value, Value) = sqlx::query_as("SELECT user_id, old_values, new_values FROM audit_logs")
        .fetch_one(server.pool())
        .await
        .expect("one entry");
    assert_eq!(log, (Some(admin.user_id), json!({"value": 600}), json!({"value": 601})));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_what_dispatch_decided_of_who_could_take_it_now() {
    let server = Server::start().await;
    let luz = therapist_at(&server, "Luz", 300.0).await;
    therapist_at(&server, "Hiyas", 900.0).await;
    let (customer, admin) = (people::customer(server.pool()).await, people::admin(server.pool()).await);
    let mut body = wanted();
    body["provider_uuid"] = json!(luz.provider_uuid);
    let booking = book(&server, &customer, body).await;
    assert_eq!(transition(&server, &customer, uuid(&booking), "cancelled").await.0, 200);
    // As dispatch would have logged it, had he asked for more since.
    sqlx::query(
        "WITH gone AS (DELETE FROM booking_offers)
         INSERT INTO dispatch_decisions (booking_id, decided_at, kind, detail)
         SELECT id, now(), 'not_offered', jsonb_build_object('provider', $2::bigint, 'why', 'provider_unfit')
         FROM bookings WHERE uuid = $1::uuid",
    )
    .bind(uuid(&booking))
    .bind(luz.provider_id)
    .execute(server.pool())
    .await
    .expect("a decision");
    let path = format!("/v1/ops/bookings/{}/explain", uuid(&booking));
    let free = |a: &Answer| {
        let logged = |all: &Vec<Value>| all.iter().any(|decision| decision["kind"] == "searching");
        a.json["therapists"][0]["eligible"] == true && a.json["decisions"].as_array().is_some_and(logged)
    };
    let told = server.api(&admin.token).until(&path, free).await.json;
    let of = |n: usize| {
        let judged = &told["therapists"][n];
        json!([judged["first_name"], judged["reason"], judged["offered"], judged["not_offered"]])
    };
    assert_eq!(of(0), json!(["Luz", null, false, "provider_unfit"]));
    assert_eq!(of(1), json!(["Hiyas", "not_chosen", false, null]), "whom it named alone was to be asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_who_was_asked_and_why_others_were_not() {
    let server = Server::start().await;
    let (near, far) = (therapist_at(&server, "Luz", 300.0).await, therapist_at(&server, "Hiyas", 900.0).await);
    let customer = people::customer(server.pool()).await;
    let admin = people::admin(server.pool()).await;
    let mut phone = app(&server, &near).await;
    let booking = book(&server, &customer, wanted()).await;
    let offer = phone.expect("offer").await;
    let api = server.api(&admin.token);
    let told = api.get(&format!("/v1/ops/bookings/{}/explain", uuid(&booking))).await.json;
    assert_eq!(told["offers"][0]["offer_id"], offer["offer_id"]);
    assert_eq!(told["offers"][0]["provider_uuid"], near.provider_uuid.to_string());
    let of = |t: &Therapist| {
        let uuid = t.provider_uuid.to_string();
        told["therapists"].as_array().and_then(|all| all.iter().find(|j| j["provider_uuid"] == uuid.as_str())).cloned()
    };
    assert_eq!(of(&near).expect("judged")["reason"], "has_offer");
    assert_eq!(of(&far).expect("judged")["eligible"], true);
    let offered = |t: &Therapist| of(t).map(|j| (j["offered"].clone(), j["not_offered"].clone()));
    assert_eq!(offered(&near), Some((json!(true), Value::Null)));
    assert_eq!(offered(&far), Some((json!(false), json!("not_reached"))));
    let logged = |a: &Answer| {
        a.json["decisions"].as_array().is_some_and(|all| all.iter().any(|decision| decision["kind"] == "offered"))
    };
    let told = api.until(&format!("/v1/ops/bookings/{}/explain", uuid(&booking)), logged).await.json;
    for (kind, name) in [("searching", "deadline"), ("offered", "expires_at")] {
        let all = told["decisions"].as_array().expect("decisions");
        let detail = &all.iter().find(|decision| decision["kind"] == kind).expect(kind)["detail"];
        let time = detail[name].as_str().and_then(|time| chrono::DateTime::parse_from_rfc3339(time).ok());
        assert!(time.is_some_and(|time| time > now()), "{kind}: {detail}");
    }
    let fleet = api.get("/v1/ops/fleet").await.json;
    assert_eq!(fleet["type"], "FeatureCollection");
    let states: Vec<_> =
        fleet["features"].as_array().expect("features").iter().map(|f| f["properties"]["state"].clone()).collect();
    assert_eq!(states, ["offered", "idle"]);
    let at = fleet["features"][0]["geometry"]["coordinates"].clone();
    assert_eq!(at[0], HERE.1, "longitude comes first");
}
