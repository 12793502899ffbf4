//! What a simulation found: as text, as JSON, and as one HTML page with its pictures in it.

use std::fmt::Write as _;

use serde::Serialize;

use super::measure::Measures;
use super::optimum::Gap;
use super::run::Behaviour;

/// A whole simulation.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub demand: String,
    /// The same seed, the same numbers.
    pub seed: u64,
    /// On shift all day.
    pub therapists: usize,
    /// How they behave.
    pub behaviour: Behaviour,
    /// Seconds until a booking that nobody takes ends.
    pub patience_s: f64,
    /// By policy, in the order asked.
    pub policies: Vec<PolicyReport>,
    /// Against who knows the future; empty unless asked.
    pub gaps: Vec<Gap>,
}

/// One policy's day.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    /// Its name.
    pub policy: String,
    /// What it did.
    #[serde(flatten)]
    pub measures: Measures,
    /// Real time that the simulated day took, seconds. The only number here that another run need not repeat.
    pub took_s: f64,
}

/// A column: heading, unit, value.
type Column = (&'static str, fn(&Measures) -> String);

const COLUMNS: [Column; 11] = [
    ("matched %", |m| format!("{:.1}", m.matched * 100.0)),
    ("accept mean s", |m| format!("{:.1}", m.to_accept_s.mean)),
    ("p50", |m| format!("{:.1}", m.to_accept_s.p50)),
    ("p90", |m| format!("{:.1}", m.to_accept_s.p90)),
    ("arrival mean s", |m| format!("{:.0}", m.to_arrival_s.mean)),
    ("p50", |m| format!("{:.0}", m.to_arrival_s.p50)),
    ("p90", |m| format!("{:.0}", m.to_arrival_s.p90)),
    ("travel/job s", |m| format!("{:.0}", m.travel_s.mean)),
    ("offers/booking", |m| format!("{:.2}", m.offers)),
    ("idle Gini", |m| format!("{:.3}", m.idle_gini)),
    ("busy %", |m| format!("{:.0}", m.busy * 100.0)),
];

impl Report {
    /// A table for a terminal; it is Markdown, too.
    pub fn text(&self) -> String {
        let mut out = format!(
            "{}; {} therapists, {:.0} % of offers accepted, {:.0} % declined; seed {}\n\n| policy |",
            self.demand,
            self.therapists,
            self.behaviour.accepts * 100.0,
            self.behaviour.declines * 100.0,
            self.seed
        );
        for (name, _) in COLUMNS {
            let _ = write!(out, " {name} |");
        }
        out.push_str(" took s |\n|---|");
        out.push_str(&"---:|".repeat(COLUMNS.len() + 1));
        for report in &self.policies {
            let _ = write!(out, "\n| {} |", report.policy);
            for (_, value) in COLUMNS {
                let _ = write!(out, " {} |", value(&report.measures));
            }
            let _ = write!(out, " {:.1} |", report.took_s);
        }
        out.push('\n');
        if !self.gaps.is_empty() {
            let instances = self.gaps.first().map_or(0, |gap| gap.instances);
            let _ = write!(
                out,
                "\nAgainst the optimum with hindsight, {instances} instances\n\n| policy | arrival, mean gap % | worst % | travel, mean gap % | matched % |\n|---|---:|---:|---:|---:|\n"
            );
            for gap in &self.gaps {
                let [arrival, worst, travel, matched] =
                    [gap.to_arrival, gap.to_arrival_worst, gap.travel, gap.matched].map(|share| share * 100.0);
                let _ = writeln!(out, "| {} | {arrival:.1} | {worst:.1} | {travel:.1} | {matched:.1} |", gap.policy);
            }
        }
        out
    }

    /// One page that needs nothing else.
    pub fn html(&self) -> String {
        let mut rows = String::new();
        for report in &self.policies {
            let cells: String =
                COLUMNS.iter().map(|(_, value)| format!("<td>{}</td>", value(&report.measures))).collect();
            let _ = write!(rows, "<tr><th>{}</th>{cells}</tr>", escaped(&report.policy));
        }
        let heads: String = COLUMNS.iter().map(|(name, _)| format!("<th>{name}</th>")).collect();
        let pictures: String = [
            self.bars("Mean time to arrival, s", |m| m.to_arrival_s.mean),
            self.bars("Time to arrival, 9 of 10 below, s", |m| m.to_arrival_s.p90),
            self.bars("Mean time to accept, s", |m| m.to_accept_s.mean),
            self.bars("Travel per job, s", |m| m.travel_s.mean),
            self.bars("Bookings matched, %", |m| m.matched * 100.0),
            self.bars("Offers per booking", |m| m.offers),
        ]
        .concat();
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Dispatch policies</title>\
             <style>body{{font:15px system-ui,sans-serif;margin:2em}}table{{border-collapse:collapse}}\
             td,th{{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right}}th:first-child{{text-align:left}}\
             svg{{margin:1em 2em 0 0}}</style><h1>Dispatch policies compared</h1><p>{}; {} therapists; seed {}</p>\
             <table><tr><th>policy</th>{heads}</tr>{rows}</table>{pictures}</html>\n",
            escaped(&self.demand),
            self.therapists,
            self.seed
        )
    }

    fn bars(&self, title: &str, value: impl Fn(&Measures) -> f64) -> String {
        let values: Vec<f64> = self.policies.iter().map(|report| value(&report.measures)).collect();
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let height = 34 + 26 * values.len();
        let mut svg = format!(
            "<svg width=\"460\" height=\"{height}\" role=\"img\"><text x=\"0\" y=\"18\" font-weight=\"bold\">{title}</text>"
        );
        for (n, (report, value)) in self.policies.iter().zip(values).enumerate() {
            let (y, length) = (30 + 26 * n, 250.0 * value / most);
            let name = escaped(&report.policy);
            let _ = write!(
                svg,
                "<text x=\"0\" y=\"{}\">{name}</text><rect x=\"110\" y=\"{y}\" width=\"{length:.1}\" height=\"20\" fill=\"#2a7f9e\"/><text x=\"{:.1}\" y=\"{}\">{value:.1}</text>",
                y + 15,
                118.0 + length,
                y + 15
            );
        }
        svg + "</svg>"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
