//! `squall list`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::table::table;
use crate::cli::terminal;
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::shown::{OutputFlag, phase_name, wanted_name};
use crate::cluster::operations::TopologyInfo;
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall list
  squall list -o json | jq -r '.[] | select(.phase == \"active\").name'

What runs on this machine alone, by `squall run`, is listed by `squall ps`.

Exit codes: 0 they are listed; 1 they cannot be; 2 the command line is wrong; 4 no nimbus
answers, or none leads.";

/// List the topologies of the cluster, ended ones included
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    output: OutputFlag,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let topologies = args.nimbus.client()?.topologies()?;
    if topologies.is_empty() {
        terminal::write_message("there are no topologies in this cluster");
    }
    args.output.print(&topologies, |topologies| for_people(topologies))?;
    for info in &topologies {
        if let Some(short) = &info.short {
            terminal::write_message(&format!("short: {}: {}", info.name, shown(short)));
        }
    }
    Ok(CommandOutcome::Done)
}

fn for_people(topologies: &[TopologyInfo]) -> String {
    if topologies.is_empty() {
        return String::new();
    }
    let heading = ["TOPOLOGY", "PHASE", "WANTED", "WORKERS", "MASTER", "OWNER", "SUBMITTED"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(topologies.iter().map(|info| {
        let is_failed = info.outcome.as_ref().is_some_and(|outcome| outcome.failure.is_some());
        let phase = if is_failed { "failed" } else { phase_name(info.phase) };
        let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { shown(text) };
        [
            shown(&info.name),
            phase.to_owned(),
            wanted_name(info.wanted).to_owned(),
            info.workers.len().to_string(),
            or_none(info.master.as_ref().map_or("", |master| &master.host)),
            or_none(&info.owner),
            shown(&info.submitted_at),
        ]
    }));
    table(&rows, &[3])
}
