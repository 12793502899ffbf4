//! What was promised outlives the process: kill -9, restart, the database gone.

use std::collections::BTreeSet;

use chrono::Duration;
use serde_json::json;

use spacall::core::ids::ProviderId;

use super::*;
use crate::support::server::Process;
use crate::support::{database, until};

async fn placed(process: &Process, pool: &sqlx::PgPool, name: &str, metres: f64) -> Therapist {
    let (latitude, longitude) = north(metres);
    let therapist = people::therapist(pool, name, latitude, longitude).await;
    stand(&process.api(&therapist.person.token), 1, latitude, longitude).await;
    therapist
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_committed_before_a_kill_is_told_after_it_and_can_be_accepted() {
    let database = database().await;
    let process = Process::serve(&database).await;
    let therapist = placed(&process, database.pool(), "Liwayway", 300.0).await;
    let customer = people::customer(database.pool()).await;
    let booking = process.api(&customer.token).post("/v1/bookings", wanted()).await;
    assert_eq!(booking.status, 201, "{booking:?}");
    // The therapist's app is not connected: the offer is committed and nobody has been told of it.
    process.api(&therapist.person.token).until("/v1/offers", |a| a.json["data"][0]["offer_id"].is_i64()).await;
    process.kill().await;

    let process = Process::serve(&database).await;
    let (mut app, welcome) = Stream::open(&process.base, &therapist.person.token).await;
    let offer = &welcome["offers"][0];
    assert_eq!(offer["type"], "offer");
    assert_eq!(offer["booking"]["uuid"], booking.json["uuid"]);
    app.send(json!({"type": "offer.accept", "offer_id": offer["offer_id"]})).await;
    assert_eq!(app.expect("offer.closed").await["reason"], "accepted");
    process.kill().await;

    // An accept that was told is still true, and the customer sees it.
    let process = Process::serve(&database).await;
    let path = format!("/v1/bookings/{}", uuid(&booking.json));
    assert_eq!(process.api(&customer.token).get(&path).await.json["status"], "accepted");
    assert_eq!(process.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_booking_is_dispatched_after_a_kill() {
    let database = database().await;
    let process = Process::serve(&database).await;
    let customer = people::customer(database.pool()).await;
    let booking = process.api(&customer.token).post("/v1/bookings", wanted()).await.json;
    process.kill().await;
    let process = Process::serve(&database).await;
    let therapist = placed(&process, database.pool(), "Amihan", 300.0).await;
    let (mut app, welcome) = Stream::open(&process.base, &therapist.person.token).await;
    let offer = match welcome["offers"].get(0) {
        Some(offer) => offer.clone(),
        None => app.expect("offer").await,
    };
    assert_eq!(offer["booking"]["uuid"], booking["uuid"]);
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acked_ping_is_stored_once_whatever_is_killed() {
    let database = database().await;
    let mut process = Process::serve(&database).await;
    let therapist = placed(&process, database.pool(), "Dalisay", 300.0).await;
    let start = now() - Duration::minutes(30);
    let fixes: Vec<_> = (0..600u32)
        .map(|i| fix(i + 1, start + Duration::seconds(i64::from(i)), HERE.0 + f64::from(i) * 1e-5, HERE.1))
        .collect();
    let mut acked = BTreeSet::new();
    for round in 0..3 {
        let (mut app, _) = Stream::open(&process.base, &therapist.person.token).await;
        let unacked: Vec<_> =
            fixes.iter().filter(|f| !acked.contains(&f["seq"].as_u64().expect("a seq"))).cloned().collect();
        for frame in unacked.chunks(20) {
            app.send(json!({"type": "location", "fixes": frame})).await;
        }
        // Killed after some acks, while other fixes are on their way; the last round lives.
        let until = if round == 2 { 600 } else { 200 * (round + 1) };
        while acked.last().is_none_or(|last| *last < until) {
            let seq = app.expect("ack").await["seq"].as_u64().expect("a seq");
            acked.extend(unacked.iter().map(|f| f["seq"].as_u64().expect("a seq")).filter(|s| *s <= seq));
        }
        process.kill().await;
        let stored: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM provider_locations WHERE provider_id = $1 AND created_at >= $2 AND created_at < $2 + make_interval(secs => $3)",
        )
        .bind(therapist.provider_id)
        .bind(start)
        .bind(acked.len() as f64)
        .fetch_one(database.pool())
        .await
        .expect("a count");
        assert_eq!(stored, acked.len() as i64, "acked fixes are stored, each once");
        process = Process::serve(&database).await;
    }
    let admin = people::admin(database.pool()).await;
    let audit = process.api(&admin.token).get("/v1/ops/consistency").await.json;
    assert_eq!(audit["drift"], 0, "{audit}");
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_fix_is_stored_and_moves_nobody_back_not_even_after_a_restart() {
    let mut server = Server::start().await;
    let therapist = therapist_at(&server, "Mayumi", 300.0).await;
    let admin = people::admin(server.pool()).await;
    let (latitude, longitude) = north(5_000.0);
    let late = fix(2, now() - Duration::minutes(5), latitude, longitude);
    let answer = server.api(&therapist.person.token).post("/v1/locations", json!({"fixes": [late]})).await;
    assert_eq!(answer.json["acked_seq"], 2, "{answer:?}");
    for _ in 0..2 {
        let seen = server.api(&admin.token).get(&nearby(HERE, "")).await.json;
        assert_eq!(seen["data"][0]["distance_km"], 0.3, "{seen}");
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM provider_locations WHERE provider_id = $1")
            .bind(therapist.provider_id)
            .fetch_one(server.pool())
            .await
            .expect("a count");
        assert_eq!(stored, 2);
        server = server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_offers_and_their_deadlines_survive_a_restart() {
    let server = Server::start().await;
    set(&server, "dispatch", "offer_ttl_s", json!(2)).await;
    set(&server, "dispatch", "receipt_grace_s", json!(0)).await;
    let (near, next) = (therapist_at(&server, "Luz", 300.0).await, therapist_at(&server, "Hiyas", 900.0).await);
    let customer = people::customer(server.pool()).await;
    let mut app = super::app(&server, &near).await;
    let booking = book(&server, &customer, wanted()).await;
    app.expect("offer").await;
    let server = server.restart().await;
    // Silent: the offer ends by the database's clock after the restart, and the next therapist is asked.
    let (mut other, welcome) = Stream::open(&server.base, &next.person.token).await;
    let offer = match welcome["offers"].get(0) {
        Some(offer) => offer.clone(),
        None => other.expect("offer").await,
    };
    assert_eq!(offer["booking"]["uuid"], booking["uuid"]);
    let silent: String = sqlx::query_scalar("SELECT status::text FROM booking_offers WHERE provider_id = $1")
        .bind(near.provider_id)
        .fetch_one(server.pool())
        .await
        .expect("the offer");
    assert_eq!(silent, "expired");
}

/// An app that goes off duty says so and hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_said_before_it_left_is_done() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Ligaya", 300.0).await;
    let mut app = app(&server, &therapist).await;
    let mut held = server.pool().begin().await.expect("a transaction");
    sqlx::query("SELECT FROM providers WHERE id = $1 FOR UPDATE")
        .bind(therapist.provider_id)
        .execute(&mut *held)
        .await
        .expect("the row");
    // The first waits for the row, the second for the first.
    for available in [true, false] {
        app.send(json!({"type": "availability", "available": available})).await;
    }
    drop(app);
    until("the app is gone", || server.engine().bus.connected() == 0).await;
    held.rollback().await.expect("released");
    let off_duty = || server.engine().fleet.therapist(ProviderId(therapist.provider_id)).is_some_and(|t| !t.available);
    until("he is off duty", off_duty).await;
}
