//! Stores for the demo and for `spacall seed fleet --stores`: verified, with opening hours and prices, drawn from a seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::names::{STORE_FIRST, STORE_LAST, STREETS};
use super::plan::{COMMON_SERVICE, Person, Service, near_base_price, person};
use super::{LOCK, Phones, SeedError, insert_people, services};
use crate::cities::{City, Places};
use crate::core::geo::LatLng;
use crate::core::money::Money;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct StorePlan {
    /// How many stores there are to be, with those that there are already.
    pub stores: u32,
    /// Where they are.
    pub cities: Vec<City>,
    /// The same seed draws the same stores.
    pub seed: u64,
}

/// Stores that belong to one owner.
const CHAIN: usize = 4;

#[derive(Clone, PartialEq, Debug)]
struct Store {
    name: String,
    address: String,
    city: String,
    place: LatLng,
    hours: Value,
    amenities: Vec<&'static str>,
    rooms: i32,
    rating_hundredths: i64,
    reviews: i32,
    offerings: Vec<(i64, Money)>,
}

/// Adds what is missing to so many stores, and returns how many were added.
///
/// # Errors
/// See [`SeedError`]; the database is then as it was.
pub async fn stores(pool: &PgPool, plan: &StorePlan) -> Result<usize, SeedError> {
    let places = Places::new(plan.cities.clone())?;
    let mut tx = pool.begin().await?;
    let db: &mut PgConnection = &mut tx;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *db).await?;
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM store_profiles").fetch_one(&mut *db).await?;
    let services = services(db).await?;
    let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x7374_6f72);
    let drawn = (0..plan.stores).map(|_| (store(&mut rng, &places, &services), person(&mut rng, &places, 0.5)));
    let missing: Vec<_> = drawn.skip(usize::try_from(there).unwrap_or(0)).collect();
    let owners: Vec<&Person> = missing.iter().step_by(CHAIN).map(|(_, owner)| owner).collect();
    let mut phones = Phones::after(db, u32::try_from(owners.len()).unwrap_or(u32::MAX)).await?;
    let owners = insert_people(db, &mut phones, "store_owner", &owners).await?;
    for ((owner, _), chain) in owners.into_iter().zip(missing.chunks(CHAIN)) {
        for (store, _) in chain {
            insert(db, owner, store).await?;
        }
    }
    tx.commit().await?;
    Ok(missing.len())
}

fn store(rng: &mut StdRng, places: &Places, services: &[Service]) -> Store {
    const AMENITIES: [&str; 6] = ["WiFi", "Parking", "Shower", "Sauna", "Lockers", "Couples room"];
    let (first, last) = (STORE_FIRST.choose(rng), STORE_LAST.choose(rng));
    let (city, place) = places.draw(rng);
    let street = STREETS.choose(rng).copied().unwrap_or("Rizal Avenue");
    let amenities = AMENITIES.into_iter().filter(|_| rng.random_bool(0.6)).collect();
    let offerings = services.iter().filter_map(|service| {
        let (offers, percent) = (rng.random_bool(0.8), rng.random_range(-20..=10));
        let offers = offers || service.slug == COMMON_SERVICE;
        offers.then(|| (service.id, near_base_price(service, percent)))
    });
    let offerings = offerings.collect();
    Store {
        name: format!("{} {}", first.unwrap_or(&"Ginhawa"), last.unwrap_or(&"Spa")),
        address: format!("{} {street}", rng.random_range(1..=980)),
        city: city.name.clone(),
        place,
        hours: hours(rng),
        amenities,
        rooms: rng.random_range(3..=14),
        rating_hundredths: rng.random_range(350..=500),
        reviews: rng.random_range(5..=900),
        offerings,
    }
}

/// Most close late in the evening, some after midnight, a few never.
fn hours(rng: &mut StdRng) -> Value {
    let (open, close) = match rng.random_range(0..10) {
        0 => ("00:00", "24:00"),
        1..=3 => ("13:00", "03:00"),
        4..=6 => ("10:00", "22:00"),
        _ => ("11:00", "23:30"),
    };
    let closed_on = if rng.random_bool(0.2) { "monday" } else { "" };
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
        .into_iter()
        .map(|day| (day.to_owned(), json!({"open": open, "close": close, "closed": day == closed_on})))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

async fn insert(db: &mut PgConnection, owner: i64, store: &Store) -> Result<(), SeedError> {
    let provider: i64 = sqlx::query_scalar(
        r"INSERT INTO providers (user_id, type, verification_status, verified_at, accepts_home_service,
              accepts_store_service, business_name, average_rating, total_reviews)
          VALUES ($1, 'store', 'verified', now(), FALSE, TRUE, $2, $3::bigint / 100.0, $4) RETURNING id",
    )
    .bind(owner)
    .bind(&store.name)
    .bind(store.rating_hundredths)
    .bind(store.reviews)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query(
        r#"INSERT INTO store_profiles (provider_id, store_name, address_line1, city, latitude, longitude, operating_hours,
               amenities, number_of_rooms, payment_methods)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '["Cash", "GCash"]')"#,
    )
    .bind(provider)
    .bind(&store.name)
    .bind(&store.address)
    .bind(&store.city)
    .bind(store.place.latitude())
    .bind(store.place.longitude())
    .bind(&store.hours)
    .bind(Value::from(store.amenities.clone()))
    .bind(store.rooms)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        r"INSERT INTO provider_services (provider_id, service_id, price, home_service_enabled, store_service_enabled)
          SELECT $1, service, price, FALSE, TRUE FROM UNNEST($2::bigint[], $3::numeric[]) AS o (service, price)",
    )
    .bind(provider)
    .bind(store.offerings.iter().map(|(service, _)| *service).collect::<Vec<_>>())
    .bind(store.offerings.iter().map(|(_, price)| price.decimal()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cities::metro_manila;
    use crate::core::stores::hours;

    #[test]
    fn every_store_has_hours_that_are_read_and_offers_the_common_service() {
        let places = Places::new(metro_manila()).expect("inhabited");
        let services = [("foot-spa", 1), (COMMON_SERVICE, 2)].map(|(slug, id)| Service {
            id,
            slug: slug.to_owned(),
            base_price: Money::centavos(80_000),
        });
        let draw = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            (0..100).map(|_| store(&mut rng, &places, &services)).collect::<Vec<_>>()
        };
        for store in draw(1) {
            assert!(hours::parse(&store.hours).is_ok_and(|hours| hours.is_some()), "{}", store.hours);
            assert!(store.offerings.iter().any(|(service, _)| *service == 2), "{store:?}");
        }
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
