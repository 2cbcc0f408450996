//! `squall supervisor`, and the commands about one: `squall supervisor drain` and `undrain`.

use clap::Subcommand;
use rand::Rng as _;
use slog::info;

use crate::cli::context::Context;
use crate::cli::daemons::start::{
    Beginning, DaemonFlags, belonging_in, blobs_of, directory_of, id_of, key_of,
};
use crate::cli::daemons::{drain, undrain};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::topologies::reach::blobs_of_nimbuses;
use crate::cluster::blobs::ReadBlob;
use crate::cluster::daemons::{
    AtTheEnd, Children, ChildrenOptions, HostSettings, Limits, Supervisor, SupervisorRecord, host,
};
use crate::cluster::processes::Executable;
use crate::config::EngineOptions;
use crate::runtime::secret_directory;

const EXAMPLES: &str = "\
Examples:
  squall supervisor
  squall supervisor --config etc/squall.toml --log-format json
  squall supervisor drain host-3               have host-3 emptied, from any machine
  squall supervisor undrain host-3             have it used again

Its options are in the tables `[supervisor]`, `[cluster]`, `[zookeeper]`, `[net]` and `[worker]` of the
engine's file. It offers the slots and resources of its host to the cluster that a nimbus has begun, and
runs there the workers and masters of topologies that are assigned to it. It needs the file with the key
of the cluster, which a nimbus makes: copy it.

It runs until SIGINT, SIGTERM or another signal that asks a process to end; then it leaves the cluster at
once. The workers and masters that it has started GO ON, and the next supervisor of this host finds them:
so squall can be updated while topologies run. To end them, kill the topologies first. A second signal
ends it at once.

Exit codes: 0 it was ended; 1 it could not begin; 2 the command line is wrong.";

/// Run the supervisor of this host, in the foreground
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    flags: DaemonFlags,
}

#[derive(Subcommand, Debug)]
enum Action {
    Drain(drain::Args),
    Undrain(undrain::Args),
}

pub(in crate::cli) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    match &args.action {
        Some(Action::Drain(args)) => drain::execute(args),
        Some(Action::Undrain(args)) => undrain::execute(args),
        None => run(args, context),
    }
}

fn run(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(engine) = args.flags.engine(context) else { return Ok(CommandOutcome::Failed) };
    let options = &engine.supervisor;
    let id = id_of("supervisor.id", options.id.as_deref())?;
    let own = format!("supervisor-{id}");
    let directory = directory_of("supervisor.directory", options.directory.as_deref(), &own)?;
    let belonging = belonging_in("supervisor.directory", options.directory.as_deref(), &own)?;
    let key = key_of(&engine)?;
    let belonging = belonging.of_key(&key);
    let read_blob = read_blob_of(&engine)?;
    let mut beginning = args.flags.begin(&engine, context)?;
    let me = SupervisorRecord {
        token: format!("{:016x}", beginning.rng.next_u64()),
        started_at: beginning.started_at(),
        ..SupervisorRecord::new(id.clone(), &options.host)
    };
    let logger = beginning.logging.logger.clone();
    let secrets = secret_directory(&engine.secrets);
    let limits = Limits::prepare(&options.limits, &directory, Executable::This, &logger)
        .map_err(CommandError::Refused)?;
    let executable = Executable::This;
    let children = ChildrenOptions { directory, executable, key, read_blob, limits, logger: logger.clone() };
    let settings = HostSettings {
        id,
        net: engine.net.clone(),
        worker: engine.worker.clone(),
        log_files: engine.supervisor.log_files,
        secrets: secrets.clone(),
        log: args.flags.log_spec(),
    };
    let children = Children::open(children, settings, beginning.clock.now())
        .map_err(|error| CommandError::Refused(error.to_string()))?;
    info!(logger, "a supervisor begins"; "id" => &me.id, "zookeeper" => engine.zookeeper.servers.join(","));
    let mut supervisor = Supervisor::new(belonging, me, logger.clone())
        .map_err(|error| CommandError::Refused(error.to_string()))?
        .with_secrets(secrets);
    let Beginning { client, clock, end, rng, .. } = &mut beginning;
    let at_the_end = (&*end, AtTheEnd::GoOn);
    let ended = host(&mut supervisor, children, &**client, clock, at_the_end, || rng.next_u64());
    supervisor.end(&**client);
    info!(logger, "this supervisor ends"; "what_it_has_started" => "goes on");
    ended.map(|()| CommandOutcome::Done).map_err(|error| CommandError::Refused(error.to_string()))
}

/// Where this host reads what topologies are made of.
fn read_blob_of(engine: &EngineOptions) -> Result<ReadBlob, CommandError> {
    if let Some(read_blob) = blobs_of_nimbuses(engine)? {
        return Ok(read_blob);
    }
    Ok(blobs_of(engine)?.reader())
}
