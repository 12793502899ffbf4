//! Where somebody is told, and what he was told.

use serde_json::json;

use super::accounts::delete;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_whose_who_was_last_on_it() {
    let server = Server::start().await;
    let (one, two) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let (his, hers) = (server.api(&one.token), server.api(&two.token));
    let device = json!({"device_type": "android", "token": "push-1", "device_name": "Pixel 9", "app_version": "1.2"});
    let noted = his.put("/v1/device-tokens", device.clone()).await;
    assert_eq!(
        (noted.status, &noted.json["device_name"], &noted.json["is_active"]),
        (200, &json!("Pixel 9"), &json!(true))
    );
    let other = his.put("/v1/device-tokens", json!({"device_type": "web", "token": "push-2"})).await;
    let again = his.put("/v1/device-tokens", device.clone()).await;
    assert_eq!(again.json["id"], noted.json["id"], "once");
    let ids = async |api: &Api| -> Vec<Value> {
        let page = api.get("/v1/device-tokens").await.json;
        page["data"].as_array().expect("data").iter().map(|device| device["id"].clone()).collect()
    };
    assert_eq!(ids(&his).await, [other.json["id"].clone(), noted.json["id"].clone()]);
    sqlx::query("UPDATE device_tokens SET is_active = FALSE")
        .execute(server.pool())
        .await
        .expect("refused by the service");
    assert_eq!(hers.put("/v1/device-tokens", device).await.json["is_active"], json!(true));
    assert_eq!((ids(&his).await, ids(&hers).await), (vec![other.json["id"].clone()], vec![noted.json["id"].clone()]));
    let path = format!("/v1/device-tokens/{}", noted.json["id"]);
    assert_eq!([delete(&his, &path).await, delete(&hers, &path).await, delete(&hers, &path).await], [404, 204, 404]);
    for (wrong, fields) in [
        (json!({}), vec!["device_type", "token"]),
        (json!({"device_type": "toaster", "token": "x"}), vec!["device_type"]),
        (json!({"device_type": "web", "token": "x".repeat(2_049)}), vec!["token"]),
        (json!({"device_type": "web", "token": "a b"}), vec!["token"]),
        (
            json!({"device_type": "web", "token": "x", "app_version": "x".repeat(51), "device_name": "\u{0}"}),
            vec!["app_version", "device_name"],
        ),
    ] {
        let refused = his.put("/v1/device-tokens", wrong.clone()).await;
        assert_eq!(refused.status, 422, "{wrong}: {refused:?}");
        let named: Vec<_> = refused.json["errors"].as_object().expect("errors").keys().collect();
        assert_eq!(named, fields, "{wrong}");
    }
    // Hard to compress: the index must hold the longest.
    let mut long = String::new();
    while long.len() < 2_048 {
        long += &uuid::Uuid::new_v4().simple().to_string();
    }
    assert_eq!(his.put("/v1/device-tokens", json!({"device_type": "ios", "token": long})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_was_told_is_his_to_read() {
    let server = Server::start().await;
    let (one, two) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let (his, hers) = (server.api(&one.token), server.api(&two.token));
    for title in ["first", "second", "third"] {
        let sql = "INSERT INTO notifications (user_id, type, title, body, sent_via) VALUES ($1, 'news', $2, 'x', '[\"push\"]')";
        sqlx::query(sql).bind(one.user_id).bind(title).execute(server.pool()).await.expect("a notification");
    }
    let titles = async |api: &Api, query: &str| -> Vec<Value> {
        let page = api.get(&format!("/v1/notifications?{query}")).await.json;
        page["data"].as_array().expect("data").iter().map(|told| told["title"].clone()).collect()
    };
    assert_eq!((titles(&his, "").await.len(), titles(&hers, "").await.len()), (3, 0));
    let all = his.get("/v1/notifications").await.json;
    let second = format!("/v1/notifications/{}/read", all["data"][1]["uuid"].as_str().expect("a uuid"));
    assert_eq!(hers.put(&second, json!({})).await.status, 404, "a stranger's");
    let read = his.put(&second, json!({})).await;
    assert_eq!(
        (read.status, &read.json["is_read"], &read.json["title"]),
        (200, &json!(true), &json!("second")),
        "{read:?}"
    );
    assert!(read.json["read_at"].is_string());
    assert_eq!(his.send(his.request("PUT", &second)).await.json, read.json, "when he first did stays");
    assert_eq!(titles(&his, "unread=true").await, ["third", "first"]);
    assert_eq!(titles(&his, "unread=false").await.len(), 3);
    let first = his.get("/v1/notifications?unread=1&per_page=1").await.json;
    let link = first["next_page_url"].as_str().expect("more").replacen(&server.base, "", 1);
    assert_eq!(his.get(&link).await.json["data"][0]["title"], "first", "the link keeps the filter");
    assert_eq!(his.get("/v1/notifications?unread=maybe").await.status, 422);
    assert_eq!(his.put("/v1/notifications/x/read", json!({})).await.status, 404);
}
