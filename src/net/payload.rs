//! The payloads of frames that the mesh itself reads: WELCOME, TAKEN, CREDIT, BYE.
//!
//! Each payload has one encoding: whatever can be decoded, encodes to the same bytes again. Integers
//! are little endian and of fixed width.
//!
//! ```text
//!  WELCOME, TAKEN  control(8) · data(8)                      the last sequences taken, 0 for none
//!  CREDIT          (link(4) · tuples(8) · bytes(8))*         totals, so a repetition is harmless
//!  BYE             UTF-8, at most REASON_MAX bytes           for the log
//! ```

use super::frame::{FrameKind, unsequenced};
use super::outbound::LinkCredit;
use crate::ids::LinkId;

/// Bytes of a reason, at most.
pub const REASON_MAX: usize = 200;
/// Bytes of a status, at most.
pub const STATUS_MAX: usize = 4 << 10;
/// Links in one CREDIT frame, at most. Totals of more links need several frames.
pub const CREDITS_MAX: usize = 3 << 10;

const CREDIT_BYTES: usize = 4 + 8 + 8;
const _: () = assert!(CREDITS_MAX * CREDIT_BYTES <= *crate::config::net::FRAME_MAX_RANGE.start());
const _: () = assert!(STATUS_MAX <= *crate::config::net::FRAME_MAX_RANGE.start());

/// The last sequence taken of each lane; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Of the control lane.
    pub control: u64,
    /// Of the data lane.
    pub data: u64,
}

impl Taken {
    /// The frame, as WELCOME or TAKEN.
    pub fn frame(self, kind: FrameKind) -> Vec<u8> {
        unsequenced(kind, |out| {
            out.extend_from_slice(&self.control.to_le_bytes());
            out.extend_from_slice(&self.data.to_le_bytes());
        })
    }

    /// Reads a payload of WELCOME or TAKEN.
    pub fn decode(payload: &[u8]) -> Option<Taken> {
        let mut cursor = Cursor(payload);
        let taken = Taken { control: cursor.u64()?, data: cursor.u64()? };
        cursor.is_done().then_some(taken)
    }
}

/// A CREDIT frame of at most [`CREDITS_MAX`] totals.
pub fn credit_frame(totals: &[LinkCredit]) -> Vec<u8> {
    debug_assert!(totals.len() <= CREDITS_MAX);
    unsequenced(FrameKind::Credit, |out| {
        out.reserve(totals.len() * CREDIT_BYTES);
        for total in totals {
            out.extend_from_slice(&total.link.0.to_le_bytes());
            out.extend_from_slice(&total.tuples.to_le_bytes());
            out.extend_from_slice(&total.bytes.to_le_bytes());
        }
    })
}

/// The totals in a payload of CREDIT, in their order. `None`: it ends in the middle of one.
pub fn credits(payload: &[u8]) -> Option<impl Iterator<Item = LinkCredit>> {
    let mut cursor = Cursor(payload);
    let next = move || {
        let link = LinkId(cursor.u32()?);
        Some(LinkCredit { link, tuples: cursor.u64()?, bytes: cursor.u64()? })
    };
    payload.len().is_multiple_of(CREDIT_BYTES).then(|| std::iter::from_fn(next))
}

/// A BYE frame. A reason that is too long is cut at its end.
pub fn bye_frame(why: &str) -> Vec<u8> {
    unsequenced(FrameKind::Bye, |out| out.extend_from_slice(cut_reason(why).as_bytes()))
}

/// The start of a text, cut to the length that a reason may have.
pub fn cut_reason(why: &str) -> &str {
    &why[..why.floor_char_boundary(REASON_MAX)]
}

/// A reason that a peer sent, made fit for a log: one line, no control characters, not too long.
pub fn reason_from(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(REASON_MAX)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Reads integers from the front of a payload.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    pub fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(slice)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}
