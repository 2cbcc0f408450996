//! `squall secret remove NAME`.

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::secret::directory::DirectoryFlags;
use crate::cli::terminal;
use crate::secrets::SecretName;

const EXAMPLES: &str = "\
Examples:
  squall secret remove orders-db

Components that are open go on with the value that they have read. One that is opened or connects
after this fails, and tries again, until the secret is there again.

Exit codes: 0 done; 1 there is no such secret, or it failed; 2 the command line is wrong.";

/// Remove a secret of this host
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The secret
    #[arg(value_name = "NAME")]
    name: SecretName,

    #[command(flatten)]
    directory: DirectoryFlags,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(secrets) = args.directory.secrets(context) else { return Ok(CommandOutcome::Failed) };
    match secrets.remove(&args.name)? {
        true => {
            terminal::write_message(&format!("{} was removed", args.name));
            Ok(CommandOutcome::Done)
        }
        false => Err(CommandError::Refused(format!("there is no secret `{}`", args.name))),
    }
}
