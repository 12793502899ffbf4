//! `services`: what can be booked. The catalogue is small and read whole.

use std::time::Duration;

use rust_decimal::Decimal;
use sqlx::PgPool;

use super::StoreError;
use crate::core::ids::ServiceId;
use crate::core::money::Money;

/// A service that can be booked.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// `services.id`
    pub id: ServiceId,
    /// `swedish-massage`
    pub slug: String,
    /// `Swedish Massage`
    pub name: String,
    /// Slug of `service_categories`.
    pub category: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What an estimate starts from.
    pub base_price: Money,
    /// `PHP`
    pub currency: String,
    /// How long it takes.
    pub duration_minutes: u32,
}

impl Service {
    /// How long it takes.
    pub const fn duration(&self) -> Duration {
        Duration::from_secs(self.duration_minutes as u64 * 60)
    }
}

/// Every service that can be booked, in the catalogue's own order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    services: Vec<Service>,
}

impl Catalog {
    /// All of them, in the order they are shown.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// By id.
    pub fn get(&self, id: ServiceId) -> Option<&Service> {
        self.services.iter().find(|service| service.id == id)
    }

    /// By slug, or by id in digits.
    pub fn find(&self, slug_or_id: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.slug == slug_or_id).or_else(|| {
            let id = slug_or_id.parse().ok()?;
            self.get(ServiceId(id))
        })
    }
}

impl FromIterator<Service> for Catalog {
    fn from_iter<T: IntoIterator<Item = Service>>(services: T) -> Self {
        Self { services: services.into_iter().collect() }
    }
}

#[derive(sqlx::FromRow)]
struct ServiceRow {
    id: i64,
    slug: String,
    name: String,
    category: Option<String>,
    description: Option<String>,
    base_price: Decimal,
    currency: String,
    duration_minutes: i32,
}

/// Reads the active services.
pub async fn load(pool: &PgPool) -> Result<Catalog, StoreError> {
    let rows: Vec<ServiceRow> = sqlx::query_as(
        r"SELECT s.id, s.slug, s.name, c.slug AS category, s.description, s.base_price, s.currency, s.duration_minutes
          FROM services s LEFT JOIN service_categories c ON c.id = s.category_id
          WHERE s.is_active AND s.deleted_at IS NULL
          ORDER BY c.sort_order NULLS LAST, s.sort_order, s.id",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Service {
            id: ServiceId(row.id),
            slug: row.slug,
            name: row.name,
            category: row.category,
            description: row.description,
            base_price: Money::rounded(row.base_price),
            currency: row.currency,
            duration_minutes: row.duration_minutes.unsigned_abs(), // CHECK: 1 to 1440
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_slug_and_by_id() {
        let service = Service {
            id: ServiceId(3),
            slug: "sports-massage".into(),
            name: "Sports Massage".into(),
            category: None,
            description: None,
            base_price: Money::centavos(120_000),
            currency: "PHP".into(),
            duration_minutes: 60,
        };
        let catalog: Catalog = [service].into_iter().collect();
        assert_eq!(catalog.find("3"), catalog.find("sports-massage"));
        assert!(catalog.find("3").is_some());
        assert_eq!(catalog.find("4"), None);
    }
}
