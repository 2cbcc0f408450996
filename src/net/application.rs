//! What a mesh asks of and tells to whatever runs above it.

use std::fmt;

use bytes::Bytes;

use super::outbound::PayloadKind;
use crate::clock::Time;
use crate::ids::{Incarnation, LinkId, WorkerId};

/// Upcalls of a `Mesh`, from whichever of its methods they follow, in the thread that calls it. None
/// may wait: the links of all peers wait with it.
///
/// Links between a worker and its peer are two, one per direction, and what is said of one is not
/// said of the other: `credit`, `settled` and `lost` are about payloads *to* the peer, `payload`,
/// `credits_due`, `credits_untold` and `all_credits` about those *from* it.
pub trait Application {
    /// A payload from a peer: each once, and those of one lane in the order they were sent.
    ///
    /// # Errors
    /// When it makes no sense. The link is closed and the payload counts as not taken, so the peer
    /// sends it again; a link that gets no further is reported as lost in the end.
    fn payload(
        &mut self,
        from: WorkerId,
        kind: PayloadKind,
        payload: Bytes,
        now: Time,
    ) -> Result<(), PayloadError>;

    /// Credit that came back from a peer: so many tuples and bytes more than it had given before.
    fn credit(&mut self, to: WorkerId, link: LinkId, tuples: u64, bytes: u64);

    /// So many payloads were taken by the peer, and are its own now.
    fn settled(&mut self, to: WorkerId, frames: u64);

    /// The peer's life is over, and this is its next one. Said before `lost`; not of a peer that is
    /// no member any more.
    fn replaced(&mut self, _peer: WorkerId, _by: Incarnation) {}

    /// The peer's life is over: so many payloads to it were dropped, and this credit (link, tuples,
    /// bytes) was out to it, for payloads taken and not, and will not come back. Said once for each
    /// life of a peer that ends, even if nothing was lost; all that is said of the peer later is
    /// about its next life, and totals of credit given to it begin at 0.
    fn lost(&mut self, to: WorkerId, frames: u64, credits: &[(LinkId, u64, u64)]);

    /// What the peer's application wrote in `own_status`: when a link comes up, when it is sent by
    /// `Mesh::send_status`, and each heartbeat.
    fn status(&mut self, from: WorkerId, status: &[u8], now: Time);

    /// Appends what the peer's application shall see: at most `STATUS_MAX` bytes.
    fn own_status(&mut self, to: WorkerId, out: &mut Vec<u8>);

    /// Appends the totals (link, tuples, bytes) of credit given back to a peer that it should hear of
    /// now. Called on each `tick` while the link is up, so it must be cheap.
    fn credits_due(&mut self, to: WorkerId, out: &mut Vec<(LinkId, u64, u64)>);

    /// Appends the totals of credit given back to a peer that changed since it heard of them. Called
    /// with each heartbeat.
    fn credits_untold(&mut self, to: WorkerId, out: &mut Vec<(LinkId, u64, u64)>);

    /// Appends all totals of credit given back to this life of the peer. Called when a link comes up.
    fn all_credits(&mut self, to: WorkerId, out: &mut Vec<(LinkId, u64, u64)>);

    /// Members were set, and everything for lives that ended is handed back (`lost`). Nothing was
    /// written to new lives yet.
    fn members_set(&mut self, _version: u64) {}

    /// Since when something is stuck between this worker and a peer that is linked: the oldest payload
    /// to it that was not taken, or signs of life from it that are overdue. `None`: nothing is. Said
    /// at each `tick`.
    fn backlog(&mut self, _to: WorkerId, _since: Option<Time>) {}

    /// A link changed its state.
    fn link(&mut self, peer: WorkerId, direction: Direction, state: LinkState, now: Time);
}

/// A payload made no sense, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PayloadError(pub String);

/// Which of the two links with a peer.
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

/// What became of a link.
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
