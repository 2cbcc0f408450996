//! Why a secret cannot be read or written. No text of a secret is in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::secrets::name::SecretName;
use crate::text::shown;

/// Why the files of secrets cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// No directory is known.
    #[error("the secret `{name}` cannot be read, because no directory of secrets is known")]
    NoDirectory {
        /// The secret.
        name: SecretName,
    },
    /// There is no file of that name.
    #[error("there is no secret `{name}`: the file `{}` is not there", shown(file.display()))]
    Missing {
        /// The secret.
        name: SecretName,
        /// The file that was looked for.
        file: PathBuf,
    },
    /// The file is there, and cannot be used.
    #[error("the secret `{name}` cannot be used, because of its file `{}`: {why}", shown(file.display()))]
    Unusable {
        /// The secret.
        name: SecretName,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The directory cannot be used.
    #[error("the directory of secrets `{}` cannot be used: {why}", shown(directory.display()))]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A value was refused before it was written.
    #[error("the value {0}")]
    Value(&'static str),
    /// The file cannot be written or removed.
    #[error("the file `{}` cannot be {action}: {source}", shown(file.display()))]
    Unwritable {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl SecretError {
    /// What to do about a secret that cannot be read.
    pub fn remedy(&self) -> Option<String> {
        match self {
            SecretError::NoDirectory { .. } => Some(
                "name a directory by `directory` in `[secrets]` of the engine's file, or set XDG_STATE_HOME or HOME"
                    .to_owned(),
            ),
            SecretError::Missing { name, file } => Some(format!("make it by {}", set_command(name, file))),
            SecretError::Unusable { name, file, .. } => {
                Some(format!("mend the file, or replace it by {}", set_command(name, file)))
            }
            SecretError::Directory { .. } | SecretError::Value(_) | SecretError::Unwritable { .. } => None,
        }
    }

    /// The error with what to do about it, for where there is one line.
    pub fn with_remedy(&self) -> String {
        match self.remedy() {
            Some(remedy) => format!("{self}; {remedy}"),
            None => self.to_string(),
        }
    }
}

/// The command that writes the file.
fn set_command(name: &SecretName, file: &Path) -> impl fmt::Display {
    let directory = shown(file.parent().unwrap_or(Path::new(".")).display());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    match directory.bytes().all(is_plain) {
        true => format!("`squall secret set {name} --directory {directory}`"),
        false => format!("`squall secret set {name} --directory '{}'`", directory.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_the_remedy_can_be_pasted() {
        let check = |directory: &str, expected: &str| {
            let name: SecretName = "db".parse().expect("a name");
            let file = Path::new(directory).join("db");
            assert_eq!(SecretError::Missing { name, file }.remedy().as_deref(), Some(expected));
        };
        check("/etc/squall", "make it by `squall secret set db --directory /etc/squall`");
        check("/a b/it's", r"make it by `squall secret set db --directory '/a b/it'\''s'`");
    }
}
