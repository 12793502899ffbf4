//! Money over HTTP: wallets, tips, payouts, promo codes.

pub mod belongings;
mod books;
mod described;
mod full;
mod payouts;
mod promo_codes;
mod settling;
mod tips;
mod top_ups;
mod transactions;

use serde_json::json;
use sqlx::PgPool;

use super::*;

/// Any day's noon in Manila is the same day in UTC.
pub const TODAY: &str = "SELECT (now() AT TIME ZONE 'Asia/Manila')::date::text";

pub async fn today(pool: &PgPool) -> String {
    sqlx::query_scalar(TODAY).fetch_one(pool).await.expect("a day")
}

/// A booking of 800.00 that is done, straight into the tables: its uuid. 680.00 of it is the provider's.
pub async fn done(pool: &PgPool, customer: &Person, provider: &Therapist, method: &str) -> String {
    sqlx::query_scalar(
        "INSERT INTO bookings (customer_id, provider_id, service_id, type, booking_type, payment_method, status, accepted_at,
                               started_at, completed_at, service_price, total_amount, provider_earnings,
                               commission_amount, commission_rate)
         SELECT $1, p.id, s.id, CASE p.type WHEN 'store' THEN 'in_store' ELSE 'home_service' END::booking_service_type, 'now',
                $3::payment_method, 'completed', now(), now(), now(), 800, 800, 680, 120, 15
         FROM services s, providers p WHERE s.slug = 'swedish-massage' AND p.id = $2 RETURNING uuid::text",
    )
    .bind(customer.user_id)
    .bind(provider.provider_id)
    .bind(method)
    .fetch_one(pool)
    .await
    .expect("a booking")
}

/// Asks for a top-up and has it confirmed.
pub async fn top_up(server: &Server, customer: &Person, amount: &str) {
    let asked = json!({"amount": amount, "payment_method": "gcash"});
    let asked = server.api(&customer.token).post("/v1/wallet/topups", asked).await;
    assert_eq!(asked.status, 201, "{asked:?}");
    let settled = settle(&admin(server).await, &asked.json, "completed").await;
    assert_eq!(settled.status, 200, "{settled:?}");
}

/// As an admin.
pub async fn admin(server: &Server) -> Api {
    server.api(&people::admin(server.pool()).await.token)
}

/// Says what became of a transaction.
pub async fn settle(api: &Api, transaction: &Value, to: &str) -> Answer {
    api.post(&format!("/v1/transactions/{}/transitions", uuid(transaction)), json!({"to": to})).await
}

/// What the wallet holds, as the API tells.
pub async fn balance(server: &Server, who: &Person) -> String {
    let wallet = server.api(&who.token).get("/v1/wallet").await;
    assert_eq!(wallet.status, 200, "{wallet:?}");
    wallet.json["balance"].as_str().expect("a decimal").to_owned()
}

/// Posts with an Idempotency-Key.
pub async fn post_with(api: &Api, path: &str, key: &str, body: &Value) -> Answer {
    api.send(api.request("POST", path).header("idempotency-key", key).json(body)).await
}

/// Status and code of a refusal.
pub fn refusal(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.json["code"].as_str().unwrap_or_default())
}

/// Whether every wallet is the sum of its ledger, each line begins where the one before it ended, and each has its
/// transaction, of its own amount, that is completed and has no other line.
pub async fn books_are_right(pool: &PgPool) {
    let wrong: Vec<String> = sqlx::query_scalar(
        r"SELECT 'wallet ' || w.id || ' holds ' || w.balance FROM wallets w
          WHERE w.balance <> (SELECT COALESCE(sum(CASE type WHEN 'credit' THEN amount ELSE -amount END), 0)
                              FROM wallet_transactions WHERE wallet_id = w.id)
          UNION ALL
          SELECT 'line ' || id || ' begins at ' || balance_before FROM (
              SELECT id, balance_before, COALESCE(lag(balance_after) OVER (PARTITION BY wallet_id ORDER BY id), 0) AS before
              FROM wallet_transactions) l WHERE balance_before <> before
          UNION ALL
          SELECT 'line ' || l.id || ' without its transaction' FROM wallet_transactions l
          JOIN wallets w ON w.id = l.wallet_id
          LEFT JOIN transactions t ON l.reference_type = 'App\Models\Transaction' AND t.id = l.reference_id
          WHERE t.status IS DISTINCT FROM 'completed' OR t.amount IS DISTINCT FROM l.amount OR t.user_id <> w.user_id
             OR l.type::text <> CASE WHEN t.type IN ('refund', 'wallet_topup') THEN 'credit' ELSE 'debit' END
          UNION ALL
          SELECT 'transaction ' || reference_id || ' has lines: ' || count(*) FROM wallet_transactions
          GROUP BY reference_type, reference_id HAVING count(*) > 1
          UNION ALL
          SELECT 'transaction ' || t.id || ' without its line' FROM transactions t
          WHERE t.status = 'completed' AND (t.payment_method = 'wallet' OR t.type = 'wallet_topup')
            AND NOT EXISTS (SELECT 1 FROM wallet_transactions l WHERE l.reference_id = t.id)",
    )
    .fetch_all(pool)
    .await
    .expect("the books");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
