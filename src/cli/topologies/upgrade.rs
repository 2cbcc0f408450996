//! `squall upgrade TOPOLOGY FILE`.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::checkpoint_flags::absolute_text;
use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::load::Overrides;
use crate::cli::terminal::{self, Stream};
use crate::cli::topologies::client::NimbusClient;
use crate::cli::topologies::program::ProgramFlag;
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::rebalance::moves_for_people;
use crate::cli::topologies::shown::OutputFlag;
use crate::cli::topologies::waiting::{Goal, WaitFlags};
use crate::cluster::operations::{SavepointRequest, UpgradeRequest, Upgraded};
use crate::cluster::topologies::UpgradeOutcome;
use crate::config::units::parse_duration;
use crate::text::shown;

/// Longer than `--timeout` it takes until it is known what came of an upgrade, and until the topology before is up.
const SETTLES_IN: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  squall upgrade words words.toml --dry-run           what would change?
  squall upgrade words words.toml
  squall upgrade words words.toml --set bolt.count.parallelism=4 --timeout 5m
  squall upgrade words words.toml --allow-dropped-state old-count

The document is read and validated here, as by `squall submit`. Then a savepoint is taken of a topology
with `delivery = \"exactly-once\"`, as a way back for people, and the new topology takes the place of the
one that runs. It goes on from the latest checkpoint, and counts nothing twice. Another delivery emits
again what was in flight, and begins with empty state.

It is up when all workers are, and have opened all tasks; with checkpoints, when the first one could be
taken. If it cannot begin, fails, or is not up within --timeout, the topology before runs again, from the
checkpoint that the new one began with: nothing is lost, and nothing is counted twice.

Exit codes: 0 the new topology is up, or with --no-wait: the cluster has taken it; 1 it is invalid, was
refused, or does not fit, and nothing was changed, or it is not known in time what came of it; 2 the
command line is wrong; 3 there is no such topology; 4 no nimbus answers, or none leads; 5 it was rolled
back: the topology before runs.";

/// Put another topology in the place of one that runs, and go back by itself if it does not come up
///
/// Prints what changes, which executors move, and where its workers run.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology that runs, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    /// The new topology document, `-` for stdin, or the name of a topology that the program registers
    #[arg(value_name = "FILE")]
    file: String,

    #[command(flatten)]
    overrides: Overrides,

    /// Leave behind what a component that is gone kept in the checkpoint, or one state of a component
    ///
    /// COMPONENT is for a component that is gone. COMPONENT.STATE is for a state that the component does not register any
    /// more, or registers as another one on purpose: it begins empty. If a name has a dot itself, COMPONENT:STATE is clear
    /// in every case. Without this flag such state is a reason to roll back, so that nothing is lost unnoticed. May be
    /// repeated.
    #[arg(long, value_name = "COMPONENT[.STATE]")]
    allow_dropped_state: Vec<String>,

    /// Where the savepoint goes that is taken first: a directory of the hosts that is empty or not there
    ///
    /// By default it is a new one, beside the directory of the checkpoints.
    #[arg(long, value_name = "DIR", conflicts_with = "no_savepoint")]
    savepoint: Option<PathBuf>,

    /// Take no savepoint first
    #[arg(long)]
    no_savepoint: bool,

    /// Only show what would change and move, and what is short; nothing is changed
    #[arg(long)]
    dry_run: bool,

    /// Return as soon as the cluster has taken it, without waiting until it is up
    #[arg(long)]
    no_wait: bool,

    /// Until when the new topology has to be up, or it is rolled back; a number with a unit, as in `90s` or `5m`
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,

    #[command(flatten)]
    program: ProgramFlag,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    output: OutputFlag,
}

pub(in crate::cli) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let name = &args.topology;
    let (source, topology) = match args.overrides.record(&args.file, &context.registry) {
        Ok(read) => read,
        Err(errors) => {
            terminal::write_message(&errors.render(context.colors(Stream::Err)));
            return Ok(CommandOutcome::Failed);
        }
    };
    if topology.name() != name {
        let other = shown(topology.name());
        return Err(CommandError::Refused(format!(
            "the document is of a topology `{other}`, and `{}` is to be upgraded: if that is meant, add \
             `--set topology.name={}`",
            shown(name),
            shown(name)
        )));
    }
    topology.warnings().iter().for_each(|text| terminal::write_message(&format!("warning: {text}")));
    let mut client = args.nimbus.client()?;
    // Before anything is changed: whether there is such a topology, and the new one fits.
    client.topology(name)?;
    let source = args.program.attach(source, &topology, context, &mut client)?;
    let blob = serde_json::to_vec(&source).expect("a source has text keys only, so it is JSON");
    let request = UpgradeRequest {
        source: client.put_blob(&blob)?,
        timeout_seconds: args.timeout.as_millis().div_ceil(1000) as u64,
        allow_dropped_state: args.allow_dropped_state.clone(),
        dry_run: true,
    };
    let planned = client.upgrade(name, &request)?;
    if args.dry_run || planned.short.is_some() {
        args.output.print(&planned, for_people)?;
        if let Some(short) = &planned.short {
            terminal::write_message(&format!("short: {}", shown(short)));
        }
        return Ok(CommandOutcome::done_if(planned.short.is_none()));
    }
    if topology.options().delivery.is_exactly_once() && !args.no_savepoint {
        take_savepoint(args, &mut client)?;
    }
    let upgraded = client.upgrade(name, &UpgradeRequest { dry_run: false, ..request })?;
    args.output.print(&upgraded, for_people)?;
    match upgraded.generation {
        Some(generation) if !args.no_wait => wait(args, &mut client, &upgraded, generation),
        _ => Ok(CommandOutcome::Done),
    }
}

/// Takes the savepoint to which people can go back.
fn take_savepoint(args: &Args, client: &mut NimbusClient) -> Result<(), CommandError> {
    let name = &args.topology;
    let directory = args.savepoint.as_deref().map(absolute_text).transpose()?;
    let info = client.savepoint(name, &SavepointRequest { directory, stops: false })?;
    let number = info.savepoint_wanted.map_or(0, |wish| wish.number);
    let wait = WaitFlags::at_most(args.timeout + SETTLES_IN);
    let _ = wait.wait(client, &info.id, Goal::Savepoint { number, stops: false })?;
    let answer = client.topology(name)?.savepoint.filter(|answer| answer.number == number);
    let taken = answer.as_ref().and_then(|answer| answer.taken.as_ref());
    match taken {
        Some(taken) => {
            terminal::write_message(&format!("a savepoint is in {}", shown(&taken.directory)));
            Ok(())
        }
        None => {
            let why = answer.and_then(|answer| answer.failure).unwrap_or_else(|| "it has ended".to_owned());
            Err(CommandError::Refused(format!(
                "nothing was changed, because no savepoint was taken: {}; `--no-savepoint` upgrades without one",
                shown(why)
            )))
        }
    }
}

/// Waits until it is known what came of the upgrade.
fn wait(
    args: &Args,
    client: &mut NimbusClient,
    upgraded: &Upgraded,
    generation: u64,
) -> Result<CommandOutcome, CommandError> {
    let flags = WaitFlags::at_most(args.timeout + SETTLES_IN);
    let ended = flags.wait(client, &upgraded.id, Goal::Upgrade(generation))?;
    let info = client.topology(&args.topology)?;
    let outcome = info.upgrade.filter(|upgrade| upgrade.generation == generation);
    match outcome.map(|upgrade| upgrade.outcome) {
        Some(UpgradeOutcome::RolledBack(why)) => {
            terminal::write_message(&format!("rolled back: {}", shown(why)));
            // That it runs again is shown. The upgrade has failed, however long that takes.
            let _ = flags.wait(client, &upgraded.id, Goal::Generation(generation + 1))?;
            Ok(CommandOutcome::RolledBack)
        }
        _ => Ok(ended),
    }
}

fn for_people(upgraded: &Upgraded) -> String {
    let mut text: String = upgraded.changes.iter().map(|line| format!("{}\n", shown(line))).collect();
    if !text.is_empty() {
        text.push('\n');
    }
    text + &moves_for_people(&upgraded.moves, &upgraded.workers)
}
