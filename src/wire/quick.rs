//! The usual `location` message in one pass: no tree of values, no allocation a field. It only knows messages without a
//! fault; for any other it says nothing, and [`super::fix::read_fix`], which names every fault, reads the message anew.

use serde::Deserialize;

use super::fix::{MAX_ACCURACY_M, MAX_FIXES, MAX_SPEED_KMH, check_time, heading, place, ranged};
use super::time::WireTime;
use crate::core::settings::PingLimits;
use crate::core::time::Timestamp;
use crate::core::track::Fix;

#[derive(Deserialize)]
struct Message<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    fixes: Vec<Fields<'a>>,
}

/// Borrowed texts: one with an escape in it is not usual.
#[derive(Deserialize)]
struct Fields<'a> {
    seq: u32,
    recorded_at: &'a str,
    latitude: f64,
    longitude: f64,
    accuracy: Option<f64>,
    heading: Option<f64>,
    speed: Option<f64>,
    is_moving: Option<bool>,
    battery_level: Option<u8>,
}

/// Reads a message of which every fix is taken; `None` for any other message. O(bytes).
pub fn location(text: &str, now: Timestamp, limits: &PingLimits) -> Option<Vec<(u32, Fix)>> {
    // A list of the fields' values is no message, though serde would take it for one.
    if !text.starts_with('{') {
        return None;
    }
    let message: Message<'_> = serde_json::from_str(text).ok()?;
    if message.r#type != "location" || message.fixes.len() > MAX_FIXES {
        return None;
    }
    message.fixes.iter().map(|fields| Some((fields.seq, fix(fields, now, limits)?))).collect()
}

fn fix(fields: &Fields<'_>, now: Timestamp, limits: &PingLimits) -> Option<Fix> {
    let at = WireTime::parse(fields.recorded_at)?.0;
    check_time(at, now, limits).ok()?;
    Some(Fix {
        at,
        place: place(fields.latitude, fields.longitude).ok()?,
        accuracy_m: fields.accuracy.map(|v| ranged("accuracy", v, MAX_ACCURACY_M)).transpose().ok()?,
        heading: fields.heading.map(heading).transpose().ok()?.flatten(),
        speed_kmh: match fields.speed {
            None | Some(-1.0) => None,
            Some(v) => Some(ranged("speed", v, MAX_SPEED_KMH).ok()?),
        },
        moving: fields.is_moving.unwrap_or(false),
        battery_percent: match fields.battery_level {
            Some(101..) => return None,
            level => level,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::settings::Settings;
    use crate::wire::fix::read_fix;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp::from_secs(1_795_338_000);

    fn quick(text: &str) -> Option<Vec<(u32, Fix)>> {
        location(text, NOW, &Settings::default().pings)
    }

    fn good() -> Value {
        json!({"seq": 17, "recorded_at": "2026-11-22T08:59:59.123456Z", "latitude": 14.5547, "longitude": 121.0244,
               "accuracy": 8.5, "heading": 90, "speed": 22.1, "is_moving": true, "battery_level": 80})
    }

    #[test]
    fn the_usual_message_is_known_and_a_fault_is_left_to_who_can_name_it() {
        let message = json!({"type": "location", "fixes": [good(), good()], "more": {"ignored": [1]}});
        let read = quick(&message.to_string()).expect("a usual message");
        assert_eq!((read.len(), read[0].0, read[0].1.battery_percent), (2, 17, Some(80)));
        for text in ["", "{", "[]", r#"{"type":"watch","fixes":[]}"#, r#"{"type":"location"}"#] {
            assert_eq!(quick(text), None, "{text}");
        }
        let many = json!({"type": "location", "fixes": vec![good(); MAX_FIXES + 1]});
        assert_eq!(quick(&many.to_string()), None);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-200_i64..400).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (-200.0..400.0).prop_map(Value::from),
            Just(json!(80.0)),
            Just(json!(-1)),
            Just(json!(360)),
            Just(json!("2026-11-22T16:59:00+08:00")),
            Just(json!("2026-11-22T09:00:31Z")),
            Just(json!("2026-11-22T08:00:00\u{5a}")),
            ".{0,30}".prop_map(Value::from),
            Just(json!({"a": [1]})),
        ]
    }

    proptest! {
        #[test]
        fn what_it_reads_is_what_the_patient_reader_reads(
            field in prop::sample::select(vec!["seq", "recorded_at", "latitude", "longitude", "accuracy", "heading",
                                               "speed", "is_moving", "battery_level"]),
            value in any_value(),
            left_out in any::<bool>(),
        ) {
            let mut fix = good();
            match (&mut fix, left_out) {
                (Value::Object(fields), true) => drop(fields.remove(field)),
                (fix, _) => fix[field] = value,
            }
            let text = json!({"type": "location", "fixes": [fix]}).to_string();
            // Through the text, as the session does: a number may be written in more than one way.
            let message: Value = serde_json::from_str(&text).expect("JSON");
            let patient = read_fix(&message["fixes"][0], NOW, &Settings::default().pings);
            if let Some(read) = quick(&text) {
                prop_assert_eq!(Ok(read[0]), patient);
            }
        }
    }
}
