//! Months of `provider_locations`: made ahead, dropped three months after their end, never a ping lost for want of one.

use spacall::core::time::Timestamp;
use spacall::store::partitions::{default_rows, maintain};
use spacall::wire::time::WireTime;

use super::fixture::therapist;
use crate::support::database;

fn at(text: &str) -> Timestamp {
    WireTime::parse(text).unwrap().0
}

fn names(months: &[&str]) -> Vec<String> {
    months.iter().map(|month| format!("provider_locations_{month}")).collect()
}

#[tokio::test]
async fn months_are_made_ahead_and_dropped_three_months_after_their_end() {
    let db = database().await;
    let pool = db.pool();
    let first = maintain(pool, at("2030-10-15T00:00:00Z")).await.unwrap();
    assert_eq!(first.present, names(&["y2030m09", "y2030m10", "y2030m11", "y2030m12"]), "{first:?}");
    assert_eq!(first.created, first.present);

    let again = maintain(pool, at("2030-10-31T23:59:59Z")).await.unwrap();
    assert_eq!((again.created, again.dropped), (vec![], vec![]));

    // September ended at the start of October: kept to the last moment of December.
    let december = maintain(pool, at("2030-12-31T23:59:59.999999Z")).await.unwrap();
    assert_eq!(december.dropped, Vec::<String>::new());
    assert_eq!(december.created, names(&["y2031m01", "y2031m02"]));
    let january = maintain(pool, at("2031-01-01T00:00:00Z")).await.unwrap();
    assert_eq!(january.dropped, names(&["y2030m09"]));
    assert_eq!(january.created, names(&["y2031m03"]));
}

#[tokio::test]
async fn a_ping_without_its_month_is_kept_told_and_moved_when_the_month_is_made() {
    let db = database().await;
    let pool = db.pool();
    let person = therapist(pool, "+639170000001", 14.5547, 121.0244).await;
    let ping = async |time: &str| {
        sqlx::query(
            "INSERT INTO provider_locations (provider_id, latitude, longitude, created_at)
             VALUES ($1, 14.5, 121, $2::text::timestamptz) ON CONFLICT DO NOTHING",
        )
        .bind(person.provider)
        .bind(time)
        .execute(pool)
        .await
        .unwrap()
        .rows_affected()
    };
    // The last and the first microsecond of a month, in UTC.
    assert_eq!(ping("2031-05-31T23:59:59.999999Z").await, 1);
    assert_eq!(ping("2031-06-01T00:00:00Z").await, 1);
    assert_eq!(ping("2031-06-01T08:00:00+08:00").await, 0, "the same fix again");
    assert_eq!(default_rows(pool).await.unwrap(), 2);

    let report = maintain(pool, at("2031-06-10T00:00:00Z")).await.unwrap();
    assert_eq!(report.default_rows, 0, "{report:?}");
    let months: Vec<String> = sqlx::query_scalar(
        "SELECT tableoid::regclass::text FROM provider_locations WHERE provider_id = $1 ORDER BY created_at",
    )
    .bind(person.provider)
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(months, names(&["y2031m05", "y2031m06"]));
    assert_eq!(ping("2031-06-01T00:00:00Z").await, 0, "a moved ping is still known");
}

#[tokio::test]
async fn two_nodes_may_maintain_at_once() {
    let db = database().await;
    let now = at("2032-03-01T00:00:00Z");
    let (a, b) = tokio::join!(maintain(db.pool(), now), maintain(db.pool(), now));
    assert_eq!(a.unwrap().present, b.unwrap().present);
}

#[tokio::test]
async fn a_month_that_must_wait_for_a_lock_gives_up_and_can_be_tried_again() {
    let db = database().await;
    let mut busy = db.pool().begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM provider_locations_default").execute(&mut *busy).await.unwrap();
    let now = at("2033-03-01T00:00:00Z");
    let error = maintain(db.pool(), now).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    busy.rollback().await.unwrap();
    maintain(db.pool(), now).await.unwrap();
}
