//! Why a log could not be written or read.

use std::io;

use crate::checkpoint::remedy;

/// Why a log could not be written or read. Each text names the log, what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalError {
    /// The storage failed.
    #[error("cannot {action} `{file}` in {location}: {source}{}", remedy(.source))]
    Io {
        /// What was to be done: `write`, `read`, `list`, `delete`.
        action: &'static str,
        file: String,
        location: String,
        source: io::Error,
    },
    /// A file cannot be what was written.
    #[error(
        "file `{file}` of the write-ahead log in {location} is damaged at byte {offset}: {flaw}; put back a copy of it, or \
         begin anew without the log by `--discard-checkpoints`"
    )]
    Damaged { file: String, location: String, offset: usize, flaw: String },
    /// A file has a format that is newer than this program.
    #[error(
        "file `{file}` of the write-ahead log in {location} was made by a newer squall: its format is version {version}, \
         and this squall reads up to {supported}; use the newer squall"
    )]
    Newer { file: String, location: String, version: u32, supported: u32 },
    /// Files of two logs are in one place.
    #[error(
        "{location} has files of two write-ahead logs, `{file}` and `{other}`: take those of the other log away, or give \
         each topology a place of its own"
    )]
    Mixed { file: String, other: String, location: String },
    /// A record was asked for that was deleted.
    #[error(
        "the write-ahead log in {location} begins with record {begin}, and record {wanted} was deleted: what comes after \
         an older checkpoint or savepoint is kept for the last checkpoints only (`retain` in `[topology.checkpoint]`)"
    )]
    Deleted { location: String, begin: u64, wanted: u64 },
    /// A record was asked for that is not there.
    #[error(
        "the write-ahead log in {location} ends before record {end}, and record {wanted} was asked for: some of its files \
         are missing; put them back, or begin anew without the log by `--discard-checkpoints`"
    )]
    Short { location: String, end: u64, wanted: u64 },
}

impl WalError {
    /// Whether it may succeed when it is tried again.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, WalError::Io { .. })
    }
}
