//! The command line: parse, call the library, exit code.

use std::process::ExitCode;

use clap::Parser;
use spacall::cli::Cli;
use spacall::config::Config;
use spacall::{commands, telemetry};

/// Answers of some kilobytes are made and freed all the time, which glibc's allocator does slowly (`benches/README.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage, wrong environment.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(&cli.flags, cli.command.default_log()) {
        Ok(config) => config,
        Err(error) => return said(&error.to_string(), USAGE),
    };
    if let Err(error) = telemetry::init_logs(&config.log, config.log_format) {
        return said(&error.to_string(), USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return said(&format!("no threads to run on: {error}"), 1),
    };
    match runtime.block_on(commands::run(cli.command, config)) {
        Ok(code) => code,
        Err(error) => said(&with_causes(&error), 1),
    }
}

/// The whole chain of causes in one line; some errors tell their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

fn said(line: &str, code: u8) -> ExitCode {
    eprintln!("spacall: {line}");
    ExitCode::from(code)
}
