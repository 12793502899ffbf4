//! A booking for now that names its therapist tells its customer what he says, and otherwise nothing: not whether he was asked,
//! which depends on exactly where he is.

use super::*;

/// His whole time: 2 s to answer, 1 s for the receipt.
const HAS_MS: i64 = 3_000;

async fn quick() -> Server {
    let server = Server::start().await;
    set(&server, "dispatch", "chosen_ttl_s", json!(2)).await;
    set(&server, "dispatch", "receipt_grace_s", json!(1)).await;
    server
}

/// The same therapist's total as this person is shown it.
async fn total(server: &Server, who: &Person, therapist: &Therapist) -> f64 {
    let shown = server.api(&who.token).get(&nearby(HERE, "")).await.json;
    let all = shown["data"].as_array().expect("a list");
    let his = all.iter().find(|t| t["provider_uuid"] == therapist.provider_uuid.to_string()).expect("he is there");
    his["total"].as_str().and_then(|total| total.parse().ok()).expect("a total")
}

/// A therapist who is farther than his public position, and so costs more than customers are shown; and both totals.
async fn dearer_than_shown(server: &Server) -> (Therapist, f64, f64) {
    let (admin, customer) = (people::admin(server.pool()).await, people::customer(server.pool()).await);
    for metres in [6_300.0, 6_360.0, 6_420.0, 6_480.0, 6_540.0, 6_600.0] {
        let therapist = therapist_at(server, "Luz", metres).await;
        let (exact, shown) = (total(server, &admin, &therapist).await, total(server, &customer, &therapist).await);
        if exact > shown + 0.5 {
            return (therapist, exact, shown);
        }
        let gone = json!({"available": false});
        assert_eq!(server.api(&therapist.person.token).put("/v1/me/availability", gone).await.status, 200);
    }
    panic!("nobody stands on the far side of his cell");
}

/// All that a customer is told of a booking that nobody took, but its names and times; and how long it lasted, ms.
async fn silence(server: &Server, therapist: &Therapist, max_price: f64) -> (Value, i64) {
    let customer = people::customer(server.pool()).await;
    let mut body = wanted();
    body["provider_uuid"] = json!(therapist.provider_uuid);
    body["max_price"] = json!(format!("{max_price:.2}"));
    let booking = book(server, &customer, body).await;
    let mut ended = becomes(server, &customer, uuid(&booking), "cancelled").await;
    let api = server.api(&customer.token);
    let mut timeline = api.get(&format!("/v1/bookings/{}/timeline", uuid(&booking))).await.json["data"].take();
    let time = |name: &str| {
        let told = ended[name].as_str().expect("a time");
        chrono::DateTime::parse_from_rfc3339(told).expect("RFC 3339").timestamp_millis()
    };
    let lasted = time("cancelled_at") - time("created_at");
    for name in ["uuid", "booking_number", "created_at", "cancelled_at"] {
        ended[name] = Value::Null;
    }
    hide_times(&mut timeline);
    (json!({"booking": ended, "timeline": timeline}), lasted)
}

fn hide_times(told: &mut Value) {
    match told {
        Value::Array(items) => items.iter_mut().for_each(hide_times),
        Value::Object(fields) => {
            for (name, value) in fields {
                if name.ends_with("_at") || name == "at" || name == "id" {
                    *value = Value::Null;
                } else {
                    hide_times(value);
                }
            }
        }
        _ => {}
    }
}

async fn asked(server: &Server) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM booking_offers");
    count.fetch_one(server.pool()).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_tells_a_therapist_who_costs_too_much_exactly_from_one_who_is_silent() {
    let server = quick().await;
    let (therapist, exact, shown) = dearer_than_shown(&server).await;

    let (never_asked, lasted) = silence(&server, &therapist, f64::midpoint(exact, shown)).await;
    assert_eq!(asked(&server).await, 0, "he costs {exact}, and the customer is shown {shown}");
    assert!((HAS_MS..HAS_MS + 900).contains(&lasted), "never asked, ended after {lasted} ms");

    // Nobody's app has the offer.
    let (silent, lasted) = silence(&server, &therapist, exact + 1.0).await;
    assert_eq!(asked(&server).await, 1);
    assert_eq!(silent, never_asked);
    assert!((HAS_MS..HAS_MS + 900).contains(&lasted), "silent, ended after {lasted} ms");

    // His app has it, so that his time began with the receipt.
    let mut phone = app(&server, &therapist).await;
    let (received, ()) = tokio::join!(silence(&server, &therapist, exact + 1.0), async {
        let offer = phone.expect("offer").await;
        phone.send(json!({"type": "offer.received", "offer_id": offer["offer_id"]})).await;
        phone.expect("offer.closed").await;
    });
    assert_eq!(asked(&server).await, 2);
    assert_eq!(received.0, never_asked);
    assert!((HAS_MS..HAS_MS + 900).contains(&received.1), "received, ended after {} ms", received.1);
    assert_eq!(never_asked["booking"]["cancellation_reason"], "provider_did_not_answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_into_reach_before_the_end_is_still_asked_and_has_his_time() {
    let server = quick().await;
    let (therapist, exact, shown) = dearer_than_shown(&server).await;
    let customer = people::customer(server.pool()).await;
    let mut phone = app(&server, &therapist).await;
    let mut body = wanted();
    body["provider_uuid"] = json!(therapist.provider_uuid);
    body["max_price"] = json!(format!("{:.2}", f64::midpoint(exact, shown)));
    let booking = book(&server, &customer, body).await;
    let (latitude, longitude) = north(5_900.0);
    let his = server.api(&therapist.person.token);
    // So far in no time at all: believed of the second.
    stand(&his, 2, latitude, longitude).await;
    stand(&his, 3, latitude, longitude).await;
    let offer = phone.expect("offer").await;
    phone.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    becomes(&server, &customer, uuid(&booking), "accepted").await;
}
