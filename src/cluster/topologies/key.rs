//! The key that all hosts of a cluster have, and the secrets that follow from it.
//!
//! The processes of a topology prove to each other that they know its secret. It follows from the key of the cluster and
//! the id of the topology, so it stands in no node, and no process of a topology knows the secret of another one.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::hmac;

use crate::cluster::topologies::id::TopologyId;
use crate::files;
use crate::net::Secret;

/// Hexadecimal digits of a key.
const DIGITS: usize = 64;
/// Bytes of a file with a key.
const FILE_MAX: u64 = 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterKeyError {
    /// The file cannot be read.
    #[error("the key of the cluster cannot be read from `{}`", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file has something else.
    #[error(
        "`{}` holds no key of a cluster: {DIGITS} hexadecimal digits are one; copy the file of a host that has it",
        .0.display()
    )]
    Malformed(PathBuf),
    /// It cannot be made.
    #[error("the key of the cluster cannot be made as `{}`", .0.display())]
    NotMade(PathBuf, #[source] io::Error),
}

/// The key of a cluster. `Debug` does not show it.
#[derive(Clone)]
pub struct ClusterKey(hmac::Key);

impl ClusterKey {
    /// A key of these bytes, which must be random.
    pub fn new(bytes: &[u8; DIGITS / 2]) -> ClusterKey {
        ClusterKey(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Reads the key from a file that nobody else may read.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn read(path: &Path) -> Result<ClusterKey, ClusterKeyError> {
        let text = files::read_private(path, FILE_MAX)
            .map_err(|error| ClusterKeyError::Unreadable(path.to_owned(), error))?;
        let bytes = std::str::from_utf8(&text).ok().and_then(|text| from_hex(text.trim()));
        bytes.map(|bytes| ClusterKey::new(&bytes)).ok_or_else(|| ClusterKeyError::Malformed(path.to_owned()))
    }

    /// Makes a file with a key of these bytes, which must be random, if there is no file. Returns whether it was made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(path: &Path, bytes: &[u8; DIGITS / 2]) -> Result<bool, ClusterKeyError> {
        if path.exists() {
            return Ok(false);
        }
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]).collect();
        // Linked to its name when it is whole: of two processes that make it, one does, and nobody reads half a key.
        let made = path.with_extension(format!("new-{}", std::process::id()));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&made)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match std::fs::hard_link(&made, path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        };
        let result = write();
        let _ = std::fs::remove_file(&made);
        result.map_err(|error| ClusterKeyError::NotMade(path.to_owned(), error))
    }

    /// By what the daemons of a cluster notice that one of them has another key: 64 hexadecimal digits, which everybody
    /// may see. Whoever has them learns nothing of the key, which is random.
    pub fn fingerprint(&self) -> String {
        let tag = hmac::sign(&self.0, b"squall fingerprint of the key of a cluster");
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The secret that the processes of a topology share.
    pub fn secret_of(&self, id: &TopologyId, run: &str) -> Secret {
        let tag = hmac::sign(&self.0, format!("squall topology {id} {run}").as_bytes());
        Secret::new(tag.as_ref().try_into().expect("an HMAC of SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

fn from_hex(text: &str) -> Option<[u8; DIGITS / 2]> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let bytes: Vec<u8> = digits?.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if text.len() == DIGITS { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_by_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cluster.key");
        assert!(matches!(ClusterKey::read(&path), Err(ClusterKeyError::Unreadable(..))));
        assert!(ClusterKey::make(&path, &[7; 32]).expect("it is made"));
        assert!(!ClusterKey::make(&path, &[8; 32]).expect("it is there"));
        let id = TopologyId::new("words", 1).expect("an id");
        let secret = |key: &ClusterKey| key.secret_of(&id, "run");
        let read = ClusterKey::read(&path).expect("it is a key");
        assert!(secret(&read) == secret(&ClusterKey::new(&[7; 32])));
        assert_eq!(std::fs::read_dir(directory.path()).expect("it is there").count(), 1);
    }

    #[test]
    fn each_topology_has_a_secret_of_its_own() {
        let key = ClusterKey::new(&[7; 32]);
        let secret = |number, run| key.secret_of(&TopologyId::new("words", number).expect("an id"), run);
        assert!(secret(1, "a") != secret(2, "a"));
        assert!(secret(1, "a") != secret(1, "b"));
    }

    #[test]
    fn each_key_has_a_fingerprint_of_its_own() {
        let (key, other) = (ClusterKey::new(&[7; 32]), ClusterKey::new(&[8; 32]));
        assert_eq!(key.fingerprint(), ClusterKey::new(&[7; 32]).fingerprint());
        assert_ne!(key.fingerprint(), other.fingerprint());
        assert_eq!(key.fingerprint().len(), 64);
        assert!(!key.fingerprint().contains("0707"), "{}", key.fingerprint());
    }

    #[test]
    fn something_else_is_no_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cluster.key");
        ClusterKey::make(&path, &[7; 32]).expect("it is made");
        for text in ["", "12", "zz", &"é".repeat(32)] {
            std::fs::write(&path, text).expect("it is written");
            assert!(matches!(ClusterKey::read(&path), Err(ClusterKeyError::Malformed(_))), "{text}");
        }
    }
}
