//! Frames: the units of the byte stream between two workers.
//!
//! ```text
//!  0        4        8      9       10      12           20
//!  | length | crc    | kind | flags | check | sequence   | payload (length bytes)
//!  | u32    | u32    | u8   | u8=0  | u16   | u64        |        all little endian
//! ```
//!
//! * `check` covers the other fields of the header except `crc`. Without it, the reader would notice a
//!   flipped bit in `length` only after it had read as many bytes as the wrong length claims. Until
//!   then the connection would make no progress, while heartbeats keep it alive.
//! * `crc` is CRC32C over the payload, continued over `length`, `kind`, `flags`, `check` and
//!   `sequence`, in this order. So the thread that wrote the payload can compute its part before the
//!   sequence is known.
//! * `sequence` counts the frames of a [`Lane`] from 1, and is 0 in frames of no lane.
//!
//! The bytes may come from an attacker. So `length` is checked against a limit before the reader waits
//! or allocates for it, and the payload of a frame is read only if its checksum is right.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::runtime::flow::outlet::PayloadKind;

/// Bytes of a header.
pub const HEADER: usize = 20;

/// What a frame is for. The numbers are on the wire; a number is never used again for another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// From the dialer: who it is, and which worker it wants.
    Hello = 1,
    /// From the other side: who it is, its proof, and a nonce for the dialer's proof.
    Challenge = 2,
    /// From the dialer: its proof.
    Proof = 3,
    /// The connection is up; the last sequences taken, after which the dialer resumes.
    Welcome = 4,
    /// The handshake failed, and why.
    Refused = 5,
    /// The peer is alive; with the status of the application.
    Heartbeat = 6,
    /// The last sequences taken.
    Taken = 7,
    /// Credit that the receiver of payloads returns, as totals.
    Credit = 8,
    /// The sender of this frame closes the connection, and why.
    Bye = 9,
    /// Ack records.
    Acks = 16,
    /// Outcomes of blocks.
    Outcomes = 17,
    /// Tuples.
    Data = 32,
    /// The barrier of a checkpoint.
    Barrier = 33,
    /// How far event time is.
    Time = 34,
}

impl FrameKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [FrameKind; 14] = [
        FrameKind::Hello,
        FrameKind::Challenge,
        FrameKind::Proof,
        FrameKind::Welcome,
        FrameKind::Refused,
        FrameKind::Heartbeat,
        FrameKind::Taken,
        FrameKind::Credit,
        FrameKind::Bye,
        FrameKind::Acks,
        FrameKind::Outcomes,
        FrameKind::Data,
        FrameKind::Barrier,
        FrameKind::Time,
    ];

    /// The kind with this number.
    pub fn from_byte(byte: u8) -> Option<FrameKind> {
        Some(match byte {
            1 => FrameKind::Hello,
            2 => FrameKind::Challenge,
            3 => FrameKind::Proof,
            4 => FrameKind::Welcome,
            5 => FrameKind::Refused,
            6 => FrameKind::Heartbeat,
            7 => FrameKind::Taken,
            8 => FrameKind::Credit,
            9 => FrameKind::Bye,
            16 => FrameKind::Acks,
            17 => FrameKind::Outcomes,
            32 => FrameKind::Data,
            33 => FrameKind::Barrier,
            34 => FrameKind::Time,
            _ => return None,
        })
    }

    /// The lane of frames of this kind. `None`: they have no sequence and are not written again.
    pub fn lane(self) -> Option<Lane> {
        self.payload().map(lane_of)
    }

    /// The kind of the payload, if frames of this kind carry payloads of executors.
    pub fn payload(self) -> Option<PayloadKind> {
        match self {
            FrameKind::Acks => Some(PayloadKind::Acks),
            FrameKind::Outcomes => Some(PayloadKind::Outcomes),
            FrameKind::Data => Some(PayloadKind::Data),
            FrameKind::Barrier => Some(PayloadKind::Barrier),
            FrameKind::Time => Some(PayloadKind::Time),
            FrameKind::Hello
            | FrameKind::Challenge
            | FrameKind::Proof
            | FrameKind::Welcome
            | FrameKind::Refused
            | FrameKind::Heartbeat
            | FrameKind::Taken
            | FrameKind::Credit
            | FrameKind::Bye => None,
        }
    }
}

impl From<PayloadKind> for FrameKind {
    fn from(kind: PayloadKind) -> FrameKind {
        match kind {
            PayloadKind::Acks => FrameKind::Acks,
            PayloadKind::Outcomes => FrameKind::Outcomes,
            PayloadKind::Data => FrameKind::Data,
            PayloadKind::Barrier => FrameKind::Barrier,
            PayloadKind::Time => FrameKind::Time,
        }
    }
}

/// The lane of a payload. Tuples are under credit, so they may wait; ack records and outcomes are not,
/// and must not wait behind tuples. Barriers, and what is known of event time, keep their place among the
/// tuples.
pub fn lane_of(kind: PayloadKind) -> Lane {
    match kind {
        PayloadKind::Acks | PayloadKind::Outcomes => Lane::Control,
        PayloadKind::Data | PayloadKind::Barrier | PayloadKind::Time => Lane::Data,
    }
}

/// One of the two lanes of sequenced frames on a connection. Control frames go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Acks and outcomes.
    Control,
    /// Tuples.
    Data,
}

/// A frame as it came in. The payload is a view of the buffer that it was read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: FrameKind,
    /// Its sequence in its lane; 0 if it has no lane.
    pub sequence: u64,
    /// What it carries.
    pub payload: Bytes,
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The fields of the header contradict its check.
    #[error("the header of a frame is damaged, or this is no peer of ours")]
    Header,
    /// Written by a release that this one does not know.
    #[error("a frame has unknown flags {flags:#04x}")]
    Flags {
        /// The flags.
        flags: u8,
    },
    /// Written by a release that this one does not know.
    #[error("a frame has the unknown kind {kind}")]
    Kind {
        /// Its number.
        kind: u8,
    },
    /// A frame of no lane has a sequence, or one of a lane has none.
    #[error("a frame of kind {kind:?} must not have sequence {sequence}")]
    Sequence {
        /// Its kind.
        kind: FrameKind,
        /// Its sequence.
        sequence: u64,
    },
    /// Longer than the receiver accepts.
    #[error("a frame of {length} bytes is longer than {max}")]
    TooLong {
        /// The length in its header.
        length: usize,
        /// The longest that is accepted.
        max: usize,
    },
    /// The payload is not what was sent.
    #[error("the checksum of a frame is wrong")]
    Checksum,
}

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    length: u32,
    crc: u32,
    kind: u8,
    flags: u8,
    check: u16,
    sequence: u64,
}

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Header {
        let [l0, l1, l2, l3, c0, c1, c2, c3, kind, flags, k0, k1, sequence @ ..] = *bytes;
        Header {
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            kind,
            flags,
            check: u16::from_le_bytes([k0, k1]),
            sequence: u64::from_le_bytes(sequence),
        }
    }

    fn write(&self, bytes: &mut [u8; HEADER]) {
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.crc.to_le_bytes());
        bytes[8] = self.kind;
        bytes[9] = self.flags;
        bytes[10..12].copy_from_slice(&self.check.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
    }

    /// What `check` must be: 16 bits of the CRC32C over the other fields but `crc`.
    fn expected_check(&self) -> u16 {
        let mut fields = [0; 14];
        fields[0..4].copy_from_slice(&self.length.to_le_bytes());
        fields[4] = self.kind;
        fields[5] = self.flags;
        fields[6..14].copy_from_slice(&self.sequence.to_le_bytes());
        crc32c::crc32c(&fields) as u16
    }

    /// What `crc` must be for a payload with this CRC32C.
    fn expected_crc(&self, payload_crc: u32) -> u32 {
        let mut fields = [0; 16];
        fields[0..4].copy_from_slice(&self.length.to_le_bytes());
        fields[4] = self.kind;
        fields[5] = self.flags;
        fields[6..8].copy_from_slice(&self.check.to_le_bytes());
        fields[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        crc32c::crc32c_append(payload_crc, &fields)
    }
}

/// The part of a frame's checksum that can be computed without the header.
pub fn payload_crc(payload: &[u8]) -> u32 {
    crc32c::crc32c(payload)
}

/// Writes the header of a frame into its first [`HEADER`] bytes; the payload follows them already.
///
/// # Panics
/// When `bytes` has no room for a header, or its payload is longer than the length field can hold.
pub fn seal(bytes: &mut [u8], kind: FrameKind, sequence: u64, payload_crc: u32) {
    let (room, payload) = bytes.split_first_chunk_mut::<HEADER>().expect("a frame has room for its header");
    let length =
        u32::try_from(payload.len()).expect("a payload is checked against its cap when it is encoded");
    let mut header = Header { length, crc: 0, kind: kind as u8, flags: 0, check: 0, sequence };
    header.check = header.expected_check();
    header.crc = header.expected_crc(payload_crc);
    header.write(room);
}

/// A frame of no lane, whole.
pub fn unsequenced(kind: FrameKind, write_payload: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    write_payload(&mut bytes);
    let payload_crc = payload_crc(&bytes[HEADER..]);
    seal(&mut bytes, kind, 0, payload_crc);
    bytes
}

/// Takes the first frame out of `input`. `None`: it is not whole yet, and `input` is unchanged.
///
/// # Errors
/// When `input` does not begin with a frame, or its payload has more than `max` bytes. `input` must
/// not be read any further then.
pub fn take(input: &mut BytesMut, max: usize) -> Result<Option<Frame>, FrameError> {
    let Some(bytes) = input.first_chunk::<HEADER>() else { return Ok(None) };
    let header = Header::read(bytes);
    let kind = check_header(&header, max)?;
    let end = HEADER + header.length as usize;
    let Some(payload) = input.get(HEADER..end) else { return Ok(None) };
    if header.expected_crc(payload_crc(payload)) != header.crc {
        return Err(FrameError::Checksum);
    }
    let mut frame = input.split_to(end);
    frame.advance(HEADER);
    Ok(Some(Frame { kind, sequence: header.sequence, payload: frame.freeze() }))
}

/// How many bytes the frame at the start of `input` still lacks, if its header is whole and valid. A
/// reader of a socket may reserve that many bytes, and no more.
pub fn missing_bytes(input: &[u8], max: usize) -> Option<usize> {
    let header = Header::read(input.first_chunk::<HEADER>()?);
    check_header(&header, max).ok()?;
    Some((HEADER + header.length as usize).saturating_sub(input.len()))
}

fn check_header(header: &Header, max: usize) -> Result<FrameKind, FrameError> {
    if header.check != header.expected_check() {
        return Err(FrameError::Header);
    }
    if header.flags != 0 {
        return Err(FrameError::Flags { flags: header.flags });
    }
    let kind = FrameKind::from_byte(header.kind).ok_or(FrameError::Kind { kind: header.kind })?;
    if kind.lane().is_some() != (header.sequence > 0) {
        return Err(FrameError::Sequence { kind, sequence: header.sequence });
    }
    let length = header.length as usize;
    if length > max {
        return Err(FrameError::TooLong { length, max });
    }
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64 << 10;

    fn data(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = [&[0; HEADER], payload].concat();
        seal(&mut bytes, FrameKind::Data, sequence, payload_crc(payload));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        take(&mut BytesMut::from(bytes), MAX)
    }

    #[test]
    fn a_frame_comes_back_and_leaves_what_follows() {
        for payload in [&b""[..], b"x", &[7; 1000]] {
            let mut input = BytesMut::from(&[data(5, payload), data(6, b"next")].concat()[..]);
            let frame = take(&mut input, MAX).expect("a frame").expect("a whole one");
            assert_eq!((frame.kind, frame.sequence, &*frame.payload), (FrameKind::Data, 5, payload));
            assert_eq!(take(&mut input, MAX).expect("a frame").map(|frame| frame.sequence), Some(6));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_payload_is_a_view_of_the_input() {
        let mut input = BytesMut::from(&data(1, &[7; 1000])[..]);
        let place = input.as_ptr() as usize + HEADER;
        let frame = take(&mut input, MAX).expect("a frame").expect("a whole one");
        assert_eq!(frame.payload.as_ptr() as usize, place);
    }

    #[test]
    fn a_frame_that_is_not_whole_is_waited_for() {
        let whole = data(1, b"some tuples");
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), Ok(None));
            let missing = (len >= HEADER).then(|| whole.len() - len);
            assert_eq!(super::missing_bytes(&whole[..len], MAX), missing);
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let frames = [
            data(1, b""),
            data(u64::MAX, b"some tuples"),
            unsequenced(FrameKind::Credit, |out| out.extend_from_slice(&[0; 40])),
        ];
        for frame in frames {
            for at in 0..frame.len() {
                for mask in 1..=255 {
                    let mut changed = frame.clone();
                    changed[at] ^= mask;
                    // A wrong length is an error at once: no further bytes are waited for.
                    assert!(read(&changed).is_err(), "byte {at} ^ {mask:#04x} of {frame:02x?}");
                }
            }
        }
    }

    #[test]
    fn every_two_changed_bits_are_noticed() {
        let frame = data(3, b"tuples");
        let flip = |bytes: &mut Vec<u8>, bit: usize| bytes[bit / 8] ^= 1 << (bit % 8);
        for first in 0..frame.len() * 8 {
            for second in 0..first {
                let mut changed = frame.clone();
                flip(&mut changed, first);
                flip(&mut changed, second);
                assert!(read(&changed).is_err(), "bits {first} and {second}");
            }
        }
    }

    /// A header that is consistent in itself.
    fn header(length: u32, kind: u8, flags: u8, sequence: u64) -> Vec<u8> {
        let mut header = Header { length, crc: 0, kind, flags, check: 0, sequence };
        header.check = header.expected_check();
        header.crc = header.expected_crc(0);
        let mut bytes = [0; HEADER];
        header.write(&mut bytes);
        bytes.to_vec()
    }

    #[test]
    fn a_header_is_refused_before_its_payload_is_waited_for() {
        let check = |bytes: Vec<u8>, expected| assert_eq!(read(&bytes), Err(expected));
        let length = MAX + 1;
        check(header(length as u32, 32, 0, 1), FrameError::TooLong { length, max: MAX });
        check(header(u32::MAX, 32, 0, 1), FrameError::TooLong { length: u32::MAX as usize, max: MAX });
        check(header(9, 32, 1, 1), FrameError::Flags { flags: 1 });
        for kind in (0..=255).filter(|kind| FrameKind::from_byte(*kind).is_none()) {
            check(header(9, kind, 0, 1), FrameError::Kind { kind });
        }
        check(header(9, 32, 0, 0), FrameError::Sequence { kind: FrameKind::Data, sequence: 0 });
        check(header(9, 6, 0, 4), FrameError::Sequence { kind: FrameKind::Heartbeat, sequence: 4 });
        check(vec![0; HEADER], FrameError::Header);
        check(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), FrameError::Header);
    }

    #[test]
    fn kinds_are_their_numbers() {
        for kind in FrameKind::ALL {
            assert_eq!(FrameKind::from_byte(kind as u8), Some(kind));
        }
        let known = (0..=255).filter(|byte| FrameKind::from_byte(*byte).is_some());
        assert_eq!(known.count(), FrameKind::ALL.len());
    }
}
