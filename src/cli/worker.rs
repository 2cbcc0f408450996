//! `squall worker`: the command that `run --workers` starts. Hidden from the help, not for users.

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cluster::{self, worker::WorkerError};

/// Be a worker of a topology; started by `run --workers`, not by hand
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) fn execute(_args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    match cluster::worker::run(&context.registry, &cluster::wired::start) {
        Ok(was_in_order) => Ok(CommandOutcome::done_if(was_in_order)),
        Err(WorkerError::ByHand) => {
            let program = &context.program;
            terminal::write_message(&format!(
                "`{program} worker` is started by `{program} run --workers N`, which sends it what to do; there \
                 is nothing to start by hand."
            ));
            Ok(CommandOutcome::Misused)
        }
        Err(error) => Err(CommandError::Refused(error.to_string())),
    }
}
