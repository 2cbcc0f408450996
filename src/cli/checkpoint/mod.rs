//! `squall checkpoint list` and `squall checkpoint inspect`.

mod inspect;
mod list;
pub(super) mod shown;

use clap::Subcommand;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal::Stream;

const EXAMPLES: &str = "\
Examples:
  squall checkpoint list checkpoints            which checkpoints are there, oldest first
  squall checkpoint inspect checkpoints         what the latest one has; every file is checked
  squall checkpoint inspect checkpoints 2-17    the same of another one

Nothing is changed, and a run may be using the directory. It is the one that `storage` in
`[topology.checkpoint]` names; without that key, `squall/TOPOLOGY/checkpoints` in $XDG_STATE_HOME
or ~/.local/state.

Exit codes: 0 all is well; 1 something cannot be read; 2 the command line is wrong.";

/// Look at the checkpoints of a topology, and check them
///
/// Topologies with `delivery = "exactly-once"` keep checkpoints in a directory.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(list::Args),
    Inspect(inspect::Args),
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    match &args.command {
        Command::List(args) => list::execute(args, context.colors(Stream::Err)),
        Command::Inspect(args) => inspect::execute(args),
    }
}
