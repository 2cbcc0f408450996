//! `squall status TOPOLOGY`.

use std::thread;
use std::time::Duration;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal::{self, Stream};
use crate::cli::topologies::client::ClientError;
use crate::cli::topologies::counters::{counters, in_short};
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::shown::{OutputFlag, describe, for_people, print_json_line};
use crate::cluster::operations::TopologyStatus;
use crate::cluster::topologies::TopologyPhase;

const EXAMPLES: &str = "\
Examples:
  squall status words
  squall status words --watch
  squall status words -o json | jq -r .phase
  squall status words -o json | jq '.stats.components[] | {id, executed}'

Exit codes: 0 it is shown, however it goes; 1 it cannot be; 2 the command line is wrong; 3 there
is no such topology; 4 no nimbus answers, or none leads.";

/// How often a topology is shown again.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal, and moves its cursor to the begin.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Show a topology of the cluster: where it runs, how it goes, what it counts, how it has ended
///
/// Its master is asked for the counters. If it does not answer, the rest is shown, and why they are missing.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    /// Show it again each second, until it has ended or Ctrl-C is pressed
    ///
    /// A terminal shows everything anew; elsewhere each time is one line.
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    output: OutputFlag,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    if args.watch {
        return watch(args);
    }
    let status = args.nimbus.client()?.stats(&args.topology)?;
    args.output.print(&status, everything)?;
    Ok(CommandOutcome::Done)
}

fn everything(status: &TopologyStatus) -> String {
    for_people(&status.topology) + &counters(status)
}

fn watch(args: &Args) -> Result<CommandOutcome, CommandError> {
    let mut client = args.nimbus.client()?;
    let redraws = Stream::Out.is_terminal() && !args.output.is_json();
    let mut seen = None;
    loop {
        match client.stats(&args.topology) {
            Ok(status) => {
                let id = seen.get_or_insert_with(|| status.topology.id.clone());
                if *id != status.topology.id {
                    terminal::write_message(&format!("{id} was removed, and submitted again"));
                    return Ok(CommandOutcome::Done);
                }
                match (args.output.is_json(), redraws) {
                    (true, _) => print_json_line(&status)?,
                    (false, true) => terminal::print(&format!("{CLEAR}{}", everything(&status)))?,
                    (false, false) => {
                        let line = format!("{}; {}\n", describe(&status.topology), in_short(&status));
                        terminal::print(&line)?;
                    }
                }
                if status.topology.phase == TopologyPhase::Ended {
                    return Ok(CommandOutcome::Done);
                }
            }
            // Another nimbus may lead soon.
            Err(ClientError::Unreachable(why)) if seen.is_some() => {
                terminal::write_message(&format!("waiting: {why}"));
            }
            Err(error) => return Err(error.into()),
        }
        thread::sleep(WATCH_EVERY);
    }
}
