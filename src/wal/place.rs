//! Where the logs of a topology are: a directory for each, or memory in simulations.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::checkpoint::{CheckpointError, DirectoryStorage, LogStorage, MemoryStorage};
use crate::wal::log::SEGMENT_LEN_MAX;

/// Bytes after which a segment in memory is not appended to any more: so few that simulations have many segments.
const SEGMENT_LEN_IN_MEMORY: u64 = 512;

/// Where the logs of a topology are.
#[derive(Clone, Debug)]
pub(crate) enum WalPlace {
    /// Each log has a directory in this one.
    Directory(PathBuf),
    /// Beside the checkpoints of a simulation.
    Memory(MemoryStorage),
}

/// The name of the log of a task.
pub(crate) fn log_name(component: &str, task: usize) -> String {
    format!("{component}-{task}")
}

impl WalPlace {
    /// Opens a log, which this process then has for itself.
    pub(crate) fn open(&self, log: &str) -> Result<Box<dyn LogStorage>, CheckpointError> {
        match self {
            WalPlace::Directory(path) => {
                let holder = format!("process {}", std::process::id());
                Ok(Box::new(DirectoryStorage::open(path.join(log), &holder)?))
            }
            WalPlace::Memory(storage) => Ok(Box::new(storage.log(log))),
        }
    }

    /// Bytes after which a segment of a log is not appended to any more.
    pub(crate) fn segment_len_max(&self) -> u64 {
        match self {
            WalPlace::Directory(_) => SEGMENT_LEN_MAX,
            WalPlace::Memory(_) => SEGMENT_LEN_IN_MEMORY,
        }
    }

    /// The names of the logs of a component that are there.
    pub(crate) fn logs_of(&self, component: &str) -> io::Result<Vec<String>> {
        let names = match self {
            WalPlace::Memory(storage) => storage.logs(),
            WalPlace::Directory(path) => match fs::read_dir(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                entries => {
                    let names = entries?.map(|entry| Ok(entry?.file_name().into_string().ok()));
                    names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect()
                }
            },
        };
        let is_its = |name: &String| {
            let task = name.strip_prefix(component).and_then(|rest| rest.strip_prefix('-'));
            task.is_some_and(|task| {
                task.parse::<usize>().is_ok_and(|task| log_name(component, task) == *name)
            })
        };
        Ok(names.into_iter().filter(is_its).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_has_the_logs_of_its_own_tasks() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let place = WalPlace::Directory(dir.path().join("wal"));
        assert_eq!(place.logs_of("a").ok(), Some(Vec::new()), "there is no directory yet");
        for name in ["a-0", "a-1", "a-b-0", "a-01", "a", "ab-0"] {
            fs::create_dir_all(dir.path().join("wal").join(name)).expect("it can be made");
        }
        let logs = |component: &str| {
            let mut logs = place.logs_of(component).expect("it can be read");
            logs.sort();
            logs
        };
        assert_eq!(logs("a"), ["a-0", "a-1"]);
        assert_eq!(logs("a-b"), ["a-b-0"]);
    }
}
