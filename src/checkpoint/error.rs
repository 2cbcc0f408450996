//! Why checkpoints could not be written or read.

use std::io::{self, ErrorKind};

use smol_str::SmolStr;

use crate::ids::CheckpointId;

/// Why checkpoints could not be written or read. Each text names the file, what is wrong, and what to do.
///
/// # Examples
/// ```
/// use squall::checkpoint::{CheckpointError, CheckpointStore, MemoryStorage};
///
/// let storage = MemoryStorage::new();
/// let mut orders = CheckpointStore::open(Box::new(storage.clone()), "orders", 2)?;
/// orders.begin_epoch()?;
/// let refused = CheckpointStore::open(Box::new(storage), "bills", 2);
/// assert!(matches!(refused, Err(CheckpointError::ForeignTopology { .. })));
/// # Ok::<(), CheckpointError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The storage failed.
    #[error("cannot {action} `{file}` in {location}: {source}{}", remedy_to(action, .source))]
    Io {
        /// What was to be done: `write`, `read`, `delete`, `list`, `lock`.
        action: &'static str,
        /// The file.
        file: String,
        /// Where the checkpoints are kept.
        location: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The storage cannot be opened.
    #[error("cannot open {location}: {source}{}", remedy_to_open(.source))]
    Open {
        /// Where the checkpoints are to be kept.
        location: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The directory cannot be opened to look at what is in it.
    #[error("cannot open {location}: {source}{}", remedy_to_look(.source))]
    Unopened {
        /// The directory.
        location: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error(
        "{location} is in use by {holder}: end that process, or give each topology a directory of its own"
    )]
    Held {
        /// Where the checkpoints are kept.
        location: String,
        /// Who has it, in the holder's own words.
        holder: String,
    },
    /// A file cannot be what was written.
    #[error(
        "checkpoint file `{file}` in {location} cannot be used: {flaw}; put back a copy of it, continue from another \
         checkpoint by `--resume=CHECKPOINT`, or begin without checkpoints in an empty place"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where the checkpoints are kept.
        location: String,
        /// What is wrong in it.
        flaw: String,
    },
    /// A file has a format that is newer than this program.
    #[error(
        "checkpoint file `{file}` in {location} was made by a newer squall: its format is version {version}, and \
         this squall reads up to {supported}; use the newer squall"
    )]
    Newer {
        /// The file.
        file: String,
        /// Where the checkpoints are kept.
        location: String,
        /// The version of its format.
        version: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// The checkpoints are of another topology.
    #[error(
        "`{file}` in {location} belongs to topology `{found}`, and not to `{expected}`: give each topology a \
         place of its own"
    )]
    ForeignTopology {
        /// The file.
        file: String,
        /// Where the checkpoints are kept.
        location: String,
        /// The topology of this store.
        expected: SmolStr,
        /// The topology of the file.
        found: SmolStr,
    },
    /// A later start of the topology has taken over. This one must stop.
    #[error(
        "epoch {epoch} of the checkpoints in {location} is over, because epoch {current} has begun: a later start \
         of the topology took over"
    )]
    Fenced {
        /// Where the checkpoints are kept.
        location: String,
        /// The epoch that is over.
        epoch: u64,
        /// The epoch that is current.
        current: u64,
    },
    /// There is no such checkpoint.
    #[error("there is no checkpoint {checkpoint} in {location}: {}", shown_list(there))]
    Unknown {
        /// The checkpoint that was asked for.
        checkpoint: CheckpointId,
        /// Where the checkpoints are kept.
        location: String,
        /// Those that are there, oldest first.
        there: Vec<CheckpointId>,
    },
    /// A savepoint is to be written where something is.
    #[error("{location} is not empty: a savepoint needs a directory of its own, which is empty or not there")]
    NotEmpty {
        /// The directory.
        location: String,
    },
    /// There is no checkpoint to look at.
    #[error(
        "there are no checkpoints in {location}: name the directory that `storage` in `[topology.checkpoint]` names; \
         without that key it is `squall/TOPOLOGY/checkpoints` in $XDG_STATE_HOME or ~/.local/state"
    )]
    NoCheckpoints {
        /// The directory.
        location: String,
    },
    /// The run that uses the directory has deleted a checkpoint while it was read.
    #[error(
        "checkpoint {checkpoint} in {location} was deleted while it was read, because a run keeps only its latest \
         ones: {}; `retain` in `[topology.checkpoint]` keeps more",
        shown_list(there)
    )]
    Deleted {
        /// The checkpoint that was read.
        checkpoint: CheckpointId,
        /// The directory.
        location: String,
        /// Those that are there, oldest first.
        there: Vec<CheckpointId>,
    },
    /// Something was to be written before [`begin_epoch`](crate::checkpoint::CheckpointStore::begin_epoch).
    #[error("no epoch of the checkpoints in {location} was begun by this process")]
    NoEpoch {
        /// Where the checkpoints are kept.
        location: String,
    },
    /// The number of a checkpoint is not above the last.
    #[error("checkpoint {checkpoint} cannot follow checkpoint {last} in {location}: numbers must rise")]
    OutOfOrder {
        /// The checkpoint that was to be published.
        checkpoint: CheckpointId,
        /// The last one.
        last: CheckpointId,
        /// Where the checkpoints are kept.
        location: String,
    },
    /// A call that cannot be right.
    #[error("checkpoint {checkpoint} cannot be written: {flaw}")]
    Invalid {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What is wrong.
        flaw: String,
    },
    /// The manifest could be neither published nor taken back, so the checkpoint may or may not be there. Publish
    /// the same manifest again, or [discard](crate::checkpoint::CheckpointStore::discard) the checkpoint until
    /// [`undecided`](crate::checkpoint::CheckpointStore::undecided) is `None`. Until then, neither commit nor abort
    /// anything because of it.
    #[error(
        "nobody knows whether checkpoint {checkpoint} is in {location}: {source}{}",
        remedy(.source)
    )]
    Undecided {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Where the checkpoints are kept.
        location: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// What to do about an error of the storage, as the end of its text.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull => "; free some space there",
        ErrorKind::QuotaExceeded => "; free some space there, or raise the quota",
        ErrorKind::PermissionDenied => "; let squall write there, or name another place",
        ErrorKind::ReadOnlyFilesystem => "; mount the file system for writing, or name another place",
        _ => "",
    }
}

/// The same about a directory that is opened, or made if it is not there.
fn remedy_to_open(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "; name a directory that is there or can be made"
        }
        _ => remedy(error),
    }
}

/// The same about an action on a file.
fn remedy_to(action: &str, error: &io::Error) -> &'static str {
    match (action, error.kind()) {
        ("read" | "list", ErrorKind::PermissionDenied) => "; let squall read it",
        _ => remedy(error),
    }
}

/// The same about a directory that is only to be looked at.
fn remedy_to_look(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            "; name the directory that `storage` in `[topology.checkpoint]` names; without that key it is \
             `squall/TOPOLOGY/checkpoints` in $XDG_STATE_HOME or ~/.local/state"
        }
        ErrorKind::PermissionDenied => "; let squall read it, as whoever runs the topology can",
        _ => "",
    }
}

fn shown_list(there: &[CheckpointId]) -> String {
    let ids: Vec<String> = there.iter().map(CheckpointId::to_string).collect();
    match ids.is_empty() {
        true => "none is there".to_owned(),
        false => format!("{} {} there", ids.join(", "), if ids.len() == 1 { "is" } else { "are" }),
    }
}

/// What is wrong in the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The bytes are not what was written.
    Damaged(String),
    /// A newer squall wrote them.
    Newer { version: u32, supported: u32 },
}

impl Flaw {
    /// The error about a file with this flaw.
    pub(super) fn of(self, file: &str, location: String) -> CheckpointError {
        let file = file.to_owned();
        match self {
            Flaw::Damaged(flaw) => CheckpointError::Damaged { file, location, flaw },
            Flaw::Newer { version, supported } => {
                CheckpointError::Newer { file, location, version, supported }
            }
        }
    }
}

/// The bytes are not what was written.
pub(super) fn damaged(flaw: impl Into<String>) -> Flaw {
    Flaw::Damaged(flaw.into())
}
