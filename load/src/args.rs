//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use spacall::client::Wire;

use crate::answers::Rule;
use crate::onto::parse_target;
use crate::peers::Peers;
use crate::report::WantedSlo;

/// Load for a running Spacall service, through the doors that real apps use.
#[derive(Clone, Debug, Parser)]
#[command(name = "spacall-load", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Play(Scenario),
    /// One question, of the service and of its peers, as fast as they answer
    #[command(subcommand)]
    Peers(Peers),
    /// A websocket that only reads fixes: what `pings --ceilings` holds the service against
    #[command(hide = true)]
    BareSocket,
}

/// What is played and reported on.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// A made-up fleet about town, with customers who book
    Run(Run),
    /// A recorded day: one therapist a vehicle, one booking a ride
    Replay(Box<Replay>),
    /// Pings alone
    Pings(PingsOnly),
}

impl Scenario {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Run(options) => &options.common,
            Self::Replay(options) => &options.common,
            Self::Pings(options) => &options.common,
        }
    }
}

/// What every scenario is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The service
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// What `spacall seed fleet` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens: PathBuf,
    /// The same seed, the same people doing the same
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// How fixes travel
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wire: WireName,
    /// Look up every acked fix here afterwards
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// A limit that must be kept, in ms, like `ping_ack_p99=250`; may be repeated
    #[arg(long, value_name = "NAME=MS")]
    pub(crate) slo: Vec<WantedSlo>,
    /// No progress line
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Load a service that is not on this machine
    #[arg(long)]
    pub(crate) allow_remote: bool,
}

/// How fixes travel.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum WireName {
    /// Text frames
    #[default]
    Json,
    /// 32-byte records
    Bin,
}

impl From<WireName> for Wire {
    fn from(name: WireName) -> Self {
        match name {
            WireName::Json => Self::Json,
            WireName::Bin => Self::Binary,
        }
    }
}

impl Common {
    /// What clap cannot check: only this machine's services are loaded unless asked otherwise.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Some(rest) = self.url.strip_prefix("http://") else {
            return Err(format!("--url is {}, allowed: http://HOST:PORT", self.url));
        };
        if self.allow_remote || is_loopback(rest) {
            return Ok(());
        }
        Err(format!("--url is {}, which is not this machine; --allow-remote loads it all the same", self.url))
    }
}

fn is_loopback(authority: &str) -> bool {
    let authority = authority.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// How therapists behave.
#[derive(Clone, Debug, Args)]
pub(crate) struct Behaviour {
    /// Share of offers accepted
    #[arg(long, default_value_t = 0.8, value_parser = share)]
    pub(crate) accept: f64,
    /// Share of offers not answered at all; the rest is declined
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    pub(crate) silent: f64,
    /// Time to think, at least, seconds
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) think_from: f64,
    /// Time to think, at most, seconds
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) think_to: f64,
    /// From the door to the begin, seconds
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub(crate) at_door: f64,
    /// Straight-line speed on the way, km/h
    #[arg(long, default_value_t = 20.0, value_parser = positive)]
    pub(crate) travel_kmh: f64,
}

impl Behaviour {
    pub(crate) fn rule(&self, seed: u64, speed: f64) -> Rule {
        Rule {
            seed,
            speed,
            accept: self.accept,
            silent: self.silent,
            think_s: (self.think_from, self.think_to.max(self.think_from)),
            at_door_s: self.at_door,
            travel_kmh: self.travel_kmh,
        }
    }
}

/// `replay`
#[derive(Clone, Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) behaviour: Behaviour,
    /// Fixes: CSV with the columns t (unix seconds), vehicle, lat, lon; gzipped or not
    #[arg(long, value_name = "FILE")]
    pub(crate) gps: PathBuf,
    /// Rides: CSV with the columns vehicle, pickup_t, pickup_lat, pickup_lon, duration_s; without it nobody books
    #[arg(long, value_name = "FILE")]
    pub(crate) rides: Option<PathBuf>,
    /// The recorded day, local time
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) date: chrono::NaiveDate,
    /// Local time of the recording: its offset from UTC (the default is San Francisco's in summer)
    #[arg(long, default_value = "-07:00", value_name = "+HH:MM", value_parser = utc_offset, allow_hyphen_values = true)]
    pub(crate) utc_offset: i64,
    /// Begin of the slice, local time
    #[arg(long, default_value = "00:00", value_name = "HH:MM", value_parser = minute_of_day)]
    pub(crate) from: i64,
    /// End of the slice, local time
    #[arg(long, default_value = "24:00", value_name = "HH:MM", value_parser = minute_of_day)]
    pub(crate) until: i64,
    /// Seconds of the run, by the clock on the wall: the slice ends earlier if it would take longer [default: all of it]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) duration: Option<u32>,
    /// Times faster than recorded
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,
    /// Move the day here: `manila`, or LATITUDE,LONGITUDE
    #[arg(long, value_name = "PLACE", value_parser = parse_target, allow_hyphen_values = true)]
    pub(crate) onto: Option<(f64, f64)>,
    /// Only the first N vehicles, and their rides
    #[arg(long, value_name = "N")]
    pub(crate) vehicles: Option<usize>,
    /// Customers who share the rides
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) customers: u32,
    /// What is booked
    #[arg(long, default_value = "swedish-massage")]
    pub(crate) service: String,
    /// Nearby requests a second
    #[arg(long, default_value_t = 5.0, value_parser = not_negative)]
    pub(crate) nearby_per_s: f64,
    /// Seconds to wait at the end for the bookings to end [default: booking_timeout.pending and the longest ride]
    #[arg(long)]
    pub(crate) settle: Option<u64>,
    /// Fail when the matched share is farther than this from the greedy matcher's, points
    #[arg(long, value_name = "POINTS")]
    pub(crate) max_gap: Option<f64>,
}

/// `run`
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) behaviour: Behaviour,
    /// Seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) duration: u64,
    /// Therapists [default: all of the tokens file]
    #[arg(long)]
    pub(crate) therapists: Option<usize>,
    /// Seconds between two fixes of a therapist
    #[arg(long, default_value_t = 4.0, value_parser = positive)]
    pub(crate) interval: f64,
    /// Bookings a second
    #[arg(long, default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) bookings_per_s: f64,
    /// Length of a service, seconds
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    pub(crate) service_s: f64,
    /// How many times faster therapists think, travel and wait than people
    #[arg(long, default_value_t = 20.0, value_parser = speed)]
    pub(crate) haste: f64,
    /// Customers [default: all of the tokens file]
    #[arg(long)]
    pub(crate) customers: Option<usize>,
    /// What is booked
    #[arg(long, default_value = "swedish-massage")]
    pub(crate) service: String,
    /// Nearby requests a second
    #[arg(long, default_value_t = 10.0, value_parser = not_negative)]
    pub(crate) nearby_per_s: f64,
    /// Seconds to wait at the end for the bookings to end
    #[arg(long, default_value_t = 360)]
    pub(crate) settle: u64,
}

/// `pings`
#[derive(Clone, Debug, Args)]
pub(crate) struct PingsOnly {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) duration: u64,
    /// Therapists [default: all of the tokens file, but one for --visible-per-s]
    #[arg(long)]
    pub(crate) sockets: Option<usize>,
    /// Fixes a second, of all together
    #[arg(long, default_value_t = 100.0, value_parser = positive)]
    pub(crate) rate: f64,
    /// Steps a second of one more therapist, to measure how long a fix takes until a search finds it; 0 for none
    #[arg(long, default_value_t = 5.0, value_parser = steps)]
    pub(crate) visible_per_s: f64,
    /// What is searched for that
    #[arg(long, default_value = "swedish-massage")]
    pub(crate) service: String,
    /// The service's process: what it uses of processor and memory is told
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// As fast as can be, beside this machine's own ceilings: a bare COPY into the same table, and a bare websocket.
    /// Needs --database-url and --pid, and writes rows of its own
    #[arg(long, requires = "pid")]
    pub(crate) ceilings: bool,
    /// Rows copied, and rows sent to be stored, with --ceilings
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(20_000..))]
    pub(crate) rows: u64,
}

fn number(text: &str, allowed: &str, ok: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.parse().ok().filter(|n| ok(*n)).ok_or_else(|| format!("allowed: {allowed}"))
}

fn share(text: &str) -> Result<f64, String> {
    number(text, "0 to 1", |n| (0.0..=1.0).contains(&n))
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, "0 to 86400 seconds", |n| (0.0..=86_400.0).contains(&n))
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, "more than 0, at most a million", |n| n > 0.0 && n <= 1e6)
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, "0 to a million", |n| (0.0..=1e6).contains(&n))
}

fn steps(text: &str) -> Result<f64, String> {
    number(text, "0 to 10 a second, as many fixes as a therapist may send", |n| (0.0..=10.0).contains(&n))
}

fn speed(text: &str) -> Result<f64, String> {
    number(text, "0.1 to 10000", |n| (0.1..=10_000.0).contains(&n))
}

/// Seconds of the day.
fn minute_of_day(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no time like 08:30; allowed: 00:00 to 24:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    match (hours.parse::<i64>(), minutes.parse::<i64>()) {
        (Ok(h @ 0..=23), Ok(m @ 0..=59)) => Ok(h * 3_600 + m * 60),
        (Ok(24), Ok(0)) => Ok(86_400),
        _ => Err(wrong()),
    }
}

/// Seconds east of UTC.
fn utc_offset(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no offset like -07:00 or +08:00");
    let (sign, rest) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(rest), _) => (-1, rest),
        (_, Some(rest)) => (1, rest),
        _ => return Err(wrong()),
    };
    let seconds = minute_of_day(rest).map_err(|_| wrong())?;
    if seconds <= 14 * 3_600 { Ok(sign * seconds) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let replay = "spacall-load replay --url http://127.0.0.1:1 --tokens t --gps g --rides r --date 2008-05-30 --speed 60 \
            --onto manila --seed 3 --duration 30 --from 08:00 --until 09:30 --json out --slo ping_ack_p99=250";
        let cli = Cli::try_parse_from(replay.split_whitespace()).expect("a replay");
        let Command::Play(Scenario::Replay(options)) = cli.command else { panic!("not a replay") };
        assert_eq!((options.from, options.until, options.utc_offset), (28_800, 34_200, -25_200));
    }

    #[test]
    fn only_this_machine_is_loaded_unless_asked_otherwise() {
        for host in ["127.0.0.1:8080", "localhost", "[::1]:80/", "127.8.9.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["spacall.example", "10.0.0.1:80", "localhost.example:80", "[2001:db8::1]:80", "127.0.0.1.example"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn wrong_times_and_shares_say_what_is_allowed() {
        assert!(minute_of_day("24:01").is_err() && minute_of_day("8").is_err());
        assert_eq!((utc_offset("+08:00"), utc_offset("-07:00")), (Ok(28_800), Ok(-25_200)));
        assert!(utc_offset("8").is_err() && utc_offset("+15:00").is_err());
        assert_eq!(share("1.1"), Err("allowed: 0 to 1".to_owned()));
        assert!(speed("NaN").is_err() && positive("inf").is_err());
    }
}
