//! The wire between workers: frames, handshakes, links that break, and all of it together.

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use squall::ids::{Incarnation, WorkerId};
use squall::net::frame::{self, Frame, FrameKind, HEADER, Lane};
use squall::net::handshake::{Answering, Challenge, Dialing, HANDSHAKE_BYTES_MAX, Hello, Refused};
use squall::net::payload::{CREDITS_MAX, REASON_MAX, Taken, bye_frame, credit_frame, credits, reason_from};
use squall::net::{ConnId, Direction, Identity, LinkCredit};

use super::net_kit::World;
use super::net_kit::operation::{Kind, Operation};
use super::net_kit::raw::Raw;

const FRAME_MAX: usize = 64 << 10;
/// Operations of one input. More show nothing that fewer do not.
const OPERATIONS_MAX: usize = 300;

/// Any bytes as frames; then as what is in a frame whose checksum is right; then a frame with a
/// changed byte.
pub fn frame_decode(data: &[u8]) {
    frames_of(data);
    let mut input = Unstructured::new(data);
    let (Ok(kind), Ok(sequence), Ok(at), Ok(mask)) = (
        u8::arbitrary(&mut input),
        u64::arbitrary(&mut input),
        u16::arbitrary(&mut input),
        u8::arbitrary(&mut input),
    ) else {
        return;
    };
    let Some(kind) = FrameKind::from_byte(kind % 34) else { return };
    let payload = input.take_rest();
    let sequence = if kind.lane().is_some() { sequence.max(1) } else { 0 };
    let mut whole = [&[0; HEADER], payload].concat();
    frame::seal(&mut whole, kind, sequence, frame::payload_crc(payload));
    let read = frame::take(&mut BytesMut::from(&whole[..]), FRAME_MAX);
    if payload.len() > FRAME_MAX {
        assert!(read.is_err());
        return;
    }
    let read = read.expect("what was sealed is a frame").expect("and whole");
    assert_eq!((read.kind, read.sequence, &*read.payload), (kind, sequence, payload));
    payload_of(&read);
    if mask != 0 {
        let at = usize::from(at) % whole.len();
        whole[at] ^= mask;
        let changed = frame::take(&mut BytesMut::from(&whole[..]), FRAME_MAX);
        assert!(changed.is_err(), "a changed byte is noticed at once");
    }
}

/// What decodes, is written the same way again.
fn frames_of(data: &[u8]) {
    let mut input = BytesMut::from(data);
    let mut position = 0;
    while let Ok(Some(found)) = frame::take(&mut input, FRAME_MAX) {
        let mut again = [&[0; HEADER], &*found.payload].concat();
        frame::seal(&mut again, found.kind, found.sequence, frame::payload_crc(&found.payload));
        assert_eq!(again, data[position..position + again.len()]);
        position += again.len();
        payload_of(&found);
    }
    if let Some(lacks) = frame::missing_bytes(&input, FRAME_MAX) {
        assert!(lacks <= FRAME_MAX);
    }
}

fn payload_of(found: &Frame) {
    let payload = &*found.payload;
    let is_same = |frame: Vec<u8>| assert_eq!(&frame[HEADER..], payload, "a payload has one form");
    match found.kind {
        FrameKind::Hello => drop(Hello::decode(payload).map(|hello| assert_eq!(hello.encode(), payload))),
        FrameKind::Challenge => {
            _ = Challenge::decode(payload).map(|challenge| assert_eq!(challenge.encode(), payload));
        }
        FrameKind::Welcome | FrameKind::Taken => {
            _ = Taken::decode(payload).map(|taken| is_same(taken.frame(found.kind)));
        }
        FrameKind::Credit => {
            if let Some(totals) = credits(payload) {
                let totals: Vec<LinkCredit> = totals.take(CREDITS_MAX + 1).collect();
                if totals.len() <= CREDITS_MAX {
                    is_same(credit_frame(&totals));
                }
            }
        }
        FrameKind::Refused => check_reason(&Refused::decode(payload).reason),
        FrameKind::Bye => {
            check_reason(&reason_from(payload));
            let _ = str::from_utf8(payload).map(bye_frame);
        }
        FrameKind::Proof | FrameKind::Heartbeat => {}
        FrameKind::Acks | FrameKind::Outcomes => assert_eq!(found.kind.lane(), Some(Lane::Control)),
        FrameKind::Data | FrameKind::Barrier | FrameKind::Time => {
            assert_eq!(found.kind.lane(), Some(Lane::Data))
        }
    }
}

fn check_reason(reason: &str) {
    assert!(!reason.contains(char::is_control) && reason.chars().count() <= REASON_MAX);
}

/// What a stranger does in a handshake.
#[derive(Arbitrary, Debug)]
enum Greeting<'a> {
    /// A frame with a right checksum.
    Frame {
        kind: u8,
        payload: &'a [u8],
    },
    Bytes(&'a [u8]),
    /// HELLO, or the CHALLENGE that answers the last HELLO, of such an identity.
    Hello {
        who: Who,
    },
    Proof {
        change: u8,
    },
    Welcome {
        control: u8,
        data: u8,
    },
    Wait {
        millis: u16,
    },
    /// The life of the peer is over.
    Replace,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Who {
    Peer,
    Older,
    Newer,
    Other,
    OtherRun,
    OtherAssignment,
    OtherSchema,
    WithoutSecret,
}

impl Who {
    fn identity(self, mut own: Identity) -> Identity {
        match self {
            Who::Peer | Who::WithoutSecret => {}
            Who::Older => own.incarnation = Incarnation(0),
            Who::Newer => own.incarnation = Incarnation(9),
            Who::Other => own.worker = WorkerId(5),
            Who::OtherRun => own.topology.run[3] ^= 1,
            Who::OtherAssignment => own.assignment ^= 1,
            Who::OtherSchema => own.schema ^= 1,
        }
        own
    }
}

/// A stranger against a mesh, as dialer or as dialed: the link comes up only for the peer who knows
/// the secret, and only after the whole handshake.
pub fn handshake(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(is_dialer) = bool::arbitrary(&mut input) else { return };
    let mut stranger = Stranger::new(is_dialer);
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok(greeting) = Greeting::arbitrary(&mut input) else { break };
        if !stranger.does(greeting) {
            break;
        }
    }
}

struct Stranger {
    raw: Raw,
    conn: ConnId,
    is_dialer: bool,
    given: usize,
    /// HELLO was said as it should be, or CHALLENGE.
    is_greeted: bool,
    /// PROOF was said or heard as it should be.
    is_proven: bool,
    dialing: Option<Dialing>,
    challenge: Vec<u8>,
}

impl Stranger {
    fn new(is_dialer: bool) -> Stranger {
        let mut raw = Raw::new();
        let conn = if is_dialer { raw.mesh.accepted(raw.now).expect("there is room") } else { raw.dialed() };
        raw.mesh.dialed(conn, raw.now);
        Stranger {
            raw,
            conn,
            is_dialer,
            given: 0,
            is_greeted: false,
            is_proven: false,
            dialing: None,
            challenge: Vec::new(),
        }
    }

    /// Whether the connection is still open after it.
    fn does(&mut self, greeting: Greeting<'_>) -> bool {
        let mut may_link = false;
        match greeting {
            Greeting::Frame { kind, payload } => {
                let kind = FrameKind::from_byte(kind).unwrap_or(FrameKind::Data);
                let mut bytes = [&[0; HEADER], payload].concat();
                let sequence = u64::from(kind.lane().is_some());
                frame::seal(&mut bytes, kind, sequence, frame::payload_crc(payload));
                may_link = !self.is_dialer && self.is_proven && kind == FrameKind::Welcome;
                self.give(&bytes);
            }
            Greeting::Bytes(bytes) => {
                // A frame with a right checksum may be among them, so a WELCOME too.
                may_link = !self.is_dialer && self.is_proven;
                self.give(bytes);
            }
            Greeting::Hello { who } => self.greet(who),
            Greeting::Proof { change } => {
                let proof = self
                    .dialing
                    .as_ref()
                    .and_then(|dialing| dialing.prove(&self.challenge, &self.raw.secret).ok());
                let Some(proof) = proof else { return true };
                let bytes = frame::unsequenced(FrameKind::Proof, |out| {
                    out.extend_from_slice(&proof[HEADER..]);
                    out[HEADER + usize::from(change) % 32] ^= change;
                });
                may_link = self.is_greeted && change == 0;
                self.give(&bytes);
            }
            Greeting::Welcome { control, data } => {
                may_link = !self.is_dialer && self.is_proven;
                let taken = Taken { control: control.into(), data: data.into() };
                self.give(&taken.frame(FrameKind::Welcome));
            }
            Greeting::Wait { millis } => {
                self.raw.now = self.raw.now.after(std::time::Duration::from_millis(millis.into()));
                self.raw.mesh.tick(self.raw.now, &mut self.raw.books);
            }
            Greeting::Replace => self.raw.member(1, 2),
        }
        self.hear();
        let is_up = [Direction::To, Direction::From].map(|way| self.raw.mesh.is_up(WorkerId(1), way));
        assert!(may_link || is_up == [false; 2], "nobody gets in but the peer");
        let is_open = self.raw.closes(self.conn).is_none();
        assert!(!is_open || is_up != [false; 2] || self.given <= HANDSHAKE_BYTES_MAX);
        is_open && is_up == [false; 2]
    }

    fn give(&mut self, bytes: &[u8]) {
        let left = self.raw.give(self.conn, bytes).len();
        self.given += bytes.len() - left;
        // What is left of a frame is forgotten: the stranger goes on with the next.
    }

    fn greet(&mut self, who: Who) {
        let identity = who.identity(self.raw.identity.clone());
        let (to, is_first) = (self.raw.target(), self.dialing.is_none());
        let bytes = if self.is_dialer {
            let (dialing, hello) = Dialing::new(&identity, to, [1; 32]);
            self.dialing = Some(dialing);
            hello
        } else {
            let hello = self.challenge.clone();
            let Ok(read) = Hello::decode(&hello) else { return };
            let mut secret = self.raw.secret.clone();
            if who == Who::WithoutSecret {
                secret = squall::net::Secret::new([0; 32]);
            }
            Answering::new(&identity, &read, &hello, [2; 32], &secret).1
        };
        let is_genuine = match who {
            Who::Peer => true,
            // Without the secret a dialer can make no PROOF here, so it is not tried.
            Who::WithoutSecret => self.is_dialer,
            // A CHALLENGE says nothing of these: whoever is dialed checks them in HELLO.
            Who::OtherRun | Who::OtherAssignment | Who::OtherSchema => !self.is_dialer,
            Who::Older | Who::Newer | Who::Other => false,
        };
        self.is_greeted = is_first && is_genuine;
        self.give(&bytes);
    }

    /// What the mesh says: HELLO or CHALLENGE is kept, PROOF is noted.
    fn hear(&mut self) {
        for said in self.raw.frames(self.conn) {
            match said.kind {
                FrameKind::Hello | FrameKind::Challenge => self.challenge = said.payload.to_vec(),
                FrameKind::Proof => {
                    assert!(self.is_greeted, "a worker proves itself to its peer only");
                    self.is_proven = true;
                }
                _ => {}
            }
        }
    }
}

/// What happens to links between two workers that live on.
#[derive(Arbitrary, Debug)]
enum Trouble {
    Send { from: u8, kind: Kind, padding: u8 },
    Turn { node: u8, bytes: u8 },
    Step,
    GiveBack { node: u8 },
    Cut { pipe: u8, arrives: bool },
    Hold { pipe: u8, end: bool },
    BreakAt { bytes: Option<u16> },
}

/// Links that break anywhere and resume: every payload comes once and in order, and all credit
/// comes back.
pub fn resume(data: &[u8]) {
    let trouble = |trouble| match trouble {
        Trouble::Send { from, kind, padding } => {
            Operation::Send { from, to: 0, kind, padding: padding.into() }
        }
        Trouble::Turn { node, bytes } => Operation::Turn { node, bytes: bytes.into() },
        Trouble::Step => Operation::Step,
        Trouble::GiveBack { node } => Operation::GiveBack { node },
        Trouble::Cut { pipe, arrives } => Operation::Cut { pipe, arrives },
        Trouble::Hold { pipe, end } => Operation::Hold { pipe, end },
        Trouble::BreakAt { bytes } => Operation::BreakAt { bytes: bytes.map(|bytes| bytes % 4096) },
    };
    let mut world = World::new(2, 1);
    play(&mut world, data, trouble);
    let faults = world.total(|counts| counts.bad_frames.values().chain(counts.refused.values()).sum());
    let late = world.total(|counts| counts.refused.get("timed-out").copied().unwrap_or_default());
    assert_eq!(faults, late, "what breaks is nobody's fault");
}

/// Three workers that are cut off, stopped and replaced, and bytes that change on their way.
pub fn session(data: &[u8]) {
    // Large payloads cost time and show nothing new.
    play(&mut World::new(3, 2), data, |operation| match operation {
        Operation::Send { from, to, kind, padding } => {
            Operation::Send { from, to, kind, padding: padding % 4096 }
        }
        other => other,
    });
}

fn play<'a, T: Arbitrary<'a>>(world: &mut World, data: &'a [u8], operation: impl Fn(T) -> Operation) {
    let mut input = Unstructured::new(data);
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok(next) = T::arbitrary(&mut input) else { break };
        world.apply(operation(next));
    }
    world.settle();
}
