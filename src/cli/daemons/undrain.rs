//! `squall supervisor undrain HOST`.

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::topologies::NimbusFlag;
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall supervisor undrain host-3

Exit codes: 0 it is used for what is placed from now on; 1 nimbus refuses; 2 the command line is wrong;
3 there is no such supervisor; 4 no nimbus answers, or none leads.";

/// Have a host used again that was drained, or that is blacklisted
///
/// Nothing moves back: `squall rebalance` spreads a topology over the hosts.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The supervisor of the host, by its id, as `squall cluster` lists it
    #[arg(value_name = "HOST")]
    host: String,

    #[command(flatten)]
    nimbus: NimbusFlag,
}

pub(super) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let host = args.nimbus.client()?.drain(&args.host, false)?;
    let name = shown(&args.host);
    terminal::write_message(&match host.is_there {
        true => format!("{name} is used again"),
        false => format!("{name} is used again as soon as its supervisor is there"),
    });
    Ok(CommandOutcome::Done)
}
