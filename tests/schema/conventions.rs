//! Rules that every table keeps, those of later migrations too: asked of the catalog.

use crate::support::database;

/// Foreign keys without an index of their own, on purpose: "who did it" columns. Users are soft-deleted, so nothing looks
/// a user's rows up this way, and an index on each would be paid for at every booking step.
const UNINDEXED: [&str; 5] = [
    "booking_status_history.changed_by",
    "booking_timeline.created_by",
    "bookings.cancelled_by",
    "provider_documents.verified_by",
    "providers.verified_by",
];

/// Rows of `sql` (text), as what is wrong.
async fn none(sql: &'static str) {
    let db = database().await;
    let wrong: Vec<String> = sqlx::query_scalar(sql).fetch_all(db.pool()).await.unwrap();
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn every_foreign_key_has_an_index_or_is_a_stated_exception() {
    let db = database().await;
    let unindexed: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname || '.' || a.attname
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
         JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
         WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relnamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indkey[0] = ANY (k.conkey)
                           AND (i.indpred IS NULL
                                OR pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname)))
         ORDER BY 1",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    assert_eq!(unindexed, UNINDEXED);
}

#[tokio::test]
async fn every_time_has_a_zone_and_no_amount_is_a_float() {
    none(
        "SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
           AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
           AND a.atttypid IN ('timestamp'::regtype, 'time'::regtype, 'timetz'::regtype, 'money'::regtype,
                              'float4'::regtype, 'float8'::regtype, 'json'::regtype)",
    )
    .await;
}

#[tokio::test]
async fn updated_at_is_kept_by_a_trigger_on_every_table_that_has_it() {
    none(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'updated_at'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgfoid = 'set_updated_at'::regproc)",
    )
    .await;
}

#[tokio::test]
async fn every_table_has_a_primary_key() {
    none(
        "SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)",
    )
    .await;
}

#[tokio::test]
async fn every_place_is_derived_from_its_coordinates_and_indexed() {
    none(
        "SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.atttypid = 'geography'::regtype
           AND (a.attgenerated <> 's' OR NOT EXISTS (
                SELECT 1 FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
                WHERE i.indrelid = c.oid AND m.amname = 'gist' AND i.indkey[0] = a.attnum))",
    )
    .await;
}

#[tokio::test]
async fn no_two_indexes_do_the_same() {
    none(
        "SELECT a.indexrelid::regclass || ' = ' || b.indexrelid::regclass FROM pg_index a JOIN pg_index b
           ON a.indrelid = b.indrelid AND a.indexrelid < b.indexrelid AND a.indkey = b.indkey AND a.indclass = b.indclass
          AND a.indoption = b.indoption
          AND a.indpred IS NOT DISTINCT FROM b.indpred AND a.indexprs IS NOT DISTINCT FROM b.indexprs
         JOIN pg_class c ON c.oid = a.indrelid WHERE c.relnamespace = 'public'::regnamespace",
    )
    .await;
}

#[tokio::test]
async fn every_table_is_described_in_the_documentation() {
    let db = database().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.relname <> '_sqlx_migrations'
           AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    let text = include_str!("../../docs/schema.md");
    let silent: Vec<_> = tables.into_iter().filter(|table| !text.contains(&format!("`{table}`"))).collect();
    assert_eq!(silent, Vec::<String>::new());
}
