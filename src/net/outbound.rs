//! Payloads on their way to a peer.
//!
//! An executor encodes into [`Outbound::bytes`] behind [`HEADROOM`] free bytes and computes the
//! checksum of the payload in its own thread. The sender then writes the header in front, in place:
//! between the executor and the socket nothing is copied, and the poller's thread reads no payload.

use super::frame;
use crate::clock::Time;
use crate::ids::LinkId;

pub use crate::runtime::flow::outlet::{HEADROOM, PayloadKind};

const _: () = assert!(HEADROOM == frame::HEADER);

/// A payload with room for its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// What it is.
    pub kind: PayloadKind,
    /// [`HEADROOM`] bytes of any content, then the payload.
    pub bytes: Vec<u8>,
    /// CRC32C of the payload.
    pub payload_crc: u32,
    /// Whose credit it uses: the link, tuples, bytes. It comes back from the peer, or by
    /// `Application::lost`.
    pub credit: Option<(LinkId, u32, u32)>,
    /// When the executor sent it.
    pub sent_at: Time,
}

impl Outbound {
    /// Seals what was encoded behind the headroom: computes the checksum.
    ///
    /// # Panics
    /// When `bytes` is shorter than the headroom.
    pub fn new(
        kind: PayloadKind,
        bytes: Vec<u8>,
        credit: Option<(LinkId, u32, u32)>,
        sent_at: Time,
    ) -> Outbound {
        let payload_crc = frame::payload_crc(&bytes[HEADROOM..]);
        Outbound { kind, bytes, payload_crc, credit, sent_at }
    }

    /// The bytes behind the headroom.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADROOM..]
    }
}
