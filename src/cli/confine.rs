//! `squall confine`: what a supervisor starts where processes have limits. Hidden from the help, not for users.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cluster::daemons::confine;

/// Become a program that has limits; started by a supervisor, not by hand
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The file `cgroup.procs` of a control group to join
    #[arg(long, value_name = "FILE")]
    join: Vec<PathBuf>,

    /// How many bytes of data the program may have
    #[arg(long, value_name = "BYTES")]
    data_max: Option<u64>,

    /// The program, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    Err(CommandError::Refused(confine(&args.join, args.data_max, &args.command).to_string()))
}
