//! The schema against the document that it implements (`document`), against its own conventions (`conventions`), and
//! what its triggers and constraints promise (`bookings`, `people`, `partitions`).

mod backup;
mod behind;
mod bookings;
mod conventions;
mod document;
mod fixture;
mod partitions;
mod people;

use std::collections::BTreeMap;
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

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let db = database().await;
    spacall::store::migrate(db.pool()).await.unwrap();
}

#[tokio::test]
async fn every_table_and_column_of_the_document_is_there_with_its_type() {
    let db = database().await;
    let columns: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    let found: BTreeMap<_, _> = columns.into_iter().map(|(t, c, kind, set)| ((t, c), (kind, set))).collect();
    let mut wrong = Vec::new();
    for (table, columns) in document::TABLES {
        for column in columns.split("; ") {
            let never_null = column.ends_with('!');
            let (name, kind) = column.trim_end_matches('!').split_once(' ').unwrap();
            let kind = match kind {
                "timestamptz" => "timestamp with time zone".to_owned(),
                other => other.replace("varchar", "character varying"),
            };
            match found.get(&(table.to_owned(), name.to_owned())) {
                Some((is, set)) if *is == kind && (*set || !never_null) => {}
                other => wrong.push(format!("{table}.{name}: wanted {kind}, found {other:?}")),
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn every_enum_has_the_values_of_the_document_in_their_order() {
    let db = database().await;
    for (name, values) in document::ENUMS {
        let labels: Vec<String> = sqlx::query_scalar(
            "SELECT enumlabel::text FROM pg_enum WHERE enumtypid = to_regtype($1) ORDER BY enumsortorder",
        )
        .bind(name)
        .fetch_all(db.pool())
        .await
        .unwrap();
        let wanted: Vec<&str> = values.split(' ').collect();
        assert_eq!(labels.iter().take(wanted.len()).collect::<Vec<_>>(), wanted.iter().collect::<Vec<_>>(), "{name}");
    }
}

/// Indexes of the document that another one replaces; docs/schema.md says why.
const REPLACED: [(&str, &str); 4] = [
    ("idx_users_email", "lower(email::text)"),
    ("idx_promo_codes_code", "upper(code::text)"),
    ("idx_providers_available", "type"),
    ("idx_notifications_read", "user_id"),
];

#[tokio::test]
async fn every_index_of_the_document_has_one_that_serves_its_queries() {
    let db = database().await;
    let indexes: Vec<(String, String, Vec<String>)> = sqlx::query_as(
        "SELECT t.relname::text, am.amname::text,
                (SELECT array_agg(pg_get_indexdef(i.indexrelid, k, true) ORDER BY k) FROM generate_series(1, i.indnkeyatts) k)
         FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
         JOIN pg_am am ON am.oid = x.relam WHERE t.relnamespace = 'public'::regnamespace",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    let mut missing = Vec::new();
    for (name, table, method, columns) in document::INDEXES {
        let columns = REPLACED.iter().find(|(replaced, _)| *replaced == name).map_or(columns, |(_, by)| *by);
        let wanted: Vec<&str> = columns.split(',').collect();
        let served = |(t, m, keys): &(String, String, Vec<String>)| {
            t == table && m == method && keys.len() >= wanted.len() && keys.iter().zip(&wanted).all(|(k, w)| k == w)
        };
        if !indexes.iter().any(served) {
            missing.push(format!("{name} on {table} ({columns})"));
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[tokio::test]
async fn the_seed_rows_of_the_document_are_there() {
    let db = database().await;
    let list = async |sql: &'static str| -> Vec<String> { sqlx::query_scalar(sql).fetch_all(db.pool()).await.unwrap() };
    assert_eq!(
        list("SELECT name || '/' || guard_name FROM roles ORDER BY id").await,
        ["customer/api", "therapist/api", "store_owner/api", "admin/api", "super_admin/api"]
    );
    assert_eq!(
        list("SELECT id || ' ' || slug || ' ' || sort_order FROM service_categories ORDER BY id").await,
        ["1 massage-therapy 1", "2 spa-treatments 2", "3 physical-therapy 3"]
    );
    assert_eq!(
        list("SELECT concat_ws(' ', id, category_id, slug, base_price, duration_minutes) FROM services ORDER BY id")
            .await,
        [
            "1 1 swedish-massage 800.00 60",
            "2 1 deep-tissue-massage 1000.00 60",
            "3 1 sports-massage 1200.00 60",
            "4 1 aromatherapy-massage 1100.00 90",
            "5 1 hot-stone-massage 1500.00 90",
            "6 2 foot-spa 500.00 30",
            "7 2 body-scrub 800.00 45"
        ]
    );
    assert_eq!(
        list("SELECT key || ' ' || value FROM app_settings ORDER BY id LIMIT 4").await,
        [
            r#"commission_rate {"default": 15, "premium": 10}"#,
            r#"booking_timeout {"pending": 300, "accepted": 1800}"#,
            r#"cancellation_policy {"fee_percentage": 50, "free_before_hours": 24}"#,
            "service_radius_max 20"
        ]
    );
}

#[tokio::test]
async fn the_sample_queries_run_as_they_are_written() {
    let db = database().await;
    let pool = db.pool();
    for sql in [document::NEARBY, document::EARNINGS, document::HISTORY] {
        sqlx::raw_sql(sql).execute(pool).await.unwrap();
    }
    let near = fixture::therapist(pool, "+639170000001", 14.5600, 121.0250).await;
    fixture::therapist(pool, "+639170000002", 14.7000, 121.1000).await;
    let nearby: Vec<(i64, f64)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT id, distance_km FROM ({}) q",
        unfinished(document::NEARBY)
    )))
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(nearby.len(), 1);
    assert_eq!(nearby[0].0, near.provider);
    assert!((nearby[0].1 - 0.6).abs() < 0.02, "{} km", nearby[0].1);

    let customer = fixture::customer(pool, "+639170000003").await;
    let booking = fixture::completed(pool, customer, &near, "2026-02-01T10:00:00+08:00").await;
    for (table, id, wanted) in [("providers", near.provider, 123), ("users", customer, 456)] {
        fixture::renumber(pool, table, id, wanted).await;
    }
    let earnings: (i64, i64, String) = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT provider_id, total_bookings, net_earnings::text FROM ({}) q",
        unfinished(document::EARNINGS)
    )))
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(earnings, (123, 1, "680.00".into()));
    let history: Vec<(String, String, Option<i32>)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT booking_number, service_name, overall_rating FROM ({}) q",
        unfinished(document::HISTORY)
    )))
    .fetch_all(pool)
    .await
    .unwrap();
    let number: String = sqlx::query_scalar("SELECT booking_number FROM bookings WHERE id = $1")
        .bind(booking)
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(history, [(number, "Swedish Massage".into(), None)]);
}

/// To ask something of a query's rows, its closing semicolon must go.
fn unfinished(sql: &str) -> &str {
    sql.trim_end().trim_end_matches(';')
}
