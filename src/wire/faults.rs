//! What is wrong with an app's message, said by field, value and what is allowed.

use serde_json::Value;
use uuid::Uuid;

/// A field, what it must be, and whether it may be left out.
type Field = (&'static str, Is, bool);

/// The fields of each of an app's messages.
const MESSAGES: &[(&str, &[Field])] = &[
    ("auth", &[("token", Is::Text, false)]),
    ("location", &[("fixes", Is::List, false)]),
    ("availability", &[("available", Is::Bool, false)]),
    ("offer.received", &[("offer_id", Is::Id, false)]),
    ("offer.accept", &[("offer_id", Is::Id, false)]),
    ("offer.decline", &[("offer_id", Is::Id, false), ("reason", Is::Text, true)]),
    ("watch", &[("booking_uuid", Is::Uuid, false)]),
];

#[derive(Clone, Copy)]
enum Is {
    Text,
    List,
    Bool,
    Id,
    Uuid,
}

impl Is {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::List => "a list",
            Self::Bool => "true or false",
            Self::Id => "a whole number",
            Self::Uuid => "a uuid",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::List => value.is_array(),
            Self::Bool => value.is_boolean(),
            Self::Id => value.is_i64(),
            Self::Uuid => value.as_str().is_some_and(|text| Uuid::try_parse(text).is_ok()),
        }
    }
}

/// Of a message that could not be read.
pub(super) fn of(text: &str) -> String {
    let message: Value = match serde_json::from_str(text) {
        Ok(message) => message,
        Err(error) => return format!("the message is not JSON: {error}"),
    };
    let Some(fields) = message.as_object() else {
        return format!("a message must be a JSON object; {} is not", short(&message));
    };
    let given = |field: &str| fields.get(field).filter(|value| !value.is_null());
    let kinds = || MESSAGES.iter().map(|(kind, _)| *kind).collect::<Vec<_>>().join(", ");
    let Some(kind) = given("type") else { return format!("type is missing; it must be one of {}", kinds()) };
    let Some((_, needs)) = MESSAGES.iter().find(|(name, _)| kind == name) else {
        return format!("type must be one of {}; {} is not", kinds(), short(kind));
    };
    for (field, is, optional) in *needs {
        match given(field) {
            None if *optional => {}
            None => return format!("{field} is missing; it must be {}", is.in_words()),
            Some(value) if is.fits(value) => {}
            Some(value) => return format!("{field} must be {}; {} is not", is.in_words(), short(value)),
        }
    }
    // All that can be wrong with good fields.
    "a field is given more than once".to_owned()
}

/// As an error repeats it.
fn short(value: &Value) -> String {
    const SHOWN: usize = 60;
    let whole = value.to_string();
    match whole.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &whole[..cut]),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::MESSAGES;
    use crate::wire::stream::AppMessage;

    #[test]
    fn every_message_of_an_app_is_known_here() {
        let unknown = serde_json::from_str::<AppMessage>(r#"{"type":"dance"}"#).expect_err("no message").to_string();
        let all: Vec<String> = MESSAGES.iter().map(|(kind, _)| format!("`{kind}`")).collect();
        assert!(unknown.contains(&format!("expected one of {}", all.join(", "))), "{unknown}");
    }

    #[test]
    fn a_fault_names_field_value_and_what_is_allowed() {
        let types = "auth, location, availability, offer.received, offer.accept, offer.decline, watch";
        for (text, fault) in [
            ("{", "the message is not JSON: EOF while parsing an object at line 1 column 1".to_owned()),
            ("[1,2]", "a message must be a JSON object; [1,2] is not".to_owned()),
            (
                r#"["availability", true]"#,
                r#"a message must be a JSON object; ["availability",true] is not"#.to_owned(),
            ),
            ("{}", format!("type is missing; it must be one of {types}")),
            (r#"{"type":"dance"}"#, format!("type must be one of {types}; \"dance\" is not")),
            (r#"{"type":7}"#, format!("type must be one of {types}; 7 is not")),
            (r#"{"type":"auth","token":1}"#, "token must be a text; 1 is not".to_owned()),
            (r#"{"type":"location"}"#, "fixes is missing; it must be a list".to_owned()),
            (r#"{"type":"location","fixes":{}}"#, "fixes must be a list; {} is not".to_owned()),
            (
                r#"{"type":"availability","available":null}"#,
                "available is missing; it must be true or false".to_owned(),
            ),
            (r#"{"type":"offer.accept","offer_id":"x"}"#, "offer_id must be a whole number; \"x\" is not".to_owned()),
            (r#"{"type":"offer.accept","offer_id":1.5}"#, "offer_id must be a whole number; 1.5 is not".to_owned()),
            (r#"{"type":"offer.decline","offer_id":1,"reason":[]}"#, "reason must be a text; [] is not".to_owned()),
            (r#"{"type":"watch","booking_uuid":"x"}"#, "booking_uuid must be a uuid; \"x\" is not".to_owned()),
            (r#"{"type":"offer.accept","offer_id":1,"offer_id":2}"#, "a field is given more than once".to_owned()),
        ] {
            assert_eq!(AppMessage::read(text).expect_err("no message"), fault, "{text}");
        }
    }
}
