//! `GET /v1/therapists/nearby`: from the live index alone, no SQL.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::auth::{Caller, Principal};
use super::extract::{Fields, Given, read};
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::core::geo::{LatLng, Meters, km_2};
use crate::core::matching::{Answer, Candidate, Filters, Precision, Request, Unfit, Verdict, When};
use crate::core::money::Money;
use crate::core::people::Gender;
use crate::core::scheduling::HORIZON;
use crate::core::settings::Settings;
use crate::core::time::Timestamp;
use crate::core::travel;
use crate::engine::Engine;
use crate::store::catalog::{Catalog, Service};
use crate::wire::time::WireTime;

/// Radius that is searched when none is asked for, km.
const DEFAULT_RADIUS_KM: f64 = 5.0;
const DEFAULT_LIMIT: i64 = 10;
const LARGEST_LIMIT: i64 = 50;
/// A therapist's JSON is seldom longer.
const THERAPIST_BYTES: usize = 512;

/// The order of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sort {
    Distance,
    Eta,
    Rating,
    Price,
}

impl Sort {
    const WORDS: &'static [&'static str] = &["distance", "eta", "rating", "price"];

    fn from_word(word: &str) -> Self {
        match word {
            "eta" => Self::Eta,
            "rating" => Self::Rating,
            "price" => Self::Price,
            _ => Self::Distance,
        }
    }
}

/// The query, checked.
struct Query<'a> {
    around: Around,
    service: &'a Service,
    when: When,
    filters: Filters,
    sort: Sort,
    certify: bool,
}

// Borrowed from the index's answer, and written once, straight into the body.
/// The nearest therapists.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Nearby<'a> {
    /// In the order asked for; nearest first unless asked otherwise.
    #[schema(value_type = Vec<NearbyTherapist<'a>>)]
    pub data: Shown<'a>,
    /// About the answer.
    pub meta: NearbyMeta,
}

/// About the answer.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NearbyMeta {
    /// How many therapists (or stores) were looked at for it.
    pub considered: u32,
    /// The moment it is true of.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: WireTime,
    /// What the answer rests on, if asked for with `certify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certified>,
}

/// What an answer from exact positions rests on.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Certified {
    /// How many changes the live index had seen.
    pub version: u64,
    /// Nobody who may take the request and is nearer than this is missing, km.
    pub proven_km: f64,
    /// How many positions were looked at.
    pub examined: u32,
    /// Whether a therapist whose fix is too old to count, last seen within the radius, could by now be nearer than the
    /// first, going at `top_speed_kmh` since.
    pub stale_could_be_nearer: bool,
    /// The speed that is assumed for that.
    pub top_speed_kmh: f64,
}

/// The candidates, each made into what is shown of him as he is written.
pub struct Shown<'a> {
    candidates: &'a [Candidate],
    query: &'a Query<'a>,
    now: Timestamp,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.candidates.iter().map(|candidate| show(candidate, self.query, self.now)))
    }
}

/// A therapist who could come. Distance, time, surcharge and total are from the centre of his H3 cell, unless the
/// caller may know more.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NearbyTherapist<'a> {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// Given name.
    pub first_name: &'a str,
    /// 0.00 to 5.00.
    #[schema(value_type = f64, example = 4.85)]
    pub average_rating: f64,
    /// How many reviews that is of.
    pub total_reviews: u32,
    /// As in his profile.
    pub specializations: &'a [String],
    /// Straight line, km to two decimals.
    #[schema(example = 1.23)]
    pub distance_km: f64,
    /// Estimated travel time, minutes, rounded up.
    pub eta_minutes: u32,
    /// His price of the service.
    #[schema(value_type = String, example = "800.00")]
    pub price: Money,
    /// For the way.
    #[schema(value_type = String, example = "0.00")]
    pub distance_surcharge: Money,
    /// Both together.
    #[schema(value_type = String, example = "800.00")]
    pub total: Money,
    /// `PHP`
    #[schema(example = "PHP")]
    pub currency: &'a str,
    /// Never exact, whoever asks.
    pub approximate_location: ApproximateLocation,
    /// Age of the fix; null when the base location counts (`scheduled_at`).
    pub location_age_seconds: Option<u64>,
}

/// An H3 cell of resolution 9 and its centre.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ApproximateLocation {
    /// The cell, hexadecimal.
    #[schema(value_type = String, example = "8969405b303ffff")]
    #[serde(serialize_with = "hexadecimal")]
    pub h3: u64,
    /// Of the centre, degrees.
    pub latitude: f64,
    /// Of the centre, degrees.
    pub longitude: f64,
}

/// The nearest therapists who can take a service now, or at a time.
///
/// Exact over public positions: each therapist counts as standing in the centre of his H3 cell of resolution 9, in
/// distance, radius, time, surcharge, total and order alike. Admins and tokens with the ability `match:exact` by name
/// are answered from the positions themselves.
#[utoipa::path(
    get,
    path = "/v1/therapists/nearby",
    tag = "matching",
    params(
        ("latitude" = f64, Query, description = "Degrees, -90 to 90"),
        ("longitude" = f64, Query, description = "Degrees, -180 to 180"),
        ("service" = String, Query, description = "Slug or id of a service"),
        ("radius_km" = Option<f64>, Query, description = "Up to the setting `service_radius_max`; 5 if not given"),
        ("limit" = Option<u32>, Query, description = "1 to 50; 10 if not given"),
        ("scheduled_at" = Option<String>, Query, description = "RFC 3339 with an offset, within 90 days: then base location and schedule count, not the position"),
        ("gender" = Option<String>, Query, description = "Of the therapist: `male`, `female`, `other`, `prefer_not_to_say`"),
        ("language" = Option<String>, Query, description = "One that the therapist speaks"),
        ("specialization" = Option<String>, Query, description = "One that the therapist has"),
        ("min_rating" = Option<f64>, Query, description = "0 to 5"),
        ("max_price" = Option<String>, Query, description = "Of price and surcharge together"),
        ("certify" = Option<bool>, Query, description = "For admins and tokens with `match:exact`: tells in `meta.certificate` what the answer rests on; looks at everybody within the radius"),
        ("sort" = Option<String>, Query, description = "`distance` (default), `eta`, `rating` (best first) or `price` (total, cheapest first), over everyone within the radius; ties by distance"),
    ),
    responses((status = 200, body = Nearby), (status = 422, body = ProblemBody))
)]
pub async fn nearby(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    fields: Fields,
) -> Result<Response, Problem> {
    let now = clock::now();
    let (settings, catalog) = (engine.settings(), engine.catalog());
    let query = read_query(fields, &settings, &catalog, now)?;
    let precision =
        if caller.sees_exact() { Precision::Exact } else { Precision::Public { tie_key: engine.tie_key(now) } };
    let request = to_request(&query, &caller, &settings, precision);
    if query.certify && precision != Precision::Exact {
        return Err(Problem::forbidden("certify is for those who are answered from exact positions"));
    }
    let mut answer = engine.fleet.nearest(&request, now);
    let certificate = query.certify.then(|| certify(&engine, &request, &answer, now));
    sort(&mut answer.candidates, query.sort);
    answer.candidates.truncate(query.around.limit);
    let data = Shown { candidates: &answer.candidates, query: &query, now };
    json(&Nearby {
        data,
        meta: NearbyMeta { considered: answer.certificate.examined, as_of: WireTime(now), certificate },
    })
}

/// The candidates are in order of distance still.
fn certify(engine: &Engine, request: &Request, answer: &Answer, now: Timestamp) -> Certified {
    let nearest = answer.candidates.first().map_or(f64::INFINITY, |first| first.distance.get());
    let could_be_nearer = |verdict: &Verdict| {
        let age = verdict.fix_age.unwrap_or_default();
        verdict.distance.get() - travel::TOP_SPEED_KMH / 3.6 * age.as_secs_f64() < nearest
    };
    let verdicts = engine.fleet.verdicts(request, now);
    let mut stale = verdicts.iter().filter(|verdict| verdict.unfit == Some(Unfit::StaleFix));
    Certified {
        version: answer.certificate.version,
        proven_km: answer.certificate.proven.km(),
        examined: answer.certificate.examined,
        stale_could_be_nearer: stale.any(could_be_nearer),
        top_speed_kmh: travel::TOP_SPEED_KMH,
    }
}

/// As JSON, in a buffer that need not grow.
fn json(nearby: &Nearby<'_>) -> Result<Response, Problem> {
    let mut body = Vec::with_capacity(THERAPIST_BYTES * (nearby.data.candidates.len() + 1));
    serde_json::to_writer(&mut body, nearby).map_err(|error| {
        tracing::error!(%error, "an answer could not be written");
        Problem::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

fn hexadecimal<S: Serializer>(cell: &u64, s: S) -> Result<S::Ok, S::Error> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // A cell's first bit is 0 and its mode is not, so that it has fifteen digits.
    let text: [u8; 15] = std::array::from_fn(|at| DIGITS[(cell >> (56 - 4 * at)) as usize & 15]);
    s.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
}

/// Where is searched, and how much is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) place: LatLng,
    pub(super) radius: Meters,
    pub(super) limit: usize,
}

/// `latitude`, `longitude`, `radius_km`, `limit`, as all searches have them.
pub(super) fn read_around(fields: &mut Fields, settings: &Settings) -> Option<Around> {
    let largest_km = f64::from(settings.service_radius_max_km);
    let place = read::place(fields);
    let radius_km = fields.optional("radius_km", read::number(0.0, largest_km));
    let limit = fields.optional("limit", read::integer(1, LARGEST_LIMIT)).unwrap_or(DEFAULT_LIMIT);
    Some(Around {
        place: place?,
        radius: Meters::from_km(radius_km.unwrap_or(DEFAULT_RADIUS_KM).min(largest_km)),
        limit: usize::try_from(limit).unwrap_or_default(), // 1 to 50
    })
}

fn read_query<'a>(
    mut fields: Fields,
    settings: &Settings,
    catalog: &'a Catalog,
    now: Timestamp,
) -> Result<Query<'a>, Problem> {
    let around = read_around(&mut fields, settings);
    let service = fields.required("service", |given| service(given, catalog));
    let scheduled_at = fields.optional("scheduled_at", |given| future(given, now));
    let max_price = fields.optional("max_price", read::money);
    let filters = Filters { max_price, ..read_wishes(&mut fields) };
    let sort = fields.optional("sort", read::word(Sort::WORDS)).map_or(Sort::Distance, Sort::from_word);
    let certify = fields.optional("certify", read::boolean).unwrap_or(false);
    let query = around.zip(service).map(|(around, service)| Query {
        around,
        service,
        when: scheduled_at.into(),
        filters,
        sort,
        certify,
    });
    fields.finish(query)
}

/// The wishes that a search and a booking's preferences have in common.
pub fn read_wishes(fields: &mut Fields) -> Filters {
    Filters {
        gender: fields.optional("gender", gender),
        language: fields.optional("language", read::text(50)),
        specialization: fields.optional("specialization", read::text(100)),
        min_rating: fields.optional("min_rating", read::decimal(0, 5)),
        max_price: None,
    }
}

/// A service of the catalogue, by slug or id.
pub fn service<'a>(given: Given<'_>, catalog: &'a Catalog) -> Result<&'a Service, String> {
    let wanted = read::slug_or_id(given)?;
    catalog.find(&wanted).ok_or_else(|| "must be the slug or id of a service (see /v1/services)".to_owned())
}

fn gender(given: Given<'_>) -> Result<Gender, String> {
    const WORDS: &[&str] = &["male", "female", "other", "prefer_not_to_say"];
    let word = read::word(WORDS)(given)?;
    Gender::parse(word).ok_or_else(|| format!("must be one of {}", WORDS.join(", ")))
}

pub(super) fn future(given: Given<'_>, now: Timestamp) -> Result<Timestamp, String> {
    let WireTime(at) = read::time(given)?;
    if at <= now || at > now.plus(HORIZON) {
        let until = WireTime(Timestamp::from_secs(now.plus(HORIZON).micros() / 1_000_000));
        return Err(format!("must be a time in the future, until {until}"));
    }
    Ok(at)
}

fn to_request(query: &Query<'_>, caller: &Principal, settings: &Settings, precision: Precision) -> Request {
    // In another order than distance the best may be the farthest: all within the radius must be seen.
    let limit = if matches!(query.sort, Sort::Distance | Sort::Eta) { query.around.limit } else { usize::MAX };
    Request {
        service: query.service.id,
        place: query.around.place,
        when: query.when,
        duration: query.service.duration(),
        customer: caller.user,
        customer_gender: caller.gender,
        radius: query.around.radius,
        stale_after: settings.stale_after(),
        limit,
        filters: query.filters.clone(),
        exclude: BTreeSet::new(),
        only: None,
        precision,
    }
}

/// Candidates come nearest first, and the sort is stable: ties stay nearest first. At one moment the time of travel
/// grows with the distance, so that order is the same.
fn sort(candidates: &mut [Candidate], by: Sort) {
    match by {
        Sort::Distance | Sort::Eta => {}
        Sort::Rating => candidates.sort_by_key(|c| std::cmp::Reverse(c.therapist.average_rating)),
        Sort::Price => candidates.sort_by_key(|c| c.price + c.surcharge),
    }
}

fn show<'a>(candidate: &'a Candidate, query: &Query<'a>, now: Timestamp) -> NearbyTherapist<'a> {
    let therapist = &candidate.therapist;
    let public = candidate.public;
    let leaves_at = query.when.time().unwrap_or(now);
    NearbyTherapist {
        provider_uuid: therapist.uuid,
        first_name: &therapist.first_name,
        average_rating: as_number(therapist.average_rating),
        total_reviews: therapist.total_reviews,
        specializations: &therapist.specializations,
        distance_km: as_number(km_2(candidate.distance)),
        eta_minutes: travel::whole_minutes(travel::travel_time_over(candidate.distance, leaves_at)),
        price: candidate.price,
        distance_surcharge: candidate.surcharge,
        total: candidate.price + candidate.surcharge,
        currency: &query.service.currency,
        approximate_location: ApproximateLocation {
            h3: public.cell,
            latitude: public.centre.latitude(),
            longitude: public.centre.longitude(),
        },
        location_age_seconds: candidate.fix_age.map(|age| age.as_secs()),
    }
}

/// A decimal of few digits as a JSON number; the nearest binary fraction prints as the same digits.
pub fn as_number(decimal: Decimal) -> f64 {
    const EXACT: i128 = 1 << 53;
    let mantissa = decimal.mantissa();
    // Both are exact, so that the quotient is the nearest there is.
    if mantissa.abs() <= EXACT && decimal.scale() <= 22 {
        return mantissa as f64 / 10f64.powi(decimal.scale() as i32);
    }
    decimal.to_f64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::ServiceId;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    fn catalog() -> Catalog {
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
        [service].into_iter().collect()
    }

    fn read_with<'a>(extra: &[(&str, &str)], catalog: &'a Catalog) -> Result<Query<'a>, Problem> {
        let mut pairs = vec![("latitude", "14.55"), ("longitude", "121.02"), ("service", "sports-massage")];
        pairs.retain(|(name, _)| !extra.iter().any(|(n, _)| n == name));
        pairs.extend_from_slice(extra);
        let pairs = pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        read_query(Fields::of_query(pairs), &Settings::default(), catalog, NOW)
    }

    #[test]
    fn each_wrong_parameter_is_named_with_value_and_what_is_allowed() {
        for (name, value, allowed) in [
            ("latitude", "91", "must be a number from -90 to 90"),
            ("longitude", "east", "must be a number from -180 to 180"),
            ("service", "haircut", "must be the slug or id of a service (see /v1/services)"),
            ("radius_km", "20.1", "must be a number from 0 to 20"),
            ("limit", "51", "must be a whole number from 1 to 50"),
            ("limit", "0", "must be a whole number from 1 to 50"),
            ("scheduled_at", "2026-11-23T09:00:00", "must be a time like 2026-11-22T09:00:00Z, with an offset"),
            ("scheduled_at", "2020-01-01T00:00:00Z", "must be a time in the future, until "),
            ("scheduled_at", "2099-01-01T00:00:00Z", "must be a time in the future, until "),
            ("gender", "robot", "must be one of male, female, other, prefer_not_to_say"),
            ("min_rating", "5.1", "must be a number from 0 to 5"),
            ("max_price", "1.005", "must be an amount like 800.00"),
            ("sort", "name", "must be one of distance, eta, rating, price"),
        ] {
            let Err(problem) = read_with(&[(name, value)], &catalog()) else { panic!("{name}={value} was taken") };
            let json = problem.to_json();
            let text = json["errors"][name][0].as_str().unwrap_or_default();
            assert!(text.starts_with(&format!("The {name} field {allowed}")), "{name}={value}: {json}");
            assert!(text.contains(value), "{name}={value}: {json}");
        }
    }

    #[test]
    fn the_defaults_are_five_kilometres_ten_answers_and_now() {
        let catalog = catalog();
        let query = read_with(&[], &catalog).expect("good");
        assert_eq!(
            (query.around.radius.km(), query.around.limit, query.when, query.sort),
            (5.0, 10, When::Now, Sort::Distance)
        );
        assert_eq!(read_with(&[("service", "3")], &catalog).expect("by id").service.slug, "sports-massage");
    }

    #[test]
    fn a_smaller_largest_radius_bounds_the_default() {
        let settings = Settings { service_radius_max_km: 2, ..Settings::default() };
        let pairs = [("latitude", "14.55"), ("longitude", "121.02"), ("service", "3")];
        let pairs = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        let catalog = catalog();
        let query = read_query(Fields::of_query(pairs), &settings, &catalog, NOW).expect("good");
        assert_eq!(query.around.radius.km(), 2.0);
    }

    #[test]
    fn a_number_prints_with_its_own_digits() {
        assert_eq!(serde_json::json!(as_number(Decimal::new(123, 2))).to_string(), "1.23");
    }
}
