//! `squall stop NAME`: a run of this machine, or a topology of the cluster.

use std::path::PathBuf;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::runs::directory::{Found, Run, look_for};
use crate::cli::runs::messages::{Reply, Request};
use crate::cli::runs::savepoint;
use crate::cli::terminal;
use crate::cli::topologies::savepoint::take as savepoint_in_cluster;
use crate::cli::topologies::{NimbusFlag, WaitFlags, stop as in_cluster};

const EXAMPLES: &str = "\
Examples:
  squall stop words                              drain it: bolts finish, and the run has ended
  squall stop words --cluster                    the topology of the cluster, not a run here
  squall stop words --savepoint                  stop it, to be continued
  squall stop words --savepoint=/backup/words
  squall run words.toml --from-savepoint /backup/words
  squall stop words --cluster --savepoint        the same with a topology of the cluster

A run on this machine, as `squall ps` lists it, comes before a topology of the cluster, as
`squall list` does. Of a run, the command returns when it has begun to end; with --savepoint,
when the savepoint is there, and it prints its directory. Of a topology of the cluster, it
returns when that has ended, or after --timeout. To end such a topology without waiting for what
is in flight, use `squall kill`.

Exit codes: 0 a run ends, or a topology of the cluster has ended and all was processed; 1 it
failed or was cut short, or has not ended within --timeout; 2 the command line is wrong; 3 there
is neither a run nor a topology of this name; 4 there is no run of this name, and no nimbus
answers, or none leads.";

/// End a running topology in order, on this machine or in the cluster; or with a savepoint
///
/// Without --savepoint it is drained, as by Ctrl-C: spouts emit no more, and bolts finish. If nothing on this machine has
/// the name, it is the topology of the cluster that is drained.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The run, by its name as `squall ps` shows it, its topology, or its process; or the topology of the cluster
    #[arg(value_name = "NAME")]
    name: String,

    /// Stop it with a savepoint, from which another one goes on, in this directory
    ///
    /// The default is a new directory in `savepoints`, beside the directory of the topology's checkpoints. Of a topology of
    /// the cluster (--cluster), it is a directory on the hosts.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    savepoint: Option<Option<PathBuf>>,

    /// Look in the cluster only, and not for a run on this machine
    #[arg(long)]
    cluster: bool,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    wait: WaitFlags,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    if let (true, Some(directory)) = (args.cluster, &args.savepoint) {
        let savepoint = (directory.as_deref(), true);
        return savepoint_in_cluster(&args.name, savepoint, &args.nimbus, args.wait, false);
    }
    if args.cluster {
        return in_cluster::drain(&args.name, &args.nimbus, args.wait, None);
    }
    if let Some(directory) = &args.savepoint {
        return savepoint::take(&args.name, true, directory.as_deref(), false);
    }
    match look_for(&args.name)? {
        Found::Run(run) => drain(&run),
        Found::None(why) => in_cluster::drain(&args.name, &args.nimbus, args.wait, Some(&why)),
    }
}

fn drain(run: &Run) -> Result<CommandOutcome, CommandError> {
    match run.ask(&Request::Drain)? {
        Reply::Draining => terminal::write_message(&format!("{} is draining", run.name)),
        reply => return Err(CommandError::Refused(format!("the run gave another answer: {reply:?}"))),
    }
    Ok(CommandOutcome::Done)
}
