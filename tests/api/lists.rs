//! Lists: whose is on them, in which order, and every one of them by pages.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_given_by_pages_of_the_size_that_is_asked_for() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(pool).await;
    let booking = book(&server, &customer, wanted()).await;
    let mut phone = app(&server, &therapist).await;
    let booked = format!("/v1/bookings/{}", uuid(&booking));
    let offer = phone.expect("offer").await["offer_id"].to_string();
    let his = server.api(&therapist.person.token);
    let offers = his.get("/v1/offers?per_page=1").await.json;
    assert_eq!((&offers["data"][0]["offer_id"].to_string(), &offers["per_page"]), (&offer, &json!(1)));
    assert_eq!(his.post(&format!("/v1/offers/{offer}/accept"), json!({})).await.status, 200);

    let boss = people::person(pool, "super_admin", "Corazon").await;
    let ops = server.api(&boss.token);
    for name in ["refund bookings", "see reports", "write news"] {
        assert_eq!(ops.put(&format!("/v1/permissions/{name}"), json!({})).await.status, 200);
    }
    for list in [
        "/v1/services?",
        "/v1/services?include_inactive=true&",
        "/v1/service-categories?",
        "/v1/settings?",
        "/v1/roles?",
        "/v1/permissions?",
        &format!("{booked}/timeline?"),
        &format!("{booked}/status-history?"),
        &format!("/v1/providers/{}/services?", therapist.provider_uuid),
    ] {
        let whole = ops.get(list).await.json;
        let all = whole["data"].as_array().unwrap_or_else(|| panic!("{list}: {whole}")).clone();
        assert!(all.len() >= 2, "{list}: {whole}");
        assert_eq!((&whole["per_page"], &whole["next_cursor"]), (&json!(100), &Value::Null), "{list}");
        let (mut read, mut next) = (Vec::new(), Some(format!("{list}per_page=1")));
        while let Some(path) = next {
            let page = ops.get(&path).await.json;
            let rows = page["data"].as_array().expect("a list");
            assert_eq!((rows.len(), &page["per_page"]), (1, &json!(1)), "{path}: {page}");
            read.extend(rows.iter().cloned());
            next = page["next_page_url"].as_str().map(|url| url.replace(&server.base, ""));
        }
        assert_eq!(read, all, "{list}");
    }
    for list in ["/v1/services", "/v1/settings", "/v1/roles", "/v1/permissions", &format!("{booked}/timeline")] {
        for (wrong, field) in [
            ("per_page=0", "per_page"),
            ("per_page=101", "per_page"),
            ("per_page=x", "per_page"),
            ("cursor=7", "cursor"),
        ] {
            let answer = ops.get(&format!("{list}?{wrong}")).await;
            assert_eq!((answer.status, answer.json["errors"][field].is_array()), (422, true), "{list} {answer:?}");
        }
    }
}
