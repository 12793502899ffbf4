//! Server-sent events of a booking: to its parties, as long as they are, each row once.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::support::http::PATIENCE;

/// A client of `/v1/bookings/{uuid}/events`.
struct Feed {
    response: reqwest::Response,
    text: String,
}

/// One event: its name, its id (empty without one), its data.
type Event = (String, String, Value);

impl Feed {
    async fn open(server: &Server, who: &Person, uuid: &str, last: Option<&str>) -> Self {
        let api = server.api(&who.token);
        let mut request = api.request("GET", &format!("/v1/bookings/{uuid}/events"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        let next = async {
            loop {
                while let Some(end) = self.text.find("\n\n") {
                    let event = self.text[..end].to_owned();
                    self.text.drain(..end + 2);
                    let field = |name: &str| {
                        let line = event.lines().find_map(|line| line.strip_prefix(name));
                        line.map(|value| value.trim_start_matches(':').trim().to_owned()).unwrap_or_default()
                    };
                    if let Ok(data) = serde_json::from_str(&field("data")) {
                        return Some((field("event"), field("id"), data));
                    }
                }
                match self.response.chunk().await {
                    Ok(Some(chunk)) => self.text.push_str(&String::from_utf8_lossy(&chunk)),
                    _ => return None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("an event, or the end of the stream")
    }

    /// The statuses of the feed until it ends.
    async fn statuses(mut self) -> Vec<String> {
        let mut statuses = Vec::new();
        while let Some((name, _, data)) = self.next().await {
            if name == "timeline" {
                statuses.push(data["status"].as_str().expect("a status").to_owned());
            }
        }
        statuses
    }
}

/// A booking that `therapist` has accepted.
async fn accepted(server: &Server, customer: &Person, therapist: &Therapist) -> (Stream, String) {
    let mut phone = app(server, therapist).await;
    let booking = book(server, customer, wanted()).await;
    let offer = phone.expect("offer").await;
    let path = format!("/v1/offers/{}/accept", offer["offer_id"]);
    assert_eq!(server.api(&therapist.person.token).post(&path, json!({})).await.status, 200);
    (phone, uuid(&booking).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_story_in_order_with_positions_between_and_then_the_end() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 900.0).await;
    let customer = people::customer(server.pool()).await;
    let (mut phone, uuid) = accepted(&server, &customer, &therapist).await;
    let feed = Feed::open(&server, &customer, &uuid, None).await;
    let mut followed = Feed::open(&server, &customer, &uuid, None).await;
    assert_eq!(transition(&server, &therapist.person, &uuid, "en_route").await.0, 200);
    // He moves until the feed has shown where he is.
    let mut position = None;
    for seq in 1..100 {
        let (latitude, longitude) = north(900.0 - f64::from(seq));
        phone.send(json!({"type": "location", "fixes": [fix(seq, now(), latitude, longitude)]})).await;
        phone.expect_where("ack", |ack| ack["seq"] == seq).await;
        while let Ok(Some((name, id, data))) = tokio::time::timeout(Duration::from_millis(500), followed.next()).await {
            if name == "position" {
                assert_eq!(id, "", "a position is no entry of the timeline");
                position = Some(data);
                break;
            }
        }
        if position.is_some() {
            break;
        }
    }
    assert_eq!(position.expect("a position")["booking_uuid"], uuid.as_str());
    for to in ["arrived", "in_progress", "completed"] {
        assert_eq!(transition(&server, &therapist.person, &uuid, to).await.0, 200);
    }
    let story = ["pending", "accepted", "en_route", "arrived", "in_progress", "completed"];
    assert_eq!(feed.statuses().await, story);

    // Who has seen all of it is told that nothing follows.
    let last: i64 =
        sqlx::query_scalar("SELECT max(id) FROM booking_timeline").fetch_one(server.pool()).await.expect("an id");
    let api = server.api(&customer.token);
    let path = format!("/v1/bookings/{uuid}/events");
    let answer = api.send(api.request("GET", &path).header("last-event-id", last.to_string())).await;
    assert_eq!(answer.status, 204);
    let wrong = api.send(api.request("GET", &path).header("last-event-id", "yesterday")).await;
    assert_eq!(wrong.status, 422, "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_therapist_who_gives_the_booking_back_sees_no_more_of_it() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Luz", 900.0).await;
    let customer = people::customer(server.pool()).await;
    let (_phone, uuid) = accepted(&server, &customer, &therapist).await;
    let mut feed = Feed::open(&server, &therapist.person, &uuid, None).await;
    for status in ["pending", "accepted"] {
        let (name, _, data) = feed.next().await.expect("an event");
        assert_eq!((name.as_str(), &data["status"]), ("timeline", &json!(status)));
    }
    assert_eq!(transition(&server, &therapist.person, &uuid, "pending").await.0, 200);
    let seen = feed.statuses().await;
    assert!(seen.is_empty(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_ends_when_its_token_is_revoked_and_when_the_node_stops() {
    let server = Server::start().await;
    let (one, two) = (people::customer(server.pool()).await, people::customer(server.pool()).await);
    let mut feeds = Vec::new();
    for who in [&one, &two] {
        let booking = book(&server, who, wanted()).await;
        let mut feed = Feed::open(&server, who, uuid(&booking), None).await;
        assert!(feed.next().await.is_some());
        feeds.push(feed);
    }
    sqlx::query("DELETE FROM personal_access_tokens WHERE tokenable_id = $1")
        .bind(one.user_id)
        .execute(server.pool())
        .await
        .expect("revoked");
    assert_eq!(feeds[0].next().await, None);
    let restarted = tokio::time::timeout(PATIENCE, server.restart());
    let (ended, _server) = tokio::join!(feeds[1].next(), async { restarted.await.expect("the node stops in time") });
    assert_eq!(ended, None);
}
