//! `squall activate TOPOLOGY`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::topologies::reach::NimbusFlag;
use crate::cli::topologies::waiting::{Goal, WaitFlags};
use crate::cluster::topologies::Wanted;

const EXAMPLES: &str = "\
Examples:
  squall activate words

Exit codes: 0 its spouts emit, or have emitted all; 1 they do not within --timeout, or it is ending; 2 the command
line is wrong; 3 there is no such topology; 4 no nimbus answers, or none leads.";

/// Have the spouts of a topology of the cluster emit
///
/// For a topology that was submitted with `--inactive`, or deactivated. One that ends stays as it is.
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
    let info = client.want(&args.topology, Wanted::Active)?;
    args.wait.wait(&mut client, &info.id, Goal::Active)
}
