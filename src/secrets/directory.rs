//! The files of a host that have the values of secrets: one for each, in one directory.
//!
//! 1. A file is used if it is a regular file, or a symbolic link to one, that nobody but its owner can read, with at most
//!    [`SECRET_BYTES_MAX`] bytes of UTF-8. One line end at its end is no part of the value: editors and `echo` write one.
//! 2. The directory is used if neither its group nor others can write to it: otherwise they could put a file of theirs in
//!    the place of a secret.
//! 3. A file is replaced as a whole, so whoever reads it gets the old value or the new one.
//! 4. Names that begin with a dot are no secrets: unfinished files have such names.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, flock, unlinkat};
use serde::{Deserialize, Serialize, Serializer};

use crate::files::{self, make_private_directory, open_private, read_at_most, with_remedy};
use crate::secrets::error::SecretError;
use crate::secrets::name::SecretName;
use crate::secrets::setting::Secret;
use crate::secrets::value::SecretValue;

/// Bytes of the longest file of a secret.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The directory with the secrets of a host. Nothing is opened before a secret is asked for.
///
/// # Examples
/// ```
/// use squall::secrets::{Secret, SecretDirectory};
///
/// let directory = tempfile::tempdir()?;
/// let secrets = SecretDirectory::new(directory.path());
/// let name = "orders-db".parse()?;
/// assert!(secrets.read(&name).unwrap_err().to_string().starts_with("there is no secret `orders-db`"));
///
/// secrets.set(&name, b"postgres://me:hush@db/orders\n")?;
/// assert_eq!(secrets.value_of(&Secret::named(name))?.reveal(), "postgres://me:hush@db/orders");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretDirectory(Option<PathBuf>);

impl Serialize for SecretDirectory {
    /// A path that is not UTF-8 cannot be handed to another process: for that process no directory is known.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().and_then(|path| path.to_str()).serialize(serializer)
    }
}

impl SecretDirectory {
    /// The directory at this path, which need not be there.
    pub fn new(path: impl Into<PathBuf>) -> SecretDirectory {
        SecretDirectory(Some(path.into()))
    }

    /// No directory: each named secret is an error.
    pub fn none() -> SecretDirectory {
        SecretDirectory(None)
    }

    /// Where it is. `None`: no directory is known.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// The text of a setting: its own, or that of the secret that it names. It is read anew each time.
    ///
    /// # Errors
    /// When the secret that it names cannot be read.
    pub fn value_of(&self, setting: &Secret) -> Result<SecretValue, SecretError> {
        match (setting.name(), setting.text()) {
            (Some(name), _) => self.read(name),
            (None, text) => Ok(SecretValue::from(text.unwrap_or_default().to_owned())),
        }
    }

    /// The value of a secret.
    ///
    /// # Errors
    /// When its file is not there, may be read by others, or is no text of at most [`SECRET_BYTES_MAX`] bytes; or when
    /// others may write to the directory.
    pub fn read(&self, name: &SecretName) -> Result<SecretValue, SecretError> {
        let (file, opened) = self.open(name)?;
        let unusable = |why: String| SecretError::Unusable { name: name.clone(), file: file.clone(), why };
        let bytes = read_at_most(opened, SECRET_BYTES_MAX).map_err(|error| unusable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unusable("it is not UTF-8".to_owned()))?;
        let value = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        match value.is_empty() {
            false => Ok(SecretValue::from(value.to_owned())),
            true => Err(unusable("it is empty".to_owned())),
        }
    }

    /// Whether the file of a secret can be used, as far as that shows without its content.
    ///
    /// # Errors
    /// As [`read`](SecretDirectory::read).
    pub fn check(&self, name: &SecretName) -> Result<(), SecretError> {
        let (file, opened) = self.open(name)?;
        let unusable = |why: String| SecretError::Unusable { name: name.clone(), file: file.clone(), why };
        match opened.metadata().map_err(|error| unusable(error.to_string()))?.len() {
            0 => Err(unusable("it is empty".to_owned())),
            1..=SECRET_BYTES_MAX => Ok(()),
            _ => Err(unusable(format!("it is longer than {SECRET_BYTES_MAX} bytes"))),
        }
    }

    /// The names of all files that may be secrets, in their order. None if the directory is not there.
    ///
    /// # Errors
    /// When the directory cannot be read, or others may write to it.
    pub fn names(&self) -> Result<Vec<SecretName>, SecretError> {
        let Some(directory) = self.path() else { return Ok(Vec::new()) };
        let unusable = |why: String| SecretError::Directory { directory: directory.to_owned(), why };
        match checked(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unusable(error.to_string())),
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(|error| unusable(error.to_string()))? {
            let entry = entry.map_err(|error| unusable(error.to_string()))?;
            let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
            // A topology may have its own directory beside them.
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            names.extend(name.filter(|_| !is_directory));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Writes a secret, for this user alone, in the place of one that is there. The directory is made if it is missing.
    ///
    /// # Errors
    /// When the value is empty, too long or no text, or the file cannot be written. The value before is in place then.
    pub fn set(&self, name: &SecretName, value: &[u8]) -> Result<(), SecretError> {
        if value.len() as u64 > SECRET_BYTES_MAX {
            return Err(SecretError::Value("is longer than 65536 bytes"));
        }
        let text = str::from_utf8(value).map_err(|_| SecretError::Value("is not UTF-8"))?;
        if matches!(text, "" | "\n" | "\r\n") {
            return Err(SecretError::Value("is empty"));
        }
        let directory = self.path().ok_or_else(|| SecretError::NoDirectory { name: name.clone() })?;
        let unusable = |error: io::Error| SecretError::Directory {
            directory: directory.to_owned(),
            why: with_remedy(error, directory, "name another directory").to_string(),
        };
        make_private_directory(directory).map_err(unusable)?;
        checked(directory).map_err(unusable)?;
        let file = directory.join(name.as_str());
        let unwritable = |source| SecretError::Unwritable { action: "written", file: file.clone(), source };
        let opened = File::open(directory).map_err(unwritable)?;
        // Until it is dropped: one that is writing has the unfinished file for itself.
        flock(&opened, FlockOperation::LockExclusive).map_err(|error| unwritable(error.into()))?;
        files::publish(&opened, &format!(".{name}.new"), name.as_str(), value).map_err(unwritable)
    }

    /// Removes a secret. Returns whether there was one.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub fn remove(&self, name: &SecretName) -> Result<bool, SecretError> {
        let directory = self.path().ok_or_else(|| SecretError::NoDirectory { name: name.clone() })?;
        let file = directory.join(name.as_str());
        let unwritable = |source| SecretError::Unwritable { action: "removed", file: file.clone(), source };
        let removed = File::open(directory).and_then(|opened| {
            flock(&opened, FlockOperation::LockExclusive)?;
            unlinkat(&opened, name.as_str(), AtFlags::empty())?;
            opened.sync_all()
        });
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(unwritable(error)),
        }
    }

    fn open(&self, name: &SecretName) -> Result<(PathBuf, File), SecretError> {
        let directory = self.path().ok_or_else(|| SecretError::NoDirectory { name: name.clone() })?;
        let file = directory.join(name.as_str());
        let missing = || SecretError::Missing { name: name.clone(), file: file.clone() };
        match checked(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            Err(error) => {
                let why = error.to_string();
                return Err(SecretError::Directory { directory: directory.to_owned(), why });
            }
        }
        match open_private(&file) {
            Ok(opened) => Ok((file, opened)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(SecretError::Unusable { name: name.clone(), file, why: error.to_string() }),
        }
    }
}

/// Refuses a directory that others may write to.
fn checked(directory: &Path) -> io::Result<()> {
    let metadata = fs::metadata(directory)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(ErrorKind::NotADirectory, "it is not a directory"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let why = format!("others may write to it (its mode is {mode:o}): it holds secrets, so use `chmod 700`");
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests;
