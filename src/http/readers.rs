//! Readers of single values that only some tables hold, as those of [`read`].

use chrono::NaiveDate;
use serde_json::Value;

use super::extract::{Given, read};

/// Longest URL, characters: what browsers take.
const LONGEST_URL: usize = 2_000;

/// Where a picture or a paper lies: `https://…` (or `http://…`). Nothing else: it ends up in people's browsers.
pub(super) fn url(given: Given<'_>) -> Result<String, String> {
    let web = |text: &String| {
        ["https://", "http://"].iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
            && !text.contains(char::is_whitespace)
    };
    let text = read::text(LONGEST_URL)(given).ok().filter(web);
    text.ok_or_else(|| format!("must be a URL like https://example.com/a.jpg, of at most {LONGEST_URL} characters"))
}

/// A day, `2026-11-22`, of this century or the one before.
pub(super) fn date(given: Given<'_>) -> Result<NaiveDate, String> {
    let text = read::text(10)(given).ok().filter(|text| text.len() == 10 && ["19", "20"].contains(&&text[..2]));
    let date = text.and_then(|text| NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok());
    date.ok_or_else(|| "must be a date like 2026-11-22".to_owned())
}

/// Small letters, digits and single hyphens between them; one letter at least, since digits alone are an id.
pub(super) fn slug(longest: usize) -> impl FnOnce(Given<'_>) -> Result<String, String> {
    move |given| {
        let fits = |text: &String| {
            text.split('-')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
                && text.bytes().any(|b| b.is_ascii_lowercase())
        };
        let text = read::text(longest)(given).ok().filter(fits);
        text.ok_or_else(|| {
            format!(
                "must be a slug like swedish-massage: small letters, digits and hyphens, at most {longest} characters"
            )
        })
    }
}

/// Where something stands among its like: smaller ones first.
pub(super) fn sort_order(given: Given<'_>) -> Result<i64, String> {
    read::integer(-1_000_000, 1_000_000)(given)
}

/// A list of texts of 1 to `longest` characters, at most `most` of them.
pub(super) fn texts(most: usize, longest: usize) -> impl FnOnce(Given<'_>) -> Result<Vec<String>, String> {
    move |given| {
        list(given, most, |item| read::text(longest)(item).ok())
            .ok_or_else(|| format!("must be a list of at most {most} texts of 1 to {longest} characters"))
    }
}

/// A list of URLs, at most `most` of them.
pub(super) fn urls(most: usize) -> impl FnOnce(Given<'_>) -> Result<Vec<String>, String> {
    move |given| {
        list(given, most, |item| url(item).ok())
            .ok_or_else(|| format!("must be a list of at most {most} URLs like https://example.com/a.jpg"))
    }
}

/// A list of some of these words, none of them twice.
pub(super) fn words(allowed: &'static [&'static str]) -> impl FnOnce(Given<'_>) -> Result<Vec<&'static str>, String> {
    move |given| {
        list(given, allowed.len(), |item| read::word(allowed)(item).ok())
            .filter(|words| (1..words.len()).all(|at| !words[..at].contains(&words[at])))
            .ok_or_else(|| format!("must be a list of some of {}", allowed.join(", ")))
    }
}

/// A list, each of whose items is read.
pub(super) fn list<T>(given: Given<'_>, most: usize, item: impl Fn(Given<'_>) -> Option<T>) -> Option<Vec<T>> {
    match given {
        Given::Json(Value::Array(items)) if items.len() <= most => {
            items.iter().map(|value| item(Given::Json(value))).collect()
        }
        _ => None,
    }
}

/// JSON of a shape that something else reads: `canonical` makes of it what is to be stored, or says what is wrong with it.
pub(super) fn checked_json(
    given: Given<'_>,
    canonical: impl FnOnce(&Value) -> Result<Value, String>,
) -> Result<Value, String> {
    const LONGEST: usize = 20_000;
    let Given::Json(value) = given else { return Err("not JSON".to_owned()) };
    let kept = canonical(value)?;
    if kept.to_string().len() > LONGEST { Err(format!("longer than {LONGEST} bytes")) } else { Ok(kept) }
}

/// PostgreSQL cannot store it, not in JSON either.
pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An email address: whether it is somebody's, only a mail can tell.
pub(super) fn email(given: Given<'_>) -> Result<String, String> {
    let is_one = |text: &String| {
        text.chars().all(|c| !c.is_whitespace() && !c.is_control())
            && text.rsplit_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && domain.contains('.') && domain.split('.').all(|label| !label.is_empty())
            })
    };
    let text = read::text(255)(given).ok().filter(is_one);
    text.ok_or_else(|| "must be an email address of at most 255 characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reads<T>(read: impl FnOnce(Given<'_>) -> Result<T, String>, value: Value) -> bool {
        read(Given::Json(&value)).is_ok()
    }

    #[test]
    fn what_is_refused_could_not_be_stored_or_would_do_harm() {
        for (value, good) in [
            (json!("https://a.ph/b?c"), true),
            (json!("javascript:alert(1)"), false),
            (json!("https://"), false),
            (json!("https://a b"), false),
            (json!(1), false),
            (json!(format!("https://{}", "x".repeat(2_000))), false),
        ] {
            assert_eq!(reads(url, value.clone()), good, "{value}");
        }
        for (value, good) in [
            (json!("2026-11-22"), true),
            (json!("2026-02-29"), false),
            (json!("9999-12-31"), false),
            (json!("+2026-1-22"), false),
            (json!("é2026-11-2"), false),
            (json!(20_261_122), false),
        ] {
            assert_eq!(reads(date, value.clone()), good, "{value}");
        }
        for (value, good) in
            [("hot-stone-2", true), ("12", false), ("-a", false), ("a--b", false), ("Hot", false), ("a b", false)]
        {
            assert_eq!(reads(slug(20), json!(value)), good, "{value}");
        }
    }

    #[test]
    fn lists_are_short_and_whole() {
        assert!(reads(texts(2, 5), json!(["a", "b"])));
        for bad in [json!(["a", "b", "c"]), json!(["toolong"]), json!([1]), json!("a"), json!({}), json!(["\u{0}"])] {
            assert!(!reads(texts(2, 5), bad.clone()), "{bad}");
        }
        assert!(reads(words(&["male", "female"]), json!(["female", "male"])));
        assert!(!reads(words(&["male", "female"]), json!(["male", "male"])));
    }

    #[test]
    fn an_email_address_has_a_name_and_a_domain() {
        for good in ["maria@example.com", " m@x.ph ", "a@b@c.de", "ñ@mañana.ph"] {
            assert_eq!(email(Given::Text(good)).as_deref(), Ok(good.trim()));
        }
        let long = format!("{}@example.com", "x".repeat(250));
        for bad in ["", "maria", "@example.com", "maria@", "maria@localhost", "m a@x.ph", "m@x..ph", "m@x.ph\0", &long]
        {
            assert!(email(Given::Text(bad)).is_err(), "{bad:?}");
        }
    }
}
