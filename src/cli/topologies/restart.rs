//! `squall restart TOPOLOGY`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::waiting::{Goal, WaitFlags};

const EXAMPLES: &str = "\
Examples:
  squall restart words

Exit codes: 0 all its workers are up again; 1 they are not within --timeout, it has failed, or it
has ended or is ending; 2 the command line is wrong; 3 there is no such topology; 4 no nimbus
answers, or none leads.";

/// Have all workers of a topology of the cluster begin anew
///
/// They stay where they are. A topology with `delivery = \"exactly-once\"` goes on from its latest checkpoint, and counts
/// nothing twice; another one emits again what was in flight, and begins with empty state.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    wait: WaitFlags,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let mut client = args.nimbus.client()?;
    let info = client.restart(&args.topology)?;
    args.wait.wait(&mut client, &info.id, Goal::Generation(info.generation))
}
