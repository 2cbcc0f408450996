//! `squall nimbus`.

use rand::Rng as _;
use slog::info;

use crate::cli::context::Context;
use crate::cli::daemons::start::{DaemonFlags, belonging_in, blobs_of, id_of};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cluster::coordination::{CandidateRecord, ClusterRecord, Coordination as _, NodePath};
use crate::cluster::daemons::Nimbus;

const EXAMPLES: &str = "\
Examples:
  squall nimbus
  squall nimbus --config etc/squall.toml --log-format json

Its options are in the tables `[nimbus]` and `[zookeeper]` of the engine's file. One of all nimbuses of
a cluster leads, the others stand by; the first one begins the cluster. So far it elects and lists;
topologies are to come.

It runs until SIGINT, SIGTERM or another signal that asks a process to end; then it gives up the
leadership, so that another one need not wait for the end of its session. A second signal ends it at once.

Exit codes: 0 it was ended; 1 it could not begin; 2 the command line is wrong.";

/// Run a nimbus of a cluster, in the foreground
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    flags: DaemonFlags,
}

pub(in crate::cli) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(engine) = args.flags.engine(context) else { return Ok(CommandOutcome::Failed) };
    let id = id_of("nimbus.id", engine.nimbus.id.as_deref())?;
    let directory = engine.nimbus.directory.as_deref();
    let belonging = belonging_in("nimbus.directory", directory, &format!("nimbus-{id}"))?;
    let blobs = blobs_of(&engine)?;
    let mut beginning = args.flags.begin(&engine, context)?;
    let me = CandidateRecord::new(&id, beginning.rng.next_u64(), &*id);
    let token = u128::from(beginning.rng.next_u64()) << 64 | u128::from(beginning.rng.next_u64());
    let new = ClusterRecord::new(token, beginning.clock.wall_nanos());
    let logger = beginning.logging.logger.clone();
    info!(logger, "a nimbus begins"; "id" => &me.id, "zookeeper" => engine.zookeeper.servers.join(","),
        "blobs" => %blobs.directory().display());
    let mut nimbus = Nimbus::new(belonging, me, new, logger.clone())
        .map_err(|error| CommandError::Refused(error.to_string()))?;
    beginning.run(&[NodePath::root()], || {
        let state = nimbus.step(&beginning.client, beginning.clock.now());
        state.next_step(beginning.client.session().timeout)
    });
    nimbus.end(&beginning.client);
    info!(logger, "this nimbus ends");
    Ok(CommandOutcome::Done)
}
