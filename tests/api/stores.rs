//! Stores near a customer, over a real database: right order, current, open or not.

use chrono::{Datelike, Duration, FixedOffset, NaiveTime, SecondsFormat, TimeZone};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::*;

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// `GET /v1/stores/nearby` around a place.
pub fn nearby((latitude, longitude): (f64, f64), more: &str) -> String {
    format!("/v1/stores/nearby?latitude={latitude}&longitude={longitude}&radius_km=20&limit=50{more}")
}

/// A verified store as the Laravel application would have left it, with every service in the store at its base price.
pub async fn store(pool: &PgPool, name: &str, (latitude, longitude): (f64, f64), hours: Value) -> (i64, Uuid) {
    let owner = people::person(pool, "store_owner", "Jose").await;
    let (provider, uuid): (i64, Uuid) = sqlx::query_as(
        "INSERT INTO providers (user_id, type, verification_status, verified_at, accepts_store_service, average_rating, total_reviews)
         VALUES ($1, 'store', 'verified', now(), TRUE, 4.5, 12) RETURNING id, uuid",
    )
    .bind(owner.user_id)
    .fetch_one(pool)
    .await
    .expect("a provider");
    sqlx::query(
        r#"INSERT INTO store_profiles (provider_id, store_name, address_line1, city, postal_code, latitude, longitude, operating_hours, amenities)
           VALUES ($1, $2, '6750 Ayala Avenue', 'Makati', '1226', $3, $4, $5, '["WiFi", "Sauna"]')"#,
    )
    .bind(provider)
    .bind(name)
    .bind(latitude)
    .bind(longitude)
    .bind(hours)
    .execute(pool)
    .await
    .expect("a profile");
    sqlx::query(
        "INSERT INTO provider_services (provider_id, service_id, price, home_service_enabled, store_service_enabled)
         SELECT $1, id, base_price, FALSE, TRUE FROM services",
    )
    .bind(provider)
    .execute(pool)
    .await
    .expect("services");
    (provider, uuid)
}

fn names(answer: &crate::support::http::Answer) -> Vec<&str> {
    answer.json["data"].as_array().into_iter().flatten().filter_map(|store| store["store_name"].as_str()).collect()
}

/// The same hours every day.
pub fn daily(open: &str, close: &str) -> Value {
    DAYS.iter().map(|day| ((*day).to_owned(), json!({"open": open, "close": close, "closed": false}))).collect()
}

pub fn around_the_clock() -> Value {
    daily("00:00", "24:00")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_shown_with_all_that_is_public() {
    let server = Server::start().await;
    let pool = server.pool();
    let (_, uuid) = store(pool, "Ginhawa Spa", north(1_500.0), around_the_clock()).await;
    let customer = people::customer(pool).await;
    let api = server.api(&customer.token);
    let asked = nearby(HERE, "&service=swedish-massage&open_now=true&min_rating=4.5&amenities=wifi,SAUNA");
    let answer = api.until(&asked, |a| names(a).len() == 1).await;
    let (latitude, longitude) = north(1_500.0);
    let mut shown = answer.json["data"][0].clone();
    assert!((shown["location"]["latitude"].as_f64().expect("degrees") - latitude).abs() < 1e-7, "{shown}");
    shown["location"] = Value::Null;
    assert_eq!(
        shown,
        json!({"provider_uuid": uuid, "store_name": "Ginhawa Spa", "address_line1": "6750 Ayala Avenue", "address_line2": null,
               "city": "Makati", "province": null, "postal_code": "1226", "location": null, "phone": null, "distance_km": 1.5,
               "open_now": true, "opens_at": null, "closes_at": null, "average_rating": 4.5, "total_reviews": 12,
               "amenities": ["WiFi", "Sauna"], "price": "800.00", "currency": "PHP"})
    );
    assert_eq!(longitude, HERE.1);
    assert_eq!(answer.json["meta"]["considered"], 1);
    let unasked = api.get(&nearby(HERE, "")).await.json["data"][0].clone();
    assert_eq!((&unasked["price"], &unasked["currency"]), (&Value::Null, &Value::Null));
    for other in ["&amenities=WiFi,Parking", "&min_rating=4.6", "&radius_km=1.4"] {
        let path =
            nearby(HERE, "").replace("&radius_km=20", if other.contains("radius") { "" } else { "&radius_km=20" });
        assert!(names(&api.get(&format!("{path}{other}")).await).is_empty(), "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_is_that_of_postgis() {
    const SEED: u64 = 20_261_122;
    /// Between our metric and PostGIS' own sphere, metres; and half of the last decimal that is shown.
    const TOLERANCE_M: f64 = 0.05;
    let database = crate::support::database().await;
    let mut rng = StdRng::seed_from_u64(SEED);
    for i in 0..150 {
        let place = (HERE.0 + rng.random_range(-0.2..0.2), HERE.1 + rng.random_range(-0.2..0.2));
        store(database.pool(), &format!("Store {i}"), place, Value::Null).await;
    }
    let server = Server::over(database).await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    for _ in 0..20 {
        let from = (HERE.0 + rng.random_range(-0.1..0.1), HERE.1 + rng.random_range(-0.1..0.1));
        let truth: Vec<(Uuid, f64)> = sqlx::query_as(
            "SELECT p.uuid, ST_Distance(s.location, ST_SetSRID(ST_MakePoint($2, $1), 4326)::geography, FALSE) AS metres
             FROM store_profiles s JOIN providers p ON p.id = s.provider_id ORDER BY metres",
        )
        .bind(from.0)
        .bind(from.1)
        .fetch_all(server.pool())
        .await
        .expect("distances");
        let near = truth.iter().filter(|(_, metres)| *metres <= 20_000.0).count().min(50);
        let answer = api.get(&nearby(from, "")).await;
        let shown = answer.json["data"].as_array().expect("data");
        assert_eq!(shown.len(), near, "seed {SEED}");
        for (shown, (_, metres)) in shown.iter().zip(&truth) {
            let uuid = shown["provider_uuid"].as_str().expect("a uuid");
            let own = truth.iter().find(|(other, _)| other.to_string() == uuid).expect("a store").1;
            assert!(
                (own - metres).abs() <= TOLERANCE_M,
                "seed {SEED}: {uuid} at {own} m stands where {metres} m should"
            );
            let km = shown["distance_km"].as_f64().expect("km");
            assert!((km * 1_000.0 - own).abs() <= 5.0 + TOLERANCE_M, "seed {SEED}: {km} km, PostGIS {own} m");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_in_sql_is_felt() {
    let server = Server::start().await;
    let pool = server.pool();
    let (near, _) = store(pool, "Near", north(500.0), around_the_clock()).await;
    store(pool, "Far", north(3_000.0), around_the_clock()).await;
    let customer = people::customer(pool).await;
    let api = server.api(&customer.token);
    let asked = nearby(HERE, "&service=swedish-massage&open_now=true&amenities=Sauna");
    api.until(&asked, |a| names(a) == ["Near", "Far"]).await;
    // A change that is missed would be found by the next reconciliation, a minute later; nobody waits that long here.
    for (change, undo) in [
        ("UPDATE providers SET is_active = FALSE WHERE id = $1", "UPDATE providers SET is_active = TRUE WHERE id = $1"),
        (
            "UPDATE providers SET verification_status = 'rejected' WHERE id = $1",
            "UPDATE providers SET verification_status = 'verified' WHERE id = $1",
        ),
        (
            "UPDATE providers SET accepts_store_service = FALSE WHERE id = $1",
            "UPDATE providers SET accepts_store_service = TRUE WHERE id = $1",
        ),
        (
            "UPDATE providers SET deleted_at = now() WHERE id = $1",
            "UPDATE providers SET deleted_at = NULL WHERE id = $1",
        ),
        (
            "UPDATE users SET is_active = FALSE WHERE id = (SELECT user_id FROM providers WHERE id = $1)",
            "UPDATE users SET is_active = TRUE WHERE id = (SELECT user_id FROM providers WHERE id = $1)",
        ),
        (
            "UPDATE provider_services SET store_service_enabled = FALSE WHERE provider_id = $1",
            "UPDATE provider_services SET store_service_enabled = TRUE WHERE provider_id = $1",
        ),
        (
            "UPDATE store_profiles SET operating_hours = '{\"monday\": {\"closed\": true}}' WHERE provider_id = $1",
            "UPDATE store_profiles SET operating_hours = (SELECT operating_hours FROM store_profiles WHERE provider_id <> $1) WHERE provider_id = $1",
        ),
        (
            "UPDATE store_profiles SET amenities = NULL WHERE provider_id = $1",
            "UPDATE store_profiles SET amenities = '[\"Sauna\"]' WHERE provider_id = $1",
        ),
        (
            "UPDATE store_profiles SET latitude = latitude + 1 WHERE provider_id = $1",
            "UPDATE store_profiles SET latitude = latitude - 1 WHERE provider_id = $1",
        ),
    ] {
        sqlx::query(change).bind(near).execute(pool).await.expect("the change");
        api.until(&asked, |a| names(a) == ["Far"]).await;
        sqlx::query(undo).bind(near).execute(pool).await.expect("the undo");
        api.until(&asked, |a| names(a) == ["Near", "Far"]).await;
    }
    let price = |price: &'static str| move |a: &crate::support::http::Answer| a.json["data"][0]["price"] == price;
    sqlx::query("UPDATE provider_services SET price = 950 WHERE provider_id = $1")
        .bind(near)
        .execute(pool)
        .await
        .expect("");
    api.until(&asked, price("950.00")).await;
    sqlx::query("DELETE FROM store_profiles WHERE provider_id = $1").bind(near).execute(pool).await.expect("gone");
    api.until(&asked, |a| names(a) == ["Far"]).await;
    sqlx::query("UPDATE services SET is_active = FALSE WHERE slug = 'swedish-massage'")
        .execute(pool)
        .await
        .expect("off");
    api.until(&asked, |a| a.status == 422).await;
    let any = nearby(HERE, "&service=foot-spa");
    assert_eq!(names(&api.get(&any).await), ["Far"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_is_known_across_midnight() {
    let server = Server::start().await;
    let pool = server.pool();
    let manila = FixedOffset::east_opt(8 * 3_600).expect("an offset");
    let local = now().with_timezone(&manila);
    let clock = |minutes: i64| (local + Duration::minutes(minutes)).format("%H:%M").to_string();
    // Wherever in the day this runs, these hours pass midnight or come close to it: all of the day but a few minutes.
    store(pool, "Open", north(100.0), daily(&clock(30), &clock(15))).await;
    store(pool, "Shut", north(200.0), daily(&clock(15), &clock(-15))).await;
    store(pool, "Night owl", north(300.0), json!({"friday": {"open": "22:00", "close": "02:00", "closed": false}}))
        .await;
    store(pool, "Who knows", north(400.0), Value::Null).await;
    let customer = people::customer(pool).await;
    let api = server.api(&customer.token);
    let all = api.until(&nearby(HERE, "&open_now=false"), |a| names(a).len() == 4).await;
    let column = |field: &str| -> Vec<Value> {
        all.json["data"].as_array().expect("data").iter().map(|store| store[field].clone()).collect()
    };
    let (open, opens, closes) = (column("open_now"), column("opens_at"), column("closes_at"));
    assert_eq!((&open[0], &open[1]), (&json!(true), &json!(false)));
    assert_eq!(open[3], Value::Null, "unknown is neither open nor closed");
    let in_minutes = |value: &Value| {
        let at = chrono::DateTime::parse_from_rfc3339(value.as_str().expect("a time")).expect("RFC 3339");
        (at.with_timezone(&manila) - local).num_seconds().div_euclid(60) + 1
    };
    assert!((15..=16).contains(&in_minutes(&closes[0])) && opens[0].is_null(), "{closes:?} {opens:?}");
    assert!((15..=16).contains(&in_minutes(&opens[1])) && closes[1].is_null(), "{closes:?} {opens:?}");
    let only_open = names(&api.get(&nearby(HERE, "&open_now=true")).await).join(", ");
    assert!(only_open == "Open" || only_open == "Open, Night owl", "{only_open}");

    // Next week's Friday night and Saturday morning, Manila.
    let to_friday = i64::from((4 + 7 - local.weekday().num_days_from_monday()) % 7) + 7;
    let friday = local.date_naive() + Duration::days(to_friday);
    let at = |days: i64, hour: u32, minute: u32| {
        let time = (friday + Duration::days(days)).and_time(NaiveTime::from_hms_opt(hour, minute, 0).expect("a time"));
        manila
            .from_local_datetime(&time)
            .single()
            .expect("no summer time")
            .to_utc()
            .to_rfc3339_opts(SecondsFormat::Secs, true)
    };
    for (at, open) in [
        (at(0, 21, 59), false),
        (at(0, 22, 0), true),
        (at(0, 23, 59), true),
        (at(1, 0, 0), true),
        (at(1, 1, 59), true),
        (at(1, 2, 0), false),
        (at(1, 22, 30), false),
        (at(0, 1, 0), false),
    ] {
        let answer = api.get(&nearby(HERE, &format!("&open_at={at}"))).await;
        assert_eq!(names(&answer).contains(&"Night owl"), open, "{at}: {answer:?}");
        assert!(!names(&answer).contains(&"Who knows"), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_costs_only_itself() {
    let database = crate::support::database().await;
    let pool = database.pool();
    let (odd, _) = store(pool, "Odd", north(100.0), json!({"daily": "9 to 5"})).await;
    store(pool, "Even", north(200.0), around_the_clock()).await;
    sqlx::query("UPDATE store_profiles SET amenities = '{\"WiFi\": true}' WHERE provider_id = $1")
        .bind(odd)
        .execute(pool)
        .await
        .expect("");
    sqlx::query(
        "UPDATE provider_services SET price = 'NaN' WHERE provider_id = $1 AND service_id = (SELECT id FROM services WHERE slug = 'foot-spa')",
    )
    .bind(odd)
    .execute(pool)
    .await
    .expect("PostgreSQL takes it");
    let server = Server::over(database).await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    let all = api.get(&nearby(HERE, "&service=swedish-massage")).await;
    assert_eq!(names(&all), ["Odd", "Even"]);
    assert_eq!((&all.json["data"][0]["open_now"], &all.json["data"][0]["amenities"]), (&Value::Null, &json!([])));
    for narrower in ["&service=foot-spa", "&open_now=true", "&amenities=WiFi"] {
        assert_eq!(names(&api.get(&nearby(HERE, narrower)).await), ["Even"], "{narrower}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_name_field_value_and_what_is_allowed() {
    let server = Server::start().await;
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    for (query, field, value, allowed) in [
        ("latitude=95&longitude=121", "latitude", "95", "-90 to 90"),
        ("longitude=121", "latitude", "", "required"),
        ("latitude=14&longitude=181", "longitude", "181", "-180 to 180"),
        ("latitude=14&longitude=121&radius_km=21", "radius_km", "21", "0 to 20"),
        ("latitude=14&longitude=121&limit=0", "limit", "0", "1 to 50"),
        ("latitude=14&longitude=121&service=haircut", "service", "haircut", "slug or id"),
        ("latitude=14&longitude=121&open_now=maybe", "open_now", "maybe", "true or false"),
        ("latitude=14&longitude=121&open_at=tonight", "open_at", "tonight", "2026-11-22T09:00:00Z"),
    ] {
        let answer = api.get(&format!("/v1/stores/nearby?{query}")).await;
        assert_eq!((answer.status, &answer.json["code"]), (422, &json!("invalid")), "{query}: {answer:?}");
        let text = answer.json["errors"][field][0].as_str().unwrap_or_default();
        assert!(text.contains(field) && text.contains(value) && text.contains(allowed), "{query}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seeded_stores_are_found_and_a_second_run_adds_only_what_is_missing() {
    use spacall::store::seed::{StorePlan, stores};
    let server = Server::start().await;
    let plan = |count| StorePlan { stores: count, cities: spacall::cities::metro_manila(), seed: 1 };
    assert_eq!(stores(server.pool(), &plan(60)).await.expect("stores"), 60);
    assert_eq!(stores(server.pool(), &plan(60)).await.expect("as many"), 0);
    assert_eq!(stores(server.pool(), &plan(80)).await.expect("more"), 20);
    let customer = people::customer(server.pool()).await;
    let api = server.api(&customer.token);
    // What the README asks, with the demo's seed.
    let asked = "/v1/stores/nearby?latitude=14.5547&longitude=121.0244&service=swedish-massage&limit=3";
    let answer = api.until(asked, |a| names(a).len() == 3).await;
    for store in answer.json["data"].as_array().expect("data") {
        assert!(store["open_now"].is_boolean() && store["price"].is_string(), "{store}");
    }
}
