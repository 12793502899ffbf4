//! Tips: given once, paid as the booking is, all of it the provider's.

use futures_util::future::join_all;

use super::*;

struct Tipping {
    server: Server,
    customer: Person,
    therapist: Therapist,
    booking: String,
}

impl Tipping {
    async fn of(method: &str) -> Self {
        let server = Server::start().await;
        let customer = people::customer(server.pool()).await;
        let therapist = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
        let booking = done(server.pool(), &customer, &therapist, method).await;
        Self { server, customer, therapist, booking }
    }

    fn hers(&self) -> Api {
        self.server.api(&self.customer.token)
    }

    fn path(&self) -> String {
        format!("/v1/bookings/{}/tips", self.booking)
    }

    async fn tip(&self, amount: &str) -> Answer {
        self.hers().post(&self.path(), json!({"amount": amount})).await
    }

    /// Tip and total of the booking, as its therapist sees it, and what he has earned with tips.
    async fn seen(&self) -> [String; 3] {
        let his = self.server.api(&self.therapist.person.token);
        let booking = his.get(&format!("/v1/bookings/{}", self.booking)).await.json;
        let text = |name: &str| booking[name].as_str().expect("an amount").to_owned();
        let earned = sqlx::query_scalar("SELECT total_earnings::text FROM providers WHERE id = $1")
            .bind(self.therapist.provider_id)
            .fetch_one(self.server.pool())
            .await
            .expect("a provider");
        [text("tip_amount"), text("total_amount"), earned]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tip_from_the_wallet_is_taken_once_for_its_key_and_told_to_the_therapist() {
    let t = Tipping::of("wallet").await;
    top_up(&t.server, &t.customer, "300").await;
    let mut phone = app(&t.server, &t.therapist).await;
    let (api, path, body) = (t.hers(), t.path(), json!({"amount": "120.50"}));
    let given = join_all((0..8).map(|_| post_with(&api, &path, "thanks", &body))).await;
    assert!(given.iter().all(|g| g.status == 201 && g.json == given[0].json), "{given:?}");
    let tip = &given[0].json;
    assert_eq!(
        [&tip["type"], &tip["status"], &tip["amount"], &tip["payment_method"], &tip["booking_uuid"]],
        ["tip", "completed", "120.50", "wallet", &t.booking]
    );
    assert_eq!([&tip["booking"]["tip_amount"], &tip["booking"]["total_amount"]], ["120.50", "920.50"]);
    assert_eq!(balance(&t.server, &t.customer).await, "179.50");
    assert_eq!(t.seen().await, ["120.50", "920.50", "120.50"]);
    let told = phone.expect_where("booking", |booking| booking["tip_amount"] == "120.50").await;
    assert_eq!(told["uuid"], t.booking.as_str());
    let timeline = api.get(&format!("/v1/bookings/{}/timeline", t.booking)).await.json;
    let line = timeline["data"].as_array().expect("data").last().expect("a line");
    assert_eq!((&line["status"], &line["description"]), (&json!("tip"), &json!("Tip of 120.50 PHP")));

    assert_eq!(post_with(&api, &path, "again", &body).await.status, 201, "another key is another tip");
    assert_eq!(t.seen().await, ["241.00", "1041.00", "241.00"]);
    books_are_right(t.server.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_tips_at_once_the_wallet_pays_as_many_as_it_can() {
    let t = Tipping::of("wallet").await;
    top_up(&t.server, &t.customer, "250").await;
    let given = join_all((0..8).map(|_| t.tip("100"))).await;
    assert_eq!(given.iter().filter(|g| g.status == 201).count(), 2, "{given:?}");
    for refused in given.iter().filter(|g| g.status != 201) {
        assert_eq!(refusal(refused), (409, "insufficient_balance"), "{refused:?}");
    }
    let poor = t.tip("100").await;
    assert_eq!(poor.json["balance"], "50.00");
    assert_eq!(
        (balance(&t.server, &t.customer).await.as_str(), t.seen().await),
        ("50.00", ["200.00", "1000.00", "200.00"].map(str::to_owned))
    );
    books_are_right(t.server.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tip_through_a_gateway_counts_when_it_is_confirmed_and_in_cash_at_once() {
    let t = Tipping::of("card").await;
    let (yes, no) = (t.tip("50").await.json, t.tip("60").await.json);
    assert_eq!((&yes["status"], &yes["booking"]["tip_amount"]), (&json!("pending"), &json!("0.00")));
    assert_eq!(t.seen().await, ["0.00", "800.00", "0.00"]);
    let ops = admin(&t.server).await;
    assert_eq!(settle(&ops, &no, "failed").await.status, 200);
    let mut phone = app(&t.server, &t.therapist).await;
    let settled = join_all((0..6).map(|_| settle(&ops, &yes, "completed"))).await;
    assert!(settled.iter().all(|s| s.status == 200), "{settled:?}");
    assert_eq!(t.seen().await, ["50.00", "850.00", "50.00"]);
    phone.expect_where("booking", |booking| booking["tip_amount"] == "50.00").await;
    assert_eq!(balance(&t.server, &t.customer).await, "0.00");

    let cash = Tipping::of("cash").await;
    let tip = cash.tip("20").await;
    assert_eq!((tip.status, &tip.json["status"]), (201, &json!("completed")));
    assert_eq!(cash.seen().await, ["20.00", "820.00", "20.00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_customer_tips_only_what_is_done_and_within_limits() {
    let t = Tipping::of("cash").await;
    let stranger = people::customer(t.server.pool()).await;
    let body = json!({"amount": 5});
    let refused = t.server.api(&stranger.token).post(&t.path(), body.clone()).await;
    assert_eq!(refusal(&refused), (404, "not_found"));
    assert_eq!(t.server.api(&t.therapist.person.token).post(&t.path(), body.clone()).await.status, 403);
    for amount in [json!("0.99"), json!("50000.01"), json!("1.001"), json!(-1), json!(null), json!("x\u{0}")] {
        let answer = t.hers().post(&t.path(), json!({"amount": amount})).await;
        assert_eq!((answer.status, answer.json["errors"]["amount"].is_array()), (422, true), "{answer:?}");
    }
    let open = book(&t.server, &t.customer, wanted()).await;
    let early = t.hers().post(&format!("/v1/bookings/{}/tips", uuid(&open)), body.clone()).await;
    assert_eq!((refusal(&early), &early.json["current_status"]), ((409, "not_completed"), &json!("pending")));

    sqlx::query("UPDATE bookings SET tip_amount = 999999, total_amount = 1000799 WHERE uuid = $1::uuid")
        .bind(&t.booking)
        .execute(t.server.pool())
        .await
        .expect("a tip");
    let much = t.tip("1").await;
    assert_eq!((refusal(&much), &much.json["left"]), ((409, "tip_too_much"), &json!("0.99")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_waited_for_counts_against_the_limits_of_a_booking() {
    let t = Tipping::of("card").await;
    let ops = admin(&t.server).await;
    for _ in 0..19 {
        assert_eq!(t.tip("50000").await.status, 201);
    }
    let much = t.tip("50000").await;
    assert_eq!((refusal(&much), &much.json["left"]), ((409, "tip_too_much"), &json!("49999.99")));
    let last = t.tip("49999.99").await;
    assert_eq!(last.status, 201, "{last:?}");
    assert_eq!(settle(&ops, &last.json, "failed").await.status, 200);
    // Many at once: the twentieth is one of them.
    let many = join_all((0..4).map(|_| t.tip("1"))).await;
    assert_eq!(many.iter().filter(|tip| tip.status == 201).count(), 1, "{many:?}");
    assert!(many.iter().all(|tip| tip.status == 201 || refusal(tip) == (409, "too_many_tips")), "{many:?}");
    for waiting in
        t.hers().get("/v1/transactions?status=pending&per_page=100").await.json["data"].as_array().expect("a list")
    {
        assert_eq!(settle(&ops, waiting, "completed").await.status, 200, "all that was taken fits");
    }
    assert_eq!(t.seen().await[0], "950001.00");
}
