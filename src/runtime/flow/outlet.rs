//! The way to another worker, as the runtime sees it. `net` implements it.
//!
//! The runtime encodes payloads and chooses their lane. The implementation is responsible for connections,
//! sequence numbers and retransmission.

use crate::clock::Time;
use crate::runtime::flow::charge::LinkCredit;

/// Free bytes before a payload, for the header of its frame.
pub const HEADROOM: usize = 20;

/// The kind of a payload. It decides the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadKind {
    /// Records for an acker; control lane.
    Acks,
    /// Outcomes for a spout; control lane.
    Outcomes,
    /// A batch of tuples; data lane, under credit.
    Data,
    /// The barrier of a checkpoint; data lane, without credit.
    Barrier,
    /// How far event time is; data lane, without credit.
    Time,
}

/// The way to one other worker.
pub trait Outlet: Send + Sync {
    /// Sends a payload to the current incarnation. `bytes` has [`HEADROOM`] free bytes, then the payload.
    /// For data, `credit` is what the link was charged. Never blocks.
    fn send(&self, kind: PayloadKind, bytes: Vec<u8>, credit: Option<LinkCredit>, now: Time);

    /// Notifies the poller that there is credit to return; see `credit_returns`.
    fn wake_poller(&self);

    /// The longest payload that may be sent.
    fn payload_max(&self) -> usize;
}
