//! What providers show to admins alone: their papers, and where they were.

use chrono::TimeDelta;
use serde_json::json;

use super::*;

/// A paper to show.
pub fn paper() -> Value {
    json!({"document_type": "license", "file_url": "https://files.example.com/license.pdf", "file_name": "license.pdf",
           "file_size": 12_345, "mime_type": "application/pdf", "expiry_date": "2027-12-31"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paper_is_shown_judged_and_goes_unless_it_is_verified() {
    let server = Server::start().await;
    let pool = server.pool();
    let luz = people::person(pool, "therapist", "Luz").await;
    let other = people::person(pool, "therapist", "Amihan").await;
    let admin = people::admin(pool).await;
    let provider = providers::registered(&server, &luz, "therapist").await;
    let papers = format!("{provider}/documents");
    let (his, ops) = (server.api(&luz.token), server.api(&admin.token));
    let made = his.post(&papers, paper()).await;
    assert_eq!((made.status, &made.json["verification_status"]), (201, &json!("pending")), "{made:?}");
    for (field, value) in paper().as_object().expect("fields") {
        assert_eq!(&made.json[field], value);
    }
    let one = format!("/v1/provider-documents/{}", made.json["id"]);
    for api in [&his, &ops] {
        assert_eq!(api.get(&papers).await.json["data"], json!([made.json]));
    }
    assert_eq!(server.api(&other.token).get(&papers).await.status, 404);
    assert_eq!(server.api(&other.token).delete(&one).await.status, 404);
    assert_eq!(his.patch(&one, json!({"verification_status": "verified"})).await.status, 403);

    assert_eq!(ops.patch(&one, json!({"verification_status": "rejected"})).await.status, 422, "why?");
    let no = ops.patch(&one, json!({"verification_status": "rejected", "rejection_reason": "blurred"})).await.json;
    assert_eq!((&no["rejection_reason"], &no["verified_at"]), (&json!("blurred"), &Value::Null));
    let yes = ops.patch(&one, json!({"verification_status": "verified"})).await.json;
    assert!(yes["verified_at"].is_string() && yes["rejection_reason"].is_null(), "{yes}");
    let held = his.delete(&one).await;
    assert_eq!((held.status, &held.json["code"]), (409, &json!("document_verified")));
    assert_eq!(ops.delete(&one).await.status, 204);
    for api in [&his, &ops] {
        assert_eq!(api.delete(&one).await.status, 404, "it is gone");
    }
    assert_eq!(ops.patch(&one, json!({"verification_status": "pending"})).await.status, 404);
    let another = his.post(&papers, paper()).await.json["id"].clone();
    assert_eq!(his.delete(&format!("/v1/provider-documents/{another}")).await.status, 204, "nobody has verified it");
    let noted: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM audit_logs WHERE auditable_type = 'App\\Models\\ProviderDocument' AND user_id = $1 ORDER BY id",
    )
    .bind(admin.user_id)
    .fetch_all(pool)
    .await
    .expect("rows");
    assert_eq!(noted, ["updated", "updated", "deleted"]);

    for (field, value) in [
        ("document_type", json!("x".repeat(51))),
        ("document_type", Value::Null),
        ("file_url", json!("file:///etc/passwd")),
        ("file_name", json!("a\u{0}")),
        ("file_size", json!(-1)),
        ("file_size", json!(1e20)),
        ("mime_type", json!("x".repeat(101))),
        ("expiry_date", json!("31.12.2027")),
        ("verification_status", json!("verified")),
    ] {
        let mut body = paper();
        body[field] = value.clone();
        let answer = his.post(&papers, body).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{field} {value}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_therapist_reads_where_he_was_by_pages_of_a_period() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let other = people::therapist(pool, "Amihan", HERE.0, HERE.1).await;
    let (his, ops) = (server.api(&therapist.person.token), server.api(&people::admin(pool).await.token));
    let begin = now() - TimeDelta::hours(2);
    let fixes: Vec<_> =
        (0..5_u32).map(|n| fix(n + 10, begin + TimeDelta::minutes(n.into()), north(f64::from(n)).0, HERE.1)).collect();
    assert_eq!(his.post("/v1/locations", json!({"fixes": fixes})).await.json["acked_seq"], 14);
    let text = |minutes| (begin + TimeDelta::minutes(minutes)).format("%FT%T%.6fZ").to_string();
    let path = |from: &str, to: &str, more: &str| {
        format!("/v1/providers/{}/locations?from={from}&to={to}{more}", therapist.provider_uuid)
    };
    let of = |page: &Value| {
        let times = page["data"].as_array().expect("data").iter();
        times.map(|row| row["created_at"].as_str().expect("a time").to_owned()).collect::<Vec<_>>()
    };
    let asked = path(&text(1), &text(4), "&per_page=2");
    for api in [&his, &ops] {
        let first = api.get(&asked).await;
        assert_eq!(first.status, 200, "{first:?}");
        let next =
            first.json["next_page_url"].as_str().expect("a URL").strip_prefix(&server.base).expect("ours").to_owned();
        let second = api.get(&next).await.json;
        let back =
            second["prev_page_url"].as_str().expect("a URL").strip_prefix(&server.base).expect("ours").to_owned();
        assert_eq!(
            (of(&first.json).len(), of(&second).len(), &second["next_cursor"]),
            (2, 1, &Value::Null),
            "from 1 to before 4"
        );
        assert_eq!(of(&api.get(&back).await.json), of(&first.json));
        let newest = &first.json["data"][0];
        assert!((newest["latitude"].as_f64().expect("degrees") - north(3.0).0).abs() < 1e-7, "exact: {newest}");
        assert_eq!((&newest["accuracy"], &newest["counted"]), (&json!(8.0), &json!(true)));
    }
    for stranger in [&other.person, &people::customer(pool).await] {
        assert_eq!(server.api(&stranger.token).get(&asked).await.status, 404);
    }
    for wrong in
        [path("now", &text(1), ""), path(&text(1), "", ""), path(&text(2), &text(2), ""), path(&text(3), &text(1), "")]
    {
        assert_eq!(his.get(&wrong).await.status, 422, "{wrong}");
    }
    assert_eq!(
        of(&his.get(&path("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "&per_page=100")).await.json).len(),
        6
    );
    assert_eq!(of(&his.get(&path(&text(0), &text(9), "&cursor=a9223372036854775807")).await.json).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_months_outside_a_period_are_not_touched() {
    let server = Server::start().await;
    let therapist = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
    let his = server.api(&therapist.person.token);
    let month = |ahead| (now() + chrono::Months::new(ahead)).format("%Y-%m").to_string();
    let (this, next) = (month(0), month(1));
    let table = format!("provider_locations_y{}", next.replace('-', "m"));
    let mut held = server.pool().begin().await.expect("a transaction");
    let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    sqlx::query(sqlx::AssertSqlSafe(lock)).execute(&mut *held).await.expect("locked");
    let path = |month: &str| {
        format!("/v1/providers/{}/locations?from={month}-02T00:00:00Z&to={month}-09T00:00:00Z", therapist.provider_uuid)
    };
    let answer = his.get(&path(&this)).await;
    assert_eq!((answer.status, &answer.json["data"]), (200, &json!([])), "{answer:?}");
    let within = path(&next);
    let waits = tokio::spawn(async move { his.get(&within).await });
    let waiting = async || {
        let sql = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = $1::regclass AND NOT granted)";
        sqlx::query_scalar(sql).bind(&table).fetch_one(server.pool()).await.expect("an answer")
    };
    crate::support::until_told("who asks for that month waits for it", waiting).await;
    held.rollback().await.expect("let go");
    assert_eq!(waits.await.expect("answered").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_papers_say_is_kept_in_no_log_and_for_no_key() {
    let server = Server::start().await;
    let pool = server.pool();
    let luz = people::person(pool, "therapist", "Luz").await;
    let admin = people::admin(pool).await;
    let (his, ops) = (server.api(&luz.token), server.api(&admin.token));
    let registered = his.post("/v1/providers", json!({"type": "therapist"})).await.json;
    let provider = format!("/v1/providers/{}", registered["uuid"].as_str().expect("a uuid"));
    let papers = format!("{provider}/documents");
    let post = || his.send(his.request("POST", &papers).header("idempotency-key", "k1").json(&paper()));
    let made = post().await;
    assert_eq!((made.status, &post().await.json), (201, &made.json));
    let kept: Value = sqlx::query_scalar("SELECT response_body FROM idempotency_keys WHERE key = 'k1'")
        .fetch_one(pool)
        .await
        .expect("kept");
    assert_eq!(kept, json!({"id": made.json["id"]}));
    let numbers = json!({"tax_id": "T-1", "business_registration_number": "R-1"});
    assert_eq!(ops.patch(&provider, numbers).await.status, 200);
    let licence = json!({"license_number": "L-1"});
    assert_eq!(ops.patch(&format!("{provider}/therapist-profile"), licence).await.status, 200);
    assert_eq!(ops.delete(&format!("/v1/provider-documents/{}", made.json["id"])).await.status, 204);
    assert_eq!(post().await.status, 404, "it is gone");
    let logged: Vec<String> =
        sqlx::query_scalar("SELECT concat(old_values, new_values) FROM audit_logs WHERE user_id = $1")
            .bind(admin.user_id)
            .fetch_all(pool)
            .await
            .expect("rows");
    assert_eq!(logged.len(), 3);
    for secret in ["T-1", "R-1", "L-1", "files.example.com", "license.pdf"] {
        assert!(logged.iter().all(|text| !text.contains(secret)), "{secret}: {logged:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_registered_is_a_therapist_from_the_answer_on() {
    let server = Server::start().await;
    let luz = people::person(server.pool(), "therapist", "Luz").await;
    let his = server.api(&luz.token);
    let available = || his.put("/v1/me/availability", json!({"is_available": false}));
    assert_eq!(available().await.status, 403, "his token is known, and he is none yet");
    assert_eq!(his.post("/v1/providers", json!({"type": "therapist"})).await.status, 201);
    let answer = available().await;
    assert_ne!(answer.status, 403, "{answer:?}");
}
