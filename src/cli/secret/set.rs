//! `squall secret set NAME`.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::secret::directory::DirectoryFlags;
use crate::cli::terminal;
use crate::files::read_regular;
use crate::secrets::{SECRET_BYTES_MAX, SecretName};
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  pass show orders-db | squall secret set orders-db
  squall secret set orders-db --from-file orders-db.txt
  read -rs VALUE && printf %s \"$VALUE\" | squall secret set orders-db     typed, and not shown

The value is never an argument, because `ps` shows arguments, and a terminal is not read, because it
shows what is typed. The value is at most 64 KiB of UTF-8, and one line end at its end is left out
when it is read. The file gets mode 600, and a new directory mode 700. A value that is there is
replaced as a whole: components that run use it from their next connection or restart on.

Exit codes: 0 done; 1 it failed; 2 the command line is wrong.";

/// Write a secret of this host, or replace it
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The secret: 1 to 64 letters, digits, `_`, `.` or `-`, and no dot first
    #[arg(value_name = "NAME")]
    name: SecretName,

    /// Read the value from this file instead of from standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    #[command(flatten)]
    directory: DirectoryFlags,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(secrets) = args.directory.secrets(context) else { return Ok(CommandOutcome::Failed) };
    let value = match &args.from_file {
        Some(file) => from_file(file)?,
        None => from_stdin()?,
    };
    secrets.set(&args.name, &value)?;
    let file = secrets.path().unwrap_or(Path::new(".")).join(args.name.as_str());
    terminal::write_message(&format!("{} was set: {}", args.name, shown(file.display())));
    Ok(CommandOutcome::Done)
}

fn from_file(file: &Path) -> Result<Vec<u8>, CommandError> {
    // One byte more: that it is too long is found where it is written.
    read_regular(file, SECRET_BYTES_MAX + 1)
        .map_err(CommandError::io(format!("read the value from `{}`", shown(file.display()))))
}

fn from_stdin() -> Result<Vec<u8>, CommandError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(CommandError::Refused(
            "standard input is a terminal, which would show the value: pipe the value in, or name a file by --from-file"
                .to_owned(),
        ));
    }
    let mut value = Vec::new();
    let read = stdin.lock().take(SECRET_BYTES_MAX + 1).read_to_end(&mut value);
    read.map_err(CommandError::io("read the value from standard input"))?;
    Ok(value)
}
