//! Opening hours as `store_profiles.operating_hours` holds them.

use serde_json::{Map, Value, json};

use crate::core::schedule::{DAYS, Schedule, Span, clock, cut, short};

/// Why a JSON value is not opening hours: names the day and the value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidHours {
    /// Not an object.
    #[error(
        "opening hours {0} are not an object of days, like {{\"monday\":{{\"open\":\"09:00\",\"close\":\"21:00\",\"closed\":false}}}}"
    )]
    NotAnObject(String),
    /// A key that is no day of the week.
    #[error("opening hours: {0:?} is not a day, one of monday..sunday in lower case")]
    UnknownDay(String),
    /// A day whose value is not of the shape.
    #[error("opening hours {day}: {value} is not {{\"open\":\"HH:MM\",\"close\":\"HH:MM\",\"closed\":true|false}}")]
    NotHours {
        /// The day.
        day: &'static str,
        /// What stands there.
        value: String,
    },
    /// A day that says more than when it is open.
    #[error("opening hours {day}: {value} has members besides open, close and closed")]
    Unknown {
        /// The day.
        day: &'static str,
        /// What stands there.
        value: String,
    },
    /// A time that cannot be read.
    #[error("opening hours {day}: {field} {value} is not a time \"00:00\"..\"23:59\" (a close may be \"24:00\")")]
    NotATime {
        /// The day.
        day: &'static str,
        /// `open` or `close`
        field: &'static str,
        /// What stands there.
        value: String,
    },
    /// Opens and closes at the same time, which could mean nothing or the whole day.
    #[error("opening hours {day}: open and close are both {value}; the whole day is \"00:00\" to \"24:00\"")]
    Empty {
        /// The day.
        day: &'static str,
        /// The time.
        value: String,
    },
}

/// Reads `{"monday":{"open":"09:00","close":"21:00","closed":false},…}`. `null`, `{}` and `[]` (PHP's empty object) say
/// nothing: `None`, the hours are not known. Otherwise a day that is missing, `null` or `closed` is closed. A close
/// before its open is on the next day.
pub fn parse(value: &Value) -> Result<Option<Schedule>, InvalidHours> {
    let days = match value {
        Value::Null => return Ok(None),
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::Object(days) if days.is_empty() => return Ok(None),
        Value::Object(days) => days,
        _ => return Err(InvalidHours::NotAnObject(short(value))),
    };
    let mut spans = Vec::with_capacity(DAYS.len());
    for (name, hours) in days {
        let Some(day) = DAYS.iter().position(|day| day == name) else {
            return Err(InvalidHours::UnknownDay(cut(name)));
        };
        spans.extend(span(day, hours)?);
    }
    Ok(Some(Schedule::of_week(spans)))
}

/// What is to be stored of opening hours that somebody gives: no more than [`parse`] understands of them.
///
/// # Errors
/// As [`parse`]; and for what it would pass over in silence.
pub fn canonical(value: &Value) -> Result<Value, InvalidHours> {
    parse(value)?;
    let mut kept = Map::new();
    for day in DAYS {
        let Some(hours) = value.get(day) else { continue };
        let known = |name: &String| ["open", "close", "closed"].contains(&name.as_str());
        if !hours.as_object().is_none_or(|hours| hours.keys().all(known)) {
            return Err(InvalidHours::Unknown { day, value: short(hours) });
        }
        let closed = hours.is_null() || hours["closed"] == true;
        let open = || json!({"open": hours["open"], "close": hours["close"], "closed": false});
        kept.insert(day.to_owned(), if closed { json!({"closed": true}) } else { open() });
    }
    Ok(Value::Object(kept))
}

fn span(day: usize, hours: &Value) -> Result<Option<Span>, InvalidHours> {
    let name = DAYS[day];
    let not_hours = || InvalidHours::NotHours { day: name, value: short(hours) };
    let fields = match hours {
        Value::Null => return Ok(None),
        Value::Object(fields) => fields,
        _ => return Err(not_hours()),
    };
    match fields.get("closed") {
        Some(Value::Bool(true)) => return Ok(None), // whatever times the form still held
        Some(Value::Bool(false) | Value::Null) | None => {}
        Some(_) => return Err(not_hours()),
    }
    let time = |field: &'static str| {
        let value = fields.get(field).unwrap_or(&Value::Null);
        value.as_str().and_then(|text| clock(text, field == "close")).ok_or_else(|| InvalidHours::NotATime {
            day: name,
            field,
            value: short(value),
        })
    };
    let (start, end) = (time("open")?, time("close")?);
    if start == end {
        return Err(InvalidHours::Empty { day: name, value: format!("{:02}:{:02}", start / 60, start % 60) });
    }
    Ok(Some(Span { day, start, end }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::time::Timestamp;

    /// 2026-11-23 is a Monday; minutes since its 00:00 in Manila.
    fn at(day: i64, hour: i64, minute: i64) -> Timestamp {
        Timestamp::from_secs(1_795_363_200 + ((day * 24 + hour) * 60 + minute) * 60)
    }

    #[test]
    fn hours_read_as_a_table() {
        let hours = parse(&json!({
            "monday": {"open": "09:00", "close": "21:00", "closed": false},
            "tuesday": {"open": "09:00", "close": "21:00", "closed": true},
            "wednesday": {"open": "00:00", "close": "24:00"},
            "thursday": null,
            "friday": {"open": "14:00", "close": "02:00", "closed": null},
            "sunday": {"open": "18:00", "close": "00:00"},
        }))
        .expect("hours")
        .expect("known");
        for (day, hour, minute, open) in [
            (0, 8, 59, false),
            (0, 9, 0, true),
            (0, 20, 59, true),
            (0, 21, 0, false),
            (1, 12, 0, false), // closed, whatever times stand there
            (2, 0, 0, true),
            (2, 23, 59, true),
            (3, 12, 0, false), // null
            (4, 23, 0, true),
            (5, 1, 59, true), // past midnight, though Saturday itself is missing
            (5, 2, 0, false),
            (5, 15, 0, false),
            (6, 23, 59, true),
            (7, 0, 0, false),
        ] {
            assert_eq!(hours.is_open(at(day, hour, minute)), open, "day {day} {hour}:{minute:02}");
        }
    }

    #[test]
    fn nothing_said_is_not_known_and_a_week_of_closed_days_is_closed() {
        for value in [json!(null), json!({}), json!([])] {
            assert_eq!(parse(&value), Ok(None), "{value}");
        }
        let closed = parse(&json!({"monday": {"closed": true}})).expect("hours").expect("known");
        assert!(!closed.is_open(at(0, 12, 0)));
        assert_eq!(closed.next_change(at(0, 12, 0)), None);
    }

    #[test]
    fn what_is_stored_is_what_was_understood() {
        let given = json!({
            "monday": {"open": "09:00", "close": "21:00"},
            "tuesday": {"open": {"x": 1}, "closed": true},
            "friday": null,
        });
        let kept = json!({
            "monday": {"open": "09:00", "close": "21:00", "closed": false},
            "tuesday": {"closed": true},
            "friday": {"closed": true},
        });
        assert_eq!(canonical(&given), Ok(kept.clone()));
        assert_eq!((parse(&kept), canonical(&kept)), (parse(&given), Ok(kept)));
        for unknown in [json!({}), json!([]), json!(null)] {
            assert_eq!(canonical(&unknown), Ok(json!({})));
        }
        let more = json!({"monday": {"closed": true, "note": "x".repeat(10_000)}});
        assert!(parse(&more).is_ok(), "others' rows are read all the same");
        assert!(canonical(&more).expect_err("a note").to_string().len() < 200);
        for long in
            [json!("x".repeat(10_000)), json!({"x".repeat(10_000): null}), json!({"monday": "x".repeat(10_000)})]
        {
            assert!(parse(&long).expect_err("long").to_string().len() < 300);
        }
    }

    #[test]
    fn errors_name_the_day_and_the_value() {
        for (value, text) in [
            (json!("9 to 5"), r#"opening hours "9 to 5" are not an object"#),
            (json!({"Monday": null}), r#"opening hours: "Monday" is not a day"#),
            (json!({"monday": "09:00-21:00"}), r#"opening hours monday: "09:00-21:00" is not {"open""#),
            (json!({"monday": {"closed": "no"}}), r#"opening hours monday: {"closed":"no"} is not {"open""#),
            (
                json!({"friday": {"open": "9:00", "close": "21:00"}}),
                r#"opening hours friday: open "9:00" is not a time"#,
            ),
            (json!({"friday": {"open": "09:00"}}), "opening hours friday: close null is not a time"),
            (
                json!({"friday": {"open": "24:00", "close": "21:00"}}),
                r#"opening hours friday: open "24:00" is not a time"#,
            ),
            (
                json!({"sunday": {"open": "09:00", "close": "09:00"}}),
                "opening hours sunday: open and close are both 09:00",
            ),
        ] {
            let error = parse(&value).expect_err("invalid").to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
