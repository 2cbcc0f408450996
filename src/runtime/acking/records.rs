//! The records that an executor sends an acker at the end of a step.
//!
//! Records of one tree are combined before they are sent: however many tuples of a tree a step took and
//! emitted, the acker receives one XOR for it. The order of the lists in [`AckRecords`] is the order in
//! which the acker applies them. The comment of each list has the reason for its place.

use crate::api::FailureCause;
use crate::ids::{RootId, WorkerSet};
use crate::tuple::MessageIndex;

/// Why a message failed, as reported by the task that failed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureReport {
    /// Why.
    pub cause: FailureCause,
    /// Whether the tuple had used up its replays, so that the message is given up.
    pub is_final: bool,
}

impl From<FailureCause> for FailureReport {
    /// Of a message that may be replayed.
    fn from(cause: FailureCause) -> FailureReport {
        FailureReport { cause, is_final: false }
    }
}

/// What an executor sends an acker at the end of a step, combined per tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckRecords {
    /// The membership that the sender had read before it sent tuples to other workers.
    pub membership: u64,
    /// Trees of which tuples were sent to other workers, and to which. Applied before everything else: an
    /// init or ack of the same step could complete the block (see `acker`).
    pub touched: Vec<(RootId, WorkerSet)>,
    /// Failed messages. Applied before inits and acks, so that the failure is reported to the spout before
    /// the block completes.
    pub fails: Vec<(RootId, MessageIndex, FailureReport)>,
    /// Blocks that the spout ended without the acker (for example expired): the acker drops their entries.
    pub forgets: Vec<RootId>,
    /// New blocks with the XOR of their first edges.
    pub inits: Vec<(RootId, u64)>,
    /// XOR of edges consumed and created, one record per tree.
    pub acks: Vec<(RootId, u64)>,
    /// Trees whose time-out restarts.
    pub resets: Vec<RootId>,
}

impl AckRecords {
    /// Adds the records of another task of the same step.
    pub fn absorb(&mut self, mut other: AckRecords) {
        self.touched.append(&mut other.touched);
        self.fails.append(&mut other.fails);
        self.forgets.append(&mut other.forgets);
        self.inits.append(&mut other.inits);
        self.acks.append(&mut other.acks);
        self.resets.append(&mut other.resets);
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty()
            && self.fails.is_empty()
            && self.forgets.is_empty()
            && self.inits.is_empty()
            && self.acks.is_empty()
            && self.resets.is_empty()
    }
}
