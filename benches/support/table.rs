//! Measured figures as a markdown table, with what they were to reach.

use std::fmt::Write;

/// A line of the table.
pub struct Line {
    pub work: String,
    /// As measured, with their units.
    pub figures: String,
    /// What is compared with `limit`.
    pub value: f64,
    pub limit: Limit,
}

/// What a value is to reach.
#[derive(Clone, Copy)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// Told, not judged.
    None,
}

impl Limit {
    fn kept(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::None => None,
        }
    }
}

/// Prints the table.
pub fn print(title: &str, lines: &[Line]) {
    let mut text = format!("\n## {title}\n\n| work | measured | value | to reach | |\n|---|---|---|---|---|\n");
    for Line { work, figures, value, limit } in lines {
        let (to_reach, kept) = match limit {
            Limit::AtLeast(least) => (format!(">= {least}"), limit.kept(*value)),
            Limit::AtMost(most) => (format!("<= {most}"), limit.kept(*value)),
            Limit::None => ("-".to_owned(), None),
        };
        let verdict = kept.map_or("", |kept| if kept { "pass" } else { "**miss**" });
        let _ = writeln!(text, "| {work} | {figures} | {value:.2} | {to_reach} | {verdict} |");
    }
    println!("{text}");
}

/// A time in the unit that suits it.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}
