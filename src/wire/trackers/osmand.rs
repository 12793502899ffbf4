//! The OsmAnd protocol, of Traccar Client and OsmAnd (<https://www.traccar.org/osmand/>): named fields in a query or a
//! form, with `speed` in knots, or (Traccar Client since 9.0) JSON with `speed` in m/s and `battery.level` from 0 to 1.

use std::borrow::Cow;

use serde_json::Value;

use super::{Read, Told, seconds};
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::wire::fix::Fault;
use crate::wire::time::{WireTime, from_chrono};

const KMH_PER_KNOT: f64 = 1.852;
const KMH_PER_M_PER_S: f64 = 3.6;

/// Reads the fields of a query or a form; of a name given twice the first counts. `id` is not looked at: whose fix it is
/// the token says.
pub fn fields(pairs: &[(Cow<'_, str>, Cow<'_, str>)], now: Timestamp, limits: &PingLimits) -> Read {
    read_fields(|name| pairs.iter().find(|(n, _)| n == name).map(|(_, value)| Cow::Borrowed(&**value)), now, limits)
}

/// Reads a JSON body: `{"location": {…}}`, a list of such locations, or the fields of a form as an object.
pub fn json(body: &[u8], now: Timestamp, limits: &PingLimits) -> Vec<Read> {
    let message: Value = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) => return vec![Err(("bad_json", format!("the body is not JSON: {error}")))],
    };
    match &message["location"] {
        Value::Array(locations) => locations.iter().map(|location| read_location(location, now, limits)).collect(),
        location @ Value::Object(_) => vec![read_location(location, now, limits)],
        _ => vec![read_fields(|name| scalar(&message[name]), now, limits)],
    }
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        _ => None,
    }
}

fn read_fields<'a>(field: impl Fn(&str) -> Option<Cow<'a, str>>, now: Timestamp, limits: &PingLimits) -> Read {
    if field("valid").is_some_and(|valid| valid == "false" || valid == "0") {
        return Err(("missing_field", "valid is false: the phone does not know its place".to_owned()));
    }
    let number = |name: &str| {
        let text = field(name)?;
        text.trim().parse::<f64>().ok().filter(|value| value.is_finite())
    };
    // A place that is there and is no number must not look like one that is missing.
    let degrees = |name: &str| match field(name) {
        Some(text) if number(name).is_none() => {
            Err(("bad_type", format!("{name} is {}, expected a number", short(&text))))
        }
        _ => Ok(number(name)),
    };
    let (mut latitude, mut longitude) = (degrees("lat")?, degrees("lon")?);
    if let (None, None, Some(pair)) = (latitude, longitude, field("location")) {
        let parsed =
            pair.split_once(',').and_then(|(lat, lon)| Some((lat.trim().parse().ok()?, lon.trim().parse().ok()?)));
        let (lat, lon): (f64, f64) =
            parsed.ok_or_else(|| ("bad_type", format!("location is {}, expected LATITUDE,LONGITUDE", short(&pair))))?;
        (latitude, longitude) = (Some(lat), Some(lon));
    }
    let told = Told {
        at: field("timestamp").map(|text| time(&text)).transpose()?,
        latitude,
        longitude,
        accuracy_m: number("accuracy"),
        heading: number("bearing").or_else(|| number("heading")),
        speed_kmh: number("speed").map(|knots| knots * KMH_PER_KNOT),
        moving: None,
        battery_percent: number("batt"),
    };
    told.judge(["timestamp", "lat", "lon"], now, limits)
}

fn read_location(location: &Value, now: Timestamp, limits: &PingLimits) -> Read {
    let coords = &location["coords"];
    let number = |name: &str| coords[name].as_f64();
    let told = Told {
        at: scalar(&location["timestamp"]).map(|text| time(&text)).transpose()?,
        latitude: number("latitude"),
        longitude: number("longitude"),
        accuracy_m: number("accuracy"),
        heading: number("heading"),
        speed_kmh: number("speed").map(|m_per_s| m_per_s * KMH_PER_M_PER_S),
        moving: location["is_moving"].as_bool(),
        battery_percent: location["battery"]["level"].as_f64().map(|share| share * 100.0),
    };
    told.judge(["timestamp", "coords.latitude", "coords.longitude"], now, limits)
}

/// Unix seconds or milliseconds, RFC 3339, or `YYYY-MM-DD HH:MM:SS`, which the protocol has in UTC.
fn time(text: &str) -> Result<Timestamp, Fault> {
    let text = text.trim();
    if let Some(value) = text.parse::<f64>().ok().filter(|value| value.is_finite()) {
        return Ok(unix(value));
    }
    if let Some(at) = WireTime::parse(text) {
        return Ok(at.0);
    }
    // chrono's RFC 3339 takes a space for the T: an offset is missing here.
    let utc = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").map(|at| from_chrono(at.and_utc()));
    utc.map_err(|_| {
        let allowed = "Unix time, RFC 3339 with an offset, or YYYY-MM-DD HH:MM:SS in UTC";
        ("bad_time", format!("timestamp is {}, expected {allowed}", short(text)))
    })
}

/// Seconds when it is below 2^31, as every second until 2038 is, else milliseconds.
fn unix(value: f64) -> Timestamp {
    seconds(if value < f64::from(i32::MAX) { value } else { value / 1e3 })
}

fn short(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::settings::Settings;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_338_000);

    fn of(query: &[(&str, &str)]) -> Read {
        let pairs: Vec<_> = query.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value))).collect();
        fields(&pairs, NOW, &Settings::default().pings)
    }

    fn with(name: &'static str, value: &'static str) -> Read {
        let mut query = vec![(name, value)];
        query.extend([("id", "1"), ("timestamp", "1795338000"), ("lat", "14.5547"), ("lon", "121.0244")]);
        of(&query)
    }

    #[test]
    fn fields_are_read_in_their_units() {
        let fix = of(&[
            ("deviceid", "1"),
            ("timestamp", "1795337990"),
            ("lat", "14.5547"),
            ("lon", "121.0244"),
            ("speed", "10"),
            ("bearing", "90.5"),
            ("accuracy", "8.25"),
            ("batt", "87.4"),
            ("cell", "257,02,16,2224"),
            ("cell", "257,02,16,2223"),
        ])
        .expect("a fix");
        assert_eq!((fix.speed_kmh, fix.heading, fix.accuracy_m), (Some(18.52), Some(90.5), Some(8.25)));
        assert_eq!((fix.battery_percent, fix.moving), (Some(87), true));
        let pair = of(&[("timestamp", "1795338000"), ("location", "14.5547, 121.0244")]).expect("a fix");
        assert_eq!(pair.place, fix.place);
    }

    #[test]
    fn every_spelling_of_a_time_is_one_time() {
        for text in [
            "1795338000",
            "1795338000000",
            "1795338000.0",
            "2026-11-22T09:00:00Z",
            "2026-11-22T17:00:00.000+08:00",
            "2026-11-22 09:00:00",
        ] {
            assert_eq!(with("timestamp", text).expect(text).at, NOW, "{text}");
        }
    }

    #[test]
    fn without_time_or_place_a_fix_is_refused_and_the_reason_names_the_field() {
        for (read, code, message) in [
            (of(&[("id", "1"), ("lat", "1"), ("lon", "2")]), "missing_field", "timestamp is missing"),
            (of(&[("timestamp", "1795338000"), ("cell", "257,02,16,2224")]), "missing_field", "lat is missing"),
            (with("valid", "false"), "missing_field", "valid is false"),
            (with("timestamp", "yesterday"), "bad_time", "timestamp is \"yesterday\", expected Unix time"),
            (with("timestamp", "2026-11-22T09:00:00"), "bad_time", "timestamp is \"2026-11-22T09:00:00\""),
            (with("timestamp", "1377177267"), "too_old", "recorded_at 2013-08-22T13:14:27Z is more than"),
            (with("lat", "north"), "bad_type", "lat is \"north\", expected a number"),
            (with("lat", "NaN"), "bad_type", "lat is \"NaN\", expected a number"),
            (with("lat", "95"), "out_of_range", "latitude 95 is outside -90..90"),
        ] {
            let (found, text) = read.expect_err("refused");
            assert_eq!(found, code);
            assert!(text.starts_with(message), "{text}");
        }
    }

    #[test]
    fn json_is_read_in_its_units_and_unknown_is_unknown() {
        let one = r#"{"timestamp":"2026-11-22T09:00:00.000Z","coords":{"latitude":14.5547,"longitude":121.0244,"accuracy":3.8,
            "speed":10,"heading":63},"is_moving":false,"battery":{"level":0.79}}"#;
        let unknown = r#"{"timestamp":1795337999000,"coords":{"latitude":1,"longitude":2,"speed":-1,"heading":-1},
            "battery":{"level":-1}}"#;
        let limits = Settings::default().pings;
        let read = json(format!(r#"{{"location":[{one},{unknown},{{}}],"device_id":"1"}}"#).as_bytes(), NOW, &limits);
        let fix = read[0].clone().expect("a fix");
        assert_eq!((fix.speed_kmh, fix.heading, fix.accuracy_m), (Some(36.0), Some(63.0), Some(3.8)));
        assert_eq!((fix.battery_percent, fix.moving), (Some(79), false));
        let fix = read[1].clone().expect("a fix");
        assert_eq!((fix.speed_kmh, fix.heading, fix.battery_percent, fix.moving), (None, None, None, false));
        assert_eq!(read[2], Err(("missing_field", "timestamp is missing".to_owned())));
        let flat = json(br#"{"lat":"1","lon":2,"timestamp":1795338000}"#, NOW, &limits);
        assert!(flat[0].is_ok(), "{flat:?}");
        assert_eq!(json(b"{", NOW, &limits)[0].clone().expect_err("refused").0, "bad_json");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(name in "timestamp|lat|lon|location|speed|bearing|accuracy|batt|valid", value in ".{0,40}") {
            let pairs = [
                (Cow::Owned(name), Cow::Owned(value)),
                ("timestamp".into(), "1795338000".into()),
                ("lat".into(), "1".into()),
                ("lon".into(), "2".into()),
            ];
            let _ = fields(&pairs, NOW, &Settings::default().pings);
        }

        #[test]
        fn garbage_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let limits = Settings::default().pings;
            let _ = json(&body, NOW, &limits);
            let _ = super::super::owntracks::read(&body, NOW, &limits);
        }
    }
}
