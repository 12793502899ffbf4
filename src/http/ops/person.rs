//! `GET /v1/ops/fleet/{uuid}`: what ops know of one therapist.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use uuid::Uuid;

use super::super::extract::PathUuid;
use super::super::problem::{Problem, ProblemBody};
use super::state;
use crate::clock;
use crate::core::fleet::Duty;
use crate::core::money::Money;
use crate::core::people::Gender;
use crate::engine::Engine;
use crate::wire::time::WireTime;

/// A therapist, as the index has him now. No base location, no telephone number: ops need neither to watch.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Person {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// Given name.
    pub first_name: String,
    /// What he does.
    pub state: state::State,
    /// His last fix is too old for matching; null: there is none.
    pub stale: Option<bool>,
    /// Switched on in the app.
    pub available: bool,
    /// `verification_status = 'verified'`
    pub verified: bool,
    /// Provider and user active, neither deleted.
    pub active: bool,
    /// His app has an open socket on this node.
    pub connected: bool,
    /// The booking that he is on.
    pub booking_uuid: Option<Uuid>,
    /// Until when he may answer what he is asked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub offered_until: Option<WireTime>,
    /// Degrees.
    pub latitude: Option<f64>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// When he was there.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub recorded_at: Option<WireTime>,
    /// Of the reviews.
    pub average_rating: f64,
    /// How many reviews made the rating.
    pub total_reviews: u32,
    /// `gender` of the schema.
    #[schema(value_type = Option<String>)]
    pub gender: Option<Gender>,
    /// As he names them.
    pub specializations: Vec<String>,
    /// `languages_spoken`
    pub languages: Vec<String>,
    /// Does not go farther, km.
    pub service_radius_km: u16,
    /// Accepted bookings ahead of him, the present one included.
    pub accepted_bookings: usize,
    /// What he offers at a customer's home.
    pub services: Vec<Offered>,
    /// When all this was so.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: WireTime,
}

/// A service and his price of it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Offered {
    /// `services.name`
    pub name: String,
    /// Before any surcharge.
    #[schema(value_type = String, example = "800.00")]
    pub price: Money,
    /// `PHP`
    pub currency: String,
}

/// What ops know of one therapist, from the index.
#[utoipa::path(
    get,
    path = "/v1/ops/fleet/{uuid}",
    tag = "ops",
    params(("uuid" = Uuid, Path, description = "`providers.uuid`")),
    responses((status = 200, body = Person), (status = 404, body = ProblemBody))
)]
pub async fn person(State(engine): State<Arc<Engine>>, PathUuid(uuid): PathUuid) -> Result<Json<Person>, Problem> {
    let now = clock::now();
    // By a look at everybody: a person clicks seldom, and matching asks by id.
    let found = engine.fleet.snapshot().into_iter().find(|(therapist, _)| therapist.uuid == uuid);
    let (therapist, at) = found.ok_or_else(|| Problem::not_found("Therapist"))?;
    let (state, booking_uuid) = state::State::of(&therapist, now);
    let (profile, catalog, stale_after) = (&therapist.profile, engine.catalog(), engine.settings().stale_after());
    let services = therapist.services.iter().filter(|offering| offering.home).filter_map(|offering| {
        let service = catalog.get(offering.service)?;
        Some(Offered { name: service.name.clone(), price: offering.price, currency: service.currency.clone() })
    });
    Ok(Json(Person {
        provider_uuid: uuid,
        first_name: therapist.first_name.to_string(),
        state,
        stale: at.map(|(_, seen)| state::is_stale(seen, now, stale_after)),
        available: therapist.available,
        verified: profile.verified,
        active: profile.active,
        connected: engine.bus.is_connected(therapist.user),
        booking_uuid,
        offered_until: match therapist.ties.duty() {
            Duty::Offered { until } if until > now => Some(WireTime(until)),
            _ => None,
        },
        latitude: at.map(|(place, _)| place.latitude()),
        longitude: at.map(|(place, _)| place.longitude()),
        recorded_at: at.map(|(_, seen)| WireTime(seen)),
        average_rating: f64::from(therapist.average_rating.hundredths()) / 100.0,
        total_reviews: therapist.total_reviews,
        gender: therapist.gender,
        specializations: profile.specializations.to_vec(),
        languages: profile.languages.to_vec(),
        service_radius_km: profile.service_radius_km,
        accepted_bookings: therapist.ties.busy().iter().filter(|(_, until)| *until > now).count(),
        services: services.collect(),
        as_of: WireTime(now),
    }))
}
