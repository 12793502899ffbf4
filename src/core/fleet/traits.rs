//! A therapist's constraints in a few bits, so that a search passes by most of those who may not take a request
//! without touching more than sixteen bytes of them.
//!
//! The bits are a sieve, not the judgement: whoever may take a request has every bit that the request needs
//! (see the test), but not the other way round. [`judge`](crate::core::matching::judge) decides.

use rust_decimal::Decimal;

use super::{Duty, Therapist};
use crate::core::matching::{Request, When};
use crate::core::people::Gender;

/// What a search reads of everybody it passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Traits {
    bits: u64,
    /// Average rating in hundredths.
    rating: u16,
}

const NOW: u64 = 1;
const AT: u64 = 1 << 1;
/// Four bits: of which gender.
const IS_GENDER: u32 = 2;
/// Five bits: serves whom; the last, who does not say.
const SERVES_GENDER: u32 = 6;
/// Eight bits each, by a hash of the word.
const LANGUAGE: u32 = 16;
const SPECIALIZATION: u32 = 24;
/// 32 bits by service id.
const SERVICE: u32 = 32;

impl Traits {
    /// What a therapist has.
    pub(super) fn of(t: &Therapist) -> Self {
        let mut bits = 0;
        if t.verified && t.active && t.accepts_home_service {
            bits |= AT;
            // An offer lapses without anybody saying so; it is left to the judgement.
            if t.available && !matches!(t.duty, Duty::Booked { .. }) {
                bits |= NOW;
            }
        }
        bits |= t.gender.map_or(0, is);
        for customer in Gender::ALL.into_iter().map(Some).chain([None]) {
            let served = t.accepts_genders.as_ref().is_none_or(|served| customer.is_some_and(|c| served.contains(&c)));
            bits |= if served { serves(customer) } else { 0 };
        }
        bits |= t.languages.iter().map(|word| word_bit(word) << LANGUAGE).fold(0, |all, bit| all | bit);
        bits |= t.specializations.iter().map(|word| word_bit(word) << SPECIALIZATION).fold(0, |all, bit| all | bit);
        for offering in t.services.iter().filter(|offering| offering.home) {
            bits |= service_bit(offering.service.0);
        }
        Self { bits, rating: hundredths(t.average_rating) }
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
            | service_bit(request.service.0);
        Self { bits, rating: filters.min_rating.map_or(0, hundredths) }
    }

    /// Whether somebody with these may have what is needed.
    pub(super) const fn may_satisfy(self, needed: Self) -> bool {
        self.bits & needed.bits == needed.bits && self.rating >= needed.rating
    }
}

const fn is(gender: Gender) -> u64 {
    1 << (IS_GENDER + gender as u32)
}

fn serves(gender: Option<Gender>) -> u64 {
    1 << (SERVES_GENDER + gender.map_or(4, |gender| gender as u32))
}

const fn service_bit(service: i64) -> u64 {
    1 << (SERVICE + service.rem_euclid(32) as u32)
}

/// One of eight bits, the same for words that differ only in case.
fn word_bit(word: &str) -> u64 {
    let sum = word.to_lowercase().chars().fold(0u32, |sum, c| sum.wrapping_mul(31).wrapping_add(c as u32));
    1 << (sum.wrapping_mul(0x9e37_79b1) >> 29)
}

/// Rounded up: monotonic, so that a rating that is high enough stays so.
fn hundredths(rating: Decimal) -> u16 {
    let ceiling = (rating.clamp(Decimal::ZERO, Decimal::from(600)) * Decimal::ONE_HUNDRED).ceil();
    u16::try_from(ceiling).unwrap_or(u16::MAX)
}
