//! `squall dev`: a whole cluster in one command.

mod cluster;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use slog::FilterLevel;

use crate::cli::context::Context;
use crate::cli::dev::cluster::{DevCluster, DevOptions};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::load;
use crate::cli::log_format::LogFormatFlag;
use crate::cli::terminal::{self, Stream};
use crate::cluster::daemons::EndRequest;
use crate::cluster::topologies::{Occupancy, OccupancyError};
use crate::components::stream::Stream as OutputStream;
use crate::config::{NimbusOptions, limits};
use crate::files::make_private_directory;
use crate::logging::{Levels, Logging};
use crate::runtime::state_home;

const EXAMPLES: &str = "\
Examples:
  squall dev                                   a cluster of three supervisors; Ctrl-C ends it
  squall dev --supervisors 1 --slots 8         one supervisor for up to eight workers
  squall dev --fresh                           forget the topologies of the last time
In another terminal:
  squall submit topologies/word_count.toml     run a topology on it
  squall list                                  what runs

Nimbus and the supervisors are threads of this process, and what else they need (ZooKeeper) is in its
memory; masters and workers of topologies are processes of their own. What the cluster knows is kept in
the directory: the next `squall dev` goes on with the topologies that were there. Each process logs to
`worker.log`, and prints to `output`, in its own directory below DIR/supervisor-N/topologies.

It runs until SIGINT, SIGTERM or another signal that asks a process to end; then it ends all processes
of topologies. A second signal ends this process alone, at once.

Exit codes: 0 it was ended; 1 it could not begin; 2 the command line is wrong.";

/// Run a whole cluster on this machine, with nothing else installed
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How many supervisors, each as if it were a host of its own
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    supervisors: u16,

    /// How many workers each supervisor may run
    #[arg(long, value_name = "COUNT", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::HOST_SLOTS_MAX)))]
    slots: u16,

    /// Where the cluster keeps what it knows [default: `squall/dev` below the user's state directory]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Where the API listens [default: `nimbus.listen` of the engine's file, 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Delete what an earlier cluster has left in the directory, with its topologies
    #[arg(long)]
    fresh: bool,

    /// The engine's file, `squall.toml`
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG", hide_env_values = true)]
    config: Option<String>,

    /// The level of what is logged: off, critical, error, warn, info, debug or trace [default: warn]
    #[arg(long, value_name = "SPEC", env = "SQUALL_LOG", hide_env_values = true)]
    log: Option<Levels>,

    #[command(flatten)]
    log_format: LogFormatFlag,
}

/// How often it is looked whether the cluster is ready, or is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(engine) = load::engine(args.config.as_deref(), context) else {
        return Ok(CommandOutcome::Failed);
    };
    let listen = args.listen.unwrap_or(engine.nimbus.listen);
    let problem = NimbusOptions { listen, ..engine.nimbus.clone() }.problems().into_iter().next();
    if let Some(problem) = problem {
        return Err(CommandError::Refused(problem.to_string()));
    }
    let directory = directory(args)?;
    let end = EndRequest::on_signals().map_err(CommandError::io("catch signals"))?;
    let _occupancy = occupy(&directory)?;
    if args.fresh {
        cluster::forget(&directory)?;
    }
    let levels = args.log.clone().unwrap_or_else(|| Levels::all(FilterLevel::Warning));
    let (format, color) = (args.log_format.format(), context.colors(Stream::Err));
    let mut logging = Logging::start(levels, format, color, OutputStream::stderr());
    logging.log_panics();
    let options = DevOptions {
        supervisors: args.supervisors,
        slots: args.slots,
        directory: directory.clone(),
        listen,
        engine,
        format,
        registry: context.registry.clone(),
        logger: logging.logger.clone(),
        end: end.clone(),
    };
    let cluster = DevCluster::start(options)?;
    let program = &context.program;
    let mut is_announced = false;
    while !end.is_there() && !cluster.has_ended() {
        if !is_announced && cluster.is_ready() {
            is_announced = true;
            let address = cluster.endpoint();
            let is_default = address == engine_default().to_string();
            let to = if is_default { String::new() } else { format!(" --nimbus {address}") };
            let took = cluster.age().as_secs_f64();
            terminal::write_message(&format!(
                "A cluster of {} supervisors runs on {address}, ready after {took:.2} s. Its data are in {}.\n\
                 Submit a topology in another terminal: {program} submit{to} topologies/word_count.toml\n\
                 Ctrl-C ends the cluster and all that runs on it.",
                args.supervisors,
                directory.display()
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    terminal::write_message("The cluster ends, and all that runs on it.");
    cluster.finish()?;
    Ok(CommandOutcome::Done)
}

/// Where commands look for a nimbus if nothing else is said.
fn engine_default() -> SocketAddr {
    NimbusOptions::default().listen
}

fn directory(args: &Args) -> Result<PathBuf, CommandError> {
    let directory = match (&args.directory, state_home()) {
        (Some(directory), _) => {
            std::path::absolute(directory).map_err(CommandError::io("find the directory"))?
        }
        (None, Some(home)) => home.join("squall").join("dev"),
        (None, None) => {
            let why = "neither XDG_STATE_HOME nor HOME is set: name a directory by `--directory`";
            return Err(CommandError::Refused(why.to_owned()));
        }
    };
    make_private_directory(&directory)
        .map_err(CommandError::io(format!("make the directory `{}`", directory.display())))?;
    Ok(directory)
}

fn occupy(directory: &std::path::Path) -> Result<Occupancy, CommandError> {
    Occupancy::take(directory).map_err(|error| match error {
        OccupancyError::Taken { directory, pid } => {
            let pid = pid.map(|pid| format!(", process {pid},")).unwrap_or_default();
            CommandError::Refused(format!(
                "another `squall dev`{pid} has the directory `{}`: end it, or name another directory by `--directory`",
                directory.display()
            ))
        }
        error => CommandError::Refused(error.to_string()),
    })
}
