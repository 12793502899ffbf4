//! `services` and their categories: what can be booked. The catalogue is small and read whole.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgPool;

use super::StoreError;
use super::service_categories::{self, CategoryRow};
use super::services::{self, ServiceRow};
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
    /// The same as people are shown them: whoever asks without a token costs no statement.
    shown: Vec<ServiceRow>,
    categories: Vec<CategoryRow>,
}

impl Catalog {
    /// All of them, in the order they are shown.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The same, as people are shown them.
    pub fn shown(&self) -> &[ServiceRow] {
        &self.shown
    }

    /// The categories that are shown, in their order.
    pub fn categories(&self) -> &[CategoryRow] {
        &self.categories
    }

    /// By id.
    pub fn get(&self, id: ServiceId) -> Option<&Service> {
        self.services.iter().find(|service| service.id == id)
    }

    /// The services that are in one of the two and not in the other: who offers them matches otherwise.
    pub fn appeared_or_gone(&self, other: &Self) -> BTreeSet<ServiceId> {
        let ids = |catalog: &Self| -> BTreeSet<_> { catalog.services.iter().map(|service| service.id).collect() };
        ids(self).symmetric_difference(&ids(other)).copied().collect()
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
        Self { services: services.into_iter().collect(), ..Self::default() }
    }
}

impl From<&ServiceRow> for Service {
    fn from(row: &ServiceRow) -> Self {
        Self {
            id: ServiceId(row.id),
            slug: row.slug.clone(),
            name: row.name.clone(),
            category: row.category.clone(),
            description: row.description.clone(),
            base_price: row.base_price,
            currency: row.currency.clone(),
            duration_minutes: row.duration_minutes.unsigned_abs(), // CHECK: 1 to 1440
        }
    }
}

/// Reads the active services, and the categories that are shown.
pub async fn load(pool: &PgPool) -> Result<Catalog, StoreError> {
    let shown = services::list(pool, false).await?;
    let categories = service_categories::list(pool, false).await?;
    Ok(Catalog { services: shown.iter().map(Service::from).collect(), shown, categories })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(id: i64, name: &str) -> Service {
        Service {
            id: ServiceId(id),
            slug: "sports-massage".into(),
            name: name.into(),
            category: None,
            description: None,
            base_price: Money::centavos(120_000),
            currency: "PHP".into(),
            duration_minutes: 60,
        }
    }

    #[test]
    fn what_appeared_or_went_is_told_and_a_new_name_is_neither() {
        let before: Catalog = [service(1, "Swedish"), service(2, "Shiatsu")].into_iter().collect();
        let after: Catalog = [service(3, "Hilot"), service(2, "Shiatsu, dry")].into_iter().collect();
        assert_eq!(before.appeared_or_gone(&after), [ServiceId(1), ServiceId(3)].into());
        assert_eq!(after.appeared_or_gone(&after), BTreeSet::new());
    }

    #[test]
    fn a_service_is_found_by_slug_and_by_id() {
        let catalog: Catalog = [service(3, "Sports Massage")].into_iter().collect();
        assert_eq!(catalog.find("3"), catalog.find("sports-massage"));
        assert!(catalog.find("3").is_some());
        assert_eq!(catalog.find("4"), None);
    }
}
