//! One of what is listed, by its id; what is a user's, to admins; and both of Laravel's words for a change.

use serde_json::json;
use spacall::http::access::ROUTES;

use super::money::{done, settle};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_is_shown_by_its_id_to_whose_it_is_and_else_to_admins_alone() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let (maria, stranger, admin) =
        (people::customer(pool).await, people::customer(pool).await, people::admin(pool).await);
    let (his, hers) = (server.api(&therapist.person.token), server.api(&maria.token));
    let (strangers, ops) = (server.api(&stranger.token), server.api(&admin.token));
    let made = |answer: Answer| match answer.status {
        201 => answer.json,
        _ => panic!("{answer:?}"),
    };
    let device = json!({"device_type": "web", "token": "push"});
    let device = made(hers.post("/v1/device-tokens", device).await)["id"].to_string();
    let told =
        "INSERT INTO notifications (user_id, type, title, body) VALUES ($1, 'news', 'News', 'x') RETURNING uuid::text";
    let told: String = sqlx::query_scalar(told).bind(maria.user_id).fetch_one(pool).await.expect("a notification");
    let luz = therapist.provider_uuid.to_string();
    let paper = format!("/v1/providers/{luz}/documents");
    let paper = made(his.post(&paper, provider_papers::paper()).await)["id"].to_string();
    let asked = made(hers.post("/v1/wallet/topups", json!({"amount": 5, "payment_method": "card"})).await);
    assert_eq!(settle(&ops, &asked, "completed").await.status, 200);
    let line = hers.get("/v1/wallet/transactions").await.json["data"][0]["id"].to_string();
    let booking = done(pool, &maria, &therapist, "card").await;
    let review = made(hers.post(&format!("/v1/bookings/{booking}/review"), json!({"overall_rating": 5})).await)["id"]
        .to_string();
    assert_eq!(made(hers.post("/v1/blocks", json!({"provider_uuid": luz, "reason": "x"})).await)["uuid"], luz.as_str());

    // With what others hear: the stranger, then the admin.
    let reviewed = format!("/v1/bookings/{booking}/review");
    for (path, owner, others) in [
        (format!("/v1/device-tokens/{device}"), &hers, [404, 404]),
        (format!("/v1/notifications/{told}"), &hers, [404, 404]),
        (format!("/v1/blocks/{luz}"), &hers, [404, 404]),
        (format!("/v1/provider-documents/{paper}"), &his, [404, 200]),
        (format!("/v1/wallet/transactions/{line}"), &hers, [404, 200]),
        (format!("/v1/reviews/{review}"), &hers, [200, 200]),
        (reviewed.clone(), &hers, [404, 200]),
        (reviewed.clone(), &his, [404, 200]),
    ] {
        let shown = owner.get(&path).await;
        assert_eq!(shown.status, 200, "{path}: {shown:?}");
        for (api, status) in [&strangers, &ops].into_iter().zip(others) {
            assert_eq!(api.get(&path).await.status, status, "{path}");
        }
        // As the list has it.
        let list = path.rsplit_once('/').expect("a list").0;
        let listed = owner.get(list).await.json["data"].as_array().and_then(|rows| rows.first().cloned());
        if let Some(row) = listed.filter(|_| !path.ends_with("/review")) {
            assert_eq!(row, shown.json, "{path}");
        }
    }

    // A review that is hidden: its author and admins see it, and only these why.
    let hidden = json!({"is_visible": false, "flagged_reason": "rude"});
    assert_eq!(ops.patch(&format!("/v1/reviews/{review}"), hidden).await.status, 200);
    for path in [format!("/v1/reviews/{review}"), reviewed] {
        assert_eq!(his.get(&path).await.status, 404, "{path}");
        assert_eq!(hers.get(&path).await.json["flagged_reason"], Value::Null, "{path}");
        assert_eq!(ops.get(&path).await.json["flagged_reason"], "rude", "{path}");
    }

    // Of the admins.
    assert_eq!(ops.patch("/v1/services/swedish-massage", json!({"base_price": "801.00"})).await.status, 200);
    for list in ["/v1/settings", "/v1/roles", "/v1/audit-logs", "/v1/service-categories"] {
        let row = ops.get(list).await.json["data"][0].clone();
        let key = ["key", "name", "id"].into_iter().find(|key| {
            // Categories have a name, too.
            row.get(*key).is_some() && !(list.ends_with("categories") && *key == "name")
        });
        let key = row[key.expect("a key")].to_string().replace('"', "");
        assert_eq!(ops.get(&format!("{list}/{key}")).await.json, row, "{list}/{key}");
        assert_eq!(ops.get(&format!("{list}/9999999")).await.status, 404, "{list}");
    }
    let category = ops.get("/v1/service-categories").await.json["data"][0]["id"].to_string();
    let category = format!("/v1/service-categories/{category}");
    assert_eq!(Api::new(&server.base, None).get(&category).await.status, 200);
    assert_eq!(ops.patch(&category, json!({"is_active": false})).await.status, 200);
    assert_eq!((hers.get(&category).await.status, ops.get(&category).await.status), (404, 200), "hidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sees_what_is_a_users() {
    let server = Server::start().await;
    let pool = server.pool();
    let (maria, admin) = (people::customer(pool).await, people::admin(pool).await);
    let ops = server.api(&admin.token);
    let address = addresses::saved(&server, &maria, addresses::home()).await;
    let of = |what: &str| format!("/v1/users/{}/{what}", maria.user_uuid);
    assert_eq!(ops.get(&of("addresses")).await.json["data"], json!([address]));
    assert_eq!(ops.get(&of("wallet")).await.json, server.api(&maria.token).get("/v1/wallet").await.json);
    let roles = ops.get(&of("roles")).await.json;
    assert_eq!((&roles["data"][0]["name"], &roles["data"][1]), (&json!("customer"), &Value::Null), "{roles}");
    for what in ["addresses", "wallet", "roles", "permissions"] {
        assert_eq!(server.api(&maria.token).get(&of(what)).await.status, 403, "{what}");
        let nobody = format!("/v1/users/00000000-0000-4000-8000-000000000000/{what}");
        assert_eq!(ops.get(&nobody).await.status, 404, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_permitted_what_is_given_him_and_what_his_roles_permit() {
    let server = Server::start().await;
    let pool = server.pool();
    let maria = people::customer(pool).await;
    let (admin, boss) = (people::admin(pool).await, people::person(pool, "super_admin", "Corazon").await);
    let top = server.api(&boss.token);
    for name in ["book rooms", "see reports", "write news"] {
        assert_eq!(top.put(&format!("/v1/permissions/{name}"), json!({})).await.status, 200);
    }
    // Of another guard: none of this service's.
    for sql in [
        "WITH other AS (INSERT INTO permissions (name, guard_name) VALUES ('web only', 'web') RETURNING id)
         INSERT INTO model_has_permissions (permission_id, model_id) SELECT id, $1 FROM other",
        "WITH other AS (INSERT INTO roles (name, guard_name) VALUES ('editor', 'web') RETURNING id),
              has AS (INSERT INTO model_has_roles (role_id, model_id) SELECT id, $1 FROM other)
         INSERT INTO role_has_permissions (permission_id, role_id)
         SELECT p.id, other.id FROM other, permissions p WHERE p.name = 'write news'",
    ] {
        sqlx::query(sql).bind(maria.user_id).execute(pool).await.expect("rows");
    }
    let of_role = json!({"permissions": ["book rooms"]});
    assert_eq!(top.put("/v1/roles/customer/permissions", of_role).await.status, 200);
    let path = format!("/v1/users/{}/permissions", maria.user_uuid);
    let (nothing, more) = (json!([]), json!(["book rooms"]));
    let shown = top.get(&path).await.json;
    assert_eq!((&shown["permissions"], &shown["effective_permissions"]), (&nothing, &more), "{shown}");

    let given = json!({"permissions": ["see reports", "book rooms", "see reports"]});
    let put = top.put(&path, given.clone()).await;
    let both = json!(["book rooms", "see reports"]);
    assert_eq!((put.status, &put.json["permissions"]), (200, &both), "{put:?}");
    assert_eq!(server.api(&admin.token).get(&path).await.json, put.json);
    assert_eq!(top.put(&path, given.clone()).await.status, 200, "the same again changes nothing");
    let log = top.get("/v1/audit-logs?auditable_type=App%5CModels%5CUser").await.json;
    assert_eq!((&log["data"][0]["new_values"]["permissions"], &log["data"][1]), (&both, &Value::Null), "{log}");

    assert_eq!(top.put(&path, json!({"permissions": []})).await.json["effective_permissions"], more);
    let unknown = top.put(&path, json!({"permissions": ["fly"]})).await;
    assert_eq!((unknown.status, unknown.json["errors"]["permissions"].is_array()), (422, true), "{unknown:?}");
    assert_eq!(server.api(&admin.token).put(&path, given).await.status, 403, "a super admin's to give");
    let kept = "SELECT count(*) FROM model_has_permissions WHERE model_id = $1";
    let kept: i64 = sqlx::query_scalar(kept).bind(maria.user_id).fetch_one(pool).await.expect("a count");
    assert_eq!(kept, 1, "the other guard's stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn put_is_taken_as_patch_where_there_is_only_that() {
    let server = Server::start().await;
    let maria = people::customer(server.pool()).await;
    let (hers, nobody) = (server.api(&maria.token), Api::new(&server.base, None));
    let address = addresses::saved(&server, &maria, addresses::home()).await;
    let path = format!("/v1/addresses/{}", address["id"]);
    let changed = hers.put(&path, json!({"label": "work"})).await;
    assert_eq!(
        (changed.status, &changed.json["label"], &changed.json["city"]),
        (200, &json!("work"), &address["city"])
    );
    assert_eq!(hers.put("/v1/me", json!({"first_name": "Ligaya"})).await.json["first_name"], "Ligaya");

    let has = |method: &str, path: &str| ROUTES.iter().any(|route| (route.method, route.path) == (method, path));
    let only_patch = ROUTES.iter().filter(|route| route.method == "PATCH" && !has("PUT", route.path));
    for route in only_patch {
        let path = route.path.replace("{uuid}", "00000000-0000-4000-8000-000000000000").replace("{id}", "999999");
        let (put, patch) = (hers.put(&path, json!({})).await, hers.patch(&path, json!({})).await);
        assert_eq!((put.status, &put.json), (patch.status, &patch.json), "{path}");
        assert_eq!(nobody.put(&path, json!({})).await.status, 401, "{path}");
    }
    let none = hers.put("/v1/bookings", json!({})).await;
    assert_eq!(none.status, 405, "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_and_a_block_are_posted_as_they_are_put() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let hers = server.api(&people::customer(pool).await.token);
    let device = json!({"device_type": "web", "token": "push"});
    let first = hers.post("/v1/device-tokens", device.clone()).await;
    let again = hers.post("/v1/device-tokens", device.clone()).await;
    assert_eq!((first.status, again.status, &first.json["id"]), (201, 201, &again.json["id"]), "{again:?}");
    assert_eq!(hers.put("/v1/device-tokens", device).await.json["id"], first.json["id"]);

    let luz = json!(therapist.provider_uuid);
    for body in [json!({"uuid": luz}), json!({"provider_uuid": luz, "reason": "x"})] {
        let blocked = hers.post("/v1/blocks", body).await;
        assert_eq!((blocked.status, &blocked.json["uuid"]), (201, &luz), "{blocked:?}");
    }
    let listed = hers.get("/v1/blocks").await.json["data"].clone();
    assert_eq!((&listed[0]["reason"], &listed[1]), (&json!("x"), &Value::Null), "{listed}");
    for (body, status) in [
        (json!({}), 422),
        (json!({"uuid": 1}), 422),
        (json!({"uuid": luz, "reason": 1}), 422),
        (json!({"uuid": "00000000-0000-4000-8000-000000000000"}), 404),
    ] {
        assert_eq!(hers.post("/v1/blocks", body.clone()).await.status, status, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_a_review_or_a_note_takes_it_back() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (maria, ana, admin) = (people::customer(pool).await, people::customer(pool).await, people::admin(pool).await);
    let (hers, his) = (server.api(&maria.token), server.api(&therapist.person.token));
    let (strangers, ops) = (server.api(&ana.token), server.api(&admin.token));
    let mut made = Vec::new();
    for stars in [1, 5] {
        let review = format!("/v1/bookings/{}/review", done(pool, &maria, &therapist, "card").await);
        let id = hers.post(&review, json!({"overall_rating": stars})).await.json["id"].to_string();
        made.push((review, format!("/v1/reviews/{id}")));
    }
    let rating = async || strangers.get(&nearby(HERE, "")).await.json["data"][0]["average_rating"].clone();
    assert_eq!(rating().await, 3.0);
    let (booked, review) = &made[0];
    for other in [&his, &strangers] {
        assert_eq!(other.delete(review).await.status, 404);
    }
    assert_eq!(hers.delete(review).await.status, 204);
    assert_eq!(rating().await, 5.0, "matching goes by it from the answer on");
    for path in [booked, review] {
        assert_eq!((hers.get(path).await.status, ops.get(path).await.status), (404, 404), "{path}");
    }
    assert_eq!(hers.delete(review).await.status, 404, "it is gone");
    assert_eq!(hers.post(booked, json!({"overall_rating": 2})).await.json["code"], "already_reviewed");
    let kept = &made[1].1;
    for (sql, sees) in [("clock_timestamp()", 404), ("NULL", 200)] {
        let sql = format!("UPDATE providers SET deleted_at = {sql} WHERE id = $1");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(therapist.provider_id).execute(pool).await.expect("updated");
        assert_eq!(strangers.get(kept).await.status, sees, "of a provider who is gone nobody reads");
        assert_eq!((hers.get(kept).await.status, ops.get(kept).await.status), (200, 200));
    }
    // An admin, too: of a review about himself he decides nothing.
    let sql = "INSERT INTO model_has_roles (role_id, model_id) SELECT id, $1 FROM roles WHERE name = 'admin'";
    sqlx::query(sql).bind(therapist.person.user_id).execute(pool).await.expect("a role");
    his.until("/v1/audit-logs", |a| a.status == 200).await;
    for refused in [his.delete(kept).await, his.patch(kept, json!({"is_visible": false})).await] {
        assert_eq!((refused.status, &refused.json["code"]), (409, &json!("about_oneself")), "{refused:?}");
    }
    let sql =
        "DELETE FROM model_has_roles h USING roles r WHERE r.id = h.role_id AND r.name = 'admin' AND h.model_id = $1";
    sqlx::query(sql).bind(therapist.person.user_id).execute(pool).await.expect("no role");
    his.until("/v1/audit-logs", |a| a.status == 403).await;
    assert_eq!(ops.delete(kept).await.status, 204);
    let log = ops.get("/v1/audit-logs?auditable_type=App%5CModels%5CReview").await.json["data"].clone();
    assert_eq!((&log[0]["action"], &log[1]), (&json!("deleted"), &Value::Null), "an admin's alone: {log}");
    assert_eq!(log[0]["old_values"]["overall_rating"], 5, "{log}");

    let notes = booked.replace("/review", "/notes");
    let note = hers.post(&notes, json!({"note": "The dog bites."})).await.json["id"].to_string();
    let note = format!("{notes}/{note}");
    let changed = hers.patch(&note, json!({"note": "The dog is friendly."})).await;
    assert_eq!((changed.status, &changed.json["visibility"]), (200, &json!("all")), "{changed:?}");
    assert_eq!(his.get(&notes).await.json["data"][0]["note"], "The dog is friendly.");
    assert_eq!(hers.patch(&note, json!({"visibility": "internal"})).await.status, 422);
    let elsewhere = made[1].0.replace("/review", "/notes") + note.strip_prefix(&notes).expect("an id");
    assert_eq!(hers.patch(&elsewhere, json!({"note": "x"})).await.status, 404, "of another booking");
    for other in [&his, &strangers] {
        assert_eq!(other.patch(&note, json!({"note": "x"})).await.status, 404);
        assert_eq!(other.delete(&note).await.status, 404);
    }
    assert_eq!(ops.patch(&note, json!({"note": "x"})).await.status, 404, "in her words or not at all");
    assert_eq!(ops.delete(&note).await.status, 204);
    assert_eq!(hers.patch(&note, json!({"note": "x"})).await.status, 404);
    assert_eq!(his.get(&notes).await.json["data"], json!([]));
}
