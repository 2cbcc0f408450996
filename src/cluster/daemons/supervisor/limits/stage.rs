//! What a process does before it becomes the program of a worker or master: it joins its control group, or limits itself.
//!
//! ```text
//!   squall confine --join /sys/fs/cgroup/memory/…/cgroup.procs -- /proc/self/exe worker --directory …
//! ```
//!
//! A process of its own does that, and not its supervisor after the start: so the program cannot have started anything
//! before. It has the same number before and after.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::cluster::processes::{Executable, program};

/// This program, whatever has its name by now.
const THIS: &str = "/proc/self/exe";

/// The command that is `executable` within limits. The arguments of that are to follow. `data`: bytes of memory.
pub(super) fn command(
    stage: &Executable,
    executable: &Executable,
    join: &[PathBuf],
    data: Option<u64>,
) -> io::Result<Command> {
    let mut command = program(stage)?;
    command.arg("confine");
    for file in join {
        command.arg("--join").arg(file);
    }
    if let Some(data) = data {
        command.arg("--data-max").arg(data.to_string());
    }
    command.arg("--");
    match executable {
        Executable::This => command.arg(THIS),
        Executable::At(path, arguments) => command.arg(path).args(arguments),
    };
    Ok(command)
}

/// Joins control groups, limits this process, and becomes a program. Returns only if that cannot be done.
pub(crate) fn confine(join: &[PathBuf], data: Option<u64>, program: &[OsString]) -> io::Error {
    let failed =
        |what: String, error: io::Error| io::Error::new(error.kind(), format!("cannot {what}: {error}"));
    for file in join {
        // 0 is the process that writes it.
        if let Err(error) = fs::write(file, "0") {
            return failed(format!("join the control group of `{}`", file.display()), error);
        }
    }
    if let Some(data) = data {
        let limit = Rlimit { current: Some(data), maximum: Some(data) };
        if let Err(error) = setrlimit(Resource::Data, limit) {
            return failed(format!("limit the memory of this process to {data} bytes"), error.into());
        }
    }
    let Some((path, arguments)) = program.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "there is no program");
    };
    let mut command = Command::new(path);
    command.args(arguments);
    if path == OsStr::new(THIS)
        && let Some(name) = std::env::args_os().next()
    {
        command.arg0(name);
    }
    let error = command.exec();
    failed(format!("become `{}`", path.display()), error)
}
