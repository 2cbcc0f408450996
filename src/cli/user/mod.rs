//! `squall user add`, `list` and `remove`: the file with the users of a nimbus.

mod add;
mod file;
mod list;
mod remove;

use clap::Subcommand;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};

const EXAMPLES: &str = "\
Examples:
  squall user add ada --admin --to ada.token         make the file, with a first user
  squall user add bob --config etc/squall.toml       in the file that `nimbus.users_file` names
  squall user list
  squall user remove bob

A nimbus reads the file again when it changes, so nothing is restarted. With several nimbuses, copy it
to the hosts of all. It has hashes of tokens, and no tokens. Without --users-file it is the one that
`nimbus.users_file` of the engine's file names.

Exit codes: 0 done; 1 it failed, or there is no such user; 2 the command line is wrong.";

/// Users of a cluster's API, and their tokens
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Add(add::Args),
    List(list::Args),
    Remove(remove::Args),
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    match &args.command {
        Command::Add(args) => add::execute(args, context),
        Command::List(args) => list::execute(args, context),
        Command::Remove(args) => remove::execute(args, context),
    }
}
