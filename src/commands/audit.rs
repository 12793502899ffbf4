//! `spacall audit`: asks the running node, prints, and fails when index and database differ.

use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cli::Audit;
use crate::config::Config;

pub(super) async fn run(config: &Config, options: Audit) -> anyhow::Result<ExitCode> {
    let Some(token) = &config.token else {
        eprintln!("spacall: SPACALL_TOKEN is not set, allowed: an admin's token");
        return Ok(ExitCode::from(2));
    };
    let url = options.url.unwrap_or_else(|| format!("http://{}", config.listen));
    let answer = reqwest::Client::new()
        .get(format!("{url}/v1/ops/consistency"))
        .bearer_auth(token.expose())
        .send()
        .await
        .with_context(|| format!("no node answers at {url}"))?;
    let status = answer.status();
    let body: Value = answer.json().await.with_context(|| format!("{url} answered {status} without JSON"))?;
    if !status.is_success() {
        bail!("{url} answered {status}: {}", body["message"].as_str().unwrap_or("no message"));
    }
    let Some(drift) = body["drift"].as_u64() else {
        bail!("{url} answered without a drift: {body}");
    };
    if options.json {
        println!("{body}");
    } else {
        println!("{} therapists compared at {}, drift {drift}", body["checked"], text(&body["as_of"]));
        for kind in ["missing", "extra", "stale", "different"] {
            for id in body[kind].as_array().into_iter().flatten() {
                println!("{kind}: {}", text(id));
            }
        }
    }
    Ok(if drift == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
