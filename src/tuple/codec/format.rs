//! What the writer and the reader of tuples share: versions, tags, bounds, and the rules of a batch.
//!
//! The header of [`codec`](super) describes the format.

use crate::config::limits::BLOCK_MESSAGES_MAX;
use crate::tuple::batch::TupleBatch;

/// The first byte of a single value.
pub const VERSION: u8 = 1;
/// The first byte of a batch.
pub const BATCH_VERSION: u8 = 2;
/// How deep lists and maps may nest: a list of numbers has depth 1.
pub const DEPTH_MAX: usize = 64;
/// An upper bound of the bytes that decoding allocates for one byte of input. The worst case is a map
/// with one entry, which needs a whole B-tree node.
pub const ALLOCATION_FACTOR: usize = 256;

pub(super) mod tag {
    pub const NULL: u8 = 0x00;
    pub const FALSE: u8 = 0x01;
    pub const TRUE: u8 = 0x02;
    pub const I64: u8 = 0x03;
    pub const F64: u8 = 0x04;
    pub const STR: u8 = 0x05;
    pub const BYTES: u8 = 0x06;
    pub const LIST: u8 = 0x07;
    pub const MAP: u8 = 0x08;
    pub const TIMESTAMP: u8 = 0x09;
    /// Text whose length is in the tag.
    pub const SHORT_STR: u8 = 0x40;
    pub const SHORT_STR_LAST: u8 = 0x7f;
    /// An integer that is in the tag.
    pub const SHORT_I64: u8 = 0x80;
}

/// Text shorter than this has its length in the tag.
pub(super) const SHORT_STR_LEN: usize = 64;

/// Why bytes are not a batch or value, or a value cannot be written. Positions count from the
/// first byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The version is unknown to this release.
    #[error("version {found} of the tuple format is not known (this is version {BATCH_VERSION})")]
    Version {
        /// The first byte.
        found: u8,
    },
    /// The input ends too early, or announces more than it can hold.
    #[error("the input ends too early")]
    Truncated,
    /// The input goes on after its end.
    #[error("{left} bytes follow the end")]
    Trailing {
        /// The number of further bytes.
        left: usize,
    },
    /// No value begins with this byte.
    #[error("no value begins with byte {tag:#04x}, at {at}")]
    Tag {
        /// The byte.
        tag: u8,
        /// Its position.
        at: usize,
    },
    /// Text is not UTF-8.
    #[error("text is not UTF-8, before {at}")]
    Text {
        /// The position of the end of the text.
        at: usize,
    },
    /// Something is not encoded in its only valid form.
    #[error("{what}, before {at}")]
    NotCanonical {
        /// What it is.
        what: &'static str,
        /// The position of its end.
        at: usize,
    },
    /// Lists and maps nest too deep.
    #[error("lists and maps nest deeper than {DEPTH_MAX}")]
    Depth,
    /// A rule of [`TupleBatch`] is broken.
    #[error("{rule}")]
    Batch {
        /// The rule.
        rule: &'static str,
    },
}

/// The rules of [`TupleBatch`] that its types do not ensure, checked on writing and on reading.
pub(super) fn check_rules(batch: &TupleBatch) -> Result<(), CodecError> {
    let broken = |rule| Err(CodecError::Batch { rule });
    let len = u64::from(batch.len);
    if batch.rows.values().len() as u64 != len * u64::from(batch.arity) {
        return broken("a batch has as many values as its tuples need");
    }
    if !batch.is_tracked() {
        let is_bare = batch.msgs.is_empty() && batch.extras.is_empty();
        return if is_bare { Ok(()) } else { broken("an untracked batch has neither messages nor anchors") };
    }
    if batch.runs.iter().map(|run| u64::from(run.len)).sum::<u64>() != len {
        return broken("the runs of a batch are as long as the batch");
    }
    if batch.runs.iter().any(|run| run.len == 0) {
        return broken("a run has a tuple at least");
    }
    if batch.msgs.len() as u64 != len {
        return broken("a tracked batch has a message for each tuple");
    }
    let is_sorted = batch.extras.is_sorted_by_key(|(tuple, _)| *tuple);
    if !is_sorted || batch.extras.last().is_some_and(|(tuple, _)| *tuple >= batch.len) {
        return broken("further anchors are of tuples of the batch, in order");
    }
    let roots = batch.runs.iter().map(|run| (run.root, run.edge)).filter(|(root, _)| root.is_tracked());
    let mut roots = roots.chain(batch.extras.iter().map(|(_, anchor)| (anchor.root, anchor.edge)));
    if roots.any(|(root, edge)| root.task().0 == 0 || edge == 0) {
        return broken("an anchor has a spout task and an edge that is not 0");
    }
    let mut messages =
        batch.msgs.iter().copied().chain(batch.extras.iter().map(|(_, anchor)| anchor.message));
    if messages.any(|message| u32::from(message) >= BLOCK_MESSAGES_MAX) {
        return broken("a block has 64 messages at most");
    }
    Ok(())
}
