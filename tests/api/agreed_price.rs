//! Who books a therapist at his price pays that price: he cannot ask for more once he has been chosen.

use super::*;

async fn chosen_then<F: Future>(metres: f64, change: impl FnOnce(Api, String) -> F) -> (Value, Answer) {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", metres).await;
    let mut phone = app(&server, &therapist).await;
    let customer = people::customer(server.pool()).await;
    let mut body = wanted();
    body["provider_uuid"] = json!(therapist.provider_uuid);
    let booking = book(&server, &customer, body).await;
    let offer = phone.expect("offer").await["offer_id"].as_i64().expect("an id");
    let his = server.api(&therapist.person.token);
    change(
        server.api(&therapist.person.token),
        format!("/v1/providers/{}/services/swedish-massage", therapist.provider_uuid),
    )
    .await;
    let accepted = his.post(&format!("/v1/offers/{offer}/accept"), json!({})).await;
    let booking = server.api(&customer.token).get(&format!("/v1/bookings/{}", uuid(&booking))).await.json;
    (booking, accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_raised_after_he_was_chosen_is_not_charged() {
    for terms in [json!({"price": "9000.00"}), json!({"base_distance_km": 0, "per_km_surcharge": "500.00"})] {
        let (booking, accepted) = chosen_then(3_000.0, async |his: Api, service: String| {
            let before = his.get(&service.replace("/swedish-massage", "")).await.json;
            let price = before["data"][0]["price"].clone();
            let mut change = json!({"price": price});
            change.as_object_mut().expect("an object").extend(terms.as_object().expect("an object").clone());
            let changed = his.put(&service, change).await;
            assert_eq!(changed.status, 200, "{changed:?}");
        })
        .await;
        assert_eq!((accepted.status, &accepted.json["code"]), (409, &json!("offer_gone")), "{accepted:?}");
        assert_eq!(accepted.json["reason"], "withdrawn");
        assert_ne!(booking["status"], "accepted", "{booking}");
        assert_eq!(booking["price_is_estimate"], false);
        assert_ne!(booking["service_price"], "9000.00", "{booking}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_nothing_takes_the_booking_at_the_price_that_was_shown() {
    let (booking, accepted) = chosen_then(300.0, async |_, _| ()).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    assert_eq!(booking["status"], "accepted");
}
