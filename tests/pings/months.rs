//! Months come and go while pings stream, and the newest fix is found on whichever side of a month's end it is.

use std::sync::Arc;
use std::time::Duration;

use spacall::core::geo::LatLng;
use spacall::core::time::Timestamp;
use spacall::core::track::Fix;
use spacall::store::journal::{Delivery, Journal, Ping, Receipts};
use spacall::store::{partitions, therapists};
use spacall::wire::time::WireTime;
use sqlx::PgPool;

use super::desk::therapist;
use crate::support::database;

fn at(text: &str) -> Timestamp {
    WireTime::parse(text).expect("a time").0
}

async fn run(pool: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(pool).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn months_are_made_filled_and_dropped_while_pings_stream_and_no_ping_is_refused_or_lost() {
    const FIXES: u32 = 4_000;
    let db = database().await;
    let pool = db.pool();
    let (journal, _writers) = Journal::start(pool.clone());
    // Of a month that has no partition yet, over its end: they go to the default partition until it is made.
    let begin = at("2031-05-31T23:30:00Z");
    let mut senders = Vec::new();
    for _ in 0..2 {
        let (_, provider) = therapist(pool).await;
        let journal = journal.clone();
        senders.push(tokio::spawn(async move {
            let receipts = Arc::new(Receipts::default());
            let (mut acked, mut refused) = (0, Vec::new());
            for seq in 0..FIXES {
                let fix = Fix::new(
                    begin.plus(Duration::from_secs(u64::from(seq))),
                    LatLng::new(14.5, 121.0).expect("a place"),
                );
                let pings = vec![Ping { seq, fix, counted: true, received_at: begin }];
                let delivery = Delivery { provider, pings, upto: seq, receipts: Arc::clone(&receipts) };
                journal.submit(delivery).await.expect("taken");
                // A few hundred under way, so that every moment of a change of months meets some.
                while acked + 200 < seq {
                    let settled = receipts.settled().await;
                    acked = settled.acked.unwrap_or(acked);
                    refused.extend(settled.rejected);
                }
            }
            while acked < FIXES - 1 {
                let settled = receipts.settled().await;
                acked = settled.acked.unwrap_or(acked);
                refused.extend(settled.rejected);
            }
            refused
        }));
    }
    let mut changes = 0;
    while senders.iter().any(|sender| !sender.is_finished()) {
        for statement in [
            "SELECT ensure_provider_location_partition('2024-01-01')",
            "SELECT ensure_provider_location_partition('2031-05-01')",
            "SELECT drop_old_provider_location_partitions(3)",
            "SELECT ensure_provider_location_partition('2031-06-01')",
        ] {
            run(pool, statement).await;
            changes += 1;
        }
    }
    for sender in senders {
        assert_eq!(sender.await.expect("a sender"), []);
    }
    assert!(changes >= 8, "{changes} changes");
    let by_month: Vec<(String, i64)> = sqlx::query_as(
        "SELECT tableoid::regclass::text, count(DISTINCT (provider_id, created_at)) FROM provider_locations GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("counts");
    let expected =
        [("provider_locations_y2031m05", 2 * 1_800), ("provider_locations_y2031m06", 2 * (i64::from(FIXES) - 1_800))];
    assert_eq!(by_month, expected.map(|(name, rows)| (name.to_owned(), rows)));
    assert_eq!(partitions::default_rows(pool).await.expect("a count"), 0);
}

#[tokio::test]
async fn the_newest_fix_is_found_before_and_after_a_months_end_and_when_the_month_is_empty_or_missing() {
    let db = database().await;
    let pool = db.pool();
    let (before, after, uncounted, never) =
        (therapist(pool).await.1, therapist(pool).await.1, therapist(pool).await.1, therapist(pool).await.1);
    let insert = async |provider: spacall::core::ids::ProviderId, time: &str, counted: bool| {
        sqlx::query(
            "INSERT INTO provider_locations (provider_id, latitude, longitude, counted, created_at)
             VALUES ($1, 14.5, 121, $3, $2::text::timestamptz)",
        )
        .bind(provider.0)
        .bind(time)
        .bind(counted)
        .execute(pool)
        .await
        .expect("a fix");
    };
    let newest = async |since: &str| -> Vec<_> {
        let found = therapists::newest_fixes(pool, None, at(since)).await.expect("fixes");
        found.into_iter().map(|(provider, fix)| (provider, WireTime(fix.at).to_string())).collect()
    };
    assert_eq!(newest("2031-05-31T12:00:00Z").await, [], "neither month has a partition, nor a row");
    insert(before, "2031-05-31T23:59:59.999999Z", true).await;
    run(pool, "SELECT ensure_provider_location_partition('2031-06-01')").await;
    let last = (before, "2031-05-31T23:59:59.999999Z".to_owned());
    assert_eq!(
        newest("2031-05-31T12:00:00Z").await,
        std::slice::from_ref(&last),
        "June is empty, May has no partition"
    );
    run(pool, "SELECT ensure_provider_location_partition('2031-05-01')").await;
    insert(after, "2031-05-31T23:00:00Z", true).await;
    insert(after, "2031-06-01T00:00:00Z", true).await;
    insert(uncounted, "2031-05-31T22:00:00Z", true).await;
    insert(uncounted, "2031-06-01T00:00:01Z", false).await;
    let expected = [last, (after, "2031-06-01T00:00:00Z".to_owned()), (uncounted, "2031-05-31T22:00:00Z".to_owned())];
    assert_eq!(newest("2031-05-31T12:00:00Z").await, expected);
    assert_eq!(newest("2031-06-01T00:00:00Z").await, expected[1..2], "older ones are too old");
    let _nobody = never;
}
