//! What is dumped comes back, whole or not at all.

use std::os::unix::fs::PermissionsExt;

use spacall::store;
use spacall::store::backup::{BackupError, restore, write};

use super::fixture::{completed, customer, therapist};
use crate::support::{database, empty_database};

#[tokio::test]
async fn a_dump_restores_into_an_empty_database_row_for_row() {
    let db = database().await;
    let person = therapist(db.pool(), "+639170000001", 14.5547, 121.0244).await;
    let booker = customer(db.pool(), "+639170000002").await;
    completed(db.pool(), booker, &person, "2026-02-01T10:00:00+08:00").await;
    sqlx::query("INSERT INTO provider_locations (provider_id, latitude, longitude) VALUES ($1, 14.5, 121)")
        .bind(person.provider)
        .execute(db.pool())
        .await
        .unwrap();
    let dir = std::env::temp_dir().join(format!("spacall-backup-{}", std::process::id()));
    let file = write(&db.options(), &dir, true).await.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let again = empty_database().await;
    restore(&again.options(), &file).await.unwrap();
    for table in ["users", "bookings", "booking_status_history", "provider_locations", "services", "_sqlx_migrations"] {
        let sql = format!("SELECT coalesce(json_agg(t ORDER BY t::text)::text, '') FROM {table} t");
        let rows = async |pool| -> String {
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql.clone())).fetch_one(pool).await.unwrap()
        };
        assert_eq!(rows(db.pool()).await, rows(again.pool()).await, "{table}");
    }
    store::migrate(again.pool()).await.unwrap();
    completed(again.pool(), booker, &person, "2026-02-02T10:00:00+08:00").await;

    let onto = restore(&again.options(), &file).await.unwrap_err();
    assert!(matches!(onto, BackupError::NotEmpty { tables: 39.., .. }), "{onto}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn a_broken_dump_changes_nothing_and_is_told() {
    let db = empty_database().await;
    let file = std::env::temp_dir().join(format!("spacall-broken-{}.backup", std::process::id()));
    std::fs::write(&file, "no dump").unwrap();
    let error = restore(&db.options(), &file).await.unwrap_err().to_string();
    assert!(error.starts_with("pg_restore failed: "), "{error}");
    std::fs::remove_file(&file).unwrap();
    let missing = restore(&db.options(), &file).await.unwrap_err().to_string();
    assert!(missing.contains("spacall-broken"), "{missing}");
}
