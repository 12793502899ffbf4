//! The log of decisions: kept for a while, then forgotten.

use spacall::store::decisions::{self, KEPT_DAYS};

use super::world::World;

#[tokio::test]
async fn decisions_are_forgotten_after_their_time_and_not_before() {
    let w = World::new().await;
    let booking = w.booking().await;
    // More than are deleted in one statement.
    sqlx::query(
        "INSERT INTO dispatch_decisions (booking_id, decided_at, kind, detail)
         SELECT $1, now() - make_interval(days => $2 + CASE WHEN n <= 10001 THEN 1 ELSE -1 END), 'waiting', '{}'
         FROM generate_series(1, 10005) n",
    )
    .bind(booking.0)
    .bind(KEPT_DAYS)
    .execute(w.pool())
    .await
    .expect("rows");
    assert_eq!(decisions::prune(w.pool()).await.expect("a statement"), 10_001);
    assert_eq!(decisions::of_booking(w.pool(), booking, 100).await.expect("a statement").len(), 4);
    assert_eq!(decisions::prune(w.pool()).await.expect("a statement"), 0);
}
