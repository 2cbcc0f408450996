//! `squall status TOPOLOGY`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::topologies::client::NimbusFlag;
use crate::cli::topologies::shown::{OutputFlag, for_people};

const EXAMPLES: &str = "\
Examples:
  squall status words
  squall status words -o json | jq -r .phase

Exit codes: 0 it is shown, however it goes; 1 it cannot be; 2 the command line is wrong; 3 there
is no such topology; 4 no nimbus answers, or none leads.";

/// Show a topology of the cluster: where it runs, how it goes, how it has ended
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The topology, by its name
    #[arg(value_name = "TOPOLOGY")]
    topology: String,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    output: OutputFlag,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let info = args.nimbus.client().topology(&args.topology)?;
    args.output.print(&info, for_people)?;
    Ok(CommandOutcome::Done)
}
