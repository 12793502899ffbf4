//! What the customer pays the platform on top of the price, as a setting says when he books.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_keeps_the_platform_fee_that_it_was_made_with() {
    let server = Server::start().await;
    let (therapist, customer) = (therapist_at(&server, "Luz", 300.0).await, people::customer(server.pool()).await);
    let mut phone = app(&server, &therapist).await;
    therapist_at(&server, "Nena", 900.0).await;
    let (admin, api) = (people::admin(server.pool()).await, server.api(&customer.token));
    let fee =
        async |value: Value| server.api(&admin.token).put("/v1/settings/platform_fee", json!({"value": value})).await;
    let nearby = format!("/v1/therapists/nearby?latitude={}&longitude={}&service=swedish-massage", HERE.0, HERE.1);
    let shown = async |total: &str| api.until(&nearby, |a| a.json["data"][0]["total"] == total).await;

    assert_eq!(shown("800.00").await.json["data"][0]["price"], "800.00", "nothing unless a setting says so");
    for wrong in [json!(-1), json!("1.005"), json!({"default": 5}), json!(1_000_000)] {
        let refused = fee(wrong.clone()).await;
        assert_eq!(refused.status, 422, "{wrong}: {refused:?}");
    }
    assert_eq!(fee(json!("25.50")).await.status, 200);
    shown("825.50").await;
    let booking = book(&server, &customer, wanted()).await;
    assert_eq!((&booking["platform_fee"], &booking["total_amount"]), (&json!("25.50"), &json!("825.50")));
    assert_eq!(fee(json!(60)).await.status, 200);
    shown("860.00").await;

    let offer = phone.expect("offer").await;
    assert_eq!((&offer["booking"]["total"], &offer["booking"]["earnings"]), (&json!("825.50"), &json!("680.00")));
    let accept = format!("/v1/offers/{}/accept", offer["offer_id"]);
    assert_eq!(server.api(&therapist.person.token).post(&accept, json!({})).await.status, 200);
    let accepted = api.get(&format!("/v1/bookings/{}", uuid(&booking))).await.json;
    for (column, amount) in [("service_price", "800.00"), ("platform_fee", "25.50"), ("total_amount", "825.50")] {
        assert_eq!(accepted[column], amount, "{accepted}");
    }

    // Given back, it is an estimate again: with the same fee.
    let (status, _) = transition(&server, &therapist.person, uuid(&booking), "pending").await;
    assert_eq!(status, 200);
    let again = becomes(&server, &customer, uuid(&booking), "pending").await;
    assert_eq!((&again["platform_fee"], &again["total_amount"]), (&json!("25.50"), &json!("825.50")));
}
