//! `squall doctor`.

mod cluster;
mod ensemble;
mod finding;
mod machine;

use std::time::Duration;

use serde_json::Value;

use crate::cli::context::Context;
use crate::cli::doctor::finding::{Finding, State};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::load;
use crate::cli::terminal;
use crate::config::EngineOptions;
use crate::config::units::parse_duration;

const EXAMPLES: &str = "\
Examples:
  squall doctor                                      can this user run topologies here?
  squall doctor --config etc/squall.toml --zookeeper
  squall doctor --json | jq -r '.[] | select(.state != \"ok\")'

A warning is something that works, but not for everything or not for long.

Exit codes: 0 there is no error; 1 there is one; 2 the command line is wrong.";

/// Check whether this machine, its configuration and ZooKeeper are fit for squall
///
/// With `--zookeeper` each member of the ensemble is tried by itself: it is connected to, with TLS and as the user of
/// the engine's file, and a node is made below the root and removed again. Nothing else is changed.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The engine's file, `squall.toml`
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG", hide_env_values = true)]
    config: Option<String>,

    /// Try also each member of the ensemble of `[zookeeper]`
    #[arg(long)]
    zookeeper: bool,

    /// How long to wait for each member
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,

    /// Print a JSON array, with `check`, `state` (`ok`, `warning`, `error`), `found` and `advice`
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(engine) = load::engine(args.config.as_deref(), context) else {
        return Ok(CommandOutcome::Failed);
    };
    let findings = examine(args, &engine);
    let is_well = findings.iter().all(|finding| finding.state != State::Error);
    if args.json {
        terminal::print_json(&findings.iter().map(Finding::in_json).collect::<Value>())?;
    } else {
        terminal::print(&finding::for_people(&findings))?;
    }
    Ok(CommandOutcome::done_if(is_well))
}

fn examine(args: &Args, engine: &EngineOptions) -> Vec<Finding> {
    let mut findings: Vec<Finding> = args
        .config
        .iter()
        .map(|path| Finding::ok("configuration", format!("{path} has no mistakes")))
        .collect();
    findings.extend(machine::examine(engine));
    findings.extend(cluster::examine(engine));
    if args.zookeeper {
        findings.extend(ensemble::examine(&engine.zookeeper, args.timeout));
    }
    findings
}
