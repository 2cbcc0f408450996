//! Which log, and which record of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a log, drawn when it is made. A position in one log is none in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct LogId(pub(crate) u64);

impl From<LogId> for String {
    fn from(id: LogId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for LogId {
    type Error = String;

    fn try_from(text: String) -> Result<LogId, String> {
        LogId::read(&text).ok_or_else(|| format!("`{text}` is no number of a log"))
    }
}

impl LogId {
    /// The number that a text is, as it is shown.
    pub(crate) fn read(text: &str) -> Option<LogId> {
        u64::from_str_radix(text, 16).ok().map(LogId)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A position in a log: the next record. What checkpoints have of a spout behind a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalPosition {
    pub(crate) log: LogId,
    pub(crate) next: u64,
}

impl WalPosition {
    /// The position that stands in a manifest; `None` if it is another kind of position.
    pub(crate) fn of_json(position: &serde_json::Value) -> Option<WalPosition> {
        serde_json::from_value(position.clone()).ok()
    }
}
