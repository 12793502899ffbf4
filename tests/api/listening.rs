//! Row changes that others make are heard; a connection that hears nothing any more is noticed.

use std::process::Command;
use std::time::Duration;

use spacall::core::ids::ProviderId;

use super::*;
use crate::support::until;

/// A backend of the database that stands still, as if the line to it were half-open; goes on when this is dropped.
struct Stopped(i32);

impl Stopped {
    fn stop(pid: i32) -> Self {
        signal("-STOP", pid);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", self.0);
    }
}

fn signal(which: &str, pid: i32) {
    let done = Command::new("kill").args([which, &pid.to_string()]).status().expect("kill runs");
    assert!(done.success(), "kill {which} {pid}");
}

async fn listeners(server: &Server) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%' ORDER BY pid",
    )
    .fetch_all(server.pool())
    .await
    .expect("the sessions")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_stands_still_is_replaced_and_what_it_missed_is_read() {
    let server = Server::start().await;
    let therapist = therapist_at(&server, "Ligaya", 300.0).await;
    let available = || {
        let seen = server.engine().fleet.therapist(ProviderId(therapist.provider_id));
        seen.expect("he is known").available
    };
    let change = async |available: bool| {
        sqlx::query("UPDATE providers SET is_available = $2 WHERE id = $1")
            .bind(therapist.provider_id)
            .bind(available)
            .execute(server.pool())
            .await
            .expect("a change");
    };
    let [listener] = listeners(&server).await[..] else { panic!("one connection listens") };
    let stopped = Stopped::stop(listener);
    change(false).await;
    // Long before the minute's reconciliation would find it.
    let in_time = tokio::time::timeout(Duration::from_secs(20), until("the change is in the index", || !available()));
    in_time.await.expect("within 20 s");
    // Another connection listens now, and hears the next change at once.
    assert!(listeners(&server).await.into_iter().any(|pid| pid != listener));
    change(true).await;
    let at_once = tokio::time::timeout(Duration::from_secs(4), until("the next change is too", available));
    at_once.await.expect("before the next pulse");
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomers_first_fix_shows_him_though_nobody_has_told_of_him_yet() {
    let server = Server::start().await;
    let [listener] = listeners(&server).await[..] else { panic!("one connection listens") };
    let _stopped = Stopped::stop(listener);
    let (latitude, longitude) = north(300.0);
    let therapist = people::therapist(server.pool(), "Tala", latitude, longitude).await;
    stand(&server.api(&therapist.person.token), 1, latitude, longitude).await;
    assert!(server.engine().fleet.position(ProviderId(therapist.provider_id)).is_some(), "acked, and shown to nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_changes_with_the_catalog_is_told_of_at_once() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let booking = book(&server, &customer, wanted()).await;
    let (mut app, _) = Stream::open(&server.base, &customer.token).await;
    let mut tx = server.pool().begin().await.expect("a transaction");
    let cancel = "UPDATE bookings SET status = 'cancelled', cancelled_by = customer_id WHERE uuid = $1::uuid";
    sqlx::query(cancel).bind(uuid(&booking)).execute(&mut *tx).await.expect("a change");
    sqlx::query("UPDATE services SET base_price = base_price + 1").execute(&mut *tx).await.expect("another");
    tx.commit().await.expect("committed");
    // Long before the minute's reconciliation would find it.
    let told = async { while app.expect("booking").await["status"] != "cancelled" {} };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("within 20 s");
}
