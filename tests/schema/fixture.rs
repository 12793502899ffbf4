//! People and bookings, by plain SQL: these tests are about the schema, not about the code above it.

use sqlx::{AssertSqlSafe, PgPool};

/// A verified, available therapist of Swedish massage.
pub struct Therapist {
    /// `users.id`
    pub user: i64,
    /// `providers.id`
    pub provider: i64,
}

pub async fn customer(pool: &PgPool, phone: &str) -> i64 {
    sqlx::query_scalar("INSERT INTO users (phone, first_name) VALUES ($1, 'Ana') RETURNING id")
        .bind(phone)
        .fetch_one(pool)
        .await
        .unwrap()
}

pub async fn therapist(pool: &PgPool, phone: &str, latitude: f64, longitude: f64) -> Therapist {
    let user = customer(pool, phone).await;
    let provider = sqlx::query_scalar(
        "INSERT INTO providers (user_id, type, verification_status, verified_at, is_available)
         VALUES ($1, 'therapist', 'verified', now(), TRUE) RETURNING id",
    )
    .bind(user)
    .fetch_one(pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO therapist_profiles (provider_id, base_location_latitude, base_location_longitude)
         VALUES ($1, $2::float8::numeric, $3::float8::numeric)",
    )
    .bind(provider)
    .bind(latitude)
    .bind(longitude)
    .execute(pool)
    .await
    .unwrap();
    Therapist { user, provider }
}

/// A pending booking of Swedish massage for now, at the base price, commission 15 %.
pub async fn booking(pool: &PgPool, customer: i64) -> i64 {
    sqlx::query_scalar(
        "INSERT INTO bookings (customer_id, service_id, type, booking_type, duration_minutes, service_price, total_amount,
                               commission_rate, commission_amount, provider_earnings)
         VALUES ($1, 1, 'home_service', 'now', 60, 800, 800, 15, 120, 680) RETURNING id",
    )
    .bind(customer)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// A live offer of `booking`; its id.
pub async fn offer(pool: &PgPool, booking: i64, provider: i64, round: i16) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO booking_offers (booking_id, provider_id, provider_type, booking_type, round, rank, distance_km, expires_at)
         VALUES ($1, $2, 'therapist', 'now', $3, 1, 1.2, now() + interval '20 s') RETURNING id",
    )
    .bind(booking)
    .bind(provider)
    .bind(round)
    .fetch_one(pool)
    .await
}

/// `UPDATE bookings SET {set} WHERE id = {booking}`
pub async fn set(pool: &PgPool, booking: i64, set: &str) -> Result<(), sqlx::Error> {
    let sql = format!("UPDATE bookings SET {set} WHERE id = {booking}");
    sqlx::query(AssertSqlSafe(sql)).execute(pool).await.map(|_| ())
}

pub async fn completed(pool: &PgPool, customer: i64, by: &Therapist, at: &str) -> i64 {
    let id = booking(pool, customer).await;
    set(pool, id, &format!("provider_id = {}, status = 'accepted'", by.provider)).await.unwrap();
    for status in ["en_route", "arrived", "in_progress"] {
        set(pool, id, &format!("status = '{status}'")).await.unwrap();
    }
    set(pool, id, &format!("status = 'completed', completed_at = '{at}'")).await.unwrap();
    id
}

/// Gives a row another id, in every table that refers to it.
pub async fn renumber(pool: &PgPool, table: &str, from: i64, to: i64) {
    let sql = format!(
        "SET session_replication_role = replica;
         DO $$ DECLARE r record; BEGIN
           FOR r IN SELECT conrelid::regclass AS t, a.attname AS c FROM pg_constraint k
                    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
                    WHERE k.contype = 'f' AND k.confrelid = '{table}'::regclass AND k.conparentid = 0 LOOP
             EXECUTE format('UPDATE %s SET %I = {to} WHERE %I = {from}', r.t, r.c, r.c);
           END LOOP;
           UPDATE {table} SET id = {to} WHERE id = {from};
         END $$;
         SET session_replication_role = DEFAULT"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

/// The constraint that refused a statement.
pub fn refused<T: std::fmt::Debug>(result: Result<T, sqlx::Error>) -> String {
    match result.expect_err("the schema should have refused this") {
        sqlx::Error::Database(e) => e.constraint().map_or_else(|| e.message().to_owned(), str::to_owned),
        other => panic!("{other}"),
    }
}
