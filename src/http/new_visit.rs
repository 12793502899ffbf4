//! `POST /v1/bookings` with `type: in_store`: a booking at a named store, whose owner is asked; and how a store's refusal
//! reads.

use uuid::Uuid;

use super::auth::Principal;
use super::extract::{Fields, read};
use super::nearby::{read_wishes, service};
use super::new_booking::{self, BOOKING_TYPES, LONGEST_NOTES};
use super::payment;
use super::problem::Problem;
use super::scheduling::{Timing, read_timing};
use crate::clock;
use crate::core::booking::Kind;
use crate::core::ids::ProviderId;
use crate::core::matching::Filters;
use crate::core::money::Money;
use crate::core::pricing;
use crate::core::settings::Settings;
use crate::core::stores::rooms::{self, NoRoom, Stay};
use crate::core::time::Timestamp;
use crate::engine::Engine;
use crate::store::bookings::{self, NewBooking, Venue, VisitRefused};
use crate::store::catalog::{Catalog, Service};
use crate::store::users;
use crate::wire::time::WireTime;

/// The body, checked as far as the body alone tells.
struct Asked {
    service: Service,
    store: Uuid,
    timing: Timing,
    max_price: Option<Money>,
    promo_code: Option<String>,
    payment_method: &'static str,
    customer_notes: Option<String>,
}

/// Whether this body asks for a booking at a store.
pub(super) fn is_asked(fields: &Fields) -> bool {
    fields.raw("type").is_some_and(|kind| kind == Kind::InStore.as_str())
}

/// Everything that can be checked before the transaction.
pub(super) async fn prepare(engine: &Engine, caller: &Principal, fields: Fields) -> Result<NewBooking, Problem> {
    let (settings, now) = (engine.settings(), clock::now());
    let asked = read_body(fields, &engine.catalog(), &settings, now)?;
    let no_store = || {
        let text = format!(
            "The provider_uuid field must be the uuid of a store (see /v1/stores/nearby); {} is not.",
            asked.store
        );
        Problem::field("invalid", "provider_uuid", text)
    };
    let store = users::provider_by_uuid(&engine.pool, asked.store).await?.ok_or_else(no_store)?;
    let Timing { scheduled_at, search_for_s } = asked.timing;
    let stay = Stay::new(scheduled_at.unwrap_or(now), asked.service.duration());
    let seen = bookings::look_at_store(&engine.pool, store, asked.service.id, caller.user, stay).await?;
    let (venue, taken) = seen.ok_or_else(no_store)?;
    let price = its_price(&venue, &asked)?;
    rooms::admits(venue.hours.as_ref(), venue.rooms, &taken, stay).map_err(|why| not_then(&why, scheduled_at))?;
    let promo = match &asked.promo_code {
        Some(code) => Some(new_booking::usable(engine, caller, code, &asked.service, Some(store)).await?),
        None => None,
    };
    new_booking::meets_minimum(promo.as_ref(), price)?;
    let price = pricing::price(price, Money::ZERO, venue.commission_rate, promo.as_ref().map(|promo| &promo.terms));
    let price = price.with_platform_fee(settings.platform_fee);
    payment::affordable(engine, caller, asked.payment_method, price.total_amount).await?;
    Ok(NewBooking {
        uuid: None,
        customer: caller.user,
        kind: Kind::InStore,
        service: asked.service.id,
        scheduled_at,
        place: venue.place,
        chosen: Some(ProviderId(venue.provider.0)),
        price,
        price_is_estimate: false,
        max_price: asked.max_price,
        preferences: serde_json::json!({}),
        promo_code: promo.map(|promo| promo.id),
        payment_method: asked.payment_method.to_owned(),
        customer_notes: asked.customer_notes,
        dispatch_timeout_s: search_for_s,
        lease: None,
    })
}

fn read_body(mut fields: Fields, catalog: &Catalog, settings: &Settings, now: Timestamp) -> Result<Asked, Problem> {
    let service = fields.required("service", |given| service(given, catalog).cloned());
    let when = fields.required("booking_type", read::word(BOOKING_TYPES));
    let timing = read_timing(&mut fields, when, settings, now);
    let store = fields.required("provider_uuid", read::uuid);
    let max_price = fields.optional("max_price", read::money);
    if let Some(mut preferences) = fields.object("preferences") {
        let wishes = read_wishes(&mut preferences);
        fields.absorb(preferences);
        if wishes != Filters::default() {
            fields.error("preferences", "The preferences field is for home_service; tell a store in customer_notes.");
        }
    }
    let promo_code = fields.optional("promo_code", read::text(50));
    let payment_method = fields.required("payment_method", read::word(payment::METHODS));
    let customer_notes = fields.optional("customer_notes", read::text(LONGEST_NOTES));
    let asked = (|| {
        let (service, store, timing, payment_method) = (service?, store?, timing?, payment_method?);
        Some(Asked { service, store, timing, max_price, promo_code, payment_method, customer_notes })
    })();
    fields.finish(asked)
}

fn its_price(venue: &Venue, asked: &Asked) -> Result<Money, Problem> {
    let unavailable = |text: String| Problem::field("provider_unavailable", "provider_uuid", text);
    if !venue.serves {
        return Err(unavailable("The chosen store does not take bookings now.".to_owned()));
    }
    let slug = &asked.service.slug;
    let price = venue.price.ok_or_else(|| unavailable(format!("The chosen store does not offer {slug}.")))?;
    if let Some(max) = asked.max_price
        && price > max
    {
        return Err(Problem::field(
            "provider_unavailable",
            "max_price",
            format!("The chosen store asks {price}; the max_price field allows {max}."),
        ));
    }
    Ok(price)
}

/// The store cannot take anybody in at that time: 422 `store_closed` beside the field, 409 `store_full`.
fn not_then(why: &NoRoom, scheduled_at: Option<Timestamp>) -> Problem {
    let field = if scheduled_at.is_some() { "scheduled_at" } else { "booking_type" };
    match why {
        NoRoom::Full { .. } => no_room(why, |text| Problem::conflict("store_full", text)),
        NoRoom::Closed { .. } | NoRoom::ClosesBefore { .. } => {
            no_room(why, |text| Problem::field("store_closed", field, text))
        }
    }
}

/// Names what is in the way, and when it is not.
fn no_room(why: &NoRoom, problem: impl FnOnce(String) -> Problem) -> Problem {
    let shown = |at: Option<Timestamp>| at.map(|at| WireTime(at).to_string());
    let (when, member, at) = match *why {
        NoRoom::Closed { opens_at } => ("it opens at", "opens_at", shown(opens_at)),
        NoRoom::ClosesBefore { closes_at } => ("it closes at", "closes_at", shown(closes_at)),
        NoRoom::Full { free_from, .. } => ("one is free from", "free_from", shown(free_from)),
    };
    let text = match &at {
        Some(at) => format!("Not possible at that time: {why}; {when} {at}."),
        None => format!("Not possible at that time: {why}."),
    };
    problem(text).with(member, at)
}

/// 409: the owner may accept, but the store cannot take the booking; it stays `pending`.
pub(super) fn refused(why: &VisitRefused) -> Problem {
    let problem = match why {
        VisitRefused::NoRoom(why @ NoRoom::Full { .. }) => no_room(why, |text| Problem::conflict("store_full", text)),
        VisitRefused::NoRoom(why) => no_room(why, |text| Problem::conflict("store_closed", text)),
        VisitRefused::NotServed => Problem::conflict("provider_unavailable", format!("Not possible: {why}.")),
        VisitRefused::TooLate => Problem::conflict("too_late", format!("Not possible: {why}.")),
    };
    problem.with("current_status", "pending")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::ids::ServiceId;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000); // 2026-11-18T11:06:40Z

    fn read_with(change: impl FnOnce(&mut Value)) -> Result<Asked, Problem> {
        let mut body = json!({"service": "foot-spa", "type": "in_store", "booking_type": "now", "payment_method": "cash",
                              "provider_uuid": "6f1c1a52-3f55-4b0e-9a3e-3d8a8f0f2f11"});
        change(&mut body);
        let Value::Object(map) = body else { panic!("an object") };
        let service = Service {
            id: ServiceId(1),
            slug: "foot-spa".into(),
            name: "Foot Spa".into(),
            category: None,
            description: None,
            base_price: Money::centavos(50_000),
            currency: "PHP".into(),
            duration_minutes: 30,
        };
        read_body(Fields::of_body(map), &[service].into_iter().collect(), &Settings::default(), NOW)
    }

    #[test]
    fn a_store_is_named_and_each_wrong_value_too() {
        assert!(read_with(|_| ()).is_ok());
        // The place is the store's; what an app sends for every booking does no harm.
        assert!(read_with(|b| b["location"] = json!({"address": "Home"})).is_ok());
        for (field, value, allowed) in [
            ("provider_uuid", Value::Null, "is required"),
            ("provider_uuid", json!("x"), "must be a uuid"),
            ("scheduled_at", json!("2026-11-19T10:00:00+08:00"), "must not be given with booking_type now"),
            ("preferences", json!({"gender": "female"}), "is for home_service"),
        ] {
            let problem = read_with(|b| b[field] = value.clone()).err().expect("refused").to_json();
            let text = problem["errors"][field][0].as_str().unwrap_or_default();
            assert!(text.starts_with(&format!("The {field} field {allowed}")), "{field} {value}: {problem}");
        }
    }

    #[test]
    fn the_store_is_asked_as_long_as_a_therapist_would_be_searched_for() {
        assert_eq!(read_with(|_| ()).expect("now").timing.search_for_s, 300);
        let tomorrow = read_with(|b| {
            b["booking_type"] = json!("scheduled");
            b["scheduled_at"] = json!("2026-11-18T14:06:40Z");
        });
        let timing = tomorrow.expect("three hours ahead").timing;
        assert_eq!((timing.scheduled_at, timing.search_for_s), (Some(Timestamp::from_secs(1_795_010_800)), 2 * 3_600));
    }

    #[test]
    fn a_refusal_says_from_when_on_it_is_possible() {
        let full = not_then(&NoRoom::Full { rooms: 2, free_from: Some(NOW) }, None);
        let json = full.to_json();
        assert_eq!(
            (full.status().as_u16(), full.code(), &json["free_from"]),
            (409, "store_full", &json!("2026-11-18T11:06:40Z"))
        );
        let closed = not_then(&NoRoom::Closed { opens_at: None }, Some(NOW)).to_json();
        assert_eq!(
            (&closed["code"], &closed["status"], &closed["opens_at"]),
            (&json!("store_closed"), &json!(422), &Value::Null)
        );
        assert!(closed["errors"]["scheduled_at"].is_array());
        let late = refused(&VisitRefused::TooLate).to_json();
        assert_eq!((&late["code"], &late["current_status"]), (&json!("too_late"), &json!("pending")));
    }
}
