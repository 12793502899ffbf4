//! Payment by wallet over HTTP: checked when the booking is made, taken at the accept.

use serde_json::json;

use super::*;

async fn put(server: &Server, customer: &Person, pesos: i32) {
    sqlx::query(
        "WITH had AS (UPDATE wallets SET balance = balance + $2 WHERE user_id = $1 RETURNING id, balance)
         INSERT INTO wallet_transactions (wallet_id, type, amount, balance_before, balance_after)
         SELECT id, CASE WHEN $2 > 0 THEN 'credit' ELSE 'debit' END::wallet_entry_type, abs($2), balance - $2, balance FROM had",
    )
    .bind(customer.user_id)
    .bind(pesos)
    .execute(server.pool())
    .await
    .expect("a statement");
}

fn by_wallet() -> Value {
    let mut body = wanted();
    body["payment_method"] = json!("wallet");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_is_said_when_asking_and_again_at_the_accept_which_ends_the_booking() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let mut phone = app(&server, &therapist).await;
    let customer = people::customer(server.pool()).await;
    put(&server, &customer, 799).await;
    let answer = server.api(&customer.token).post("/v1/bookings", by_wallet()).await;
    assert_eq!((answer.status, &answer.json["code"]), (422, &json!("insufficient_balance")), "{answer:?}");
    assert_eq!((&answer.json["balance"], &answer.json["total_amount"]), (&json!("799.00"), &json!("800.00")));
    assert!(answer.json["errors"]["payment_method"].is_array(), "{answer:?}");

    put(&server, &customer, 1).await;
    let booking = book(&server, &customer, by_wallet()).await;
    let offer = phone.expect("offer").await["offer_id"].as_i64().expect("an id");
    put(&server, &customer, -1).await;
    let api = server.api(&therapist.person.token);
    let refused = api.post(&format!("/v1/offers/{offer}/accept"), json!({})).await;
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("insufficient_balance")), "{refused:?}");
    assert_eq!(phone.expect("offer.closed").await["reason"], "withdrawn");
    let ended = becomes(&server, &customer, uuid(&booking), "cancelled").await;
    assert_eq!(ended["cancellation_reason"], "insufficient_balance");

    // He is free for the next, which is paid.
    put(&server, &customer, 1).await;
    let booking = book(&server, &customer, by_wallet()).await;
    let offer = phone.expect("offer").await["offer_id"].as_i64().expect("an id");
    assert_eq!(api.post(&format!("/v1/offers/{offer}/accept"), json!({})).await.status, 200);
    let balance = "SELECT balance::text FROM wallets WHERE user_id = $1";
    let balance = sqlx::query_scalar::<_, String>(balance).bind(customer.user_id);
    assert_eq!(balance.fetch_one(server.pool()).await.expect("a wallet"), "0.00");
    becomes(&server, &customer, uuid(&booking), "accepted").await;
}
