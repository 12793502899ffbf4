//! Logs and metrics: set up once per process.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogFormat;

/// Seconds. From a tenth of a millisecond (an answer from memory) to a minute (an offer that waits).
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 60.0];

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one (a configuration that was read has been checked).
    #[error("log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logs were set up before.
    #[error("logs: {0}")]
    Logs(#[from] TryInitError),
    /// Another metrics recorder was set up before.
    #[error("metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// Sends log lines that pass `filter` to standard error: standard output belongs to what a command prints.
///
/// # Errors
/// [`TelemetryError::Filter`], [`TelemetryError::Logs`].
pub fn init_logs(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => {
            lines.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(EnvFilter::try_new(filter)?).with(lines).try_init()?;
    Ok(())
}

/// The process's metrics, for `/metrics`.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts to collect what the `metrics` macros record; every later call answers with the same collection.
    ///
    /// # Errors
    /// [`TelemetryError::Metrics`] when another recorder is already set up.
    pub fn install() -> Result<Self, TelemetryError> {
        static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(handle) = INSTALLED.get() {
            return Ok(Self(handle.clone()));
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
            .install_recorder()?;
        Ok(Self(INSTALLED.get_or_init(|| handle).clone()))
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Takes in what histograms recorded since; call it every few seconds, or a server that nobody scrapes grows.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_rendered_and_a_second_install_shares_it() {
        let metrics = Metrics::install().unwrap();
        metrics::counter!("spacall_test_total").increment(2);
        metrics::histogram!("spacall_test_seconds").record(0.002);
        let again = Metrics::install().unwrap();
        again.upkeep();
        let text = again.render();
        assert!(text.contains("spacall_test_total 2"), "{text}");
        assert!(text.contains("spacall_test_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
        assert_eq!(text, metrics.render());
    }
}
