//! What can go wrong with a call of the coordination.

use crate::cluster::coordination::node::DATA_MAX;
use crate::cluster::coordination::path::NodePath;

/// Why a call was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinationError {
    /// The node is there already.
    #[error("node `{0}` exists already")]
    Exists(NodePath),
    /// The node is not there. Of a node that is to be made: its parent.
    #[error("there is no node `{0}`")]
    Missing(NodePath),
    /// The node has another version than expected: somebody has written it.
    #[error("node `{0}` was changed by somebody else")]
    Changed(NodePath),
    /// The node has children, so it cannot be deleted.
    #[error("node `{0}` has children")]
    NotEmpty(NodePath),
    /// The node is held by a process, so it cannot have children.
    #[error("node `{0}` vanishes with the process that holds it, so it cannot have children")]
    NoChildren(NodePath),
    /// This user may not do that.
    #[error("this user may not do that to node `{0}`: {1}")]
    Refused(NodePath, String),
    /// The data are too large.
    #[error("{bytes} bytes are too many for node `{path}`: a node has at most {DATA_MAX}")]
    TooLarge {
        /// The node.
        path: NodePath,
        /// What it would have.
        bytes: usize,
    },
    /// The service does not answer. What was asked for was not done.
    #[error("the coordination service does not answer: {0}")]
    Away(String),
    /// The connection was lost after the request was sent. It may have been done, or may be done yet.
    #[error("it is not known whether this was done: {0}")]
    Uncertain(String),
}

/// Refuses data that no node may have.
pub(super) fn check_size(path: &NodePath, data: &[u8]) -> Result<(), CoordinationError> {
    match data.len() {
        bytes if bytes > DATA_MAX => Err(CoordinationError::TooLarge { path: path.clone(), bytes }),
        _ => Ok(()),
    }
}

impl CoordinationError {
    /// Whether the same call may succeed later, without anybody doing something.
    pub fn is_passing(&self) -> bool {
        matches!(self, CoordinationError::Away(_) | CoordinationError::Uncertain(_))
    }
}
