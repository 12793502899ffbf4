//! How many requests a token may make: a token bucket each, refilled at the limit, twice as deep.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::problem::Problem;

const LIMIT: &str = "x-ratelimit-limit";

const SHARDS: usize = 16;

/// A shard with more buckets than this forgets those that are full again: they say nothing.
const SHARD_ROOM: usize = 4_096;

/// The buckets of all tokens.
pub struct RateLimiter {
    per_second: u32,
    shards: [Mutex<HashMap<i64, Bucket>>; SHARDS],
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Whether a request may go on, and what its answer's headers say.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Allowance {
    /// Depth of the bucket: requests at once.
    pub limit: u32,
    /// Requests left in it.
    pub remaining: u32,
    /// When refused: how long until one more is allowed.
    pub wait: Option<Duration>,
}

impl RateLimiter {
    /// `per_second` requests a second for each token, twice that at once; 0: no limit.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Takes one request of a token; `None` when there is no limit. O(1), one short lock.
    pub fn take(&self, token: i64, now: Instant) -> Option<Allowance> {
        if self.per_second == 0 {
            return None;
        }
        let rate = f64::from(self.per_second);
        let limit = self.per_second.saturating_mul(2);
        let depth = f64::from(limit);
        let refilled = |b: &Bucket| (b.left + now.saturating_duration_since(b.at).as_secs_f64() * rate).min(depth);

        let shard = &self.shards[token.rem_euclid(SHARDS as i64) as usize];
        let mut buckets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > SHARD_ROOM && !buckets.contains_key(&token) {
            buckets.retain(|_, bucket| refilled(bucket) < depth);
        }
        let bucket = buckets.entry(token).or_insert(Bucket { left: depth, at: now });
        let left = refilled(bucket);
        // Who came before others and waited longer for his token to be checked does not set the clock back.
        let now = now.max(bucket.at);
        if left >= 1.0 {
            *bucket = Bucket { left: left - 1.0, at: now };
            return Some(Allowance { limit, remaining: (left - 1.0) as u32, wait: None });
        }
        *bucket = Bucket { left, at: now };
        Some(Allowance { limit, remaining: 0, wait: Some(Duration::from_secs_f64((1.0 - left) / rate)) })
    }
}

impl Allowance {
    /// Adds `x-ratelimit-limit` and `-remaining`, named as Laravel names them.
    pub fn write(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(self.remaining));
    }

    /// Whether these headers tell of one.
    pub fn is_in(headers: &HeaderMap) -> bool {
        headers.contains_key(LIMIT)
    }

    /// 429, when the request may not go on.
    pub fn refusal(self) -> Option<Problem> {
        self.refused("Too many requests with this token.")
    }

    /// The same, in words of one's own; its answer has the headers, too.
    pub fn refused(self, message: &str) -> Option<Problem> {
        let wait = self.wait?;
        // Whole seconds, as `Retry-After` knows no others: rounded up, so that who waits gets through.
        let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        Some(problem.retry_after(seconds).limited(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_twice_the_rate_then_the_rate() {
        let limiter = RateLimiter::new(10);
        let start = crate::clock::monotonic();
        let allowed = |at: Instant| limiter.take(1, at).is_some_and(|a| a.wait.is_none());
        assert_eq!((0..30).filter(|_| allowed(start)).count(), 20);
        assert_eq!((0..30).filter(|_| allowed(start + Duration::from_secs(1))).count(), 10);
        assert_eq!((0..30).filter(|_| allowed(start + Duration::from_secs(100))).count(), 20);
        // Somebody's token took long to be checked.
        for seconds in [90, 100] {
            assert!(!allowed(start + Duration::from_secs(seconds)), "no second is counted twice");
        }
    }

    #[test]
    fn one_token_does_not_eat_anothers_and_the_wait_is_told() {
        let limiter = RateLimiter::new(1);
        let now = crate::clock::monotonic();
        let left: Vec<_> = (0..3).filter_map(|_| limiter.take(1, now)).map(|a| (a.remaining, a.wait)).collect();
        assert_eq!(left, [(1, None), (0, None), (0, Some(Duration::from_secs(1)))]);
        assert_eq!(limiter.take(2, now).map(|a| a.wait), Some(None));
    }

    #[test]
    fn nought_is_no_limit() {
        let limiter = RateLimiter::new(0);
        assert_eq!(limiter.take(1, crate::clock::monotonic()), None);
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let limiter = RateLimiter::new(1);
        let start = crate::clock::monotonic();
        let shards = SHARDS as i64;
        for token in 0..=(SHARD_ROOM as i64) {
            limiter.take(token * shards, start);
        }
        limiter.take(-shards, start + Duration::from_secs(10));
        let kept = limiter.shards[0].lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(kept, 1);
    }
}
