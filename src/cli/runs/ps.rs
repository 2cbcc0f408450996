//! `squall ps`.

use serde_json::{Value, json};

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::runs::directory::{Run, runs};
use crate::cli::summary::grouped;
use crate::cli::table::table;
use crate::cli::terminal;
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall ps
  squall ps --json | jq -r '.[].run'";

/// List the topologies that this user runs on this machine
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let runs = runs()?;
    match args.json {
        true => terminal::print_json(&runs.iter().map(in_json).collect())?,
        false if runs.is_empty() => terminal::write_message("no topology runs here"),
        false => terminal::print(&for_people(&runs))?,
    }
    Ok(CommandOutcome::Done)
}

fn in_json(run: &Run) -> Value {
    let info = &run.info;
    json!({
        "run": run.name,
        "topology": info.topology,
        "file": info.file,
        "pid": info.pid,
        "workers": info.workers,
        "seconds": info.seconds,
        "emitted": info.emitted,
        "checkpoint": info.checkpoint,
        "checkpoints": info.checkpoints,
    })
}

fn for_people(runs: &[Run]) -> String {
    let mut rows = vec![["RUN", "WORKERS", "SECONDS", "EMITTED", "CHECKPOINT", "FILE"].map(str::to_owned)];
    for Run { name, info, .. } in runs {
        let workers = if info.workers == 0 { "-".to_owned() } else { info.workers.to_string() };
        let checkpoint = info.checkpoint.as_deref().unwrap_or("-");
        rows.push([
            shown(name),
            workers,
            format!("{:.0}", info.seconds),
            grouped(info.emitted),
            shown(checkpoint),
            shown(&info.file),
        ]);
    }
    table(&rows, &[1, 2, 3])
}
