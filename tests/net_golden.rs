//! Yesterday's bytes: one frame of each kind, as the first release wrote it, read by this one.
//!
//! The files under `fixtures/net` are never changed. A release that writes something else talks
//! another protocol: it adds files, and reads both.

use std::fs;
use std::path::Path;

use bytes::BytesMut;
use squall::ids::{Incarnation, LinkId, WorkerId};
use squall::net::frame::{self, Frame, FrameKind, HEADER, unsequenced};
use squall::net::handshake::{Answering, Challenge, Dialing, Hello, Refusal, Refused};
use squall::net::payload::{Taken, bye_frame, credit_frame, credits, reason_from};
use squall::net::{Endpoint, Identity, LinkCredit, Secret, TopologyKey};

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/net").join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// The frame in a file, whose kind and sequence are these.
#[track_caller]
fn read(name: &str, kind: FrameKind, sequence: u64) -> Frame {
    let mut bytes = BytesMut::from(&golden(name)[..]);
    let frame = frame::take(&mut bytes, 4096).expect("a frame").expect("a whole one");
    assert!(bytes.is_empty(), "and nothing else");
    assert_eq!((frame.kind, frame.sequence), (kind, sequence));
    frame
}

#[track_caller]
fn check_written(name: &str, bytes: &[u8]) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(bytes), hex(&golden(name)), "{name} is not written as it was");
}

fn sequenced(kind: FrameKind, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; HEADER], payload].concat();
    frame::seal(&mut bytes, kind, sequence, frame::payload_crc(payload));
    bytes
}

fn dialer() -> Identity {
    Identity {
        topology: TopologyKey { name: "word-count".into(), run: *b"sixteen bytes ok" },
        assignment: 0x0102_0304_0506_0708,
        schema: 0x1112_1314_1516_1718,
        worker: WorkerId(0x0201),
        incarnation: Incarnation(0x0403_0201),
    }
}

fn dialed() -> Identity {
    Identity { worker: WorkerId(3), incarnation: Incarnation(7), ..dialer() }
}

fn secret() -> Secret {
    Secret::new(*b"0123456789abcdef0123456789abcdef")
}

#[test]
fn hello() {
    let frame = read("hello", FrameKind::Hello, 0);
    let expected = Hello {
        protocols: (1, 1),
        topology: dialer().topology,
        assignment: dialer().assignment,
        schema: dialer().schema,
        from: dialer().endpoint(),
        to: dialed().endpoint(),
        nonce: [0xa1; 32],
    };
    assert_eq!(Hello::decode(&frame.payload), Ok(expected));
    check_written("hello", &Dialing::new(&dialer(), dialed().endpoint(), [0xa1; 32]).1);
}

#[test]
fn challenge_and_proof() {
    let hello = read("hello", FrameKind::Hello, 0).payload;
    let challenge = read("challenge", FrameKind::Challenge, 0).payload;
    let read_challenge = Challenge::decode(&challenge).expect("a CHALLENGE");
    let own = Endpoint { worker: WorkerId(3), incarnation: Incarnation(7) };
    assert_eq!((read_challenge.protocol, read_challenge.own, read_challenge.nonce), (1, own, [0xb2; 32]));

    let read_hello = Hello::decode(&hello).expect("a HELLO");
    let (answering, written) = Answering::new(&dialed(), &read_hello, &hello, [0xb2; 32], &secret());
    check_written("challenge", &written);
    let proof = read("proof", FrameKind::Proof, 0).payload;
    assert_eq!(answering.check(&proof, &secret(), Some(dialer().incarnation)), Ok(dialer().endpoint()));
    let (dialing, _) = Dialing::new(&dialer(), own, [0xa1; 32]);
    check_written("proof", &dialing.prove(&challenge, &secret()).expect("the secret is the same"));
}

#[test]
fn welcome_and_taken() {
    let taken = Taken { control: 0x0102_0304, data: 0x1112_1314_1516_1718 };
    for (name, kind) in [("welcome", FrameKind::Welcome), ("taken", FrameKind::Taken)] {
        assert_eq!(Taken::decode(&read(name, kind, 0).payload), Some(taken));
        check_written(name, &taken.frame(kind));
    }
}

#[test]
fn refused() {
    let refusal = Refusal::Fenced { from: dialer().endpoint(), by: Incarnation(0x0403_0202) };
    let refused = Refused::decode(&read("refused", FrameKind::Refused, 0).payload);
    assert_eq!((refused.code, refused.name(), refused.reason), (7, "fenced", refusal.to_string()));
    check_written("refused", &refusal.frame());
}

#[test]
fn heartbeat() {
    let status = b"any status";
    assert_eq!(&*read("heartbeat", FrameKind::Heartbeat, 0).payload, status);
    check_written("heartbeat", &unsequenced(FrameKind::Heartbeat, |out| out.extend_from_slice(status)));
}

#[test]
fn credit() {
    let first = LinkCredit { link: LinkId(0x0102_0304), tuples: 5, bytes: 0x1112_1314_1516_1718 };
    let totals = [first, LinkCredit { link: LinkId(9), tuples: 0, bytes: 1 }];
    let payload = read("credit", FrameKind::Credit, 0).payload;
    assert!(credits(&payload).expect("whole totals").eq(totals));
    check_written("credit", &credit_frame(&totals));
}

#[test]
fn bye() {
    assert_eq!(reason_from(&read("bye", FrameKind::Bye, 0).payload), "the topology has ended");
    check_written("bye", &bye_frame("the topology has ended"));
}

#[test]
fn payloads() {
    let check = |name, kind, sequence, payload: &[u8]| {
        assert_eq!(&*read(name, kind, sequence).payload, payload);
        check_written(name, &sequenced(kind, sequence, payload));
    };
    check("acks", FrameKind::Acks, 1, b"ack records");
    check("outcomes", FrameKind::Outcomes, 2, b"outcomes");
    check("data", FrameKind::Data, 0x0102_0304_0506_0708, b"tuples");
    check("data_empty", FrameKind::Data, 1, b"");
}
