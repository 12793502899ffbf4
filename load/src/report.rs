//! The end of a run: JSON for programs, a table for people, and the verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::ledger::Counts;
use crate::tally::Percentiles;

/// What a run gives, as the contract names it, and a little more.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    pub(crate) speed: f64,
    /// How long fixes and requests were sent, seconds.
    pub(crate) duration_s: f64,
    pub(crate) sockets: usize,
    pub(crate) reconnects: u64,
    pub(crate) pings: Pings,
    pub(crate) nearby: Nearby,
    pub(crate) bookings: Bookings,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Rows of the recording that could not be used.
    pub(crate) bad_rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) greedy: Option<Greedy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Server>,
    pub(crate) slo: Vec<Slo>,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Pings {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) rejected: u64,
    /// Rows found in the database; null when it was not asked.
    pub(crate) stored: Option<u64>,
    /// With the database asked: acked fixes without a row, and fixes never answered for; else the latter alone.
    pub(crate) lost: u64,
    pub(crate) rate_per_s: f64,
    pub(crate) ack_ms: Percentiles,
    /// From the phone until a search finds the fix; nulls when it was not measured.
    pub(crate) visible_ms: Percentiles,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Nearby {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) rate_per_s: f64,
    pub(crate) latency_ms: Percentiles,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Bookings {
    pub(crate) requested: u64,
    /// Not taken by the service.
    pub(crate) refused: u64,
    pub(crate) offered: u64,
    pub(crate) accepted: u64,
    pub(crate) completed: u64,
    pub(crate) expired: u64,
    pub(crate) cancelled: u64,
    /// Still open when the run gave up waiting.
    pub(crate) without_end: u64,
    /// Accepted of requested, percent; null when nothing was requested.
    pub(crate) matched_share: Option<f64>,
    pub(crate) request_to_offer_ms: Percentiles,
    pub(crate) request_to_accept_ms: Percentiles,
    /// From the app's accept to the server's confirmation.
    pub(crate) accept_ms: Percentiles,
}

impl Bookings {
    pub(crate) fn of(counts: Counts, offer: Percentiles, accepted: Percentiles, accept: Percentiles) -> Self {
        Self {
            requested: counts.requested,
            refused: counts.refused,
            offered: counts.offered,
            accepted: counts.accepted,
            completed: counts.completed,
            expired: counts.expired,
            cancelled: counts.cancelled,
            without_end: counts.without_end,
            matched_share: share(counts.accepted, counts.requested),
            request_to_offer_ms: offer,
            request_to_accept_ms: accepted,
            accept_ms: accept,
        }
    }
}

/// Percent, to two decimals.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 10_000.0).round() / 100.0)
}

/// The brute-force greedy matcher over the same day and rules.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Greedy {
    pub(crate) requested: u64,
    pub(crate) matched: u64,
    pub(crate) matched_share: Option<f64>,
    /// How long its matched requests waited: what the scarcity of therapists alone costs.
    pub(crate) request_to_accept_ms: Percentiles,
    /// The service's share less this one, points.
    pub(crate) difference: Option<f64>,
}

/// What the service's process used.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Server {
    /// Of one processor, while fixes were sent.
    pub(crate) processor_percent: f64,
    /// Resident memory more than before anyone connected.
    pub(crate) kib_per_socket: f64,
}

/// A limit and what was found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Slo {
    pub(crate) name: String,
    pub(crate) limit: f64,
    /// Null: nothing was measured, which does not meet the limit.
    pub(crate) value: Option<f64>,
    pub(crate) met: bool,
}

impl Slo {
    pub(crate) fn at_most(name: &str, limit: f64, value: Option<f64>) -> Self {
        Self { name: name.to_owned(), limit, value, met: value.is_some_and(|v| v <= limit) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// Stopped by Ctrl-C.
    Interrupted,
}

/// A limit on a latency asked for on the command line: `ping_ack_p99=250`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct WantedSlo {
    latency: String,
    percentile: String,
    limit_ms: f64,
}

const LATENCIES: [&str; 6] = ["ping_ack", "ping_visible", "nearby", "request_to_offer", "request_to_accept", "accept"];

impl std::str::FromStr for WantedSlo {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not like `ping_ack_p99=250`: one of {} with _p50, _p90, _p99, _p999 or _max, and ms",
                LATENCIES.join(", ")
            )
        };
        let (name, limit) = text.split_once('=').ok_or_else(wrong)?;
        let (latency, percentile) = name.rsplit_once('_').ok_or_else(wrong)?;
        let limit_ms: f64 = limit.parse().map_err(|_| wrong())?;
        if !LATENCIES.contains(&latency) || Percentiles::default().named(percentile).is_none() || limit_ms.is_nan() {
            return Err(wrong());
        }
        Ok(Self { latency: latency.to_owned(), percentile: percentile.to_owned(), limit_ms })
    }
}

impl Report {
    /// Checks the limits: those asked for, and those that every run must keep.
    pub(crate) fn judge(&mut self, wanted: &[WantedSlo], gap_points: Option<f64>, interrupted: bool) {
        let count = |name: &str, value: u64| Slo::at_most(name, 0.0, Some(value as f64));
        self.slo = vec![
            count("pings_lost", self.pings.lost),
            count("bookings_without_end", self.bookings.without_end),
            count("bookings_refused", self.bookings.refused),
        ];
        for slo in wanted {
            let percentiles = match slo.latency.as_str() {
                "ping_ack" => self.pings.ack_ms,
                "ping_visible" => self.pings.visible_ms,
                "nearby" => self.nearby.latency_ms,
                "request_to_offer" => self.bookings.request_to_offer_ms,
                "request_to_accept" => self.bookings.request_to_accept_ms,
                _ => self.bookings.accept_ms,
            };
            let value = percentiles.named(&slo.percentile).flatten();
            self.slo.push(Slo::at_most(&format!("{}_{}_ms", slo.latency, slo.percentile), slo.limit_ms, value));
        }
        let difference = self.greedy.as_ref().and_then(|greedy| greedy.difference);
        if let (Some(limit), Some(difference)) = (gap_points, difference) {
            self.slo.push(Slo::at_most("matched_share_gap_points", limit, Some(difference.abs())));
        }
        self.verdict = match (interrupted, self.slo.iter().all(|slo| slo.met)) {
            (true, _) => Verdict::Interrupted,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Fail,
        };
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<20}{text}");
        };
        let (pings, bookings) = (&self.pings, &self.bookings);
        let times = if self.speed > 1.0 { format!(", {} times faster", self.speed) } else { String::new() };
        line("scenario", format!("{}, seed {}, {:.0} s{times}", self.scenario, self.seed, self.duration_s));
        line("sockets", format!("{}, {} reconnects", self.sockets, self.reconnects));
        let stored = pings.stored.map_or("not checked".to_owned(), |n| n.to_string());
        line(
            "pings",
            format!(
                "{} sent, {} acked, {} rejected, {stored} stored, {} lost; {:.1}/s",
                pings.sent, pings.acked, pings.rejected, pings.lost, pings.rate_per_s
            ),
        );
        if bookings.requested > 0 {
            line(
                "bookings",
                format!(
                    "{} asked, {} offered, {} matched ({}), {} completed, {} expired, {} cancelled, {} refused, {} without an end",
                    bookings.requested,
                    bookings.offered,
                    bookings.accepted,
                    percent(bookings.matched_share),
                    bookings.completed,
                    bookings.expired,
                    bookings.cancelled,
                    bookings.refused,
                    bookings.without_end
                ),
            );
        }
        if let Some(greedy) = &self.greedy {
            let gap = greedy.difference.map_or("-".to_owned(), |d| format!("{d:+.2} points"));
            line(
                "greedy matcher",
                format!("{} matched ({}); the service is at {gap}", greedy.matched, percent(greedy.matched_share)),
            );
        }
        if self.nearby.requests > 0 {
            line(
                "nearby",
                format!(
                    "{} asked, {} errors; {:.1}/s",
                    self.nearby.requests, self.nearby.errors, self.nearby.rate_per_s
                ),
            );
        }
        line("latency, ms", format!("{:>9}{:>9}{:>9}{:>9}{:>9}", "p50", "p90", "p99", "p99.9", "max"));
        for (name, p) in [
            ("  ping to ack", pings.ack_ms),
            ("  ping to visible", pings.visible_ms),
            ("  nearby", self.nearby.latency_ms),
            ("  ask to offer", bookings.request_to_offer_ms),
            ("  ask to accept", bookings.request_to_accept_ms),
            ("  accept", bookings.accept_ms),
            ("  greedy: to accept", self.greedy.map(|g| g.request_to_accept_ms).unwrap_or_default()),
        ] {
            if p.max.is_some() {
                let columns = [p.p50, p.p90, p.p99, p.p999, p.max].map(|v| format!("{:>9.1}", v.unwrap_or(0.0)));
                line(name, columns.concat());
            }
        }
        if let Some(server) = &self.server {
            let Server { processor_percent, kib_per_socket } = server;
            line("service", format!("{processor_percent:.1} % of one processor, {kib_per_socket:.1} KiB a socket"));
        }
        for (code, count) in &self.errors {
            line("error", format!("{code}: {count}"));
        }
        if self.bad_rows > 0 {
            line("bad rows", format!("{} left out", self.bad_rows));
        }
        for slo in self.slo.iter().filter(|slo| !slo.met) {
            let value = slo.value.map_or("nothing measured".to_owned(), |v| v.to_string());
            line("MISSED", format!("{}: {value}, allowed {}", slo.name, slo.limit));
        }
        line("verdict", format!("{:?}", self.verdict).to_lowercase());
        out
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{share:.2} %"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let counts = Counts { requested: 10, offered: 10, accepted: 9, completed: 9, expired: 1, ..Counts::default() };
        let none = Percentiles::default();
        let ack_ms = Percentiles { p99: Some(20.0), max: Some(25.0), ..none };
        Report {
            scenario: "replay".into(),
            seed: 1,
            speed: 60.0,
            duration_s: 10.0,
            sockets: 2,
            reconnects: 0,
            pings: Pings {
                sent: 5,
                acked: 5,
                rejected: 0,
                stored: Some(5),
                lost: 0,
                rate_per_s: 0.5,
                ack_ms,
                visible_ms: none,
            },
            nearby: Nearby { requests: 0, errors: 0, rate_per_s: 0.0, latency_ms: none },
            bookings: Bookings::of(counts, none, none, none),
            errors: BTreeMap::new(),
            bad_rows: 0,
            server: None,
            greedy: Some(Greedy {
                requested: 10,
                matched: 10,
                matched_share: Some(100.0),
                request_to_accept_ms: none,
                difference: Some(-10.0),
            }),
            slo: Vec::new(),
            verdict: Verdict::Fail,
        }
    }

    #[test]
    fn a_run_fails_when_anything_is_lost_or_a_limit_is_missed() {
        let mut report = report();
        report.judge(&["ping_ack_p99=20".parse().expect("an SLO")], None, false);
        assert_eq!(report.verdict, Verdict::Pass);
        report.judge(&["ping_ack_p99=19.9".parse().expect("an SLO")], None, false);
        assert_eq!(report.verdict, Verdict::Fail);
        report.judge(&[], Some(5.0), false);
        assert_eq!(report.slo.last().map(|s| (s.name.as_str(), s.met)), Some(("matched_share_gap_points", false)));
        report.pings.lost = 1;
        report.judge(&[], None, false);
        assert_eq!(report.verdict, Verdict::Fail);
    }

    #[test]
    fn a_limit_on_what_was_never_measured_is_missed() {
        let mut report = report();
        report.judge(&["nearby_p50=1000".parse().expect("an SLO")], None, false);
        assert_eq!(report.verdict, Verdict::Fail);
        assert!(report.table().contains("MISSED              nearby_p50_ms: nothing measured"), "{}", report.table());
    }

    #[test]
    fn a_wrong_limit_says_what_is_allowed() {
        for wrong in ["ping_ack=5", "pong_p99=5", "ping_ack_p98=5", "ping_ack_p99=fast", "ping_ack_p99=NaN"] {
            assert!(wrong.parse::<WantedSlo>().is_err_and(|e| e.contains("request_to_offer")), "{wrong}");
        }
    }

    #[test]
    fn the_json_has_the_fields_of_the_contract() {
        let json = serde_json::to_value(report()).expect("JSON");
        for path in [
            "/scenario",
            "/seed",
            "/duration_s",
            "/sockets",
            "/pings/sent",
            "/pings/acked",
            "/pings/rejected",
            "/pings/lost",
            "/pings/rate_per_s",
            "/pings/ack_ms/p50",
            "/pings/ack_ms/p90",
            "/pings/ack_ms/p99",
            "/pings/ack_ms/p999",
            "/pings/ack_ms/max",
            "/pings/visible_ms/p50",
            "/pings/visible_ms/max",
            "/nearby/requests",
            "/nearby/errors",
            "/nearby/rate_per_s",
            "/nearby/latency_ms/p50",
            "/bookings/requested",
            "/bookings/offered",
            "/bookings/accepted",
            "/bookings/completed",
            "/bookings/expired",
            "/bookings/cancelled",
            "/bookings/request_to_offer_ms/p50",
            "/bookings/request_to_accept_ms/p50",
            "/errors",
            "/slo",
            "/verdict",
        ] {
            assert!(json.pointer(path).is_some(), "{path} is missing");
        }
    }
}
