//! The answer to a COMMIT is lost: nobody is asked to do again what may have been done.

use serde_json::json;
use uuid::Uuid;

use super::money::{admin, done, post_with, refusal, today};
use super::*;

/// A request whose commit is lost.
struct Lost {
    /// As the document has it.
    route: &'static str,
    api: Api,
    path: String,
    body: Value,
    /// What the database hears of it, and of nothing else.
    said: String,
    /// Where the answer says to look.
    list: String,
}

/// One of each request that takes a key; bookings are looked for by the service itself.
async fn requests(server: &Server, nth: usize) -> Vec<Lost> {
    let pool = server.pool();
    let mark = format!("lost-{nth}");
    let (customer, owner) = (people::customer(pool).await, people::person(pool, "store_owner", "Olga").await);
    let luz = people::therapist(pool, "Luz", HERE.0, HERE.1).await;
    let (hers, owners, his, ops) =
        (server.api(&customer.token), server.api(&owner.token), server.api(&luz.person.token), admin(server).await);
    let booking = done(pool, &customer, &luz, "cash").await;
    let number: String = sqlx::query_scalar("SELECT booking_number FROM bookings WHERE uuid = $1::uuid")
        .bind(&booking)
        .fetch_one(pool)
        .await
        .expect("a number");
    let method = ["paymaya", "bank_transfer"][nth];
    let top_up = hers.post("/v1/wallet/topups", json!({"amount": "5.00", "payment_method": "gcash"})).await;
    let transaction = format!("/v1/transactions/{}", uuid(&top_up.json));
    let others = people::therapist(pool, "Amihan", HERE.0, HERE.1).await;
    done(pool, &customer, &others, "cash").await;
    let day = today(pool).await;
    let payout =
        |provider: Uuid| json!({"provider_uuid": provider, "period_start": day, "period_end": day, "bank_name": mark});
    let to_move = ops.post("/v1/payouts", payout(others.provider_uuid)).await;
    assert_eq!((top_up.status, to_move.status), (201, 201), "{top_up:?} {to_move:?}");
    let payout_path = format!("/v1/payouts/{}", to_move.json["id"]);
    let (papers, of_booking) =
        (format!("/v1/providers/{}/documents", luz.provider_uuid), |what| format!("/v1/bookings/{booking}/{what}"));
    let home = json!({"address_line1": mark, "city": "Makati", "latitude": HERE.0, "longitude": HERE.1});
    let service = json!({"name": mark, "slug": mark, "base_price": "950.50", "duration_minutes": 75});
    let code = json!({"code": mark, "discount_type": "percentage", "discount_value": "10",
                      "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2099-01-01T00:00:00Z"});
    let paper = json!({"document_type": "license", "file_url": "https://files.example.com/a.pdf", "file_name": mark});
    let list =
        |route: &'static str, api: &Api, body: Value| (route, api.clone(), route.to_owned(), body, route.to_owned());
    let within = |route, api: &Api, path: String, body| (route, api.clone(), path.clone(), body, path);
    let all = [
        list("/v1/addresses", &hers, home),
        list("/v1/services", &ops, service),
        list("/v1/service-categories", &ops, json!({"name": mark, "slug": mark})),
        (
            "/v1/providers",
            owners,
            "/v1/providers".into(),
            json!({"type": "store", "business_name": mark}),
            "/v1/me".into(),
        ),
        within("/v1/providers/{uuid}/documents", &his, papers, paper),
        within("/v1/bookings/{uuid}/messages", &hers, of_booking("messages"), json!({"message": mark})),
        within("/v1/bookings/{uuid}/notes", &hers, of_booking("notes"), json!({"note": mark})),
        list("/v1/promo-codes", &ops, code),
        list("/v1/payouts", &ops, payout(luz.provider_uuid)),
        (
            "/v1/bookings/{uuid}/review",
            hers.clone(),
            of_booking("review"),
            json!({"rating": 5, "comment": mark}),
            "/v1/providers/{uuid}/reviews".into(),
        ),
        (
            "/v1/transactions/{uuid}/transitions",
            ops.clone(),
            format!("{transaction}/transitions"),
            json!({"to": "failed", "reason": mark}),
            transaction,
        ),
        (
            "/v1/payouts/{id}/transitions",
            ops.clone(),
            format!("{payout_path}/transitions"),
            json!({"to": "failed", "reason": mark}),
            payout_path,
        ),
    ];
    let transactions = "/v1/transactions";
    let mut all: Vec<_> = all
        .into_iter()
        .map(|(route, api, path, body, list)| Lost { route, api, path, body, said: mark.clone(), list })
        .collect();
    for (route, path, body, said) in [
        ("/v1/wallet/topups", "/v1/wallet/topups".into(), json!({"amount": "5.00", "payment_method": method}), method),
        ("/v1/bookings/{uuid}/tips", of_booking("tips"), json!({"amount": "5.00"}), &number),
    ] {
        all.push(Lost { route, api: hers.clone(), path, body, said: said.to_owned(), list: transactions.to_owned() });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_is_told_where_to_look_and_who_has_one_to_ask_again() {
    let (server, door) = Server::through_a_door().await;
    let unkeyed = requests(&server, 0).await;
    let document = server.api("").get("/openapi.json").await.json;
    let takes_key = |item: &Value| {
        let parameters = item["post"]["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "Idempotency-Key"))
    };
    let paths = document["paths"].as_object().expect("paths").iter();
    let with_key: Vec<_> = paths.filter(|(_, item)| takes_key(item)).map(|(path, _)| path.as_str()).collect();
    let mut tried: Vec<_> = unkeyed.iter().map(|lost| lost.route).chain(["/v1/bookings"]).collect();
    tried.sort_unstable();
    assert_eq!(tried, with_key);

    for Lost { route, api, path, body, said, list } in unkeyed {
        door.lose_the_commit_after(said.clone());
        let answer = api.post(&path, body).await;
        assert_eq!(refusal(&answer), (503, "undecided"), "{route}: {answer:?}");
        assert!(!answer.headers.contains_key("retry-after"), "{route}: it would be done twice");
        let message = answer.json["message"].as_str().expect("a message");
        assert!(message.ends_with(&format!("look in GET {list}.")), "{route}: {message}");
        if !list.contains('{') {
            if list == "/v1/me" {
                let seen = api.get(&list).await;
                assert!(seen.json["provider"].is_object(), "who looks at once finds his store: {seen:?}");
            } else {
                api.until(&list, |page| page.status == 200 && page.json.to_string().contains(&said)).await;
            }
        }
    }
    for (nth, Lost { route, api, path, body, said, .. }) in requests(&server, 1).await.into_iter().enumerate() {
        let key = format!("k-{nth}");
        door.lose_the_commit_after(said);
        let answer = post_with(&api, &path, &key, &body).await;
        assert_eq!(refusal(&answer), (503, "undecided"), "{route}: {answer:?}");
        assert!(answer.headers.contains_key("retry-after"), "{route}: it is done once");
        let again = post_with(&api, &path, &key, &body).await;
        assert!(matches!(again.status, 200 | 201), "{route}: {again:?}");
    }
}
