//! The answer of `GET /v1/therapists/nearby`: borrowed from the index's, and written once, straight into the body.

use axum::response::{IntoResponse, Response};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::core::geo::km_2;
use crate::core::hundredths::Rating;
use crate::core::matching::{Candidate, When};
use crate::core::money::Money;
use crate::core::time::Timestamp;
use crate::core::travel;
use crate::http::json::Json;
use crate::wire::time::WireTime;

/// A therapist's JSON is seldom longer.
const THERAPIST_BYTES: usize = 448;
/// Nor is what stands around them.
const META_BYTES: usize = 256;

/// The nearest therapists.
#[derive(utoipa::ToSchema)]
pub(super) struct Nearby<'a> {
    /// In the order asked for; nearest first unless asked otherwise.
    #[schema(value_type = Vec<NearbyTherapist<'a>>)]
    pub data: Shown<'a>,
    /// About the answer.
    pub meta: NearbyMeta,
}

/// The candidates, each to be made into what is shown of him.
pub(super) struct Shown<'a> {
    /// In their order.
    pub candidates: &'a [Candidate],
    /// When they are wanted.
    pub when: When,
    /// Of the prices.
    pub currency: &'a str,
    /// That each booking costs on top.
    pub platform_fee: Money,
    /// When the answer was made.
    pub now: Timestamp,
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

/// A therapist who could come. Distance, time, surcharge and total are from the centre of his H3 cell, unless the
/// caller may know more.
#[derive(utoipa::ToSchema)]
pub(super) struct NearbyTherapist<'a> {
    /// `providers.uuid`
    pub provider_uuid: Uuid,
    /// Given name.
    pub first_name: &'a str,
    /// 0.00 to 5.00.
    #[schema(value_type = f64, example = 4.85)]
    pub average_rating: Rating,
    /// How many reviews that is of.
    pub total_reviews: u32,
    /// As in his profile.
    pub specializations: &'a [String],
    /// Straight line, km to two decimals.
    #[schema(value_type = f64, example = 1.23)]
    pub distance_km: Decimal,
    /// Estimated travel time, minutes, rounded up.
    pub eta_minutes: u32,
    /// His price of the service.
    #[schema(value_type = String, example = "800.00")]
    pub price: Money,
    /// For the way.
    #[schema(value_type = String, example = "0.00")]
    pub distance_surcharge: Money,
    /// Both together, and the platform fee, if a setting asks for one.
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
#[derive(utoipa::ToSchema)]
pub(super) struct ApproximateLocation {
    /// The cell, hexadecimal.
    #[schema(value_type = String, example = "8969405b303ffff")]
    pub h3: u64,
    /// Of the centre, degrees.
    #[schema(rename = "latitude", value_type = f64)]
    pub latitude_e7: i32,
    /// Of the centre, degrees.
    #[schema(rename = "longitude", value_type = f64)]
    pub longitude_e7: i32,
}

impl Nearby<'_> {
    fn write(&self, json: &mut Json) {
        // All are made before the first is written: so they come from memory, where no near cache has them, side by side.
        let shown: SmallVec<[_; 10]> = self.data.candidates.iter().map(|candidate| self.data.show(candidate)).collect();
        json.raw(r#"{"data":"#).list(&shown, |json, therapist| therapist.write(json)).raw(r#","meta":"#);
        self.meta.write(json);
        json.raw("}");
    }
}

impl NearbyMeta {
    fn write(&self, json: &mut Json) {
        json.raw(r#"{"considered":"#).integer(self.considered).raw(r#","as_of":"#).time(self.as_of);
        if let Some(certificate) = &self.certificate {
            json.raw(r#","certificate":"#).any(certificate);
        }
        json.raw("}");
    }
}

impl IntoResponse for Nearby<'_> {
    fn into_response(self) -> Response {
        let mut json = Json::with_room(THERAPIST_BYTES * self.data.candidates.len() + META_BYTES);
        self.write(&mut json);
        json.into_response()
    }
}

impl<'a> Shown<'a> {
    fn show(&self, candidate: &'a Candidate) -> NearbyTherapist<'a> {
        let therapist = &candidate.therapist;
        let public = candidate.public;
        let leaves_at = self.when.time().unwrap_or(self.now);
        NearbyTherapist {
            provider_uuid: therapist.uuid,
            first_name: &therapist.first_name,
            average_rating: therapist.average_rating,
            total_reviews: therapist.total_reviews,
            specializations: &therapist.profile.specializations,
            distance_km: km_2(candidate.distance),
            eta_minutes: travel::whole_minutes(travel::travel_time_over(candidate.distance, leaves_at)),
            price: candidate.price,
            distance_surcharge: candidate.surcharge,
            total: candidate.price + candidate.surcharge + self.platform_fee,
            currency: self.currency,
            approximate_location: ApproximateLocation {
                h3: public.cell,
                latitude_e7: public.centre.lat_e7(),
                longitude_e7: public.centre.lng_e7(),
            },
            location_age_seconds: candidate.fix_age.map(|age| age.as_secs()),
        }
    }
}

impl NearbyTherapist<'_> {
    fn write(&self, json: &mut Json) {
        json.raw(r#"{"provider_uuid":"#).uuid(self.provider_uuid);
        json.raw(r#","first_name":"#).text(self.first_name);
        json.raw(r#","average_rating":"#).decimal::<2>(self.average_rating.hundredths().into());
        json.raw(r#","total_reviews":"#).integer(self.total_reviews);
        json.raw(r#","specializations":"#).list(self.specializations, |json, word| _ = json.text(word));
        json.raw(r#","distance_km":"#).decimal::<2>(hundredths(self.distance_km));
        json.raw(r#","eta_minutes":"#).integer(self.eta_minutes);
        json.raw(r#","price":"#).money(self.price);
        json.raw(r#","distance_surcharge":"#).money(self.distance_surcharge);
        json.raw(r#","total":"#).money(self.total);
        json.raw(r#","currency":"#).text(self.currency);
        json.raw(r#","approximate_location":{"h3":"#).hexadecimal(self.approximate_location.h3);
        json.raw(r#","latitude":"#).decimal::<7>(self.approximate_location.latitude_e7.into());
        json.raw(r#","longitude":"#).decimal::<7>(self.approximate_location.longitude_e7.into());
        json.raw(r#"},"location_age_seconds":"#);
        match self.location_age_seconds {
            Some(seconds) => json.integer(seconds).raw("}"),
            None => json.raw("null}"),
        };
    }
}

/// Of a number that has no finer parts, as kilometres have none here.
fn hundredths(mut number: Decimal) -> i64 {
    if number.scale() != 2 {
        number.rescale(2);
    }
    number.mantissa() as i64
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
    use serde_json::{Value, json};

    fn written(write: impl FnOnce(&mut Json)) -> Value {
        let mut json = Json::with_room(0);
        write(&mut json);
        serde_json::from_slice(&json.into_bytes()).expect("JSON")
    }

    fn therapist<'a>(specializations: &'a [String], age: Option<u64>) -> NearbyTherapist<'a> {
        NearbyTherapist {
            provider_uuid: Uuid::from_u128(7),
            first_name: "Ma\"ria",
            average_rating: Rating::from_hundredths(450).expect("a rating"),
            total_reviews: 12,
            specializations,
            distance_km: Decimal::new(107, 2),
            eta_minutes: 4,
            price: Money::centavos(80_000),
            distance_surcharge: Money::ZERO,
            total: Money::centavos(80_000),
            currency: "PHP",
            approximate_location: ApproximateLocation {
                h3: 0x0896_9405_b303_ffff,
                latitude_e7: 145_547_001,
                longitude_e7: -1_210_000_000,
            },
            location_age_seconds: age,
        }
    }

    #[test]
    fn a_therapist_is_written_with_every_member() {
        let words = ["deep tissue".to_owned(), "a\\b".to_owned()];
        let mut expected = json!({
            "provider_uuid": "00000000-0000-0000-0000-000000000007", "first_name": "Ma\"ria", "average_rating": 4.5,
            "total_reviews": 12, "specializations": words, "distance_km": 1.07, "eta_minutes": 4, "price": "800.00",
            "distance_surcharge": "0.00", "total": "800.00", "currency": "PHP",
            "approximate_location": {"h3": "8969405b303ffff", "latitude": 14.5547001, "longitude": -121.0},
            "location_age_seconds": 31,
        });
        assert_eq!(written(|json| therapist(&words, Some(31)).write(json)), expected);
        expected["location_age_seconds"] = Value::Null;
        expected["specializations"] = json!([]);
        assert_eq!(written(|json| therapist(&[], None).write(json)), expected);
    }

    #[test]
    fn what_is_written_has_the_members_that_the_document_names() {
        let document = serde_json::to_value(crate::http::openapi()).expect("JSON");
        let members = |schema: &str| -> Vec<String> {
            let properties = document["components"]["schemas"][schema]["properties"].as_object();
            properties.unwrap_or_else(|| panic!("{schema} is in the document")).keys().cloned().collect()
        };
        let keys = |value: &Value| -> Vec<String> { value.as_object().expect("an object").keys().cloned().collect() };
        let value = written(|json| therapist(&[], None).write(json));
        assert_eq!(keys(&value), members("NearbyTherapist"));
        assert_eq!(keys(&value["approximate_location"]), members("ApproximateLocation"));
    }

    #[test]
    fn nobody_near_is_an_empty_list() {
        let (when, now) = (When::Now, Timestamp::from_secs(1_795_000_000));
        let meta = NearbyMeta { considered: 3, as_of: WireTime(now), certificate: None };
        let nearby =
            Nearby { data: Shown { candidates: &[], when, currency: "PHP", platform_fee: Money::ZERO, now }, meta };
        let expected = json!({"data": [], "meta": {"considered": 3, "as_of": "2026-11-18T11:06:40Z"}});
        assert_eq!(written(|json| nearby.write(json)), expected);
    }

    #[test]
    fn what_is_told_about_an_answer_is_what_serde_would_tell() {
        let certified =
            Certified { version: 7, proven_km: 1.25, examined: 3, stale_could_be_nearer: true, top_speed_kmh: 60.0 };
        for certificate in [None, Some(certified)] {
            let meta = NearbyMeta { considered: 3, as_of: WireTime(Timestamp::from_micros(1)), certificate };
            assert_eq!(written(|json| meta.write(json)), serde_json::to_value(&meta).expect("JSON"));
        }
    }

    #[test]
    fn a_number_prints_with_its_own_digits() {
        assert_eq!(serde_json::json!(as_number(Decimal::new(123, 2))).to_string(), "1.23");
    }
}
