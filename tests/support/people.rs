//! People for the tests, written with plain SQL: what the Laravel application would have left in the tables.

use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

/// Somebody with a token.
#[derive(Clone, Debug)]
pub struct Person {
    pub user_id: i64,
    pub user_uuid: Uuid,
    pub token: String,
}

/// A verified, available therapist with the seven services of the schema at their base prices.
#[derive(Clone, Debug)]
pub struct Therapist {
    pub person: Person,
    pub provider_id: i64,
    pub provider_uuid: Uuid,
}

/// A user with a role and a token that may do everything.
pub async fn person(pool: &PgPool, role: &str, first_name: &str) -> Person {
    let (user_id, user_uuid): (i64, Uuid) = sqlx::query_as(
        "INSERT INTO users (phone, first_name, last_name, gender, is_verified)
         VALUES ('+639' || lpad((SELECT count(*) + 100000000 FROM users)::text, 9, '0'), $1, 'Santos', 'female', TRUE)
         RETURNING id, uuid",
    )
    .bind(first_name)
    .fetch_one(pool)
    .await
    .expect("a user");
    sqlx::query("INSERT INTO model_has_roles (role_id, model_id) SELECT id, $2 FROM roles WHERE name = $1")
        .bind(role)
        .bind(user_id)
        .execute(pool)
        .await
        .expect("a role");
    let token = token(pool, user_id, r#"["*"]"#).await;
    Person { user_id, user_uuid, token }
}

/// Another token of a user, with these abilities (JSON).
pub async fn token(pool: &PgPool, user_id: i64, abilities: &str) -> String {
    let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let hash: String = Sha256::digest(secret.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO personal_access_tokens (tokenable_id, name, token, abilities) VALUES ($1, 'test', $2, $3) RETURNING id",
    )
    .bind(user_id)
    .bind(hash)
    .bind(abilities)
    .fetch_one(pool)
    .await
    .expect("a token");
    format!("{id}|{secret}")
}

/// A customer.
pub async fn customer(pool: &PgPool) -> Person {
    person(pool, "customer", "Maria").await
}

/// An admin.
pub async fn admin(pool: &PgPool) -> Person {
    person(pool, "admin", "Andres").await
}

/// A therapist whose base location is here. He has no live position until his app sends one.
pub async fn therapist(pool: &PgPool, first_name: &str, latitude: f64, longitude: f64) -> Therapist {
    let person = person(pool, "therapist", first_name).await;
    let (provider_id, provider_uuid): (i64, Uuid) = sqlx::query_as(
        "INSERT INTO providers (user_id, type, verification_status, verified_at, is_available)
         VALUES ($1, 'therapist', 'verified', now(), TRUE) RETURNING id, uuid",
    )
    .bind(person.user_id)
    .fetch_one(pool)
    .await
    .expect("a provider");
    sqlx::query(
        "INSERT INTO therapist_profiles (provider_id, service_radius_km, base_location_latitude, base_location_longitude, specializations)
         VALUES ($1, 20, $2, $3, '[\"Swedish\"]')",
    )
    .bind(provider_id)
    .bind(latitude)
    .bind(longitude)
    .execute(pool)
    .await
    .expect("a profile");
    sqlx::query(
        "INSERT INTO provider_services (provider_id, service_id, price, base_distance_km, per_km_surcharge, max_travel_distance_km)
         SELECT $1, id, base_price, 5, 20, 20 FROM services",
    )
    .bind(provider_id)
    .execute(pool)
    .await
    .expect("services");
    Therapist { person, provider_id, provider_uuid }
}
