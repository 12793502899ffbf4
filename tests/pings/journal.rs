//! The journal by itself, at a real database.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use spacall::core::geo::LatLng;
use spacall::core::ids::ProviderId;
use spacall::core::time::Timestamp;
use spacall::core::track::Fix;
use spacall::store::journal::{CAPACITY, Delivery, Journal, MAX_ROWS, Ping, Receipts, Settled};
use sqlx::{Connection, PgPool};

use super::desk::{rows, therapist};
use crate::support::database;

/// Of a November morning.
const T0: Timestamp = Timestamp::from_micros(1_795_338_000_123_456);

pub(super) fn ping(seq: u32) -> Ping {
    let at = T0.plus(Duration::from_secs(u64::from(seq)));
    let fix = Fix::new(at, LatLng::from_e7(145_547_001, 1_210_244_009).expect("a place"));
    Ping { seq, fix, counted: true, received_at: T0 }
}

pub(super) fn delivery(provider: ProviderId, seqs: std::ops::Range<u32>, receipts: &Arc<Receipts>) -> Delivery {
    let upto = seqs.end - 1;
    Delivery { provider, pings: seqs.map(ping).collect(), upto, receipts: Arc::clone(receipts) }
}

/// What was settled until `upto` was acked.
async fn acked(receipts: &Receipts, upto: u32) -> Settled {
    let mut sum = Settled::default();
    while sum.acked != Some(upto) {
        let settled = tokio::time::timeout(Duration::from_secs(60), receipts.settled()).await.expect("settled in time");
        assert!(settled.acked > sum.acked, "acks only grow");
        sum.rows += settled.rows;
        sum.acked = settled.acked;
        sum.rejected.extend(settled.rejected);
    }
    sum
}

async fn count(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM provider_locations").fetch_one(pool).await.expect("a count")
}

#[tokio::test]
async fn an_acked_ping_is_stored_exactly_and_once() {
    let db = database().await;
    let (_, provider) = therapist(db.pool()).await;
    let (journal, _writer) = Journal::start(db.pool().clone());
    let receipts = Arc::new(Receipts::default());
    let mut full = ping(1);
    full.fix = Fix {
        accuracy_m: Some(8.555),
        heading: Some(359.999),
        speed_kmh: Some(9_999.99),
        moving: true,
        battery_percent: Some(100),
        ..full.fix
    };
    full.counted = false;
    let edge = Ping { seq: 2, fix: Fix::new(ping(2).fix.at, LatLng::new(-90.0, -180.0).expect("a place")), ..ping(2) };
    let repeated = Ping { seq: 3, counted: true, ..full };
    let expected = [
        "14.55470010 121.02440090 8.56 0.00 9999.99 t 100 f 2026-11-22 09:00:01.123456",
        "-90.00000000 -180.00000000 - - - f - t 2026-11-22 09:00:02.123456",
    ];
    for upto in [3, 6] {
        let pings = vec![full, edge, repeated];
        journal.submit(Delivery { provider, pings, upto, receipts: Arc::clone(&receipts) }).await.expect("taken");
        assert_eq!(acked(&receipts, upto).await.rejected, []);
        assert_eq!(rows(db.pool(), provider).await, expected);
    }
    assert!(journal.healthy());
    assert_eq!(journal.waiting(), 0);
}

#[tokio::test]
async fn many_senders_share_batches_and_each_is_acked_in_order() {
    let db = database().await;
    let (journal, _writer) = Journal::start(db.pool().clone());
    let mut senders = Vec::new();
    for _ in 0..20 {
        let (_, provider) = therapist(db.pool()).await;
        let journal = journal.clone();
        senders.push(tokio::spawn(async move {
            let receipts = Arc::new(Receipts::default());
            // Single fixes, large frames, and frames of which all was rejected.
            for first in (0..500).step_by(100) {
                for seq in first..first + 9 {
                    journal.submit(delivery(provider, seq..seq + 1, &receipts)).await.expect("taken");
                }
                journal.submit(delivery(provider, first + 9..first + 99, &receipts)).await.expect("taken");
                let nothing = Delivery { provider, pings: vec![], upto: first + 99, receipts: Arc::clone(&receipts) };
                journal.submit(nothing).await.expect("taken");
            }
            acked(&receipts, 499).await
        }));
    }
    for sender in senders {
        assert_eq!(sender.await.expect("a sender").rows, 500);
    }
    assert_eq!(count(db.pool()).await, 20 * 495);
    journal.drain().await;
    assert_eq!(journal.written(), (20 * 495, 0));
}

#[tokio::test]
async fn a_poisoned_row_is_refused_and_its_batch_is_stored() {
    let db = database().await;
    let (journal, _writer) = Journal::start(db.pool().clone());
    let (_, good) = therapist(db.pool()).await;
    let gone = ProviderId(good.0 + 1_000);
    let (ours, theirs) = (Arc::new(Receipts::default()), Arc::new(Receipts::default()));
    let mut with_monster = delivery(good, 0..300, &ours);
    with_monster.pings[7].fix.accuracy_m = Some(1e300);
    for sent in [with_monster, delivery(gone, 0..300, &theirs), delivery(good, 300..600, &ours)] {
        journal.submit(sent).await.expect("taken");
    }
    let settled = acked(&ours, 599).await;
    let told: Vec<_> = settled.rejected.iter().map(|r| (r.seq, r.code.as_str())).collect();
    assert_eq!(told, [(Some(7), "not_stored")], "{:?}", settled.rejected);
    let settled = acked(&theirs, 299).await;
    assert_eq!(settled.rejected.len(), 300);
    assert!(settled.rejected.iter().zip(0..).all(|(r, seq)| r.seq == Some(seq) && r.code == "unknown_provider"));
    assert_eq!(count(db.pool()).await, 599);
    assert!(journal.healthy(), "a refused row is no outage");
}

#[tokio::test]
async fn a_full_journal_makes_senders_wait_and_drops_nothing() {
    let db = database().await;
    let (_, provider) = therapist(db.pool()).await;
    let (journal, _writer) = Journal::start(db.pool().clone());
    let receipts = Arc::new(Receipts::default());
    let mut blocker = sqlx::PgConnection::connect_with(&db.options()).await.expect("a connection");
    let mut lock = blocker.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE provider_locations IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("a lock");
    let mut next = 0;
    while journal.waiting() < CAPACITY as usize {
        let most = MAX_ROWS.min(CAPACITY as usize - journal.waiting()) as u32;
        journal.submit(delivery(provider, next..next + most, &receipts)).await.expect("taken");
        next += most;
    }
    let mut one_more = Box::pin(journal.submit(delivery(provider, next..next + 1, &receipts)));
    assert!((&mut one_more).now_or_never().is_none(), "there is no room");
    assert!(receipts.settled().now_or_never().is_none(), "nothing is committed");
    lock.rollback().await.expect("unlocked");
    one_more.await.expect("taken");
    assert_eq!(acked(&receipts, next).await.rows, next as usize + 1);
    assert_eq!(count(db.pool()).await, i64::from(next) + 1);
}

#[tokio::test]
async fn connections_that_are_cut_cost_nothing() {
    let db = database().await;
    let (_, provider) = therapist(db.pool()).await;
    let (journal, _writer) = Journal::start(db.pool().clone());
    let receipts = Arc::new(Receipts::default());
    let mut admin = sqlx::PgConnection::connect_with(&db.options()).await.expect("a connection");
    for round in 0..20_u32 {
        for seq in round * 100..(round + 1) * 100 {
            journal.submit(delivery(provider, seq..seq + 1, &receipts)).await.expect("taken");
        }
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .execute(&mut admin)
        .await
        .expect("terminated");
    }
    assert_eq!(acked(&receipts, 1_999).await.rejected, []);
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM provider_locations").fetch_one(&mut admin).await.expect("a count");
    assert_eq!(stored, 2_000);
}
