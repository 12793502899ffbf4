//! The command line of the contract, as types; `main` calls the library by them.

mod values;

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};

use self::values::{node_url, phone, policy, recorded_day, time, within};
use crate::config::Flags;
use crate::core::settings::DispatchPolicy;

/// Geospatial matching and dispatch for Spacall.
///
/// Every option has an environment variable, which `.env` may set; the option wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "spacall", version, arg_required_else_help = true)]
pub struct Cli {
    /// The environment, as flags.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// The whole service with a seeded city, a simulated fleet and customers; Ctrl-C stops everything
    Demo(Demo),
    /// The service alone
    Serve(Serve),
    /// Bring the schema up to date
    Migrate,
    /// Make the months of provider_locations ahead, drop the old ones, report rows that found no month
    Partitions,
    /// Ask the running node to compare its index with the database; exit code 1 when they differ
    Audit(Audit),
    /// Fill an empty database
    #[command(subcommand)]
    Seed(Seed),
    /// Access tokens
    #[command(subcommand)]
    Token(Token),
    /// Compare dispatch policies over a simulated day: the same core on a virtual clock, no database
    Simulate(Simulate),
    /// Feed logged decisions through the dispatch machine again, under the same or another policy
    ReplayDecisions(ReplayDecisions),
    /// Write a dump of the database
    Backup(Backup),
    /// Read a dump into an empty database
    Restore(Restore),
    /// Print the OpenAPI document
    Openapi,
    /// Print the AsyncAPI document
    Asyncapi,
}

impl Command {
    /// What is logged when nobody says. The demo tells its own story: only what goes wrong may interrupt it.
    pub const fn default_log(&self) -> &'static str {
        match self {
            Self::Demo(_) => "warn",
            _ => "info",
        }
    }
}

/// `spacall demo`
#[derive(Clone, Debug, Args)]
pub struct Demo {
    /// Therapists on the streets
    #[arg(long, default_value_t = 120, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub therapists: u32,
    /// Customers who book
    #[arg(long, default_value_t = 40, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub customers: u32,
    /// The same seed, the same city
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Stop by itself after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration: Option<u64>,
}

/// `spacall serve`
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Leave the schema as it is
    #[arg(long)]
    pub no_migrate: bool,
}

/// `spacall audit`; the admin's token is read from SPACALL_TOKEN
#[derive(Clone, Debug, Args)]
pub struct Audit {
    /// The running node [default: http:// and the address of SPACALL_LISTEN]
    #[arg(long, value_parser = node_url)]
    pub url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where simulated bookings come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum DemandSource {
    /// Rides of one recorded day in San Francisco; needs the data folder
    Sf,
    /// Drawn over Metro Manila, by barangay with the data folder, else by city
    Manila,
}

/// What may be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ComparedPolicy {
    /// One offer at a time
    Sequential,
    /// Several at a time
    Broadcast,
    /// Everybody who waits at a window's end at once
    Batched,
    /// The same, and who has waited long for work costs less
    BatchedFair,
}

/// `spacall simulate`
#[derive(Clone, Debug, Args)]
pub struct Simulate {
    /// Where bookings come from
    #[arg(long, value_enum, default_value = "manila")]
    pub demand: DemandSource,
    /// The day of `sf`, 2008-05-17 to 2008-05-31
    #[arg(long, default_value = "2008-05-30", value_name = "DATE", value_parser = recorded_day)]
    pub day: NaiveDate,
    /// Bookings of `manila`
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub bookings: u32,
    /// Therapists, on shift all day
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub therapists: u32,
    /// Separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sequential,broadcast,batched")]
    pub policies: Vec<ComparedPolicy>,
    /// Therapists asked at a time by `broadcast`
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub width: u16,
    /// Head start of each over the next under `broadcast`, seconds
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub stagger: u64,
    /// Window of `batched`, seconds, 0.1 to 60
    #[arg(long, default_value_t = 2.0, value_parser = within(0.1, 60.0))]
    pub window: f64,
    /// Share of offers that are accepted, 0 to 1
    #[arg(long, default_value_t = 0.8, value_parser = within(0.0, 1.0))]
    pub accepts: f64,
    /// A booking that nobody takes ends after so many seconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub patience: u64,
    /// Also compare with the optimum that knows the future, over so many small instances
    #[arg(long, default_value_t = 0, value_name = "INSTANCES", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub gap: u32,
    /// The same seed, the same day
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The folder with demand/ and places/ [default: SPACALL_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page with pictures
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// `spacall replay-decisions`
#[derive(Clone, Debug, Args)]
pub struct ReplayDecisions {
    /// From this time on (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: DateTime<Utc>,
    /// Until this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: DateTime<Utc>,
    /// Without it, each booking's own as logged
    #[arg(long, value_name = "POLICY", value_parser = policy())]
    pub policy: Option<DispatchPolicy>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `spacall seed ...`
#[derive(Clone, Debug, Subcommand)]
pub enum Seed {
    /// Verified therapists, customers with addresses and an admin, each with an access token
    Fleet(SeedFleet),
}

/// `spacall seed fleet`
#[derive(Clone, Debug, Args)]
pub struct SeedFleet {
    /// Therapists, with profile, services, prices and base location
    #[arg(long, value_name = "N")]
    pub therapists: u32,
    /// Customers, with an address
    #[arg(long, value_name = "M")]
    pub customers: u32,
    /// Stores that there are at least, with opening hours and prices
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub stores: u32,
    /// Where they live; without it Metro Manila
    #[arg(long, value_name = "FILE")]
    pub city: Option<PathBuf>,
    /// The same seed, the same fleet
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Written as JSON lines, one a person
    #[arg(long, value_name = "FILE")]
    pub tokens: PathBuf,
}

/// `spacall token ...`
#[derive(Clone, Debug, Subcommand)]
pub enum Token {
    /// Make an access token and print it, once
    Create(TokenCreate),
}

/// `spacall token create`
#[derive(Clone, Debug, Args)]
pub struct TokenCreate {
    /// The user's phone, +639171234567 or 09171234567
    #[arg(long, value_parser = phone)]
    pub phone: String,
    /// What the token may do, repeated for more; without it everything that the user may (`*`)
    #[arg(long = "ability", value_name = "ABILITY")]
    pub abilities: Vec<String>,
}

/// `spacall backup`
#[derive(Clone, Debug, Args)]
pub struct Backup {
    /// The dump is DIR/spacall_YYYYMMDD_HHMMSS.backup (UTC)
    #[arg(long, value_name = "DIR", default_value = "backups")]
    pub dir: PathBuf,
    /// Afterwards delete dumps in DIR beyond the last of 7 days, 4 weeks and 12 months
    #[arg(long)]
    pub prune: bool,
}

/// `spacall restore`
#[derive(Clone, Debug, Args)]
pub struct Restore {
    /// A dump of `spacall backup`
    pub file: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_of_the_contract_parse() {
        Cli::command().debug_assert();
        for line in [
            "spacall demo",
            "spacall serve --no-migrate --listen 127.0.0.1:0",
            "spacall --data-dir /x migrate",
            "spacall partitions",
            "spacall audit --url http://127.0.0.1:8080 --json",
            "spacall seed fleet --therapists 10 --customers 5 --city f.json --seed 7 --tokens t.jsonl",
            "spacall token create --phone +639171234567 --ability match:exact --ability x",
            "spacall simulate --demand sf --therapists 400 --policies sequential,batched --gap 50 --json",
            "spacall replay-decisions --since 2026-01-05T00:00:00Z --until 2026-01-05T01:00:00Z --policy batched",
            "spacall backup",
            "spacall restore dump.backup",
            "spacall openapi",
            "spacall asyncapi",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    #[test]
    fn wrong_usage_is_exit_code_2_and_says_what_is_allowed() {
        let replay = "spacall replay-decisions --until 2026-01-05T01:00:00Z --since";
        for (line, allowed) in [
            ("spacall", "Usage"),
            ("spacall dance", "dance"),
            ("spacall seed fleet --therapists many", "many"),
            ("spacall demo --therapists 0", "1..=100000"),
            ("spacall audit --url localhost:8080", "http://127.0.0.1:8080"),
            ("spacall audit --url ftp://localhost", "http://127.0.0.1:8080"),
            ("spacall token create --phone abc", "+639171234567"),
            ("spacall token create --phone 0917+1234567", "+639171234567"),
            ("spacall token create --phone 12345678901234567890", "+639171234567"),
            ("spacall simulate --policies sequential,foo", "batched-fair"),
            ("spacall simulate --policies sequential --window 61", "0.1 to 60"),
            ("spacall simulate --accepts NaN", "0 to 1"),
            ("spacall simulate --demand sf --day 2008-06-01", "2008-05-17 to 2008-05-31"),
            ("spacall simulate --demand sf --day 2008-05-1", "2008-05-17 to 2008-05-31"),
            (&format!("{replay} 2026-01-05T00:00:00"), "2026-01-05T18:00:00Z"),
            (&format!("{replay} 2026-01-05T00:00:00Z --policy batched-fair"), "broadcast"),
        ] {
            let refused = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(refused.exit_code(), 2, "{line}");
            assert!(refused.to_string().contains(allowed), "{line}: {refused}");
        }
    }
}
