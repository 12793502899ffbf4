//! Counts and latencies while a run goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use spacall::clock;

/// Latencies of one kind, to three digits, up to an hour.
pub(crate) struct Latencies(Mutex<Histogram<u64>>);

/// Percentiles, ms; null when nothing was measured.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    pub(crate) max: Option<f64>,
}

const HOUR_US: u64 = 3_600_000_000;

impl Default for Latencies {
    fn default() -> Self {
        Self(Mutex::new(Histogram::new_with_max(HOUR_US, 3).expect("bounds and digits are allowed ones")))
    }
}

impl Latencies {
    /// Anything longer than an hour counts as an hour.
    pub(crate) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(HOUR_US);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// From when it was due until now.
    pub(crate) fn record_since(&self, due: Instant) {
        self.record(clock::monotonic().saturating_duration_since(due));
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if histogram.is_empty() {
            return Percentiles::default();
        }
        let ms = |micros: u64| Some((micros as f64 / 10.0).round() / 100.0);
        let at = |quantile: f64| ms(histogram.value_at_quantile(quantile));
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: ms(histogram.max()) }
    }
}

impl Percentiles {
    /// By the name that SLOs use.
    pub(crate) fn named(&self, name: &str) -> Option<Option<f64>> {
        Some(match name {
            "p50" => self.p50,
            "p90" => self.p90,
            "p99" => self.p99,
            "p999" => self.p999,
            "max" => self.max,
            _ => return None,
        })
    }
}

/// Of one run.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) sent: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) connected: AtomicI64,
    pub(crate) nearby_requests: AtomicU64,
    pub(crate) nearby_errors: AtomicU64,
    pub(crate) ping_ack: Latencies,
    /// From the phone until a search finds the fix.
    pub(crate) visible: Latencies,
    pub(crate) nearby: Latencies,
    pub(crate) accept: Latencies,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    /// Counts an error by its code.
    pub(crate) fn error(&self, code: &str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(errors.insert(code.to_owned(), 1)),
        }
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn unacked(&self) -> u64 {
        self.sent.load(Relaxed).saturating_sub(self.acked.load(Relaxed) + self.rejected.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds_and_null_without_measurements() {
        let latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), Percentiles::default());
        (1..=1_000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let found = latencies.percentiles();
        assert!(found.p50.is_some_and(|p| (499.0..502.0).contains(&p)), "{found:?}");
        assert!(found.max.is_some_and(|p| (999.0..1_002.0).contains(&p)), "{found:?}");
    }

    #[test]
    fn what_takes_longer_than_the_scale_is_kept_not_lost() {
        let latencies = Latencies::default();
        latencies.record(Duration::from_secs(100_000));
        assert!(latencies.percentiles().max.is_some_and(|ms| ms >= 3_600_000.0));
    }
}
