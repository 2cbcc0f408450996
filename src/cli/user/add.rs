//! `squall user add NAME`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::terminal;
use crate::cli::user::file::FileFlags;
use crate::clock::Clock;
use crate::cluster::access::{Role, Token, UserEntry, UserName, UsersFile};
use crate::files;
use crate::text::shown;
use crate::tuple::Timestamp;

const EXAMPLES: &str = "\
Examples:
  squall user add ada --admin --to ada.token
  squall user add bob
  squall user add host-1 --host --to host-1.token    for the supervisor of a host that asks for blobs
  squall user add bob --replace                      another token, with which the one before is nobody's
  SQUALL_TOKEN_FILE=ada.token squall list

The token is printed once and kept nowhere: the file with the users has its SHA-256. With --to it is
written to a file that nobody else may read, as commands want it.

Exit codes: 0 done; 1 there is such a user already, or it failed; 2 the command line is wrong.";

/// Add a user, and print its token
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The user: 1 to 64 letters, digits, `_`, `.` or `-`
    #[arg(value_name = "NAME")]
    name: UserName,

    /// Let the user do everything with everything
    #[arg(long)]
    admin: bool,

    /// Do not let the user submit topologies, but only do what topologies allow
    #[arg(long, conflicts_with = "admin")]
    no_submit: bool,

    /// Let the user read what topologies are made of, and nothing else: a supervisor that asks a nimbus for it
    #[arg(long, conflicts_with_all = ["admin", "no_submit"])]
    host: bool,

    /// Give a user who is there already another token and these roles
    #[arg(long)]
    replace: bool,

    /// Write the token to this new file, which nobody else may read, instead of printing it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    #[command(flatten)]
    file: FileFlags,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some(path) = args.file.path(context)? else { return Ok(CommandOutcome::Failed) };
    let mut bytes = [0; 32];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| CommandError::Refused(format!("the system gives no random numbers: {error}")))?;
    let token = Token::new(&bytes);
    // Before the user is there: a token that cannot be handed over would be lost.
    let handed = args.to.as_deref().map(|file| write(file, &token)).transpose();
    handed.map_err(|(file, error)| CommandError::Io {
        action: format!("make the file `{}` for the token", shown(file.display())),
        source: error,
    })?;
    let entry = UserEntry {
        token_sha256: token.hash(),
        roles: roles(args),
        added_at: Timestamp(Clock::real().wall_nanos()).to_string(),
    };
    let added = UsersFile::change(&path, |users| {
        if users.users.contains_key(&args.name) && !args.replace {
            return Err(CommandError::Refused(format!(
                "there is a user `{}` already: --replace gives it another token",
                args.name
            )));
        }
        users.users.insert(args.name.clone(), entry);
        Ok(())
    });
    if let (Err(_), Some(file)) = (&added, &args.to) {
        // It would be nobody's.
        let _ = std::fs::remove_file(file);
    }
    added?;
    let name = &args.name;
    match &args.to {
        Some(file) => terminal::write_message(&format!(
            "{name} was added. Its token is in {}: hand that file over, and name it by SQUALL_TOKEN_FILE",
            shown(file.display())
        )),
        None => {
            terminal::print(&format!("{}\n", token.reveal()))?;
            terminal::write_message(&format!(
                "{name} was added. This is its token, which is shown this once: keep it in a file that nobody else may \
                 read (`chmod 600`), and name that by SQUALL_TOKEN_FILE"
            ));
        }
    }
    Ok(CommandOutcome::Done)
}

fn roles(args: &Args) -> BTreeSet<Role> {
    match (args.admin, args.host, args.no_submit) {
        (true, ..) => BTreeSet::from([Role::Admin]),
        (_, true, _) => BTreeSet::from([Role::Host]),
        (_, _, true) => BTreeSet::new(),
        (false, false, false) => BTreeSet::from([Role::Submit]),
    }
}

/// A new file with the token, for its owner alone.
fn write<'p>(path: &'p Path, token: &Token) -> Result<(), (&'p Path, io::Error)> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let make = || {
        let name = path.file_name().and_then(OsStr::to_str);
        let name =
            name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidFilename, "it is no name of a file"))?;
        let mut file = files::create_new(File::open(directory)?, name)?;
        file.write_all(format!("{}\n", token.reveal()).as_bytes())?;
        file.sync_all()
    };
    make().map_err(|error| (path, error))
}
