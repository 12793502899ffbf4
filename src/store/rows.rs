//! Rows that are made, changed and removed as requests say: one way for all tables that have no process of their own.
//!
//! Names of tables and columns are the program's (`&'static str`); values are JSON, checked by who read them, of which
//! PostgreSQL makes what its columns hold. What an admin writes goes into `audit_logs` in the same transaction.

use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgConnection};

use super::StoreError;
use super::audit_logs::{self, Change};
use crate::core::ids::UserId;

/// A table, as this file needs to know it.
pub(crate) struct Table {
    /// As in SQL.
    pub(crate) name: &'static str,
    /// Laravel's name of its model.
    pub(crate) model: &'static str,
    /// Columns whose values are nobody's to read in `audit_logs`: that they changed is kept.
    pub(crate) private: &'static [&'static str],
    /// What its constraints mean to who wrote the row.
    pub(crate) constraints: &'static [(&'static str, Refused)],
}

/// What stands in `audit_logs` for a private value.
const HIDDEN: &str = "(private)";

/// Why the database does not take a row: a field, and what the caller can correct.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Another row has this value.
    #[error("The {0} field is taken already.")]
    Taken(&'static str),
    /// It names a row that is not there.
    #[error("The {0} field names nothing that exists.")]
    NoSuch(&'static str),
    /// What it has to be.
    #[error("The {0} field {1}.")]
    Wrong(&'static str, &'static str),
}

impl Refused {
    /// Which field.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Taken(field) | Self::NoSuch(field) | Self::Wrong(field, _) => field,
        }
    }
}

/// Why a row was not written.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Because of what it says.
    #[error("{0}")]
    Refused(Refused),
    /// The database could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RowError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Values for some columns of a table, each once.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Columns(Vec<(&'static str, Value)>);

impl Columns {
    /// What this column shall hold; in place of what was said of it before.
    pub fn set(&mut self, column: &'static str, value: impl Serialize) {
        // Only a map with keys that are no text cannot be written as JSON.
        let value = serde_json::to_value(value).unwrap_or_default();
        self.0.retain(|(name, _)| *name != column);
        self.0.push((column, value));
    }

    /// What is said of this column.
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| *name == column).map(|(_, value)| value)
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    fn json(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }
}

/// Makes a row and returns its id; columns that are not given have their defaults. `admin`: who makes it for somebody else.
pub(crate) async fn insert(
    db: &mut PgConnection,
    table: &Table,
    columns: &Columns,
    admin: Option<UserId>,
) -> Result<i64, RowError> {
    let names = columns.names().join(", ");
    let name = table.name;
    let sql = format!(
        "INSERT INTO {name} ({names}) SELECT {names} FROM jsonb_populate_record(NULL::{name}, $1) RETURNING id"
    );
    // Each set of columns is a statement of its own: kept, they would push the busy ones out of the cache.
    let made = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(columns.json()).fetch_one(&mut *db).await;
    let id: i64 = made.map_err(|error| table.refused(error))?;
    if let Some(by) = admin {
        let after = Some(table.public(columns.json()));
        audit_logs::write(db, Change { by, action: "created", of: table.model, id, old: None, new: after }).await?;
    }
    Ok(id)
}

/// Changes these columns of a row; false: there is none. `admin`: who changes what is somebody else's.
pub(crate) async fn update(
    db: &mut PgConnection,
    table: &Table,
    id: i64,
    columns: &Columns,
    admin: Option<UserId>,
) -> Result<bool, RowError> {
    let name = table.name;
    let before = match admin {
        Some(_) => {
            let sql = format!("SELECT to_jsonb(t) FROM {name} t WHERE id = $1 FOR UPDATE");
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *db).await?
        }
        None => None,
    };
    let names = columns.names().join(", ");
    let sql = format!(
        "UPDATE {name} SET ({names}) = (SELECT {names} FROM jsonb_populate_record(NULL::{name}, $1)) WHERE id = $2"
    );
    let done = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(columns.json()).bind(id).execute(&mut *db).await;
    if done.map_err(|error| table.refused(error))?.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some(by) = admin {
        let before = before.map(|row: Value| table.public(only(row, &columns.names())));
        let after = Some(table.public(columns.json()));
        audit_logs::write(db, Change { by, action: "updated", of: table.model, id, old: before, new: after }).await?;
    }
    Ok(true)
}

/// Changes the row with this id, or makes one if there is none.
pub(crate) async fn put(
    db: &mut PgConnection,
    table: &Table,
    there: Option<i64>,
    columns: &Columns,
    admin: Option<UserId>,
) -> Result<(), RowError> {
    match there {
        Some(id) => drop(update(db, table, id, columns, admin).await?),
        None => drop(insert(db, table, columns, admin).await?),
    }
    Ok(())
}

/// Removes a row; false: there is none. With `soft` it stays, with the time in `deleted_at`.
pub(crate) async fn delete(
    db: &mut PgConnection,
    table: &Table,
    id: i64,
    soft: bool,
    admin: Option<UserId>,
) -> Result<bool, RowError> {
    let name = table.name;
    let sql = if soft {
        format!(
            "UPDATE {name} t SET deleted_at = clock_timestamp() WHERE id = $1 AND deleted_at IS NULL RETURNING to_jsonb(t)"
        )
    } else {
        format!("DELETE FROM {name} t WHERE id = $1 RETURNING to_jsonb(t)")
    };
    let gone: Option<Value> = sqlx::query_scalar(AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *db).await?;
    let Some(row) = gone else { return Ok(false) };
    if let Some(by) = admin {
        let before = Some(table.public(row));
        audit_logs::write(db, Change { by, action: "deleted", of: table.model, id, old: before, new: None }).await?;
    }
    Ok(true)
}

fn only(row: Value, columns: &[&str]) -> Value {
    let Value::Object(row) = row else { return row };
    Value::Object(row.into_iter().filter(|(name, _)| columns.contains(&name.as_str())).collect())
}

impl Table {
    fn public(&self, values: Value) -> Value {
        let Value::Object(values) = values else { return values };
        let hide = |(name, value): (String, Value)| {
            // PostGIS' own column says the same as the two numbers that it is made from.
            let hidden = self.private.contains(&name.as_str()) || name.ends_with("location");
            let value = if hidden && !value.is_null() { Value::from(HIDDEN) } else { value };
            (name, value)
        };
        Value::Object(values.into_iter().map(hide).collect::<Map<_, _>>())
    }

    fn refused(&self, error: sqlx::Error) -> RowError {
        let error = StoreError::from(error);
        let named =
            error.constraint().and_then(|name| self.constraints.iter().find(|(constraint, _)| *constraint == name));
        named.map_or(RowError::Store(error), |(_, refused)| RowError::Refused(*refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_column_is_said_once_and_what_is_private_is_not_repeated() {
        let mut columns = Columns::default();
        columns.set("label", "home");
        columns.set("address_line1", "6750 Ayala Avenue");
        columns.set("label", "work");
        columns.set("address_line2", Value::Null);
        assert_eq!(columns.names(), ["address_line1", "label", "address_line2"]);
        let table =
            Table { name: "user_addresses", model: "", private: &["address_line1", "address_line2"], constraints: &[] };
        let row = only(json!({"id": 1, "label": "x", "location": "POINT"}), &["label", "location"]);
        assert_eq!(table.public(row), json!({"label": "x", "location": "(private)"}));
        assert_eq!(
            table.public(columns.json()),
            json!({"label": "work", "address_line1": "(private)", "address_line2": null})
        );
    }
}
