//! Users, wallets and places.

use super::fixture::{customer, refused, therapist};
use crate::support::database;

#[tokio::test]
async fn a_phone_is_one_person_however_it_is_written_until_the_account_is_deleted() {
    let db = database().await;
    let pool = db.pool();
    let first = customer(pool, "0917 123-4567").await;
    let phone: String =
        sqlx::query_scalar("SELECT phone FROM users WHERE id = $1").bind(first).fetch_one(pool).await.unwrap();
    assert_eq!(phone, "+639171234567");
    let again = async || sqlx::query("INSERT INTO users (phone) VALUES ('+63 (917) 123 4567')").execute(pool).await;
    assert_eq!(refused(again().await), "uq_users_phone_live");
    sqlx::query("UPDATE users SET deleted_at = now() WHERE id = $1").bind(first).execute(pool).await.unwrap();
    again().await.unwrap();
    let bad = sqlx::query("INSERT INTO users (phone) VALUES ('12345')").execute(pool).await;
    assert_eq!(refused(bad), "users_phone_e164");
}

#[tokio::test]
async fn every_user_gets_a_wallet_whose_ledger_only_grows_and_adds_up() {
    let db = database().await;
    let pool = db.pool();
    let user = customer(pool, "+639170000001").await;
    let wallet: i64 =
        sqlx::query_scalar("SELECT id FROM wallets WHERE user_id = $1").bind(user).fetch_one(pool).await.unwrap();
    let entry = async |after: i64| {
        sqlx::query(
            "INSERT INTO wallet_transactions (wallet_id, type, amount, balance_before, balance_after)
             VALUES ($1, 'credit', 100, 0, $2)",
        )
        .bind(wallet)
        .bind(after)
        .execute(pool)
        .await
    };
    assert_eq!(refused(entry(99).await), "wallet_transactions_arithmetic");
    entry(100).await.unwrap();
    let changed = sqlx::query("UPDATE wallet_transactions SET amount = 1").execute(pool).await;
    assert_eq!(refused(changed), "wallet_transactions is append-only");
    let overdrawn = sqlx::query("UPDATE wallets SET balance = -1").execute(pool).await;
    assert_eq!(refused(overdrawn), "wallets_balance_not_negative");
}

#[tokio::test]
async fn a_place_follows_its_coordinates() {
    let db = database().await;
    let pool = db.pool();
    let person = therapist(pool, "+639170000001", 14.5547, 121.0244).await;
    let place = async || -> Option<String> {
        sqlx::query_scalar("SELECT ST_AsText(base_location) FROM therapist_profiles WHERE provider_id = $1")
            .bind(person.provider)
            .fetch_one(pool)
            .await
            .unwrap()
    };
    assert_eq!(place().await.as_deref(), Some("POINT(121.0244 14.5547)"));
    sqlx::query("UPDATE therapist_profiles SET base_location_latitude = NULL, base_location_longitude = NULL")
        .execute(pool)
        .await
        .unwrap();
    assert_eq!(place().await, None, "not left at the old place");
    let half = sqlx::query("UPDATE therapist_profiles SET base_location_latitude = 14").execute(pool).await;
    assert_eq!(refused(half), "therapist_base_both_or_none");
}

#[tokio::test]
async fn a_profile_is_of_the_kind_of_its_provider() {
    let db = database().await;
    let pool = db.pool();
    let person = therapist(pool, "+639170000001", 14.5547, 121.0244).await;
    let store = sqlx::query(
        "INSERT INTO store_profiles (provider_id, store_name, address_line1, city, latitude, longitude)
         VALUES ($1, 'Spa', 'Street', 'Makati', 14.5, 121)",
    )
    .bind(person.provider)
    .execute(pool)
    .await;
    assert_eq!(refused(store), "store_profiles_provider_id_provider_type_fkey");
}

#[tokio::test]
async fn updated_at_moves_with_every_change() {
    let db = database().await;
    let pool = db.pool();
    let user = customer(pool, "+639170000001").await;
    sqlx::query("UPDATE users SET first_name = 'Bea', updated_at = '2000-01-01' WHERE id = $1")
        .bind(user)
        .execute(pool)
        .await
        .unwrap();
    let later: bool = sqlx::query_scalar("SELECT updated_at > created_at FROM users WHERE id = $1")
        .bind(user)
        .fetch_one(pool)
        .await
        .unwrap();
    assert!(later);
}
