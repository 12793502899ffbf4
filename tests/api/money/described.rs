//! What is answered about money and reviews is what `/openapi.json` says.

use super::*;
use crate::api::openapi::Document;

#[tokio::test(flavor = "multi_thread")]
async fn real_answers_are_of_the_described_shape() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let pool = server.pool();
    let therapist = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let customer = people::customer(pool).await;
    let (hers, his, ops) = (server.api(&customer.token), server.api(&therapist.person.token), admin(&server).await);
    let patch = async |path: &str, body: Value| ops.send(ops.request("PATCH", path).json(&body)).await;

    let asked = hers.post("/v1/wallet/topups", json!({"amount": "900", "payment_method": "gcash"})).await;
    let topped_up = format!("/v1/transactions/{}", uuid(&asked.json));
    let settled = settle(&ops, &asked.json, "completed").await;
    let late = settle(&ops, &asked.json, "failed").await;
    let booking = format!("/v1/bookings/{}", done(pool, &customer, &therapist, "wallet").await);
    let tipped = hers.post(&format!("{booking}/tips"), json!({"amount": 5})).await;
    let poor = hers.post(&format!("{booking}/tips"), json!({"amount": 5_000})).await;
    let reviewed = hers.post(&format!("{booking}/review"), json!({"overall_rating": 5, "tags": ["On-time"]})).await;
    let again = hers.post(&format!("{booking}/review"), json!({"overall_rating": 5})).await;
    let review = format!("/v1/reviews/{}", reviewed.json["id"]);
    let responded = his.put(&format!("{review}/response"), json!({"response": "Thank you!"})).await;
    let moderated = patch(&review, json!({"is_flagged": false})).await;
    let line = hers.get("/v1/wallet/transactions").await.json["data"][0]["id"].to_string();
    let line = format!("/v1/wallet/transactions/{line}");
    let today = today(pool).await;
    let period = json!({"provider_uuid": therapist.provider_uuid, "period_start": today, "period_end": today});
    let paid = ops.post("/v1/payouts", period.clone()).await;
    let overlapping = ops.post("/v1/payouts", period).await;
    let payout = format!("/v1/payouts/{}", paid.json["id"]);
    let moved = ops.post(&format!("{payout}/transitions"), json!({"to": "processing"})).await;
    let mut terms = promo_codes::code("TEN");
    terms["applicable_service_ids"] = json!([1]);
    terms["applicable_provider_ids"] = json!([therapist.provider_uuid]);
    let made = ops.post("/v1/promo-codes", terms.clone()).await;
    let taken = ops.post("/v1/promo-codes", terms).await;
    let code = format!("/v1/promo-codes/{}", made.json["id"]);
    let mut wanted = wanted();
    (wanted["promo_code"], wanted["provider_uuid"]) = (json!("ten"), json!(therapist.provider_uuid));
    stand(&his, 1, HERE.0, HERE.1).await;
    visible(&server, &therapist).await;
    book(&server, &customer, wanted).await;

    let mut all = vec![
        ("post", "/v1/wallet/topups", 201, asked),
        ("post", "/v1/transactions/{uuid}/transitions", 200, settled),
        ("post", "/v1/transactions/{uuid}/transitions", 409, late),
        ("post", "/v1/bookings/{uuid}/tips", 201, tipped),
        ("post", "/v1/bookings/{uuid}/tips", 409, poor),
        ("post", "/v1/bookings/{uuid}/review", 201, reviewed),
        ("post", "/v1/bookings/{uuid}/review", 409, again),
        ("put", "/v1/reviews/{id}/response", 200, responded),
        ("patch", "/v1/reviews/{id}", 200, moderated),
        ("post", "/v1/payouts", 201, paid),
        ("post", "/v1/payouts", 409, overlapping),
        ("post", "/v1/payouts/{id}/transitions", 200, moved),
        ("post", "/v1/promo-codes", 201, made),
        ("post", "/v1/promo-codes", 422, taken),
        ("patch", "/v1/promo-codes/{id}", 200, patch(&code, json!({"usage_limit": 9})).await),
        ("delete", "/v1/promo-codes/{id}", 409, ops.send(ops.request("DELETE", &code)).await),
    ];
    for (path, asked, api) in [
        ("/v1/wallet", "/v1/wallet".to_owned(), &hers),
        ("/v1/wallet/transactions", "/v1/wallet/transactions".to_owned(), &hers),
        ("/v1/wallet/transactions/{id}", line, &hers),
        ("/v1/users/{uuid}/wallet", format!("/v1/users/{}/wallet", customer.user_uuid), &ops),
        ("/v1/reviews/{id}", review, &hers),
        ("/v1/bookings/{uuid}/review", format!("{booking}/review"), &his),
        ("/v1/transactions", "/v1/transactions".to_owned(), &ops),
        ("/v1/transactions/{uuid}", topped_up, &hers),
        ("/v1/payouts", "/v1/payouts".to_owned(), &his),
        ("/v1/payouts/{id}", payout, &his),
        ("/v1/promo-codes", "/v1/promo-codes".to_owned(), &ops),
        ("/v1/promo-codes/{id}", code.clone(), &ops),
        ("/v1/promo-codes/{id}/usages", format!("{code}/usages"), &ops),
        ("/v1/providers/{uuid}/reviews", format!("/v1/providers/{}/reviews", therapist.provider_uuid), &hers),
    ] {
        let answer = api.get(&asked).await;
        let rows = answer.json.get("data").map(|data| data.as_array().map_or(0, Vec::len));
        assert_ne!(rows, Some(0), "{path} shows nothing");
        all.push(("get", path, 200, answer));
    }
    for (_, path, _, made) in all.iter().filter(|(_, path, status, _)| *status == 201 && !path.ends_with("/review")) {
        let location = made.headers["location"].to_str().expect("a path");
        let found = ops.get(location).await;
        assert_eq!((found.status, &found.json["created_at"]), (200, &made.json["created_at"]), "{path}: {location}");
    }
    let wrong = all.iter().filter_map(|(method, path, status, answer)| {
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        document.describes(method, path, answer).err()
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
