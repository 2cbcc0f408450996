//! `squall secret set`, `list` and `remove`: the secrets of this host.

mod directory;
mod list;
mod remove;
mod set;

use clap::Subcommand;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};

const EXAMPLES: &str = "\
Examples:
  squall secret set orders-db < orders-db.txt        write a secret, or replace it
  squall secret list
  squall secret remove orders-db

A topology names a secret by { secret = \"orders-db\" } where a setting is one, such as the `url` of
`postgres`. Its value is a file of this host, which nobody else may read. In a cluster, each host
that is to run the topology needs it: run the command there. Values are never sent, logged or shown.

Without --directory, secrets are in the directory that `directory` in `[secrets]` of the engine's
file names, or in squall/secrets in $XDG_STATE_HOME or ~/.local/state.

Exit codes: 0 done; 1 it failed, or there is no such secret; 2 the command line is wrong.";

/// Secrets of this host, which topologies name and never have
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Set(set::Args),
    List(list::Args),
    Remove(remove::Args),
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    match &args.command {
        Command::Set(args) => set::execute(args, context),
        Command::List(args) => list::execute(args, context),
        Command::Remove(args) => remove::execute(args, context),
    }
}
