//! What the parties of a booking write to each other and about it, and what became of its status.

use serde_json::json;

use super::*;

/// A booking that this therapist has accepted.
async fn accepted(server: &Server, customer: &Person, therapist: &Therapist) -> String {
    let booking = book(server, customer, wanted()).await;
    let his = server.api(&therapist.person.token);
    let asked = |answer: &Answer| answer.json["data"][0]["booking"]["uuid"] == booking["uuid"];
    let offer = his.until("/v1/offers", asked).await.json["data"][0]["offer_id"].clone();
    assert_eq!(his.post(&format!("/v1/offers/{offer}/accept"), json!({})).await.status, 200);
    format!("/v1/bookings/{}", uuid(&booking))
}

fn texts(page: &Answer, field: &str) -> Vec<String> {
    let rows = page.json["data"].as_array().expect("data").iter();
    rows.map(|row| row[field].as_str().expect("a text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parties_write_to_each_other_and_are_told_at_once() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(pool).await;
    let (his, hers) = (server.api(&therapist.person.token), server.api(&customer.token));
    let booking = accepted(&server, &customer, &therapist).await;
    let messages = format!("{booking}/messages");
    let (mut her_app, _) = Stream::open(&server.base, &customer.token).await;
    let mut his_app = app(&server, &therapist).await;

    let sent = his.post(&messages, json!({"message": " I am at the gate. "})).await;
    assert_eq!((sent.status, &sent.json["message"]), (201, &json!("I am at the gate.")), "{sent:?}");
    assert_eq!(sent.json["receiver_uuid"], json!(customer.user_uuid));
    let told = her_app.expect("message").await;
    assert_eq!(
        told,
        json!({"type": "message", "booking_uuid": booking.rsplit('/').next(), "uuid": sent.json["uuid"],
               "sender_uuid": therapist.person.user_uuid, "message": "I am at the gate.", "attachment_type": null,
               "attachment_url": null, "attachment_metadata": null, "created_at": told["created_at"]})
    );
    let here = json!({"attachment_type": "location", "attachment_metadata": {"latitude": 14.5, "longitude": 121, "x": "\u{0}"}});
    assert_eq!(hers.post(&messages, here).await.status, 201);
    assert_eq!(his_app.expect("message").await["attachment_metadata"], json!({"latitude": 14.5, "longitude": 121.0}));
    let photo = json!({"message": "This door", "attachment_type": "image", "attachment_url": "https://a.ph/door.jpg"});
    assert_eq!(hers.post(&messages, photo).await.json["attachment_url"], "https://a.ph/door.jpg");
    assert_eq!(his_app.expect("message").await["message"], "This door");

    for api in [&his, &hers, &server.api(&people::admin(pool).await.token)] {
        assert_eq!(texts(&api.get(&messages).await, "message"), ["This door", "", "I am at the gate."], "newest first");
    }
    let read = |api: &Api| {
        let (api, path) = (api.clone(), format!("{messages}/read"));
        async move { api.put(&path, json!({})).await.json["read"].clone() }
    };
    assert_eq!((read(&his).await, read(&his).await, read(&hers).await), (json!(2), json!(0), json!(1)));
    let all = hers.get(&messages).await.json["data"].clone();
    assert!(all.as_array().expect("data").iter().all(|m| m["is_read"] == true && m["read_at"].is_string()), "{all}");
    assert!(!her_app.heard("message") && !his_app.heard("message"), "nobody is told of what he wrote himself");

    // However it was written.
    sqlx::query(
        "INSERT INTO messages (booking_id, sender_id, receiver_id, message)
         SELECT id, $2, $3, 'From elsewhere' FROM bookings WHERE uuid::text = $1",
    )
    .bind(booking.rsplit('/').next())
    .bind(therapist.person.user_id)
    .bind(customer.user_id)
    .execute(pool)
    .await
    .expect("written");
    assert_eq!(her_app.expect("message").await["message"], "From elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_written_between_the_accept_and_a_day_after_the_end_by_the_parties_alone() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, stranger, admin) =
        (people::customer(pool).await, people::customer(pool).await, people::admin(pool).await);
    let (his, hers) = (server.api(&therapist.person.token), server.api(&customer.token));
    let pending = book(&server, &customer, wanted()).await;
    let early = hers.post(&format!("/v1/bookings/{}/messages", uuid(&pending)), json!({"message": "x"})).await;
    assert_eq!(
        (early.status, &early.json["code"], &early.json["current_status"]),
        (409, &json!("messages_closed"), &json!("pending"))
    );
    assert_eq!(
        his.post(&format!("/v1/bookings/{}/messages", uuid(&pending)), json!({"message": "x"})).await.status,
        404,
        "he is asked at most"
    );
    assert_eq!(transition(&server, &customer, uuid(&pending), "cancelled").await.0, 200);
    let over = hers.post(&format!("/v1/bookings/{}/messages", uuid(&pending)), json!({"message": "x"})).await;
    assert_eq!((over.status, &over.json["current_status"]), (409, &json!("cancelled")), "nobody ever accepted it");

    let booking = accepted(&server, &customer, &therapist).await;
    let messages = format!("{booking}/messages");
    let say = |api: &Api, text: &str| {
        let (api, path, body) = (api.clone(), messages.clone(), json!({"message": text}));
        async move { api.post(&path, body).await }
    };
    assert_eq!(say(&his, "on my way").await.status, 201);
    for who in [&stranger, &admin] {
        assert_eq!(say(&server.api(&who.token), "hello").await.status, 404, "no party");
    }
    assert_eq!(server.api(&stranger.token).get(&messages).await.status, 404);
    assert_eq!(server.api(&stranger.token).put(&format!("{messages}/read"), json!({})).await.status, 404);
    // An admin who looks has read for nobody.
    assert_eq!(server.api(&admin.token).put(&format!("{messages}/read"), json!({})).await.json["read"], 0);

    // He gives it back: what was said is between the two of them.
    let id = booking.rsplit('/').next().expect("a uuid");
    assert_eq!(transition(&server, &therapist.person, id, "pending").await.0, 200);
    assert_eq!(say(&his, "sorry").await.status, 404);
    assert_eq!(say(&hers, "why?").await.status, 409);
    // Whoever comes now is asked at once.
    let (latitude, longitude) = north(400.0);
    let second = people::therapist(pool, "Amihan", latitude, longitude).await;
    let theirs = server.api(&second.person.token);
    stand(&theirs, 1, latitude, longitude).await;
    let asked = |answer: &Answer| answer.json["data"][0]["booking"]["uuid"] == id;
    let offer = theirs.until("/v1/offers", asked).await.json["data"][0]["offer_id"].clone();
    assert_eq!(theirs.post(&format!("/v1/offers/{offer}/accept"), json!({})).await.status, 200);
    assert_eq!(texts(&theirs.get(&messages).await, "message"), Vec::<String>::new());
    assert_eq!(texts(&hers.get(&messages).await, "message"), ["on my way"]);

    assert_eq!(transition(&server, &customer, id, "cancelled").await.0, 200);
    assert_eq!(say(&theirs, "a pity").await.status, 201, "some time after the end");
    sqlx::query("UPDATE bookings SET cancelled_at = now() - interval '25 hours' WHERE uuid::text = $1")
        .bind(id)
        .execute(pool)
        .await
        .expect("a day later");
    let late = say(&theirs, "still there?").await;
    assert_eq!((late.status, &late.json["current_status"]), (409, &json!("cancelled")), "{late:?}");
    assert_eq!(texts(&theirs.get(&messages).await, "message"), ["a pity"], "what was said stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_or_a_note_that_cannot_be_is_refused_and_one_key_writes_once() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let customer = people::customer(server.pool()).await;
    let hers = server.api(&customer.token);
    let booking = accepted(&server, &customer, &therapist).await;
    let messages = format!("{booking}/messages");
    for (field, body) in [
        ("message", json!({})),
        ("message", json!({"message": "  "})),
        ("message", json!({"message": "x".repeat(4_001)})),
        ("message", json!({"message": "a\u{0}"})),
        ("attachment_type", json!({"message": "x", "attachment_type": "video"})),
        ("attachment_url", json!({"attachment_type": "image"})),
        ("attachment_url", json!({"attachment_type": "image", "attachment_url": "javascript:x"})),
        ("attachment_url", json!({"message": "x", "attachment_url": "https://a.ph"})),
        ("attachment_metadata", json!({"attachment_type": "location"})),
        (
            "attachment_metadata.latitude",
            json!({"attachment_type": "location", "attachment_metadata": {"latitude": 91, "longitude": 1}}),
        ),
        ("attachment_metadata", json!({"message": "x", "attachment_metadata": {}})),
    ] {
        let answer = hers.post(&messages, body.clone()).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{body}: {answer:?}");
    }
    let notes = format!("{booking}/notes");
    for (field, body) in [
        ("note", json!({})),
        ("note", json!({"note": " "})),
        ("note", json!({"note": "a\u{0}"})),
        ("visibility", json!({"note": "x", "visibility": "internal"})),
        ("visibility", json!({"note": "x", "visibility": "me"})),
    ] {
        let answer = hers.post(&notes, body.clone()).await;
        assert!(answer.status == 422 && answer.json["errors"][field].is_array(), "{body}: {answer:?}");
    }
    for (path, body) in [(&messages, json!({"message": "once"})), (&notes, json!({"note": "once"}))] {
        let key = format!("k-{}", path.len());
        let post = || hers.send(hers.request("POST", path).header("idempotency-key", &key).json(&body));
        let (one, two) = tokio::join!(post(), post());
        assert_eq!((one.status, two.status, &one.json), (201, 201, &two.json));
        assert_eq!(hers.get(path).await.json["data"].as_array().map(Vec::len), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_read_by_whom_it_is_for() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let (his, hers, ops) = (server.api(&therapist.person.token), server.api(&customer.token), server.api(&admin.token));
    let booking = accepted(&server, &customer, &therapist).await;
    let notes = format!("{booking}/notes");
    for (api, body, author, visibility) in [
        (&hers, json!({"note": "dog"}), "customer", "all"),
        (&hers, json!({"note": "birthday", "visibility": "customer"}), "customer", "customer"),
        (&his, json!({"note": "stairs", "visibility": "provider"}), "provider", "provider"),
        (&his, json!({"note": "kind", "visibility": "customer"}), "provider", "customer"),
        (&ops, json!({"note": "watch"}), "admin", "internal"),
        (&ops, json!({"note": "call us", "visibility": "provider"}), "admin", "provider"),
    ] {
        let made = api.post(&notes, body).await;
        assert_eq!(
            (made.status, &made.json["author"], &made.json["visibility"]),
            (201, &json!(author), &json!(visibility)),
            "{made:?}"
        );
    }
    assert_eq!(texts(&hers.get(&notes).await, "note"), ["kind", "birthday", "dog"]);
    assert_eq!(texts(&his.get(&notes).await, "note"), ["call us", "kind", "stairs", "dog"]);
    assert_eq!(texts(&ops.get(&notes).await, "note").len(), 6);
    let stranger = server.api(&people::customer(pool).await.token);
    assert_eq!(stranger.get(&notes).await.status, 404);
    assert_eq!(stranger.post(&notes, json!({"note": "x"})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_tells_each_status_and_whose_doing_it_was() {
    let server = Server::start().await;
    let pool = server.pool();
    let therapist = therapist_at(&server, "Luz", 300.0).await;
    let (customer, admin) = (people::customer(pool).await, people::admin(pool).await);
    let booking = accepted(&server, &customer, &therapist).await;
    let id = booking.rsplit('/').next().expect("a uuid");
    assert_eq!(transition(&server, &therapist.person, id, "pending").await.0, 200);
    let ops = server.api(&admin.token);
    let end = json!({"to": "cancelled", "reason": "typhoon"});
    assert_eq!(ops.post(&format!("{booking}/transitions"), end).await.status, 200);
    let history = format!("{booking}/status-history");
    let expected = json!([
        [null, "pending", "customer", null],
        ["pending", "accepted", "provider", null],
        ["accepted", "pending", "provider", "given_back"],
        ["pending", "cancelled", "admin", "typhoon"],
    ]);
    for api in [&server.api(&customer.token), &ops] {
        let steps = api.get(&history).await.json["data"].clone();
        let steps: Vec<_> = steps
            .as_array()
            .expect("data")
            .iter()
            .map(|step| {
                assert!(step["created_at"].is_string());
                json!([step["from_status"], step["to_status"], step["changed_by"], step["reason"]])
            })
            .collect();
        assert_eq!(json!(steps), expected);
    }
    assert_eq!(server.api(&therapist.person.token).get(&history).await.status, 404, "it is his no more");
}
