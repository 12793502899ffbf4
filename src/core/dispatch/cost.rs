//! What makes one candidate better than another: a cost in milliseconds of travel, whole numbers throughout.
//!
//! Travel time first; the rest is worth so many seconds of travel, by weights that are settings. Hard constraints are
//! no costs: who may not take a booking is never a candidate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Being idle counts up to this: then a therapist is as deserving as can be.
const IDLE_CAP_MS: i64 = 4 * 3_600_000;
/// Waiting counts up to this.
const WAIT_CAP_MS: i64 = 24 * 3_600_000;
const FIVE_STARS: i64 = 500;
const ALWAYS: i64 = 1_000;
/// 23 days: no sum of what is allowed reaches it by much, and a billion of them fit an `i64`.
const CAP: i64 = 2_000_000_000;

/// What of a candidate counts, besides hard constraints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Merit {
    /// To the booking's place, milliseconds.
    pub travel_ms: u32,
    /// Since his last booking ended or his shift began, milliseconds.
    pub idle_ms: u32,
    /// Average rating in hundredths of a star, 0 to 500; `None`: not rated yet, and then no worse than the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<u16>,
    /// Offers accepted of those answered or let pass, per mille; `None`: too few to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<u16>,
    /// The customer knows him: he has served them before.
    pub preferred: bool,
}

/// What is worth how much travel. Whole numbers, so that sums are exact in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Weights {
    /// Of travel time, per mille: 1,000 counts it as it is.
    pub travel: u32,
    /// Of a booking's waiting so far, per mille of it: who waits long may have a therapist from farther away.
    pub waiting: u32,
    /// Milliseconds for an hour without a booking, up to four.
    pub idle: u32,
    /// Milliseconds for a star.
    pub rating: u32,
    /// Milliseconds between who never accepts and who always does.
    pub acceptance: u32,
    /// Milliseconds for being known to the customer.
    pub preferred: u32,
}

impl Default for Weights {
    /// Travel decides; what else counts decides between therapists some seconds apart.
    fn default() -> Self {
        Self { travel: 1_000, waiting: 200, idle: 1_000, rating: 1_000, acceptance: 2_000, preferred: 5_000 }
    }
}

impl Weights {
    /// Nearest first, nothing else.
    pub const TRAVEL_ONLY: Self = Self { travel: 1_000, waiting: 0, idle: 0, rating: 0, acceptance: 0, preferred: 0 };

    /// What it costs to send this candidate: 0 to 2e9, lower is better. O(1).
    pub fn cost(&self, merit: &Merit) -> i64 {
        let lacks = |has: Option<u16>, best: i64| (best - has.map_or(best, i64::from)).clamp(0, best);
        let worth = |amount: i64, weight: u32, per: i64| amount.saturating_mul(weight.into()) / per;
        let not_idle = IDLE_CAP_MS - i64::from(merit.idle_ms).min(IDLE_CAP_MS);
        let cost = worth(merit.travel_ms.into(), self.travel, 1_000)
            + worth(not_idle, self.idle, 3_600_000)
            + worth(lacks(merit.rating, FIVE_STARS), self.rating, 100)
            + worth(lacks(merit.acceptance, ALWAYS), self.acceptance, ALWAYS)
            + if merit.preferred { 0 } else { self.preferred.into() };
        cost.min(CAP)
    }

    /// What a booking's waiting so far takes off every pair it is in. It decides who goes without, when someone must.
    pub fn credit(&self, waited: Duration) -> i64 {
        let waited = i64::try_from(waited.as_millis()).unwrap_or(WAIT_CAP_MS).min(WAIT_CAP_MS);
        (waited.saturating_mul(self.waiting.into()) / 1_000).min(CAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Merit = Merit { travel_ms: 60_000, idle_ms: 0, rating: None, acceptance: None, preferred: false };

    #[test]
    fn each_weight_counts_as_it_says_and_in_its_direction() {
        let none = Weights { travel: 0, ..Weights::TRAVEL_ONLY };
        let saved = |weights: Weights, better: Merit| weights.cost(&MINUTE) - weights.cost(&better);
        assert_eq!(Weights::TRAVEL_ONLY.cost(&MINUTE), 60_000);
        assert_eq!(saved(Weights { idle: 9_000, ..none }, Merit { idle_ms: 3_600_000, ..MINUTE }), 9_000);
        assert_eq!(saved(Weights { preferred: 7, ..none }, Merit { preferred: true, ..MINUTE }), 7);
        let rated = |rating| Merit { rating: Some(rating), ..MINUTE };
        let stars = Weights { rating: 1_000, ..none };
        assert_eq!(stars.cost(&rated(400)) - stars.cost(&rated(450)), 500);
        assert_eq!(stars.cost(&MINUTE), 0, "a newcomer is no worse than the best");
        let takes = |acceptance| Merit { acceptance: Some(acceptance), ..MINUTE };
        let eager = Weights { acceptance: 1_000, ..none };
        assert_eq!(eager.cost(&takes(250)) - eager.cost(&takes(750)), 500);
        assert_eq!(Weights { waiting: 500, ..none }.credit(Duration::from_secs(60)), 30_000);
    }

    #[test]
    fn nothing_overflows() {
        let most = u32::MAX;
        let weights =
            Weights { travel: most, waiting: most, idle: most, rating: most, acceptance: most, preferred: most };
        let worst = Merit { travel_ms: most, rating: Some(0), acceptance: Some(0), ..MINUTE };
        assert_eq!(weights.cost(&worst), CAP);
        assert_eq!(weights.credit(Duration::MAX), CAP);
    }
}
