//! The file with the users: how it is read, followed, and written.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use slog::{Logger, error, info};

use crate::cluster::access::token::Token;
use crate::cluster::access::user::Caller;
use crate::cluster::access::users::Users;
use crate::files;

/// Bytes that the file may have.
const BYTES_MAX: u64 = 512 << 10;

/// Why a file with users cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersFileError {
    /// It cannot be read.
    #[error("the users cannot be read from `{}`: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It has something else.
    #[error("`{}` is no file with users: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It cannot be written.
    #[error("the users cannot be written to `{}`: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// A file with users that is followed: who asks is looked up in what it has now.
#[derive(Debug)]
pub struct UsersFile {
    path: PathBuf,
    known: Mutex<Known>,
    logger: Logger,
}

/// What was read last.
#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    users: Users,
    /// What is wrong with the file, as it was logged.
    wrong: Option<String>,
}

impl UsersFile {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not there, others may read it, or it has something else.
    pub fn open(path: &Path, logger: &Logger) -> Result<UsersFile, UsersFileError> {
        let (bytes, users) = read(path)?;
        let known = Mutex::new(Known { bytes, users, wrong: None });
        Ok(UsersFile { path: path.to_owned(), known, logger: logger.clone() })
    }

    /// Whose token this is, by what the file has now. It is read each time, because neither its size nor its time shows
    /// each change; and it is small.
    pub fn find(&self, token: &Token) -> Option<Caller> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.follow(&mut known);
        known.users.find(token)
    }

    fn follow(&self, known: &mut Known) {
        let read = read_bytes(&self.path);
        if read.as_ref().is_ok_and(|bytes| *bytes == known.bytes) {
            if known.wrong.take().is_some() {
                info!(self.logger, "the file with the users is right again"; "file" => %self.path.display());
            }
            return;
        }
        match read.and_then(|bytes| Ok((parse(&self.path, &bytes)?, bytes))) {
            Ok((users, bytes)) => {
                info!(self.logger, "the users were read again"; "file" => %self.path.display(),
                    "users" => users.users.len());
                *known = Known { bytes, users, wrong: None };
            }
            Err(error) => {
                let why = error.to_string();
                if known.wrong.as_ref() != Some(&why) {
                    error!(self.logger, "the file with the users cannot be used, so those before it stay"; "why" => &why);
                    known.wrong = Some(why);
                }
            }
        }
    }

    /// Reads a file, if there is one, changes the users, and writes them. The file has the old users or the new ones, also
    /// after a crash, and of two processes that do this one does it after the other.
    ///
    /// # Errors
    /// When it cannot be read or written, or `change` refuses.
    pub fn change<T, E: From<UsersFileError>>(
        path: &Path,
        change: impl FnOnce(&mut Users) -> Result<T, E>,
    ) -> Result<T, E> {
        let unwritable = |error: io::Error| UsersFileError::Unwritable { path: path.to_owned(), error };
        let (directory, name) = directory_and_name(path).map_err(unwritable)?;
        // Until it is dropped.
        flock(&directory, FlockOperation::LockExclusive).map_err(|error| unwritable(error.into()))?;
        let mut users = match read(path) {
            Ok((_, users)) => users,
            Err(UsersFileError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Users::default()
            }
            Err(error) => return Err(error.into()),
        };
        let changed = change(&mut users)?;
        let malformed = |why| UsersFileError::Malformed { path: path.to_owned(), why };
        users.check().map_err(malformed)?;
        let text = users.to_text();
        files::publish(&directory, &format!("{name}.new"), &name, text.as_bytes()).map_err(unwritable)?;
        Ok(changed)
    }

    /// The users that a file has.
    ///
    /// # Errors
    /// When it is not there, others may read it, or it has something else.
    pub fn read(path: &Path) -> Result<Users, UsersFileError> {
        read(path).map(|(_, users)| users)
    }
}

fn directory_and_name(path: &Path) -> io::Result<(File, String)> {
    let name = path
        .file_name()
        .and_then(OsStr::to_str)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidFilename, "it is no name of a file in UTF-8"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((File::open(directory.unwrap_or(Path::new(".")))?, name.to_owned()))
}

fn read(path: &Path) -> Result<(Vec<u8>, Users), UsersFileError> {
    let bytes = read_bytes(path)?;
    let users = parse(path, &bytes)?;
    Ok((bytes, users))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, UsersFileError> {
    files::read_private(path, BYTES_MAX)
        .map_err(|error| UsersFileError::Unreadable { path: path.to_owned(), error })
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Users, UsersFileError> {
    let malformed = |why: String| UsersFileError::Malformed { path: path.to_owned(), why };
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8".to_owned()))?;
    Users::parse(text).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use slog::{Discard, o};

    use super::*;
    use crate::cluster::access::user::UserEntry;

    fn token(byte: u8) -> Token {
        Token::new(&[byte; 32])
    }

    fn add(path: &Path, name: &str, byte: u8) {
        let entry =
            UserEntry { token_sha256: token(byte).hash(), roles: BTreeSet::new(), added_at: String::new() };
        let added: Result<_, UsersFileError> = UsersFile::change(path, |users| {
            users.users.insert(name.parse().expect("a name"), entry);
            Ok(())
        });
        added.expect("it is written");
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("users.toml");
        let logger = Logger::root(Discard, o!());
        assert!(matches!(UsersFile::open(&path, &logger), Err(UsersFileError::Unreadable { .. })));
        add(&path, "ada", 1);
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        let file = UsersFile::open(&path, &logger).expect("it is good");
        let has = |byte: u8| file.find(&token(byte)).is_some();
        assert!(has(1) && !has(2));
        add(&path, "bob", 2);
        assert!(has(1) && has(2));
        // What is damaged, gone or open to others changes nothing.
        let good = fs::read(&path).expect("it is there");
        fs::write(&path, &good[..good.len() / 2]).expect("it is written");
        assert!(has(1) && has(2));
        fs::write(&path, b"\xff").expect("it is written");
        assert!(has(1) && has(2));
        fs::write(&path, "").expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
        assert!(has(1) && has(2));
        fs::remove_file(&path).expect("it is there");
        assert!(has(1) && has(2));
        // A file without users is nobody.
        fs::write(&path, "").expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        assert!(!has(1) && !has(2));
    }

    #[test]
    fn a_file_that_is_damaged_is_not_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("users.toml");
        add(&path, "ada", 1);
        fs::write(&path, "[users").expect("it is written");
        let changed: Result<(), UsersFileError> = UsersFile::change(&path, |_| Ok(()));
        assert!(matches!(changed, Err(UsersFileError::Malformed { .. })), "{changed:?}");
        assert_eq!(fs::read(&path).expect("it is there"), b"[users");
        assert_eq!(
            fs::read_dir(directory.path()).expect("it is there").count(),
            1,
            "nothing is left beside it"
        );
    }
}
