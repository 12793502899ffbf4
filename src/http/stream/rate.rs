//! How much one client may ask for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::core::ids::ProviderId;
use crate::core::settings::PingLimits;

/// Live fixes a therapist, over all his connections and requests: a bucket of `burst` that refills with `per_second`.
#[derive(Default)]
pub struct FixRates {
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_therapist: HashMap<ProviderId, Bucket>,
    sweep_at: usize,
}

#[derive(Clone, Copy)]
struct Bucket {
    spent: f64,
    at: Instant,
}

/// Below this many buckets none is forgotten.
const SWEEP_FLOOR: usize = 1_024;

impl Bucket {
    fn refilled(self, now: Instant, limits: &PingLimits) -> Self {
        let back = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(limits.per_second);
        Self { spent: (self.spent - back).max(0.0), at: now }
    }
}

impl FixRates {
    /// Takes `fixes` out of the therapist's bucket; false, and nothing taken, if it does not hold as many.
    pub fn take(&self, therapist: ProviderId, fixes: usize, now: Instant, limits: &PingLimits) -> bool {
        if fixes == 0 {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.sweep(now, limits);
        let bucket = buckets.by_therapist.entry(therapist).or_insert(Bucket { spent: 0.0, at: now });
        *bucket = bucket.refilled(now, limits);
        if bucket.spent + fixes as f64 > f64::from(limits.burst) {
            return false;
        }
        bucket.spent += fixes as f64;
        true
    }

    /// How long until the bucket holds as many, if nothing is taken out of it meanwhile. `None`: it never does.
    pub fn room_in(&self, therapist: ProviderId, fixes: usize, now: Instant, limits: &PingLimits) -> Option<Duration> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = buckets.by_therapist.get(&therapist).map_or(0.0, |bucket| bucket.refilled(now, limits).spent);
        let (fixes, burst) = (fixes as f64, f64::from(limits.burst));
        let missing = (spent + fixes - burst).max(0.0);
        (fixes <= burst).then(|| Duration::from_secs_f64(missing / f64::from(limits.per_second)))
    }
}

impl Buckets {
    /// Full buckets are as good as none. Amortized: it runs when the map has doubled since.
    fn sweep(&mut self, now: Instant, limits: &PingLimits) {
        if self.by_therapist.len() < self.sweep_at.max(SWEEP_FLOOR) {
            return;
        }
        self.by_therapist.retain(|_, bucket| bucket.refilled(now, limits).spent > 0.0);
        self.sweep_at = self.by_therapist.len() * 2;
    }
}

/// Messages of one socket that were not understood.
#[derive(Default)]
pub(super) struct BadMessages(VecDeque<Instant>);

impl BadMessages {
    const MOST: usize = 10;
    const WITHIN: Duration = Duration::from_secs(60);

    /// One more. True: it is the tenth within a minute.
    pub(super) fn one_more(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|&at| now.saturating_duration_since(at) >= Self::WITHIN) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() >= Self::MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::core::settings::Settings;

    #[test]
    fn a_burst_is_taken_then_ten_a_second() {
        let limits = Settings::default().pings;
        let (rates, start) = (FixRates::default(), clock::monotonic());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let (one, other) = (ProviderId(1), ProviderId(2));
        assert!(rates.take(one, 600, at(0), &limits));
        assert!(!rates.take(one, 1, at(0), &limits));
        assert!(rates.take(other, 1, at(0), &limits), "another therapist has a bucket of his own");
        assert!(rates.take(one, 10, at(1_000), &limits));
        assert!(!rates.take(one, 1, at(1_050), &limits));
        assert!(!rates.take(other, 601, at(60_000), &limits), "more than a burst never fits");
        assert!(rates.take(one, 600, at(62_000), &limits));
    }

    #[test]
    fn therapists_who_left_are_forgotten() {
        let limits = Settings::default().pings;
        let (rates, start) = (FixRates::default(), clock::monotonic());
        for i in 0..100_000 {
            assert!(rates.take(ProviderId(i), 1, start + Duration::from_millis(i as u64), &limits));
        }
        assert!(rates.buckets.lock().expect("not poisoned").by_therapist.len() <= 2 * SWEEP_FLOOR);
    }

    #[test]
    fn the_tenth_bad_message_in_a_minute_is_one_too_many() {
        let (mut bad, start) = (BadMessages::default(), clock::monotonic());
        for i in 0..9 {
            assert!(!bad.one_more(start + Duration::from_secs(i)));
        }
        assert!(!bad.one_more(start + Duration::from_secs(60)), "the first is a minute ago");
        assert!(bad.one_more(start + Duration::from_millis(60_500)));
    }
}
