//! After anything, in any order and at once: every wallet is its ledger, every sum is what it was made of, and nothing was
//! paid twice.

use futures_util::future::join_all;

use super::*;
use crate::sim::rng::Rng;

/// One request of one person.
struct Act {
    api: Api,
    path: String,
    key: Option<String>,
    body: Value,
}

struct Play {
    server: Server,
    customers: Vec<Api>,
    therapists: Vec<Therapist>,
    admins: Vec<Api>,
    today: String,
    rng: Rng,
    acts: usize,
    turns: usize,
}

impl Play {
    async fn begin(seed: u64) -> Self {
        let server = Server::start().await;
        set(&server, "cancellation_policy", "free_after_accept_s", json!(0)).await;
        let (mut customers, mut therapists, mut admins) = (Vec::new(), Vec::new(), Vec::new());
        for (i, name) in ["Luz", "Amihan", "Ligaya"].into_iter().enumerate() {
            let customer = people::customer(server.pool()).await;
            customers.push(server.api(&customer.token));
            therapists.push(therapist_at(&server, name, 100.0 * (i + 1) as f64).await);
            admins.push(admin(&server).await);
            top_up(&server, &customer, "900").await;
        }
        let today = today(server.pool()).await;
        Self { server, customers, therapists, admins, today, rng: Rng::new(seed), acts: 0, turns: 0 }
    }

    fn one_of(&mut self, many: usize) -> usize {
        usize::try_from(self.rng.between(0, many as i64 - 1)).expect("an index")
    }

    /// Rows of two texts.
    async fn rows(&self, sql: &'static str) -> Vec<(String, String)> {
        sqlx::query_as(sql).fetch_all(self.server.pool()).await.expect("rows")
    }

    /// A row of those, if there is one.
    async fn any(&mut self, sql: &'static str) -> Option<(String, String)> {
        let mut rows = self.rows(sql).await;
        if rows.is_empty() { None } else { Some(rows.swap_remove(self.one_of(rows.len()))) }
    }

    /// Whose user id this is, among these.
    async fn api_of(&self, user: &str) -> Api {
        let user: i64 = user.parse().expect("an id");
        let token = people::token(self.server.pool(), user, r#"["*"]"#).await;
        self.server.api(&token)
    }

    /// What somebody might do now; those that move money by a key, twice.
    async fn some_acts(&mut self) -> Vec<Act> {
        self.acts += 1;
        let key = Some(format!("act-{}", self.acts));
        let amount = format!("{}.{:02}", self.rng.between(10, 900), self.rng.between(0, 99));
        let (who, one, other, paid) = (self.one_of(3), self.one_of(3), self.one_of(3), self.one_of(3));
        let (customer, one, other) =
            (self.customers[who].clone(), self.admins[one].clone(), self.admins[other].clone());
        let twice = |(a, b): (Api, Api), path: String, key: Option<String>, body: Value| {
            let again = Act { api: b, path: path.clone(), key: key.clone(), body: body.clone() };
            vec![Act { api: a, path, key, body }, again]
        };
        let once = |api: Api, path: String, body: Value| vec![Act { api, path, key: None, body }];
        match self.rng.between(0, 13) {
            0 | 1 => {
                let body = json!({"amount": amount, "payment_method": "gcash"});
                twice((customer.clone(), customer), "/v1/wallet/topups".to_owned(), key, body)
            }
            2 | 3 => {
                let to = if self.rng.chance(80) { "completed" } else { "failed" };
                let waiting = "SELECT uuid::text, '' FROM transactions WHERE status = 'pending'";
                let Some((uuid, _)) = self.any(waiting).await else { return Vec::new() };
                twice((one, other), format!("/v1/transactions/{uuid}/transitions"), None, json!({"to": to}))
            }
            4 | 5 => {
                let mut body = wanted();
                let method = ["wallet", "wallet", "wallet", "cash", "card"][self.one_of(5)];
                body["payment_method"] = json!(method);
                twice((customer.clone(), customer), "/v1/bookings".to_owned(), key, body)
            }
            6 => {
                let open = "SELECT uuid::text, customer_id::text FROM bookings
                            WHERE status IN ('pending', 'accepted', 'en_route', 'arrived')";
                let Some((uuid, customer)) = self.any(open).await else { return Vec::new() };
                once(
                    self.api_of(&customer).await,
                    format!("/v1/bookings/{uuid}/transitions"),
                    json!({"to": "cancelled"}),
                )
            }
            7 | 8 => {
                let mut accepts = Vec::new();
                for (id, user) in self.rows("SELECT o.id::text, p.user_id::text FROM booking_offers o JOIN providers p ON p.id = o.provider_id WHERE o.status = 'offered'").await {
                    let api = self.api_of(&user).await;
                    accepts.extend(twice((api.clone(), api), format!("/v1/offers/{id}/accept"), None, json!({})));
                }
                accepts
            }
            9 | 10 => {
                let mut moves = Vec::new();
                let under_way = "SELECT b.uuid::text || ' ' || b.status, p.user_id::text FROM bookings b JOIN providers p ON p.id = b.provider_id
                                 WHERE b.status IN ('accepted', 'en_route', 'arrived', 'in_progress')";
                for (booking, user) in self.rows(under_way).await {
                    let (uuid, status) = booking.split_once(' ').expect("two words");
                    let to = match status {
                        "accepted" if self.rng.chance(15) => "pending",
                        "accepted" => "en_route",
                        "en_route" => "arrived",
                        "arrived" => "in_progress",
                        _ => "completed",
                    };
                    let api = self.api_of(&user).await;
                    moves.extend(once(api, format!("/v1/bookings/{uuid}/transitions"), json!({"to": to})));
                }
                moves
            }
            11 => {
                let done = "SELECT uuid::text, customer_id::text FROM bookings WHERE status = 'completed'";
                let Some((uuid, customer)) = self.any(done).await else { return Vec::new() };
                let api = self.api_of(&customer).await;
                twice((api.clone(), api), format!("/v1/bookings/{uuid}/tips"), key, json!({"amount": amount}))
            }
            12 => {
                let provider = self.therapists[paid].provider_uuid;
                let body = json!({"provider_uuid": provider, "period_start": self.today, "period_end": self.today});
                twice((one, other), "/v1/payouts".to_owned(), None, body)
            }
            _ => {
                let moving = "SELECT id::text, status::text FROM payouts WHERE status IN ('pending', 'processing')";
                let Some((id, status)) = self.any(moving).await else { return Vec::new() };
                let to = match status.as_str() {
                    _ if self.rng.chance(40) => "failed",
                    "pending" => "processing",
                    _ => "completed",
                };
                twice((one, other), format!("/v1/payouts/{id}/transitions"), None, json!({"to": to}))
            }
        }
    }

    /// Several people at once.
    async fn turn(&mut self) {
        self.turns += 1;
        let mut acts = Vec::new();
        for _ in 0..5 {
            acts.extend(self.some_acts().await);
        }
        let answers = join_all(acts.iter().map(async |act| match &act.key {
            Some(key) => post_with(&act.api, &act.path, key, &act.body).await,
            None => act.api.post(&act.path, act.body.clone()).await,
        }))
        .await;
        for (act, answer) in acts.iter().zip(&answers) {
            let known = [200, 201, 404, 409, 422].contains(&answer.status);
            assert!(known, "POST {} {}: {answer:?}", act.path, act.body);
        }
        for (this, next) in acts.iter().zip(&answers).zip(acts.iter().zip(&answers).skip(1)) {
            let ((act, answer), (again, repeated)) = (this, next);
            let same = act.key.is_some() && act.key == again.key && (answer.status, repeated.status) == (201, 201);
            assert!(!same || answer.json == repeated.json, "{} {answer:?} {repeated:?}", act.path);
        }
    }
}

/// What a booking, a provider and a payout say of money must be what the transactions say.
async fn sums_are_right(server: &Server) {
    let wrong: Vec<String> = sqlx::query_scalar(
        "SELECT 'booking ' || b.id || ' ' || b.status || ' has paid ' || s.paid FROM bookings b, LATERAL (
             SELECT COALESCE(sum(CASE type WHEN 'payment' THEN amount WHEN 'refund' THEN -amount END), 0) AS paid
             FROM transactions t WHERE t.booking_id = b.id) s
         WHERE s.paid <> CASE WHEN b.payment_method <> 'wallet' OR b.status = 'pending' THEN 0
                              WHEN b.status = 'cancelled' THEN b.cancellation_fee ELSE b.total_amount - b.tip_amount END
         UNION ALL
         SELECT 'booking ' || b.id || ' has tips ' || b.tip_amount FROM bookings b
         WHERE b.tip_amount <> (SELECT COALESCE(sum(amount), 0) FROM transactions t
                                WHERE t.booking_id = b.id AND t.type = 'tip' AND t.status = 'completed')
         UNION ALL
         SELECT 'provider ' || p.id || ' has earned ' || p.total_earnings FROM providers p
         WHERE p.total_earnings <> (SELECT COALESCE(sum(provider_earnings + tip_amount), 0) FROM bookings b
                                    WHERE b.provider_id = p.id AND b.status = 'completed')
         UNION ALL
         SELECT 'payout ' || o.id || ' ' || o.status || ' is of other sums' FROM payouts o, LATERAL (
             SELECT COALESCE(sum(service_price + distance_surcharge), 0) AS gross, COALESCE(sum(commission_amount), 0) AS commission,
                    COALESCE(sum(total_amount - tip_amount) FILTER (WHERE payment_method = 'cash'), 0) AS cash
             FROM bookings b WHERE b.payout_id = o.id AND b.status = 'completed' AND b.provider_id = o.provider_id) e, LATERAL (
             SELECT COALESCE(sum(amount), 0) AS gross, COALESCE(sum(amount) FILTER (WHERE payment_method = 'cash'), 0) AS cash
             FROM transactions t WHERE t.payout_id = o.id AND t.type = 'tip' AND t.status = 'completed') g
         WHERE o.status <> 'failed' AND (o.gross_earnings, o.commission_amount, o.cash_collected)
                                        <> (e.gross + g.gross, e.commission, e.cash + g.cash)
         UNION ALL
         SELECT 'payout ' || o.id || ' failed and holds on' FROM payouts o
         WHERE o.status = 'failed' AND (EXISTS (SELECT 1 FROM bookings WHERE payout_id = o.id)
                                        OR EXISTS (SELECT 1 FROM transactions WHERE payout_id = o.id))
         UNION ALL
         SELECT 'payout ' || o.id || ' ' || o.status || ' was paid ' || s.paid FROM payouts o, LATERAL (
             SELECT COALESCE(sum(amount), 0) AS paid FROM transactions t WHERE t.payout_id = o.id AND t.type = 'payout') s
         WHERE s.paid <> CASE WHEN o.status = 'completed' THEN greatest(o.net_payout, 0) ELSE 0 END",
    )
    .fetch_all(server.pool())
    .await
    .expect("the sums");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What must have happened for the books to be about something.
const KINDS: [&str; 5] =
    ["payment completed", "refund completed", "tip completed", "wallet_topup completed", "payout completed"];

#[tokio::test(flavor = "multi_thread")]
async fn after_any_order_of_anything_the_books_are_right_and_nothing_was_paid_twice() {
    /// At least; and, where dispatch is slow and little comes of them, at most.
    const TURNS: (usize, usize) = (60, 1_000);
    for seed in [1, 2] {
        let mut play = Play::begin(seed).await;
        let mut missing = KINDS.to_vec();
        while play.turns < TURNS.0 || !missing.is_empty() {
            assert!(play.turns < TURNS.1, "seed {seed}: no {missing:?}");
            play.turn().await;
            books_are_right(play.server.pool()).await;
            sums_are_right(&play.server).await;
            let done = play.rows("SELECT DISTINCT type || ' ' || status, '' FROM transactions").await;
            missing.retain(|kind| !done.iter().any(|(what, _)| what == kind));
        }
    }
}
