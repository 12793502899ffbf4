//! Money, codes and reviews of somebody, for whoever tries what is not his.

use spacall::http::access::Route;

use super::*;

/// All of one customer and one therapist.
pub struct Belongings {
    transaction: String,
    payout: i64,
    code: i64,
    review: i64,
    booking: String,
    line: i64,
    reviewed: String,
    unpaid: String,
}

impl Belongings {
    /// Made as people would. `other` has something to be paid too.
    pub async fn make(server: &Server, customer: &Person, therapist: &Therapist, other: &Therapist) -> Self {
        let (pool, hers, ops) = (server.pool(), server.api(&customer.token), admin(server).await);
        let made = |answer: Answer| match answer.status {
            201 => answer.json,
            _ => panic!("{answer:?}"),
        };
        let booking = done(pool, customer, therapist, "card").await;
        done(pool, customer, other, "card").await;
        let today = today(pool).await;
        let tip = made(hers.post(&format!("/v1/bookings/{booking}/tips"), json!({"amount": 5})).await);
        let review = made(hers.post(&format!("/v1/bookings/{booking}/review"), json!({"overall_rating": 5})).await);
        let asked = made(hers.post("/v1/wallet/topups", json!({"amount": 5, "payment_method": "card"})).await);
        assert_eq!(settle(&ops, &asked, "completed").await.status, 200);
        let line = hers.get("/v1/wallet/transactions").await.json["data"][0]["id"].as_i64().expect("a line");
        let period = json!({"provider_uuid": therapist.provider_uuid, "period_start": today, "period_end": today});
        let payout = made(ops.post("/v1/payouts", period).await);
        let code = made(ops.post("/v1/promo-codes", promo_codes::code("BELONGS")).await);
        let id = |of: &Value| of["id"].as_i64().expect("an id");
        Self {
            transaction: uuid(&tip).to_owned(),
            payout: id(&payout),
            code: id(&code),
            review: id(&review),
            booking,
            line,
            reviewed: therapist.provider_uuid.to_string(),
            unpaid: other.provider_uuid.to_string(),
        }
    }

    /// The path to one of these, if the route is about one.
    pub fn path(&self, route: &Route) -> Option<String> {
        let (parameter, of) = match route.path {
            path if path.starts_with("/v1/transactions/") => ("{uuid}", self.transaction.clone()),
            path if path.starts_with("/v1/payouts/") => ("{id}", self.payout.to_string()),
            path if path.starts_with("/v1/promo-codes/") => ("{id}", self.code.to_string()),
            path if path.starts_with("/v1/reviews/") => ("{id}", self.review.to_string()),
            "/v1/wallet/transactions/{id}" => ("{id}", self.line.to_string()),
            "/v1/bookings/{uuid}/review" => ("{uuid}", self.booking.clone()),
            "/v1/providers/{uuid}/reviews" => ("{uuid}", self.reviewed.clone()),
            _ => return None,
        };
        Some(route.path.replace(parameter, &of))
    }

    /// A body that is complete, if the route is about money or reviews.
    pub async fn body(&self, server: &Server, route: &Route) -> Option<Value> {
        Some(match route.path {
            "/v1/wallet/topups" => json!({"amount": "5.00", "payment_method": "card"}),
            "/v1/bookings/{uuid}/tips" => json!({"amount": "5.00"}),
            "/v1/payouts" => {
                let today = today(server.pool()).await;
                json!({"provider_uuid": self.unpaid, "period_start": today, "period_end": today})
            }
            "/v1/promo-codes" => promo_codes::code("ANOTHER"),
            "/v1/bookings/{uuid}/review" => json!({"overall_rating": 1}),
            "/v1/reviews/{id}/response" => json!({"response": "Thank you!"}),
            _ => return None,
        })
    }
}
