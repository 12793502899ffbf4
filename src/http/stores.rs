//! `GET /v1/stores/nearby`: from the index of stores alone, no SQL.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use uuid::Uuid;

use super::auth::Caller;
use super::extract::{Fields, Given, read};
use super::nearby::{self, Around, NearbyMeta, as_number};
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::core::geo::km_2;
use crate::core::money::Money;
use crate::core::settings::Settings;
use crate::core::stores::{Found, Question};
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::store::catalog::{Catalog, Service};
use crate::wire::time::WireTime;

const MOST_AMENITIES: usize = 10;

/// The query, checked.
#[derive(Debug)]
struct Query {
    question: Question,
    service: Option<Service>,
}

/// The nearest stores.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NearbyStores {
    /// Nearest first.
    pub data: Vec<NearbyStore>,
    /// About the answer.
    pub meta: NearbyMeta,
}

/// A store that one can go to.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NearbyStore {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// As on its door.
    pub store_name: String,
    /// Number and street.
    pub address_line1: String,
    /// Floor, building.
    pub address_line2: Option<String>,
    /// City or municipality.
    pub city: String,
    /// Province.
    pub province: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// Exact.
    pub location: StoreLocation,
    /// To call before one goes.
    pub phone: Option<String>,
    /// Straight line, km to two decimals.
    #[schema(example = 1.23)]
    pub distance_km: f64,
    /// Whether it is open at `meta.as_of`; null when its opening hours are not known.
    pub open_now: Option<bool>,
    /// When it opens next; null while it is open, and when that is not known or never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opens_at: Option<WireTime>,
    /// When it closes; null while it is closed, and when that is not known or never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closes_at: Option<WireTime>,
    /// 0.00 to 5.00.
    #[schema(value_type = f64, example = 4.85)]
    pub average_rating: f64,
    /// How many reviews that is of.
    pub total_reviews: u32,
    /// As the store lists them.
    pub amenities: Vec<String>,
    /// Its price of the asked service in the store; null if none was asked.
    #[schema(value_type = Option<String>, example = "800.00")]
    pub price: Option<Money>,
    /// Of the price: `PHP`
    #[schema(example = "PHP")]
    pub currency: Option<String>,
}

/// Degrees.
#[derive(Serialize, utoipa::ToSchema)]
pub struct StoreLocation {
    /// North positive.
    pub latitude: f64,
    /// East positive.
    pub longitude: f64,
}

/// The nearest stores, with whether they are open.
///
/// Exact: a store's place is public. Opening hours are of Manila, those that close after midnight included. A store
/// that the caller has blocked, or that has blocked him, is not shown. One whose hours are not known is shown with `open_now` null, and not when one that is open is asked for.
#[utoipa::path(
    get,
    path = "/v1/stores/nearby",
    operation_id = "nearby_stores",
    tag = "matching",
    params(
        ("latitude" = f64, Query, description = "Degrees, -90 to 90"),
        ("longitude" = f64, Query, description = "Degrees, -180 to 180"),
        ("service" = Option<String>, Query, description = "Slug or id of a service that is offered in the store"),
        ("radius_km" = Option<f64>, Query, description = "Up to the setting `service_radius_max`; 5 if not given"),
        ("limit" = Option<u32>, Query, description = "1 to 50; 10 if not given"),
        ("open_now" = Option<bool>, Query, description = "`true`: only stores that are open now; `false`, as if not given: all"),
        ("open_at" = Option<String>, Query, description = "RFC 3339 with an offset, within 90 days: only stores that are open then"),
        ("min_rating" = Option<f64>, Query, description = "0 to 5"),
        ("amenities" = Option<String>, Query, description = "Up to 10, separated by commas: only stores that have all of them"),
    ),
    responses((status = 200, body = NearbyStores), (status = 422, body = ProblemBody))
)]
pub async fn nearby(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    fields: Fields,
) -> Result<Json<NearbyStores>, Problem> {
    let now = clock::now();
    let mut query = read_query(fields, &engine.settings(), &engine.catalog(), now)?;
    query.question.customer = Some(caller.user);
    let answer = engine.stores().nearest(&query.question);
    let data = answer.found.iter().map(|found| show(found, &query, now)).collect();
    Ok(Json(NearbyStores {
        data,
        meta: NearbyMeta { considered: answer.considered, as_of: WireTime(now), certificate: None },
    }))
}

fn read_query(mut fields: Fields, settings: &Settings, catalog: &Catalog, now: Timestamp) -> Result<Query, Problem> {
    let around = nearby::read_around(&mut fields, settings);
    let service = fields.optional("service", |given| nearby::service(given, catalog));
    let open_now = fields.optional("open_now", read::boolean).filter(|only| *only).map(|_| now);
    let open_at = fields.optional("open_at", |given| nearby::future(given, now));
    let min_rating = fields.optional("min_rating", read::decimal(0, 5));
    let amenities = fields.optional("amenities", amenities).unwrap_or_default();
    let query = around.map(|Around { place, radius, limit }| Query {
        question: Question {
            customer: None,
            place,
            radius,
            limit,
            service: service.as_ref().map(|service| service.id),
            open: open_now.into_iter().chain(open_at).collect(),
            amenities,
            min_rating,
        },
        service: service.cloned(),
    });
    fields.finish(query)
}

fn amenities(given: Given<'_>) -> Result<Vec<String>, String> {
    let allowed = || format!("must be 1 to {MOST_AMENITIES} texts of 1 to 50 characters, separated by commas");
    let all = read::text(MOST_AMENITIES * 51)(given).map_err(|_| allowed())?;
    let words: Vec<String> = all.split(',').map(|word| word.trim().to_owned()).collect();
    let each_good = words.iter().all(|word| (1..=50).contains(&word.chars().count()));
    if each_good && words.len() <= MOST_AMENITIES { Ok(words) } else { Err(allowed()) }
}

fn show(found: &Found, query: &Query, now: Timestamp) -> NearbyStore {
    let store = &*found.store;
    let open_now = store.hours.as_ref().map(|hours| hours.is_open(now));
    let change = store.hours.as_ref().and_then(|hours| hours.next_change(now)).map(WireTime);
    NearbyStore {
        provider_uuid: store.uuid,
        store_name: store.name.clone(),
        address_line1: store.address.line1.clone(),
        address_line2: store.address.line2.clone(),
        city: store.address.city.clone(),
        province: store.address.province.clone(),
        postal_code: store.address.postal_code.clone(),
        location: StoreLocation { latitude: store.place.latitude(), longitude: store.place.longitude() },
        phone: store.phone.clone(),
        distance_km: as_number(km_2(found.distance)),
        open_now,
        opens_at: change.filter(|_| open_now == Some(false)),
        closes_at: change.filter(|_| open_now == Some(true)),
        average_rating: as_number(store.average_rating),
        total_reviews: store.total_reviews,
        amenities: store.amenities.clone(),
        price: found.price,
        currency: query.service.as_ref().map(|service| service.currency.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    fn read_with(extra: &[(&str, &str)]) -> Result<Query, Problem> {
        let mut pairs = vec![("latitude", "14.55"), ("longitude", "121.02")];
        pairs.retain(|(name, _)| !extra.iter().any(|(n, _)| n == name));
        pairs.extend_from_slice(extra);
        read_query(Fields::of_pairs(&pairs), &Settings::default(), &Catalog::default(), NOW)
    }

    #[test]
    fn each_wrong_parameter_is_named_with_value_and_what_is_allowed() {
        let amenities = "must be 1 to 10 texts of 1 to 50 characters, separated by commas";
        for (name, value, allowed) in [
            ("latitude", "91", "must be a number from -90 to 90"),
            ("longitude", "east", "must be a number from -180 to 180"),
            ("service", "haircut", "must be the slug or id of a service (see /v1/services)"),
            ("radius_km", "20.1", "must be a number from 0 to 20"),
            ("limit", "51", "must be a whole number from 1 to 50"),
            ("open_now", "yes", "must be true or false"),
            ("open_at", "2026-11-23T09:00:00", "must be a time like 2026-11-22T09:00:00Z, with an offset"),
            ("open_at", "2020-01-01T00:00:00Z", "must be a time in the future, until "),
            ("min_rating", "5.1", "must be a number from 0 to 5"),
            ("amenities", "WiFi,,Sauna", amenities),
            ("amenities", "1,2,3,4,5,6,7,8,9,10,11", amenities),
        ] {
            let Err(problem) = read_with(&[(name, value)]) else { panic!("{name}={value} was taken") };
            let json = problem.to_json();
            let text = json["errors"][name][0].as_str().unwrap_or_default();
            assert!(text.starts_with(&format!("The {name} field {allowed}")), "{name}={value}: {json}");
            assert!(text.contains(value), "{name}={value}: {json}");
        }
    }

    #[test]
    fn the_defaults_are_five_kilometres_ten_answers_and_any_hours() {
        for closed_too in [read_with(&[]), read_with(&[("open_now", "false")])] {
            let question = closed_too.expect("good").question;
            assert_eq!((question.radius.km(), question.limit, question.open), (5.0, 10, vec![]));
        }
    }

    #[test]
    fn open_now_and_open_at_are_both_asked() {
        let query = read_with(&[("open_now", "true"), ("open_at", "2026-11-20T00:00:00+08:00")]).expect("good");
        assert_eq!(query.question.open, [NOW, Timestamp::from_secs(1_795_104_000)]);
    }

    #[test]
    fn amenities_are_separated_by_commas() {
        let query = read_with(&[("amenities", " WiFi , Hot tub")]).expect("good");
        assert_eq!(query.question.amenities, ["WiFi", "Hot tub"]);
    }
}
