//! Reviews: one of each booking that is done, and what they make of a rating.

use futures_util::future::join_all;
use serde_json::json;

use super::money::{admin, done, refusal};
use super::*;

async fn review(server: &Server, customer: &Person, booking: &str, body: Value) -> Answer {
    server.api(&customer.token).post(&format!("/v1/bookings/{booking}/review"), body).await
}

/// Whether a customer who asks for so good a therapist is shown this one, now.
async fn is_shown(server: &Server, customer: &Person, therapist: &Therapist, min_rating: &str) -> bool {
    let answer = server.api(&customer.token).get(&nearby(HERE, &format!("&min_rating={min_rating}"))).await;
    let shown = answer.json["data"].as_array().expect("data");
    shown.iter().any(|t| t["provider_uuid"] == therapist.provider_uuid.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rating_follows_its_reviews_and_who_hears_done_is_answered_by_it() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(pool).await;
    let ops = admin(&server).await;
    let mut ids = Vec::new();
    for (stars, average) in [(5, "5"), (4, "4.5"), (3, "4")] {
        let booking = done(pool, &customer, &therapist, "cash").await;
        let made = review(&server, &customer, &booking, json!({"rating": stars, "comment": "Thank you"})).await;
        assert_eq!((made.status, &made.json["overall_rating"]), (201, &json!(stars)), "{made:?}");
        ids.push(made.json["id"].clone());
        let above = format!("{average}{}", if average.contains('.') { "1" } else { ".01" });
        assert!(is_shown(&server, &customer, &therapist, average).await, "{average}");
        assert!(stars == 5 || !is_shown(&server, &customer, &therapist, &above).await, "{above}");
    }
    // What is hidden does not count, until it is shown again.
    for (change, shown) in [
        (json!({"is_visible": false}), true),
        (json!({"is_visible": true}), false),
        (json!({"is_flagged": true, "flagged_reason": "spam"}), true),
        (json!({"is_flagged": false, "flagged_reason": null}), false),
    ] {
        let request = ops.request("PATCH", &format!("/v1/reviews/{}", ids[2])).json(&change);
        assert_eq!(ops.send(request).await.status, 200);
        assert_eq!(is_shown(&server, &customer, &therapist, "4.5").await, shown, "{change}");
        let list = format!("/v1/providers/{}/reviews", therapist.provider_uuid);
        let seen = async |api: &Api| api.get(&list).await.json["data"].as_array().map_or(0, Vec::len);
        let public = seen(&server.api(&customer.token)).await;
        assert_eq!((public, seen(&ops).await), (if shown { 2 } else { 3 }, 3), "admins see all");
    }
    let logged: i64 = sqlx::query_scalar(r"SELECT count(*) FROM audit_logs WHERE auditable_type = 'App\Models\Review'")
        .fetch_one(pool)
        .await
        .expect("a count");
    assert_eq!(logged, 4);
    // Why it was looked at is for admins, whatever became of it.
    let path = format!("/v1/reviews/{}", ids[2]);
    let noted = ops.send(ops.request("PATCH", &path).json(&json!({"flagged_reason": "looked at"}))).await;
    assert_eq!(noted.json["flagged_reason"], "looked at", "{noted:?}");
    let list = format!("/v1/providers/{}/reviews", therapist.provider_uuid);
    let reasons = async |api: &Api| {
        let seen = api.get(&list).await.json["data"].as_array().cloned().unwrap_or_default();
        seen.iter().filter_map(|review| review["flagged_reason"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&ops).await, ["looked at"]);
    assert_eq!(reasons(&server.api(&customer.token)).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stores_rating_follows_too() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let (provider_id, provider_uuid) =
        stores::store(server.pool(), "Serenity", HERE, stores::daily("00:00", "23:59")).await;
    let api = server.api(&customer.token);
    let shown = async |min: &str| {
        let answer = api.get(&stores::nearby(HERE, &format!("&min_rating={min}"))).await;
        answer.json["data"].as_array().map_or(0, Vec::len)
    };
    api.until(&stores::nearby(HERE, "&min_rating=4"), |answer| answer.json["data"][0].is_object()).await;
    let store = Therapist { person: customer.clone(), provider_id, provider_uuid };
    let booking = done(server.pool(), &customer, &store, "cash").await;
    assert_eq!(review(&server, &customer, &booking, json!({"overall_rating": 2})).await.status, 201);
    assert_eq!([shown("2").await, shown("2.01").await], [1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_is_reviewed_once_by_its_customer_when_it_is_done() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let (customer, stranger) = (people::customer(pool).await, people::customer(pool).await);
    let booking = done(pool, &customer, &therapist, "cash").await;
    assert_eq!(refusal(&review(&server, &stranger, &booking, json!({"rating": 1})).await), (404, "not_found"));
    assert_eq!(review(&server, &therapist.person, &booking, json!({"rating": 5})).await.status, 403);
    let body = json!({"overall_rating": 4, "timeliness_rating": 5, "tags": ["On-time"], "comment": "ok"});
    let tries = join_all((0..6).map(|_| review(&server, &customer, &booking, body.clone()))).await;
    assert_eq!(tries.iter().filter(|t| t.status == 201).count(), 1, "{tries:?}");
    assert!(tries.iter().filter(|t| t.status != 201).all(|t| refusal(t) == (409, "already_reviewed")), "{tries:?}");
    let rated: (String, i32) =
        sqlx::query_as("SELECT average_rating::text, total_reviews FROM providers WHERE id = $1")
            .bind(therapist.provider_id)
            .fetch_one(pool)
            .await
            .expect("a provider");
    assert_eq!(rated, ("4.00".to_owned(), 1));

    let keyed = done(pool, &customer, &therapist, "cash").await;
    let api = server.api(&customer.token);
    let path = format!("/v1/bookings/{keyed}/review");
    let body = json!({"rating": 2});
    let (one, two) = tokio::join!(money::post_with(&api, &path, "k", &body), money::post_with(&api, &path, "k", &body));
    assert_eq!((one.status, two.status, &one.json), (201, 201, &two.json));

    let open = book(&server, &customer, wanted()).await;
    let early = review(&server, &customer, uuid(&open), json!({"rating": 5})).await;
    assert_eq!((refusal(&early), &early.json["current_status"]), ((409, "not_completed"), &json!("pending")));
    for (field, value) in [
        ("rating", json!(0)),
        ("rating", json!(6)),
        ("rating", json!(4.5)),
        ("quality_rating", json!("x")),
        ("comment", json!("é".repeat(2_001))),
        ("comment", json!("a\u{0}")),
        ("tags", json!(["a\u{0}"])),
        ("tags", json!("nice")),
    ] {
        let mut body = json!({"rating": 3});
        body[field] = value.clone();
        let answer = review(&server, &customer, &booking, body).await;
        assert_eq!(
            (answer.status, answer.json["errors"][field].is_array()),
            (422, true),
            "{field} {value}: {answer:?}"
        );
    }
    assert!(review(&server, &customer, &booking, json!({})).await.json["errors"]["overall_rating"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_tell_no_more_of_a_customer_than_his_first_name_and_the_provider_may_answer() {
    let server = Server::start().await;
    let pool = server.pool();
    let (therapist, other) =
        (people::therapist(pool, "Luz", HERE.0, HERE.1).await, people::therapist(pool, "Amihan", HERE.0, HERE.1).await);
    let customer = people::customer(pool).await;
    let booking = done(pool, &customer, &therapist, "cash").await;
    let made = review(&server, &customer, &booking, json!({"rating": 5, "comment": "Great"})).await.json;
    let path = format!("/v1/reviews/{}/response", made["id"]);
    let say = async |who: &Person, text: &str| server.api(&who.token).put(&path, json!({"response": text})).await;
    assert_eq!([say(&other.person, "Mine").await.status, say(&customer, "Mine").await.status], [404, 404]);
    assert_eq!(say(&therapist.person, "Thanks").await.status, 200);
    assert_eq!(say(&therapist.person, "Thank you!").await.json["response"], "Thank you!");
    assert_eq!(say(&therapist.person, "a\u{0}").await.status, 422);

    let stranger = people::customer(pool).await;
    let list =
        server.api(&stranger.token).get(&format!("/v1/providers/{}/reviews", therapist.provider_uuid)).await.json;
    let shown = &list["data"][0];
    let text = shown.to_string();
    assert_eq!((&shown["first_name"], &shown["response"]), (&json!("Maria"), &json!("Thank you!")));
    assert!(shown["responded_at"].is_string());
    for private in ["Santos", &booking, &customer.user_uuid.to_string()] {
        assert!(!text.contains(private), "{private}: {text}");
    }
    let hide = admin(&server).await;
    let request = hide.request("PATCH", &format!("/v1/reviews/{}", made["id"])).json(&json!({"is_visible": false}));
    assert_eq!(hide.send(request).await.status, 200);
    assert_eq!(say(&therapist.person, "Still").await.status, 404, "nobody sees it");
    for wrong in ["/v1/providers/00000000-0000-4000-8000-000000000000/reviews", "/v1/providers/x/reviews"] {
        assert_eq!(hide.get(wrong).await.status, 404);
    }
    let nothing = hide.send(hide.request("PATCH", "/v1/reviews/99999").json(&json!({"is_visible": true}))).await;
    assert_eq!(nothing.status, 404);
}
