//! What a process remembers of its cluster on its own disk, so that it notices when the coordination service has lost
//! its data: a wiped service would look as if nothing were to run.
//!
//! [`check_mark`] compares what is remembered with what is found. [`MarkFile`] keeps it: a small file with a checksum
//! that is replaced as a whole, so a crash leaves the old or the new one.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::record::{self, Flaw};
use crate::files::{publish, read_regular, with_remedy};
use crate::text::shown;

/// The name of the file.
const NAME: &str = "cluster.json";
const UNFINISHED: &str = "cluster.json.squall-tmp";
const KIND: &str = "cluster-mark";
/// The longest file.
const MARK_MAX: u64 = 4096;

/// A cluster, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The id of the cluster.
    pub cluster: String,
    /// The highest epoch of its leaders that was seen.
    pub epoch: u64,
}

/// What is found is not what is remembered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarkMismatch {
    /// The service knows of no cluster.
    #[error(
        "the coordination service has lost its data: it knows nothing of cluster {cluster}, which this process belongs \
         to. Restore its data. If the cluster is to begin anew, stop its processes and delete their files `{NAME}`"
    )]
    Wiped {
        /// The cluster that is remembered.
        cluster: String,
    },
    /// The service has older data than it had.
    #[error(
        "the coordination service has older data than it had: epoch {found}, and epoch {seen} was there already. \
         Restore its latest data. If they are lost, stop the processes of the cluster and delete their files `{NAME}`"
    )]
    RolledBack {
        /// The epoch that is remembered.
        seen: u64,
        /// The one that is found.
        found: u64,
    },
    /// The service has another cluster.
    #[error(
        "the coordination service has cluster {found}, and this process belongs to cluster {remembered}. Correct the \
         addresses or the root of `zookeeper`, or delete the file `{NAME}` of this process to move it there"
    )]
    OtherCluster {
        /// The cluster that is remembered.
        remembered: String,
        /// The one that is found.
        found: String,
    },
}

/// Compares what is remembered with what is found; `None`: nothing. Returns what is to be remembered from now on.
///
/// # Errors
/// When the data of the service are not those of the cluster, or older ones.
pub fn check_mark(remembered: Option<&Mark>, found: Option<&Mark>) -> Result<Option<Mark>, MarkMismatch> {
    match (remembered, found) {
        (None, found) => Ok(found.cloned()),
        (Some(mark), None) => Err(MarkMismatch::Wiped { cluster: mark.cluster.clone() }),
        (Some(mark), Some(found)) if mark.cluster != found.cluster => {
            Err(MarkMismatch::OtherCluster { remembered: mark.cluster.clone(), found: found.cluster.clone() })
        }
        (Some(mark), Some(found)) if found.epoch < mark.epoch => {
            Err(MarkMismatch::RolledBack { seen: mark.epoch, found: found.epoch })
        }
        (Some(_), Some(found)) => Ok(Some(found.clone())),
    }
}

/// Why a mark was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// The file cannot be read or written.
    #[error("cannot {action} `{}`: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "`{}` is damaged: {flaw}. Delete it if this process belongs to the cluster that it is connected to", file.display()
    )]
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

/// Where a mark is kept.
#[derive(Clone, Debug)]
pub struct MarkFile {
    directory: PathBuf,
}

impl MarkFile {
    /// The mark in this directory, which is there.
    pub fn new(directory: impl Into<PathBuf>) -> MarkFile {
        MarkFile { directory: directory.into() }
    }

    /// What is remembered; `None`: nothing yet.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what was written.
    pub fn read(&self) -> Result<Option<Mark>, MarkError> {
        let file = self.directory.join(NAME);
        let bytes = match read_regular(&file, MARK_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(MarkError::Io { action: "read", file, source }),
            Ok(bytes) => bytes,
        };
        match record::decode(KIND, &bytes) {
            Ok(mark) => Ok(Some(mark)),
            Err(Flaw::Damaged(flaw)) => Err(MarkError::Damaged { file, flaw: shown(flaw) }),
            Err(Flaw::Newer { version, supported }) => Err(MarkError::Newer { file, version, supported }),
        }
    }

    /// Remembers a mark, durably.
    ///
    /// # Errors
    /// When the file cannot be written. What was remembered before still is.
    pub fn write(&self, mark: &Mark) -> Result<(), MarkError> {
        let written = open(&self.directory)
            .and_then(|directory| publish(&directory, UNFINISHED, NAME, &record::encode(KIND, mark)));
        written.map_err(|error| MarkError::Io {
            action: "write",
            file: self.directory.join(NAME),
            source: with_remedy(error, &self.directory, "name another directory"),
        })
    }
}

fn open(directory: &Path) -> io::Result<std::fs::File> {
    std::fs::File::open(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(cluster: &str, epoch: u64) -> Mark {
        Mark { cluster: cluster.to_owned(), epoch }
    }

    #[test]
    fn what_is_found_must_be_at_least_what_is_remembered() {
        let (a1, a2, b9) = (mark("a", 1), mark("a", 2), mark("b", 9));
        assert_eq!(check_mark(None, None), Ok(None));
        assert_eq!(check_mark(None, Some(&a1)), Ok(Some(a1.clone())));
        assert_eq!(check_mark(Some(&a1), Some(&a1)), Ok(Some(a1.clone())));
        assert_eq!(check_mark(Some(&a1), Some(&a2)), Ok(Some(a2.clone())));
        assert_eq!(check_mark(Some(&a1), None), Err(MarkMismatch::Wiped { cluster: "a".to_owned() }));
        assert_eq!(check_mark(Some(&a2), Some(&a1)), Err(MarkMismatch::RolledBack { seen: 2, found: 1 }));
        let other = MarkMismatch::OtherCluster { remembered: "a".to_owned(), found: "b".to_owned() };
        assert_eq!(check_mark(Some(&a2), Some(&b9)), Err(other));
    }

    #[test]
    fn a_mark_is_remembered_and_replaced() {
        let place = tempfile::tempdir().expect("a directory");
        let file = MarkFile::new(place.path());
        assert_eq!(file.read().expect("there is none"), None);
        for mark in [mark("a", 1), mark("a", 2)] {
            file.write(&mark).expect("it can be written");
            assert_eq!(file.read().expect("it was written"), Some(mark));
        }
        // A crash has left an unfinished file behind.
        std::fs::write(place.path().join(UNFINISHED), "half").expect("it can be written");
        assert_eq!(file.read().expect("it was written"), Some(mark("a", 2)));
        file.write(&mark("a", 3)).expect("it can be written");
        assert_eq!(file.read().expect("it was written"), Some(mark("a", 3)));
        let names = std::fs::read_dir(place.path()).expect("a directory");
        assert_eq!(names.count(), 1, "nothing else is left");
    }

    #[test]
    fn a_torn_or_foreign_file_is_an_error_that_says_what_to_do() {
        let place = tempfile::tempdir().expect("a directory");
        let (file, path) = (MarkFile::new(place.path()), place.path().join(NAME));
        file.write(&mark("a", 7)).expect("it can be written");
        let whole = std::fs::read(&path).expect("it was written");
        for at in 0..whole.len() {
            std::fs::write(&path, &whole[..at]).expect("it can be written");
            let error = file.read().expect_err("it is torn").to_string();
            assert!(error.contains("is damaged") && error.contains("Delete it"), "{error}");
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, flipped).expect("it can be written");
            assert!(file.read().is_err(), "byte {at}");
        }
        std::fs::write(&path, record::encode("epoch", &mark("a", 7))).expect("it can be written");
        assert!(file.read().expect_err("it is another file").to_string().contains("its kind is `epoch`"));
        std::fs::write(&path, vec![b' '; 5000]).expect("it can be written");
        assert!(file.read().expect_err("it is too long").to_string().contains("longer than 4096"));
        file.write(&mark("a", 8)).expect("it is replaced as a whole");
        assert_eq!(file.read().expect("it was written"), Some(mark("a", 8)));
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let place = tempfile::tempdir().expect("a directory");
        let file = MarkFile::new(place.path().join("not-there"));
        let error = file.write(&mark("a", 1)).expect_err("there is no directory").to_string();
        assert!(error.starts_with("cannot write") && error.contains("not-there"), "{error}");
    }
}
