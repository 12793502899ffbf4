//! A top-up is nothing until somebody who knows says that it has come; then it is in the wallet once.

use futures_util::future::join_all;

use super::*;

async fn asked(server: &Server, customer: &Person, amount: &str) -> Value {
    let body = json!({"amount": amount, "payment_method": "gcash"});
    let answer = server.api(&customer.token).post("/v1/wallet/topups", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_is_in_the_wallet_once_it_is_confirmed_and_however_many_confirm_it_once() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let body = json!({"amount": "500.00", "payment_method": "card"});
    let tries = join_all((0..6).map(|_| post_with(&api, "/v1/wallet/topups", "phone-1", &body))).await;
    assert!(tries.iter().all(|t| t.status == 201 && t.json == tries[0].json), "{tries:?}");
    let asked = &tries[0].json;
    assert_eq!(
        [&asked["type"], &asked["status"], &asked["amount"], &asked["payment_method"]],
        ["wallet_topup", "pending", "500.00", "card"]
    );
    let other = post_with(&api, "/v1/wallet/topups", "phone-1", &json!({"amount": 1, "payment_method": "card"})).await;
    assert_eq!(refusal(&other), (422, "idempotency_key_reused"));
    assert_eq!(api.get("/v1/transactions").await.json["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(balance(&server, &customer).await, "0.00", "nobody has paid anything");
    assert_eq!(settle(&api, asked, "completed").await.status, 403, "nobody confirms his own");

    let admins = [admin(&server).await, admin(&server).await, admin(&server).await];
    let settled = join_all((0..9).map(|i| settle(&admins[i % 3], asked, "completed"))).await;
    assert!(settled.iter().all(|s| s.status == 200 && s.json["status"] == "completed"), "{settled:?}");
    assert_eq!(balance(&server, &customer).await, "500.00");
    let ledger = api.get("/v1/wallet/transactions").await.json;
    let line = &ledger["data"][0];
    assert_eq!((ledger["data"].as_array().map(Vec::len), &line["transaction_uuid"]), (Some(1), &asked["uuid"]));
    assert_eq!([&line["type"], &line["balance_before"], &line["balance_after"]], ["credit", "0.00", "500.00"]);
    let late = settle(&admins[0], asked, "failed").await;
    assert_eq!((refusal(&late), &late.json["current_status"]), ((409, "not_allowed"), &json!("completed")));
    books_are_right(server.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_never_comes_and_of_two_who_disagree_one_is_heard() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let ops = admin(&server).await;
    let failed = asked(&server, &customer, "70").await;
    let path = format!("/v1/transactions/{}/transitions", uuid(&failed));
    let told = ops.post(&path, json!({"to": "failed", "reason": "card declined"})).await;
    assert_eq!((told.status, &told.json["failure_reason"]), (200, &json!("card declined")));
    assert!(told.json["failed_at"].is_string() && told.json["processed_at"].is_null(), "{told:?}");
    assert_eq!(refusal(&settle(&ops, &failed, "completed").await), (409, "not_allowed"));
    assert_eq!(balance(&server, &customer).await, "0.00");

    let mut held = 0;
    for _ in 0..12 {
        let disputed = asked(&server, &customer, "10").await;
        let (yes, no) = tokio::join!(settle(&ops, &disputed, "completed"), settle(&ops, &disputed, "failed"));
        assert_eq!([yes.status, no.status].iter().filter(|status| **status == 200).count(), 1, "{yes:?} {no:?}");
        held += if yes.status == 200 { 10 } else { 0 };
    }
    assert_eq!(balance(&server, &customer).await, format!("{held}.00"));
    books_are_right(server.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_its_gateway_reports_for_two_top_ups_counts_for_one() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let ops = admin(&server).await;
    let (one, two) = (asked(&server, &customer, "100").await, asked(&server, &customer, "100").await);
    let body = json!({"to": "completed", "gateway": "paymongo", "gateway_transaction_id": "pi_1"});
    let path = |of: &Value| format!("/v1/transactions/{}/transitions", uuid(of));
    let (first, second) = (path(&one), path(&two));
    let (a, b) = tokio::join!(ops.post(&first, body.clone()), ops.post(&second, body.clone()));
    let mut codes = [a.status, b.status];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409], "{a:?} {b:?}");
    let refused = if a.status == 409 { &a } else { &b };
    assert_eq!(refusal(refused).1, "gateway_transaction_used");
    assert_eq!(balance(&server, &customer).await, "100.00");
    let half = ops.post(&first, json!({"to": "completed", "gateway": "paymongo"})).await;
    assert_eq!((half.status, half.json["errors"]["gateway_transaction_id"].is_array()), (422, true), "{half:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_amounts_within_the_limits_by_means_that_bring_money_are_taken() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let ask = async |amount: Value, method: Value| {
        api.post("/v1/wallet/topups", json!({"amount": amount, "payment_method": method})).await
    };
    for amount in [
        json!("0.99"),
        json!(0),
        json!("-5"),
        json!("100000.01"),
        json!("1.005"),
        json!("NaN"),
        json!(1e300),
        json!("9".repeat(400)),
        json!("1\u{0}"),
        json!([]),
        json!(null),
        json!(true),
    ] {
        let answer = ask(amount.clone(), json!("card")).await;
        assert_eq!((answer.status, answer.json["errors"]["amount"].is_array()), (422, true), "{amount}: {answer:?}");
    }
    for method in [json!("wallet"), json!("cash"), json!("bitcoin"), json!(7), json!(null)] {
        let answer = ask(json!("5"), method.clone()).await;
        assert_eq!(
            (answer.status, answer.json["errors"]["payment_method"].is_array()),
            (422, true),
            "{method}: {answer:?}"
        );
    }
    for method in ["card", "gcash", "paymaya", "bank_transfer"] {
        for amount in [json!(1), json!("100000")] {
            assert_eq!(ask(amount, json!(method)).await.status, 201, "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_has_no_row_is_empty_and_one_that_is_switched_off_takes_only_what_was_on_its_way() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let run = async |sql| {
        sqlx::query(sql).bind(customer.user_id).execute(server.pool()).await.expect("a statement");
    };
    run("DELETE FROM wallets WHERE user_id = $1").await;
    let wallet = api.get("/v1/wallet").await;
    assert_eq!(
        (wallet.status, wallet.json),
        (
            200,
            json!({"balance": "0.00", "currency": "PHP", "total_earned": "0.00", "total_spent": "0.00",
                     "is_active": true, "updated_at": null})
        )
    );
    assert_eq!(api.get("/v1/wallet/transactions").await.json["data"], json!([]));
    top_up(&server, &customer, "30").await;
    assert_eq!(balance(&server, &customer).await, "30.00");

    let on_its_way = asked(&server, &customer, "12.50").await;
    run("UPDATE wallets SET is_active = FALSE WHERE user_id = $1").await;
    let refused = api.post("/v1/wallet/topups", json!({"amount": 5, "payment_method": "card"})).await;
    assert_eq!(refusal(&refused), (409, "wallet_inactive"));
    assert_eq!(settle(&admin(&server).await, &on_its_way, "completed").await.status, 200);
    assert_eq!(balance(&server, &customer).await, "42.50");
    books_are_right(server.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_for_a_wallet_is_told_to_try_again_and_nothing_was_done() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let (waiting, ops) = (asked(&server, &customer, "40").await, admin(&server).await);
    let mut holder = server.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT 1 FROM wallets WHERE user_id = $1 FOR UPDATE")
        .bind(customer.user_id)
        .execute(&mut *holder)
        .await
        .expect("a lock");
    let told = settle(&ops, &waiting, "completed").await;
    assert_eq!((refusal(&told), told.headers.contains_key("retry-after")), ((503, "unavailable"), true), "{told:?}");
    drop(holder);
    assert_eq!(settle(&ops, &waiting, "completed").await.status, 200);
    assert_eq!(balance(&server, &customer).await, "40.00");
    books_are_right(server.pool()).await;
}
