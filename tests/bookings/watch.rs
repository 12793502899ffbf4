//! The promises of dispatch as metrics: 0 while all is well, and not when somebody breaks a row.

use sqlx::Connection;

use super::world::World;
use crate::support::http::Api;
use crate::support::server::Process;

/// Of a process of its own: metrics are the process's.
async fn metrics(process: &Process) -> String {
    let api = Api::new(&process.base, None);
    api.request("GET", "/metrics").send().await.expect("an answer").text().await.expect("a text")
}

fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

async fn becomes(process: &Process, name: &str, wanted: f64) -> String {
    for _ in 0..600 {
        let text = metrics(process).await;
        if value(&text, name) == Some(wanted) {
            return text;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("waited 60 s for {name} {wanted}: {}", metrics(process).await)
}

const ALL: [&str; 8] = [
    "spacall_bookings_with_several_winners",
    "spacall_therapists_on_several_bookings",
    "spacall_therapists_with_several_offers",
    "spacall_offers_without_a_search",
    "spacall_bookings_overdue",
    "spacall_offers_overdue",
    "spacall_bookings_nobody_drives",
    "spacall_dispatch_index_faults",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_row_is_seen_as_a_metric() {
    let w = World::new().await;
    let (first, second) = (w.therapist().await, w.therapist().await);
    let booking = w.booking().await;
    let kept = w.booking().await;
    let process = Process::serve(&w.db).await;
    let text = becomes(&process, "spacall_promises_looked_at_total", 1.0).await;
    for name in ALL {
        assert_eq!(value(&text, name), Some(0.0), "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} says what it is");
    }

    // What the schema forbids, had somebody dropped it.
    for index in [
        "DROP INDEX uq_booking_offers_one_accepted",
        "DROP INDEX uq_bookings_one_active_per_therapist",
        "ALTER TABLE bookings DROP CONSTRAINT bookings_no_overlap",
    ] {
        sqlx::raw_sql(index).execute(w.pool()).await.expect(index);
    }
    // And what no constraint forbids: a booking that is due, and that the service cannot get hold of.
    let mut db = sqlx::PgConnection::connect_with(&w.db.options()).await.expect("a connection");
    let mut tx = db.begin().await.expect("a transaction");
    w.make_overdue(kept).await;
    sqlx::query("SELECT 1 FROM bookings WHERE id = $1 FOR UPDATE")
        .bind(kept.0)
        .execute(&mut *tx)
        .await
        .expect("a lock");

    for (therapist, rank) in [(first, 1), (second, 2)] {
        sqlx::query(
            "INSERT INTO booking_offers (booking_id, provider_id, provider_type, booking_type, round, rank, distance_km,
                                         status, offered_at, responded_at, expires_at)
             VALUES ($1, $2, 'therapist', 'now', 90, $3, 1, 'accepted', now(), now(), now() + interval '1 min')",
        )
        .bind(booking.0)
        .bind(therapist.provider.0)
        .bind(rank)
        .execute(w.pool())
        .await
        .expect("an offer");
    }
    let another = w.booking().await;
    for id in [booking, another] {
        sqlx::query("UPDATE bookings SET status = 'accepted', provider_id = $2 WHERE id = $1")
            .bind(id.0)
            .bind(first.provider.0)
            .execute(w.pool())
            .await
            .expect("an accept");
    }
    becomes(&process, "spacall_bookings_with_several_winners", 1.0).await;
    becomes(&process, "spacall_therapists_on_several_bookings", 1.0).await;
    becomes(&process, "spacall_bookings_overdue", 1.0).await;
    // Let go of: the service ends it, and all is as it should be.
    tx.rollback().await.expect("a rollback");
    let text = becomes(&process, "spacall_bookings_overdue", 0.0).await;
    assert_eq!(value(&text, "spacall_dispatch_index_faults"), Some(0.0));
    process.kill().await;
}
