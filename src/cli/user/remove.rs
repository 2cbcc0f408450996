//! `squall user remove NAME`.

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::user::file::FileFlags;
use crate::cluster::access::{UserName, UsersFile};

const EXAMPLES: &str = "\
Examples:
  squall user remove bob
  squall user remove bob --users-file users.toml

Its token is nobody's at once. Its topologies run on, and stay those of that name: a user who is added
later under the same name gets them.

Exit codes: 0 done; 1 there is no such user, or it failed; 2 the command line is wrong.";

/// Remove a user, whose token is nobody's then
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The user
    #[arg(value_name = "NAME")]
    name: UserName,

    #[command(flatten)]
    file: FileFlags,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(path) = args.file.path(context)? else { return Ok(CommandOutcome::Failed) };
    UsersFile::change(&path, |users| match users.users.remove(&args.name) {
        Some(_) => Ok(()),
        None => Err(CommandError::Refused(format!("there is no user `{}`", args.name))),
    })?;
    terminal::write_message(&format!("{} was removed", args.name));
    Ok(CommandOutcome::Done)
}
