//! The upcalls of a mesh: what it passes to, and requests from, the layer above it.

use std::fmt;

use bytes::Bytes;

use super::outbound::{LinkCredit, PayloadKind};
use crate::clock::Time;
use crate::ids::{Incarnation, WorkerId};

/// Upcalls of a `Mesh`. The methods of the mesh call them, in the thread of their caller. None may
/// wait, because the connections to all peers would wait with it.
///
/// There are two connections between a worker and a peer, one per direction. `credit`, `settled` and
/// `lost` are about payloads *to* the peer; `payload`, `credits_due`, `credits_changed` and
/// `all_credits` about payloads *from* the peer.
pub trait Application {
    /// A payload came from a peer. Each payload is passed once, and those of one lane in the order they
    /// were sent.
    ///
    /// # Errors
    /// When the payload cannot be used. The connection is closed and the payload counts as not taken,
    /// so the peer writes it again on the next connection, and may be refused again. The peer makes no
    /// progress then; after `link_lost` that is reported to the parent.
    fn payload(
        &mut self,
        from: WorkerId,
        kind: PayloadKind,
        payload: Bytes,
        now: Time,
    ) -> Result<(), PayloadError>;

    /// A peer returned credit of a link: this much more than before.
    fn credit(&mut self, to: WorkerId, more: LinkCredit);

    /// The peer reported this many more payloads as taken. From now on they count as the peer's.
    fn settled(&mut self, to: WorkerId, frames: u64);

    /// The peer's incarnation has ended, and `by` is the next one. Called before `lost`. Not called for a
    /// peer that is not a member any more.
    fn replaced(&mut self, _peer: WorkerId, _by: Incarnation) {}

    /// The peer's incarnation has ended. `frames` payloads to it were dropped. The peer will not return
    /// the credit that was outstanding, for payloads it took and for those it did
    /// not take.
    ///
    /// Called once for each incarnation that ends, even if nothing was lost. All later calls are about
    /// the next incarnation, and the totals of credit returned to it begin at 0.
    fn lost(&mut self, to: WorkerId, frames: u64, credits: &[LinkCredit]);

    /// A heartbeat came, with what the peer's application wrote in `own_status`. Heartbeats are sent when
    /// a connection comes up, after `Mesh::send_status`, and at least at each interval.
    fn status(&mut self, from: WorkerId, status: &[u8], now: Time);

    /// Appends the status to send to the peer's application, at most `STATUS_MAX` bytes.
    fn own_status(&mut self, to: WorkerId, out: &mut Vec<u8>);

    /// Appends the totals of credit returned to a peer that should be sent now.
    /// Called on each `tick` while the connection is up, so it must be cheap.
    fn credits_due(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>);

    /// Appends the totals of credit returned to a peer that changed since they were last sent. Called
    /// instead of `credits_due` when a heartbeat is sent.
    fn credits_changed(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>);

    /// Appends all totals of credit returned to this incarnation of the peer. Called when a connection
    /// from the peer comes up.
    fn all_credits(&mut self, to: WorkerId, out: &mut Vec<LinkCredit>);

    /// Members were set, and `lost` was called for all incarnations that ended. Nothing was written to
    /// new incarnations yet.
    fn members_set(&mut self, _version: u64) {}

    /// Since when something may be stuck between this worker and a peer: the time of the oldest payload to
    /// it that was not taken, or of the last bytes from it, if they are overdue. `None`: nothing is
    /// stuck. Called at each `tick`, for each peer.
    fn backlog(&mut self, _to: WorkerId, _since: Option<Time>) {}

    /// A connection with a peer came up or went down.
    fn link(&mut self, peer: WorkerId, direction: Direction, state: LinkState, now: Time);
}

/// Why the application cannot use a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PayloadError(pub String);

/// Which of the two connections with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Payloads go to the peer.
    To,
    /// Payloads come from it.
    From,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::To => "to",
            Direction::From => "from",
        })
    }
}

/// The state of a connection with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The handshake is done.
    Up,
    /// The connection is gone. Payloads wait for the next one.
    Down {
        /// Why.
        why: String,
    },
}
