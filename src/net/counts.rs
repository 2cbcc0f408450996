//! The counters of a mesh. All are totals since the start of the worker. The names of reasons are
//! closed sets, so the maps are bounded.

use std::collections::BTreeMap;

/// How often something happened, by the name of its reason.
pub type ByReason = BTreeMap<&'static str, u64>;

/// Totals over all peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetCounts {
    /// Frames written whole, of all kinds.
    pub frames_out: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Frames read whole, of all kinds.
    pub frames_in: u64,
    /// Bytes of the frames read.
    pub bytes_in: u64,
    /// Sequenced frames that had been taken before.
    pub duplicates: u64,
    /// Sequenced frames written again after a reconnect.
    pub resent: u64,
    /// Sequenced frames dropped because their peer was replaced.
    pub lost: u64,
    /// Connections dialed.
    pub dialed: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Accepted connections closed because too many had not completed their handshake.
    pub crowded_out: u64,
    /// Handshakes completed, from either side.
    pub links_up: u64,
    /// Handshakes completed with a peer to which, or from which, a connection in the same direction was
    /// up before.
    pub reconnects: u64,
    /// Heartbeats written.
    pub heartbeats_out: u64,
    /// Heartbeats read.
    pub heartbeats_in: u64,
    /// Connections closed because nothing came in for `silence`.
    pub silences: u64,
    /// Connections closed because the same peer completed a handshake on a newer one.
    pub superseded: u64,
    /// Connections closed because of a fault of the peer, by reason.
    pub bad_frames: ByReason,
    /// Handshakes that this worker refused, by reason.
    pub refused: ByReason,
    /// Handshakes that a peer refused, by reason.
    pub refused_by_peer: ByReason,
}

/// Counts one more.
pub(super) fn count(by: &mut ByReason, reason: &'static str) {
    *by.entry(reason).or_default() += 1;
}
