//! A service in memory whose data outlive the process: a cluster of one process (`squall dev`) keeps them in a file.
//!
//! 1. A write has returned only when the file has it. So what a daemon remembers of its cluster is never newer than the
//!    file.
//! 2. Held nodes are not in the file: the processes that hold them end with the service.
//! 3. If the file cannot be written, the write is uncertain, as with a service that does not answer; the next write
//!    tries again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::checkpoint::record::{self, Flaw};
use crate::clock::Clock;
use crate::cluster::coordination::error::CoordinationError;
use crate::cluster::coordination::memory::client::MemoryClient;
use crate::cluster::coordination::memory::node::KeptNode;
use crate::cluster::coordination::memory::options::MemoryOptions;
use crate::cluster::coordination::memory::service::MemoryService;
use crate::cluster::coordination::node::{Node, Version};
use crate::cluster::coordination::path::NodePath;
use crate::cluster::coordination::service::{Coordination, Notify, Session};
use crate::files::{publish, read_regular, with_remedy};
use crate::text::shown;

/// The file.
const NAME: &str = "coordination.json";
const KIND: &str = "coordination";
/// Bytes of the largest file.
const BYTES_MAX: u64 = 256 << 20;

/// Why the data of a cluster cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// The system refuses.
    #[error("the data of the cluster, `{}`, cannot be read", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The file is not what was written.
    #[error("the data of the cluster, `{}`, are damaged: {flaw}. Delete the directory to begin a new cluster", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        flaw: String,
    },
    /// A newer squall has written it.
    #[error("the data of the cluster, `{}`, were written by a newer squall: update squall", .0.display())]
    Newer(PathBuf),
}

/// A service whose data are in a directory. One process at a time may have it.
#[derive(Clone, Debug)]
pub struct KeptService {
    service: MemoryService,
    directory: PathBuf,
    /// Held while the file is written, so that an older state never replaces a newer one.
    writing: Arc<Mutex<()>>,
}

impl KeptService {
    /// The service with the data of this directory, which is there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(directory: &Path, clock: Clock, options: MemoryOptions) -> Result<KeptService, KeptError> {
        let file = directory.join(NAME);
        let nodes: Vec<KeptNode> = match read_regular(&file, BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(KeptError::Io(file, error)),
            Ok(bytes) => match record::decode(KIND, &bytes) {
                Ok(nodes) => nodes,
                Err(Flaw::Damaged(flaw)) => return Err(KeptError::Damaged { file, flaw: shown(flaw) }),
                Err(Flaw::Newer { .. }) => return Err(KeptError::Newer(file)),
            },
        };
        let service = MemoryService::with_nodes(clock, options, nodes).map_err(|path| {
            KeptError::Damaged { file, flaw: format!("the node `{}` has no place", shown(path)) }
        })?;
        Ok(KeptService { service, directory: directory.to_owned(), writing: Arc::default() })
    }

    /// A process of the cluster.
    pub fn client(&self) -> KeptClient {
        KeptClient { client: self.service.client(), kept: self.clone() }
    }

    /// Ends sessions that are over by the clock. To be called several times in each session.
    pub fn step(&self) {
        self.service.step();
    }

    fn write(&self) -> Result<(), CoordinationError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = record::encode(KIND, &self.service.nodes());
        let written = File::open(&self.directory)
            .and_then(|directory| publish(&directory, &format!("{NAME}.new"), NAME, &bytes));
        written.map_err(|error| {
            let error = with_remedy(error, &self.directory, "name another directory");
            CoordinationError::Uncertain(format!("`{}` cannot be written: {error}", self.directory.display()))
        })
    }
}

/// A process of a cluster whose data are in a file. To be [beaten](MemoryClient::beat) as a [`MemoryClient`] is.
#[derive(Debug)]
pub struct KeptClient {
    client: MemoryClient,
    kept: KeptService,
}

impl KeptClient {
    /// As [`MemoryClient::beat`].
    pub fn beat(&self) {
        self.client.beat();
    }
}

impl Coordination for KeptClient {
    fn create(&self, path: &NodePath, data: &[u8]) -> Result<Version, CoordinationError> {
        let version = self.client.create(path, data)?;
        self.kept.write()?;
        Ok(version)
    }

    fn get(&self, path: &NodePath) -> Result<Option<Node>, CoordinationError> {
        self.client.get(path)
    }

    fn set(&self, path: &NodePath, data: &[u8], expected: Version) -> Result<Version, CoordinationError> {
        let version = self.client.set(path, data, expected)?;
        self.kept.write()?;
        Ok(version)
    }

    fn delete(&self, path: &NodePath, expected: Version) -> Result<(), CoordinationError> {
        self.client.delete(path, expected)?;
        self.kept.write()
    }

    fn children(&self, path: &NodePath) -> Result<Option<Vec<String>>, CoordinationError> {
        self.client.children(path)
    }

    fn catch_up(&self) -> Result<(), CoordinationError> {
        self.client.catch_up()
    }

    fn hold(&self, path: &NodePath, data: &[u8]) -> Result<(), CoordinationError> {
        self.client.hold(path, data)
    }

    fn release(&self, path: &NodePath) -> Result<(), CoordinationError> {
        self.client.release(path)
    }

    fn watch(&self, path: &NodePath, notify: &Arc<Notify>) {
        self.client.watch(path, notify);
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> NodePath {
        text.parse().expect("a path")
    }

    fn open(directory: &Path) -> KeptService {
        KeptService::open(directory, Clock::simulated(), MemoryOptions::default()).expect("it is read")
    }

    #[test]
    fn what_was_written_is_there_again_and_what_was_held_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let service = open(directory.path());
        let client = service.client();
        client.create(&path("/a"), b"1").expect("it is made");
        client.create(&path("/a/b"), b"2").expect("it is made");
        client.set(&path("/a/b"), "drei".as_bytes(), Version(0)).expect("it is written");
        client.create(&path("/gone"), b"").expect("it is made");
        client.delete(&path("/gone"), Version(0)).expect("it is deleted");
        client.hold(&path("/a/held"), b"4").expect("it is held");
        // As after a kill.
        let again = open(directory.path()).client();
        let node = again.get(&path("/a/b")).expect("it is read").expect("it is there");
        assert_eq!((node.data, node.version), (b"drei".to_vec(), Version(1)));
        assert_eq!(again.children(&path("/a")), Ok(Some(vec!["b".to_owned()])));
        assert_eq!(again.children(&NodePath::root()), Ok(Some(vec!["a".to_owned()])));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().expect("a directory");
        open(directory.path()).client().create(&path("/a"), b"1").expect("it is made");
        let file = directory.path().join(NAME);
        let text = std::fs::read_to_string(&file).expect("it is text");
        std::fs::write(&file, text.replace("/a", "/b")).expect("it is ours");
        let opened = KeptService::open(directory.path(), Clock::simulated(), MemoryOptions::default());
        assert!(matches!(opened, Err(KeptError::Damaged { .. })));
    }

    #[test]
    fn a_write_that_the_disk_refuses_is_uncertain() {
        let directory = tempfile::tempdir().expect("a directory");
        let client = open(directory.path()).client();
        std::fs::remove_dir(directory.path()).expect("it is empty");
        let refused = client.create(&path("/a"), b"1");
        assert!(matches!(refused, Err(CoordinationError::Uncertain(_))), "{refused:?}");
    }
}
