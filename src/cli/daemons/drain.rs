//! `squall supervisor drain HOST`.

use crate::cli::daemons::hosts::{find, hosted};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::topologies::{NimbusFlag, WaitFlags};
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall supervisor drain host-3
  squall supervisor drain host-3 --timeout 10m && ssh host-3 reboot
  squall supervisor drain host-3 --no-wait

The host is empty when no worker and no master is assigned to it. Its supervisor goes on, and ends what
was there. It stays out, also when it or nimbus is started again, until `squall supervisor undrain`.

Exit codes: 0 nothing runs there; 1 something does after --timeout, for example because there is no room
elsewhere: it is still to move then; 2 the command line is wrong; 3 there is no such supervisor; 4 no
nimbus answers, or none leads.";

/// Have a host emptied: nothing new is placed there, and what runs there moves to other hosts
///
/// Of each topology only the workers that are there move, and its master. What has no room elsewhere stays, and moves when
/// there is room: draining ends no topology.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The supervisor of the host, by its id, as `squall cluster` lists it
    #[arg(value_name = "HOST")]
    host: String,

    #[command(flatten)]
    nimbus: NimbusFlag,

    #[command(flatten)]
    wait: WaitFlags,
}

pub(super) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    let mut client = args.nimbus.client()?;
    client.drain(&args.host, true)?;
    args.wait.wait_until("squall cluster", || {
        let host = find(client.cluster()?, &args.host);
        let name = shown(&args.host);
        Ok(match host.filter(|host| !host.runs.is_empty()) {
            None => (format!("{name}: nothing runs there"), Some(CommandOutcome::Done)),
            Some(host) => {
                let there: Vec<String> = host.runs.iter().map(hosted).collect();
                (format!("{name}: still there: {}", there.join("; ")), None)
            }
        })
    })
}
