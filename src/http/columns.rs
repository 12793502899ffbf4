//! From the fields of a body to columns of a row: a new row gives what it has, a change what it changes. A column that may
//! hold nothing is cleared by `null`.

use serde::Serialize;
use serde_json::Value;

use super::extract::{Fields, Given, read};
use super::problem::Problem;
use crate::core::geo::LatLng;
use crate::store::rows::Columns;

/// A body while its columns are read.
pub(super) struct Reading {
    /// For what is no column of its own.
    pub(super) fields: Fields,
    columns: Columns,
    known: Vec<&'static str>,
    new: bool,
}

impl Reading {
    /// Of a row that is made.
    pub(super) fn of_new(fields: Fields) -> Self {
        Self { fields, columns: Columns::default(), known: Vec::new(), new: true }
    }

    /// Of a row that is there.
    pub(super) fn of_change(fields: Fields) -> Self {
        Self { new: false, ..Self::of_new(fields) }
    }

    /// A column that must hold something, and has no default.
    pub(super) fn required<T: Serialize>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Given<'_>) -> Result<T, String>,
    ) {
        if !self.new {
            return self.defaulted(name, read);
        }
        self.known.push(name);
        if let Some(value) = self.fields.required(name, read) {
            self.columns.set(name, value);
        }
    }

    /// A column that must hold something; a new row has its default.
    pub(super) fn defaulted<T: Serialize>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Given<'_>) -> Result<T, String>,
    ) {
        self.known.push(name);
        if self.fields.is_null(name) {
            if !self.new {
                self.fields.error(name, format!("The {name} field must not be null."));
            }
        } else if let Some(value) = self.fields.optional(name, read) {
            self.columns.set(name, value);
        }
    }

    /// A column that may hold nothing.
    pub(super) fn nullable<T: Serialize>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Given<'_>) -> Result<T, String>,
    ) {
        self.known.push(name);
        if self.fields.is_null(name) {
            self.columns.set(name, Value::Null);
        } else if let Some(value) = self.fields.optional(name, read) {
            self.columns.set(name, value);
        }
    }

    /// `latitude` and `longitude`: a place, given whole or (in a change) not at all.
    pub(super) fn place(&mut self) {
        self.known.extend(["latitude", "longitude"]);
        let given = ["latitude", "longitude"].map(|name| self.fields.has(name) || self.fields.is_null(name));
        if (self.new || given.contains(&true))
            && let Some(place) = read::place(&mut self.fields)
        {
            self.columns.set("latitude", place.latitude());
            self.columns.set("longitude", place.longitude());
        }
    }

    /// A place in two columns of other names, that may hold nothing.
    pub(super) fn place_or_none(&mut self, latitude: &'static str, longitude: &'static str) {
        self.known.extend([latitude, longitude]);
        let fields = &mut self.fields;
        if fields.is_null(latitude) && fields.is_null(longitude) {
            self.columns.set(latitude, Value::Null);
            self.columns.set(longitude, Value::Null);
        } else if [latitude, longitude].iter().any(|name| fields.has(name) || fields.is_null(name)) {
            let north = fields.required(latitude, read::number(-90.0, 90.0));
            let east = fields.required(longitude, read::number(-180.0, 180.0));
            if let Some(place) = north.zip(east).and_then(|(north, east)| LatLng::new(north, east).ok()) {
                self.columns.set(latitude, place.latitude());
                self.columns.set(longitude, place.longitude());
            }
        }
    }

    /// A field that is not the caller's to give.
    pub(super) fn prohibited(&mut self, name: &'static str, whose: &str) {
        if self.fields.has(name) || self.fields.is_null(name) {
            self.fields.error(name, format!("The {name} field is prohibited: it is {whose}."));
        }
    }

    /// What was read, unless anything was wrong. A change has to change something: a misspelt field would else be
    /// answered as if it were done.
    pub(super) fn finish(mut self) -> Result<Columns, Problem> {
        if !self.new && !self.known.iter().any(|name| self.fields.has(name) || self.fields.is_null(name)) {
            self.fields.error("body", format!("The body must give at least one of {}.", self.known.join(", ")));
        }
        self.fields.finish(Some(self.columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(body: Value) -> Fields {
        match body {
            Value::Object(map) => Fields::of_body(map),
            _ => panic!("an object"),
        }
    }

    fn read_all(mut reading: Reading) -> Result<Columns, Value> {
        reading.required("city", read::text(10));
        reading.defaulted("is_default", read::boolean);
        reading.nullable("province", read::text(10));
        reading.place();
        reading.place_or_none("base_latitude", "base_longitude");
        reading.finish().map_err(|problem| problem.to_json()["errors"].clone())
    }

    #[test]
    fn a_change_changes_what_is_given_and_null_clears_what_may_be_empty() {
        let columns = read_all(Reading::of_change(fields(json!({"province": null})))).expect("read");
        assert_eq!((columns.get("province"), columns.get("city")), (Some(&Value::Null), None));
        let wrong = read_all(Reading::of_change(fields(json!({"city": null, "is_default": null, "latitude": 1}))));
        let wrong = wrong.expect_err("wrong");
        assert_eq!(wrong["city"][0], "The city field must not be null.");
        assert_eq!(wrong["is_default"][0], "The is_default field must not be null.");
        assert_eq!(wrong["longitude"][0], "The longitude field is required.");
        let nothing = read_all(Reading::of_change(fields(json!({"provinse": "x"})))).expect_err("nothing");
        assert!(nothing["body"][0].as_str().is_some_and(|text| text.contains("city, is_default")), "{nothing}");
    }

    #[test]
    fn a_new_row_has_what_it_must_have_and_defaults_where_nothing_is_given() {
        let columns =
            read_all(Reading::of_new(fields(json!({"city": "Makati", "is_default": null, "latitude": 14.123456789,
                "longitude": 121, "base_latitude": null, "base_longitude": null}))));
        let columns = columns.expect("read");
        assert_eq!((columns.get("is_default"), columns.get("latitude")), (None, Some(&json!(14.1234568))));
        let wrong = read_all(Reading::of_new(fields(json!({"base_latitude": 95, "base_longitude": null}))));
        let wrong = wrong.expect_err("wrong");
        let named: Vec<_> = wrong.as_object().expect("errors").keys().collect();
        assert_eq!(named, ["base_latitude", "base_longitude", "city", "latitude", "longitude"]);
    }
}
