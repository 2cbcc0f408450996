//! How a topology of a cluster begins, if it takes checkpoints.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{CheckpointId, CheckpointIdError};
use crate::runtime::CheckpointBegin;
use crate::text::shown;

/// How a topology begins. Only its first master follows it: the ones after go on from the latest checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopologyBegin {
    /// With which checkpoint.
    #[serde(default)]
    pub from: BeginFrom,
    /// The components and states that are left behind in the checkpoint, as `COMPONENT` or `COMPONENT.STATE`.
    #[serde(default)]
    pub allow_dropped_state: Vec<String>,
}

/// With which checkpoint a topology begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum BeginFrom {
    /// With none. If a topology of this name has left checkpoints and not come to its end, this one fails.
    #[default]
    Nothing,
    /// With none, and those that are left are deleted.
    Discard,
    /// With the latest that is left.
    Latest,
    /// With this one, as `squall checkpoint list` shows it. Later ones are given up.
    Checkpoint(String),
    /// With a savepoint.
    Savepoint {
        /// Its directory on the hosts, an absolute path.
        directory: String,
        /// Whether checkpoints that are left are deleted.
        #[serde(default)]
        discard: bool,
    },
}

/// Why a topology cannot begin so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// Masters have no directory that a path could be relative to.
    #[error(
        "`{}` is no absolute path, and hosts have no common directory that it could be relative to",
        shown(path)
    )]
    NotAbsolute {
        /// The path.
        path: String,
    },
    /// It is the name of no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointIdError),
}

impl TopologyBegin {
    /// Whether it is the default.
    pub fn is_default(&self) -> bool {
        *self == TopologyBegin::default()
    }

    /// The same for the runtime.
    ///
    /// # Errors
    /// When it is nothing that a topology could begin with.
    pub fn to_checkpoint_begin(&self) -> Result<CheckpointBegin, BeginError> {
        Ok(match &self.from {
            BeginFrom::Nothing => CheckpointBegin::New,
            BeginFrom::Discard => CheckpointBegin::Discard,
            BeginFrom::Latest => CheckpointBegin::Resume,
            BeginFrom::Checkpoint(checkpoint) => {
                CheckpointBegin::ResumeFrom(checkpoint.parse::<CheckpointId>()?)
            }
            BeginFrom::Savepoint { directory, discard } => {
                CheckpointBegin::Savepoint { directory: absolute(directory)?, discard: *discard }
            }
        })
    }
}

/// A path on the hosts.
///
/// # Errors
/// When it is not absolute.
pub fn absolute(path: &str) -> Result<PathBuf, BeginError> {
    let absolute = PathBuf::from(path);
    match absolute.is_absolute() {
        true => Ok(absolute),
        false => Err(BeginError::NotAbsolute { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<CheckpointBegin, String> {
        let begin: TopologyBegin = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let again = serde_json::to_string(&begin).expect("it is JSON");
        assert_eq!(serde_json::from_str::<TopologyBegin>(&again).ok(), Some(begin.clone()));
        begin.to_checkpoint_begin().map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_request_names_is_what_the_runtime_does() {
        assert_eq!(check("{}"), Ok(CheckpointBegin::New));
        assert_eq!(check(r#"{"from":"discard"}"#), Ok(CheckpointBegin::Discard));
        assert_eq!(check(r#"{"from":"latest"}"#), Ok(CheckpointBegin::Resume));
        let checkpoint = CheckpointId { epoch: 2, number: 17 };
        assert_eq!(check(r#"{"from":{"checkpoint":"2-17"}}"#), Ok(CheckpointBegin::ResumeFrom(checkpoint)));
        let savepoint = CheckpointBegin::Savepoint { directory: "/s".into(), discard: false };
        assert_eq!(check(r#"{"from":{"savepoint":{"directory":"/s"}}}"#), Ok(savepoint));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = check(r#"{"from":{"savepoint":{"directory":"s"}}}"#).expect_err("it is relative");
        assert!(refused.contains("`s` is no absolute path"), "{refused}");
        assert!(check(r#"{"from":{"checkpoint":"17"}}"#).is_err());
        assert!(check(r#"{"from":"elsewhere"}"#).is_err());
    }
}
