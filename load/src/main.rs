//! `spacall-load`: open-loop fleets and demand against a running service, replay of recorded days, one report.

mod answers;
mod args;
mod bare;
mod cast;
mod ceilings;
mod demand;
mod greedy;
mod ledger;
mod limits;
mod onto;
mod peers;
mod process;
mod progress;
mod recorded;
mod replay;
mod report;
mod run;
mod synthetic;
mod tally;
mod visible;

use std::process::ExitCode;

use clap::Parser;
use spacall::client::CancellationToken;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Cli, Command, Scenario};
use crate::report::Verdict;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Play(scenario) = &cli.command
        && let Err(problem) = scenario.common().check()
    {
        eprintln!("spacall-load: {problem}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("spacall-load: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match &cli.command {
            Command::Play(scenario) => play(scenario).await,
            Command::Peers(peers) => peers::run(peers).await.map(|()| Verdict::Pass),
            Command::BareSocket => bare::serve().await,
        }
    });
    match done {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // `{:#}`: the whole chain of causes in one line.
            eprintln!("spacall-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(scenario: &Scenario) -> anyhow::Result<Verdict> {
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        let asked_to_end = asked_to_end()?;
        async move {
            asked_to_end.await;
            eprintln!("stopping; what was changed is put back first");
            stop.cancel();
        }
    });
    let mut report = match scenario {
        Scenario::Replay(options) => replay::play(options, stop.clone()).await?,
        Scenario::Run(options) => synthetic::run(options, stop.clone()).await?,
        Scenario::Pings(options) if options.ceilings => return ceilings::run(options, &stop).await,
        Scenario::Pings(options) => synthetic::pings(options, stop.clone()).await?,
    };
    let common = scenario.common();
    let gap = if let Scenario::Replay(options) = scenario { options.max_gap } else { None };
    report.judge(&common.slo, gap, stop.is_cancelled());
    run::publish(&report, common.json.as_ref())?;
    Ok(report.verdict)
}

/// Ctrl-C or SIGTERM. Listened for from the call on, not from the first poll.
fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
