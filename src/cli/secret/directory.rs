//! Which directory the commands read and write.

use std::path::PathBuf;

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::load;
use crate::runtime::secret_directory;
use crate::secrets::{SecretDirectory, SecretError};

/// Which directory has the secrets.
#[derive(clap::Args, Debug)]
pub(super) struct DirectoryFlags {
    /// The directory with the secrets [default: `directory` in `[secrets]` of the engine's file]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// The engine's file, `squall.toml`
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG", hide_env_values = true)]
    config: Option<String>,
}

impl DirectoryFlags {
    /// The directory. `None`: the engine's file has mistakes, which were reported.
    pub(super) fn secrets(&self, context: &Context) -> Option<SecretDirectory> {
        if let Some(directory) = &self.directory {
            return Some(SecretDirectory::new(directory));
        }
        let engine = load::engine(self.config.as_deref(), context)?;
        Some(secret_directory(&engine.secrets))
    }
}

impl From<SecretError> for CommandError {
    fn from(error: SecretError) -> CommandError {
        CommandError::Refused(error.with_remedy())
    }
}
