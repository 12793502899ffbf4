//! Which node drives a pending booking: one at a time, and always somebody.

use std::collections::BTreeSet;
use std::time::Duration;

use spacall::clock;
use spacall::core::ids::BookingId;
use spacall::store::bookings::lease::{self, NodeId, Presence};
use uuid::Uuid;

use super::dispatcher::Node;
use super::world::World;
use crate::support::server::Process;

const LIFE: Duration = Duration::from_secs(30);
/// At least, from when they were claimed a moment ago.
const LEASES_WOULD_LAST: Duration = Duration::from_secs(20);

impl World {
    /// Asks every 20 ms until a statement (with no parameters) says so.
    async fn until_so(&self, what: &str, sql: &'static str) {
        for _ in 0..3_000 {
            if self.one(sql, 0).await == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("waited 60 s until {what}");
    }

    async fn claim(&self, node: NodeId, limit: u32) -> Vec<BookingId> {
        lease::claim(self.pool(), node, LIFE, limit).await.expect("a statement")
    }

    async fn hold(&self, node: NodeId, booking: BookingId) -> bool {
        lease::hold(self.pool(), node, LIFE, booking).await.expect("a statement")
    }

    async fn expire_leases(&self) {
        self.run("UPDATE bookings SET lease_until = now() - interval '1 ms' WHERE id > $1", 0).await;
    }
}

/// A node that lives for as long as its presence is kept.
async fn living(w: &World) -> (NodeId, Presence) {
    let node = NodeId(Uuid::new_v4());
    (node, Presence::announce(w.pool(), node).await.expect("a connection"))
}

#[tokio::test]
async fn a_lease_is_its_owners_until_its_time_is_over_or_he_is_gone() {
    let w = World::new().await;
    let ((one, presence), (other, _alive)) = (living(&w).await, living(&w).await);
    let booking = w.booking().await;
    assert_eq!(w.claim(one, 10).await, [booking]);
    assert!(w.hold(one, booking).await && !w.hold(other, booking).await);
    assert_eq!(w.claim(other, 10).await, []);

    // Not renewed: whoever comes first, its owner too.
    w.expire_leases().await;
    assert!(w.hold(other, booking).await && !w.hold(one, booking).await);
    assert_eq!(w.one("SELECT lease_token FROM bookings WHERE id = $1", booking.0).await, 2, "each owner is counted");
    assert_eq!(lease::lost(w.pool(), one, &[booking]).await.expect("a statement"), [booking]);
    assert_eq!(lease::lost(w.pool(), other, &[booking]).await.expect("a statement"), []);

    // Gone: at once, although the lease would last.
    let second = w.booking().await;
    assert!(w.hold(one, second).await && !w.hold(other, second).await);
    drop(presence);
    w.until_so(
        "the server notices the lost connection",
        "SELECT (count(*) = 1)::int::bigint FROM pg_locks WHERE locktype = 'advisory'
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .await;
    assert_eq!(w.claim(other, 10).await, [second]);

    // Given up.
    lease::release(w.pool(), other).await.expect("a statement");
    assert!(w.hold(one, booking).await);
}

#[tokio::test]
async fn leases_are_renewed_in_bounded_batches_and_are_no_news() {
    let w = World::new().await;
    let (node, _alive) = living(&w).await;
    let mut bookings = Vec::new();
    for _ in 0..5 {
        bookings.push(w.booking().await);
    }
    let changed = "SELECT (extract(epoch FROM max(updated_at)) * 1000000)::bigint FROM bookings";
    let before = w.one(changed, 0).await;
    assert_eq!(w.claim(node, 2).await.len(), 2, "the oldest first");
    assert_eq!(w.claim(node, 10).await, bookings[2..]);
    let renew = async |left: u64, limit| {
        lease::renew(w.pool(), node, LIFE, Duration::from_secs(left), limit).await.expect("a statement")
    };
    assert_eq!(renew(20, 10).await, 0, "not before its time");
    assert_eq!((renew(40, 3).await, w.one(changed, 0).await), (3, before));
    w.run("UPDATE bookings SET status = 'cancelled', cancelled_at = now() WHERE id = $1", bookings[0].0).await;
    assert_eq!(renew(40, 10).await, 4, "what is over needs no lease");
    assert_ne!(w.one(changed, 0).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_at_once_share_without_a_booking_twice() {
    let w = World::new().await;
    let mut bookings = BTreeSet::new();
    for _ in 0..60 {
        bookings.insert(w.booking().await);
    }
    let ((one, _a), (other, _b)) = (living(&w).await, living(&w).await);
    let all = async |node| {
        let mut mine = Vec::new();
        // SKIP LOCKED leaves what the other is taking: nothing left is seen after it has committed.
        for _ in 0..40 {
            mine.extend(w.claim(node, 5).await);
        }
        mine
    };
    let (a, b) = tokio::join!(all(one), all(other));
    assert_eq!(a.len() + b.len(), 60);
    assert_eq!(a.iter().chain(&b).copied().collect::<BTreeSet<_>>(), bookings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_dispatchers_share_what_waits_and_drive_nothing_twice() {
    const BOOKINGS: i64 = 16;
    let w = World::new().await;
    for _ in 0..BOOKINGS {
        w.booking().await;
    }
    let (a, b) = (Node::start(&w, |_| {}), Node::start(&w, |_| {}));
    for _ in 0..BOOKINGS {
        let therapist = w.therapist().await;
        a.place(&w, therapist, 1.0).await;
        b.place(&w, therapist, 1.0).await;
    }
    let (one, other) = tokio::join!(a.dispatcher.reconcile(), b.dispatcher.reconcile());
    one.and(other).expect("statements");
    w.until_so("all are offered", "SELECT (count(DISTINCT booking_id) = 16)::int::bigint FROM booking_offers").await;
    a.stop().await;
    b.stop().await;
    assert_eq!(w.one("SELECT count(*) FROM booking_offers", 0).await, BOOKINGS, "one offer each");
    let driven = "SELECT count(*) FROM dispatch_decisions WHERE kind = 'searching'";
    assert_eq!(w.one(driven, 0).await, BOOKINGS, "each was searched for by one of them");
    assert_eq!(w.one("SELECT count(*) FROM bookings WHERE lease_owner IS NOT NULL", 0).await, 0, "given up at the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_hanging_node_held_is_driven_by_another_once_its_lease_is_over() {
    let w = World::new().await;
    let (hanging, _alive) = living(&w).await;
    let booking = w.booking().await;
    assert!(w.hold(hanging, booking).await);
    let node = Node::start(&w, |_| {});
    let therapist = w.therapist().await;
    node.place(&w, therapist, 1.0).await;
    node.dispatcher.reconcile().await.expect("a statement");
    node.dispatcher.wanted(booking).await;
    assert!(!w.hold(NodeId(Uuid::new_v4()), booking).await, "it is the hanging one's");
    assert_eq!(w.one("SELECT count(*) FROM dispatch_decisions", 0).await, 0);
    w.expire_leases().await;
    w.until_so("it is offered", "SELECT count(*) FROM booking_offers").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_killed_node_held_is_anothers_at_once_and_a_restart_takes_all() {
    let w = World::new().await;
    let (mut bookings, customer) = (Vec::new(), w.customer().await);
    for _ in 0..5 {
        bookings.push(w.create(&w.new_booking(customer).await).await);
    }
    const HELD: &str = "SELECT (count(*) = 5 AND count(DISTINCT lease_owner) = 1)::int::bigint FROM bookings
                        WHERE lease_until > clock_timestamp() + interval '25 s'";
    let first = Process::serve(&w.db).await;
    w.until_so("the first holds all", HELD).await;
    let owner = "SELECT lease_owner::text FROM bookings WHERE id = $1";
    let dead = w.text(owner, bookings[0].0).await;
    first.kill().await;
    let killed = clock::monotonic();
    let restarted = Process::serve(&w.db).await;
    w.until_so(
        "the restarted one holds all",
        "SELECT (count(*) = 5 AND bool_and(lease_token = 2))::int::bigint FROM bookings",
    )
    .await;
    assert!(killed.elapsed() < LEASES_WOULD_LAST, "{:?}", killed.elapsed());
    assert_ne!(w.text(owner, bookings[0].0).await, dead);
    // Another node beside it takes nothing while it lives, and all when it is killed.
    let node = Node::start(&w, |_| {});
    node.dispatcher.reconcile().await.expect("a statement");
    assert_eq!(w.one("SELECT count(*) FROM bookings WHERE lease_token = 2", 0).await, 5);
    restarted.kill().await;
    let killed = clock::monotonic();
    w.until_so("the other has them", "SELECT (count(*) = 5)::int::bigint FROM bookings WHERE lease_token = 3").await;
    assert!(killed.elapsed() < LEASES_WOULD_LAST, "{:?}", killed.elapsed());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_that_is_lost_in_the_middle_of_an_offer_makes_no_second_one() {
    let w = World::new().await;
    for _ in 0..4 {
        let (a, b) = (Node::start(&w, |_| {}), Node::start(&w, |_| {}));
        b.dispatcher.reconcile().await.expect("a statement"); // from now on it takes what becomes free
        let (one, other) = (w.therapist().await, w.therapist().await);
        let booking = a.book(&w, w.customer().await).await;
        let mut held = w.pool().begin().await.expect("a connection");
        sqlx::query("UPDATE bookings SET lease_until = clock_timestamp() - interval '1 s' WHERE id = $1")
            .bind(booking.0)
            .execute(&mut *held)
            .await
            .expect("a statement");
        // Each node knows but one of the two. The first one's offer waits for the booking's row, while the lease passes on.
        b.place(&w, other, 1.0).await;
        a.place(&w, one, 1.0).await;
        a.dispatcher.supply_appeared();
        w.until_so(
            "the first one's offer waits",
            "SELECT (count(*) > 0)::int::bigint FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .await;
        held.commit().await.expect("a commit");
        b.dispatcher.wanted(booking).await;
        let live = "SELECT count(*) FROM booking_offers WHERE booking_id = $1 AND status = 'offered'";
        for _ in 0..50 {
            assert!(w.one(live, booking.0).await <= 1, "one live offer at a time, whoever drives");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        w.run("UPDATE bookings SET status = 'cancelled', cancelled_at = now() WHERE id = $1", booking.0).await;
        a.stop().await;
        b.stop().await;
    }
}
