//! Promo codes as admins keep them: every rule of the table is told by its field.

use super::*;

/// A complete one.
pub fn code(name: &str) -> Value {
    json!({"code": name, "discount_type": "percentage", "discount_value": "10", "valid_from": "2026-01-01T00:00:00+08:00",
           "valid_until": "2099-01-01T00:00:00+08:00"})
}

fn with(name: &str, more: Value) -> Value {
    let mut body = code(name);
    for (field, value) in more.as_object().expect("an object") {
        body[field] = value.clone();
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_made_shown_changed_used_and_kept_while_bookings_refer_to_it() {
    let server = Server::start().await;
    let ops = admin(&server).await;
    let therapist = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
    let made = post_with(
        &ops,
        "/v1/promo-codes",
        "k",
        &with(
            "Welcome",
            json!({"applicable_service_ids": [1, 2],
        "applicable_provider_ids": [therapist.provider_uuid], "max_discount_amount": "50"}),
        ),
    )
    .await;
    assert_eq!(made.status, 201, "{made:?}");
    let again = post_with(
        &ops,
        "/v1/promo-codes",
        "k",
        &with(
            "Welcome",
            json!({"applicable_service_ids": [1, 2],
        "applicable_provider_ids": [therapist.provider_uuid], "max_discount_amount": "50"}),
        ),
    )
    .await;
    assert_eq!((again.status, &again.json), (201, &made.json), "the same key");
    let code = &made.json;
    assert_eq!([&code["code"], &code["discount_value"], &code["max_discount_amount"]], ["Welcome", "10.00", "50.00"]);
    assert_eq!([&code["usage_count"], &code["per_user_limit"]], [0, 1]);
    assert_eq!([&code["is_active"], &code["new_customers_only"]], [true, false]);
    assert_eq!(code["applicable_service_ids"], json!([1, 2]));
    assert_eq!(code["applicable_provider_ids"], json!([therapist.provider_uuid]));
    let path = format!("/v1/promo-codes/{}", code["id"]);
    assert_eq!(&ops.get(&path).await.json, code);

    let patch = async |body: Value| ops.send(ops.request("PATCH", &path).json(&body)).await;
    let changed = patch(json!({"max_discount_amount": null, "applicable_service_ids": null, "usage_limit": 5,
                               "applicable_provider_ids": null, "discount_value": 20}))
    .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    for field in ["max_discount_amount", "applicable_service_ids", "applicable_provider_ids"] {
        assert_eq!(changed.json[field], Value::Null, "{field}");
    }
    assert_eq!((&changed.json["usage_limit"], &changed.json["discount_value"]), (&json!(5), &json!("20.00")));
    assert_eq!([&changed.json["code"], &changed.json["valid_until"]], [&code["code"], &code["valid_until"]]);

    // It is what a customer gets.
    let customer = people::customer(server.pool()).await;
    let mut wanted = wanted();
    wanted["promo_code"] = json!("WELCOME");
    let booked = book(&server, &customer, wanted).await;
    assert_eq!(booked["promo_discount"], "160.00");
    let usages = ops.get(&format!("{path}/usages")).await.json;
    assert_eq!(
        (&usages["data"][0]["booking_uuid"], &usages["data"][0]["user_uuid"], &usages["data"][0]["discount_amount"]),
        (&booked["uuid"], &json!(customer.user_uuid), &json!("160.00"))
    );
    assert_eq!(ops.get(&path).await.json["usage_count"], 1);
    let delete = async || ops.send(ops.request("DELETE", &path)).await;
    assert_eq!(refusal(&delete().await), (409, "in_use"));
    assert_eq!(patch(json!({"is_active": false})).await.status, 200);
    assert_eq!(ops.get("/v1/promo-codes?is_active=true").await.json["data"], json!([]));
    assert_eq!(ops.get("/v1/promo-codes?is_active=false").await.json["data"][0]["id"], code["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_nobody_used_is_deleted_once() {
    let server = Server::start().await;
    let ops = admin(&server).await;
    let made = ops.post("/v1/promo-codes", code("SHORT")).await.json;
    let path = format!("/v1/promo-codes/{}", made["id"]);
    let delete = async || ops.send(ops.request("DELETE", &path)).await.status;
    let (one, two) = tokio::join!(delete(), delete());
    assert_eq!([one.min(two), one.max(two)], [204, 404]);
    assert_eq!([ops.get(&path).await.status, ops.get(&format!("{path}/usages")).await.status], [404, 404]);
    assert_eq!(ops.send(ops.request("PATCH", &path).json(&json!({}))).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_is_told_by_its_field() {
    let server = Server::start().await;
    let ops = admin(&server).await;
    let made = ops.post("/v1/promo-codes", code("Taken")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/promo-codes/{}", made.json["id"]);
    let other = format!("/v1/promo-codes/{}", ops.post("/v1/promo-codes", code("Other")).await.json["id"]);
    for field in ["code", "discount_type", "discount_value", "valid_from", "valid_until"] {
        let mut body = code("NEW");
        body[field] = Value::Null;
        let answer = ops.post("/v1/promo-codes", body).await;
        assert_eq!(answer.json["errors"][field][0], format!("The {field} field is required."), "{answer:?}");
    }
    for (field, value) in [
        ("code", json!("tAKEN")),
        ("code", json!("x".repeat(51))),
        ("code", json!("a\u{0}b")),
        ("discount_type", json!("gift")),
        ("discount_value", json!("0")),
        ("discount_value", json!("100.01")),
        ("discount_value", json!("1e99")),
        ("max_discount_amount", json!(0)),
        ("valid_from", json!("2026-01-01T00:00:00")),
        ("valid_from", json!("0000-01-01T00:00:00Z")),
        ("valid_until", json!("9999-12-31T23:59:59-01:00")),
        ("valid_until", json!("2026-01-01T00:00:00+08:00")),
        ("usage_limit", json!(0)),
        ("usage_limit", json!(2_147_483_648_i64)),
        ("per_user_limit", json!(-1)),
        ("min_booking_amount", json!("-0.01")),
        ("applicable_service_ids", json!([])),
        ("applicable_service_ids", json!([99_999])),
        ("applicable_service_ids", json!(["1; DROP"])),
        ("applicable_provider_ids", json!(["00000000-0000-4000-8000-000000000000"])),
        ("applicable_provider_ids", json!([7])),
        ("new_customers_only", json!("yes")),
        ("is_active", json!(1)),
    ] {
        let create = ops.post("/v1/promo-codes", with("NEW", json!({field: value}))).await;
        assert_eq!(
            (create.status, create.json["errors"][field].is_array()),
            (422, true),
            "{field} {value}: {create:?}"
        );
        let change = ops.send(ops.request("PATCH", &other).json(&json!({field: value}))).await;
        assert_eq!(
            (change.status, change.json["errors"][field].is_array()),
            (422, true),
            "{field} {value}: {change:?}"
        );
    }
    for field in ["code", "discount_value", "valid_from", "new_customers_only", "is_active"] {
        let cleared = ops.send(ops.request("PATCH", &path).json(&json!({field: null}))).await;
        assert_eq!(cleared.json["errors"][field][0], format!("The {field} field must not be null."), "{cleared:?}");
    }
    sqlx::query("UPDATE promo_codes SET usage_count = 3 WHERE code = 'Taken'")
        .execute(server.pool())
        .await
        .expect("uses");
    let below = ops.send(ops.request("PATCH", &path).json(&json!({"usage_limit": 2}))).await;
    assert_eq!(
        below.json["errors"]["usage_limit"][0], "The usage_limit field must not be below the number of uses so far.",
        "{below:?}"
    );
    let fixed = with("FIXED", json!({"discount_type": "fixed_amount", "discount_value": "500"}));
    let fixed = ops.post("/v1/promo-codes", fixed).await;
    assert_eq!(fixed.status, 201, "an amount may be more than 100: {fixed:?}");
    let percent = json!({"discount_type": "percentage"});
    let turned = ops.send(ops.request("PATCH", &format!("/v1/promo-codes/{}", fixed.json["id"])).json(&percent)).await;
    assert!(turned.json["errors"]["discount_value"].is_array(), "500 %: {turned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_taken_back_as_it_is_shown_when_what_it_is_for_has_gone() {
    let server = Server::start().await;
    let ops = admin(&server).await;
    let stays = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
    let goes = people::therapist(server.pool(), "Ana", HERE.0, HERE.1).await;
    let scope =
        json!({"applicable_service_ids": [1, 2], "applicable_provider_ids": [stays.provider_uuid, goes.provider_uuid]});
    let made = ops.post("/v1/promo-codes", with("SCOPED", scope)).await;
    assert_eq!(made.status, 201, "{made:?}");
    sqlx::query("UPDATE services SET deleted_at = now() WHERE id = 2").execute(server.pool()).await.expect("gone");
    sqlx::query("UPDATE providers SET deleted_at = now() WHERE id = $1")
        .bind(goes.provider_id)
        .execute(server.pool())
        .await
        .expect("gone");
    let path = format!("/v1/promo-codes/{}", made.json["id"]);
    let shown = ops.get(&path).await.json;
    assert_eq!(shown["applicable_service_ids"], json!([1]));
    assert_eq!(shown["applicable_provider_ids"], json!([stays.provider_uuid]));
    let back = ops.send(ops.request("PATCH", &path).json(&shown)).await;
    assert_eq!(back.status, 200, "{back:?}");
    let null = ops.post("/v1/promo-codes", with("NULL", json!({"is_active": null}))).await;
    assert_eq!(null.json["errors"]["is_active"][0], "The is_active field must not be null.", "{null:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_whole_code_before_and_after_as_admins_see_it() {
    let server = Server::start().await;
    let ops = admin(&server).await;
    let luz = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
    let made =
        ops.post("/v1/promo-codes", with("LOGGED", json!({"applicable_provider_ids": [luz.provider_uuid]}))).await;
    let path = format!("/v1/promo-codes/{}", made.json["id"]);
    let changed = ops.patch(&path, json!({"per_user_limit": null})).await;
    let same = ops.patch(&path, json!({})).await;
    assert_eq!((made.status, changed.status, same.status), (201, 200, 200), "{same:?}");
    assert_eq!((&changed.json["per_user_limit"], &same.json), (&Value::Null, &changed.json), "nothing is given");
    assert_eq!(ops.delete(&path).await.status, 204);
    let (made, changed) = (Some(made.json), Some(changed.json));
    let logged: Vec<(String, Option<Value>, Option<Value>)> = sqlx::query_as(
        r"SELECT action, old_values, new_values FROM audit_logs WHERE auditable_type = 'App\Models\PromoCode' ORDER BY id",
    )
    .fetch_all(server.pool())
    .await
    .expect("rows");
    let expected = [
        ("created", None, made.clone()),
        ("updated", made, changed.clone()),
        ("updated", changed.clone(), changed.clone()),
        ("deleted", changed, None),
    ];
    assert_eq!(logged, expected.map(|(action, old, new)| (action.to_owned(), old, new)));
}
