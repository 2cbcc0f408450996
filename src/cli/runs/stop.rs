//! `squall stop RUN`.

use std::path::PathBuf;

use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::runs::directory::find;
use crate::cli::runs::messages::{Reply, Request};
use crate::cli::runs::savepoint;
use crate::cli::terminal;

const EXAMPLES: &str = "\
Examples:
  squall stop words                              drain it: bolts finish, and the run has ended
  squall stop words --savepoint                  stop it, to be continued
  squall stop words --savepoint=/backup/words
  squall run words.toml --from-savepoint /backup/words

Without --savepoint the command returns when the run has begun to end. With it, it returns when the
savepoint is there, and prints its directory.";

/// End a running topology, in order or with a savepoint
///
/// Without --savepoint it is drained, as by Ctrl-C: spouts emit no more, and bolts finish.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The run: its name as `squall ps` shows it, its topology, or its process
    #[arg(value_name = "RUN")]
    run: String,

    /// Stop it with a savepoint, from which another run goes on, in this directory
    ///
    /// The default is a new directory in `savepoints`, beside the directory of the topology's checkpoints.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    savepoint: Option<Option<PathBuf>>,
}

pub(in crate::cli) fn execute(args: &Args) -> Result<CommandOutcome, CommandError> {
    if let Some(directory) = &args.savepoint {
        return savepoint::take(&args.run, true, directory.as_deref(), false);
    }
    let run = find(&args.run)?;
    match run.ask(&Request::Drain)? {
        Reply::Draining => terminal::write_message(&format!("{} is draining", run.name)),
        reply => return Err(CommandError::Refused(format!("the run gave another answer: {reply:?}"))),
    }
    Ok(CommandOutcome::Done)
}
