//! `spacall simulate`: the core's own dispatch machine and live index on a virtual clock, without a database.
//!
//! [`demand`] says who wants what when, [`town`] holds the fleet and what therapists do, [`run`] lets a day pass under one
//! policy, [`measure`] makes numbers of it, [`optimum`] compares with who knows the future, [`report`] prints, [`replay`] feeds a log of the
//! real service through the same machine.
//! The same seed gives the same day, and the same therapist answers the same booking alike under every policy.

pub mod demand;
pub mod measure;
pub mod optimum;
pub mod replay;
pub mod report;
pub mod run;
mod town;

use crate::core::time::Timestamp;

/// What stands in for a coin: a number from a seed and what it is about, the same whatever happened before.
/// SplitMix64's finisher (G. Steele, D. Lea, C. Flood, 2014).
pub(crate) fn chance(seed: u64, about: [u64; 3]) -> f64 {
    let mut z = seed;
    for part in about {
        z = z.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

/// Seconds between two times; negative never.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_secs_f64()
}
