//! From the body of `POST /v1/bookings` to a booking that can be written: read, checked, priced.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::auth::Principal;
use super::extract::{Fields, read};
use super::nearby::{read_wishes, service};
use super::new_visit;
use super::payment;
use super::problem::Problem;
use super::scheduling::{Timing, read_timing};
use crate::clock;
use crate::core::booking::Kind;
use crate::core::geo::Meters;
use crate::core::ids::ProviderId;
use crate::core::matching::{Candidate, Filters, Precision, Request};
use crate::core::money::Money;
use crate::core::pricing::{self, Price};
use crate::core::settings::Settings;
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::store::bookings::{NewBooking, Place, Preferences};
use crate::store::catalog::{Catalog, Service};
use crate::store::promos::{self, PromoCode};
use crate::store::users;

const TYPES: &[&str] = &["home_service", "in_store"];
pub(super) const BOOKING_TYPES: &[&str] = &["now", "scheduled"];

/// Longest notes, characters.
pub(super) const LONGEST_NOTES: usize = 1_000;

/// The body of `POST /v1/bookings`.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct BookingRequest {
    /// Slug or id.
    #[schema(example = "swedish-massage")]
    pub service: String,
    /// `home_service` or `in_store`.
    #[schema(example = "home_service")]
    pub r#type: String,
    /// `now` or `scheduled`.
    #[schema(example = "now")]
    pub booking_type: String,
    /// With `scheduled`, and only then: RFC 3339 with an offset; `dispatch.lead_s` (an hour) and a minute ahead at least, 90
    /// days at most. A therapist is searched for, or the store asked, until `lead_s` before it, a day at most.
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
    /// Where to; this or `address_id`. At a store neither: the booking is at the store's address.
    pub location: Option<LocationRequest>,
    /// One of the customer's saved addresses; this or `location`.
    pub address_id: Option<i64>,
    /// Only this therapist; he must be able to come then (see `/v1/therapists/nearby`, with the same `scheduled_at`). With
    /// `in_store`: the store, required.
    pub provider_uuid: Option<Uuid>,
    /// Nobody whose price and surcharge come to more is asked.
    #[schema(example = "1000.00")]
    pub max_price: Option<String>,
    /// Wishes that every asked therapist must meet.
    pub preferences: Option<PreferencesRequest>,
    /// Of a promotion.
    pub promo_code: Option<String>,
    /// `card`, `gcash`, `paymaya`, `cash` or `wallet`: then it must hold what the booking costs, and is charged at the accept.
    #[schema(example = "cash")]
    pub payment_method: String,
    /// For the therapist who accepts; at most 1,000 characters.
    pub customer_notes: Option<String>,
}

/// Where to.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct LocationRequest {
    /// At most 500 characters.
    #[schema(example = "6750 Ayala Avenue, Makati")]
    pub address: String,
    /// Flat, room.
    pub unit_number: Option<String>,
    /// Building.
    pub building_name: Option<String>,
    /// What helps to find it.
    pub landmark: Option<String>,
    /// Degrees, -90 to 90.
    #[schema(example = 14.5547)]
    pub latitude: f64,
    /// Degrees, -180 to 180.
    #[schema(example = 121.0244)]
    pub longitude: f64,
}

/// What a customer wishes of the therapist.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct PreferencesRequest {
    /// `male`, `female`, `other` or `prefer_not_to_say`.
    pub gender: Option<String>,
    /// One that he speaks.
    pub language: Option<String>,
    /// One that he has.
    pub specialization: Option<String>,
    /// 0 to 5.
    pub min_rating: Option<f64>,
}

/// The body, checked as far as the body alone tells.
struct Asked {
    service: Service,
    timing: Timing,
    at: Where,
    provider_uuid: Option<Uuid>,
    filters: Filters,
    promo_code: Option<String>,
    payment_method: &'static str,
    customer_notes: Option<String>,
}

enum Where {
    Given(Place),
    Address(i64),
}

/// Everything that can be checked before the transaction.
pub async fn prepare(engine: &Engine, caller: &Principal, fields: Fields) -> Result<NewBooking, Problem> {
    if new_visit::is_asked(&fields) {
        return new_visit::prepare(engine, caller, fields).await;
    }
    let settings = engine.settings();
    let asked = read_body(fields, &engine.catalog(), &settings, clock::now())?;
    let place = match &asked.at {
        Where::Given(place) => place.clone(),
        Where::Address(id) => saved_place(engine, caller, *id).await?,
    };
    let chosen = match asked.provider_uuid {
        Some(uuid) => Some(matchable(engine, caller, &settings, uuid, &asked, &place).await?),
        None => None,
    };
    let provider = chosen.as_ref().map(|candidate| candidate.therapist.provider);
    let promo = match &asked.promo_code {
        Some(code) => Some(usable(engine, caller, code, &asked.service, provider).await?),
        None => None,
    };
    let price = price(&asked.service, chosen.as_ref(), promo.as_ref(), &settings)?;
    payment::affordable(engine, caller, asked.payment_method, price.total_amount).await?;
    let Filters { gender, language, specialization, min_rating, max_price } = asked.filters;
    let preferences = Preferences { gender, language, specialization, min_rating };
    Ok(NewBooking {
        uuid: None,
        customer: caller.user,
        kind: Kind::HomeService,
        service: asked.service.id,
        scheduled_at: asked.timing.scheduled_at,
        place,
        chosen: provider,
        price,
        price_is_estimate: chosen.is_none(),
        max_price,
        preferences: serde_json::to_value(preferences).map_err(|error| {
            tracing::error!(%error, "preferences could not be written as JSON");
            Problem::internal()
        })?,
        promo_code: promo.map(|promo| promo.id),
        payment_method: asked.payment_method.to_owned(),
        customer_notes: asked.customer_notes,
        dispatch_timeout_s: asked.timing.search_for_s,
        lease: None,
    })
}

fn read_body(mut fields: Fields, catalog: &Catalog, settings: &Settings, now: Timestamp) -> Result<Asked, Problem> {
    let service = fields.required("service", |given| service(given, catalog).cloned());
    fields.required("type", read::word(TYPES));
    let when = fields.required("booking_type", read::word(BOOKING_TYPES));
    let timing = read_timing(&mut fields, when, settings, now);
    let at = read_where(&mut fields);
    let provider_uuid = fields.optional("provider_uuid", read::uuid);
    let max_price = fields.optional("max_price", read::money);
    let filters = match fields.object("preferences") {
        Some(mut preferences) => {
            let filters = read_wishes(&mut preferences);
            fields.absorb(preferences);
            filters
        }
        None => Filters::default(),
    };
    let promo_code = fields.optional("promo_code", read::text(50));
    let payment_method = fields.required("payment_method", read::word(payment::METHODS));
    let customer_notes = fields.optional("customer_notes", read::text(LONGEST_NOTES));
    let asked = (|| {
        Some(Asked {
            service: service?,
            timing: timing?,
            at: at?,
            provider_uuid,
            filters: Filters { max_price, ..filters },
            promo_code,
            payment_method: payment_method?,
            customer_notes,
        })
    })();
    fields.finish(asked)
}

/// `location` or `address_id`: one of them.
fn read_where(fields: &mut Fields) -> Option<Where> {
    match (fields.has("location"), fields.has("address_id")) {
        (true, true) => {
            fields.error("address_id", "The address_id field must not be given together with location.");
            None
        }
        (false, true) => fields.optional("address_id", read::integer(1, i64::MAX)).map(Where::Address),
        (false, false) => {
            fields.error("location", "The location field is required when address_id is not given.");
            None
        }
        (true, false) => {
            let mut location = fields.object("location")?;
            let address = location.required("address", read::text(500));
            let unit_number = location.optional("unit_number", read::text(50));
            let building_name = location.optional("building_name", read::text(255));
            let landmark = location.optional("landmark", read::text(255));
            let at = read::place(&mut location);
            fields.absorb(location);
            Some(Where::Given(Place { address: address?, unit_number, building_name, landmark, at: at? }))
        }
    }
}

async fn saved_place(engine: &Engine, caller: &Principal, id: i64) -> Result<Place, Problem> {
    let address = users::address(&engine.pool, caller.user, id).await?.ok_or_else(|| {
        Problem::field(
            "invalid",
            "address_id",
            format!("The address_id field must be one of your addresses; {id} is not."),
        )
    })?;
    Ok(Place { address: address.line, unit_number: None, building_name: None, landmark: None, at: address.place })
}

/// The named therapist, if he could take this then, from the positions that the caller may know: a stranger could
/// otherwise find him by asking from many places.
async fn matchable(
    engine: &Engine,
    caller: &Principal,
    settings: &Settings,
    uuid: Uuid,
    asked: &Asked,
    place: &Place,
) -> Result<Candidate, Problem> {
    let when = asked.timing.scheduled_at.map_or("now", |_| "at that time");
    let unavailable = || {
        let text = format!("The chosen therapist cannot take this booking {when}.");
        Problem::field("provider_unavailable", "provider_uuid", text)
    };
    let provider = users::provider_by_uuid(&engine.pool, uuid).await?.ok_or_else(unavailable)?;
    let now = clock::now();
    let request = Request {
        service: asked.service.id,
        place: place.at,
        when: asked.timing.scheduled_at.into(),
        duration: asked.service.duration(),
        customer: caller.user,
        customer_gender: caller.gender,
        radius: Meters::from_km(f64::from(settings.service_radius_max_km)),
        stale_after: settings.stale_after(),
        limit: 1,
        filters: asked.filters.clone(),
        exclude: BTreeSet::new(),
        only: Some(provider),
        precision: if caller.sees_exact() {
            Precision::Exact
        } else {
            Precision::Public { tie_key: engine.tie_key(now) }
        },
    };
    engine.fleet.nearest(&request, now).candidates.pop().ok_or_else(unavailable)
}

pub(super) async fn usable(
    engine: &Engine,
    caller: &Principal,
    code: &str,
    service: &Service,
    provider: Option<ProviderId>,
) -> Result<PromoCode, Problem> {
    let checked = promos::check(&engine.pool, code, caller.user, service.id, provider).await?;
    checked.map_err(|refused| promo_refused(refused.to_string()))
}

/// 422 `promo_refused`; `why` reads on after "…: ".
pub fn promo_refused(why: impl std::fmt::Display) -> Problem {
    Problem::field("promo_refused", "promo_code", format!("The promo_code field cannot be used: {why}."))
}

/// The chosen therapist's price and surcharge, or an estimate from the service's base price.
fn price(
    service: &Service,
    chosen: Option<&Candidate>,
    promo: Option<&PromoCode>,
    settings: &Settings,
) -> Result<Price, Problem> {
    let (service_price, surcharge, rate) = match chosen {
        Some(candidate) => {
            (candidate.price, candidate.surcharge, candidate.therapist.profile.commission_rate.decimal())
        }
        None => (service.base_price, Money::ZERO, settings.commission_rate.default),
    };
    meets_minimum(promo, service_price + surcharge)?;
    let price = pricing::price(service_price, surcharge, rate, promo.map(|promo| &promo.terms));
    Ok(price.with_platform_fee(settings.platform_fee))
}

/// Whether service price and surcharge come to what the promo code asks for.
pub(super) fn meets_minimum(promo: Option<&PromoCode>, price: Money) -> Result<(), Problem> {
    match promo.and_then(|promo| promo.minimum) {
        Some(minimum) if price < minimum => Err(promo_refused(format!("it needs a price of at least {minimum}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::ServiceId;
    use crate::core::pricing::{Discount, Promo};
    use serde_json::{Value, json};

    fn service() -> Service {
        Service {
            id: ServiceId(1),
            slug: "swedish-massage".into(),
            name: "Swedish Massage".into(),
            category: None,
            description: None,
            base_price: Money::centavos(80_000),
            currency: "PHP".into(),
            duration_minutes: 60,
        }
    }

    fn body() -> Value {
        json!({"service": "swedish-massage", "type": "home_service", "booking_type": "now", "payment_method": "cash",
               "location": {"address": "6750 Ayala Avenue", "latitude": 14.55, "longitude": 121.02}})
    }

    fn read_with(change: impl FnOnce(&mut Value)) -> Result<Asked, Problem> {
        let mut body = body();
        change(&mut body);
        let Value::Object(map) = body else { panic!("an object") };
        let now = Timestamp::from_secs(1_795_000_000);
        read_body(Fields::of_body(map), &[service()].into_iter().collect(), &Settings::default(), now)
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let problem = read_with(|b| *b = json!({})).err().expect("refused").to_json();
        let fields: Vec<_> = problem["errors"].as_object().expect("errors").keys().cloned().collect();
        assert_eq!(fields, ["booking_type", "location", "payment_method", "service", "type"]);
    }

    #[test]
    fn a_place_is_given_once_either_way() {
        assert!(matches!(read_with(|_| ()).map(|a| a.at), Ok(Where::Given(_))));
        let by_id = read_with(|b| {
            b["location"] = Value::Null;
            b["address_id"] = json!(5);
        });
        assert!(matches!(by_id.map(|a| a.at), Ok(Where::Address(5))));
        let both = read_with(|b| b["address_id"] = json!(5)).err().expect("refused").to_json();
        assert!(both["errors"]["address_id"].is_array(), "{both}");
    }

    #[test]
    fn preferences_and_notes_are_checked() {
        let problem = read_with(|b| {
            b["preferences"] = json!({"gender": "robot", "min_rating": 9});
            b["customer_notes"] = json!("x".repeat(1_001));
        });
        let problem = problem.err().expect("refused").to_json();
        let fields: Vec<_> = problem["errors"].as_object().expect("errors").keys().cloned().collect();
        assert_eq!(fields, ["customer_notes", "preferences.gender", "preferences.min_rating"]);
    }

    #[test]
    fn an_estimate_is_the_base_price_less_the_promo_and_its_minimum_is_asked() {
        let terms = Promo { discount: Discount::FixedAmount(Money::centavos(10_000)), max_discount: None };
        let promo = |minimum| PromoCode { id: 1, terms: terms.clone(), minimum };
        let settings = Settings::default();
        let estimate = price(&service(), None, Some(&promo(Some(Money::centavos(80_000)))), &settings).expect("priced");
        assert_eq!(estimate.total_amount, Money::centavos(70_000));
        let refused = price(&service(), None, Some(&promo(Some(Money::centavos(80_001)))), &settings);
        assert_eq!(refused.expect_err("below the minimum").code(), "promo_refused");
    }
}
