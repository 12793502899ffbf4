//! One line that lives while a run goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use spacall::clock;
use tokio::task::JoinHandle;

use crate::cast::Stage;

pub(crate) struct Progress {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Progress {
    /// On stderr, if that is a terminal and not `quiet`. `clock_from_s` shows the day's own time, from this second on.
    pub(crate) fn start(stage: Arc<Stage>, clock_from_s: Option<i64>, length: Duration, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(500));
            loop {
                every.tick().await;
                shown.set_message(line(&stage, clock_from_s, length));
                shown.tick();
            }
        });
        Self { bar, task }
    }

    /// Takes the line away.
    pub(crate) fn finish(self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

fn line(stage: &Stage, clock_from_s: Option<i64>, length: Duration) -> String {
    let tally = &stage.tally;
    let connected = tally.connected.load(Relaxed);
    let Some(begin) = stage.begin.get() else { return format!("connecting: {connected} sockets") };
    let elapsed = clock::monotonic().saturating_duration_since(*begin);
    let counts = stage.ledger.counts();
    let when = match clock_from_s {
        _ if elapsed > length => "waiting for the last bookings".to_owned(),
        Some(from) => time_of_day(from + (elapsed.as_secs_f64() * stage.rule.speed) as i64),
        None => format!("{} of {} s", elapsed.as_secs(), length.as_secs()),
    };
    format!(
        "{when} · {connected} sockets · pings {} sent, {} unacked, p99 {} ms · bookings {} asked, {} matched, {} expired, {} open",
        tally.sent.load(Relaxed),
        tally.unacked(),
        tally.ping_ack.percentiles().p99.map_or("-".to_owned(), |ms| format!("{ms:.0}")),
        counts.requested,
        counts.accepted,
        counts.expired,
        counts.without_end,
    )
}

fn time_of_day(second: i64) -> String {
    let of_day = second.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_has_its_own_clock() {
        assert_eq!(time_of_day(8 * 3_600 + 61), "08:01:01");
        assert_eq!(time_of_day(86_400), "00:00:00");
    }
}
