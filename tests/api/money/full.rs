//! Sums that would be larger than their columns: refused, with nothing done.

use super::*;

async fn run(server: &Server, sql: &'static str, id: i64) {
    sqlx::query(sql).bind(id).execute(server.pool()).await.expect("a statement");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_takes_no_top_up_beyond_what_it_can_hold() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let (hers, ops) = (server.api(&customer.token), admin(&server).await);
    run(&server, "UPDATE wallets SET balance = 9999999900.00 WHERE user_id = $1", customer.user_id).await;
    let ask = |amount: &'static str| {
        let (api, body) = (hers.clone(), json!({"amount": amount, "payment_method": "gcash"}));
        async move { api.post("/v1/wallet/topups", body).await }
    };
    let refused = ask("100.00").await;
    assert_eq!((refusal(&refused), &refused.json["left"]), ((409, "wallet_full"), &json!("99.99")), "{refused:?}");

    let (first, second) = (ask("99.99").await, ask("0.01").await);
    assert_eq!((first.status, second.status), (201, 422), "at least 1.00");
    let second = ask("1.00").await;
    assert_eq!((second.status, settle(&ops, &first.json, "completed").await.status), (201, 200));
    let full = settle(&ops, &second.json, "completed").await;
    assert_eq!(refusal(&full), (409, "wallet_full"), "{full:?}");
    assert_eq!(balance(&server, &customer).await, "9999999999.99");
    let waits = hers.get(&format!("/v1/transactions/{}", uuid(&second.json))).await;
    assert_eq!(waits.json["status"], "pending", "it can still fail");
    assert_eq!(settle(&ops, &second.json, "failed").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tip_fits_into_its_bookings_total_and_into_what_its_provider_has_earned() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let luz = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
    let hers = server.api(&customer.token);
    top_up(&server, &customer, "300").await;
    let booking = done(server.pool(), &customer, &luz, "wallet").await;
    let tips = format!("/v1/bookings/{booking}/tips");
    let tip = |amount: &'static str| {
        let (api, path) = (hers.clone(), tips.clone());
        async move { api.post(&path, json!({"amount": amount})).await }
    };
    run(&server, "UPDATE providers SET total_earnings = 9999999990.00 WHERE id = $1", luz.provider_id).await;
    let refused = tip("10.00").await;
    assert_eq!(refusal(&refused), (409, "sum_too_large"), "{refused:?}");
    assert_eq!(balance(&server, &customer).await, "300.00");
    assert_eq!(hers.get(&format!("/v1/bookings/{booking}")).await.json["tip_amount"], "0.00");
    assert_eq!(tip("9.99").await.status, 201);

    run(&server, "UPDATE providers SET total_earnings = 0 WHERE id = $1", luz.provider_id).await;
    run(
        &server,
        "UPDATE bookings SET service_price = 99999985.01, total_amount = 99999995.00, commission_rate = 0,
                             commission_amount = 0, provider_earnings = 99999985.01 WHERE provider_id = $1",
        luz.provider_id,
    )
    .await;
    let refused = tip("5.00").await;
    assert_eq!((refusal(&refused), &refused.json["left"]), ((409, "tip_too_much"), &json!("4.99")), "{refused:?}");
    assert_eq!(tip("4.99").await.status, 201);
    books_are_right(server.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_whose_refund_its_wallet_cannot_hold_is_not_cancelled_until_it_can() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let mut phone = app(&server, &therapist).await;
    let customer = people::customer(server.pool()).await;
    top_up(&server, &customer, "800").await;
    let mut body = wanted();
    body["payment_method"] = json!("wallet");
    let booking = book(&server, &customer, body).await;
    let offer = phone.expect("offer").await["offer_id"].as_i64().expect("an id");
    let his = server.api(&therapist.person.token);
    assert_eq!(his.post(&format!("/v1/offers/{offer}/accept"), json!({})).await.status, 200);

    run(&server, "UPDATE wallets SET balance = 9999999500.00 WHERE user_id = $1", customer.user_id).await;
    let (status, refused) = transition(&server, &customer, uuid(&booking), "cancelled").await;
    assert_eq!((status, &refused["code"]), (409, &json!("sum_too_large")), "{refused}");
    becomes(&server, &customer, uuid(&booking), "accepted").await;
    assert_eq!(balance(&server, &customer).await, "9999999500.00");
    run(&server, "UPDATE wallets SET balance = 0 WHERE user_id = $1", customer.user_id).await;
    assert_eq!(transition(&server, &customer, uuid(&booking), "cancelled").await.0, 200);
    assert_eq!(balance(&server, &customer).await, "800.00");
}
