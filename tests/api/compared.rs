//! The comparison of the index with the database that goes round the fleet: what nobody told of is found, and what somebody
//! tells of does not wait for it.

use std::time::Duration;

use spacall::core::fleet::Fleet;
use spacall::core::geo::LatLng;
use spacall::core::ids::ProviderId;
use spacall::store;
use spacall::store::seed::{FleetPlan, StorePlan, fleet, stores};
use sqlx::PgPool;

use super::audit::{counted, hold_the_next_read};
use super::*;
use crate::support::{TestDatabase, database, until, until_told};

/// A database with so many therapists, in order of id.
async fn with_therapists(many: u32) -> (TestDatabase, Vec<ProviderId>) {
    let database = database().await;
    let plan = FleetPlan { therapists: many, customers: 0, cities: spacall::cities::metro_manila(), seed: 1 };
    fleet(database.pool(), &plan).await.expect("a fleet");
    let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM providers WHERE type = 'therapist' ORDER BY id")
        .fetch_all(database.pool())
        .await
        .expect("ids");
    (database, ids.into_iter().map(ProviderId).collect())
}

/// Connections whose changes no trigger tells of, as lost notifications would leave them.
async fn silent(database: &TestDatabase) -> PgPool {
    let silent = database.options().options([("session_replication_role", "replica")]);
    store::connect(silent, 1).await.expect("a pool")
}

async fn run(pool: &PgPool, statement: &'static str, provider: ProviderId) {
    let changed = sqlx::query(statement).bind(provider.0).execute(pool).await.expect("a change");
    assert_eq!(changed.rows_affected(), 1, "{statement}");
}

fn rating(fleet: &Fleet, provider: ProviderId) -> Option<String> {
    fleet.therapist(provider).map(|therapist| therapist.average_rating.decimal().to_string())
}

const RATED: &str = "UPDATE providers SET average_rating = 1.25 WHERE id = $1";

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_told_of_is_found_in_every_part_of_the_fleet() {
    // Three parts.
    let (database, ids) = with_therapists(450).await;
    let server = Server::comparing(database, Duration::from_millis(500)).await;
    let silent = silent(&server.database).await;
    let (engine, index) = (server.engine(), &server.engine().fleet);
    assert_eq!(index.len(), 450);
    for (first, last) in [(0, 449), (100, 448), (250, 447)] {
        let (changed, deleted) = (ids[first], ids[last]);
        run(&silent, RATED, changed).await;
        run(&silent, "DELETE FROM providers WHERE id = $1", deleted).await;
        run(
            &silent,
            "INSERT INTO provider_locations (provider_id, latitude, longitude) VALUES ($1, 14.6, 121.0)",
            changed,
        )
        .await;
        until("who was changed is", || rating(index, changed).as_deref() == Some("1.25")).await;
        until("who was deleted is gone", || index.therapist(deleted).is_none()).await;
        let there = LatLng::new(14.6, 121.0).expect("a place");
        until("his newest fix is shown", || index.position(changed).is_some_and(|(place, _)| place == there)).await;
    }
    run(&silent, "DELETE FROM providers WHERE id = $1", ids[1]).await;
    until("the first is gone too", || index.therapist(ids[1]).is_none()).await;
    run(&silent, "UPDATE therapist_profiles SET languages_spoken = '7' WHERE provider_id = $1", ids[2]).await;
    until("a row that says nonsense is left out", || index.therapist(ids[2]).is_none()).await;

    let added = people::therapist(&silent, "Perla", HERE.0, HERE.1).await;
    until("who was added is there", || index.therapist(ProviderId(added.provider_id)).is_some()).await;
    assert_eq!(index.len(), 446);

    assert_eq!(engine.stores().len(), 0);
    let plan = StorePlan { stores: 3, cities: spacall::cities::metro_manila(), seed: 1 };
    stores(&silent, &plan).await.expect("stores");
    sqlx::query("UPDATE app_settings SET value = '601' WHERE key = 'location_stale_after'")
        .execute(&silent)
        .await
        .expect("a setting");
    sqlx::query("UPDATE services SET name = 'Hilot' WHERE slug = 'swedish-massage'")
        .execute(&silent)
        .await
        .expect("a service");
    until("stores were added", || engine.stores().len() == 3).await;
    until("a setting is another", || engine.settings().location_stale_after_s == 601).await;
    sqlx::query(
        "UPDATE app_settings SET value = CASE key WHEN 'service_radius_max' THEN '21' ELSE '\"long\"' END::jsonb
         WHERE key IN ('location_stale_after', 'service_radius_max')",
    )
    .execute(&silent)
    .await
    .expect("a setting, and nonsense");
    until("another setting is read", || engine.settings().service_radius_max_km == 21).await;
    assert_eq!(engine.settings().location_stale_after_s, 601, "nonsense changes nothing");
    until("a service has another name", || engine.catalog().find("swedish-massage").is_some_and(|s| s.name == "Hilot"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_during_a_comparison_does_not_wait_for_its_end() {
    // Five parts, 2.2 s from one to the next.
    let (database, ids) = with_therapists(900).await;
    let server = Server::comparing(database, Duration::from_secs(12)).await;
    let silent = silent(&server.database).await;
    let index = &server.engine().fleet;
    let (told, untold) = (ids[0], ids[899]);
    run(&silent, RATED, untold).await;
    let held = hold_the_next_read(&server).await;
    held.until_somebody_waits(&server).await;

    // The rows of the first part, which is being read, are older than this change.
    run(server.pool(), RATED, told).await;
    // Whoever does not wait for the part to be read shows it now, and must not show what is older after that.
    for _ in 0..50 {
        if rating(index, told).as_deref() == Some("1.25") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    held.let_go().await;
    until("the change that was told of is shown", || rating(index, told).as_deref() == Some("1.25")).await;
    assert_ne!(rating(index, untold).as_deref(), Some("1.25"), "the whole fleet was compared first");
    until("the last part is compared", || rating(index, untold).as_deref() == Some("1.25")).await;
    assert_eq!(rating(index, told).as_deref(), Some("1.25"), "shown, and taken back");
}

/// The server's connections that listen.
async fn listeners(server: &Server) -> Vec<i32> {
    let statement = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    sqlx::query_scalar(statement).fetch_all(server.pool()).await.expect("connections")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_cannot_be_read_is_tried_again_by_the_one_who_listens() {
    let (database, ids) = with_therapists(10).await;
    let server = Server::comparing(database, Duration::from_millis(500)).await;
    let silent = silent(&server.database).await;
    let (before, index) = (listeners(&server).await, &server.engine().fleet);
    assert_eq!(before.len(), 1);
    let execute = async |statement| sqlx::raw_sql(statement).execute(server.pool()).await.expect("a statement");
    execute("ALTER TABLE therapist_profiles RENAME TO therapist_profiles_away").await;
    until_told("a part cannot be read", async || counted(&server, "spacall_comparison_failures_total").await > 0).await;
    run(&silent, RATED, ids[3]).await;
    execute("ALTER TABLE therapist_profiles_away RENAME TO therapist_profiles").await;
    until("the part is read", || rating(index, ids[3]).as_deref() == Some("1.25")).await;
    assert_eq!(listeners(&server).await, before, "all was read anew");
}
