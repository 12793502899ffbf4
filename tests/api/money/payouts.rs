//! Payouts: what was earned on which days of Manila, paid once, however many admins ask.

use futures_util::future::join_all;

use super::*;

struct Earning {
    server: Server,
    customer: Person,
    therapist: Therapist,
    ops: Api,
}

impl Earning {
    async fn new() -> Self {
        let server = Server::start().await;
        let customer = people::customer(server.pool()).await;
        let therapist = people::therapist(server.pool(), "Luz", HERE.0, HERE.1).await;
        let ops = admin(&server).await;
        Self { server, customer, therapist, ops }
    }

    /// 800.00, 680.00 of it his; completed then.
    async fn done_at(&self, at: &str, method: &str) -> String {
        let booking = done(self.server.pool(), &self.customer, &self.therapist, method).await;
        sqlx::query("UPDATE bookings SET completed_at = $2::timestamptz WHERE uuid = $1::uuid")
            .bind(&booking)
            .bind(at)
            .execute(self.server.pool())
            .await
            .expect("a time");
        booking
    }

    fn period(&self, from: &str, to: &str) -> Value {
        json!({"provider_uuid": self.therapist.provider_uuid, "period_start": from, "period_end": to})
    }

    async fn payout(&self, from: &str, to: &str) -> Answer {
        self.ops.post("/v1/payouts", self.period(from, to)).await
    }

    async fn moved(&self, payout: &Value, to: &str) -> Answer {
        self.ops.post(&format!("/v1/payouts/{}/transitions", payout["id"]), json!({"to": to})).await
    }
}

/// Gross, commission, cash, carried over, net.
fn sums(payout: &Value) -> [&str; 5] {
    ["gross_earnings", "commission_amount", "cash_collected", "carried_over", "net_payout"]
        .map(|name| payout[name].as_str().expect("an amount"))
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_admins_ask_at_once_a_period_is_paid_once() {
    let e = Earning::new().await;
    let today = today(e.server.pool()).await;
    for round in 0..4 {
        for method in ["card", "wallet", "cash"] {
            done(e.server.pool(), &e.customer, &e.therapist, method).await;
        }
        let asked = join_all((0..6).map(|_| e.payout(&today, &today))).await;
        let mut made = asked.iter().filter(|a| a.status == 201);
        let payout = &made.next().expect("one").json;
        assert!(made.next().is_none(), "{asked:?}");
        for refused in asked.iter().filter(|a| a.status != 201) {
            assert_eq!((refusal(refused), &refused.json["payout_id"]), ((409, "payout_overlaps"), &payout["id"]));
        }
        assert_eq!((&payout["bookings"], &payout["status"]), (&json!(3 * (round + 1)), &json!("pending")));
        let (gross, commission, cash) = (2400 * (round + 1), 360 * (round + 1), 800 * (round + 1));
        let expected = [gross, commission, cash, 0, gross - commission - cash].map(|pesos| format!("{pesos}.00"));
        assert_eq!(sums(payout), expected.each_ref().map(String::as_str));
        // It fails: all of it is free for the next.
        assert_eq!(e.moved(payout, "failed").await.json["bookings"], 0);
    }
    let body = e.period(&today, &today);
    let asked = join_all((0..6).map(|_| post_with(&e.ops, "/v1/payouts", "weekly", &body))).await;
    assert!(asked.iter().all(|a| a.status == 201 && a.json == asked[0].json), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_of_manilas_days_the_first_and_the_last_included() {
    let e = Earning::new().await;
    for at in
        ["2026-02-28T15:59:59.999999Z", "2026-02-28T16:00:00Z", "2026-03-02T15:59:59.999999Z", "2026-03-02T16:00:00Z"]
    {
        e.done_at(at, "card").await;
    }
    let payout = e.payout("2026-03-01", "2026-03-02").await;
    assert_eq!((payout.status, &payout.json["bookings"]), (201, &json!(2)), "{payout:?}");
    for (from, to) in [("2026-03-02", "2026-03-02"), ("2026-02-20", "2026-03-01"), ("2026-02-01", "2026-04-01")] {
        assert_eq!(refusal(&e.payout(from, to).await), (409, "payout_overlaps"), "{from} {to}");
    }
    for day in ["2026-02-28", "2026-03-03"] {
        assert_eq!(e.payout(day, day).await.json["bookings"], 1, "{day}");
    }
    let nothing = e.payout("2026-03-04", "2026-03-05").await;
    assert_eq!(refusal(&nothing), (422, "nothing_to_pay"), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_late_for_the_payout_of_its_day_the_next_one_takes_along_once() {
    let e = Earning::new().await;
    let booking = e.done_at("2026-03-01T03:00:00Z", "card").await;
    assert_eq!(e.payout("2026-03-01", "2026-03-01").await.json["bookings"], 1);
    // Committed after it; and a tip today for what was paid long ago.
    e.done_at("2026-03-01T15:59:59Z", "card").await;
    assert_eq!(refusal(&e.payout("2026-02-01", "2026-02-28").await), (422, "nothing_to_pay"), "of a later day");
    assert_eq!(e.payout("2026-03-05", "2026-03-05").await.json["bookings"], 1);
    let tip =
        e.server.api(&e.customer.token).post(&format!("/v1/bookings/{booking}/tips"), json!({"amount": 75})).await;
    assert_eq!(settle(&e.ops, &tip.json, "completed").await.status, 200);
    let today = today(e.server.pool()).await;
    // No booking is there for which they would wait for each other.
    let asked = join_all((0..4).map(|_| e.payout(&today, &today))).await;
    let refused = asked.iter().filter(|a| refusal(a) == (409, "payout_overlaps")).count();
    let tips = &asked.iter().find(|a| a.status == 201).expect("one").json;
    assert_eq!((refused, &tips["bookings"], &tips["tips"]), (3, &json!(0), &json!(1)), "{asked:?}");
    assert_eq!((sums(tips)[0], sums(tips)[4]), ("75.00", "75.00"));

    // A payout that somebody else wrote is taken at its word.
    sqlx::query(
        "INSERT INTO payouts (provider_id, period_start, period_end, gross_earnings, commission_amount, net_payout)
         VALUES ($1, '2026-04-01', '2026-04-01', 800, 120, 680)",
    )
    .bind(e.therapist.provider_id)
    .execute(e.server.pool())
    .await
    .expect("a payout");
    e.done_at("2026-04-01T03:00:00Z", "card").await;
    assert_eq!(refusal(&e.payout("2026-04-02", "2026-04-05").await), (422, "nothing_to_pay"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tip_is_paid_with_its_booking_or_alone_but_once_and_cash_is_in_his_hands_already() {
    let e = Earning::new().await;
    let pool = e.server.pool();
    top_up(&e.server, &e.customer, "1000").await;
    for (method, amount) in [("wallet", 100), ("cash", 40), ("card", 500)] {
        let booking = done(pool, &e.customer, &e.therapist, method).await;
        let api = e.server.api(&e.customer.token);
        let tip = api.post(&format!("/v1/bookings/{booking}/tips"), json!({"amount": amount})).await;
        assert_eq!(tip.status, 201, "{tip:?}"); // that by card is never confirmed
    }
    // One that an import brought, without a transaction.
    let imported = done(pool, &e.customer, &e.therapist, "card").await;
    sqlx::query("UPDATE bookings SET tip_amount = 7, total_amount = 807 WHERE uuid = $1::uuid")
        .bind(imported)
        .execute(pool)
        .await
        .expect("a tip");
    let today = today(pool).await;
    let payout = e.payout(&today, &today).await.json;
    // 4 x 800 + 100 + 40 + 7; 4 x 120; 800 + 40
    assert_eq!(sums(&payout), ["3347.00", "480.00", "840.00", "0.00", "2027.00"]);
    assert_eq!((&payout["bookings"], &payout["tips"]), (&json!(4), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_is_carried_over_until_it_is_paid_and_what_failed_owes_nothing() {
    let e = Earning::new().await;
    e.done_at("2026-03-01T03:00:00Z", "cash").await;
    e.done_at("2026-03-02T03:00:00Z", "card").await;
    e.done_at("2026-03-03T03:00:00Z", "card").await;
    let day = async |day: &str| e.payout(day, day).await.json;
    let owing = day("2026-03-01").await;
    assert_eq!(sums(&owing), ["800.00", "120.00", "800.00", "0.00", "-120.00"]);
    let second = day("2026-03-02").await;
    assert_eq!(sums(&second)[3..], ["-120.00", "560.00"]);
    e.moved(&second, "failed").await;
    let third = day("2026-03-03").await;
    assert_eq!(sums(&third)[3..], ["-120.00", "560.00"], "nobody else took it over");
    let second = day("2026-03-02").await;
    assert_eq!(sums(&second)[3..], ["0.00", "680.00"], "it is paid");
    e.moved(&owing, "failed").await;
    let again = day("2026-03-01").await;
    assert_eq!(sums(&again)[3..], ["120.00", "0.00"], "what was taken of it is given back with it");

    // One that owes is completed without a payment.
    e.done_at("2026-03-04T03:00:00Z", "cash").await;
    let owing = day("2026-03-04").await;
    for to in ["processing", "completed"] {
        assert_eq!(e.moved(&owing, to).await.status, 200);
    }
    let payments: i64 = sqlx::query_scalar("SELECT count(*) FROM transactions WHERE type = 'payout'")
        .fetch_one(e.server.pool())
        .await
        .expect("a count");
    assert_eq!(payments, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_payouts_that_are_made_at_once_one_takes_over_what_is_owed() {
    let e = Earning::new().await;
    e.done_at("2026-03-01T03:00:00Z", "cash").await;
    let days = ["2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05"];
    for day in days {
        e.done_at(&format!("{day}T03:00:00Z"), "card").await;
    }
    assert_eq!(sums(&e.payout("2026-03-01", "2026-03-01").await.json)[4], "-120.00");
    for _ in 0..6 {
        let made = join_all(days.map(|day| e.payout(day, day))).await;
        let mut carried: Vec<_> = made.iter().map(|payout| sums(&payout.json)[3]).collect();
        carried.sort_unstable();
        assert_eq!(carried, ["-120.00", "0.00", "0.00", "0.00"]);
        let failed = join_all(made.iter().map(|payout| e.moved(&payout.json, "failed"))).await;
        assert!(failed.iter().all(|f| f.status == 200), "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_is_sent_and_then_paid_or_not_once() {
    let e = Earning::new().await;
    let today = today(e.server.pool()).await;
    done(e.server.pool(), &e.customer, &e.therapist, "card").await;
    let mut period = e.period(&today, &today);
    period["bank_name"] = json!("BPI");
    let payout = e.ops.post("/v1/payouts", period).await.json;
    assert_eq!(payout["bank_name"], "BPI");
    let early = e.moved(&payout, "completed").await;
    assert_eq!((refusal(&early), &early.json["current_status"]), ((409, "not_allowed"), &json!("pending")));
    assert_eq!(e.moved(&payout, "processing").await.status, 200);
    assert_eq!(e.moved(&payout, "pending").await.status, 409);
    let moved = join_all((0..6).map(|i| e.moved(&payout, if i == 5 { "failed" } else { "completed" }))).await;
    let ended = moved.iter().find(|m| m.status == 200).expect("one").json.clone();
    let expected = [200, 409].map(|status| moved.iter().filter(|m| m.status == status).count());
    let his = e.server.api(&e.therapist.person.token).get("/v1/transactions?type=payout").await.json;
    if ended["status"] == "completed" {
        assert_eq!(expected, [5, 1], "{moved:?}");
        let paid = &his["data"][0];
        assert_eq!(his["data"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            [&paid["amount"], &paid["status"], &paid["payment_method"]],
            ["680.00", "completed", "bank_transfer"]
        );
        assert_eq!((&paid["payout_id"], &ended["reference_number"]), (&payout["id"], &paid["transaction_number"]));
        assert!(ended["processed_at"].is_string());
        assert_eq!(refusal(&e.payout(&today, &today).await), (409, "payout_overlaps"));
    } else {
        assert_eq!((expected, &his["data"]), ([1, 5], &json!([])), "{moved:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_sees_his_own_and_nobody_elses() {
    let e = Earning::new().await;
    let pool = e.server.pool();
    let other = people::therapist(pool, "Amihan", HERE.0, HERE.1).await;
    let today = today(pool).await;
    for therapist in [&e.therapist, &other] {
        done(pool, &e.customer, therapist, "card").await;
        let body = json!({"provider_uuid": therapist.provider_uuid, "period_start": today, "period_end": today});
        assert_eq!(e.ops.post("/v1/payouts", body).await.status, 201);
    }
    let count = async |api: &Api, query: &str| {
        api.get(&format!("/v1/payouts{query}")).await.json["data"].as_array().map_or(0, Vec::len)
    };
    let (his, hers) = (e.server.api(&e.therapist.person.token), e.server.api(&e.customer.token));
    assert_eq!([count(&e.ops, "").await, count(&his, "").await, count(&hers, "").await], [2, 1, 0]);
    let of = |provider: &Therapist| format!("?provider_uuid={}", provider.provider_uuid);
    assert_eq!([count(&e.ops, &of(&other)).await, count(&his, &of(&other)).await], [1, 0]);
    assert_eq!([count(&e.ops, "?status=pending").await, count(&e.ops, "?status=failed").await], [2, 0]);
    let all = e.ops.get("/v1/payouts").await.json;
    for payout in all["data"].as_array().expect("data") {
        let mine = payout["provider_uuid"] == e.therapist.provider_uuid.to_string();
        let path = format!("/v1/payouts/{}", payout["id"]);
        assert_eq!([his.get(&path).await.status, hers.get(&path).await.status], [if mine { 200 } else { 404 }, 404]);
        assert_eq!(&e.ops.get(&path).await.json, payout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_paid_is_told_by_its_field() {
    let e = Earning::new().await;
    let tomorrow = sqlx::query_scalar::<_, String>("SELECT ((now() AT TIME ZONE 'Asia/Manila')::date + 1)::text")
        .fetch_one(e.server.pool())
        .await
        .expect("a day");
    for (field, value) in [
        ("provider_uuid", json!("00000000-0000-4000-8000-000000000000")),
        ("provider_uuid", json!(7)),
        ("provider_uuid", json!(null)),
        ("period_start", json!("2026-02-30")),
        ("period_start", json!("2026-03-01T00:00:00Z")),
        ("period_end", json!("2026-02-28")),
        ("period_end", json!(tomorrow)),
        ("period_end", json!(null)),
        ("bank_name", json!("x".repeat(101))),
        ("account_number", json!("1\u{0}2")),
    ] {
        let mut body = e.period("2026-03-01", "2026-03-01");
        body[field] = value.clone();
        let answer = e.ops.post("/v1/payouts", body).await;
        assert_eq!(
            (answer.status, answer.json["errors"][field].is_array()),
            (422, true),
            "{field} {value}: {answer:?}"
        );
    }
    for path in ["/v1/payouts/9", "/v1/payouts/x"] {
        assert_eq!(e.ops.get(path).await.status, 404);
    }
    assert_eq!(e.ops.post("/v1/payouts/9/transitions", json!({"to": "failed"})).await.status, 404);
    assert_eq!(e.ops.post("/v1/payouts/9/transitions", json!({"to": "sent"})).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tip_of_which_nobody_knows_when_it_was_paid_is_paid_out_and_its_payout_is_not_the_customers_to_know() {
    let e = Earning::new().await;
    let booking = done(e.server.pool(), &e.customer, &e.therapist, "cash").await;
    let hers = e.server.api(&e.customer.token);
    let tip = hers.post(&format!("/v1/bookings/{booking}/tips"), json!({"amount": 75})).await.json;
    sqlx::query("UPDATE transactions SET processed_at = NULL").execute(e.server.pool()).await.expect("an import");
    let today = today(e.server.pool()).await;
    let payout = e.payout(&today, &today).await.json;
    assert_eq!((&payout["tips"], sums(&payout)[0]), (&json!(1), "875.00"), "{payout}");
    let path = format!("/v1/transactions/{}", uuid(&tip));
    assert_eq!(e.ops.get(&path).await.json["payout_id"], payout["id"]);
    assert_eq!(hers.get(&path).await.json["payout_id"], Value::Null);
    assert_eq!(hers.get("/v1/transactions").await.json["data"][0]["payout_id"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payout_that_somebody_elses_sql_writes_meanwhile_is_named() {
    let e = Earning::new().await;
    e.done_at("2026-03-01T03:00:00Z", "card").await;
    let mut other = e.server.pool().begin().await.expect("a transaction");
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO payouts (provider_id, period_start, period_end, gross_earnings, commission_amount, net_payout)
         VALUES ($1, '2026-03-01', '2026-03-01', 800, 120, 680) RETURNING id",
    )
    .bind(e.therapist.provider_id)
    .fetch_one(&mut *other)
    .await
    .expect("a payout");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let (answer, ()) = tokio::join!(e.payout("2026-03-01", "2026-03-01"), async {
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(e.server.pool()).await.expect("a statement") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        other.commit().await.expect("committed");
    });
    assert_eq!((refusal(&answer), &answer.json["payout_id"]), ((409, "payout_overlaps"), &json!(id)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_transaction_can_pay_is_refused() {
    let e = Earning::new().await;
    for _ in 0..2 {
        let booking = e.done_at("2026-03-01T03:00:00Z", "card").await;
        sqlx::query(
            "UPDATE bookings SET service_price = 60000000, total_amount = 60000000, commission_rate = 1,
                    commission_amount = 600000, provider_earnings = 59400000 WHERE uuid = $1::uuid",
        )
        .bind(&booking)
        .execute(e.server.pool())
        .await
        .expect("a price");
    }
    let refused = e.payout("2026-03-01", "2026-03-01").await;
    assert_eq!(refusal(&refused), (422, "payout_too_large"), "{refused:?}");
    let other: i64 = sqlx::query_scalar(
        "INSERT INTO payouts (provider_id, period_start, period_end, gross_earnings, commission_amount, net_payout, status)
         VALUES ($1, '2026-04-01', '2026-04-01', 200000000, 0, 200000000, 'processing') RETURNING id",
    )
    .bind(e.therapist.provider_id)
    .fetch_one(e.server.pool())
    .await
    .expect("a payout");
    let refused = e.moved(&json!({"id": other}), "completed").await;
    assert_eq!(refusal(&refused), (409, "payout_too_large"), "{refused:?}");
}
