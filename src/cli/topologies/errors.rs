//! `squall errors TOPOLOGY`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::topologies::counters::{error_table, last_errors};
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::shown::{OutputFlag, ending, problems_of};
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall errors words
  squall errors words -o json | jq -r '.[] | [.component, .error] | @tsv'

Exit codes: 0 they are listed, if there are any; 1 they are not known, because the topology runs
nowhere or its master does not answer; 2 the command line is wrong; 3 there is no such topology;
4 no nimbus answers, or none leads.";

/// List the last error of each component of a topology in each worker, and how workers ended
///
/// The times are those at which the master of the topology learned of them. A master that was started again knows
/// no times of what happened before.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    output: OutputFlag,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let status = args.nimbus.client()?.stats(&args.topology)?;
    let Some(observed) = &status.stats else {
        let why = status.stats_missing.as_ref().map_or_else(String::new, shown);
        let outcome = status.topology.outcome.as_ref();
        let ended = outcome.map_or_else(String::new, |outcome| format!("; {}", ending(outcome)));
        return Err(CommandError::Refused(format!(
            "the errors of {} are not known: {why}{ended}{}",
            status.topology.name,
            problems_of(&status.topology)
        )));
    };
    let errors = last_errors(observed);
    if errors.is_empty() {
        terminal::write_message(&format!("{} has no errors", status.topology.name));
    }
    if let Some(what) = &observed.left_out {
        terminal::write_message(&format!("left out: {}: the answer would be too long", shown(what)));
    }
    args.output
        .print(&errors, |errors| if errors.is_empty() { String::new() } else { error_table(errors) })?;
    Ok(CommandOutcome::Done)
}
