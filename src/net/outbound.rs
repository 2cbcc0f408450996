//! Payloads on their way to a peer.
//!
//! An executor encodes into [`Outbound::bytes`] behind [`HEADROOM`] free bytes and computes the
//! checksum of the payload in its own thread. The sender then writes the header into the free bytes.
//! So nothing is copied between the executor and the socket, and the poller does not read payloads.

use super::frame;
use crate::clock::Time;

pub use crate::runtime::flow::charge::LinkCredit;
pub use crate::runtime::flow::outlet::{HEADROOM, PayloadKind};

const _: () = assert!(HEADROOM == frame::HEADER);

/// A payload with room for its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// The kind of payload.
    pub kind: PayloadKind,
    /// [`HEADROOM`] bytes of any content, then the payload.
    pub bytes: Vec<u8>,
    /// CRC32C of the payload.
    pub payload_crc: u32,
    /// The credit it uses. The peer returns that credit later; if the peer's incarnation ends before,
    /// `Application::lost` reports it.
    pub credit: Option<LinkCredit>,
    /// When the executor sent it.
    pub sent_at: Time,
}

impl Outbound {
    /// A payload that was encoded behind the headroom. Computes its checksum.
    ///
    /// # Panics
    /// When `bytes` is shorter than the headroom.
    pub fn new(kind: PayloadKind, bytes: Vec<u8>, credit: Option<LinkCredit>, sent_at: Time) -> Outbound {
        let payload_crc = frame::payload_crc(&bytes[HEADROOM..]);
        Outbound { kind, bytes, payload_crc, credit, sent_at }
    }

    /// The bytes behind the headroom.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADROOM..]
    }
}
