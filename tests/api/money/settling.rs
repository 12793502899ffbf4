//! One payment counts once, and none is lost sight of, in whatever order and how often it is told.

use super::*;

struct Settling {
    server: Server,
    customer: Person,
    ops: Api,
}

impl Settling {
    async fn new() -> Self {
        let server = Server::start().await;
        let customer = people::customer(server.pool()).await;
        let ops = admin(&server).await;
        Self { server, customer, ops }
    }

    /// The path of a top-up's moves.
    async fn top_up(&self) -> String {
        let body = json!({"amount": "100", "payment_method": "gcash"});
        let asked = self.server.api(&self.customer.token).post("/v1/wallet/topups", body).await;
        assert_eq!(asked.status, 201, "{asked:?}");
        format!("/v1/transactions/{}/transitions", uuid(&asked.json))
    }

    async fn held(&self) -> String {
        balance(&self.server, &self.customer).await
    }
}

fn paid(id: &str) -> Value {
    json!({"to": "completed", "gateway": "PayMongo", "gateway_transaction_id": id})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_told_after_its_top_up_was_settled_by_hand_is_kept_and_settles_no_other() {
    let s = Settling::new().await;
    let (one, two) = (s.top_up().await, s.top_up().await);
    let by_hand = s.ops.post(&one, json!({"to": "completed", "reason": "seen on the statement"})).await;
    assert_eq!((by_hand.status, &by_hand.json["failure_reason"]), (200, &Value::Null), "{by_hand:?}");
    for _ in 0..2 {
        let told = s.ops.post(&one, paid("pi_1")).await;
        assert_eq!((told.status, &told.json["gateway"]), (200, &json!("paymongo")), "{told:?}");
        assert_eq!(told.json["gateway_transaction_id"], "pi_1");
    }
    assert_eq!(refusal(&s.ops.post(&two, paid("pi_1")).await), (409, "gateway_transaction_used"));
    assert_eq!(s.held().await, "100.00");
    let audited: Vec<Value> = sqlx::query_scalar(
        r"SELECT new_values FROM audit_logs WHERE auditable_type = 'App\Models\Transaction' ORDER BY id",
    )
    .fetch_all(s.server.pool())
    .await
    .expect("the log");
    assert_eq!(audited.len(), 2, "what changed nothing is not written: {audited:?}");
    assert_eq!((&audited[1]["gateway"], &audited[1]["gateway_transaction_id"]), (&json!("paymongo"), &json!("pi_1")));

    let three = s.top_up().await;
    assert_eq!(s.ops.post(&three, json!({"to": "completed"})).await.status, 200);
    assert_eq!(
        refusal(&s.ops.post(&three, paid("pi_1")).await),
        (409, "gateway_transaction_used"),
        "known as another's"
    );
    books_are_right(s.server.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_payment_for_one_top_up_is_refused_with_the_one_that_is_known() {
    let s = Settling::new().await;
    let one = s.top_up().await;
    assert_eq!(s.ops.post(&one, paid("pi_1")).await.status, 200);
    let second = s.ops.post(&one, paid("pi_2")).await;
    assert_eq!((refusal(&second), &second.json["gateway_transaction_id"]), ((409, "other_payment"), &json!("pi_1")));
    assert_eq!(s.ops.post(&one, json!({"to": "completed"})).await.status, 200, "no payment is named");
    assert_eq!(s.held().await, "100.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_failed_can_be_told_of_another_top_up() {
    let s = Settling::new().await;
    let (one, two) = (s.top_up().await, s.top_up().await);
    let mut failed = paid("pi_1");
    failed["to"] = json!("failed");
    for _ in 0..2 {
        let told = s.ops.post(&one, failed.clone()).await;
        assert_eq!((told.status, &told.json["gateway_transaction_id"]), (200, &Value::Null), "{told:?}");
    }
    assert_eq!(s.ops.post(&two, paid("pi_1")).await.status, 200);
    assert_eq!(s.held().await, "100.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_with_a_key_is_answered_again_as_it_was() {
    let s = Settling::new().await;
    let one = s.top_up().await;
    let done = post_with(&s.ops, &one, "k", &json!({"to": "completed"})).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(s.ops.post(&one, paid("pi_1")).await.status, 200);
    let again = post_with(&s.ops, &one, "k", &json!({"to": "completed"})).await;
    assert_eq!((again.status, &again.json), (200, &done.json), "as it was then");
    let other = post_with(&s.ops, &one, "k", &json!({"to": "failed"})).await;
    assert_eq!(refusal(&other), (422, "idempotency_key_reused"));

    let therapist = people::therapist(s.server.pool(), "Luz", HERE.0, HERE.1).await;
    done_today(&s, &therapist).await;
    let today = today(s.server.pool()).await;
    let period = json!({"provider_uuid": therapist.provider_uuid, "period_start": today, "period_end": today});
    let payout = s.ops.post("/v1/payouts", period).await;
    assert_eq!(payout.status, 201, "{payout:?}");
    let path = format!("/v1/payouts/{}/transitions", payout.json["id"]);
    let first = post_with(&s.ops, &path, "p", &json!({"to": "processing"})).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(s.ops.post(&path, json!({"to": "completed"})).await.status, 200);
    let again = post_with(&s.ops, &path, "p", &json!({"to": "processing"})).await;
    assert_eq!((again.status, &again.json), (200, &first.json), "as it was then");
}

async fn done_today(s: &Settling, therapist: &Therapist) {
    done(s.server.pool(), &s.customer, therapist, "card").await;
}
