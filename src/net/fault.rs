//! Faults of a peer on a connection that was up.
//!
//! Each fault closes its connection and is counted under its name. None ends the worker.

use super::application::PayloadError;
use super::frame::{FrameError, FrameKind, Lane};
use super::outbound::LinkCredit;

/// How a peer broke the protocol on a connection that was up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkFault {
    /// The bytes are not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame of a kind that must not come on this connection, or not now.
    #[error("a frame of kind {kind:?} must not come here")]
    Misplaced {
        /// Its kind.
        kind: FrameKind,
    },
    /// A payload of squall's own that cannot be read.
    #[error("a frame of kind {kind:?} cannot be read")]
    Unreadable {
        /// Its kind.
        kind: FrameKind,
    },
    /// Frames are missing.
    #[error("frame {found} of the {lane:?} lane came instead of frame {expected}")]
    Gap {
        /// Of which lane.
        lane: Lane,
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The peer reports frames as taken that were never written to it.
    #[error("the peer reports frame {taken} of the {lane:?} lane as taken, but only {written} were written")]
    TakenAhead {
        /// Of which lane.
        lane: Lane,
        /// The last sequence that the peer reports as taken.
        taken: u64,
        /// The last sequence that was written.
        written: u64,
    },
    /// The peer reports fewer frames as taken than before.
    #[error("the peer reported frame {before} of the {lane:?} lane as taken, and now only {taken}")]
    TakenBack {
        /// Of which lane.
        lane: Lane,
        /// The last sequence that the peer reports as taken.
        taken: u64,
        /// The last sequence that it reported before.
        before: u64,
    },
    /// The peer returned more credit in total than it was given, or a smaller total than before.
    #[error(
        "the peer reports {} tuples and {} bytes of credit as returned for link {}, which is impossible",
        total.tuples,
        total.bytes,
        total.link.0
    )]
    Credit {
        /// The total that the peer reports.
        total: LinkCredit,
    },
    /// The application refused a payload.
    #[error("a payload cannot be used: {0}")]
    Payload(#[from] PayloadError),
}

impl LinkFault {
    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            LinkFault::Frame(FrameError::Header) => "header",
            LinkFault::Frame(FrameError::Flags { .. }) => "flags",
            LinkFault::Frame(FrameError::Kind { .. }) => "kind",
            LinkFault::Frame(FrameError::Sequence { .. }) => "sequence",
            LinkFault::Frame(FrameError::TooLong { .. }) => "too-long",
            LinkFault::Frame(FrameError::Checksum) => "checksum",
            LinkFault::Misplaced { .. } => "misplaced",
            LinkFault::Unreadable { .. } => "unreadable",
            LinkFault::Gap { .. } => "gap",
            LinkFault::TakenAhead { .. } => "taken-ahead",
            LinkFault::TakenBack { .. } => "taken-back",
            LinkFault::Credit { .. } => "credit",
            LinkFault::Payload(_) => "payload",
        }
    }
}
