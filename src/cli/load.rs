//! Reading topology documents from the file system, with the variables of the environment.
//!
//! `topology` does no I/O. This module implements its
//! [`Source`](crate::topology::declare::Source) for files; the commands use it, and the tests of
//! programs that embed squall.

use std::env::{self, VarError};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};

use crate::cli::context::Context;
use crate::cli::terminal::{self, Stream};
use crate::cluster::TopologySource;
use crate::config::EngineOptions;
use crate::files::{open_regular, refuse_directory};
use crate::secrets::{SecretDirectory, SecretError, SecretName};
use crate::topology::declare::{self, NamedBy, NoVariable, Source};
use crate::topology::registry::Registry;
use crate::topology::{Topology, TopologyErrors};

/// The path that stands for stdin.
pub(super) const STDIN: &str = "-";

/// All paths that stand for stdin.
const STDIN_PATHS: [&str; 4] = [STDIN, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// Values that override those of the document.
#[derive(clap::Args, Debug, Default)]
pub(super) struct Overrides {
    /// Lay a value over the document's, as in `bolt.count.parallelism=2`; may be repeated
    ///
    /// The key is the dotted path of the value in the document, the value is TOML, or a string
    /// without quotes. A number, a date or a boolean is taken as text where text is wanted; to be
    /// sure of text, quote it twice: --set 'spout.lines.config.path="5"'.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Overrides {
    /// These, and perhaps one more, which overrides them.
    pub(super) fn and(&self, one: Option<String>) -> Overrides {
        Overrides { set: self.set.iter().cloned().chain(one).collect() }
    }

    /// Reads and validates a document with these values, and records what it was read from.
    pub(super) fn record(
        &self,
        path: &str,
        registry: &Registry,
    ) -> Result<(TopologySource, Topology), TopologyErrors> {
        TopologySource::record(&Files, path, registry, &self.set)
    }

    /// The same for this host, which must have the secrets that the document names.
    pub(super) fn record_for_this_host(
        &self,
        path: &str,
        (registry, secrets): (&Registry, &SecretDirectory),
    ) -> Result<(TopologySource, Topology), TopologyErrors> {
        TopologySource::record(&FilesAndSecrets { secrets }, path, registry, &self.set)
    }

    /// Reads and validates a document for this host, which must have the secrets that it names.
    pub(super) fn load_for_this_host(
        &self,
        path: &str,
        (registry, secrets): (&Registry, &SecretDirectory),
    ) -> Result<Topology, TopologyErrors> {
        declare::load(&FilesAndSecrets { secrets }, path, registry, &self.set)
    }

    /// Reads and validates a document with these values.
    pub(super) fn load(&self, path: &str, registry: &Registry) -> Result<Topology, TopologyErrors> {
        declare::load(&Files, path, registry, &self.set)
    }
}

/// The engine's file, or the defaults if none is named. `None`: it has mistakes, which were reported.
pub(super) fn engine(path: Option<&str>, context: &Context) -> Option<EngineOptions> {
    let Some(path) = path else { return Some(EngineOptions::default()) };
    declare::load_engine(&Files, path)
        .inspect_err(|errors| terminal::write_message(&errors.render(context.colors(Stream::Err))))
        .ok()
}

/// The file system, stdin under the path `-`, and the environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Source for Files {
    fn read(&self, path: &str, named_by: NamedBy, at_most: usize) -> io::Result<Vec<u8>> {
        // One byte more than allowed, so that a document that is too long is detected.
        let limit = u64::try_from(at_most).unwrap_or(u64::MAX).saturating_add(1);
        match (path, named_by) {
            (STDIN, NamedBy::Caller) => read_and_wait(&mut io::stdin().lock(), limit),
            (_, NamedBy::Caller) => read_and_wait(&mut open_any(path)?, limit),
            (_, NamedBy::Document) => {
                let mut bytes = Vec::new();
                open_regular(Path::new(path))?.take(limit).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }

    fn variable(&self, name: &str) -> Result<String, NoVariable> {
        env::var(name).map_err(|error| match error {
            VarError::NotPresent => NoVariable::Unset,
            VarError::NotUnicode(_) => NoVariable::NotText,
        })
    }

    fn takes(&self, path: &str) -> Option<&'static str> {
        STDIN_PATHS.contains(&path).then_some("standard input")
    }
}

/// The same, and the secrets of this host, which are looked for before anything is started.
struct FilesAndSecrets<'s> {
    secrets: &'s SecretDirectory,
}

impl Source for FilesAndSecrets<'_> {
    fn read(&self, path: &str, named_by: NamedBy, at_most: usize) -> io::Result<Vec<u8>> {
        Files.read(path, named_by, at_most)
    }

    fn variable(&self, name: &str) -> Result<String, NoVariable> {
        Files.variable(name)
    }

    fn secret(&self, name: &SecretName) -> Result<(), SecretError> {
        self.secrets.read(name).map(drop)
    }

    fn takes(&self, path: &str) -> Option<&'static str> {
        Files.takes(path)
    }
}

/// Opens the file that the caller named, which may be the pipe of a shell's `<(…)`, or `/dev/stdin`.
fn open_any(path: &str) -> io::Result<File> {
    let file = File::open(path)?;
    refuse_directory(&file.metadata()?)?;
    Ok(file)
}

/// Reads to the end, or up to a limit. Waits for input even if the inherited descriptor is non-blocking.
fn read_and_wait(from: &mut (impl Read + AsFd), limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let left = limit - bytes.len() as u64;
        match from.take(left).read_to_end(&mut bytes) {
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(from, PollFlags::IN)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads a topology document and its includes from files, and validates it. `path` may also be the
/// name of a topology that the registry builds. `overrides` are `KEY=VALUE`, as given to `--set`.
///
/// # Errors
/// Everything that is wrong with it, at once.
///
/// # Examples
/// In a test of a program that embeds squall:
/// ```no_run
/// use squall::prelude::Registry;
///
/// let registry = Registry::with_standard();
/// let topology = squall::cli::load("topology.toml", &registry, &["bolt.count.parallelism=2"])?;
/// assert_eq!(topology.component("count").unwrap().options.parallelism, 2);
/// # Ok::<(), squall::topology::TopologyErrors>(())
/// ```
pub fn load(path: &str, registry: &Registry, overrides: &[&str]) -> Result<Topology, TopologyErrors> {
    Overrides { set: overrides.iter().map(|&set| set.to_owned()).collect() }.load(path, registry)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn read(path: &Path, named_by: NamedBy, at_most: usize) -> io::Result<String> {
        let bytes = Files.read(path.to_str().unwrap(), named_by, at_most)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    fn fifo(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    }

    #[test]
    fn a_file_is_read_no_further_than_needed_to_refuse_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        std::fs::write(&path, "0123456789").unwrap();
        for named_by in [NamedBy::Caller, NamedBy::Document] {
            let check =
                |at_most, expected: &str| assert_eq!(read(&path, named_by, at_most).unwrap(), expected);
            check(100, "0123456789");
            check(10, "0123456789");
            check(3, "0123");
        }
    }

    #[test]
    fn what_is_no_file_is_refused_with_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let check = |path: &Path, named_by, expected: &str| {
            assert_eq!(read(path, named_by, 100).unwrap_err().to_string(), expected);
        };
        let absent = dir.path().join("none.toml");
        check(&absent, NamedBy::Caller, "No such file or directory (os error 2)");
        check(dir.path(), NamedBy::Caller, "it is a directory, not a file");
        check(dir.path(), NamedBy::Document, "it is a directory, not a file");
    }

    /// An include of a pipe that nobody writes to kept `validate` waiting for ever.
    #[test]
    fn a_pipe_is_read_for_the_caller_and_refused_to_a_document() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(dir.path());
        let refused = read(&path, NamedBy::Document, 100).unwrap_err().to_string();
        assert_eq!(refused, "it is a pipe, not a regular file");
        let device = read(Path::new("/dev/zero"), NamedBy::Document, 100).unwrap_err().to_string();
        assert_eq!(device, "it is a device, not a regular file");
        assert_eq!(read(Path::new("/dev/zero"), NamedBy::Caller, 3).unwrap(), "\0\0\0\0");

        let writer = thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, "[topology]").unwrap()
        });
        assert_eq!(read(&path, NamedBy::Caller, 100).unwrap(), "[topology]");
        writer.join().unwrap();
    }

    #[test]
    fn a_descriptor_that_does_not_wait_is_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let (go_on, wait) = mpsc::channel::<()>();
        let writer = thread::spawn(move || {
            writer.write_all(b"[topo").unwrap();
            wait.recv().unwrap();
            writer.write_all(b"logy]").unwrap();
        });
        // The first read that finds nothing lets the writer go on.
        let mut reader = Polled { reader, go_on };
        assert_eq!(read_and_wait(&mut reader, 100).unwrap(), b"[topology]");
        writer.join().unwrap();
    }

    struct Polled {
        reader: io::PipeReader,
        go_on: mpsc::Sender<()>,
    }

    impl Read for Polled {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let result = self.reader.read(into);
            if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                let _ = self.go_on.send(());
            }
            result
        }
    }

    impl AsFd for Polled {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }
}
