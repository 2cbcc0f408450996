//! What a supervisor remembers of its children on its own disk: which there are, so that the next supervisor of the host
//! looks for them, restarts them while the coordination service is away, and removes no directory that is not theirs.
//!
//! 1. A child is written down before its directory is made, and is crossed out after its directory was removed. So each
//!    directory that a supervisor has made is known to the next one.
//! 2. Which process a child has is not written down: the kernel knows it, see `topologies::occupancy`. So whenever a
//!    supervisor is killed, what stands here is true, and a number of a process that was given again means nothing.
//! 3. The file has a checksum and is replaced as a whole. If it is damaged all the same, it is renamed, and the
//!    supervisor begins with nothing: it finds the processes of children that are assigned by their directories, and
//!    leaves other directories alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::record::{self, Flaw};
use crate::cluster::daemons::supervisor::child::{ChildId, Role};
use crate::cluster::topologies::TopologyId;
use crate::files::{publish, read_regular};
use crate::text::shown;

/// The name of the file.
const NAME: &str = "children.json";
const UNFINISHED: &str = "children.json.squall-tmp";
/// The name that a damaged file gets.
const DAMAGED: &str = "children.json.damaged";
const KIND: &str = "children";
/// The longest file: a hundred thousand children.
const FILE_MAX: u64 = 16 << 20;

/// The children of a supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRecord {
    /// The highest number for the next topology that the catalog had. A catalog with a lower one has lost data.
    pub catalog_next: u64,
    /// The topologies that have children here.
    pub topologies: BTreeMap<TopologyId, KnownTopology>,
}

/// The children of one topology.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownTopology {
    /// Whether it has ended, so that nothing of it is started again.
    pub is_over: bool,
    /// The children.
    pub children: BTreeMap<Role, KnownChild>,
}

/// A child.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownChild {
    /// The change of the assignment by which it was last wanted.
    pub change: u64,
    /// The change of the assignment for which it has done all that it was there for.
    pub done_for: Option<u64>,
    /// Whether it is no longer assigned: it is ended, and its directory is removed.
    pub is_leaving: bool,
}

impl LocalRecord {
    /// What is known of a child.
    pub fn child(&self, id: &ChildId) -> Option<&KnownChild> {
        self.topologies.get(&id.topology)?.children.get(&id.role)
    }

    /// Reads the record of a directory. A file that cannot be used is renamed; the text says so.
    ///
    /// # Errors
    /// When it cannot be read or renamed.
    pub fn read(directory: &Path) -> io::Result<(LocalRecord, Option<String>)> {
        let file = directory.join(NAME);
        let flaw = match read_regular(&file, FILE_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((LocalRecord::default(), None));
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => error.to_string(),
            Err(error) => return Err(error),
            Ok(bytes) => match record::decode(KIND, &bytes) {
                Ok(read) => return Ok((read, None)),
                Err(Flaw::Damaged(flaw)) => shown(flaw),
                Err(Flaw::Newer { version, supported }) => {
                    format!("it has version {version}, and this squall reads versions up to {supported}")
                }
            },
        };
        let aside = directory.join(DAMAGED);
        fs::rename(&file, &aside)?;
        let why = format!(
            "`{}` cannot be used ({flaw}) and is now `{}`: children that are assigned are found again; look for \
             processes that are not, and end them",
            file.display(),
            aside.display()
        );
        Ok((LocalRecord::default(), Some(why)))
    }

    /// Writes the record, durably.
    ///
    /// # Errors
    /// When it cannot be written. The one before is in place then.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        publish(File::open(directory)?, UNFINISHED, NAME, &record::encode(KIND, self))
    }

    /// Where the record of a directory stands.
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorkerId;

    fn some() -> LocalRecord {
        let child = KnownChild { change: 3, done_for: Some(2), is_leaving: false };
        let children =
            [(Role::Master, KnownChild::default()), (Role::Worker(WorkerId(7)), child)].into_iter().collect();
        let topology = KnownTopology { is_over: false, children };
        let id = "words-17".parse().expect("an id");
        LocalRecord { catalog_next: 18, topologies: [(id, topology)].into_iter().collect() }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let place = tempfile::tempdir().expect("a directory");
        let read = || LocalRecord::read(place.path()).expect("it can be read");
        assert_eq!(read(), (LocalRecord::default(), None));
        some().write(place.path()).expect("it is written");
        assert_eq!(read(), (some(), None));
        let child = ChildId { topology: "words-17".parse().expect("an id"), role: Role::Worker(WorkerId(7)) };
        assert_eq!(some().child(&child).map(|child| child.change), Some(3));
    }

    /// The bytes that version 1 has written.
    #[test]
    fn yesterdays_record_is_read() {
        let golden = include_bytes!("local_record.golden.json");
        let read: LocalRecord = record::decode(KIND, golden).expect("it is one");
        assert_eq!(read, some());
        assert_eq!(String::from_utf8_lossy(&record::encode(KIND, &some())), String::from_utf8_lossy(golden));
    }

    #[test]
    fn a_damaged_record_is_set_aside_and_nothing_is_known() {
        let place = tempfile::tempdir().expect("a directory");
        some().write(place.path()).expect("it is written");
        let path = LocalRecord::path(place.path());
        let whole = fs::read(&path).expect("it is there");
        for at in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..at]).expect("it can be written");
            let (read, why) = LocalRecord::read(place.path()).expect("it can be read");
            assert_eq!(read, LocalRecord::default());
            assert!(why.expect("it says so").contains("children.json.damaged"));
            assert_eq!(fs::read(place.path().join(DAMAGED)).expect("it was renamed"), &whole[..at]);
            assert!(!path.exists());
        }
    }
}
