//! A GPS fix as the wire carries it: read field by field, so that whatever is wrong is named, and judged for itself,
//! so that a bad fix does not take the good ones beside it along.

use std::time::Duration;

use serde_json::Value;

use super::stream::Rejected;
use super::time::WireTime;
use crate::core::geo::LatLng;
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

/// Fixes of one frame that are taken; the rest is `too_many`.
pub const MAX_FIXES: usize = 1_000;

/// What `DECIMAL(8, 2)` holds, metres.
pub(super) const MAX_ACCURACY_M: f64 = 999_999.99;
/// What `DECIMAL(6, 2)` holds, km/h.
pub(super) const MAX_SPEED_KMH: f64 = 9_999.99;

/// Reads one element of `location.fixes`. Unknown fields are ignored (adding fields is free); null is missing.
///
/// `heading` and `speed` of exactly -1 are iOS's word for unknown; a heading of 360 is 0. Everything else outside a
/// field's range is rejected, never clamped. The fix's time is judged against `now` and `limits`.
pub fn read_fix(value: &Value, now: Timestamp, limits: &PingLimits) -> Result<(u32, Fix), Rejected> {
    let Value::Object(fields) = value else {
        return Err(rejected(None, "bad_type", format!("a fix is {}, expected an object", kind(value))));
    };
    let field = |name: &str| fields.get(name).filter(|v| !v.is_null());
    let seq = match field("seq") {
        None => return Err(rejected(None, "missing_field", "seq is missing".to_owned())),
        Some(v) => whole("seq", v, 0, i64::from(u32::MAX)).map_err(|(code, text)| rejected(None, code, text))? as u32,
    };
    read_fields(field, now, limits).map(|fix| (seq, fix)).map_err(|(code, text)| rejected(Some(seq), code, text))
}

/// A code and a text that names field, value and what is allowed.
pub type Fault = (&'static str, String);

fn read_fields<'a>(
    field: impl Fn(&str) -> Option<&'a Value>,
    now: Timestamp,
    limits: &PingLimits,
) -> Result<Fix, Fault> {
    let at = match field("recorded_at") {
        None => return Err(("missing_field", "recorded_at is missing".to_owned())),
        Some(Value::String(text)) => WireTime::parse(text).ok_or_else(|| bad_time(text))?.0,
        Some(other) => return Err(("bad_type", format!("recorded_at is {}, expected a string", kind(other)))),
    };
    let required =
        |name| field(name).ok_or(("missing_field", format!("{name} is missing"))).and_then(|v| number(name, v));
    let optional = |name| field(name).map(|v| number(name, v)).transpose();
    let place = place(required("latitude")?, required("longitude")?)?;
    let moving = match field("is_moving") {
        None => false,
        Some(Value::Bool(moving)) => *moving,
        Some(other) => return Err(("bad_type", format!("is_moving is {}, expected true or false", kind(other)))),
    };
    let fix = Fix {
        at,
        place,
        accuracy_m: optional("accuracy")?.map(|v| ranged("accuracy", v, MAX_ACCURACY_M)).transpose()?,
        heading: optional("heading")?.map(heading).transpose()?.flatten(),
        speed_kmh: match optional("speed")? {
            None | Some(-1.0) => None,
            Some(v) => Some(ranged("speed", v, MAX_SPEED_KMH)?),
        },
        moving,
        battery_percent: field("battery_level")
            .map(|v| whole("battery_level", v, 0, 100))
            .transpose()?
            .map(|v| v as u8),
    };
    check_time(at, now, limits)?;
    Ok(fix)
}

/// Whether the fix's time is one that is taken at `now`.
pub(super) fn check_time(at: Timestamp, now: Timestamp, limits: &PingLimits) -> Result<(), Fault> {
    if now.since(at) > Duration::from_secs(u64::from(limits.max_age_s)) {
        let (at, allowed) = (WireTime(at), limits.max_age_s);
        return Err(("too_old", format!("recorded_at {at} is more than {allowed} s before {}", WireTime(now))));
    }
    if at.since(now) > Duration::from_secs(u64::from(limits.max_future_s)) {
        let (at, allowed) = (WireTime(at), limits.max_future_s);
        return Err(("in_future", format!("recorded_at {at} is more than {allowed} s after {}", WireTime(now))));
    }
    Ok(())
}

fn bad_time(text: &str) -> Fault {
    let text: String = text.chars().take(40).collect();
    ("bad_time", format!("recorded_at {text:?} is not a time like 2026-11-22T09:00:00Z, with an offset"))
}

/// The message that refuses a fix.
pub fn rejected(seq: Option<u32>, code: &str, message: String) -> Rejected {
    Rejected { seq, code: code.to_owned(), message }
}

pub(super) fn place(latitude: f64, longitude: f64) -> Result<LatLng, Fault> {
    LatLng::new(latitude, longitude).map_err(|e| ("out_of_range", e.to_string()))
}

pub(super) fn ranged(name: &str, value: f64, high: f64) -> Result<f64, Fault> {
    if (0.0..=high).contains(&value) {
        return Ok(value);
    }
    Err(("out_of_range", format!("{name} {value} is outside 0..{high}")))
}

pub(super) fn heading(degrees: f64) -> Result<Option<f64>, Fault> {
    if degrees == -1.0 {
        return Ok(None);
    }
    ranged("heading", degrees, 360.0).map(|v| Some(if v == 360.0 { 0.0 } else { v }))
}

fn number(name: &str, value: &Value) -> Result<f64, Fault> {
    value.as_f64().ok_or_else(|| ("bad_type", format!("{name} is {}, expected a number", kind(value))))
}

/// A whole number; `80.0` is one.
fn whole(name: &str, value: &Value, low: i64, high: i64) -> Result<i64, Fault> {
    let given = number(name, value)?;
    if given.fract() != 0.0 {
        return Err(("bad_type", format!("{name} {value} is not a whole number")));
    }
    // f64 holds every whole number of the ranges used here exactly.
    if given < low as f64 || given > high as f64 {
        return Err(("out_of_range", format!("{name} {value} is outside {low}..{high}")));
    }
    Ok(given as i64)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::settings::Settings;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_secs(1_795_338_000); // 2026-11-22T09:00:00Z

    fn read(value: &Value) -> Result<(u32, Fix), Rejected> {
        read_fix(value, NOW, &Settings::default().pings)
    }

    fn good() -> Value {
        json!({"seq": 17, "recorded_at": "2026-11-22T08:59:59.123456Z", "latitude": 14.5547, "longitude": 121.0244,
               "accuracy": 8.5, "heading": 90, "speed": 22.1, "is_moving": true, "battery_level": 80})
    }

    fn with(field: &str, value: Value) -> Value {
        let mut fix = good();
        fix[field] = value;
        fix
    }

    #[test]
    fn a_fix_is_read_exactly() {
        let (seq, fix) = read(&good()).expect("a good fix");
        assert_eq!((seq, fix.at), (17, Timestamp::from_micros(NOW.micros() - 876_544)));
        assert_eq!((fix.place.lat_e7(), fix.place.lng_e7()), (145_547_000, 1_210_244_000));
        assert_eq!((fix.accuracy_m, fix.heading, fix.speed_kmh), (Some(8.5), Some(90.0), Some(22.1)));
        assert_eq!((fix.moving, fix.battery_percent), (true, Some(80)));
        let least = json!({"seq": 0, "recorded_at": "2026-11-22T17:00:00+08:00", "latitude": -90, "longitude": 180,
                           "accuracy": null, "extra": {"ignored": true}});
        let place = LatLng::new(-90.0, 180.0).expect("a place");
        assert_eq!(read(&least), Ok((0, Fix::new(NOW, place))));
    }

    #[test]
    fn unknown_and_full_circle_have_one_spelling_each() {
        for (field, given, expected) in [
            ("heading", -1.0, None),
            ("heading", 360.0, Some(0.0)),
            ("heading", 0.0, Some(0.0)),
            ("heading", 359.99, Some(359.99)),
        ] {
            assert_eq!(read(&with(field, json!(given))).expect("taken").1.heading, expected, "{given}");
        }
        assert_eq!(read(&with("speed", json!(-1))).expect("taken").1.speed_kmh, None);
        assert_eq!(read(&with("battery_level", json!(80.0))).expect("taken").1.battery_percent, Some(80));
    }

    #[test]
    fn every_wrong_value_is_named_with_what_is_allowed() {
        let cases = [
            ("latitude", json!(95), "out_of_range", "latitude 95 is outside -90..90"),
            ("longitude", json!(-180.5), "out_of_range", "longitude -180.5 is outside -180..180"),
            ("latitude", json!("14.5"), "bad_type", "latitude is a string, expected a number"),
            ("latitude", json!(null), "missing_field", "latitude is missing"),
            ("accuracy", json!(-3), "out_of_range", "accuracy -3 is outside 0..999999.99"),
            ("accuracy", json!(1e6), "out_of_range", "accuracy 1000000 is outside 0..999999.99"),
            ("heading", json!(-2), "out_of_range", "heading -2 is outside 0..360"),
            ("heading", json!(360.5), "out_of_range", "heading 360.5 is outside 0..360"),
            ("speed", json!(10_000), "out_of_range", "speed 10000 is outside 0..9999.99"),
            ("is_moving", json!(1), "bad_type", "is_moving is a number, expected true or false"),
            ("battery_level", json!(101), "out_of_range", "battery_level 101 is outside 0..100"),
            ("battery_level", json!(80.5), "bad_type", "battery_level 80.5 is not a whole number"),
            ("recorded_at", json!(null), "missing_field", "recorded_at is missing"),
            ("recorded_at", json!(1_795_338_000), "bad_type", "recorded_at is a number, expected a string"),
            (
                "recorded_at",
                json!("2026-11-22 09:00"),
                "bad_time",
                "recorded_at \"2026-11-22 09:00\" is not a time like 2026-11-22T09:00:00Z, with an offset",
            ),
            (
                "recorded_at",
                json!("2026-11-21T08:59:59Z"),
                "too_old",
                "recorded_at 2026-11-21T08:59:59Z is more than 86400 s before 2026-11-22T09:00:00Z",
            ),
            (
                "recorded_at",
                json!("2026-11-22T09:00:31Z"),
                "in_future",
                "recorded_at 2026-11-22T09:00:31Z is more than 30 s after 2026-11-22T09:00:00Z",
            ),
        ];
        for (field, value, code, message) in cases {
            let error = read(&with(field, value.clone())).expect_err("rejected");
            assert_eq!((error.seq, error.code.as_str(), error.message.as_str()), (Some(17), code, message), "{value}");
        }
    }

    #[test]
    fn the_edges_of_time_are_taken() {
        for edge in ["2026-11-21T09:00:00Z", "2026-11-22T09:00:30Z"] {
            assert!(read(&with("recorded_at", json!(edge))).is_ok(), "{edge}");
        }
    }

    #[test]
    fn a_seq_that_cannot_be_read_is_not_invented() {
        for (value, code) in [
            (json!(-1), "out_of_range"),
            (json!(4_294_967_296_i64), "out_of_range"),
            (json!(1.5), "bad_type"),
            (json!("17"), "bad_type"),
            (json!(null), "missing_field"),
        ] {
            let error = read(&with("seq", value)).expect_err("rejected");
            assert_eq!((error.seq, error.code.as_str()), (None, code));
        }
        assert_eq!(read(&json!([1, 2])).expect_err("rejected").message, "a fix is a list, expected an object");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,30}".prop_map(Value::from),
            Just(json!({"a": [1]})),
        ]
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_what_is_taken_fits_its_columns(
            field in prop::sample::select(vec!["seq", "recorded_at", "latitude", "longitude", "accuracy", "heading",
                                               "speed", "is_moving", "battery_level"]),
            value in any_json(),
        ) {
            match read(&with(field, value)) {
                Ok((_, fix)) => {
                    prop_assert!(fix.heading.is_none_or(|h| (0.0..360.0).contains(&h)));
                    prop_assert!(fix.accuracy_m.is_none_or(|a| (0.0..=MAX_ACCURACY_M).contains(&a)));
                    prop_assert!(fix.speed_kmh.is_none_or(|s| (0.0..=MAX_SPEED_KMH).contains(&s)));
                    prop_assert!(fix.battery_percent.is_none_or(|b| b <= 100));
                }
                Err(rejected) => prop_assert!(rejected.message.contains(field), "{}", rejected.message),
            }
        }
    }
}
