//! Admins and the users: who may change whom, what is written down, how soon it is felt.

use serde_json::json;

use super::accounts::{delete, patch};
use super::*;

async fn super_admin(server: &Server) -> Person {
    people::person(server.pool(), "super_admin", "Corazon").await
}

fn of(person: &Person) -> String {
    format!("/v1/users/{}", person.user_uuid)
}

/// What was written down of this user, oldest first: by whom, what.
async fn log(server: &Server, person: &Person) -> Vec<(Option<i64>, String, Value, Value)> {
    sqlx::query_as(
        r"SELECT user_id, action, coalesce(old_values, 'null'), coalesce(new_values, 'null') FROM audit_logs
          WHERE auditable_type = 'App\Models\User' AND auditable_id = $1 ORDER BY id",
    )
    .bind(person.user_id)
    .fetch_all(server.pool())
    .await
    .expect("entries")
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_by_role_and_by_part_of_a_name_a_phone_or_an_email() {
    let server = Server::start().await;
    let pool = server.pool();
    let api = server.api(&people::admin(pool).await.token);
    for (phone, email, first, last, role) in [
        ("+639171110001", "luz@example.com", "Luz", "dela Cruz", "therapist"),
        ("+639171110002", "50%_off@example.com", "Hiyas", "Santos", "customer"),
        ("+639171110003", "tala@example.com", "Tala", "Cruz", "customer"),
    ] {
        let sql = "WITH made AS (INSERT INTO users (phone, email, first_name, last_name) VALUES ($1, $2, $3, $4) RETURNING id)
                   INSERT INTO model_has_roles (role_id, model_id) SELECT r.id, made.id FROM made, roles r WHERE r.name = $5";
        sqlx::query(sql).bind(phone).bind(email).bind(first).bind(last).bind(role).execute(pool).await.expect("a user");
    }
    sqlx::query("INSERT INTO users (phone, first_name, deleted_at) VALUES ('+639171110009', 'Luz', now())")
        .execute(pool)
        .await
        .expect("a user who is gone");
    for (query, names) in [
        ("", vec!["Tala", "Hiyas", "Luz", "Andres"]),
        ("role=customer", vec!["Tala", "Hiyas"]),
        ("role=nobody", vec![]),
        ("search=cruz", vec!["Tala", "Luz"]),
        ("search=luz%20dela", vec!["Luz"]),
        ("search=cruz&role=customer", vec!["Tala"]),
        ("search=0917%20111%200002", vec!["Hiyas"]),
        ("search=TALA@", vec!["Tala"]),
        ("search=%25", vec!["Hiyas"]),
        ("search=l_z", vec![]),
        ("search=%27%3B--", vec![]),
        ("search=-", vec![]),
        ("search=%2B", vec![]),
        ("search=%2B63%20(0)917%20111%200002", vec!["Hiyas"]),
    ] {
        let found = api.get(&format!("/v1/users?{query}")).await;
        let data = found.json["data"].as_array().expect("data");
        let first: Vec<_> = data.iter().map(|user| user["first_name"].clone()).collect();
        assert_eq!(first, names, "{query}: {found:?}");
        assert!(!found.json.to_string().contains("password"), "{found:?}");
    }
    let first = api.get("/v1/users?role=customer&per_page=1").await.json;
    let link = first["next_page_url"].as_str().expect("more").replacen(&server.base, "", 1);
    let second = api.get(&link).await.json;
    assert_eq!((&second["data"][0]["first_name"], &second["next_cursor"]), (&json!("Hiyas"), &Value::Null), "{link}");
    for wrong in ["search=%00", "role=", "per_page=0", "cursor=x"] {
        let status = api.get(&format!("/v1/users?{wrong}")).await.status;
        assert_eq!(status, if wrong == "role=" { 200 } else { 422 }, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_admin_changes_of_a_user_is_written_down_and_felt() {
    let server = Server::start().await;
    let (admin, customer) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    let (api, hers) = (server.api(&admin.token), server.api(&customer.token));
    let before = api.get(&of(&customer)).await.json;
    let same = patch(&api, &of(&customer), json!({"is_active": true, "first_name": "Maria"})).await;
    assert_eq!(same.status, 200, "{same:?}");
    assert_eq!(log(&server, &customer).await, [], "nothing has changed");
    let change = json!({"phone": "0918 765 4321", "email": "m@x.ph", "is_verified": false});
    let changed = patch(&api, &of(&customer), change).await;
    assert_eq!((changed.status, &changed.json["phone"]), (200, &json!("+639187654321")), "{changed:?}");
    assert_eq!((&changed.json["email"], &changed.json["is_verified"]), (&json!("m@x.ph"), &json!(false)));
    assert_eq!(hers.get("/v1/me").await.json["phone"], "+639187654321");
    let old = json!({"phone": before["phone"], "email": null, "is_verified": true});
    let new = json!({"phone": "+639187654321", "email": "m@x.ph", "is_verified": false});
    let updated = |old, new| (Some(admin.user_id), "updated".to_owned(), old, new);
    assert_eq!(log(&server, &customer).await, [updated(old, new)]);

    let off = patch(&api, &of(&customer), json!({"is_active": false})).await;
    assert_eq!((off.status, &off.json["is_active"]), (200, &json!(false)));
    hers.until("/v1/me", |answer| answer.status == 401).await;
    assert_eq!(log(&server, &customer).await.len(), 2);

    let taken = patch(&api, &of(&customer), json!({"phone": api.get(&of(&admin)).await.json["phone"]})).await;
    assert_eq!((taken.status, taken.json["errors"]["phone"].is_array()), (422, true), "{taken:?}");
    for wrong in
        [json!({"phone": null}), json!({"is_active": "no"}), json!({"is_verified": null}), json!({"phone": "1"})]
    {
        assert_eq!(patch(&api, &of(&customer), wrong.clone()).await.status, 422, "{wrong}");
    }
    let nobody = "/v1/users/00000000-0000-4000-8000-000000000000";
    assert_eq!((api.get(nobody).await.status, patch(&api, nobody, json!({})).await.status), (404, 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_deleted_is_gone_and_leaves_his_phone_free() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (admin, customer) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    let (api, hers) = (server.api(&admin.token), server.api(&customer.token));
    let booking = book(&server, &customer, wanted()).await;
    let busy = api.send(api.request("DELETE", &of(&customer))).await;
    assert_eq!((busy.status, &busy.json["code"]), (409, &json!("active_bookings")), "{busy:?}");
    assert_eq!(transition(&server, &customer, uuid(&booking), "cancelled").await.0, 200);
    hers.until(&nearby(HERE, ""), |answer| answer.json["data"][0].is_object()).await;

    let phone = api.get(&of(&customer)).await.json["phone"].clone();
    let off = patch(&api, &of(&therapist.person), json!({"is_active": false})).await;
    assert_eq!(off.status, 200, "{off:?}");
    assert_eq!(hers.get(&nearby(HERE, "")).await.json["data"], json!([]), "not shown from the answer on");
    assert_eq!(patch(&api, &of(&therapist.person), json!({"is_active": true})).await.status, 200);
    assert!(hers.get(&nearby(HERE, "")).await.json["data"][0].is_object());
    assert_eq!(delete(&api, &of(&therapist.person)).await, 204);
    assert_eq!(hers.get(&nearby(HERE, "")).await.json["data"], json!([]), "not shown from the answer on");
    assert_eq!((delete(&api, &of(&therapist.person)).await, api.get(&of(&therapist.person)).await.status), (404, 404));

    assert_eq!(delete(&api, &of(&customer)).await, 204);
    hers.until("/v1/me", |answer| answer.status == 401).await;
    let body = json!({"phone": phone, "password": accounts::PASSWORD, "first_name": "Another"});
    let another = Api::new(&server.base, None).post("/v1/auth/register", body).await;
    assert_eq!(another.status, 201, "{another:?}");
    let entries = log(&server, &customer).await;
    let (by, action, old, new) = entries.first().expect("an entry");
    assert_eq!((by, action.as_str(), &old["phone"], new), (&Some(admin.user_id), "deleted", &phone, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_given_and_taken_and_felt_within_two_seconds() {
    let server = Server::start().await;
    let (admin, person) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    let (api, hers) = (server.api(&admin.token), server.api(&person.token));
    let (mut stream, _) = Stream::open(&server.base, &person.token).await;
    let path = of(&person) + "/roles";
    let given = api.put(&path, json!({"roles": ["store_owner", "therapist", "therapist"]})).await;
    assert_eq!((given.status, &given.json["roles"]), (200, &json!(["store_owner", "therapist"])), "{given:?}");
    let changed = spacall::clock::monotonic();
    hers.until("/v1/me", |answer| answer.json["roles"] == json!(["store_owner", "therapist"])).await;
    assert_eq!(stream.closed().await, 4401);
    assert!(changed.elapsed() < std::time::Duration::from_millis(2_500), "{:?}", changed.elapsed());
    assert_eq!(hers.get(&nearby(HERE, "")).await.status, 403, "no customer any more");
    let values = |roles| json!({"roles": roles});
    let written =
        (Some(admin.user_id), "updated".to_owned(), values(vec!["customer"]), values(vec!["store_owner", "therapist"]));
    assert_eq!(log(&server, &person).await, [written]);
    assert_eq!(api.put(&path, json!({"roles": []})).await.json["roles"], json!([]));
    for (wrong, status) in [
        (json!({}), 422),
        (json!({"roles": "customer"}), 422),
        (json!({"roles": [1]}), 422),
        (json!({"roles": ["a\u{0}"]}), 422),
        (json!({"roles": ["customer", "emperor"]}), 422),
        (json!({"roles": ["admin"]}), 403),
        (json!({"roles": ["customer", "super_admin"]}), 403),
    ] {
        let refused = api.put(&path, wrong.clone()).await;
        assert_eq!(refused.status, status, "{wrong}: {refused:?}");
    }
    assert_eq!(api.get(&of(&person)).await.json["roles"], json!([]), "nothing was given by halves");
    assert_eq!(api.put("/v1/users/00000000-0000-4000-8000-000000000000/roles", json!({"roles": []})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_are_the_super_admins_to_make_and_change_and_nobody_locks_himself_out() {
    let server = Server::start().await;
    let (admin, other) = (people::admin(server.pool()).await, people::admin(server.pool()).await);
    let (chief, person) = (super_admin(&server).await, people::customer(server.pool()).await);
    let (his, top) = (server.api(&admin.token), server.api(&chief.token));
    for whom in [&other, &chief] {
        assert_eq!(patch(&his, &of(whom), json!({"email": "mine@x.ph"})).await.status, 403);
        assert_eq!(delete(&his, &of(whom)).await, 403);
        assert_eq!(his.put(&(of(whom) + "/roles"), json!({"roles": ["customer"]})).await.status, 403);
    }
    assert_eq!(patch(&his, &of(&admin), json!({"last_name": "Bonifacio"})).await.status, 200, "of himself he may");
    for (api, own) in [(&his, &admin), (&top, &chief)] {
        let off = patch(api, &of(own), json!({"is_active": false})).await;
        assert_eq!((off.status, &off.json["code"]), (409, &json!("own_account")), "{off:?}");
        assert_eq!(delete(api, &of(own)).await, 409);
    }
    let gone = top.put(&(of(&chief) + "/roles"), json!({"roles": ["admin"]})).await;
    assert_eq!((gone.status, &gone.json["code"]), (409, &json!("own_account")), "{gone:?}");
    assert_eq!(top.put(&(of(&chief) + "/roles"), json!({"roles": ["super_admin", "customer"]})).await.status, 200);
    assert_eq!(top.put(&(of(&person) + "/roles"), json!({"roles": ["admin"]})).await.status, 200);
    server.api(&person.token).until("/v1/settings", |answer| answer.status == 200).await;
    assert_eq!(top.put(&(of(&other) + "/roles"), json!({"roles": []})).await.status, 200);
    server.api(&other.token).until("/v1/settings", |answer| answer.status == 403).await;
    assert_eq!(delete(&top, &of(&person)).await, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_super_admins_who_depose_each_other_at_once_one_stays() {
    let server = Server::start().await;
    for _ in 0..8 {
        let (one, two) = (super_admin(&server).await, super_admin(&server).await);
        let (his, hers) = (server.api(&one.token), server.api(&two.token));
        let body = json!({"roles": ["customer"]});
        let (paths, other) = ((of(&two) + "/roles", of(&one) + "/roles"), body.clone());
        let (first, second) = tokio::join!(his.put(&paths.0, body), hers.put(&paths.1, other));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "{first:?} {second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_permit_what_a_super_admin_says() {
    let server = Server::start().await;
    let (admin, chief) = (people::admin(server.pool()).await, super_admin(&server).await);
    let (his, top) = (server.api(&admin.token), server.api(&chief.token));
    let names = |page: &Answer| -> Vec<String> {
        let data = page.json["data"].as_array().expect("data");
        data.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&his.get("/v1/roles").await), ["customer", "therapist", "store_owner", "admin", "super_admin"]);
    assert_eq!(names(&his.get("/v1/permissions").await), [""; 0]);
    let made = top.put("/v1/permissions/refund%20bookings", json!({})).await;
    let again = top.put("/v1/permissions/refund%20bookings", json!({})).await;
    assert_eq!((made.status, &made.json), (200, &again.json), "{made:?}");
    assert_eq!(top.put("/v1/permissions/see%20all", json!({})).await.status, 200);
    assert_eq!(names(&his.get("/v1/permissions").await), ["refund bookings", "see all"]);
    let path = "/v1/roles/admin/permissions";
    let set = top.put(path, json!({"permissions": ["see all", "refund bookings"]})).await;
    assert_eq!((set.status, &set.json["permissions"]), (200, &json!(["refund bookings", "see all"])), "{set:?}");
    assert_eq!(top.put(path, json!({"permissions": ["see all"]})).await.json["permissions"], json!(["see all"]));
    assert_eq!(top.put(path, json!({"permissions": ["see all", "fly"]})).await.status, 422);
    assert_eq!(top.put("/v1/roles/emperor/permissions", json!({"permissions": []})).await.status, 404);
    assert_eq!(top.put("/v1/permissions/%00", json!({})).await.status, 404);
    assert_eq!(delete(&top, "/v1/permissions/see%20all").await, 204);
    assert_eq!(delete(&top, "/v1/permissions/see%20all").await, 404);
    assert_eq!(his.get("/v1/roles").await.json["data"][3]["permissions"], json!([]));
    for (method, path) in
        [("PUT", path), ("PUT", "/v1/permissions/fly"), ("DELETE", "/v1/permissions/refund%20bookings")]
    {
        let refused = his.send(his.request(method, path).json(&json!({"permissions": []}))).await;
        assert_eq!(refused.status, 403, "{method} {path}");
    }
    let logs = his.get(r"/v1/audit-logs?auditable_type=Spatie%5CPermission%5CModels%5CRole").await.json;
    let changes: Vec<_> =
        logs["data"].as_array().expect("data").iter().map(|entry| entry["new_values"].clone()).collect();
    let expected = [json!({"permissions": ["see all"]}), json!({"permissions": ["refund bookings", "see all"]})];
    assert_eq!(changes, expected, "newest first");
    assert_eq!(logs["data"][0]["user_uuid"], json!(chief.user_uuid));
    let by = async |who: &Person| {
        his.get(&format!("/v1/audit-logs?user_uuid={}", who.user_uuid)).await.json["data"].as_array().map(Vec::len)
    };
    assert_eq!((by(&chief).await, by(&admin).await), (Some(5), Some(0)));
    assert_eq!(his.get("/v1/audit-logs?auditable_id=x").await.status, 422);
}
