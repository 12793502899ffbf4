//! `GET /v1/services`: what can be booked.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::page::{Page, WholeList};
use crate::core::money::Money;
use crate::engine::Engine;
use crate::store::catalog::Service;

/// A service that can be booked.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ListedService {
    /// `services.id`
    pub id: i64,
    /// `swedish-massage`
    #[schema(example = "swedish-massage")]
    pub slug: String,
    /// `Swedish Massage`
    pub name: String,
    /// Slug of its category.
    pub category: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Therapists have prices of their own; this one is for estimates.
    #[schema(value_type = String, example = "800.00")]
    pub base_price: Money,
    /// `PHP`
    #[schema(example = "PHP")]
    pub currency: String,
    /// How long it takes.
    pub duration_minutes: u32,
}

/// The services that can be booked, in the order in which they are shown, on one page.
#[utoipa::path(get, path = "/v1/services", tag = "matching", responses((status = 200, body = Page<ListedService>)))]
pub async fn services(State(engine): State<Arc<Engine>>, list: WholeList) -> Json<Page<ListedService>> {
    Json(list.page(engine.catalog().services().iter().map(ListedService::from).collect()))
}

impl From<&Service> for ListedService {
    fn from(service: &Service) -> Self {
        Self {
            id: service.id.0,
            slug: service.slug.clone(),
            name: service.name.clone(),
            category: service.category.clone(),
            description: service.description.clone(),
            base_price: service.base_price,
            currency: service.currency.clone(),
            duration_minutes: service.duration_minutes,
        }
    }
}
