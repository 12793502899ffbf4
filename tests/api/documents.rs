//! What the service says of itself, its errors, its headers.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_are_served_and_readable() {
    let server = Server::start().await;
    let api = Api::new(&server.base, None);
    let openapi = api.get("/openapi.json").await.json;
    assert_eq!(openapi["openapi"], "3.1.0");
    assert!(
        openapi["info"]["description"].as_str().is_some_and(|text| text.contains("(/ops)")),
        "where the live map is"
    );
    assert!(openapi["paths"]["/v1/therapists/nearby"]["get"]["parameters"].as_array().is_some_and(|p| p.len() == 13));
    let asyncapi = api.get("/asyncapi.json").await.json;
    assert_eq!(asyncapi["asyncapi"], "3.0.0");
    for path in ["/docs", "/"] {
        let page = api.request("GET", path).send().await.expect("an answer");
        assert_eq!(page.status().as_u16(), 200);
        assert!(page.text().await.expect("a page").contains("swagger-ui"));
    }
    let settings = api.request("GET", "/docs/swagger-initializer.js").send().await.expect("an answer");
    assert!(settings.text().await.expect("a script").contains("/openapi.json"));
    let metrics = api.request("GET", "/metrics").send().await.expect("an answer").text().await.expect("a text");
    assert!(metrics.contains("spacall_http_requests_total") && metrics.contains("spacall_ready 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem_with_a_stable_code() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let (api, anyone) = (server.api(&customer.token), Api::new(&server.base, None));
    let json_type = |api: &Api, body: Vec<u8>| {
        api.request("POST", "/v1/bookings").header("content-type", "application/json").body(body)
    };
    for (request, status, code) in [
        (anyone.request("GET", "/nowhere"), 404, "not_found"),
        (anyone.request("DELETE", "/healthz"), 405, "method_not_allowed"),
        (anyone.request("GET", "/v1/me"), 401, "unauthenticated"),
        (api.request("GET", "/v1/settings"), 403, "forbidden"),
        (api.request("GET", "/v1/bookings/not-a-uuid"), 404, "not_found"),
        (api.request("GET", "/v1/bookings?cursor=x"), 422, "invalid"),
        (api.request("POST", "/v1/bookings").body("{}"), 415, "unsupported_media_type"),
        (json_type(&api, b"{".to_vec()), 400, "bad_json"),
        (json_type(&api, b"[]".to_vec()), 422, "invalid"),
        (json_type(&api, b"\xff\xfe".to_vec()), 400, "bad_json"),
        (json_type(&api, vec![b' '; 600 * 1024]), 413, "too_large"),
        (json_type(&api, b"{}".to_vec()).header("idempotency-key", "x".repeat(256)), 400, "bad_idempotency_key"),
        (api.request("GET", "/v1/therapists/nearby?latitude=95&longitude=121&service=swedish-massage"), 422, "invalid"),
    ] {
        let answer = api.send(request).await;
        assert_eq!((answer.status, &answer.json["code"]), (status, &json!(code)), "{answer:?}");
        assert_eq!(answer.json["status"], status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        for member in ["type", "title", "message"] {
            assert!(answer.json[member].is_string(), "{member}: {answer:?}");
        }
        assert!(answer.headers.contains_key("x-request-id"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_the_pattern_of_their_route_and_never_by_their_path() {
    let server = Server::start().await;
    let api = Api::new(&server.base, None);
    for (method, path) in
        [("HEAD", "/healthz"), ("PUT", "/healthz"), ("GET", "/no/such/person"), ("GET", "/v1/bookings/person")]
    {
        api.send(api.request(method, path)).await;
    }
    let metrics = api.request("GET", "/metrics").send().await.expect("an answer").text().await.expect("a text");
    for labels in [
        r#"method="HEAD",route="/healthz",status="200""#,
        r#"method="PUT",route="/healthz",status="405""#,
        r#"method="GET",route="unmatched",status="404""#,
        r#"method="GET",route="/v1/bookings/{uuid}",status="401""#,
    ] {
        assert!(metrics.contains(&format!("spacall_http_requests_total{{{labels}}}")), "{labels}: {metrics}");
    }
    assert!(!metrics.contains("person"), "a path");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_comes_back() {
    let server = Server::start().await;
    let api = Api::new(&server.base, None);
    let answer = api.send(api.request("GET", "/healthz").header("x-request-id", "req-42")).await;
    assert_eq!(answer.headers["x-request-id"], "req-42");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_of_one_token_are_refused_and_say_for_how_long() {
    let server = Server::limited(1).await;
    let (one, two) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let api = server.api(&one.token);
    let mut refused = None;
    for _ in 0..10 {
        let answer = api.get("/v1/me").await;
        assert_eq!(answer.headers["x-ratelimit-limit"], "2");
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("ten requests at once are more than two");
    assert_eq!(
        (&refused.json["code"], &refused.headers["retry-after"]),
        (&json!("too_many_requests"), &"1".parse().expect("a value"))
    );
    assert_eq!(refused.headers["x-ratelimit-remaining"], "0");
    assert_eq!(server.api(&two.token).get("/v1/me").await.status, 200, "another token has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_laravels_cursor_pages_and_lead_back() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(book(&server, &customer, wanted()).await["uuid"].clone());
    }
    made.reverse();
    let uuids = |page: &Value| -> Vec<Value> {
        page["data"].as_array().expect("data").iter().map(|b| b["uuid"].clone()).collect()
    };
    let first = api.get("/v1/bookings?per_page=2").await.json;
    assert_eq!(
        (uuids(&first), &first["prev_cursor"], &first["per_page"]),
        (made[..2].to_vec(), &Value::Null, &json!(2))
    );
    let follow = |page: &Value, link: &str| page[link].as_str().expect("a link").replacen(&server.base, "", 1);
    let second = api.get(&follow(&first, "next_page_url")).await.json;
    assert_eq!(uuids(&second), made[2..4]);
    let third = api.get(&follow(&second, "next_page_url")).await.json;
    assert_eq!((uuids(&third), &third["next_page_url"]), (made[4..].to_vec(), &Value::Null));
    let back = api.get(&follow(&third, "prev_page_url")).await.json;
    assert_eq!(uuids(&back), made[2..4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_lists_are_one_whole_page_of_the_same_envelope() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, admin) = (people::customer(server.pool()).await, people::admin(server.pool()).await);
    let booking = book(&server, &customer, wanted()).await;
    let (his, hers, ops) = (server.api(&therapist.person.token), server.api(&customer.token), server.api(&admin.token));
    his.until("/v1/offers", |answer| answer.json["data"][0].is_object()).await;
    sqlx::query(
        "INSERT INTO services (category_id, name, slug, base_price, duration_minutes)
         SELECT category_id, 'Extra ' || n, 'extra-' || n, 100, 60 FROM generate_series(1, 20) n,
                (SELECT category_id FROM services LIMIT 1) any_of",
    )
    .execute(server.pool())
    .await
    .expect("services");
    hers.until("/v1/services", |answer| answer.json["data"].as_array().is_some_and(|all| all.len() > 20)).await;
    for (api, path) in [
        (&his, "/v1/offers".to_owned()),
        (&hers, format!("/v1/bookings/{}/timeline", uuid(&booking))),
        (&ops, "/v1/settings".to_owned()),
        (&hers, "/v1/services".to_owned()),
    ] {
        let page = api.get(&path).await.json;
        let rows = page["data"].as_array().expect("data").len();
        let envelope = json!({"data": page["data"], "path": format!("{}{path}", server.base), "per_page": 100,
                              "next_cursor": null, "prev_cursor": null, "next_page_url": null, "prev_page_url": null});
        assert!(rows > 0 && page == envelope, "{path}: {page}");
    }
}
