//! `spacall seed fleet`: verified therapists, customers and an admin, each with an access token; and [`stores()`].
//!
//! Everything is drawn from the seed (see [`plan`]) but the ids, uuids, phone numbers and tokens, which the database
//! or the system's randomness gives, so that a second run adds other people instead of colliding with the first.

mod names;
mod plan;
mod stores;

use std::collections::{BTreeMap, HashMap};

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub use self::stores::{StorePlan, stores};

use self::plan::{Customer, Draw, Person, Service, Therapist};
use super::StoreError;
use super::tokens::{USER_MORPH, new_secret, secret_hash};
use crate::cities::{City, InvalidCities, Places};
use crate::core::money::Money;
use crate::core::people::Gender;
use crate::wire::roster::{Role, RosterEntry};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct FleetPlan {
    /// How many therapists.
    pub therapists: u32,
    /// How many customers.
    pub customers: u32,
    /// Where they live.
    pub cities: Vec<City>,
    /// The same seed draws the same people.
    pub seed: u64,
}

/// Why nobody was seeded. Nothing is left behind: all is one transaction.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The database refused or is gone.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nowhere to live.
    #[error(transparent)]
    Cities(#[from] InvalidCities),
    /// Nothing to offer.
    #[error("the catalogue has no active service; run `spacall migrate` first")]
    NoServices,
    /// Phone numbers are given from a block of ten million.
    #[error("no phone numbers are left for {wanted} more people: {used} of 9999999 are used")]
    NoPhones {
        /// People asked for.
        wanted: u32,
        /// Numbers given so far.
        used: u32,
    },
    /// The database answered with other rows than were inserted.
    #[error("the database did not return the row of {0}")]
    RowMissing(String),
}

impl From<sqlx::Error> for SeedError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(StoreError::from(error))
    }
}

/// Rows of one statement.
const BATCH: usize = 1_000;
/// Seeded phones are `+63900` and seven digits: an area code that no network uses.
const PHONE_PREFIX: &str = "+63900";
/// Two runs at once would give the same phones; the second waits for the first.
const LOCK: i64 = 0x0073_6565_6466_6c74;

/// Seeds, and returns everyone in the order drawn: therapists, customers, the admin.
///
/// # Errors
/// See [`SeedError`]; the database is then as it was.
pub async fn fleet(pool: &PgPool, plan: &FleetPlan) -> Result<Vec<RosterEntry>, SeedError> {
    let places = Places::new(plan.cities.clone())?;
    let mut tx = pool.begin().await?;
    let db: &mut PgConnection = &mut tx;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *db).await?;
    let services = services(db).await?;
    let mut phones = Phones::after(db, plan.therapists.saturating_add(plan.customers).saturating_add(1)).await?;
    let mut draw = Draw::new(plan.seed, &places, &services);
    let mut roster = Vec::with_capacity((plan.therapists + plan.customers + 1) as usize);

    for size in batches(plan.therapists) {
        let batch: Vec<Therapist> = (0..size).map(|_| draw.therapist()).collect();
        roster.extend(insert_therapists(db, &mut phones, &batch).await?);
        if roster.len() == size {
            // Planned while the table was empty, the foreign keys' checks would walk all therapists for each new one.
            sqlx::query("ANALYZE providers").execute(&mut *db).await?;
        }
    }
    for size in batches(plan.customers) {
        let batch: Vec<Customer> = (0..size).map(|_| draw.customer()).collect();
        roster.extend(insert_customers(db, &mut phones, &batch).await?);
    }
    roster.push(insert_admin(db, &mut phones, places.first()).await?);
    tx.commit().await?;
    // Until the next automatic one, a minute away, plans would be made for empty tables.
    sqlx::query(
        "ANALYZE users, model_has_roles, personal_access_tokens, providers, therapist_profiles, provider_services",
    )
    .execute(pool)
    .await?;
    Ok(roster)
}

/// Takes all seeded therapists off duty: who was seeded before, and whose apps are gone without a word, is not asked any more.
///
/// # Errors
/// [`SeedError::Store`]
pub async fn send_home(pool: &PgPool) -> Result<(), SeedError> {
    sqlx::query(
        "UPDATE providers p SET is_available = FALSE FROM users u
         WHERE u.id = p.user_id AND p.type = 'therapist' AND p.is_available AND starts_with(u.phone, $1)",
    )
    .bind(PHONE_PREFIX)
    .execute(pool)
    .await?;
    Ok(())
}

fn batches(total: u32) -> impl Iterator<Item = usize> {
    let total = total as usize;
    (0..total).step_by(BATCH).map(move |from| BATCH.min(total - from))
}

async fn services(db: &mut PgConnection) -> Result<Vec<Service>, SeedError> {
    let rows: Vec<(i64, String, rust_decimal::Decimal)> =
        sqlx::query_as("SELECT id, slug, base_price FROM services WHERE is_active AND deleted_at IS NULL ORDER BY id")
            .fetch_all(db)
            .await?;
    if rows.is_empty() {
        return Err(SeedError::NoServices);
    }
    Ok(rows.into_iter().map(|(id, slug, price)| Service { id, slug, base_price: Money::rounded(price) }).collect())
}

/// Hands out phones that no seeded user, live or deleted, has.
struct Phones {
    next: u32,
}

impl Phones {
    async fn after(db: &mut PgConnection, wanted: u32) -> Result<Self, SeedError> {
        let last: Option<String> =
            sqlx::query_scalar("SELECT max(phone) FROM users WHERE phone ~ '^\\+63900[0-9]{7}$'").fetch_one(db).await?;
        let used = last.and_then(|phone| phone.strip_prefix(PHONE_PREFIX)?.parse().ok()).unwrap_or(0_u32);
        if wanted > 9_999_999 - used {
            return Err(SeedError::NoPhones { wanted, used });
        }
        Ok(Self { next: used + 1 })
    }

    fn give(&mut self) -> String {
        let phone = format!("{PHONE_PREFIX}{:07}", self.next);
        self.next += 1;
        phone
    }
}

/// A user as inserted.
struct User {
    id: i64,
    uuid: Uuid,
    token: String,
}

/// Users with role and token, in the order of `people`.
async fn insert_users(
    db: &mut PgConnection,
    phones: &mut Phones,
    role: &str,
    people: &[&Person],
) -> Result<Vec<User>, SeedError> {
    let users = insert_people(db, phones, role, people).await?;
    let ids: Vec<i64> = users.iter().map(|(id, _)| *id).collect();
    let tokens = insert_tokens(db, &ids).await?;
    Ok(users.into_iter().zip(tokens).map(|((id, uuid), token)| User { id, uuid, token }).collect())
}

/// Users with a role, as `(id, uuid)`, in the order of `people`.
async fn insert_people(
    db: &mut PgConnection,
    phones: &mut Phones,
    role: &str,
    people: &[&Person],
) -> Result<Vec<(i64, Uuid)>, SeedError> {
    let numbers: Vec<String> = people.iter().map(|_| phones.give()).collect();
    let column = |f: fn(&Person) -> &str| people.iter().map(|p| f(p)).collect::<Vec<_>>();
    let years: Vec<i32> = people.iter().map(|p| p.birth_year).collect();
    let rows: Vec<(String, i64, Uuid)> = sqlx::query_as(
        r"INSERT INTO users (phone, phone_verified_at, first_name, last_name, gender, date_of_birth, is_verified)
          SELECT phone, now(), first_name, last_name, gender::gender, make_date(birth_year, 6, 15), TRUE
          FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::int[])
               AS p (phone, first_name, last_name, gender, birth_year)
          RETURNING phone, id, uuid",
    )
    .bind(&numbers)
    .bind(column(|p| p.first_name))
    .bind(column(|p| p.last_name))
    .bind(column(|p| p.gender.as_str()))
    .bind(&years)
    .fetch_all(&mut *db)
    .await?;
    // RETURNING promises no order.
    let by_phone: HashMap<String, (i64, Uuid)> =
        rows.into_iter().map(|(phone, id, uuid)| (phone, (id, uuid))).collect();
    let found: Option<Vec<_>> = numbers.iter().map(|phone| by_phone.get(phone).copied()).collect();
    let found = found.ok_or_else(|| SeedError::RowMissing("a user".to_owned()))?;
    let ids: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
    sqlx::query(
        r"INSERT INTO model_has_roles (role_id, model_type, model_id)
          SELECT r.id, $2, u.id FROM UNNEST($1::bigint[]) AS u (id)
          JOIN roles r ON r.name = $3 AND r.guard_name = 'api'",
    )
    .bind(&ids)
    .bind(USER_MORPH)
    .bind(role)
    .execute(&mut *db)
    .await?;
    Ok(found)
}

/// One token each, in the order of `users`.
async fn insert_tokens(db: &mut PgConnection, users: &[i64]) -> Result<Vec<String>, SeedError> {
    let secrets: Vec<String> = users.iter().map(|_| new_secret()).collect();
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        r#"INSERT INTO personal_access_tokens (tokenable_type, tokenable_id, name, token, abilities)
           SELECT $3, t.user_id, 'spacall seed', t.hash, '["*"]'
           FROM UNNEST($1::bigint[], $2::text[]) AS t (user_id, hash)
           RETURNING tokenable_id, id"#,
    )
    .bind(users)
    .bind(secrets.iter().map(|s| secret_hash(s)).collect::<Vec<_>>())
    .bind(USER_MORPH)
    .fetch_all(db)
    .await?;
    let ids: HashMap<i64, i64> = rows.into_iter().collect();
    let tokens = users.iter().zip(secrets).map(|(user, secret)| Some(format!("{}|{secret}", ids.get(user)?)));
    tokens.collect::<Option<Vec<_>>>().ok_or_else(|| SeedError::RowMissing("a token".to_owned()))
}

async fn insert_therapists(
    db: &mut PgConnection,
    phones: &mut Phones,
    batch: &[Therapist],
) -> Result<Vec<RosterEntry>, SeedError> {
    let people: Vec<&Person> = batch.iter().map(|t| &t.person).collect();
    let users = insert_users(db, phones, "therapist", &people).await?;
    let rows: Vec<(i64, i64, Uuid)> = sqlx::query_as(
        r"INSERT INTO providers (user_id, type, verification_status, verified_at, is_available, average_rating, total_reviews)
          SELECT user_id, 'therapist', 'verified', now(), TRUE, hundredths / 100.0, reviews
          FROM UNNEST($1::bigint[], $2::bigint[], $3::int[]) AS t (user_id, hundredths, reviews)
          RETURNING user_id, id, uuid",
    )
    .bind(users.iter().map(|u| u.id).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| t.rating_hundredths).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| t.reviews).collect::<Vec<_>>())
    .fetch_all(&mut *db)
    .await?;
    let by_user: HashMap<i64, (i64, Uuid)> = rows.into_iter().map(|(user, id, uuid)| (user, (id, uuid))).collect();
    let providers: Option<Vec<(i64, Uuid)>> = users.iter().map(|u| by_user.get(&u.id).copied()).collect();
    let providers = providers.ok_or_else(|| SeedError::RowMissing("a provider".to_owned()))?;
    let ids: Vec<i64> = providers.iter().map(|(id, _)| *id).collect();
    insert_profiles(db, &ids, batch).await?;
    insert_offerings(db, &ids, batch).await?;
    let entries = batch.iter().zip(users).zip(providers).map(|((therapist, user), (_, provider))| RosterEntry {
        service_radius_km: u32::try_from(therapist.service_radius_km).ok(),
        services: reach(therapist),
        serves: therapist.women_only.then(|| vec![Gender::Female]),
        ..entry(Role::Therapist, &therapist.person, user, Some(provider))
    });
    Ok(entries.collect())
}

fn reach(therapist: &Therapist) -> BTreeMap<String, u32> {
    therapist.offerings.iter().map(|o| (o.slug.clone(), u32::try_from(o.max_travel_km).unwrap_or(0))).collect()
}

async fn insert_profiles(db: &mut PgConnection, providers: &[i64], batch: &[Therapist]) -> Result<(), SeedError> {
    let json = |list: &[&str]| serde_json::Value::from(list.to_vec()).to_string();
    sqlx::query(
        r"INSERT INTO therapist_profiles (provider_id, license_number, license_type, years_of_experience, specializations,
              languages_spoken, service_radius_km, base_location_latitude, base_location_longitude, accepts_genders,
              buffer_minutes)
          SELECT provider, 'DOH-' || lpad(provider::text, 7, '0'), 'Licensed massage therapist', years, specializations::jsonb,
                 languages::jsonb, radius, latitude, longitude,
                 CASE WHEN women_only THEN ARRAY['female']::gender[] END, buffer
          FROM UNNEST($1::bigint[], $2::int[], $3::text[], $4::text[], $5::int[], $6::float8[], $7::float8[], $8::bool[],
                      $9::int[])
               AS t (provider, years, specializations, languages, radius, latitude, longitude, women_only, buffer)",
    )
    .bind(providers)
    .bind(batch.iter().map(|t| t.experience_years).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| json(&t.specializations)).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| json(&t.languages)).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| t.service_radius_km).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| t.person.place.latitude()).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| t.person.place.longitude()).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| t.women_only).collect::<Vec<_>>())
    .bind(batch.iter().map(|t| t.buffer_minutes).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

async fn insert_offerings(db: &mut PgConnection, providers: &[i64], batch: &[Therapist]) -> Result<(), SeedError> {
    let rows: Vec<_> =
        providers.iter().zip(batch).flat_map(|(id, t)| t.offerings.iter().map(move |o| (*id, o))).collect();
    sqlx::query(
        r"INSERT INTO provider_services (provider_id, service_id, price, base_distance_km, per_km_surcharge,
              max_travel_distance_km)
          SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::numeric[], $4::int[], $5::numeric[], $6::int[])",
    )
    .bind(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, o)| o.service).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, o)| o.price.decimal()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, o)| o.base_distance_km).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, o)| o.per_km_surcharge.decimal()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, o)| o.max_travel_km).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

async fn insert_customers(
    db: &mut PgConnection,
    phones: &mut Phones,
    batch: &[Customer],
) -> Result<Vec<RosterEntry>, SeedError> {
    let people: Vec<&Person> = batch.iter().map(|c| &c.person).collect();
    let users = insert_users(db, phones, "customer", &people).await?;
    sqlx::query(
        r"INSERT INTO user_addresses (user_id, address_line1, city, latitude, longitude, is_default)
          SELECT user_id, address, city, latitude, longitude, TRUE
          FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::float8[], $5::float8[])
               AS a (user_id, address, city, latitude, longitude)",
    )
    .bind(users.iter().map(|u| u.id).collect::<Vec<_>>())
    .bind(batch.iter().map(|c| c.address.as_str()).collect::<Vec<_>>())
    .bind(batch.iter().map(|c| c.person.city.as_str()).collect::<Vec<_>>())
    .bind(batch.iter().map(|c| c.person.place.latitude()).collect::<Vec<_>>())
    .bind(batch.iter().map(|c| c.person.place.longitude()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(batch.iter().zip(users).map(|(c, user)| entry(Role::Customer, &c.person, user, None)).collect())
}

async fn insert_admin(db: &mut PgConnection, phones: &mut Phones, home: &City) -> Result<RosterEntry, SeedError> {
    let person = Person {
        first_name: "Admin",
        last_name: "Spacall",
        gender: Gender::PreferNotToSay,
        birth_year: 1990,
        city: home.name.clone(),
        place: home.centre,
    };
    let users = insert_users(db, phones, "admin", &[&person]).await?;
    let user = users.into_iter().next().ok_or_else(|| SeedError::RowMissing("the admin".to_owned()))?;
    Ok(entry(Role::Admin, &person, user, None))
}

fn entry(role: Role, person: &Person, user: User, provider_uuid: Option<Uuid>) -> RosterEntry {
    RosterEntry {
        role,
        user_uuid: user.uuid,
        provider_uuid,
        token: user.token,
        latitude: person.place.latitude(),
        longitude: person.place.longitude(),
        first_name: Some(person.first_name.to_owned()),
        city: Some(person.city.clone()),
        gender: Some(person.gender),
        service_radius_km: None,
        services: BTreeMap::new(),
        serves: None,
    }
}
