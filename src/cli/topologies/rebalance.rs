//! `squall rebalance TOPOLOGY`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::table::table;
use crate::cli::terminal;
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::shown::{OutputFlag, worker_table};
use crate::cli::topologies::waiting::{Goal, WaitFlags};
use crate::cluster::operations::{MoveInfo, RebalanceRequest, Rebalanced, WorkerInfo};
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall rebalance words --workers 4
  squall rebalance words --set bolt.count.parallelism=4 --dry-run
  squall rebalance words                              spread its workers over the hosts

Without --workers and --set, workers move from hosts with more of them to hosts with fewer. Only those
that move begin anew, as after a death, and the others go on.

With other workers or values, what can stay in its slot stays, and all workers begin anew: a topology
with `delivery = \"exactly-once\"` goes on from its latest checkpoint, whose state is shared out anew, and
counts nothing twice; another one emits again what was in flight, and begins with empty state. A topology
with `strategy = \"resource-aware\"` begins anew in any case.

If there is no room, nothing is changed.

Exit codes: 0 all its workers are up; 1 a value is not allowed, there is no room, they are not up within
--timeout, it has failed, or it has ended or is ending; with --dry-run: it does not fit; 2 the command
line is wrong; 3 there is no such topology; 4 no nimbus answers, or none leads.";

/// Have a topology of the cluster run with other workers, parallelism or values
///
/// Prints which executors move, and where its workers run.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    /// In how many workers it runs: another way to write `--set topology.workers=N`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,

    /// Lay a value over those that it has, as in `bolt.count.parallelism=2`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Only show what would move, and what is short; nothing is changed
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    wait: WaitFlags,

    #[command(flatten)]
    output: OutputFlag,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let workers = args.workers.map(|workers| format!("topology.workers={workers}"));
    let overrides = args.set.iter().cloned().chain(workers).collect();
    let mut client = args.nimbus.client()?;
    let request = RebalanceRequest { overrides, dry_run: args.dry_run };
    let planned = client.rebalance(&args.topology, &request)?;
    args.output.print(&planned, for_people)?;
    match planned.generation {
        Some(generation) => args.wait.wait(&mut client, &planned.id, Goal::Generation(generation)),
        None => {
            if let Some(short) = &planned.short {
                terminal::write_message(&format!("short: {}", shown(short)));
            }
            Ok(CommandOutcome::done_if(planned.short.is_none()))
        }
    }
}

fn for_people(planned: &Rebalanced) -> String {
    moves_for_people(&planned.moves, &planned.workers)
}

/// Which executors move, and where the workers run.
pub(super) fn moves_for_people(moves: &[MoveInfo], workers: &[WorkerInfo]) -> String {
    let mut text = String::new();
    if !moves.is_empty() {
        let mut rows = vec![["EXECUTORS", "FROM", "TO", "WHY"].map(str::to_owned)];
        let slot = |slot: &Option<String>| slot.as_ref().map_or_else(|| "-".to_owned(), shown);
        rows.extend(
            moves.iter().map(|it| [it.executors.to_string(), slot(&it.from), slot(&it.to), shown(&it.why)]),
        );
        text.push_str(&table(&rows, &[0]));
        text.push('\n');
    }
    if !workers.is_empty() {
        text.push_str(&worker_table(workers));
    }
    text
}
