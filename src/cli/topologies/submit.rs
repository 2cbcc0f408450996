//! `squall submit TOPOLOGY`.

use std::env;

use crate::cli::checkpoint_flags::{CheckpointFlags, begin_in_cluster};
use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::load::Overrides;
use crate::cli::terminal::{self, Stream};
use crate::cli::topologies::program::ProgramFlag;
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::shown::{OutputFlag, worker_table};
use crate::cli::topologies::waiting::{Goal, WaitFlags};
use crate::cluster::access::{TopologyAccess, UserName};
use crate::cluster::operations::{SubmitRequest, Submitted};
use crate::cluster::topologies::{CLUSTER_NAME_MAX, TopologyId};
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall submit topology.toml
  squall submit topology.toml --name words-2 --set topology.workers=8
  squall submit topology.toml --dry-run               where would it run?
  squall submit topology.toml --inactive              its spouts rest until `squall activate`
  squall submit topology.toml --resume                go on from the latest checkpoint
  squall submit topology.toml --from-savepoint /backup/words --discard-checkpoints
  id=$(squall submit topology.toml --no-wait)

The document is read and validated here, with everything that it includes and the environment
variables that it names; the cluster gets these texts. Files that components read must be on the
hosts of the workers.

Checkpoints and savepoints are on the hosts: DIR is a directory there. If a topology of this name
has left checkpoints and not come to its end, the new one fails, unless --resume or
--discard-checkpoints says what becomes of them.

A program that registers components of its own is sent to the cluster with the topology, and runs it.

If there is no room, it stays submitted and starts when there is.

Exit codes: 0 all its workers are up; 1 it is invalid, was refused, has failed, or is not up
within --timeout; with --dry-run: it does not fit; 2 the command line is wrong; 4 no nimbus
answers, or none leads.";

/// Submit a topology to the cluster, and wait until it runs
///
/// Prints the id of the topology: its name, and a number that is never used again.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology document, `-` for stdin, or the name of a topology that the program registers
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    /// How it is called in the cluster, instead of its own name: another way to write `--set topology.name=NAME`
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,

    #[command(flatten)]
    overrides: Overrides,

    /// A user who may look at it and have it do something, beside its owner and administrators; may be repeated
    ///
    /// It counts where the nimbus has users. Storm calls these `topology.users`.
    #[arg(long, value_name = "USER")]
    allow_user: Vec<UserName>,

    /// A user who may look at it; may be repeated
    ///
    /// Storm calls these `topology.readonly.users`.
    #[arg(long, value_name = "USER")]
    allow_reader: Vec<UserName>,

    /// Let its spouts rest until somebody activates it
    #[arg(long)]
    inactive: bool,

    /// Only show where it would run; nothing is started
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    program: ProgramFlag,

    #[command(flatten)]
    checkpoints: CheckpointFlags,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    wait: WaitFlags,

    #[command(flatten)]
    output: OutputFlag,
}

fn parse_name(text: &str) -> Result<String, String> {
    match TopologyId::new(text, 0) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("names have 1 to {CLUSTER_NAME_MAX} letters, digits, `_`, `.` or `-`")),
    }
}

pub(in crate::cli) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let name = args.name.as_ref().map(|name| format!("topology.name=\"{name}\""));
    let (source, topology) = match args.overrides.and(name).record(&args.topology, &context.registry) {
        Ok(read) => read,
        Err(errors) => {
            terminal::write_message(&errors.render(context.colors(Stream::Err)));
            return Ok(CommandOutcome::Failed);
        }
    };
    if let Err(why) = parse_name(topology.name()) {
        return Err(CommandError::Refused(format!(
            "`{}` cannot be the name of a topology in a cluster: {why}; give it another one by --name",
            shown(topology.name())
        )));
    }
    topology.warnings().iter().for_each(|text| terminal::write_message(&format!("warning: {text}")));
    let begin = begin_in_cluster(&args.checkpoints, &topology)?;
    let mut client = args.nimbus.client()?;
    let source = args.program.attach(source, &topology, context, &mut client)?;
    let blob = serde_json::to_vec(&source).expect("a source has text keys only, so it is JSON");
    let source = client.put_blob(&blob)?;
    let submitted = client.submit(&SubmitRequest {
        source,
        owner: owner(),
        access: TopologyAccess { users: args.allow_user.clone(), readers: args.allow_reader.clone() },
        inactive: args.inactive,
        dry_run: args.dry_run,
        begin,
    })?;
    args.output.print(&submitted, for_people)?;
    // Whoever waits is shown how it goes.
    let waits = submitted.id.is_some() && args.wait.waits();
    if let Some(short) = submitted.short.as_ref().filter(|_| !waits) {
        terminal::write_message(&format!("short: {}", shown(short)));
    }
    match &submitted.id {
        // If it runs, but on fewer workers than it asks for, that is no failure.
        None => Ok(CommandOutcome::done_if(!submitted.workers.is_empty())),
        Some(id) => {
            let goal = if args.inactive { Goal::Inactive } else { Goal::Up };
            args.wait.wait(&mut client, id, goal)
        }
    }
}

fn for_people(submitted: &Submitted) -> String {
    match &submitted.id {
        Some(id) => format!("{id}\n"),
        None if submitted.workers.is_empty() => String::new(),
        None => worker_table(&submitted.workers),
    }
}

/// Whose the topology is, as the environment has it.
fn owner() -> String {
    let named =
        ["USER", "LOGNAME"].into_iter().find_map(|name| env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
