//! What the options of commands may be. What is not allowed is wrong usage, told before anything is done.

use chrono::{DateTime, NaiveDate, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use reqwest::Url;
use serde_json::Value;

use crate::core::settings::DispatchPolicy;

/// A node's address, without a slash at its end.
pub(super) fn node_url(text: &str) -> Result<String, String> {
    let allowed = "allowed: a node's address like http://127.0.0.1:8080".to_owned();
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(allowed),
    }
}

/// A time with an offset.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| "allowed: a time like 2026-01-05T18:00:00Z".to_owned())
}

/// A day of the recorded rides.
pub(super) fn recorded_day(text: &str) -> Result<NaiveDate, String> {
    const FIRST: &str = "2008-05-17";
    const LAST: &str = "2008-05-31";
    // Written in full, dates are in the order of their texts.
    let is_recorded = |day: &NaiveDate| (FIRST..=LAST).contains(&day.to_string().as_str());
    text.parse().ok().filter(is_recorded).ok_or_else(|| format!("allowed: {FIRST} to {LAST}"))
}

/// A number within these, both included.
pub(super) fn within(least: f64, most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("allowed: {least} to {most}"))
    }
}

/// A policy, as the setting `dispatch.policy` says it.
pub(super) fn policy() -> impl TypedValueParser<Value = DispatchPolicy> {
    PossibleValuesParser::new(["sequential", "broadcast", "batched"])
        .try_map(|word| serde_json::from_value(Value::String(word)))
}

/// Something that may be a phone's number, as it is written.
pub(super) fn phone(text: &str) -> Result<String, String> {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let written =
        |(at, sign): (usize, char)| sign.is_ascii_digit() || " ().-".contains(sign) || (sign == '+' && at == 0);
    if (7..=15).contains(&digits) && text.char_indices().all(written) {
        return Ok(text.to_owned());
    }
    Err("allowed: a number like +639171234567 or 09171234567".to_owned())
}
