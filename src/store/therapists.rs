//! Therapists as matching needs them: everything the live index holds, read in one statement, so that a row set is
//! never half old and half new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{Column, FromRow, PgExecutor, PgPool, Row as _};
use uuid::Uuid;

use super::StoreError;
use crate::core::fleet::{Duty, Profile, Shared, Therapist, Ties};
use crate::core::geo::LatLng;
use crate::core::hundredths::OutOfRange;
use crate::core::ids::{BookingId, ProviderId, ServiceId, UserId};
use crate::core::money::Money;
use crate::core::offerings::Offerings;
use crate::core::people::{Gender, GendersServed};
use crate::core::pricing::Offering;
use crate::core::schedule::Schedule;
use crate::core::time::Timestamp;
use crate::core::track::Fix;
use crate::wire::time::{from_chrono, to_chrono};

// The few services that nobody may book are read once and left out: a join looks for every service of every therapist, and
// takes twice as long.
macro_rules! therapists {
    ($which:literal) => {
        concat!(
            "
    SELECT p.id, p.uuid, p.user_id, COALESCE(u.first_name, '') AS first_name, u.gender::text AS gender,
           p.average_rating, p.total_reviews, p.commission_rate,
           COALESCE(tp.specializations, '[]') AS specializations, tp.languages_spoken AS languages,
           tp.service_radius_km, tp.default_schedule, array_remove(tp.accepts_genders::text[], NULL) AS accepts_genders, tp.buffer_minutes,
           round(tp.base_location_latitude * 10000000)::int AS base_lat_e7,
           round(tp.base_location_longitude * 10000000)::int AS base_lng_e7,
           p.verification_status = 'verified' AS verified,
           p.is_active AND p.deleted_at IS NULL AND u.is_active AND u.deleted_at IS NULL AS active,
           p.is_available AS available, p.accepts_home_service,
           COALESCE(s.services, '[]')::text AS services,
           ARRAY(SELECT cb.customer_id FROM customer_blocks cb WHERE cb.provider_id = p.id ORDER BY 1) AS blocked,
           (SELECT max(o.expires_at) FROM booking_offers o
            WHERE o.provider_id = p.id AND o.status = 'offered' AND o.booking_type = 'now') AS offered_until,
           a.id AS booking_id, a.uuid AS booking_uuid, a.customer_id AS booking_customer,
           a.en_route AS booking_en_route, a.lat_e7 AS booking_lat_e7, a.lng_e7 AS booking_lng_e7,
           ARRAY(SELECT lower(b.busy_during) FROM bookings b
                 WHERE b.provider_id = p.id AND b.deleted_at IS NULL
                   AND isfinite(lower(b.busy_during)) AND isfinite(upper(b.busy_during))
                   AND b.status IN ('accepted', 'en_route', 'arrived', 'in_progress') ORDER BY b.id) AS busy_from,
           ARRAY(SELECT upper(b.busy_during) FROM bookings b
                 WHERE b.provider_id = p.id AND b.deleted_at IS NULL
                   AND isfinite(lower(b.busy_during)) AND isfinite(upper(b.busy_during))
                   AND b.status IN ('accepted', 'en_route', 'arrived', 'in_progress') ORDER BY b.id) AS busy_until
    FROM providers p
    JOIN users u ON u.id = p.user_id
    JOIN therapist_profiles tp ON tp.provider_id = p.id
    LEFT JOIN LATERAL (
        SELECT json_agg(json_build_array(ps.service_id, ps.price::text, ps.base_distance_km,
                   ps.per_km_surcharge::text, ps.max_travel_distance_km, ps.home_service_enabled,
                   ps.store_service_enabled) ORDER BY ps.service_id) AS services
        FROM provider_services ps
        WHERE ps.provider_id = p.id AND ps.is_available
          AND ps.service_id <> ALL (ARRAY(SELECT sv.id FROM services sv WHERE NOT sv.is_active OR sv.deleted_at IS NOT NULL))
        ) s ON TRUE
    LEFT JOIN LATERAL (
        SELECT b.id, b.uuid, b.customer_id, b.status = 'en_route' AS en_route,
               round(bl.latitude * 10000000)::int AS lat_e7, round(bl.longitude * 10000000)::int AS lng_e7
        FROM bookings b LEFT JOIN booking_locations bl ON bl.booking_id = b.id
        WHERE b.provider_id = p.id AND b.deleted_at IS NULL
          AND (b.status IN ('en_route', 'arrived', 'in_progress') OR (b.status = 'accepted' AND b.booking_type = 'now'))
        ORDER BY b.id LIMIT 1) a ON TRUE
    WHERE p.type = 'therapist' AND ",
            $which,
            " ORDER BY p.id"
        )
    };
}

/// Providers of any type that have a price for one of these services.
pub async fn offering(pool: &PgPool, services: &BTreeSet<ServiceId>) -> Result<Vec<ProviderId>, StoreError> {
    let services: Vec<i64> = services.iter().map(|service| service.0).collect();
    let ids = sqlx::query_scalar("SELECT DISTINCT provider_id FROM provider_services WHERE service_id = ANY ($1)");
    let ids: Vec<i64> = ids.bind(services).fetch_all(pool).await?;
    Ok(ids.into_iter().map(ProviderId).collect())
}

macro_rules! newest_fixes {
    ($which:literal) => {
        concat!(
            "
    SELECT p.id, l.lat_e7, l.lng_e7, l.accuracy, l.heading, l.speed, l.is_moving, l.battery_level, l.created_at
    FROM providers p
    CROSS JOIN LATERAL (
        SELECT round(pl.latitude * 10000000)::int AS lat_e7, round(pl.longitude * 10000000)::int AS lng_e7,
               pl.accuracy::float8 AS accuracy, pl.heading::float8 AS heading, pl.speed::float8 AS speed,
               pl.is_moving, pl.battery_level, pl.created_at
        FROM provider_locations pl
        WHERE pl.provider_id = p.id AND pl.counted AND pl.created_at >= $1
        ORDER BY pl.created_at DESC LIMIT 1) l
    WHERE p.type = 'therapist' AND ",
            $which,
            " ORDER BY p.id"
        )
    };
}

const ALL: &str = therapists!("TRUE");
const ALL_FIXES: &str = newest_fixes!("TRUE");
/// The planner does not see through the sub-select how many they are, finds a plan for these no better than one for any few, and
/// keeps that: planning is six times the work of reading one therapist. For thousands that plan is as good as any; the one that
/// it keeps where it sees the array may read the whole table for a few hundred.
const THESE: &str = therapists!("p.id = ANY ((SELECT $1::bigint[])::bigint[])");
const THEIR_FIXES: &str = newest_fixes!("p.id = ANY ((SELECT $2::bigint[])::bigint[])");

/// A row whose fields are the statement's columns in their order: to look each up by its name is a tenth of the work.
macro_rules! in_order {
    (struct $row:ident { $($field:ident: $type:ty,)* }) => {
        struct $row { $($field: $type,)* }

        impl FromRow<'_, PgRow> for $row {
            fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
                let mut columns = 0;
                let mut next = || { columns += 1; columns - 1 };
                $(
                    let column: usize = next();
                    debug_assert_eq!(row.column(column).name(), stringify!($field));
                    let $field = row.try_get(column)?;
                )*
                Ok(Self { $($field,)* })
            }
        }
    };
}

in_order! { struct Row {
    id: i64,
    uuid: Uuid,
    user_id: i64,
    first_name: String,
    gender: Option<String>,
    average_rating: Decimal,
    total_reviews: i32,
    commission_rate: Decimal,
    specializations: serde_json::Value,
    languages: serde_json::Value,
    service_radius_km: i32,
    default_schedule: Option<serde_json::Value>,
    accepts_genders: Option<Vec<String>>,
    buffer_minutes: i32,
    base_lat_e7: Option<i32>,
    base_lng_e7: Option<i32>,
    verified: bool,
    active: bool,
    available: bool,
    accepts_home_service: bool,
    services: String,
    blocked: Vec<i64>,
    offered_until: Option<DateTime<Utc>>,
    booking_id: Option<i64>,
    booking_uuid: Option<Uuid>,
    booking_customer: Option<i64>,
    booking_en_route: Option<bool>,
    booking_lat_e7: Option<i32>,
    booking_lng_e7: Option<i32>,
    busy_from: Vec<DateTime<Utc>>,
    busy_until: Vec<DateTime<Utc>>,
} }

/// Fields in the order of the statement's array: text without names is half the work, for the database and for us.
#[derive(serde::Deserialize)]
struct OfferingRow {
    service: i64,
    price: Money,
    base_distance_km: u32,
    per_km_surcharge: Money,
    max_travel_km: u32,
    home: bool,
    store: bool,
}

/// A therapist's row that matching cannot use, and why. It is left out of the index, loudly: ops see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Whose row.
    pub provider: ProviderId,
    /// Names column and value.
    pub problem: String,
}

/// So many rows are read before others have their turn.
const AT_ONCE: usize = 16;

/// Reads these therapists, or all with `None`, in order of id: one statement, one snapshot.
/// A provider that is not in the answer does not exist (any more), is no therapist, or is listed as unusable.
pub async fn load(
    db: impl PgExecutor<'_>,
    only: Option<&[ProviderId]>,
) -> Result<(Vec<Therapist>, Vec<Unusable>), StoreError> {
    let statement = match only {
        Some(ids) => sqlx::query_as::<_, Row>(THESE).bind(plain(ids)),
        None => sqlx::query_as(ALL),
    };
    let mut therapists = Vec::with_capacity(only.map_or(0, <[_]>::len));
    let (mut unusable, mut shared) = (Vec::new(), Shared::default());
    // As they come: kept, the rows of a fleet would be several times the fleet.
    let (mut rows, mut read) = (statement.fetch(db), 0_usize);
    while let Some(row) = rows.try_next().await? {
        read += 1;
        // Hundreds may be at hand, and to make all of them therapists at once would keep others waiting for milliseconds.
        if read.is_multiple_of(AT_ONCE) {
            tokio::task::yield_now().await;
        }
        let provider = ProviderId(row.id);
        match Therapist::try_from(row) {
            Ok(mut therapist) => {
                shared.share(&mut therapist);
                therapists.push(therapist);
            }
            Err(problem) => unusable.push(Unusable { provider, problem }),
        }
    }
    Ok((therapists, unusable))
}

/// Every therapist there is.
pub async fn ids(db: impl PgExecutor<'_>) -> Result<Vec<ProviderId>, StoreError> {
    let ids = sqlx::query_scalar::<_, i64>("SELECT id FROM providers WHERE type = 'therapist' ORDER BY id");
    Ok(ids.fetch_all(db).await?.into_iter().map(ProviderId).collect())
}

/// The first so many therapists after this id.
pub async fn ids_after(db: impl PgExecutor<'_>, after: ProviderId, most: usize) -> Result<Vec<ProviderId>, StoreError> {
    let ids = sqlx::query_scalar::<_, i64>(
        "SELECT id FROM providers WHERE type = 'therapist' AND id > $1 ORDER BY id LIMIT $2",
    );
    let ids = ids.bind(after.0).bind(i64::try_from(most).unwrap_or(i64::MAX)).fetch_all(db).await?;
    Ok(ids.into_iter().map(ProviderId).collect())
}

/// The providers of these users.
pub async fn of_users(db: impl PgExecutor<'_>, users: &[UserId]) -> Result<Vec<ProviderId>, StoreError> {
    let users: Vec<i64> = users.iter().map(|u| u.0).collect();
    let ids = sqlx::query_scalar::<_, i64>("SELECT id FROM providers WHERE user_id = ANY($1) ORDER BY id")
        .bind(users)
        .fetch_all(db)
        .await?;
    Ok(ids.into_iter().map(ProviderId).collect())
}

/// Where each of these therapists (all with `None`) stands: the newest committed fix that counted and is not older
/// than `since`. `since` lets PostgreSQL skip the months before it.
pub async fn newest_fixes(
    db: impl PgExecutor<'_>,
    only: Option<&[ProviderId]>,
    since: Timestamp,
) -> Result<Vec<(ProviderId, Fix)>, StoreError> {
    let since = to_chrono(since);
    let rows = match only {
        Some(ids) => sqlx::query_as::<_, FixRow>(THEIR_FIXES).bind(since).bind(plain(ids)),
        None => sqlx::query_as(ALL_FIXES).bind(since),
    };
    rows.fetch_all(db).await?.into_iter().map(|row| Ok((ProviderId(row.id), row.fix()?))).collect()
}

fn plain(ids: &[ProviderId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}

/// Therapists by id and where they stand, at one point in time: what the index is compared with.
pub async fn consistent(
    pool: &PgPool,
    only: Option<&[ProviderId]>,
    since: Timestamp,
) -> Result<(Vec<Therapist>, BTreeMap<ProviderId, Fix>), StoreError> {
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let (therapists, _) = load(&mut *tx, only).await?;
    let fixes = newest_fixes(&mut *tx, only, since).await?.into_iter().collect();
    tx.commit().await?;
    Ok((therapists, fixes))
}

#[derive(FromRow)]
struct FixRow {
    id: i64,
    lat_e7: i32,
    lng_e7: i32,
    accuracy: Option<f64>,
    heading: Option<f64>,
    speed: Option<f64>,
    is_moving: bool,
    battery_level: Option<i32>,
    created_at: DateTime<Utc>,
}

impl FixRow {
    fn fix(&self) -> Result<Fix, StoreError> {
        Ok(Fix {
            at: from_chrono(self.created_at),
            place: place(self.lat_e7, self.lng_e7).map_err(|value| StoreError::Corrupt {
                column: "provider_locations.location",
                value,
                allowed: "degrees",
            })?,
            accuracy_m: self.accuracy,
            heading: self.heading,
            speed_kmh: self.speed,
            moving: self.is_moving,
            battery_percent: self.battery_level.and_then(|b| u8::try_from(b).ok()),
        })
    }
}

impl TryFrom<Row> for Therapist {
    type Error = String;

    fn try_from(row: Row) -> Result<Self, String> {
        let base_location = match (row.base_lat_e7, row.base_lng_e7) {
            (Some(lat), Some(lng)) => Some(place(lat, lng)?),
            _ => None,
        };
        let duty = duty(&row)?;
        let profile = Profile {
            specializations: texts("specializations", &row.specializations)?,
            languages: texts("languages_spoken", &row.languages)?,
            schedule: Schedule::parse(row.default_schedule.as_ref().unwrap_or(&serde_json::Value::Null))
                .map_err(|e| format!("default_schedule: {e}"))?,
            buffer_minutes: natural("buffer_minutes", row.buffer_minutes)?,
            service_radius_km: kilometres("service_radius_km", row.service_radius_km)?,
            commission_rate: hundredths("commission_rate", row.commission_rate)?,
            accepts_genders: row.accepts_genders.as_deref().map_or(Ok(GendersServed::ALL), genders)?,
            verified: row.verified,
            active: row.active,
            accepts_home_service: row.accepts_home_service,
        };
        let busy = row.busy_from.into_iter().zip(row.busy_until);
        let busy: Vec<_> = busy.map(|(from, until)| (from_chrono(from), from_chrono(until))).collect();
        let blocked: Vec<_> = row.blocked.into_iter().map(UserId).collect();
        Ok(Self {
            services: offerings(&row.services)?,
            first_name: row.first_name.into(),
            profile: Arc::new(profile),
            uuid: row.uuid,
            total_reviews: natural("total_reviews", row.total_reviews)?,
            average_rating: hundredths("average_rating", row.average_rating)?,
            gender: row.gender.as_deref().map(gender).transpose()?,
            available: row.available,
            ties: Ties::new(duty, busy, blocked),
            base_location,
            provider: ProviderId(row.id),
            user: UserId(row.user_id),
        })
    }
}

fn duty(row: &Row) -> Result<Duty, String> {
    if let (Some(id), Some(uuid), Some(customer)) = (row.booking_id, row.booking_uuid, row.booking_customer) {
        let en_route_to = match (row.booking_en_route, row.booking_lat_e7, row.booking_lng_e7) {
            (Some(true), Some(lat), Some(lng)) => Some(place(lat, lng)?),
            _ => None,
        };
        return Ok(Duty::Booked {
            booking: BookingId(id),
            booking_uuid: uuid,
            customer: UserId(customer),
            en_route_to,
        });
    }
    Ok(row.offered_until.map_or(Duty::Idle, |until| Duty::Offered { until: from_chrono(until) }))
}

fn offerings(services: &str) -> Result<Offerings, String> {
    let rows: Vec<OfferingRow> = serde_json::from_str(services).map_err(|e| format!("provider_services: {e}"))?;
    let offering = |o: OfferingRow| Offering {
        service: ServiceId(o.service),
        price: o.price,
        base_distance_km: o.base_distance_km,
        per_km_surcharge: o.per_km_surcharge,
        max_travel_km: o.max_travel_km,
        home: o.home,
        store: o.store,
    };
    Offerings::new(rows.into_iter().map(offering)).map_err(|e| format!("provider_services: {e}"))
}

fn place(lat_e7: i32, lng_e7: i32) -> Result<LatLng, String> {
    LatLng::from_e7(lat_e7, lng_e7).map_err(|e| e.to_string())
}

fn gender(word: &str) -> Result<Gender, String> {
    Gender::parse(word).ok_or_else(|| format!("gender {word:?} is not of the schema"))
}

fn genders(words: &[String]) -> Result<GendersServed, String> {
    let genders: Vec<_> = words.iter().map(|word| gender(word)).collect::<Result<_, _>>()?;
    Ok(GendersServed::only(genders))
}

fn natural(column: &str, value: i32) -> Result<u32, String> {
    u32::try_from(value).map_err(|_| format!("{column} {value} is negative"))
}

/// More than 65,535 are all the same: nobody on Earth is half as far from anybody.
fn kilometres(column: &str, value: i32) -> Result<u16, String> {
    Ok(u16::try_from(natural(column, value)?).unwrap_or(u16::MAX))
}

fn hundredths<T: TryFrom<Decimal, Error = OutOfRange>>(column: &str, value: Decimal) -> Result<T, String> {
    T::try_from(value).map_err(|e| format!("{column} {e}"))
}

/// A JSON column that should be a list of texts; the Laravel application writes it, so it may be anything.
fn texts(column: &str, value: &serde_json::Value) -> Result<Arc<[String]>, String> {
    let texts: Result<Vec<String>, _> = serde::Deserialize::deserialize(value);
    texts.map(Arc::from).map_err(|_| format!("{column} {value} is not a list of texts"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::hundredths::{Percent, Rating};

    #[test]
    fn a_value_that_the_index_cannot_hold_is_named_with_what_is_allowed() {
        let service = |row: &str| offerings(&format!("[{row}]")).map(|_| ());
        let number = |value: &str| value.parse::<Decimal>().expect("a number");
        for (result, text) in [
            (
                service(r#"[3, "100000000.00", 5, "0.00", 10, true, false]"#),
                "provider_services: service 3: price 100000000.00 is not within 0.00 to 99999999.99",
            ),
            (
                service(r#"[3, "800.00", 5, "-0.01", 10, true, false]"#),
                "provider_services: service 3: per_km_surcharge -0.01 is not within 0.00 to 999999.99",
            ),
            (
                hundredths::<Rating>("average_rating", number("5.01")).map(|_| ()),
                "average_rating 5.01 is not within 0.00 to 5.00",
            ),
            (
                hundredths::<Percent>("commission_rate", number("-1")).map(|_| ()),
                "commission_rate -1 is not within 0.00 to 100.00",
            ),
            (kilometres("service_radius_km", -1).map(|_| ()), "service_radius_km -1 is negative"),
            (genders(&["female".into(), "both".into()]).map(|_| ()), "gender \"both\" is not of the schema"),
        ] {
            assert_eq!(result, Err(text.to_owned()));
        }
        assert_eq!(service(r#"[3, "99999999.99", 2147483647, "999999.99", 2147483647, true, true]"#), Ok(()));
        assert_eq!([70_000, 65_535, 5, 0].map(|km| kilometres("", km)), [65_535, 65_535, 5, 0].map(Ok));
    }
}
