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

/// The customers that a therapist serves, by gender: `therapist_profiles.accepts_genders` in a byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GendersServed(u8);

/// Bit of a customer: one for each gender in the order of [`Gender::ALL`], and one for who does not say.
const fn customer_bit(gender: Option<Gender>) -> u8 {
    match gender {
        Some(gender) => 1 << gender as u8,
        None => 1 << Gender::ALL.len(),
    }
}

impl Default for GendersServed {
    /// As the column's: everybody.
    fn default() -> Self {
        Self::ALL
    }
}

impl GendersServed {
    /// Everybody, whether they say or not: the column's NULL.
    pub const ALL: Self = Self((customer_bit(None) << 1) - 1);

    /// Customers who are known to be of one of these genders, and no others.
    pub fn only(genders: impl IntoIterator<Item = Gender>) -> Self {
        Self(genders.into_iter().fold(0, |bits, gender| bits | customer_bit(Some(gender))))
    }

    /// Whether a customer is served; `None`: their gender is not known.
    pub const fn includes(self, customer: Option<Gender>) -> bool {
        self.0 & customer_bit(customer) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_therapist_serves_whom_he_names_and_an_unknown_gender_only_if_he_serves_all() {
        for served in 0u8..16 {
            let genders = || Gender::ALL.into_iter().filter(move |gender| served >> *gender as u8 & 1 == 1);
            // In any order, however often.
            let set = GendersServed::only(genders().chain(genders()).collect::<Vec<_>>().into_iter().rev());
            assert_eq!(set, GendersServed::only(genders()));
            assert_ne!(set, GendersServed::ALL, "to name all four is not to serve who does not say");
            assert!(!set.includes(None));
            for gender in Gender::ALL {
                assert_eq!(set.includes(Some(gender)), genders().any(|g| g == gender), "{served:04b} {gender:?}");
            }
        }
        assert!(Gender::ALL.into_iter().map(Some).chain([None]).all(|customer| GendersServed::ALL.includes(customer)));
    }
}
