//! Lists: whose is on them, in which order, and every one of them by pages.

use serde_json::json;

use super::*;

fn uuids(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, 200, "{page:?}");
    page.json["data"].as_array().expect("a list").iter().map(|row| uuid(row).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sees_all_bookings_others_their_own_and_everybody_by_status() {
    let server = Server::start().await;
    let pool = server.pool();
    let (maria, ana, admin) = (people::customer(pool).await, people::customer(pool).await, people::admin(pool).await);
    let mut made = Vec::new();
    for person in [&maria, &ana, &maria, &ana] {
        made.insert(0, uuid(&book(&server, person, wanted()).await).to_owned());
    }
    let (newest, oldest) = (&made[0], &made[3]);
    assert_eq!(transition(&server, &maria, oldest, "cancelled").await.0, 200);

    let (ops, hers) = (server.api(&admin.token), server.api(&maria.token));
    assert_eq!(uuids(&ops.get("/v1/bookings").await), made);
    assert_eq!(uuids(&hers.get("/v1/bookings").await), [made[1].clone(), oldest.clone()]);
    assert_eq!(uuids(&ops.get("/v1/bookings?status=cancelled").await), [oldest.as_str()]);
    assert_eq!(uuids(&hers.get("/v1/bookings?status=pending").await), [made[1].as_str()]);
    assert!(uuids(&server.api(&ana.token).get("/v1/bookings?status=cancelled").await).is_empty(), "not hers");

    // By pages, and the filter goes with the links.
    let first = ops.get("/v1/bookings?status=pending&per_page=2").await;
    assert_eq!(uuids(&first), [newest.clone(), made[1].clone()]);
    let next = first.json["next_page_url"].as_str().expect("more").replace(&server.base, "");
    let last = ops.get(&next).await;
    assert_eq!((uuids(&last), &last.json["next_cursor"]), (vec![made[2].clone()], &Value::Null), "{next}");
    let back = last.json["prev_page_url"].as_str().expect("one before").replace(&server.base, "");
    assert_eq!(uuids(&ops.get(&back).await), uuids(&first));

    for api in [&ops, &hers] {
        for wrong in ["status=done", "status=PENDING", "status=%27", "status=pending&status=pending"] {
            let answer = api.get(&format!("/v1/bookings?{wrong}")).await;
            assert_eq!((answer.status, answer.json["errors"]["status"].is_array()), (422, true), "{answer:?}");
        }
    }
}

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
