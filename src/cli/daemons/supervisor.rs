//! `squall supervisor`.

use rand::Rng as _;
use slog::info;

use crate::cli::context::Context;
use crate::cli::daemons::start::{DaemonFlags, belonging_in, id_of};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cluster::daemons::{Supervisor, SupervisorRecord};

const EXAMPLES: &str = "\
Examples:
  squall supervisor
  squall supervisor --config etc/squall.toml --log-format json

Its options are in the tables `[supervisor]` and `[zookeeper]` of the engine's file. It offers the slots
and resources of its host to the cluster that a nimbus has begun. So far it is listed by `squall
cluster`; that it starts workers is to come.

It runs until SIGINT, SIGTERM or another signal that asks a process to end; then it leaves the cluster at
once. A second signal ends it at once.

Exit codes: 0 it was ended; 1 it could not begin; 2 the command line is wrong.";

/// Run the supervisor of this host, in the foreground
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    flags: DaemonFlags,
}

pub(in crate::cli) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(engine) = args.flags.engine(context) else { return Ok(CommandOutcome::Failed) };
    let options = &engine.supervisor;
    let id = id_of("supervisor.id", options.id.as_deref())?;
    let own = format!("supervisor-{id}");
    let belonging = belonging_in("supervisor.directory", options.directory.as_deref(), &own)?;
    let mut beginning = args.flags.begin(&engine, context)?;
    let me = SupervisorRecord {
        id,
        rack: options.host.rack.clone(),
        slots: options.host.slots,
        resources: options.host.resources,
        token: format!("{:016x}", beginning.rng.next_u64()),
        started_at: beginning.started_at(),
    };
    let logger = beginning.logging.logger.clone();
    info!(logger, "a supervisor begins"; "id" => &me.id, "zookeeper" => engine.zookeeper.servers.join(","));
    let mut supervisor = Supervisor::new(belonging, me, logger.clone())
        .map_err(|error| CommandError::Refused(error.to_string()))?;
    beginning.run(&supervisor.watched(), || supervisor.step(&*beginning.client).next_step());
    supervisor.end(&*beginning.client);
    info!(logger, "this supervisor ends");
    Ok(CommandOutcome::Done)
}
