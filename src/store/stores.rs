//! Stores as customers look for them: everything the index of stores holds, read in one statement, so that a row set is
//! never half old and half new.

use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::StoreError;
use crate::core::geo::LatLng;
use crate::core::ids::{ProviderId, ServiceId, UserId};
use crate::core::money::Money;
use crate::core::stores::{Address, InStore, Store, hours};

const STORES: &str = "
    SELECT p.id, p.uuid, sp.store_name, sp.address_line1, sp.address_line2, sp.city, sp.province, sp.postal_code, sp.phone,
           round(sp.latitude * 10000000)::int AS lat_e7, round(sp.longitude * 10000000)::int AS lng_e7,
           p.average_rating, p.total_reviews, sp.amenities, sp.operating_hours,
           p.verification_status = 'verified' AS verified,
           p.is_active AND p.deleted_at IS NULL AND u.is_active AND u.deleted_at IS NULL AS active,
           p.accepts_store_service, s.services, s.prices,
           ARRAY(SELECT DISTINCT cb.customer_id FROM customer_blocks cb WHERE cb.provider_id = p.id ORDER BY 1) AS blocked
    FROM store_profiles sp
    JOIN providers p ON p.id = sp.provider_id
    JOIN users u ON u.id = p.user_id
    LEFT JOIN LATERAL (
        SELECT COALESCE(array_agg(ps.service_id ORDER BY ps.service_id), '{}') AS services,
               COALESCE(array_agg(ps.price::text ORDER BY ps.service_id), '{}') AS prices
        FROM provider_services ps JOIN services sv ON sv.id = ps.service_id
        WHERE ps.provider_id = p.id AND ps.is_available AND ps.store_service_enabled
          AND sv.is_active AND sv.deleted_at IS NULL) s ON TRUE
    WHERE $1::bigint[] IS NULL OR p.id = ANY($1)
    ORDER BY p.id";

#[derive(FromRow)]
struct Row {
    id: i64,
    uuid: Uuid,
    store_name: String,
    address_line1: String,
    address_line2: Option<String>,
    city: String,
    province: Option<String>,
    postal_code: Option<String>,
    phone: Option<String>,
    lat_e7: i32,
    lng_e7: i32,
    average_rating: Decimal,
    total_reviews: i32,
    amenities: Option<Value>,
    operating_hours: Option<Value>,
    verified: bool,
    active: bool,
    accepts_store_service: bool,
    services: Vec<i64>,
    blocked: Vec<i64>,
    /// As text: PostgreSQL's NaN passes the column's CHECK and is no decimal here.
    prices: Vec<String>,
}

/// What a store's row says and nobody can read, since the Laravel application writes these columns as it likes. The
/// store is shown without it; ops see why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Whose row.
    pub provider: ProviderId,
    /// Names column and value.
    pub problem: String,
}

/// Reads these stores, or all with `None`, in order of id: one statement, one snapshot. A provider that is not in the
/// answer does not exist (any more), is no store or has no profile.
///
/// # Errors
/// [`StoreError::Database`]; [`StoreError::Corrupt`] for a place that the schema's checks should not let be.
pub async fn load(db: impl PgExecutor<'_>, only: Option<&[ProviderId]>) -> Result<(Vec<Store>, Vec<Flaw>), StoreError> {
    let ids: Option<Vec<i64>> = only.map(|ids| ids.iter().map(|id| id.0).collect());
    let rows = sqlx::query_as::<_, Row>(STORES).bind(ids).fetch_all(db).await?;
    let mut flaws = Vec::new();
    let stores = rows.into_iter().map(|row| store(row, &mut flaws)).collect::<Result<_, _>>()?;
    Ok((stores, flaws))
}

fn store(row: Row, flaws: &mut Vec<Flaw>) -> Result<Store, StoreError> {
    let place = LatLng::from_e7(row.lat_e7, row.lng_e7).map_err(|error| StoreError::Corrupt {
        column: "store_profiles.location",
        value: error.to_string(),
        allowed: "degrees",
    })?;
    let provider = ProviderId(row.id);
    let mut flaw = |problem: String| flaws.push(Flaw { provider, problem });
    let hours = hours::parse(row.operating_hours.as_ref().unwrap_or(&Value::Null)).unwrap_or_else(|error| {
        flaw(format!("operating_hours: {error}"));
        None
    });
    let amenities = match row.amenities {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => serde::Deserialize::deserialize(&value).unwrap_or_else(|_| {
            flaw(format!("amenities {value} is not a list of texts"));
            Vec::new()
        }),
    };
    let mut services = Vec::with_capacity(row.services.len());
    for (service, price) in row.services.into_iter().zip(row.prices) {
        match price.parse() {
            Ok(price) => services.push(InStore { service: ServiceId(service), price: Money::rounded(price) }),
            Err(_) => flaw(format!("provider_services.price {price} of service {service} is not an amount")),
        }
    }
    Ok(Store {
        provider,
        uuid: row.uuid,
        name: row.store_name,
        address: Address {
            line1: row.address_line1,
            line2: row.address_line2,
            city: row.city,
            province: row.province,
            postal_code: row.postal_code,
        },
        place,
        phone: row.phone,
        average_rating: row.average_rating,
        total_reviews: row.total_reviews.unsigned_abs(), // CHECK: not negative
        amenities,
        hours,
        services,
        blocked: row.blocked.into_iter().map(UserId).collect(),
        verified: row.verified,
        active: row.active,
        accepts_store_service: row.accepts_store_service,
    })
}
