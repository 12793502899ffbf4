//! A value of `app_settings` as its type reads it; what it is not is said in the words of who wrote it, with the field's name.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Reads a value. `usual`: one that is good.
///
/// # Errors
/// What is wrong, with field, value and what is allowed.
pub(super) fn shape<T: Serialize + for<'de> Deserialize<'de>>(value: &Value, usual: &T) -> Result<T, String> {
    let fields = serde_json::to_value(usual).ok().and_then(|usual| usual.as_object().cloned());
    if fields.is_some() && !value.is_object() {
        // serde would take a list for the fields in their order.
        return Err(format!("must be an object; {value} is not"));
    }
    T::deserialize(value).map_err(|error| match wrong_field::<T>(value, &fields.unwrap_or_default()) {
        Some((field, error)) => format!("{field}: {}", in_words(&error)),
        None => in_words(&error),
    })
}

/// The first field that a good value with that field instead of its own is no good value any more. `None`: all that is there is
/// good, or it is nothing with fields, or its name is no field's.
fn wrong_field<'v, T: for<'de> Deserialize<'de>>(
    value: &'v Value,
    usual: &Map<String, Value>,
) -> Option<(&'v str, serde_json::Error)> {
    value.as_object()?.iter().find_map(|(field, given)| {
        let mut with = usual.clone();
        with.insert(field.clone(), given.clone());
        let error = T::deserialize(Value::Object(with)).err()?;
        // A name that is no field's says so itself.
        (usual.contains_key(field) || !error.to_string().starts_with("unknown field"))
            .then_some((field.as_str(), error))
    })
}

/// What serde says of types, said of values.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string().replace('`', "");
    let parts = |start: &str| text.strip_prefix(start)?.split_once(", expected ");
    let allowed = |words: &str| words.trim_start_matches("one of ").to_owned();
    if let Some((given, expected)) = parts("invalid type: ").or_else(|| parts("invalid value: ")) {
        return format!("must be {}; {} is not", kind(expected), given_as(given));
    }
    if let Some((given, expected)) = parts("unknown variant ") {
        return format!("must be one of {}; {given:?} is not", allowed(expected));
    }
    if let Some((given, expected)) = parts("unknown field ") {
        return format!("{given} is no field of it; allowed are {}", allowed(expected));
    }
    if let Some(field) = text.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }
    text
}

fn given_as(given: &str) -> &str {
    match given {
        "map" => "an object",
        "sequence" => "a list",
        _ => ["string ", "integer ", "floating point ", "boolean "]
            .iter()
            .find_map(|kind| given.strip_prefix(kind))
            .unwrap_or(given),
    }
}

fn kind(expected: &str) -> String {
    let whole = |most: u64| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a string" => "a text".to_owned(),
        _ if expected.starts_with("struct ") => "an object".to_owned(),
        _ if expected.contains("Decimal") => "a decimal number".to_owned(),
        // Of words, one of which is meant.
        "string or map" => "a text".to_owned(),
        _ => expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_said_of_field_and_value_and_not_of_types() {
        let u32s = "must be a whole number from 0 to 4294967295";
        for (key, value, text) in [
            ("booking_timeout", json!(5), "must be an object; 5 is not".to_owned()),
            ("booking_timeout", json!([300, 1800]), "must be an object; [300,1800] is not".to_owned()),
            ("booking_timeout", json!({"pending": "x", "accepted": 1}), format!("pending: {u32s}; \"x\" is not")),
            ("booking_timeout", json!({"pending": -1, "accepted": 1}), format!("pending: {u32s}; -1 is not")),
            ("booking_timeout", json!({"pending": 1}), "accepted is missing".to_owned()),
            (
                "booking_timeout",
                json!({"pending": 1, "accepted": 1, "done": 1}),
                "done is no field of it; allowed are pending or accepted".to_owned(),
            ),
            ("service_radius_max", json!(20.5), format!("{u32s}; 20.5 is not")),
            ("service_radius_max", json!(null), format!("{u32s}; null is not")),
            (
                "commission_rate",
                json!({"default": true, "premium": 1}),
                "default: must be a decimal number; true is not".to_owned(),
            ),
            (
                "dispatch",
                json!({"policy": "random"}),
                "policy: must be one of sequential, broadcast, batched; \"random\" is not".to_owned(),
            ),
            ("dispatch", json!({"policy": 7}), "policy: must be a text; 7 is not".to_owned()),
            ("dispatch", json!({"reminders_s": {}}), "reminders_s: must be a list; an object is not".to_owned()),
            ("dispatch", json!({"weights": {"travel": "far"}}), "weights: must be a number; \"far\" is not".to_owned()),
            ("pings", json!({"max_speed_kmh": "fast"}), "max_speed_kmh: must be a number; \"fast\" is not".to_owned()),
        ] {
            let error = Settings::default().set(key, &value).expect_err("no good").to_string();
            assert_eq!(error, format!("setting {key}: {text}"), "{value}");
        }
    }
}
