//! `spacall-load replay`: a recorded day against the service.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use spacall::client::{Api, CancellationToken};
use spacall::core::geo::Meters;
use spacall::core::people::Gender;
use spacall::core::settings::Settings;
use spacall::wire::roster::{Roster, RosterEntry};

use crate::answers::Rule;
use crate::args::Replay;
use crate::cast::{LastPlace, Recorded, Ride, Source, Stage};
use crate::demand::Probes;
use crate::greedy::{self, Vehicle};
use crate::limits;
use crate::onto::Onto;
use crate::recorded::{BadRows, RecordedFix, Window, read_gps, read_rides};
use crate::report::{Greedy, Report, share};
use crate::run::{self, Play, first_of};

/// A changed setting is felt by the service within 2 s.
const SETTING_FELT: Duration = Duration::from_secs(3);
/// A vehicle's last fix before the slice is where it starts, if it is no older (recorded seconds).
const WARM_UP_S: i64 = 600;

/// The day, read and moved.
struct Day {
    vehicles: Vec<Vec<RecordedFix>>,
    rides: Vec<Ride>,
    bad: u64,
}

/// Plays the day, and the greedy matcher's beside it.
pub(crate) async fn play(options: &Replay, stop: CancellationToken) -> Result<Report> {
    let roster = Roster::read(&options.common.tokens)?;
    let Some(admin) = roster.admins.first() else {
        bail!("the tokens file has no admin; the settings for the run need one");
    };
    let admin = Api::new(&options.common.url, &admin.token)?;
    let window = window(options)?;
    let day = read_day(options, window)?;
    let therapists = first_of(&roster.therapists, day.vehicles.len(), "therapists")?;
    let customers = if day.rides.is_empty() {
        Vec::new()
    } else {
        first_of(&roster.customers, (options.customers as usize).min(roster.customers.len()).max(1), "customers")?
    };
    let rule = options.behaviour.rule(options.common.seed, options.speed);
    let busiest = day.vehicles.iter().map(|fixes| limits::busiest_rate(fixes, options.speed)).max().unwrap_or(0);
    eprintln!(
        "{} vehicles, {} fixes, {} rides in {:.0} s of {}",
        day.vehicles.len(),
        day.vehicles.iter().map(Vec::len).sum::<usize>(),
        day.rides.len(),
        rule.faster(window.seconds() as f64).as_secs_f64(),
        options.date
    );

    let opened = limits::open(&admin, options.speed, busiest).await?;
    let over = CancellationToken::new();
    let played = async {
        let _over = over.clone().drop_guard();
        let settings = limits::read_settings(&admin).await?;
        let greedy = (!day.rides.is_empty()).then(|| greedy(options, rule, &settings, &day, &therapists, &customers));
        tokio::select! {
            () = stop.cancelled() => bail!("stopped before the begin"),
            () = tokio::time::sleep(SETTING_FELT) => {}
        }
        let play = prepare(options, rule, &settings, day, therapists, customers, window);
        let mut report = run::play(play, stop.clone()).await?;
        report.greedy = greedy.map(|outcome| beside(outcome, &report));
        anyhow::Ok(report)
    };
    // Whoever stops the run may not wait for its end: then the setting is put back at once.
    let stopped = async {
        tokio::select! {
            () = over.cancelled() => {}
            () = stop.cancelled() => { opened.restore().await; }
        }
    };
    let (played, ()) = tokio::join!(played, stopped);
    // Whatever happened, the setting is put back; a run that could not do that has failed.
    let restored = opened.restore().await;
    let report = played?;
    if !restored {
        bail!("the setting `pings` is still the run's");
    }
    Ok(report)
}

fn window(options: &Replay) -> Result<Window> {
    let midnight = options.date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp() - options.utc_offset;
    let longest = options.duration.map_or(i64::MAX, |seconds| (f64::from(seconds) * options.speed).ceil() as i64);
    let until = options.until.min(options.from.saturating_add(longest));
    let window = Window { from: midnight + options.from, until: midnight + until };
    if window.seconds() <= 0 {
        bail!("--until is not after --from");
    }
    Ok(window)
}

fn read_day(options: &Replay, window: Window) -> Result<Day> {
    let gps = read_gps(&options.gps, window, WARM_UP_S)?;
    complain(&gps.bad);
    let mut vehicles = gps.vehicles;
    vehicles.truncate(options.vehicles.unwrap_or(usize::MAX));
    if vehicles.is_empty() {
        bail!("{} has no fix of {} between --from and --until", options.gps.display(), options.date);
    }
    let (rides, bad) = match &options.rides {
        None => (Vec::new(), BadRows::default()),
        Some(path) => {
            let names: BTreeSet<&str> = vehicles.iter().map(|(name, _)| name.as_str()).collect();
            let all = options.vehicles.is_none();
            read_rides(path, window, |vehicle| all || names.contains(vehicle))?
        }
    };
    complain(&bad);
    let onto = options.onto.and_then(|to| Onto::core_of(vehicles.iter().flat_map(|(_, f)| f).map(|f| f.place), to));
    let moved = |place| onto.map_or(Some(place), |onto| onto.place(place));
    let mut nowhere = 0;
    let vehicles = vehicles
        .into_iter()
        .map(|(_, fixes)| {
            let before = fixes.len();
            let fixes: Vec<RecordedFix> =
                fixes.into_iter().filter_map(|f| Some(RecordedFix { place: moved(f.place)?, ..f })).collect();
            nowhere += (before - fixes.len()) as u64;
            fixes
        })
        .collect();
    let speed = options.speed;
    let rides: Vec<Ride> = rides
        .into_iter()
        .filter_map(|ride| {
            let after = Duration::from_secs_f64(f64::from(ride.after_s) / speed);
            Some(Ride { after, place: moved(ride.pickup)?, service_s: f64::from(ride.duration_s) })
        })
        .collect();
    Ok(Day { vehicles, rides, bad: gps.bad.count + bad.count + nowhere })
}

fn complain(bad: &BadRows) {
    for row in &bad.first {
        eprintln!("left out: {row}");
    }
    if bad.count > bad.first.len() as u64 {
        eprintln!("left out: {} more rows", bad.count - bad.first.len() as u64);
    }
}

fn prepare(
    options: &Replay,
    rule: Rule,
    settings: &Settings,
    day: Day,
    therapists: Vec<RosterEntry>,
    customers: Vec<RosterEntry>,
    window: Window,
) -> Play {
    let length = rule.faster(window.seconds() as f64);
    let longest = day.rides.iter().map(|ride| ride.service_s).fold(0.0, f64::max);
    // The way, the door and the service of the last ride to be accepted, and something for the service itself.
    let settle = options.settle.map_or_else(
        || Duration::from_secs(u64::from(settings.booking_timeout.pending) + 60) + rule.faster(longest + 7_200.0),
        Duration::from_secs,
    );
    let probes = Probes {
        per_s: if day.rides.is_empty() { 0.0 } else { options.nearby_per_s },
        places: day.rides.iter().map(|ride| ride.place).collect(),
        until: length,
        seed: options.common.seed,
    };
    let stage = Arc::new(Stage::new(rule, day.rides, options.common.database_url.is_some()));
    let therapists = therapists
        .into_iter()
        .zip(day.vehicles)
        .map(|(entry, fixes)| {
            let last = LastPlace::default();
            let source = Recorded { stage: Arc::clone(&stage), fixes: fixes.into(), last: Arc::clone(&last) };
            (entry, Source::Recorded(source), last)
        })
        .collect();
    Play {
        scenario: "replay",
        url: options.common.url.clone(),
        wire: options.common.wire.into(),
        stage,
        therapists,
        customers,
        service: options.service.clone(),
        probes,
        visible: None,
        length,
        settle,
        clock_from_s: Some(options.from),
        database_url: options.common.database_url.clone(),
        process: None,
        bad_rows: day.bad,
        quiet: options.common.quiet,
    }
}

/// The radius of a therapist whose tokens file does not tell, km: the schema's default.
const ORDINARY_RADIUS_KM: u32 = 5;

fn greedy(
    options: &Replay,
    rule: Rule,
    settings: &Settings,
    day: &Day,
    therapists: &[RosterEntry],
    customers: &[RosterEntry],
) -> greedy::Outcome {
    let vehicles: Vec<Vehicle<'_>> = therapists
        .iter()
        .zip(&day.vehicles)
        .map(|(entry, fixes)| Vehicle {
            fixes,
            reach: Meters::from_km(f64::from(reach_km(entry, &options.service))),
            serves: entry.serves.as_deref(),
        })
        .collect();
    let genders: Vec<Option<Gender>> =
        (0..day.rides.len()).map(|nth| customers.get(nth % customers.len().max(1)).and_then(|c| c.gender)).collect();
    greedy::play(rule, settings, &vehicles, &day.rides, &genders)
}

fn reach_km(entry: &RosterEntry, service: &str) -> u32 {
    let radius = entry.service_radius_km.unwrap_or(ORDINARY_RADIUS_KM);
    if entry.services.is_empty() { radius } else { entry.services.get(service).map_or(0, |travel| radius.min(*travel)) }
}

fn beside(outcome: greedy::Outcome, report: &Report) -> Greedy {
    let matched_share = share(outcome.matched, outcome.requested);
    let difference = matched_share
        .zip(report.bookings.matched_share)
        .map(|(greedy, service)| ((service - greedy) * 100.0).round() / 100.0);
    Greedy {
        requested: outcome.requested,
        matched: outcome.matched,
        matched_share,
        request_to_accept_ms: outcome.request_to_accept,
        difference,
    }
}
