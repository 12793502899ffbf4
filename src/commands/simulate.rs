//! `spacall simulate`: policies side by side over a simulated day.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use sqlx::PgPool;

use crate::cli::{ComparedPolicy, DemandSource, ReplayDecisions, Simulate};
use crate::clock;
use crate::core::dispatch::{Policy, Rules, Weights};
use crate::core::geo::Meters;
use crate::core::settings::{CostWeights, Settings};
use crate::simulate::demand::{Demand, manila, san_francisco};
use crate::simulate::optimum::gaps;
use crate::simulate::replay::replay;
use crate::simulate::report::{PolicyReport, Report};
use crate::simulate::run::{Behaviour, Scenario, run};
use crate::store::{self, decisions};

pub(super) fn simulate(options: &Simulate) -> anyhow::Result<ExitCode> {
    let demand = demand(options)?;
    let policies = policies(options);
    let standard = Behaviour::default();
    let declines = standard.declines.min(1.0 - options.accepts);
    let scenario = Scenario {
        therapists: options.therapists as usize,
        behaviour: Behaviour { accepts: options.accepts, declines, ..standard },
        patience: Duration::from_secs(options.patience),
        seed: options.seed,
    };
    let mut reports = Vec::new();
    for (policy, rules) in &policies {
        let began = clock::monotonic();
        let measures = run(&demand, &scenario, *rules).measures();
        reports.push(PolicyReport { policy: policy.clone(), measures, took_s: began.elapsed().as_secs_f64() });
    }
    let report = Report {
        demand: demand.name,
        seed: options.seed,
        therapists: scenario.therapists,
        behaviour: scenario.behaviour,
        patience_s: scenario.patience.as_secs_f64(),
        policies: reports,
        gaps: if options.gap == 0 { Vec::new() } else { gaps(&policies, options.gap.into(), options.seed)? },
    };
    if let Some(file) = &options.html {
        std::fs::write(file, report.html()).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(ExitCode::SUCCESS)
}

/// More are not read at once: some hundred bytes each.
const MOST_DECISIONS: u32 = 1_000_000;

/// `spacall replay-decisions`: what would have changed.
pub(super) async fn replay_decisions(pool: &PgPool, options: &ReplayDecisions) -> anyhow::Result<()> {
    let (since, until) = (options.since, options.until);
    let mut settings = Settings::default();
    for row in store::settings::list(pool).await? {
        settings.set(&row.key, &row.value)?;
    }
    let radius_max = Meters::from_km(settings.service_radius_max_km.into());
    let of = &mut settings.dispatch;
    if let Some(policy) = options.policy {
        of.policy = policy;
    }
    let standard = of.rules("", None, radius_max);
    let rules = |logged: Option<Rules>| match (logged, &options.policy) {
        (Some(logged), None) => logged,
        (Some(logged), Some(_)) => Rules { policy: standard.policy, ..logged },
        (None, _) => standard,
    };
    let (log, unknown) = decisions::between(pool, since, until, MOST_DECISIONS).await?;
    if log.len() as u32 == MOST_DECISIONS {
        bail!("more than {MOST_DECISIONS} decisions from {since} to {until}: take a shorter stretch");
    }
    if unknown > 0 {
        tracing::warn!(unknown, "decisions that this version does not know are left out");
    }
    let replayed = replay(&log, rules);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&replayed)?);
    } else {
        print!("{}", replayed.text());
    }
    Ok(())
}

fn demand(options: &Simulate) -> anyhow::Result<Demand> {
    let data = options.data.clone().or_else(|| std::env::var_os("SPACALL_DATA").map(Into::into));
    match options.demand {
        DemandSource::Manila => manila(data.as_deref(), options.bookings as usize, options.seed),
        DemandSource::Sf => match data {
            Some(data) => san_francisco(&data, options.day),
            None => bail!("--demand sf needs --data or SPACALL_DATA: the folder with demand/sf_trips_*.csv.gz"),
        },
    }
}

/// The rules of each policy asked for, with its name.
fn policies(options: &Simulate) -> Vec<(String, Rules)> {
    let settings = Settings::default();
    let radius_max = Meters::from_km(settings.service_radius_max_km.into());
    let standard = settings.dispatch.rules("", None, radius_max);
    let batched = Policy::Batched { window: Duration::from_secs_f64(options.window) };
    let fair = Weights::from(CostWeights { idle_hour: 120.0, ..CostWeights::default() });
    let stagger = Duration::from_secs(options.stagger);
    let rules = |policy: &ComparedPolicy| match policy {
        ComparedPolicy::Sequential => ("sequential".to_owned(), standard),
        ComparedPolicy::Broadcast => {
            ("broadcast".to_owned(), Rules { policy: Policy::Broadcast { width: options.width, stagger }, ..standard })
        }
        ComparedPolicy::Batched => ("batched".to_owned(), Rules { policy: batched, ..standard }),
        ComparedPolicy::BatchedFair => {
            ("batched-fair".to_owned(), Rules { policy: batched, weights: fair, ..standard })
        }
    };
    options.policies.iter().map(rules).collect()
}
