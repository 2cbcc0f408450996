//! `squall remove TOPOLOGY`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::topologies::reach::NimbusFlag;

const EXAMPLES: &str = "\
Examples:
  squall remove words

Exit codes: 0 it is gone; 1 it has not ended; 2 the command line is wrong; 3 there is no such
topology; 4 no nimbus answers, or none leads.";

/// Remove a topology that has ended from the list of the cluster
///
/// An ended topology stays in the list, with how it has ended, until it is removed or its name is submitted again.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    #[command(flatten)]
    nimbus: NimbusFlag,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    args.nimbus.client()?.remove(&args.topology)?;
    terminal::write_message(&format!("{} is removed", args.topology));
    Ok(CommandOutcome::Done)
}
