//! The fields of a request: every wrong value becomes an error that names field, value and what is allowed, and all of
//! them are told at once. Query strings and JSON bodies are read by the same functions, so they speak with one voice.

use std::ops::Range;

use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::problem::{FieldErrors, Problem};

/// One given value: text of a query string, or JSON.
#[derive(Clone, Copy)]
pub enum Given<'a> {
    /// From a query string or a path.
    Text(&'a str),
    /// From a body.
    Json(&'a Value),
}

impl std::fmt::Display for Given<'_> {
    /// As an error repeats it: short, however long the value was.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 60;
        let whole = match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Json(value) => value.to_string(),
        };
        match whole.char_indices().nth(SHOWN) {
            Some((cut, _)) => write!(f, "{}…", &whole[..cut]),
            None => f.write_str(&whole),
        }
    }
}

/// The fields of a request while they are read. Ask for each, then [`Fields::finish`].
pub struct Fields {
    values: Values,
    prefix: String,
    errors: FieldErrors,
}

enum Values {
    Query(Pairs),
    Body(Map<String, Value>),
}

/// More fields than a query has, but for who does not mean well.
const USUAL: usize = 16;

/// The pairs of a query string, decoded, in one text: an allocation for each name and value would cost as much as
/// reading them.
struct Pairs {
    text: String,
    /// Where in it each name and its value stand.
    at: Vec<(Range<usize>, Range<usize>)>,
}

impl Pairs {
    fn parse(query: &str) -> Self {
        let mut at = Vec::with_capacity(USUAL);
        let (mut name, mut equals) = (0, None);
        let mut pair = |name: usize, equals: Option<usize>, end: usize| {
            if name < end {
                at.push((name..equals.unwrap_or(end), equals.map_or(end, |equals| equals + 1)..end));
            }
        };
        for (here, byte) in query.bytes().enumerate() {
            match byte {
                b'&' => {
                    pair(name, equals.take(), here);
                    name = here + 1;
                }
                b'=' => equals = equals.or(Some(here)),
                b'%' | b'+' => return Self::decode(query),
                _ => {}
            }
        }
        pair(name, equals, query.len());
        Self { text: query.to_owned(), at }
    }

    fn decode(query: &str) -> Self {
        let mut pairs = Self { text: String::with_capacity(query.len()), at: Vec::with_capacity(USUAL) };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let begin = pairs.text.len();
            pairs.text.push_str(&name);
            pairs.text.push_str(&value);
            let middle = begin + name.len();
            pairs.at.push((begin..middle, middle..pairs.text.len()));
        }
        pairs
    }

    fn names_given_twice(&self) -> FieldErrors {
        let mut names: SmallVec<[&str; USUAL]> = self.iter().map(|(name, _)| name).collect();
        // To look at each with each is quicker than to sort few.
        if names.len() <= USUAL && (1..names.len()).all(|at| !names[..at].contains(&names[at])) {
            return FieldErrors::new();
        }
        names.sort_unstable();
        let twice = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        twice.map(|name| (name.to_owned(), vec![format!("The {name} field is given more than once.")])).collect()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.at.iter().map(|(name, value)| (&self.text[name.clone()], &self.text[value.clone()]))
    }

    /// What was given for a name, unless it is empty.
    fn find(&self, name: &str) -> Option<&str> {
        let is_it = |at: &Range<usize>| self.text.as_bytes()[at.clone()] == *name.as_bytes();
        let (_, value) = self.at.iter().find(|(at, value)| is_it(at) && !value.is_empty())?;
        Some(&self.text[value.clone()])
    }
}

impl Fields {
    /// Of a JSON object.
    pub fn of_body(values: Map<String, Value>) -> Self {
        Self { values: Values::Body(values), prefix: String::new(), errors: FieldErrors::new() }
    }

    /// Of a query string, as it came. A name given twice is an error: nobody can know which was meant.
    pub fn of_query(query: &str) -> Self {
        let pairs = Pairs::parse(query);
        let errors = pairs.names_given_twice();
        Self { values: Values::Query(pairs), prefix: String::new(), errors }
    }

    /// Of the query string that these make.
    #[cfg(test)]
    pub fn of_pairs(pairs: &[(&str, &str)]) -> Self {
        Self::of_query(&form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
    }

    fn given(&self, field: &str) -> Option<Given<'_>> {
        match &self.values {
            Values::Query(pairs) => pairs.find(field).map(Given::Text),
            Values::Body(map) => map.get(field).filter(|value| !value.is_null()).map(Given::Json),
        }
    }

    /// Whether the field was given a value at all.
    pub fn has(&self, field: &str) -> bool {
        self.given(field).is_some()
    }

    /// Whether a body gives the field as `null`: a change that clears it.
    pub fn is_null(&self, field: &str) -> bool {
        matches!(&self.values, Values::Body(map) if map.get(field).is_some_and(Value::is_null))
    }

    /// A field of a body as it was given, of whatever shape.
    pub fn raw(&self, field: &str) -> Option<Value> {
        match self.given(field)? {
            Given::Json(value) => Some(value.clone()),
            Given::Text(text) => Some(Value::from(text)),
        }
    }

    /// A field that may be missing. What `read` refuses is noted as `The {field} field {text}`.
    pub fn optional<T>(&mut self, field: &str, read: impl FnOnce(Given<'_>) -> Result<T, String>) -> Option<T> {
        let outcome =
            self.given(field).map(|given| read(given).map_err(|allowed| format!("{allowed}; {given} is not.")));
        match outcome? {
            Ok(value) => Some(value),
            Err(text) => {
                self.error(field, format!("The {}{field} field {text}", self.prefix));
                None
            }
        }
    }

    /// A field that must be there.
    pub fn required<T>(&mut self, field: &str, read: impl FnOnce(Given<'_>) -> Result<T, String>) -> Option<T> {
        if !self.has(field) {
            self.error(field, format!("The {}{field} field is required.", self.prefix));
            return None;
        }
        self.optional(field, read)
    }

    /// A field of a change: `None` leaves what is there; `Some(None)` (it is given as null) empties it.
    pub fn clearable<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(Given<'_>) -> Result<T, String>,
    ) -> Option<Option<T>> {
        if self.is_null(field) {
            return Some(None);
        }
        self.optional(field, read).map(Some)
    }

    /// A field of a change of what cannot be empty: null is an error.
    pub fn changed<T>(&mut self, field: &str, read: impl FnOnce(Given<'_>) -> Result<T, String>) -> Option<T> {
        if self.is_null(field) {
            self.error(field, format!("The {}{field} field must not be null.", self.prefix));
            return None;
        }
        self.optional(field, read)
    }

    /// The fields of a nested object, if it is given; give them back with [`Fields::absorb`].
    pub fn object(&mut self, field: &str) -> Option<Self> {
        let map = self.optional(field, |given| match given {
            Given::Json(Value::Object(map)) => Ok(map.clone()),
            _ => Err("must be an object".to_owned()),
        })?;
        Some(Self { values: Values::Body(map), prefix: format!("{}{field}.", self.prefix), errors: FieldErrors::new() })
    }

    /// Takes the errors of a nested object.
    pub fn absorb(&mut self, nested: Self) {
        self.errors.extend(nested.errors);
    }

    /// Notes an error of a field.
    pub fn error(&mut self, field: &str, text: impl Into<String>) {
        self.errors.entry(format!("{}{field}", self.prefix)).or_default().push(text.into());
    }

    /// What was read, unless anything was wrong.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, Problem> {
        match read {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::invalid(self.errors)),
        }
    }
}

/// Readers of single values. Each error reads on after "The x field": `must be …`.
pub mod read {
    use chrono::NaiveDate;
    use rust_decimal::Decimal;
    use serde_json::Value;
    use uuid::Uuid;

    use super::Given;
    use crate::core::geo::LatLng;
    use crate::core::money::Money;
    use crate::wire::time::WireTime;

    /// A number from `low` to `high`, both allowed. NaN and infinities are no numbers here.
    pub fn number(low: f64, high: f64) -> impl FnOnce(Given<'_>) -> Result<f64, String> {
        move |given| {
            let number = match given {
                Given::Text(text) => text.parse::<f64>().ok(),
                Given::Json(value) => value.as_f64(),
            };
            number.filter(|n| (low..=high).contains(n)).ok_or_else(|| format!("must be a number from {low} to {high}"))
        }
    }

    /// A whole number from `low` to `high`, both allowed.
    pub fn integer(low: i64, high: i64) -> impl Fn(Given<'_>) -> Result<i64, String> {
        move |given| {
            let number = match given {
                Given::Text(text) => text.parse::<i64>().ok(),
                Given::Json(value) => value.as_i64(),
            };
            number
                .filter(|n| (low..=high).contains(n))
                .ok_or_else(|| format!("must be a whole number from {low} to {high}"))
        }
    }

    /// `true` or `false`; in a query string also `1` and `0`.
    pub fn boolean(given: Given<'_>) -> Result<bool, String> {
        match given {
            Given::Json(Value::Bool(value)) => Ok(*value),
            Given::Text("true" | "1") => Ok(true),
            Given::Text("false" | "0") => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }

    /// Text of 1 to `longest` characters, without the spaces around it and without the character NUL, which
    /// PostgreSQL cannot store.
    pub fn text(longest: usize) -> impl Fn(Given<'_>) -> Result<String, String> {
        move |given| {
            let text = match given {
                Given::Text(text) => Some(text),
                Given::Json(value) => value.as_str(),
            };
            text.map(str::trim)
                .filter(|t| !t.is_empty() && t.chars().count() <= longest && !t.contains('\0'))
                .map(str::to_owned)
                .ok_or_else(|| format!("must be a text of 1 to {longest} characters"))
        }
    }

    /// A slug as text, or an id as text or number.
    pub fn slug_or_id(given: Given<'_>) -> Result<String, String> {
        match given {
            Given::Json(Value::Number(number)) if number.is_i64() => Ok(number.to_string()),
            _ => text(255)(given).map_err(|_| "must be a slug or an id".to_owned()),
        }
    }

    /// One of the words.
    pub fn word(allowed: &'static [&'static str]) -> impl FnOnce(Given<'_>) -> Result<&'static str, String> {
        move |given| {
            let text = match given {
                Given::Text(text) => Some(text),
                Given::Json(value) => value.as_str(),
            };
            text.and_then(|text| allowed.iter().copied().find(|word| *word == text))
                .ok_or_else(|| format!("must be one of {}", allowed.join(", ")))
        }
    }

    /// A decimal from `low` to `high`.
    pub fn decimal(low: i64, high: i64) -> impl FnOnce(Given<'_>) -> Result<Decimal, String> {
        move |given| {
            plain_decimal(given)
                .filter(|d| (Decimal::from(low)..=Decimal::from(high)).contains(d))
                .ok_or_else(|| format!("must be a number from {low} to {high}"))
        }
    }

    /// An amount that is not negative, with at most two decimals, that the schema's DECIMAL(10, 2) can hold.
    pub fn money(given: Given<'_>) -> Result<Money, String> {
        plain_decimal(given)
            .filter(|d| *d >= Decimal::ZERO && *d < Decimal::from(100_000_000) && d.normalize().scale() <= 2)
            .map(Money::rounded)
            .ok_or_else(|| "must be an amount like 800.00, from 0 to 99999999.99, with at most two decimals".to_owned())
    }

    fn plain_decimal(given: Given<'_>) -> Option<Decimal> {
        match given {
            // Exactly: more digits than a Decimal holds would be rounded to others than were written.
            Given::Text(text) => Decimal::from_str_exact(text).ok(),
            Given::Json(Value::String(text)) => Decimal::from_str_exact(text).ok(),
            // Through its text: a binary fraction would bring digits that nobody wrote.
            Given::Json(Value::Number(number)) => Decimal::from_str_exact(&number.to_string()).ok(),
            Given::Json(_) => None,
        }
    }

    /// A list of 1 to `most` values, each as `one` reads it.
    pub fn list<T>(
        most: usize,
        one: impl Fn(Given<'_>) -> Result<T, String>,
    ) -> impl FnOnce(Given<'_>) -> Result<Vec<T>, String> {
        move |given| {
            let wrong = || format!("must be a list of 1 to {most} values");
            let Given::Json(Value::Array(values)) = given else { return Err(wrong()) };
            if values.is_empty() || values.len() > most {
                return Err(wrong());
            }
            let read =
                |value| one(Given::Json(value)).map_err(|allowed| format!("{}, each of which {allowed}", wrong()));
            values.iter().map(read).collect()
        }
    }

    /// An amount from `least` to `most`, both allowed, with at most two decimals.
    pub fn amount(least: Money, most: Money) -> impl FnOnce(Given<'_>) -> Result<Money, String> {
        move |given| {
            money(given)
                .ok()
                .filter(|amount| (least..=most).contains(amount))
                .ok_or_else(|| format!("must be an amount from {least} to {most}, with at most two decimals"))
        }
    }

    /// A day of the calendar.
    pub fn date(given: Given<'_>) -> Result<NaiveDate, String> {
        let text = match given {
            Given::Text(text) => Some(text),
            Given::Json(value) => value.as_str(),
        };
        text.filter(|text| text.len() == "2026-11-22".len() && text.starts_with(|first: char| first.is_ascii_digit()))
            .and_then(|text| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())
            .ok_or_else(|| "must be a day like 2026-11-22".to_owned())
    }

    /// RFC 3339 with an offset.
    pub fn time(given: Given<'_>) -> Result<WireTime, String> {
        let text = match given {
            Given::Text(text) => Some(text),
            Given::Json(value) => value.as_str(),
        };
        text.and_then(WireTime::parse)
            .ok_or_else(|| "must be a time like 2026-11-22T09:00:00Z, with an offset".to_owned())
    }

    /// A uuid.
    pub fn uuid(given: Given<'_>) -> Result<Uuid, String> {
        let text = match given {
            Given::Text(text) => Some(text),
            Given::Json(value) => value.as_str(),
        };
        text.and_then(|text| Uuid::parse_str(text).ok()).ok_or_else(|| "must be a uuid".to_owned())
    }

    /// Reads `latitude` and `longitude`, both required, as a place.
    pub fn place(fields: &mut super::Fields) -> Option<LatLng> {
        let latitude = fields.required("latitude", number(-90.0, 90.0));
        let longitude = fields.required("longitude", number(-180.0, 180.0));
        LatLng::new(latitude?, longitude?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::money::Money;
    use serde_json::json;

    fn body(value: Value) -> Fields {
        match value {
            Value::Object(map) => Fields::of_body(map),
            _ => panic!("an object"),
        }
    }

    fn texts(fields: Fields) -> Value {
        fields.finish::<()>(None).expect_err("errors").to_json()["errors"].clone()
    }

    #[test]
    fn every_wrong_field_is_named_with_its_value_and_what_is_allowed_at_once() {
        let mut fields = body(json!({"latitude": 95, "limit": 2.5, "gender": "x", "when": "2026-11-22T09:00:00"}));
        fields.required("latitude", read::number(-90.0, 90.0));
        fields.required("longitude", read::number(-180.0, 180.0));
        fields.optional("limit", read::integer(1, 50));
        fields.optional("gender", read::word(&["male", "female"]));
        fields.optional("when", read::time);
        assert_eq!(
            texts(fields),
            json!({
                "latitude": ["The latitude field must be a number from -90 to 90; 95 is not."],
                "longitude": ["The longitude field is required."],
                "limit": ["The limit field must be a whole number from 1 to 50; 2.5 is not."],
                "gender": ["The gender field must be one of male, female; \"x\" is not."],
                "when": ["The when field must be a time like 2026-11-22T09:00:00Z, with an offset; \"2026-11-22T09:00:00\" is not."],
            })
        );
    }

    #[test]
    fn nan_and_infinity_are_no_numbers() {
        for bad in ["NaN", "inf", "-inf", "1e400", "1,5", " 1"] {
            let mut fields = Fields::of_query(&format!("n={bad}"));
            assert!(fields.required("n", read::number(-90.0, 90.0)).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_name_given_twice_is_an_error() {
        let fields = Fields::of_query("limit=1&sort=eta&limi%74=2&limit");
        assert_eq!(texts(fields), json!({"limit": ["The limit field is given more than once."]}));
    }

    #[test]
    fn a_query_without_escapes_is_split_as_one_with_them() {
        for query in ["", "&", "=", "a", "a=", "=b", "a=b", "a=b=c&&d&", "a==&=&b=é", "a=1&a=2&b=%", "a=b&c=d+e"] {
            let (split, decoded) = (Pairs::parse(query), Pairs::decode(query));
            assert_eq!(split.iter().collect::<Vec<_>>(), decoded.iter().collect::<Vec<_>>(), "{query:?}");
        }
    }

    #[test]
    fn a_query_is_decoded_and_a_field_without_a_value_is_not_given() {
        let mut fields = Fields::of_query("a=deep+tissue%26more&b=&c&%64=Ni%C3%B1o&=x");
        let mut text = |name| fields.optional(name, read::text(50));
        let given = ["a", "b", "c", "d", "e"].map(&mut text);
        assert_eq!(
            given.each_ref().map(|text| text.as_deref()),
            [Some("deep tissue&more"), None, None, Some("Niño"), None]
        );
        assert!(Fields::of_query("").given("a").is_none());
    }

    #[test]
    fn nested_fields_carry_their_path() {
        let mut fields = body(json!({"location": {"latitude": "north"}}));
        let mut nested = fields.object("location").expect("given");
        read::place(&mut nested);
        fields.absorb(nested);
        assert_eq!(
            texts(fields),
            json!({
                "location.latitude": ["The location.latitude field must be a number from -90 to 90; \"north\" is not."],
                "location.longitude": ["The location.longitude field is required."],
            })
        );
    }

    #[test]
    fn money_takes_text_or_number_and_at_most_two_decimals() {
        for (given, read_as) in [
            (json!("800.00"), Some("800.00")),
            (json!(0.1), Some("0.10")),
            (json!("1.005"), None),
            (json!(-1), None),
            (json!("0.99999999999999999999999999999"), None),
        ] {
            assert_eq!(read::money(Given::Json(&given)).ok().map(|m| m.to_string()).as_deref(), read_as, "{given}");
        }
    }

    #[test]
    fn a_change_tells_what_is_cleared_from_what_stays() {
        let mut fields = body(json!({"a": null, "b": 7, "c": "x"}));
        let mut clearable = |name| fields.clearable(name, read::integer(1, 9));
        assert_eq!(["a", "b", "c", "none"].map(&mut clearable), [Some(None), Some(Some(7)), None, None]);
        let mut changed = |name| fields.changed(name, read::integer(1, 9));
        assert_eq!(["a", "b", "none"].map(&mut changed), [None, Some(7), None]);
        assert_eq!(
            texts(fields),
            json!({"a": ["The a field must not be null."],
                   "c": ["The c field must be a whole number from 1 to 9; \"x\" is not."]})
        );
    }

    #[test]
    fn lists_days_and_amounts_are_read_within_their_bounds() {
        let list = |given: &Value| read::list(2, read::integer(1, 9))(Given::Json(given));
        assert_eq!(list(&json!([1, 9])), Ok(vec![1, 9]));
        for bad in [json!([]), json!([1, 2, 3]), json!([0]), json!("1"), json!({})] {
            assert!(list(&bad).is_err(), "{bad}");
        }
        let (least, most) = (Money::centavos(100), Money::centavos(500));
        let amount = |given: &str| read::amount(least, most)(Given::Text(given)).ok();
        assert_eq!((amount("1"), amount("5.00")), (Some(least), Some(most)));
        assert_eq!([amount("0.99"), amount("5.01"), amount("-1"), amount("1.005"), amount("1e2")], [None; 5]);
        assert_eq!(
            read::date(Given::Text("2028-02-29")).ok().map(|day| day.to_string()).as_deref(),
            Some("2028-02-29")
        );
        for bad in ["2026-02-29", "2026-2-9", "+026-02-09", "-026-02-09", "today", "2026-11-22T00"] {
            assert!(read::date(Given::Text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_value_is_not_repeated_whole() {
        let long = "é".repeat(5_000);
        assert!(Given::Text(&long).to_string().chars().count() < 80);
    }
}
