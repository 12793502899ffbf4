//! OwnTracks in HTTP mode: one JSON object a request (<https://owntracks.org/booklet/tech/json/>). `tst` is in seconds,
//! `acc` in metres, `vel` in km/h, `cog` in degrees, `batt` in percent.

use serde_json::Value;

use super::{Read, Told, seconds};
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;

/// Reads a message. `None`: not a position (`_type` is another one, or the body is empty, as when a friend is deleted).
pub fn read(body: &[u8], now: Timestamp, limits: &PingLimits) -> Option<Read> {
    if body.trim_ascii().is_empty() {
        return None;
    }
    let message: Value = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) => return Some(Err(("bad_json", format!("the body is not JSON: {error}")))),
    };
    if message["_type"] != "location" {
        return None;
    }
    let number = |name: &str| message[name].as_f64();
    let told = Told {
        at: number("tst").map(seconds),
        latitude: number("lat"),
        longitude: number("lon"),
        accuracy_m: number("acc"),
        heading: number("cog"),
        speed_kmh: number("vel"),
        moving: None,
        battery_percent: number("batt"),
    };
    Some(told.judge(["tst", "lat", "lon"], now, limits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::settings::Settings;

    const NOW: Timestamp = Timestamp::from_secs(1_795_338_000);

    fn of(body: &str) -> Option<Read> {
        read(body.as_bytes(), NOW, &Settings::default().pings)
    }

    #[test]
    fn a_location_is_read_in_its_units() {
        let fix = of(r#"{"_type":"location","tst":1795337990,"lat":14.5547,"lon":121.0244,"acc":5,"vel":61,"cog":360,
                         "batt":67,"alt":9,"tid":"JJ"}"#);
        let fix = fix.expect("a position").expect("a fix");
        assert_eq!(fix.at, Timestamp::from_secs(1_795_337_990));
        assert_eq!((fix.place.latitude(), fix.place.longitude()), (14.5547, 121.0244));
        assert_eq!((fix.accuracy_m, fix.speed_kmh, fix.heading), (Some(5.0), Some(61.0), Some(0.0)));
        assert_eq!((fix.battery_percent, fix.moving), (Some(67), true));
    }

    #[test]
    fn extras_that_make_no_sense_cost_only_themselves() {
        let fix = of(r#"{"_type":"location","tst":1795338000,"lat":1,"lon":2,"acc":-1,"vel":-1,"cog":-1,"batt":-100}"#);
        let fix = fix.expect("a position").expect("a fix");
        assert_eq!((fix.accuracy_m, fix.speed_kmh, fix.heading, fix.battery_percent), (None, None, None, None));
        assert!(!fix.moving);
    }

    #[test]
    fn what_is_no_position_is_nothing_and_what_lacks_time_or_place_is_refused() {
        for nothing in
            ["", " \n", "{}", "[]", r#"{"_type":"transition","tst":1,"lat":1,"lon":2}"#, r#"{"_type":"lwt"}"#]
        {
            assert_eq!(of(nothing), None, "{nothing}");
        }
        for (body, code) in [
            ("{", "bad_json"),
            (r#"{"_type":"location","lat":1,"lon":2}"#, "missing_field"),
            (r#"{"_type":"location","tst":"now","lat":1,"lon":2}"#, "missing_field"),
            (r#"{"_type":"location","tst":1795338000,"lon":2}"#, "missing_field"),
            (r#"{"_type":"location","tst":1795338000,"lat":91,"lon":2}"#, "out_of_range"),
            (r#"{"_type":"location","tst":1497349316,"lat":1,"lon":2}"#, "too_old"),
            (r#"{"_type":"location","tst":1795338031,"lat":1,"lon":2}"#, "in_future"),
        ] {
            assert_eq!(of(body).expect("a position").expect_err("refused").0, code, "{body}");
        }
    }
}
