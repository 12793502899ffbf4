//! Readers of what the row of a user holds. Each error reads on after "The x field": `must be …`.

use std::time::Duration;

use chrono::{Datelike, NaiveDate};
use serde_json::Value;

use super::extract::{Fields, Given, read};
use super::readers;
use crate::clock;
use crate::core::people::Gender;
use crate::core::phone;
use crate::core::time::Timestamp;
use crate::store::accounts::ProfileChange;
use crate::wire::time::to_chrono;

/// `gender` of the schema.
const GENDERS: &[&str] = &["male", "female", "other", "prefer_not_to_say"];

/// How much later it is there than in UTC, all the year.
const IN_MANILA: Duration = Duration::from_secs(8 * 3_600);

const LONGEST_URL: usize = 2_048;
const LONGEST_PREFERENCES: usize = 4_096;

fn text(given: Given<'_>) -> Option<&str> {
    match given {
        Given::Text(text) => Some(text),
        Given::Json(value) => value.as_str(),
    }
}

/// A phone number as the table has it, E.164.
pub(super) fn phone(given: Given<'_>) -> Result<String, String> {
    text(given)
        .and_then(phone::e164)
        .ok_or_else(|| "must be a phone number like +639171234567 or 0917 123 4567".to_owned())
}

/// A day that somebody can be born on.
pub(super) fn birthday(given: Given<'_>) -> Result<NaiveDate, String> {
    birthday_until(given, clock::now())
}

fn birthday_until(given: Given<'_>, now: Timestamp) -> Result<NaiveDate, String> {
    // It is tomorrow in Manila when it is 16 h here.
    let today = to_chrono(now.plus(IN_MANILA)).map(|now| now.date_naive());
    text(given)
        .filter(|text| text.len() == "1990-05-17".len())
        .and_then(|text| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())
        .filter(|day| (day.year(), day.ordinal()) > (1900, 1) && today.is_some_and(|today| *day <= today))
        .ok_or_else(|| "must be a date like 1990-05-17, after 1900-01-01 and not in the future".to_owned())
}

/// A language, as the table has it: `en`, `fil`, `en-PH`.
pub(super) fn language(given: Given<'_>) -> Result<String, String> {
    let is_one = |text: &&str| {
        let (language, region) = text.split_once('-').unwrap_or((text, "PH"));
        (2..=3).contains(&language.len())
            && language.bytes().all(|b| b.is_ascii_lowercase())
            && region.len() == 2
            && region.bytes().all(|b| b.is_ascii_uppercase())
            && text.len() <= 5
    };
    text(given).filter(is_one).map(str::to_owned).ok_or_else(|| "must be a language like en, fil or en-PH".to_owned())
}

/// `gender` of the schema.
pub(super) fn gender(given: Given<'_>) -> Result<Gender, String> {
    read::word(GENDERS)(given).and_then(|word| Gender::parse(word).ok_or_else(|| "must be a gender".to_owned()))
}

/// The URL of a picture.
fn url(given: Given<'_>) -> Result<String, String> {
    let is_one = |text: &&str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        text.len() <= LONGEST_URL
            && text.bytes().all(|b| b.is_ascii_graphic())
            && rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
    };
    text(given)
        .filter(is_one)
        .map(str::to_owned)
        .ok_or_else(|| format!("must be an https:// or http:// URL of at most {LONGEST_URL} characters"))
}

fn preferences(given: Given<'_>) -> Result<Value, String> {
    let value = match given {
        Given::Json(value @ Value::Object(_)) => Some(value),
        _ => None,
    };
    value
        .filter(|value| !readers::has_nul(value) && value.to_string().len() <= LONGEST_PREFERENCES)
        .cloned()
        .ok_or_else(|| format!("must be an object of at most {LONGEST_PREFERENCES} bytes, without the character NUL"))
}

/// What somebody may change of himself.
pub(super) fn own_change(fields: &mut Fields) -> ProfileChange {
    let notification_preferences = fields.changed("notification_preferences", preferences);
    ProfileChange { notification_preferences, ..change(fields) }
}

/// What he and an admin may change of him.
pub(super) fn change(fields: &mut Fields) -> ProfileChange {
    ProfileChange {
        email: fields.clearable("email", readers::email),
        first_name: fields.clearable("first_name", read::text(100)),
        last_name: fields.clearable("last_name", read::text(100)),
        gender: fields.clearable("gender", gender),
        date_of_birth: fields.clearable("date_of_birth", birthday),
        profile_photo_url: fields.clearable("profile_photo_url", url),
        preferred_language: fields.changed("preferred_language", language),
        ..ProfileChange::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_birthday_is_a_day_of_the_past_that_the_table_takes() {
        for (given, good) in [
            ("1990-05-17", true),
            ("1900-01-02", true),
            ("1900-01-01", false),
            ("2999-01-01", false),
            ("1990-02-30", false),
            ("1990-5-17", false),
            ("+990-05-17", false),
            ("1990-05-17T00:00:00Z", false),
        ] {
            assert_eq!(birthday(Given::Text(given)).is_ok(), good, "{given}");
        }
        // 2026-11-23 15:59:59 and 16:00:00.
        for (now, good) in [(1_795_449_599, false), (1_795_449_600, true)] {
            let is_read = birthday_until(Given::Text("2026-11-24"), Timestamp::from_secs(now)).is_ok();
            assert_eq!(is_read, good, "it is the 24th in Manila");
        }
    }

    #[test]
    fn a_language_fits_its_column() {
        for (given, good) in
            [("en", true), ("fil", true), ("en-PH", true), ("fil-PH", false), ("EN", false), ("e", false), ("", false)]
        {
            assert_eq!(language(Given::Text(given)).is_ok(), good, "{given}");
        }
    }

    #[test]
    fn every_gender_of_the_schema_can_be_given() {
        assert_eq!(GENDERS, Gender::ALL.map(Gender::as_str));
    }

    #[test]
    fn what_the_database_cannot_store_is_refused_before_it() {
        for (value, good) in [
            (json!({"push": true, "quiet": {"from": "22:00"}}), true),
            (json!([]), false),
            (json!({"a": ["x\u{0}"]}), false),
            (json!({"a\u{0}": 1}), false),
            (json!({"a": "\\u0000"}), true),
            (json!({"a": "x".repeat(5_000)}), false),
        ] {
            assert_eq!(preferences(Given::Json(&value)).is_ok(), good, "{value}");
        }
        for (value, good) in [
            ("https://cdn.example.com/1.jpg", true),
            ("javascript:alert(1)", false),
            ("https://", false),
            ("https://x y", false),
        ] {
            assert_eq!(url(Given::Text(value)).is_ok(), good, "{value}");
        }
    }
}
