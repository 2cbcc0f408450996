//! `squall savepoint create RUN`.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::runs::directory::find;
use crate::cli::runs::messages::{Reply, Request};
use crate::cli::terminal;
use crate::cli::topologies::savepoint::take as savepoint_in_cluster;
use crate::cli::topologies::{NimbusFlag, WaitFlags};

const EXAMPLES: &str = "\
Examples:
  squall savepoint create words
  squall savepoint create words --dir /backup/words-before-the-upgrade
  squall run words.toml --from-savepoint /backup/words-before-the-upgrade
  squall savepoint create words --cluster        of a topology of the cluster

A savepoint is a checkpoint that is copied to a directory of its own, with everything that belongs to
it. squall never deletes it. `squall checkpoint inspect DIR` shows what is in it.";

/// Take savepoints of running topologies
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Create(Create),
}

/// Take a savepoint of a running topology
///
/// Prints the directory. The topology must have `delivery = "exactly-once"`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
struct Create {
    /// The run: its name as `squall ps` shows it, its topology, or its process; or the topology of the cluster
    #[arg(value_name = "RUN")]
    run: String,

    /// End the run with it: spouts rest, and when the savepoint is there and committed, the run ends
    ///
    /// Nothing is finished: a run that begins with the savepoint goes on where this one stopped.
    #[arg(long)]
    stop: bool,

    /// Where to; it must be empty or not there
    ///
    /// The default is a new directory in `savepoints`, beside the directory of the topology's checkpoints.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Print a JSON object, with `checkpoint` and `directory`
    #[arg(long)]
    json: bool,

    /// Of the topology of the cluster that has this name, and not of a run on this machine
    ///
    /// Then DIR is a directory on the hosts.
    #[arg(long)]
    cluster: bool,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    wait: WaitFlags,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let Command::Create(create) = &args.command;
    if create.cluster {
        let savepoint = (create.dir.as_deref(), create.stop);
        return savepoint_in_cluster(&create.run, savepoint, &create.nimbus, create.wait, create.json);
    }
    take(&create.run, create.stop, create.dir.as_deref(), create.json)
}

/// Takes a savepoint, and prints where it is.
pub(super) fn take(
    run: &str,
    stop: bool,
    directory: Option<&Path>,
    as_json: bool,
) -> Result<CommandOutcome, CommandError> {
    // The run may have another working directory.
    let absolute = |path: &Path| std::path::absolute(path);
    let directory = directory.map(absolute).transpose().map_err(CommandError::io("find the directory"))?;
    let reply = find(run)?.ask(&Request::Savepoint { directory, stop })?;
    let Reply::Savepoint { checkpoint, directory } = reply else {
        return Err(CommandError::Refused(format!("the run gave another answer: {reply:?}")));
    };
    match as_json {
        true => terminal::print_json(&json!({ "checkpoint": checkpoint, "directory": directory }))?,
        false => terminal::print(&format!("{}\n", directory.display()))?,
    }
    Ok(CommandOutcome::Done)
}
