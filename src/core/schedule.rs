//! Weekly hours, in the time of Manila: working hours as `therapist_profiles.default_schedule` holds them (read here),
//! opening hours of stores (read in [`stores::hours`](super::stores::hours)).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::time::Timestamp;

/// Asia/Manila is UTC+8; it has had no summer time since 1990, so no zone tables are needed.
pub const MANILA_OFFSET_HOURS: i64 = 8;

/// The days as JSON names them; their order is that of the week.
pub(super) const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const DAY_MIN: u32 = 24 * 60;
const WEEK_MIN: u32 = 7 * DAY_MIN;
const WEEK_US: i64 = WEEK_MIN as i64 * 60_000_000;

/// From when to when on a day of [`DAYS`]: minutes since its midnight. An end before its start is on the next day.
pub(super) struct Span {
    pub(super) day: usize,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// When someone works or is open, week by week.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Schedule {
    /// `None`: always. Else the open stretches of the week in minutes since Monday 00:00: sorted, apart, within the week.
    open: Option<Arc<[(u32, u32)]>>,
}

/// Why a JSON value is not a schedule: names the day and the value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidSchedule {
    /// Not an object.
    #[error("schedule {0} is not an object of days, like {{\"monday\":[{{\"start\":\"09:00\",\"end\":\"18:00\"}}]}}")]
    NotAnObject(String),
    /// A key that is no day of the week.
    #[error("schedule: {0:?} is not a day, one of monday..sunday in lower case")]
    UnknownDay(String),
    /// A day whose value is not a list of spans.
    #[error("schedule {day}: {value} is not a list of {{\"start\":\"HH:MM\",\"end\":\"HH:MM\"}}")]
    NotSpans {
        /// The day.
        day: &'static str,
        /// What stands there.
        value: String,
    },
    /// A span that says more than from when to when.
    #[error("schedule {day}: {value} has members besides start and end")]
    Unknown {
        /// The day.
        day: &'static str,
        /// What stands there.
        value: String,
    },
    /// A time that cannot be read.
    #[error("schedule {day}: {field} {value} is not a time \"00:00\"..\"23:59\" (an end may be \"24:00\")")]
    NotATime {
        /// The day.
        day: &'static str,
        /// `start` or `end`
        field: &'static str,
        /// What stands there.
        value: String,
    },
    /// Start and end are the same, which could mean nothing or the whole day.
    #[error("schedule {day}: start and end are both {value}; the whole day is \"00:00\" to \"24:00\"")]
    Empty {
        /// The day.
        day: &'static str,
        /// The time.
        value: String,
    },
}

impl Schedule {
    /// Open at any time.
    pub const fn always() -> Self {
        Self { open: None }
    }

    /// Reads `{"monday":[{"start":"09:00","end":"18:00"}],…}`. `null`, `{}` and `[]` (PHP's empty object) are always
    /// open; otherwise a day that is missing, `null` or `[]` is closed. An end before its start is on the next day.
    pub fn parse(value: &Value) -> Result<Self, InvalidSchedule> {
        let days = match value {
            Value::Null => return Ok(Self::always()),
            Value::Array(list) if list.is_empty() => return Ok(Self::always()),
            Value::Object(days) if days.is_empty() => return Ok(Self::always()),
            Value::Object(days) => days,
            _ => return Err(InvalidSchedule::NotAnObject(short(value))),
        };
        let mut open = Vec::new();
        for (name, spans) in days {
            let Some(index) = DAYS.iter().position(|day| day == name) else {
                return Err(InvalidSchedule::UnknownDay(cut(name)));
            };
            let day = DAYS[index];
            let not_spans = || InvalidSchedule::NotSpans { day, value: short(spans) };
            let spans = match spans {
                Value::Null => continue,
                Value::Array(spans) => spans,
                _ => return Err(not_spans()),
            };
            for span in spans {
                let span = span.as_object().ok_or_else(not_spans)?;
                let start = minute_of_day(day, "start", span.get("start"))?;
                let end = minute_of_day(day, "end", span.get("end"))?;
                if start == end {
                    return Err(InvalidSchedule::Empty { day, value: format!("{:02}:{:02}", start / 60, start % 60) });
                }
                open.push(Span { day: index, start, end });
            }
        }
        Ok(Self::of_week(open))
    }

    /// What is to be stored of a schedule that somebody gives: no more than [`Self::parse`] understands of it.
    ///
    /// # Errors
    /// As [`Self::parse`]; and for what it would pass over in silence.
    pub fn canonical(value: &Value) -> Result<Value, InvalidSchedule> {
        Self::parse(value)?;
        let mut kept = Map::new();
        for day in DAYS {
            let Some(spans) = value.get(day) else { continue };
            let mut list = Vec::new();
            for span in spans.as_array().into_iter().flatten() {
                if span.as_object().is_some_and(|span| span.len() > 2) {
                    return Err(InvalidSchedule::Unknown { day, value: short(span) });
                }
                list.push(json!({"start": span["start"], "end": span["end"]}));
            }
            kept.insert(day.to_owned(), list.into());
        }
        Ok(Value::Object(kept))
    }

    /// Open in these spans of every week and at no other time.
    pub(super) fn of_week(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut open = Vec::new();
        for Span { day, start, end } in spans {
            let length = if end > start { end - start } else { end + DAY_MIN - start };
            add(&mut open, day as u32 * DAY_MIN + start, length);
        }
        Self { open: Some(merge(open).into()) }
    }

    /// Whether this moment is within it. A span holds its first moment and not its last.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.covers(at, Duration::ZERO)
    }

    /// When it next changes after `at` from open to closed or back; `None`: it never does.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        let open = self.open.as_deref()?;
        let (&(first, first_end), us) = (open.first()?, |minutes: u32| i64::from(minutes) * 60_000_000);
        let now = week_offset_us(at);
        let change = match open.iter().find(|&&(_, end)| now < us(end)) {
            // The stretch that ends with the week goes on where the first begins with it.
            Some(&(start, WEEK_MIN)) if us(start) <= now && first == 0 => {
                if start == 0 {
                    return None;
                }
                WEEK_MIN + first_end
            }
            Some(&(start, end)) if us(start) <= now => end,
            Some(&(start, _)) => start,
            None => WEEK_MIN + first,
        };
        Some(at.plus(Duration::from_micros((us(change) - now).unsigned_abs())))
    }

    /// Whether all of `start..start + duration` is working time; spans that touch or overlap are one.
    pub fn covers(&self, start: Timestamp, duration: Duration) -> bool {
        let Some(open) = &self.open else { return true };
        let mut at = week_offset_us(start);
        let Ok(mut left) = i64::try_from(duration.as_micros()) else { return false };
        // Whole weeks repeat: one of them shows whether there is any gap at all.
        left = left.min(WEEK_US);
        let us = |minutes: u32| i64::from(minutes) * 60_000_000;
        loop {
            let Some(&(_, end)) = open.iter().find(|&&(from, to)| us(from) <= at && at < us(to)) else { return false };
            left -= us(end) - at;
            if left <= 0 {
                return true;
            }
            // Stretches within the week are apart, so only one that ends with the week can go on: on Monday.
            if end != WEEK_MIN {
                return false;
            }
            at = 0;
        }
    }
}

/// Microseconds since Monday 00:00 in Manila. 1970-01-01 was a Thursday.
const fn week_offset_us(at: Timestamp) -> i64 {
    let hours_before = 3 * 24 + MANILA_OFFSET_HOURS;
    (at.micros().rem_euclid(WEEK_US) + hours_before * 3_600_000_000).rem_euclid(WEEK_US)
}

fn minute_of_day(day: &'static str, field: &'static str, value: Option<&Value>) -> Result<u32, InvalidSchedule> {
    let fail = || InvalidSchedule::NotATime { day, field, value: short(value.unwrap_or(&Value::Null)) };
    value.and_then(Value::as_str).and_then(|text| clock(text, field == "end")).ok_or_else(fail)
}

/// Minutes since midnight of `"00:00"` to `"23:59"`; `"24:00"` only as an end.
pub(super) fn clock(text: &str, is_end: bool) -> Option<u32> {
    let &[h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
    if ![h1, h2, m1, m2].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let two = |tens: u8, ones: u8| u32::from(tens - b'0') * 10 + u32::from(ones - b'0');
    let (hour, minute) = (two(h1, h2), two(m1, m2));
    let midnight = is_end && hour == 24 && minute == 0;
    ((hour < 24 && minute < 60) || midnight).then_some(hour * 60 + minute)
}

/// A value as an error repeats it: short, however long it was.
pub(super) fn short(value: &Value) -> String {
    cut(&value.to_string())
}

pub(super) fn cut(text: &str) -> String {
    const SHOWN: usize = 60;
    text.char_indices().nth(SHOWN).map_or_else(|| text.to_owned(), |(end, _)| format!("{}…", &text[..end]))
}

/// Adds a stretch, cut in two where it crosses from Sunday into Monday.
fn add(open: &mut Vec<(u32, u32)>, start: u32, length: u32) {
    let end = start + length;
    open.push((start, end.min(WEEK_MIN)));
    if end > WEEK_MIN {
        open.push((0, end - WEEK_MIN));
    }
}

fn merge(mut open: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    open.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(open.len());
    for (start, end) in open {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// 2026-11-23 is a Monday; minutes since its 00:00 in Manila.
    fn at(day: i64, hour: i64, minute: i64) -> Timestamp {
        Timestamp::from_secs(1_795_363_200 + ((day * 24 + hour) * 60 + minute) * 60)
    }

    fn minutes(m: u64) -> Duration {
        Duration::from_secs(m * 60)
    }

    #[test]
    fn what_is_stored_is_what_was_understood() {
        let given = json!({"monday": [{"start": "09:00", "end": "18:00"}], "friday": null});
        let kept = json!({"monday": [{"start": "09:00", "end": "18:00"}], "friday": []});
        assert_eq!(Schedule::canonical(&given), Ok(kept.clone()));
        assert_eq!(Schedule::parse(&kept), Schedule::parse(&given));
        for always in [json!({}), json!([]), json!(null)] {
            assert_eq!(Schedule::canonical(&always), Ok(json!({})));
        }
        let more = json!({"monday": [{"start": "09:00", "end": "18:00", "note": "x".repeat(10_000)}]});
        assert!(Schedule::parse(&more).is_ok(), "others' rows are read all the same");
        let refused = Schedule::canonical(&more).expect_err("a note").to_string();
        assert!(refused.starts_with("schedule monday: {") && refused.contains("besides start and end"), "{refused}");
        assert!(refused.len() < 200, "{refused}");
        for long in
            [json!("x".repeat(10_000)), json!({"x".repeat(10_000): null}), json!({"monday": "x".repeat(10_000)})]
        {
            assert!(Schedule::parse(&long).expect_err("long").to_string().len() < 200);
        }
    }

    #[test]
    fn an_empty_schedule_is_always_open() {
        for value in [json!(null), json!({}), json!([])] {
            assert!(Schedule::parse(&value).unwrap().covers(at(2, 3, 0), minutes(10_000_000)), "{value}");
        }
        assert!(!Schedule::parse(&json!({"monday": []})).unwrap().covers(at(0, 9, 0), minutes(1)));
    }

    #[test]
    fn covers_reads_as_a_table() {
        let s = Schedule::parse(&json!({
            "monday": [{"start": "09:00", "end": "12:00"}, {"start": "12:00", "end": "18:00"}],
            "friday": [{"start": "22:00", "end": "02:00"}],
            "sunday": [{"start": "20:00", "end": "01:30"}],
            "tuesday": null, "wednesday": [{"start": "00:00", "end": "24:00"}],
        }))
        .unwrap();
        for (day, hour, minute, length, open) in [
            (0, 9, 0, 540, true),   // the whole of Monday, across the two spans
            (0, 8, 59, 60, false),  // a minute early
            (0, 17, 30, 31, false), // a minute over
            (0, 17, 30, 30, true),
            (1, 12, 0, 1, false),
            (2, 0, 0, 1_440, true),
            (2, 23, 59, 2, false),
            (4, 23, 30, 60, true), // across midnight
            (5, 1, 0, 60, true),
            (5, 1, 0, 61, false),
            (6, 23, 0, 150, true), // across the end of the week
            (7, 1, 0, 30, true),
            (7, 1, 0, 31, false),
            (-7, 9, 0, 60, true), // any week
        ] {
            assert_eq!(s.covers(at(day, hour, minute), minutes(length)), open, "day {day} {hour}:{minute} + {length}");
        }
    }

    #[test]
    fn the_next_change_reads_as_a_table() {
        let s = Schedule::parse(&json!({
            "monday": [{"start": "09:00", "end": "18:00"}], "friday": [{"start": "22:00", "end": "02:00"}],
            "sunday": [{"start": "20:00", "end": "01:30"}],
        }))
        .unwrap();
        for (day, hour, minute, open, next) in [
            (0, 0, 0, true, at(0, 1, 30)),  // Sunday's, past midnight and the end of the week
            (0, 1, 30, false, at(0, 9, 0)), // the last moment is not open
            (0, 9, 0, true, at(0, 18, 0)),  // the first is
            (1, 12, 0, false, at(4, 22, 0)),
            (4, 23, 59, true, at(5, 2, 0)),
            (6, 23, 0, true, at(7, 1, 30)), // into the next week
        ] {
            let told = format!("day {day} {hour}:{minute}");
            assert_eq!(
                (s.is_open(at(day, hour, minute)), s.next_change(at(day, hour, minute))),
                (open, Some(next)),
                "{told}"
            );
        }
        let only = Schedule::parse(&json!({"monday": [{"start": "09:00", "end": "18:00"}]})).unwrap();
        assert_eq!(only.next_change(at(0, 18, 0)), Some(at(7, 9, 0)), "next Monday");
        let all: serde_json::Map<_, _> =
            DAYS.iter().map(|day| ((*day).to_owned(), json!([{"start": "00:00", "end": "24:00"}]))).collect();
        for (never_changes, open) in [
            (Schedule::always(), true),
            (Schedule::of_week([]), false),
            (Schedule::parse(&Value::Object(all)).unwrap(), true),
        ] {
            assert_eq!((never_changes.is_open(at(3, 3, 3)), never_changes.next_change(at(3, 3, 3))), (open, None));
        }
    }

    #[test]
    fn errors_name_the_day_and_the_value() {
        for (value, text) in [
            (json!("always"), r#"schedule "always" is not an object"#),
            (json!({"funday": []}), r#"schedule: "funday" is not a day"#),
            (json!({"monday": "09:00-18:00"}), r#"schedule monday: "09:00-18:00" is not a list"#),
            (json!({"monday": ["09:00"]}), r#"schedule monday: ["09:00"] is not a list"#),
            (
                json!({"tuesday": [{"start": "9:00", "end": "18:00"}]}),
                r#"schedule tuesday: start "9:00" is not a time"#,
            ),
            (json!({"friday": [{"start": "09:00"}]}), "schedule friday: end null is not a time"),
            (json!({"friday": [{"start": "24:00", "end": "18:00"}]}), r#"schedule friday: start "24:00""#),
            (json!({"friday": [{"start": "+9:00", "end": "18:00"}]}), r#"schedule friday: start "+9:00""#),
            (json!({"sunday": [{"start": "09:60", "end": "18:00"}]}), r#"schedule sunday: start "09:60""#),
            (json!({"sunday": [{"start": "09:00", "end": "09:00"}]}), "schedule sunday: start and end are both 09:00"),
        ] {
            let error = Schedule::parse(&value).expect_err("invalid").to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }

    proptest! {
        /// Against the definition: every minute of the interval lies in some span of its own or the day before.
        #[test]
        fn covers_equals_asking_minute_by_minute(
            spans in proptest::collection::vec((0usize..7, 0u32..1_440, 1u32..1_440), 1..12), start in 0i64..20_160, length in 1i64..2_000,
        ) {
            let mut days = serde_json::Map::new();
            for &(day, from, length) in &spans {
                let clock = |m: u32| format!("{:02}:{:02}", m % 1_440 / 60, m % 60);
                let span = json!({"start": clock(from), "end": clock(from + length)});
                if let Value::Array(list) = days.entry(DAYS[day]).or_insert(json!([])) { list.push(span) }
            }
            let schedule = Schedule::parse(&Value::Object(days)).unwrap();
            let open = |minute: i64| spans.iter().any(|&(day, from, length)| {
                (minute - (day as i64 * 1_440 + i64::from(from))).rem_euclid(10_080) < i64::from(length)
            });
            let expect = (start..start + length).all(open);
            prop_assert_eq!(schedule.covers(at(0, 0, start), Duration::from_secs(length as u64 * 60)), expect);
        }
    }
}
