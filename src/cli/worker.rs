//! `squall worker` and `squall master`: the commands that `run --workers` and supervisors start. Hidden from the help,
//! not for users.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cluster::master::run_appointed;
use crate::cluster::platform::PROCESS_PROTOCOL;
use crate::cluster::{self, worker::WorkerError};

/// Be a worker of a topology; started by `run --workers` or a supervisor, not by hand
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The private directory of the worker; without it, the control channel is stdin
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Only print which protocol of supervisors and processes this program speaks
    #[arg(long, conflicts_with = "directory")]
    protocol: bool,
}

/// Be the master of a topology; started by a supervisor, not by hand
#[derive(clap::Args, Debug)]
pub(super) struct MasterArgs {
    /// The private directory of the master
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    if args.protocol {
        let spoken = json!({ "protocol": PROCESS_PROTOCOL, "squall": env!("CARGO_PKG_VERSION") });
        terminal::print_json(&spoken)?;
        return Ok(CommandOutcome::Done);
    }
    let start = &cluster::wired::start;
    let result = match &args.directory {
        None => cluster::worker::run(&context.registry, start),
        Some(directory) => cluster::worker::run_linked(directory, &context.registry, start),
    };
    match result {
        Ok(was_in_order) => Ok(CommandOutcome::done_if(was_in_order)),
        Err(WorkerError::ByHand) => {
            let program = &context.program;
            terminal::write_message(&format!(
                "`{program} worker` is started by `{program} run --workers N`, which sends it what to do; there \
                 is nothing to start by hand."
            ));
            Ok(CommandOutcome::Misused)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn execute_master(args: &MasterArgs, context: &Context) -> Result<CommandOutcome, CommandError> {
    run_appointed(&args.directory, &context.registry)?;
    Ok(CommandOutcome::Done)
}
