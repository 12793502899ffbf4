//! The catalogue as admins change it, and what a change means for matching and for bookings that are there.

use serde_json::json;

use super::*;

/// A service to make.
pub fn ventosa() -> Value {
    json!({"name": "Ventosa", "slug": "ventosa", "base_price": "950.50", "duration_minutes": 75})
}

async fn everywhere(server: &Server) -> (Api, Api) {
    let (customer, admin) = (people::customer(server.pool()).await, people::admin(server.pool()).await);
    (server.api(&customer.token), server.api(&admin.token))
}

fn shows(answer: &Answer, therapist: &Therapist) -> bool {
    let uuid = therapist.provider_uuid.to_string();
    answer.json["data"].as_array().is_some_and(|data| data.iter().any(|t| t["provider_uuid"] == uuid.as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_switched_off_matches_nobody_from_the_answer_on_and_again_when_it_is_back() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (hers, ops) = everywhere(&server).await;
    let other = nearby(HERE, "").replace("swedish-massage", "foot-spa");
    for _ in 0..4 {
        let off = ops.patch("/v1/services/swedish-massage", json!({"is_active": false})).await;
        assert_eq!((off.status, &off.json["is_active"]), (200, &json!(false)), "{off:?}");
        let refused = hers.get(&nearby(HERE, "")).await;
        assert!(refused.status == 422 && refused.json["errors"]["service"].is_array(), "{refused:?}");
        assert_eq!(hers.post("/v1/bookings", wanted()).await.status, 422);
        assert!(shows(&hers.get(&other).await, &therapist), "what else he offers is there");
        assert_eq!(hers.get("/v1/services/swedish-massage").await.status, 404);
        let id = off.json["id"].as_i64().expect("an id");
        let offered = server.engine().fleet.therapist(spacall::core::ids::ProviderId(therapist.provider_id));
        let offered = offered.expect("indexed").services.iter().any(|of| of.service.0 == id);
        assert!(!offered, "the index has it no more");
        let on = ops.patch(&format!("/v1/services/{id}"), json!({"is_active": true})).await;
        assert_eq!(on.status, 200, "{on:?}");
        assert!(shows(&hers.get(&nearby(HERE, "")).await, &therapist));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_a_booking_goes_on_when_its_service_is_taken_away_and_who_waits_keeps_his_price() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(pool).await;
    let (_, ops) = everywhere(&server).await;
    let (his, hers) = (server.api(&therapist.person.token), server.api(&customer.token));
    let booking = book(&server, &customer, wanted()).await;
    let offers = his.until("/v1/offers", |answer| answer.json["data"][0].is_object()).await.json;
    let offer = format!("/v1/offers/{}/accept", offers["data"][0]["offer_id"]);
    assert_eq!(his.post(&offer, json!({})).await.status, 200);

    let dearer =
        ops.patch("/v1/services/swedish-massage", json!({"base_price": "990.00", "duration_minutes": 90})).await;
    assert_eq!((dearer.status, &dearer.json["base_price"]), (200, &json!("990.00")), "{dearer:?}");
    let waiting = people::customer(pool).await;
    let later = book(&server, &waiting, wanted()).await;
    assert_eq!((&later["service_price"], &later["service"]["duration_minutes"]), (&json!("990.00"), &json!(90)));
    let shown = hers.get("/v1/services/swedish-massage").await.json;
    assert_eq!((&shown["base_price"], &shown["duration_minutes"]), (&json!("990.00"), &json!(90)));
    let cheap = ops.patch("/v1/services/swedish-massage", json!({"base_price": 500})).await;
    assert_eq!(cheap.json["base_price"], "500.00");

    assert_eq!(ops.delete("/v1/services/swedish-massage").await.status, 204);
    assert_eq!(ops.delete("/v1/services/swedish-massage").await.status, 404, "it is gone");
    let of_waiting = server.api(&waiting.token).get(&format!("/v1/bookings/{}", uuid(&later))).await.json;
    assert_eq!((&of_waiting["status"], &of_waiting["service_price"]), (&json!("pending"), &json!("990.00")));
    for to in ["en_route", "arrived", "in_progress", "completed"] {
        let (status, body) = transition(&server, &therapist.person, uuid(&booking), to).await;
        assert_eq!(status, 200, "{to}: {body}");
    }
    let done = hers.get(&format!("/v1/bookings/{}", uuid(&booking))).await.json;
    assert_eq!((&done["service_price"], &done["service"]["duration_minutes"]), (&json!("800.00"), &json!(60)));
    // He is free, and nobody is offered what is not offered any more.
    assert_eq!(his.get("/v1/offers").await.json["data"], json!([]));
}

/// What the index has of a therapist that only another reading of his rows shows: the database says 1.25, and nobody told of it.
async fn spoil(server: &Server, therapist: &Therapist) {
    let silent = server.database.options().options([("session_replication_role", "replica")]);
    let silent = spacall::store::connect(silent, 1).await.expect("a pool");
    let rated =
        sqlx::query("UPDATE providers SET average_rating = 1.25, total_reviews = total_reviews + 1 WHERE id = $1");
    rated.bind(therapist.provider_id).execute(&silent).await.expect("a change");
}

fn reviews(server: &Server, therapist: &Therapist) -> u32 {
    let therapist = server.engine().fleet.therapist(spacall::core::ids::ProviderId(therapist.provider_id));
    therapist.expect("indexed").total_reviews
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_catalogue_reads_those_again_who_offer_what_can_be_booked_since_or_cannot_and_nobody_else() {
    let hour = std::time::Duration::from_secs(3_600);
    let server = Server::comparing(crate::support::database().await, hour).await;
    let (all, few) = (therapist_at(&server, "Luz", 300.0).await, therapist_at(&server, "Ana", 400.0).await);
    let ops = everywhere(&server).await.1;
    let none = "DELETE FROM provider_services ps USING services s
                WHERE s.id = ps.service_id AND s.slug = 'foot-spa' AND ps.provider_id = $1";
    sqlx::query(none).bind(few.provider_id).execute(server.pool()).await.expect("not offered");
    let fewer = |t: &Therapist| {
        let id = spacall::core::ids::ProviderId(t.provider_id);
        server.engine().fleet.therapist(id).is_some_and(|t| t.services.iter().count() == 6)
    };
    crate::support::until("the index shows it", || fewer(&few)).await;
    for therapist in [&all, &few] {
        spoil(&server, therapist).await;
    }
    assert_eq!(ops.post("/v1/services", ventosa()).await.status, 201);
    let category = ops.post("/v1/service-categories", json!({"name": "Hilot", "slug": "hilot"})).await;
    assert_eq!(category.status, 201, "{category:?}");
    let renamed = json!({"name": "Foot Bath", "base_price": "900.00"});
    assert_eq!(ops.patch("/v1/services/foot-spa", renamed).await.status, 200);
    assert_eq!([&all, &few].map(|t| reviews(&server, t)), [0, 0], "nobody was read");

    assert_eq!(ops.patch("/v1/services/foot-spa", json!({"is_active": false})).await.status, 200);
    assert!(fewer(&all), "before the answer");
    assert_eq!([&all, &few].map(|t| reviews(&server, t)), [1, 0], "who offers it was read");
    assert_eq!(ops.patch("/v1/services/foot-spa", json!({"is_active": true})).await.status, 200);
    assert!(!fewer(&all));

    // Off and on before anybody looked: the catalogue is the same, but his rows may have been read between the two.
    spoil(&server, &all).await;
    let mut tx = server.pool().begin().await.expect("begun");
    for active in [false, true] {
        let switch = sqlx::query("UPDATE services SET is_active = $1 WHERE slug = 'foot-spa'").bind(active);
        switch.execute(&mut *tx).await.expect("switched");
    }
    tx.commit().await.expect("committed");
    crate::support::until("he was read again", || reviews(&server, &all) == 2).await;
    assert_eq!(reviews(&server, &few), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nearby_shows_each_therapists_own_price_whatever_the_base_price_is() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (hers, ops) = everywhere(&server).await;
    assert_eq!(ops.patch("/v1/services/swedish-massage", json!({"base_price": "1.00"})).await.status, 200);
    let answer = hers.get(&nearby(HERE, "")).await;
    assert!(shows(&answer, &therapist));
    assert_eq!(answer.json["data"][0]["price"], "800.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_made_found_and_its_slug_is_free_when_it_is_gone() {
    let server = Server::start().await;
    let (hers, ops) = everywhere(&server).await;
    let made = ops.post("/v1/services", ventosa()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.headers["location"], format!("/v1/services/{}", made.json["id"]).as_str());
    for (field, value) in ventosa().as_object().expect("fields") {
        assert_eq!(&made.json[field], value);
    }
    for path in ["/v1/services/ventosa".to_owned(), format!("/v1/services/{}", made.json["id"])] {
        assert_eq!(Api::new(&server.base, None).get(&path).await.json, made.json);
    }
    let mut body = wanted();
    body["service"] = json!("ventosa");
    assert_eq!(hers.post("/v1/bookings", body).await.json["service_price"], "950.50", "it can be booked at once");

    let again = ops.post("/v1/services", ventosa()).await;
    assert!(again.status == 422 && again.json["errors"]["slug"].is_array(), "{again:?}");
    let taken = ops.patch("/v1/services/ventosa", json!({"slug": "foot-spa"})).await;
    assert_eq!((taken.status, &taken.json["errors"]["slug"]), (422, &json!(["The slug field is taken already."])));
    assert_eq!(ops.delete("/v1/services/ventosa").await.status, 204);
    assert_eq!(ops.post("/v1/services", ventosa()).await.status, 201);

    let listed = |answer: &Answer| answer.json["data"].as_array().map(Vec::len);
    assert_eq!(ops.patch("/v1/services/ventosa", json!({"is_active": false})).await.status, 200);
    assert_eq!(listed(&hers.get("/v1/services").await), Some(7));
    assert_eq!(listed(&ops.get("/v1/services?include_inactive=true").await), Some(8));
    assert_eq!(ops.get("/v1/services/ventosa").await.status, 200, "admins see it");
    for api in [&hers, &Api::new(&server.base, None), &Api::new(&server.base, Some("1|nonsense"))] {
        assert_eq!(api.get("/v1/services?include_inactive=true").await.status, 403);
        assert_eq!(api.get("/v1/service-categories?include_inactive=1").await.status, 403);
        assert_eq!(api.get("/v1/services/ventosa").await.status, 404);
    }
    let noted: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM audit_logs WHERE auditable_type = 'App\\Models\\Service' AND auditable_id = $1 ORDER BY id",
    )
    .bind(made.json["id"].as_i64())
    .fetch_all(server.pool())
    .await
    .expect("rows");
    assert_eq!(noted, ["created", "deleted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_goes_when_it_has_no_services_and_a_change_of_one_reaches_the_catalogue() {
    // What is not told is not found by comparing, either.
    let hour = std::time::Duration::from_secs(3_600);
    let server = Server::comparing(crate::support::database().await, hour).await;
    let (hers, ops) = everywhere(&server).await;
    let path = "/v1/service-categories";
    let body = json!({"name": "Hilot", "slug": "hilot", "sort_order": -1});
    let made = ops.post(path, body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (id, one) = (made.json["id"].clone(), format!("{path}/{}", made.json["id"]));
    let listed = hers.get(path).await.json["data"].clone();
    assert_eq!((&listed[0], listed.as_array().map(Vec::len)), (&made.json, Some(4)), "the smallest comes first");
    assert_eq!(ops.post(path, body).await.json["errors"]["slug"], json!(["The slug field is taken already."]));

    let moved = ops.patch("/v1/services/foot-spa", json!({"category_id": id})).await;
    assert_eq!((moved.status, &moved.json["category"]), (200, &json!("hilot")), "{moved:?}");
    assert_eq!(hers.get("/v1/services").await.json["data"][0]["slug"], "foot-spa");
    let held = ops.delete(&one).await;
    assert_eq!((held.status, &held.json["code"], &held.json["services"]), (409, &json!("category_in_use"), &json!(1)));
    assert_eq!(ops.patch(&one, json!({"slug": "touch", "is_active": false})).await.json["slug"], "touch");
    assert_eq!(hers.get(path).await.json["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(ops.get("/v1/service-categories?include_inactive=1").await.json["data"][0]["slug"], "touch");
    let category = || server.engine().catalog().find("foot-spa").and_then(|service| service.category.clone());
    assert_eq!(category().as_deref(), Some("touch"), "what this node books by has heard of it");
    sqlx::query("UPDATE service_categories SET slug = 'hands' WHERE slug = 'touch'")
        .execute(server.pool())
        .await
        .expect("changed elsewhere");
    crate::support::until("the catalogue has the slug", || category().as_deref() == Some("hands")).await;

    assert_eq!(ops.patch("/v1/services/foot-spa", json!({"category_id": null})).await.json["category"], Value::Null);
    assert_eq!(ops.delete(&one).await.status, 204);
    assert_eq!(ops.delete(&one).await.status, 404);
    assert_eq!(ops.patch(&one, json!({"name": "x"})).await.status, 404);
    let gone = ops.patch("/v1/services/foot-spa", json!({"category_id": id})).await;
    assert_eq!((gone.status, gone.json["errors"]["category_id"].is_array()), (422, true), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_comes_into_a_category_while_it_goes() {
    let server = Server::start().await;
    let (_, ops) = everywhere(&server).await;
    for round in 0..6 {
        let body = json!({"name": "Hilot", "slug": format!("hilot-{round}")});
        let id = ops.post("/v1/service-categories", body).await.json["id"].clone();
        let path = format!("/v1/service-categories/{id}");
        let (gone, moved) =
            tokio::join!(ops.delete(&path), ops.patch("/v1/services/foot-spa", json!({"category_id": id})));
        assert!([(204, 422), (409, 200)].contains(&(gone.status, moved.status)), "{gone:?} {moved:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_an_admin_sends_is_an_error_of_the_database() {
    let server = Server::start().await;
    let (_, ops) = everywhere(&server).await;
    for (field, value) in [
        ("name", json!("x".repeat(256))),
        ("name", json!("a\u{0}")),
        ("slug", json!("Ventosa")),
        ("slug", json!("42")),
        ("category_id", json!(4_711)),
        ("category_id", json!(1e30)),
        ("description", json!("x".repeat(10_001))),
        ("short_description", json!("x".repeat(501))),
        ("base_price", json!("-1")),
        ("base_price", json!("100000000")),
        ("base_price", json!("1.005")),
        ("base_price", json!("NaN")),
        ("currency", json!("USD")),
        ("duration_minutes", json!(0)),
        ("duration_minutes", json!(1_441)),
        ("image_url", json!("javascript:alert(1)")),
        ("benefits", json!("good")),
        ("contraindications", json!(["x\u{0}"])),
        ("is_active", json!(1)),
        ("sort_order", json!(1e12)),
    ] {
        let mut body = ventosa();
        body[field] = value.clone();
        for answer in
            [ops.post("/v1/services", body).await, ops.patch("/v1/services/foot-spa", json!({field: value})).await]
        {
            assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{field} {value}: {answer:?}");
        }
    }
    for service in ["none", "0", "9223372036854775808", "%00", "foot%20spa"] {
        let path = format!("/v1/services/{service}");
        assert_eq!(ops.get(&path).await.status, 404, "{service}");
        assert_eq!(ops.patch(&path, json!({"name": "x"})).await.status, 404, "{service}");
        assert_eq!(ops.delete(&path).await.status, 404, "{service}");
    }
    for wrong in [json!({"name": "x"}), json!({"slug": "x"}), json!({"name": "x", "slug": "x", "icon_url": "x"})] {
        assert_eq!(ops.post("/v1/service-categories", wrong.clone()).await.status, 422, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_needs_no_token_costs_the_database_nothing() {
    let server = Server::start().await;
    let mut held = server.pool().begin().await.expect("a transaction");
    let lock = "LOCK TABLE services, service_categories, personal_access_tokens IN ACCESS EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *held).await.expect("locked");
    for api in [Api::new(&server.base, None), Api::new(&server.base, Some("1|nonsense"))] {
        for path in ["/v1/services", "/v1/services/foot-spa", "/v1/services/1", "/v1/service-categories"] {
            assert_eq!(api.get(path).await.status, 200, "{path}");
        }
    }
    assert_eq!(Api::new(&server.base, None).get("/v1/services/none").await.status, 404);
    held.rollback().await.expect("let go");
}
