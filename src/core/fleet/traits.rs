//! A therapist's constraints in 64 bits, so that a search passes by most of those who may not take a request without
//! touching more of them.
//!
//! The bits are a sieve, not the judgement: whoever may take a request has every bit that the request needs
//! (see the test), but not the other way round. [`judge`](crate::core::matching::judge) decides.

use rust_decimal::Decimal;

use super::{Duty, Therapist};
use crate::core::ids::ServiceId;
use crate::core::matching::{Request, When};
use crate::core::people::Gender;

/// What a search reads of everybody it passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Traits(u64);

const NOW: u64 = 1;
const AT: u64 = 1 << 1;
/// Four bits: of which gender.
const IS_GENDER: u32 = 2;
/// Five bits: serves whom; the last, who does not say.
const SERVES_GENDER: u32 = 6;
/// Five bits: rated at least so, [`RATINGS`].
const RATED: u32 = 11;
/// In hundredths, by bit.
const RATINGS: [u16; 5] = [300, 400, 425, 450, 475];
/// Eight bits each, by a hash of the word.
const LANGUAGE: u32 = 16;
const SPECIALIZATION: u32 = 24;
/// 32 bits by service id.
const SERVICE: u32 = 32;

impl Traits {
    /// What a therapist has.
    pub(super) fn of(t: &Therapist) -> Self {
        let mut bits = 0;
        let profile = &*t.profile;
        if profile.verified && profile.active && profile.accepts_home_service {
            bits |= AT;
            // An offer lapses without anybody saying so; it is left to the judgement.
            if t.available && !matches!(t.ties.duty(), Duty::Booked { .. }) {
                bits |= NOW;
            }
        }
        bits |= t.gender.map_or(0, is);
        for customer in Gender::ALL.into_iter().map(Some).chain([None]) {
            bits |= if profile.accepts_genders.includes(customer) { serves(customer) } else { 0 };
        }
        bits |= profile.languages.iter().map(|word| word_bit(word) << LANGUAGE).fold(0, |all, bit| all | bit);
        bits |=
            profile.specializations.iter().map(|word| word_bit(word) << SPECIALIZATION).fold(0, |all, bit| all | bit);
        for offering in t.services.iter().filter(|offering| offering.home) {
            bits |= service_bit(offering.service);
        }
        let rating = t.average_rating.hundredths();
        Self(bits | rated(|least| least <= rating))
    }

    /// Whatever may be asked for: of whom nothing is known.
    pub(super) const fn any() -> Self {
        Self(u64::MAX)
    }

    /// What a request needs.
    pub(super) fn needed(request: &Request) -> Self {
        let filters = &request.filters;
        let word = |word: &Option<String>, at: u32| word.as_ref().map_or(0, |word| word_bit(word) << at);
        let bits = match request.when {
            When::Now => NOW,
            When::At { .. } => AT,
        } | filters.gender.map_or(0, is)
            | serves(request.customer_gender)
            | word(&filters.language, LANGUAGE)
            | word(&filters.specialization, SPECIALIZATION)
            | service_bit(request.service);
        // Whoever is rated as wanted is rated at least as any step up to that.
        let rating = filters.min_rating.map_or(0, hundredths);
        Self(bits | rated(|least| least <= rating))
    }

    /// Whether somebody with these may have what is needed.
    pub(super) const fn may_satisfy(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

const fn is(gender: Gender) -> u64 {
    1 << (IS_GENDER + gender as u32)
}

fn serves(gender: Option<Gender>) -> u64 {
    1 << (SERVES_GENDER + gender.map_or(4, |gender| gender as u32))
}

/// Services beyond the first few share their bit with others.
const SERVICES: i64 = 32;

const fn service_bit(ServiceId(service): ServiceId) -> u64 {
    1 << (SERVICE + service.rem_euclid(SERVICES) as u32)
}

/// Whether the bit of a service is that of no other, if all that a therapist offers have bits of their own.
pub(super) fn has_own_bit(ServiceId(service): ServiceId) -> bool {
    (0..SERVICES).contains(&service)
}

/// One of eight bits, the same for words that differ only in case.
fn word_bit(word: &str) -> u64 {
    let hash = |chars: &mut dyn Iterator<Item = char>| {
        chars.fold(0u32, |sum, c| sum.wrapping_mul(31).wrapping_add(c as u32)).wrapping_mul(0x9e37_79b1) >> 29
    };
    // Most words are, and need no copy.
    if word.is_ascii() {
        return 1 << hash(&mut word.chars().map(|c| c.to_ascii_lowercase()));
    }
    1 << hash(&mut word.to_lowercase().chars())
}

fn rated(holds: impl Fn(u16) -> bool) -> u64 {
    RATINGS.into_iter().enumerate().filter(|(_, least)| holds(*least)).map(|(bit, _)| 1 << (RATED + bit as u32)).sum()
}

/// Rounded up: monotonic, so that a rating that is high enough stays so.
fn hundredths(rating: Decimal) -> u16 {
    let ceiling = (rating.clamp(Decimal::ZERO, Decimal::from(600)) * Decimal::ONE_HUNDRED).ceil();
    u16::try_from(ceiling).unwrap_or(u16::MAX)
}
