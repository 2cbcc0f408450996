//! A node, as a file keeps it.

use serde::{Deserialize, Serialize};

/// A node, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptNode {
    pub(super) path: String,
    pub(super) version: i32,
    /// Records are text, and so are all data of a cluster.
    pub(super) data: String,
}
