//! `squall zk ls` and `squall zk get`.

pub(super) mod access;
mod get;
mod ls;

use clap::Subcommand;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};

const EXAMPLES: &str = "\
Examples:
  squall zk ls                                   the nodes directly below the root of the cluster
  squall zk ls /topologies -R --config etc/squall.toml
  squall zk get /nimbus                          which nimbus leads
  squall zk ls --servers zoo1:2181,zoo2:2181 --root /squall/test

The ensemble is the one of `[zookeeper]` in the engine's file; without a file, 127.0.0.1:2181 with
the root `/squall`. Paths are below that root. Nothing is changed.

Exit codes: 0 done; 1 there is no such node, or no server answers; 2 the command line is wrong.";

/// Look at what a cluster keeps in ZooKeeper
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Ls(ls::Args),
    Get(get::Args),
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    match &args.command {
        Command::Ls(args) => ls::execute(args, context),
        Command::Get(args) => get::execute(args, context),
    }
}
