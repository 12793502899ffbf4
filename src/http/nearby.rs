//! `GET /v1/therapists/nearby`: from the live index alone, no SQL.

mod answer;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use self::answer::{Certified, Nearby, Shown};
pub use self::answer::{NearbyMeta, as_number};
use super::auth::{Caller, Principal};
use super::extract::{Fields, Given, read};
use super::problem::{Problem, ProblemBody};
use crate::clock;
use crate::core::geo::{LatLng, Meters};
use crate::core::matching::{Answer, Candidate, Filters, Precision, Request, Unfit, Verdict, When};
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
    let Query { when, service, .. } = &query;
    let (candidates, platform_fee) = (&answer.candidates[..], settings.platform_fee);
    let data = Shown { candidates, when: *when, currency: &service.currency, platform_fee, now };
    let meta = NearbyMeta { considered: answer.certificate.examined, as_of: WireTime(now), certificate };
    Ok(Nearby { data, meta }.into_response())
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
            base_price: crate::core::money::Money::centavos(120_000),
            currency: "PHP".into(),
            duration_minutes: 60,
        };
        [service].into_iter().collect()
    }

    fn read_with<'a>(extra: &[(&str, &str)], catalog: &'a Catalog) -> Result<Query<'a>, Problem> {
        let mut pairs = vec![("latitude", "14.55"), ("longitude", "121.02"), ("service", "sports-massage")];
        pairs.retain(|(name, _)| !extra.iter().any(|(n, _)| n == name));
        pairs.extend_from_slice(extra);
        read_query(Fields::of_pairs(&pairs), &Settings::default(), catalog, NOW)
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
        let catalog = catalog();
        let query = read_query(Fields::of_query("latitude=14.55&longitude=121.02&service=3"), &settings, &catalog, NOW)
            .expect("good");
        assert_eq!(query.around.radius.km(), 2.0);
    }
}
