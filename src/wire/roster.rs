//! The tokens file of `spacall seed fleet`: one JSON object a line, one line a person.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::core::people::Gender;

/// Who a seeded person is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Has a provider; answers offers.
    Therapist,
    /// Books.
    Customer,
    /// Runs the place.
    Admin,
}

/// One line. The fields after `longitude` are more than the contract asks for: they let the load tool compute the same
/// matching without the server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RosterEntry {
    /// What the token may do.
    pub role: Role,
    /// `users.uuid`
    pub user_uuid: Uuid,
    /// `providers.uuid`; null for customers and admins.
    pub provider_uuid: Option<Uuid>,
    /// `{id}|{secret}`, to be sent as a bearer token.
    pub token: String,
    /// Base location of a therapist, default address of a customer; degrees.
    pub latitude: f64,
    /// See `latitude`.
    pub longitude: f64,
    /// First name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// City the person lives in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// `users.gender`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<Gender>,
    /// A therapist's own radius, km.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_radius_km: Option<u32>,
    /// A therapist's services by slug, with the distance he travels for each, km.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, u32>,
    /// Whom a therapist serves; absent: everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<Vec<Gender>>,
}

/// Everyone of one tokens file, in its order.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// With a provider.
    pub therapists: Vec<RosterEntry>,
    /// Who book.
    pub customers: Vec<RosterEntry>,
    /// Usually one.
    pub admins: Vec<RosterEntry>,
}

/// A tokens file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRoster {
    /// It could not be read.
    #[error("tokens file {path}: {source}")]
    Unreadable {
        /// As given.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what `spacall seed fleet` writes. The line itself is not shown: it holds a token.
    #[error("tokens file, line {line}: {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl Roster {
    /// Reads a tokens file.
    pub fn read(path: &Path) -> Result<Self, InvalidRoster> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| InvalidRoster::Unreadable { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// One more, behind the others of the same role.
    pub fn add(&mut self, entry: RosterEntry) {
        match entry.role {
            Role::Therapist => self.therapists.push(entry),
            Role::Customer => self.customers.push(entry),
            Role::Admin => self.admins.push(entry),
        }
    }

    /// Reads the text of a tokens file. Blank lines are allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidRoster> {
        let mut roster = Self::default();
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fail = |problem: String| InvalidRoster::Line { line: i + 1, problem };
            let entry: RosterEntry = serde_json::from_str(line).map_err(|e| fail(e.to_string()))?;
            if entry.role == Role::Therapist && entry.provider_uuid.is_none() {
                return Err(fail("a therapist without provider_uuid".to_owned()));
            }
            roster.add(entry);
        }
        Ok(roster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "0190b1f5-0000-7000-8000-000000000001";

    #[test]
    fn the_fields_of_the_contract_are_enough() {
        let line = format!(
            r#"{{"role":"therapist","user_uuid":"{USER}","provider_uuid":"{USER}","token":"1|a","latitude":14.5,"longitude":121.0}}"#
        );
        let roster = Roster::parse(&format!("{line}\n\n")).expect("one therapist");
        assert_eq!((roster.therapists.len(), roster.customers.len(), roster.admins.len()), (1, 0, 0));
        assert_eq!(roster.therapists[0].service_radius_km, None);
    }

    #[test]
    fn a_bad_line_is_named_without_showing_its_token() {
        let problem =
            Roster::parse("{\"role\":\"pilot\",\"token\":\"7|secret\"}").expect_err("no such role").to_string();
        assert!(problem.starts_with("tokens file, line 1: unknown variant `pilot`"), "{problem}");
        assert!(!problem.contains("secret"));
    }
}
