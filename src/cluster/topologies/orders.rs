//! The files by which a supervisor and its masters and workers speak.
//!
//! ```text
//!   <supervisor.directory>/topologies/<id>/master/       <supervisor.directory>/topologies/<id>/worker-3/
//!     order.json    supervisor ─▶ master                   order.json   supervisor ─▶ worker
//!     source.json   what the topology is read from         secret       of the topology
//!     secret        of the topology                        program.json which program it runs
//!     report.json   master ─▶ supervisor                   alive        touched with each heartbeat
//!     program.json, lock, alive, worker.log, output        worker.log   what squall logs
//!                                                          lock         held by the process, see `occupancy`
//!                                                          output       stdout and stderr
//! ```
//!
//! Files, because each side must be able to end and begin again without the other noticing. Orders and reports are
//! replaced as a whole, so a reader finds the old content or the new one. Readers look again several times a second.
//!
//! A process that exits with code 0 has done all that it was there for, and is not started again for this assignment.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::record::{self, Flaw};
use crate::cluster::blob_hash::BlobHash;
use crate::cluster::control::LogSpec;
use crate::cluster::program::ProgramFile;
use crate::cluster::topologies::assignment::AssignmentRecord;
use crate::cluster::topologies::id::TopologyId;
use crate::cluster::topologies::savepoint::SavepointAnswer;
use crate::cluster::topologies::spec::SpecRecord;
use crate::cluster::topologies::state::StateRecord;
use crate::config::{LogFileOptions, NetOptions, Resources, WorkerOptions};
use crate::files::{publish, read_private, read_regular};
use crate::ids::WorkerId;
use crate::net::Secret;
use crate::secrets::SecretDirectory;
use crate::text::shown;

/// The file with what a process is to do.
pub const ORDER_FILE: &str = "order.json";
/// The file with what a master has to say.
pub const REPORT_FILE: &str = "report.json";
/// The file with the [`TopologySource`](crate::cluster::TopologySource) of the topology, for its master.
pub const SOURCE_FILE: &str = "source.json";
/// The file with the [`ProgramOrder`] of a process, for supervisors.
pub const PROGRAM_FILE: &str = "program.json";
/// The file with the secret of the topology.
pub const SECRET_FILE: &str = "secret";
/// The file whose time of modification shows when its process last gave a sign of life.
pub const ALIVE_FILE: &str = "alive";
/// The file with what squall logs in this process.
pub const LOG_FILE: &str = "worker.log";
/// The file with what the process writes to stdout and stderr.
pub const OUTPUT_FILE: &str = "output";

/// Bytes of the largest order.
const ORDER_MAX: u64 = 4 << 20;
/// Bytes of a file with a secret.
const SECRET_MAX: u64 = 1024;

/// What a supervisor has for a master. The file is written again whenever something in it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MasterOrder {
    /// The epoch of this process. A process whose order gets another one ends.
    pub epoch: u64,
    /// What is wanted.
    pub spec: SpecRecord,
    /// Where it runs.
    pub assignment: AssignmentRecord,
    /// What was published last about savepoints.
    pub savepoint: Option<SavepointAnswer>,
    /// `[net]` of this host: where the master listens, and with which certificates.
    pub net: NetOptions,
    /// `[worker]` of this host, for all workers of the topology.
    pub worker: WorkerOptions,
    /// What the processes of the topology log.
    pub log: LogSpec,
    /// How long its log file may be. A process has what its order had when it began.
    #[serde(default)]
    pub log_files: LogFileOptions,
}

/// What a supervisor has for a worker. The file is written again whenever something in it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerOrder {
    /// The topology.
    pub id: TopologyId,
    /// Names the run, as [`SpecRecord::run`].
    pub run: String,
    /// The number of the worker.
    pub worker: WorkerId,
    /// The id of the supervisor.
    #[serde(default)]
    pub host: String,
    /// The change of the assignment that has it on this host. A process was started for that which its order had when it
    /// began.
    #[serde(default)]
    pub change: u64,
    /// Its master, once one is known.
    pub master: Option<MasterPlace>,
    /// `[net]` of this host.
    pub net: NetOptions,
    /// What its tasks are counted with, for the limits of its process. `None`: nobody says so.
    #[serde(default)]
    pub needs: Option<Resources>,
    /// Where the secrets of this host are.
    #[serde(default)]
    pub secrets: SecretDirectory,
    /// What it logs.
    pub log: LogSpec,
    /// How long its log file may be. A process has what its order had when it began.
    #[serde(default)]
    pub log_files: LogFileOptions,
}

/// Where a master is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterPlace {
    /// Its epoch.
    pub epoch: u64,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Which program a process runs. It stands there so that a supervisor can start the process again while the blobs are
/// away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramOrder {
    /// The blob with the source of the topology, which names the program.
    pub source: BlobHash,
    /// The program. `None`: that of the supervisor.
    pub file: Option<ProgramFile>,
}

/// What a master has to say. Its supervisor publishes it as [`MasterRecord`](super::MasterRecord) and [`StateRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterReport {
    /// Where it listens. `None`: it does not, because the topology has ended or could not begin.
    pub address: Option<SocketAddr>,
    /// How the topology goes.
    pub state: StateRecord,
}

/// Why a file of a private directory was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The system refuses.
    #[error("cannot {action} `{}`", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("`{}` is damaged: {flaw}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        flaw: String,
    },
    /// A newer squall has written it.
    #[error("`{}` has version {version}, and this squall reads versions up to {supported}: update squall", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version that is known here.
        supported: u32,
    },
}

/// Reads an order or a report; `None` if there is none yet.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub fn read_order<T: DeserializeOwned>(directory: &Path, name: &str) -> Result<Option<T>, OrderError> {
    let file = directory.join(name);
    let bytes = match read_regular(&file, ORDER_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OrderError::Io { action: "read", file, source }),
        Ok(bytes) => bytes,
    };
    match record::decode(name, &bytes) {
        Ok(order) => Ok(Some(order)),
        Err(Flaw::Damaged(flaw)) => Err(OrderError::Damaged { file, flaw: shown(flaw) }),
        Err(Flaw::Newer { version, supported }) => Err(OrderError::Newer { file, version, supported }),
    }
}

/// Writes an order or a report, durably. One process at a time writes a name.
///
/// # Errors
/// When it cannot be written. The one before is in place then.
pub fn write_order<T: Serialize>(directory: &Path, name: &str, order: &T) -> Result<(), OrderError> {
    write(directory, name, &record::encode(name, order))
}

/// Reads the secret of the topology.
///
/// # Errors
/// When it cannot be read, or others may read it, too.
pub fn read_secret(directory: &Path) -> Result<Secret, OrderError> {
    let file = directory.join(SECRET_FILE);
    match read_private(&file, SECRET_MAX) {
        Ok(bytes) => match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) => Ok(Secret::new(bytes)),
            Err(_) => Err(OrderError::Damaged { file, flaw: "a secret has 32 bytes".to_owned() }),
        },
        Err(source) => Err(OrderError::Io { action: "read", file, source }),
    }
}

/// Writes the secret of the topology, for this user alone.
///
/// # Errors
/// When it cannot be written.
pub fn write_secret(directory: &Path, secret: &Secret) -> Result<(), OrderError> {
    write(directory, SECRET_FILE, secret.bytes())
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), OrderError> {
    let written =
        File::open(directory).and_then(|opened| publish(&opened, &format!("{name}.new"), name, bytes));
    written.map_err(|source| OrderError::Io { action: "write", file: directory.join(name), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> WorkerOrder {
        WorkerOrder {
            id: "words-1".parse().expect("an id"),
            run: "0".repeat(32),
            worker: WorkerId(3),
            host: "host-7".to_owned(),
            change: 5,
            master: Some(MasterPlace { epoch: 2, address: ([127, 0, 0, 1], 7000).into() }),
            net: NetOptions::default(),
            needs: Some(Resources::new(0.5, 1 << 30)),
            secrets: SecretDirectory::new("/etc/squall/secrets"),
            log: LogSpec::default(),
            log_files: LogFileOptions { max: 4096, keep: 2 },
        }
    }

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = || read_order::<WorkerOrder>(directory.path(), ORDER_FILE);
        assert_eq!(read().expect("there is none"), None);
        write_order(directory.path(), ORDER_FILE, &order()).expect("it is written");
        assert_eq!(read().expect("it is read"), Some(order()));
    }

    #[test]
    fn what_an_order_of_an_earlier_supervisor_lacks_has_the_default() {
        let mut written = serde_json::to_value(order()).expect("it is JSON");
        for key in ["log_files", "needs", "host", "change"] {
            written.as_object_mut().expect("an object").remove(key).expect("it was there");
        }
        let read: WorkerOrder = serde_json::from_value(written).expect("it is one");
        let (log_files, host) = (LogFileOptions::default(), String::new());
        assert_eq!(read, WorkerOrder { log_files, needs: None, host, change: 0, ..order() });
    }

    #[test]
    fn a_damaged_order_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(ORDER_FILE), b"{}").expect("it is written");
        let read = read_order::<WorkerOrder>(directory.path(), ORDER_FILE);
        assert!(matches!(read, Err(OrderError::Damaged { .. })), "{read:?}");
    }

    #[test]
    fn a_secret_is_for_one_user() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().expect("a directory");
        let secret = Secret::new([7; 32]);
        write_secret(directory.path(), &secret).expect("it is written");
        assert!(read_secret(directory.path()).expect("it is read") == secret);
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(directory.path().join(SECRET_FILE), open).expect("it is ours");
        assert!(read_secret(directory.path()).is_err());
    }
}
