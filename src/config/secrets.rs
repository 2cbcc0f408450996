//! `[secrets]`: where the values of secrets are on a host.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[secrets]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsOptions {
    /// `directory`: the directory with a file for each secret. `None`: below the user's state directory.
    pub directory: Option<PathBuf>,
}
