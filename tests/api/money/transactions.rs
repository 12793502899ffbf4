//! Transactions and the ledger: each to whose they are, page by page.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_his_own_and_admins_see_all() {
    let server = Server::start().await;
    let (one, two) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let (hers, others, ops) = (server.api(&one.token), server.api(&two.token), admin(&server).await);
    let body = json!({"amount": 5, "payment_method": "card"});
    let made = hers.post("/v1/wallet/topups", body).await.json;
    let path = format!("/v1/transactions/{}", uuid(&made));
    for (api, status) in [(&hers, 200), (&others, 404), (&ops, 200)] {
        assert_eq!(api.get(&path).await.status, status);
    }
    let count = async |api: &Api| api.get("/v1/transactions").await.json["data"].as_array().map(Vec::len);
    assert_eq!([count(&hers).await, count(&others).await, count(&ops).await], [Some(1), Some(0), Some(1)]);
    assert_eq!(ops.get("/v1/transactions").await.json["data"][0]["user_uuid"], one.user_uuid.to_string());
    for (api, path) in [(&ops, "/v1/transactions/00000000-0000-4000-8000-000000000000"), (&ops, "/v1/transactions/7")] {
        assert_eq!(refusal(&api.get(path).await), (404, "not_found"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_pages_that_lead_on_and_back_within_what_was_asked_for() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    for amount in ["1", "2", "3", "4", "5"] {
        top_up(&server, &customer, amount).await;
        api.post("/v1/wallet/topups", json!({"amount": 100, "payment_method": "card"})).await;
    }
    let amounts = |page: &Value| -> Vec<String> {
        let rows = page["data"].as_array().expect("data").iter();
        rows.map(|row| row["amount"].as_str().expect("an amount").to_owned()).collect()
    };
    let follow = |page: &Value, link: &str| page[link].as_str().expect("a link").replacen(&server.base, "", 1);
    for list in ["/v1/transactions?status=completed&type=wallet_topup&per_page=2", "/v1/wallet/transactions?per_page=2"]
    {
        let first = api.get(list).await.json;
        assert_eq!((amounts(&first), &first["prev_page_url"]), (vec!["5.00".into(), "4.00".into()], &Value::Null));
        let second = api.get(&follow(&first, "next_page_url")).await.json;
        assert_eq!(amounts(&second), ["3.00", "2.00"], "{list}");
        let third = api.get(&follow(&second, "next_page_url")).await.json;
        assert_eq!((amounts(&third), &third["next_page_url"]), (vec!["1.00".to_owned()], &Value::Null));
        assert_eq!(amounts(&api.get(&follow(&third, "prev_page_url")).await.json), ["3.00", "2.00"], "{list}");
    }
    for wrong in ["status=done", "type=gift", "per_page=0", "cursor=7", "status=failed&status=failed"] {
        assert_eq!(api.get(&format!("/v1/transactions?{wrong}")).await.status, 422, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_cannot_be_settled() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let ops = admin(&server).await;
    for kind in ["payment", "refund", "payout"] {
        let made: String = sqlx::query_scalar(
            "INSERT INTO transactions (user_id, type, payment_method, amount) VALUES ($1, $2::transaction_type, 'card', 9)
             RETURNING uuid::text",
        )
        .bind(customer.user_id)
        .bind(kind)
        .fetch_one(server.pool())
        .await
        .expect("a transaction");
        let answer = settle(&ops, &json!({"uuid": made}), "completed").await;
        assert_eq!((refusal(&answer), &answer.json["current_status"]), ((409, "not_allowed"), &json!("pending")));
    }
    assert_eq!(balance(&server, &customer).await, "0.00");
    let nobody = settle(&ops, &json!({"uuid": "00000000-0000-4000-8000-000000000000"}), "completed").await;
    assert_eq!(nobody.status, 404);
}
