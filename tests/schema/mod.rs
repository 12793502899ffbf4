//! The schema against the document that it implements, and against its own conventions.

use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::support::database;

#[tokio::test]
async fn each_test_gets_a_migrated_database_of_its_own() {
    let (a, b) = tokio::join!(database(), database());
    assert_ne!(a.name(), b.name());
    let version: String = sqlx::query_scalar("SELECT postgis_lib_version()").fetch_one(a.pool()).await.unwrap();
    assert!(version.starts_with('3'), "PostGIS {version}");
    sqlx::query("DELETE FROM services").execute(a.pool()).await.unwrap();
    let mut by_url = PgConnectOptions::from_str(b.url()).unwrap().connect().await.unwrap();
    let services: i64 = sqlx::query_scalar("SELECT count(*) FROM services").fetch_one(&mut by_url).await.unwrap();
    assert_eq!(services, 7);
    assert_eq!(b.options().get_database(), Some(b.name()));
}
