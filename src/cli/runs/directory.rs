//! The directory of the sockets of runs: for this user alone.
//!
//! It is `squall` in `XDG_RUNTIME_DIR`, or `squall-UID` in the directory for temporary files. Whoever can open a socket
//! can stop a run, so a directory that is another user's, or that others can enter, is refused.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, process};

use crate::checkpoint::CheckpointReader;
use crate::cli::error::CommandError;
use crate::cli::runs::messages::{Reply, Request, RunInfo, exchange};
use crate::ids::is_legal_name;
use crate::text::shown;

/// How long a run may take to say what it is.
const INFO_WAIT: Duration = Duration::from_secs(2);

/// The end of the name of a socket.
const SOCKET: &str = ".sock";

/// A run, and how it is reached.
pub(in crate::cli) struct Run {
    /// Its name, for commands: the topology and the process.
    pub(in crate::cli) name: String,
    /// Its socket.
    pub(super) socket: PathBuf,
    /// What it is.
    pub(super) info: RunInfo,
}

impl Run {
    /// Sends a request, and waits for the reply, however long that takes.
    pub(super) fn ask(&self, request: &Request) -> Result<Reply, CommandError> {
        let reply = UnixStream::connect(&self.socket).and_then(|stream| exchange(stream, request, None));
        match reply.map_err(CommandError::io(format!("talk to the run `{}`", self.name)))? {
            Reply::Error(why) => Err(CommandError::Refused(shown(why))),
            reply => Ok(reply),
        }
    }
}

/// Where a command is to look for checkpoints.
pub(in crate::cli) enum Place {
    /// In this directory.
    Directory(PathBuf),
    /// In that of a run.
    Run(Box<Run>),
}

impl Place {
    /// The directory of this path, or the run of this name. A directory comes before a run.
    pub(in crate::cli) fn named(place: &Path) -> Result<Place, CommandError> {
        let name = place.to_str().filter(|name| is_legal_name(name));
        let Some(name) = name.filter(|_| !place.exists()) else {
            return Ok(Place::Directory(place.to_owned()));
        };
        let run = find(name).map_err(|no_run| match CheckpointReader::open(place) {
            Err(error) => CommandError::Refused(format!("{}; and {}", shown(&error), shown(&no_run))),
            Ok(_) => no_run,
        })?;
        Ok(Place::Run(Box::new(run)))
    }

    /// The directory of the checkpoints.
    pub(in crate::cli) fn directory(&self) -> Result<PathBuf, CommandError> {
        let run = match self {
            Place::Directory(directory) => return Ok(directory.clone()),
            Place::Run(run) => run,
        };
        run.info.checkpoints.clone().ok_or_else(|| {
            let (run, why) = (shown(&run.name), "only a topology with `delivery = \"exactly-once\"` takes any");
            let text = format!(
                "the run `{run}` keeps no checkpoints: {why}, and what the bolts of others keep is in their memory alone"
            );
            CommandError::Refused(text)
        })
    }
}

/// The directory of checkpoints that a command is to look at: this one, or that of the run with this name.
pub(in crate::cli) fn checkpoints_at(place: &Path) -> Result<PathBuf, CommandError> {
    Place::named(place)?.directory()
}

/// The name of this process's run.
pub(super) fn own_name(topology: &str) -> String {
    format!("{topology}-{}", process::id())
}

/// The socket of a run with this name.
pub(super) fn socket_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}{SOCKET}"))
}

/// Where the directory is.
fn path() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    match runtime.filter(|path| path.is_absolute()) {
        Some(runtime) => runtime.join("squall"),
        None => env::temp_dir().join(format!("squall-{}", rustix::process::getuid().as_raw())),
    }
}

/// The directory, or where it will be made; an error if it cannot be used.
pub(in crate::cli) fn examine_directory() -> io::Result<PathBuf> {
    let path = path();
    match check(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            rustix::fs::access(parent, rustix::fs::Access::WRITE_OK)?;
            Ok(path)
        }
        result => result.map(|()| path),
    }
}

/// The directory, which is made if it is not there.
pub(super) fn open() -> io::Result<PathBuf> {
    let path = path();
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check(&path)?;
    Ok(path)
}

/// Refuses a directory that is not this user's alone.
fn check(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let is_private = found.is_dir()
        && found.uid() == rustix::process::getuid().as_raw()
        && found.mode().trailing_zeros() >= 6;
    match is_private {
        true => Ok(()),
        false => Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("`{}` is not a directory of this user alone (mode 700): remove it", path.display()),
        )),
    }
}

/// All runs, by their names. Sockets that runs have left behind are removed.
pub(super) fn runs() -> Result<Vec<Run>, CommandError> {
    let directory = path();
    let failed = || CommandError::io(format!("look for runs in `{}`", directory.display()));
    match check(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(failed())?,
    }
    let mut runs = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed())? {
        let socket = entry.map_err(failed())?.path();
        let name = socket.file_name().and_then(|name| name.to_str()?.strip_suffix(SOCKET));
        let Some(name) = name.map(str::to_owned) else { continue };
        match UnixStream::connect(&socket) {
            // Nobody listens any more: the run was killed.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => _ = fs::remove_file(&socket),
            Err(_) => {}
            Ok(stream) => {
                if let Ok(Reply::Info(info)) = exchange(stream, &Request::Info, Some(INFO_WAIT)) {
                    runs.push(Run { name, socket, info: *info });
                }
            }
        }
    }
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(runs)
}

/// What a name leads to.
pub(super) enum Found {
    /// This run.
    Run(Box<Run>),
    /// None, and the text that says so.
    None(String),
}

/// The run that this names: its whole name, its topology if only one run has it, or its process.
pub(super) fn find(wanted: &str) -> Result<Run, CommandError> {
    match look_for(wanted)? {
        Found::Run(run) => Ok(*run),
        Found::None(why) => Err(CommandError::Refused(why)),
    }
}

/// The same, where it is no error yet if there is none.
pub(super) fn look_for(wanted: &str) -> Result<Found, CommandError> {
    let mut found = runs()?;
    let names: Vec<String> = found.iter().map(|run| run.name.clone()).collect();
    let is_wanted =
        |run: &Run| run.name == wanted || run.info.topology == wanted || run.info.pid.to_string() == wanted;
    let matching: Vec<usize> = (0..found.len()).filter(|at| is_wanted(&found[*at])).collect();
    let exact = found.iter().position(|run| run.name == wanted);
    match (exact, &*matching) {
        (Some(at), _) | (None, &[at]) => Ok(Found::Run(Box::new(found.swap_remove(at)))),
        (None, []) => Ok(Found::None(match names.is_empty() {
            true => format!("there is no run `{}`: no topology runs here", shown(wanted)),
            false => format!("there is no run `{}`: {} run here", shown(wanted), names.join(", ")),
        })),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|at| &*found[*at].name).collect();
            Err(CommandError::Refused(format!(
                "several runs are called `{}`: name one of {}",
                shown(wanted),
                names.join(", ")
            )))
        }
    }
}
