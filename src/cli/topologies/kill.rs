//! `squall kill TOPOLOGY`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::waiting::{Goal, WaitFlags};
use crate::cluster::topologies::Wanted;

const EXAMPLES: &str = "\
Examples:
  squall kill words
  squall kill words --no-wait

Exit codes: 0 it has ended; 1 it has not ended within --timeout, or it had ended already; 2 the
command line is wrong; 3 there is no such topology; 4 no nimbus answers, or none leads.";

/// End a topology of the cluster without delay
///
/// Its workers are ended at once: what is in flight is not processed. To have it processed, use `squall stop`. A topology
/// that is being drained can be killed.
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
    let info = client.want(&args.topology, Wanted::Killed)?;
    args.wait.wait(&mut client, &info.id, Goal::Ended)
}
