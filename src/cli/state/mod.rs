//! `squall state get`.

mod contents;
mod get;
mod lookup;
pub(super) mod sorted_entries;

use clap::Subcommand;

use crate::cli::error::{CommandError, CommandOutcome};

const EXAMPLES: &str = "\
Examples:
  squall state get checkpoints --component count --state counts --key '[\"the\"]'
  squall state get checkpoints --component count --dump

Exit codes: 0 done; 1 it is not there, or cannot be read; 2 the command line is wrong.";

/// Look at the state that a checkpoint has
///
/// State is what bolts keep by key: counts, windows, joins. Topologies with `delivery = "exactly-once"` keep it in
/// checkpoints.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Get(get::Args),
}

pub(super) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    match &args.command {
        Command::Get(args) => get::execute(args),
    }
}
