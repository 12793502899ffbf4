//! What the schema says of people, as far as matching asks.

use serde::{Deserialize, Serialize};

/// The schema's enum `gender`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gender {
    /// `male`
    Male,
    /// `female`
    Female,
    /// `other`
    Other,
    /// `prefer_not_to_say`
    PreferNotToSay,
}

impl Gender {
    /// Every value, in the schema's order.
    pub const ALL: [Self; 4] = [Self::Male, Self::Female, Self::Other, Self::PreferNotToSay];

    /// The schema's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Male => "male",
            Self::Female => "female",
            Self::Other => "other",
            Self::PreferNotToSay => "prefer_not_to_say",
        }
    }

    /// From the schema's word; `None` for any other.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|g| g.as_str() == word)
    }
}
