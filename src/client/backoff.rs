//! How long an app waits before it tries again.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Doubling waits, each drawn from its upper half, so that apps that lost the same server do not come back at once.
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    rng: StdRng,
}

impl Backoff {
    /// Waits of about `first`, twice that, … up to `longest`. The seed makes them repeatable.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, next: first, rng: StdRng::seed_from_u64(seed) }
    }

    /// The apps' own: 200 ms to 10 s.
    pub fn of_an_app(seed: u64) -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(10), seed)
    }

    /// How long to wait now.
    pub fn wait(&mut self) -> Duration {
        let ceiling = self.next;
        self.next = (ceiling * 2).min(self.longest);
        ceiling.mul_f64(self.rng.random_range(0.5..=1.0))
    }

    /// It worked: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_start_over_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400), 1);
        for ceiling in [100, 200, 400, 400] {
            let wait = backoff.wait();
            assert!(wait <= Duration::from_millis(ceiling) && wait >= Duration::from_millis(ceiling / 2), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }

    #[test]
    fn two_apps_do_not_wait_alike() {
        let waits = |seed| Backoff::of_an_app(seed).wait();
        assert_ne!(waits(1), waits(2));
    }
}
