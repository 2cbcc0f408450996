//! `squall nimbus`.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use slog::info;

use crate::cli::context::Context;
use crate::cli::daemons::api::api_options;
use crate::cli::daemons::start::{DaemonFlags, belonging_in, blobs_of, id_of, key_of, make_key};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cluster::api::ApiServer;
use crate::cluster::coordination::{CandidateRecord, ClusterRecord, Coordination as _, NodePath};
use crate::cluster::daemons::{Leader, LeaderOptions, MasterAccess, Nimbus};
use crate::cluster::operations::Operations;

const EXAMPLES: &str = "\
Examples:
  squall nimbus
  squall nimbus --config etc/squall.toml --log-format json

Its options are in the tables `[nimbus]`, `[cluster]` and `[zookeeper]` of the engine's file. One of
all nimbuses of a cluster leads, the others stand by; the first one begins the cluster. The one that
leads places topologies on the hosts, and places them again when hosts are lost.

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
    if let Some(file) = make_key(&engine, &mut beginning.rng)? {
        info!(beginning.logging.logger, "the key of the cluster was made: copy it to all hosts with a supervisor";
            "file" => %file.display());
    }
    let token = u128::from(beginning.rng.next_u64()) << 64 | u128::from(beginning.rng.next_u64());
    let key = key_of(&engine)?;
    let belonging = belonging.of_key(&key);
    let new = ClusterRecord::new(token, beginning.clock.wall_nanos()).of_key(key.fingerprint());
    let logger = beginning.logging.logger.clone();
    let (zookeeper, kept) = (engine.zookeeper.servers.join(","), blobs.directory().display().to_string());
    let leader = Leader::new(LeaderOptions {
        coordination: beginning.client.clone(),
        clock: beginning.clock.clone(),
        blobs,
        registry: context.registry.clone(),
        supervisor_timeout: engine.nimbus.supervisor_timeout,
        blacklist: engine.nimbus.blacklist.into(),
        rng: StdRng::from_rng(&mut beginning.rng),
        masters: Some(MasterAccess { key, tls: engine.net.tls.clone() }),
        logger: logger.clone(),
    });
    let leader = Arc::new(leader);
    let operations: Arc<dyn Operations> = leader.clone();
    let options = api_options(&engine.nimbus, engine.nimbus.listen, &beginning.clock, &logger)?;
    let api = ApiServer::start(options, operations, &logger)?;
    let me = CandidateRecord::new(&id, beginning.rng.next_u64(), api.endpoint().to_owned());
    info!(logger, "a nimbus begins"; "id" => &me.id, "api" => &me.address, "zookeeper" => zookeeper, "blobs" => kept);
    let mut nimbus = Nimbus::new(belonging, me, new, logger.clone())
        .map_err(|error| CommandError::Refused(error.to_string()))?;
    beginning.run(&[NodePath::root()], || {
        let state = nimbus.step(&*beginning.client, beginning.clock.now());
        let next = leader.step(&state, nimbus.leader_address());
        state.next_step(beginning.client.session().timeout).min(next)
    });
    drop(api);
    leader.end();
    nimbus.end(&*beginning.client);
    info!(logger, "this nimbus ends");
    Ok(CommandOutcome::Done)
}
