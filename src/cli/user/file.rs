//! Which file the commands read and write.

use std::path::PathBuf;

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::load;
use crate::cluster::access::UsersFileError;

/// Which file has the users.
#[derive(clap::Args, Debug)]
pub(super) struct FileFlags {
    /// The file with the users [default: `nimbus.users_file` of the engine's file]
    #[arg(long, value_name = "FILE")]
    users_file: Option<PathBuf>,

    /// The engine's file, `squall.toml`
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG", hide_env_values = true)]
    config: Option<String>,
}

impl FileFlags {
    /// The file. `None`: the engine's file has mistakes, which were reported.
    pub(super) fn path(&self, context: &Context) -> Result<Option<PathBuf>, CommandError> {
        if let Some(file) = &self.users_file {
            return Ok(Some(file.clone()));
        }
        let Some(engine) = load::engine(self.config.as_deref(), context) else { return Ok(None) };
        let missing = || {
            CommandError::Refused(
                "no file with users is named: name one by --users-file, or by `users_file` in `[nimbus]` of the engine's \
                 file, and that by --config or SQUALL_CONFIG"
                    .to_owned(),
            )
        };
        engine.nimbus.users_file.map(Some).ok_or_else(missing)
    }
}

impl From<UsersFileError> for CommandError {
    fn from(error: UsersFileError) -> CommandError {
        CommandError::Refused(error.to_string())
    }
}
