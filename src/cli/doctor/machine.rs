//! What squall needs of this machine, and of the files that the configuration names.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};

use crate::cli::doctor::finding::{Finding, MEND};
use crate::cli::runs;
use crate::clock::Clock;
use crate::config::units::show_size;
use crate::config::{EngineOptions, NetOptions};
use crate::net::tls::Tls;
use crate::runtime::state_home;
use crate::text::shown;

/// Descriptors that a run with a few dozen workers, files and connections may have open.
const FILES_WANTED: u64 = 4096;
/// Bytes below which a disk is soon full.
const ROOM_WANTED: u64 = 1 << 30;

pub(super) fn examine(engine: &EngineOptions) -> Vec<Finding> {
    let mut findings = vec![processors(), open_files(getrlimit(Resource::Nofile).current), state_directory()];
    findings.push(run_directory());
    findings.push(address(&engine.net));
    findings.extend(tls(&engine.net));
    findings
}

fn processors() -> Finding {
    let check = "processors";
    match std::thread::available_parallelism() {
        Ok(count) => Finding::ok(check, format!("{count} for this process")),
        Err(error) => {
            let advice = "set `threads` in `[topology]`, or one driver thread is used";
            Finding::warning(check, format!("their number is not known: {}", shown(&error)), advice)
        }
    }
}

/// `limit`: `None` is no limit.
fn open_files(limit: Option<u64>) -> Finding {
    let check = "open files";
    match limit {
        None => Finding::ok(check, "there is no limit"),
        Some(limit) if limit >= FILES_WANTED => Finding::ok(check, format!("at most {limit} for a process")),
        Some(limit) => Finding::warning(
            check,
            format!("at most {limit} for a process: many workers, files or connections may not fit"),
            format!("raise it to {FILES_WANTED}, with `ulimit -n` or `LimitNOFILE=`"),
        ),
    }
}

fn state_directory() -> Finding {
    let check = "state directory";
    let Some(home) = state_home() else {
        let advice = "set one of them, or name directories by `storage` and `directory` in each topology";
        return Finding::warning(check, "neither XDG_STATE_HOME nor HOME is set", advice);
    };
    let directory = home.join("squall");
    match room_at(&directory) {
        Ok(room) if room >= ROOM_WANTED => {
            Finding::ok(check, format!("{}, {} are free", directory.display(), show_size(round(room))))
        }
        Ok(room) => Finding::warning(
            check,
            format!("{}: only {} are free", directory.display(), show_size(round(room))),
            "checkpoints fail when the disk is full: make room, or set XDG_STATE_HOME",
        ),
        Err(error) => Finding::error(
            check,
            format!("{}: {}", directory.display(), shown(&error)),
            "make it writable for this user, or set XDG_STATE_HOME to a directory that is",
        ),
    }
}

/// How many bytes this user can write below a directory, or where it would be made.
fn room_at(directory: &Path) -> io::Result<u64> {
    let there = nearest_that_exists(directory)?;
    access(&there, Access::WRITE_OK | Access::EXEC_OK)?;
    let disk = statvfs(&there)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn nearest_that_exists(path: &Path) -> io::Result<PathBuf> {
    let mut path = path;
    loop {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Ok(path.to_owned()),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match path.parent() {
            Some(parent) => path = parent,
            None => return Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Bytes, to three binary digits at least, which is what a person reads.
fn round(bytes: u64) -> u64 {
    let unit = [1 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| bytes >= *unit).unwrap_or(1);
    bytes / unit * unit
}

fn run_directory() -> Finding {
    let check = "run directory";
    match runs::examine_directory() {
        Ok(directory) => Finding::ok(check, directory.display().to_string()),
        Err(error) => {
            let advice = "without it, runs have no socket for `squall ps`, `savepoint` and `stop`";
            Finding::warning(check, shown(&error), advice)
        }
    }
}

fn address(net: &NetOptions) -> Finding {
    let check = "address of workers";
    match TcpListener::bind(net.listen) {
        Ok(_) => Finding::ok(check, format!("{} can be bound", net.listen)),
        Err(error) => Finding::error(
            check,
            format!("{} cannot be bound: {}", net.listen, shown(&error)),
            "set `net.listen` to an address of this machine, with port 0 or one that is free",
        ),
    }
}

fn tls(net: &NetOptions) -> Option<Finding> {
    let check = "TLS of workers";
    let paths = net.tls.as_ref()?;
    Some(match Tls::load(paths, &Clock::real()) {
        Ok(_) => Finding::ok(check, "the certificate, its key and the authority fit each other"),
        Err(error) => Finding::error(check, shown(&error), MEND),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::State;

    #[test]
    fn few_files_are_a_warning() {
        let states = [None, Some(FILES_WANTED), Some(FILES_WANTED - 1)].map(|limit| open_files(limit).state);
        assert_eq!(states, [State::Ok, State::Ok, State::Warning]);
    }

    #[test]
    fn an_address_that_is_taken_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = taken.local_addr().expect("it is bound");
        let net = NetOptions { listen, ..NetOptions::default() };
        assert_eq!(address(&net).state, State::Error);
        assert_eq!(address(&NetOptions::default()).state, State::Ok);
    }

    #[test]
    fn room_is_that_of_the_nearest_directory_that_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("it is written");
        assert_eq!(
            nearest_that_exists(&directory.path().join("a/b")).ok().as_deref(),
            Some(directory.path())
        );
        assert!(room_at(&directory.path().join("a/b")).is_ok_and(|room| room > 0));
        assert!(room_at(&file.join("a")).is_err());
        assert_eq!(
            [round(5 << 30), round((5 << 30) + 7), round(1500), round(3)],
            [5 << 30, 5 << 30, 1024, 3]
        );
    }

    #[test]
    fn files_of_tls_that_are_not_there_are_an_error() {
        let missing = crate::config::TlsPaths {
            certificate: "none.pem".into(),
            key: "none.key".into(),
            authority: "none".into(),
            name: None,
        };
        let net = NetOptions { tls: Some(missing), ..NetOptions::default() };
        let finding = tls(&net).expect("it is configured");
        assert_eq!(finding.state, State::Error);
        assert!(finding.found.contains("net.tls."), "{}", finding.found);
        assert_eq!(tls(&NetOptions::default()), None);
    }
}
