//! Whatever a stranger or a broken peer sends: the one connection ends, it is counted under its
//! reason, and everything else goes on.

use std::time::Duration;

use squall::config::net::FRAME_MAX_RANGE;
use squall::ids::{Incarnation, LinkId, WorkerId};
use squall::net::frame::{FrameKind, HEADER, unsequenced};
use squall::net::handshake::{Dialing, HANDSHAKE_BYTES_MAX, Hello, PROTOCOLS, Refusal};
use squall::net::payload::{REASON_MAX, Taken, credit_frame, credits};
use squall::net::{Direction, Identity, LinkCredit, PayloadKind, STATUS_MAX, Secret};

use crate::kit::raw::{Raw, sequenced};
use crate::kit::{Books, identity, key};

const PEER: WorkerId = WorkerId(1);

/// The test dials with this identity, and is refused under this name and with these words.
#[track_caller]
fn check_identity(change: impl FnOnce(&mut Identity), name: &str, says: &str) {
    let mut raw = Raw::new();
    change(&mut raw.identity);
    let conn = raw.mesh.accepted(raw.now).expect("room");
    let (_, hello) = Dialing::new(&raw.identity, raw.target(), [1; 32]);
    raw.give(conn, &hello);
    let (found, reason) = raw.refusal(conn);
    assert_eq!(found, name);
    assert!(reason.contains(says), "{reason}");
}

#[test]
fn strangers_are_refused_by_what_they_send() {
    check_identity(|own| own.topology.name = "count".into(), "other-topology", "another topology");
    check_identity(|own| own.topology = key(8), "other-topology", "another run");
    check_identity(
        |own| own.assignment = 2,
        "other-assignment",
        "version 2 of the assignment, this worker 3",
    );
    check_identity(|own| own.schema += 1, "other-schema", "another schema");
    check_identity(|own| own.incarnation = Incarnation(2), "not-yet", "worker 1, incarnation 2 is not in");
    check_identity(|own| own.incarnation = Incarnation(0), "fenced", "replaced by incarnation 1");
    check_identity(|own| own.worker = WorkerId(9), "not-yet", "worker 9");
    check_identity(|own| own.worker = WorkerId(0), "malformed", "dials itself");
}

#[test]
fn whoever_dials_somebody_else_is_sent_who_is_here() {
    for (worker, incarnation) in [(2, 1), (0, 2), (0, 0)] {
        let mut raw = Raw::new();
        let conn = raw.mesh.accepted(raw.now).expect("room");
        let to = identity(worker, Incarnation(incarnation)).endpoint();
        let (_, hello) = Dialing::new(&raw.identity, to, [1; 32]);
        raw.give(conn, &hello);
        let (name, reason) = raw.refusal(conn);
        assert_eq!(
            (name, &*reason),
            ("wrong-worker", &*format!("this is worker 0, incarnation 1, not {to}"))
        );
    }
}

/// A HELLO whose payload is changed, with a right checksum.
fn hello_with(change: impl FnOnce(&mut Vec<u8>)) -> (Raw, squall::net::ConnId) {
    let mut raw = Raw::new();
    let conn = raw.mesh.accepted(raw.now).expect("room");
    let (_, hello) = Dialing::new(&raw.identity, raw.target(), [1; 32]);
    let mut payload = hello[HEADER..].to_vec();
    change(&mut payload);
    raw.give(conn, &unsequenced(FrameKind::Hello, |out| out.extend_from_slice(&payload)));
    (raw, conn)
}

#[test]
fn a_hello_is_read_to_the_byte() {
    let check = |change: &dyn Fn(&mut Vec<u8>), name: &str| {
        let (mut raw, conn) = hello_with(change);
        assert_eq!(raw.refusal(conn).0, name);
    };
    check(&|hello| hello[0] = b'X', "wrong-magic");
    check(&|hello| hello.clear(), "wrong-magic");
    check(&|hello| hello.truncate(4), "malformed");
    check(&|hello| hello.truncate(50), "malformed");
    check(&|hello| hello.push(0), "malformed");
    check(&|hello| hello[8] = 255, "malformed");
    check(&|hello| hello[9] = b' ', "malformed");
    check(&|hello| hello[9] = 0xff, "malformed");
    // A newer release, whose HELLO may go on otherwise.
    check(&|hello| (hello[4], hello[6], hello[8]) = (2, 7, 255), "protocol");
    check(&|hello| (hello[4], hello[6]) = (0, 0), "protocol");
    check(&|hello| (hello[4], hello[6]) = (3, 2), "protocol");
}

#[test]
fn a_newer_release_that_still_talks_this_protocol_is_let_in() {
    let mut raw = Raw::new();
    let (_, hello) = Dialing::new(&raw.identity, raw.target(), [1; 32]);
    let mut hello = Hello::decode(&hello[HEADER..]).expect("a HELLO");
    hello.protocols = (PROTOCOLS.0, 900);
    let conn = raw.mesh.accepted(raw.now).expect("room");
    raw.give(conn, &unsequenced(FrameKind::Hello, |out| out.extend_from_slice(&hello.encode())));
    assert_eq!(raw.frame(conn).kind, FrameKind::Challenge);
}

#[test]
fn without_the_secret_nobody_gets_in() {
    let mut raw = Raw::new();
    let (conn, mut proof) = raw.greet();
    proof = unsequenced(FrameKind::Proof, |out| {
        out.extend_from_slice(&proof[HEADER..]);
        let last = out.len() - 1;
        out[last] ^= 1;
    });
    raw.give(conn, &proof);
    assert_eq!(raw.refusal(conn).0, "bad-proof");
    let (conn, proof) = raw.greet();
    raw.give(conn, &unsequenced(FrameKind::Proof, |out| out.extend_from_slice(&proof[HEADER..HEADER + 31])));
    assert_eq!(raw.closes(conn).map(|(why, _)| why.contains("another secret")), Some(true));
    assert!(!raw.mesh.is_up(PEER, Direction::From));
}

#[test]
fn a_proof_serves_once() {
    let mut raw = Raw::new();
    let (first, proof) = raw.greet();
    let (second, _) = raw.greet();
    raw.give(second, &proof);
    assert_eq!(raw.refusal(second).0, "bad-proof", "it answers another challenge");
    raw.give(first, &proof);
    assert!(raw.mesh.is_up(PEER, Direction::From));
}

#[test]
fn a_worker_proves_itself_to_nobody_who_cannot() {
    let mut raw = Raw::new();
    raw.secret = Secret::new([0; 32]);
    let conn = raw.dialed();
    raw.mesh.dialed(conn, raw.now);
    let hello = raw.frame(conn);
    let read = Hello::decode(&hello.payload).expect("HELLO");
    let (_, challenge) =
        squall::net::handshake::Answering::new(&raw.identity, &read, &hello.payload, [2; 32], &raw.secret);
    raw.give(conn, &challenge);
    assert_eq!(raw.refusal(conn).0, "bad-proof", "and PROOF is not said");
}

#[test]
fn a_dialer_refuses_another_incarnation_than_it_dials() {
    let mut raw = Raw::new();
    raw.identity.incarnation = Incarnation(2);
    let conn = raw.dialed();
    raw.mesh.dialed(conn, raw.now);
    let hello = raw.frame(conn);
    let read = Hello::decode(&hello.payload).expect("HELLO");
    let (_, challenge) =
        squall::net::handshake::Answering::new(&raw.identity, &read, &hello.payload, [2; 32], &raw.secret);
    raw.give(conn, &challenge);
    assert_eq!(raw.refusal(conn).0, "wrong-worker");
}

#[test]
fn a_dialer_logs_why_it_is_refused() {
    let mut raw = Raw::new();
    let conn = raw.dialed();
    raw.mesh.dialed(conn, raw.now);
    raw.frame(conn);
    let refusal = Refusal::OtherAssignment { theirs: 3, ours: 4 };
    raw.give(conn, &refusal.frame());
    let (why, last) = raw.closes(conn).expect("closed");
    assert_eq!(why, "the peer refused: the peer has version 3 of the assignment, this worker 4");
    assert_eq!(last, [], "a refusal is not answered");
    assert_eq!(raw.mesh.counts().refused_by_peer["other-assignment"], 1);
    // Of a newer release, and with what would spoil a log.
    let conn = raw.dialed();
    raw.mesh.dialed(conn, raw.now);
    raw.frame(conn);
    raw.give(conn, &unsequenced(FrameKind::Refused, |out| out.extend_from_slice(b"\xfaa\nb\x1b[2J\xff")));
    let (why, _) = raw.closes(conn).expect("closed");
    assert_eq!(why, "the peer refused: a b [2J\u{fffd}");
    assert_eq!(raw.mesh.counts().refused_by_peer["unknown"], 1);
}

#[test]
fn a_reason_is_cut_to_what_a_refusal_may_carry() {
    let refusal = Refusal::Malformed { what: Box::leak("ü".repeat(REASON_MAX).into_boxed_str()) };
    assert!((HEADER + 1 + REASON_MAX - 2..=HEADER + 1 + REASON_MAX).contains(&refusal.frame().len()));
}

/// What a connection brings before its handshake is done, and the name under which it is refused.
#[track_caller]
fn check_first_bytes(bytes: &[u8], name: &str) {
    let mut raw = Raw::new();
    let conn = raw.mesh.accepted(raw.now).expect("room");
    let left = raw.give(conn, bytes);
    assert!(left.is_empty(), "nothing is kept");
    assert_eq!(raw.refusal(conn).0, name);
}

#[test]
fn what_is_no_handshake_is_refused_at_once() {
    check_first_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "malformed");
    check_first_bytes(&[0; 20], "malformed");
    check_first_bytes(&[0xff; 5000], "malformed");
    check_first_bytes(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello", "malformed");
    check_first_bytes(&sequenced(FrameKind::Data, 1, b"tuples"), "malformed");
    check_first_bytes(&unsequenced(FrameKind::Proof, |out| out.extend_from_slice(&[0; 32])), "malformed");
    check_first_bytes(&Taken::default().frame(FrameKind::Welcome), "malformed");
    let mut damaged = unsequenced(FrameKind::Hello, |out| out.extend_from_slice(&[0; 40]));
    damaged[30] ^= 1;
    check_first_bytes(&damaged, "malformed");
}

#[test]
fn a_handshake_has_4_kib_in_all() {
    // Only the header came, and nothing is waited for.
    let long =
        unsequenced(FrameKind::Hello, |out| out.resize(out.len() + HANDSHAKE_BYTES_MAX - HEADER + 1, 0));
    check_first_bytes(&long[..HEADER], "too-long");
    let fits = unsequenced(FrameKind::Hello, |out| out.resize(out.len() + HANDSHAKE_BYTES_MAX - HEADER, 0));
    check_first_bytes(&fits, "wrong-magic");
    // After HELLO less is left.
    let mut raw = Raw::new();
    let (conn, _) = raw.greet();
    raw.give(conn, &unsequenced(FrameKind::Proof, |out| out.resize(HANDSHAKE_BYTES_MAX - 100, 0))[..HEADER]);
    assert_eq!(raw.refusal(conn).0, "too-long");
}

/// What a peer does wrong on the link from it, the name under which it is counted, and that the link
/// comes up again after it.
#[track_caller]
fn check_payloads(bytes: &[u8], name: &str) {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    let left = raw.give(conn, bytes);
    assert!(left.is_empty());
    check_fault(&mut raw, conn, name);
    assert!(!raw.mesh.is_up(PEER, Direction::From));
    raw.link_to_mesh();
    assert!(raw.mesh.is_up(PEER, Direction::From));
}

/// The same of the link to it, on which five payloads were written.
#[track_caller]
fn check_answer(bytes: &[u8], name: &str) {
    let mut raw = Raw::new();
    let conn = raw.link_from_mesh(Taken::default());
    for _ in 0..5 {
        let message = raw.books.write(PEER, PayloadKind::Data, 10, raw.now);
        raw.mesh.send(PEER, message);
    }
    raw.frames(conn);
    raw.give(conn, &Taken { control: 0, data: 2 }.frame(FrameKind::Taken));
    raw.give(conn, bytes);
    check_fault(&mut raw, conn, name);
    assert!(!raw.mesh.is_up(PEER, Direction::To));
    let again = raw.link_from_mesh(Taken { control: 0, data: 2 });
    let sequences: Vec<u64> = raw.frames(again).iter().map(|frame| frame.sequence).collect();
    assert_eq!(sequences, [3, 4, 5], "what was not taken is written again");
}

#[track_caller]
fn check_fault(raw: &mut Raw, conn: squall::net::ConnId, name: &str) {
    let (why, last) = raw.closes(conn).expect("the link is closed");
    assert_eq!(raw.mesh.counts().bad_frames.get(name), Some(&1), "{why}: {:?}", raw.mesh.counts().bad_frames);
    let bye = last.last().expect("the peer is told why");
    assert_eq!((bye.kind, String::from_utf8_lossy(&bye.payload)), (FrameKind::Bye, why.into()));
}

#[test]
fn faults_of_a_peer_that_sends_payloads() {
    let longest = *FRAME_MAX_RANGE.end() as u32;
    check_payloads(&sequenced(FrameKind::Data, 2, b"x"), "gap");
    check_payloads(&sequenced(FrameKind::Acks, 7, b"x"), "gap");
    check_payloads(&Taken::default().frame(FrameKind::Taken), "misplaced");
    check_payloads(&credit_frame(&[]), "misplaced");
    check_payloads(&unsequenced(FrameKind::Hello, |_| {}), "misplaced");
    check_payloads(
        &unsequenced(FrameKind::Heartbeat, |out| out.resize(STATUS_MAX + HEADER + 1, 0)),
        "unreadable",
    );
    check_payloads(&[0; 20], "header");
    check_payloads(&huge(longest)[..HEADER], "too-long");
    let mut damaged = sequenced(FrameKind::Data, 1, b"tuples");
    damaged[HEADER] ^= 0x10;
    check_payloads(&damaged, "checksum");
}

/// A frame that says it has so many bytes; only its header is here.
fn huge(length: u32) -> Vec<u8> {
    // Sealed over as much zeroed memory, which the system gives without touching it.
    let mut bytes = vec![0; HEADER + length as usize];
    squall::net::frame::seal(&mut bytes, FrameKind::Data, 1, 0);
    bytes.truncate(HEADER);
    bytes
}

fn total(link: u32, tuples: u64, bytes: u64) -> LinkCredit {
    LinkCredit { link: LinkId(link), tuples, bytes }
}

#[test]
fn faults_of_a_peer_that_takes_payloads() {
    let taken = |control, data| Taken { control, data }.frame(FrameKind::Taken);
    let credit = |link, tuples, bytes| credit_frame(&[total(link, tuples, bytes)]);
    check_answer(&taken(0, 6), "taken-ahead");
    check_answer(&taken(1, 3), "taken-ahead");
    check_answer(&taken(0, u64::MAX), "taken-ahead");
    check_answer(&taken(0, 1), "taken-back");
    check_answer(&unsequenced(FrameKind::Taken, |out| out.extend_from_slice(&[0; 15])), "unreadable");
    check_answer(&unsequenced(FrameKind::Credit, |out| out.extend_from_slice(&[0; 19])), "unreadable");
    check_answer(&credit(0, 1000, 100), "credit");
    check_answer(&credit(0, 1, 100_000), "credit");
    check_answer(&credit(77, 1, 1), "credit");
    check_answer(&[credit(0, 2, 9), credit(0, 1, 9)].concat(), "credit");
    check_answer(&[credit(0, 2, 9), credit(0, 2, 8)].concat(), "credit");
    check_answer(&sequenced(FrameKind::Data, 1, b"x"), "misplaced");
    check_answer(&Taken::default().frame(FrameKind::Welcome), "misplaced");
    check_answer(&Refusal::TimedOut.frame(), "misplaced");
    check_answer(&huge(20 << 20)[..HEADER], "too-long");
}

#[test]
fn totals_may_be_repeated_and_name_links_that_were_never_used() {
    let mut raw = Raw::new();
    let conn = raw.link_from_mesh(Taken::default());
    let message = raw.books.write(PEER, PayloadKind::Data, 10, raw.now);
    raw.mesh.send(PEER, message);
    raw.frames(conn);
    let whole = credit_frame(&[total(0, 1, 100), total(5, 0, 0)]);
    (0..3).for_each(|_| _ = raw.give(conn, &whole));
    assert!(raw.books.is_credit_back());
    assert_eq!(raw.closes(conn), None);
}

#[test]
fn totals_of_many_links_take_several_frames() {
    let mut raw = Raw::new();
    let links = 7000;
    (0..links).for_each(|link| raw.books.give(PEER, total(link, 1, 10)));
    let (conn, proof) = raw.greet();
    raw.give(conn, &proof);
    let frames = raw.frames(conn);
    let totals: Vec<_> = frames
        .iter()
        .filter(|frame| frame.kind == FrameKind::Credit)
        .inspect(|frame| assert!(frame.payload.len() <= *FRAME_MAX_RANGE.start()))
        .flat_map(|frame| credits(&frame.payload).expect("whole totals"))
        .collect();
    assert!(totals.into_iter().eq((0..links).map(|link| total(link, 1, 10))));
}

#[test]
fn a_peer_that_forgot_what_it_took_is_not_sent_the_rest() {
    let mut raw = Raw::new();
    let conn = raw.link_from_mesh(Taken::default());
    for _ in 0..3 {
        let message = raw.books.write(PEER, PayloadKind::Acks, 10, raw.now);
        raw.mesh.send(PEER, message);
    }
    raw.frames(conn);
    raw.give(conn, &Taken { control: 2, data: 0 }.frame(FrameKind::Taken));
    raw.mesh.closed(conn, "cut", raw.now, &mut raw.books);
    let conn = raw.link_from_mesh(Taken { control: 1, data: 0 });
    let (_, last) = raw.closes(conn).expect("closed");
    assert_eq!(last.len(), 1, "BYE, and no payload: {last:?}");
    assert_eq!(raw.mesh.counts().bad_frames["taken-back"], 1);
    // What was written on an earlier connection may have been taken without a word.
    raw.link_from_mesh(Taken { control: 3, data: 0 });
    assert!(raw.books.is_settled());
}

/// The dialer's time for the handshake ran out while WELCOME was on its way to it. Found by fuzzing:
/// its REFUSED came on a link that was up for the other side, and passed for a fault.
#[test]
fn a_dialer_may_give_up_after_its_proof() {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    raw.give(conn, &Refusal::TimedOut.frame());
    let (why, _) = raw.closes(conn).expect("closed");
    assert_eq!(why, "the peer closed: the handshake was not completed in time");
    assert_eq!(raw.mesh.counts().bad_frames.len(), 0);
    assert_eq!(raw.mesh.counts().refused_by_peer["timed-out"], 1);
}

#[test]
fn a_word_of_farewell_is_passed_on() {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    raw.give(conn, &squall::net::payload::bye_frame("the topology has ended"));
    assert_eq!(
        raw.closes(conn).map(|(why, _)| why).as_deref(),
        Some("the peer closed: the topology has ended")
    );
    assert_eq!(raw.mesh.counts().bad_frames.len(), 0, "that is no fault");
}

#[test]
fn the_end_of_a_worker_is_sent_to_its_peers() {
    let mut raw = Raw::new();
    let (from, _) = raw.link_to_mesh();
    let to = raw.link_from_mesh(Taken::default());
    raw.mesh.close_all("the topology has ended", raw.now, &mut raw.books);
    for conn in [from, to] {
        let last = raw.frames(conn);
        assert_eq!(last.last().map(|frame| &*frame.payload), Some(&b"the topology has ended"[..]));
        raw.mesh.closed(conn, "closed", raw.now, &mut raw.books);
    }
    raw.mesh.actions();
    raw.mesh.tick(raw.now.after(Duration::from_secs(9)), &mut raw.books);
    assert_eq!(raw.mesh.actions(), [], "nobody is dialed again");
}

#[test]
fn a_frame_that_was_begun_is_not_interrupted_by_a_farewell() {
    let mut raw = Raw::new();
    let conn = raw.link_from_mesh(Taken::default());
    let message = raw.books.write(PEER, PayloadKind::Data, 1000, raw.now);
    raw.mesh.send(PEER, message);
    raw.mesh.wrote(conn, 500);
    raw.mesh.close_all("over", raw.now, &mut raw.books);
    assert_eq!(raw.closes(conn).map(|(_, last)| last), Some(Vec::new()), "the peer could not read it");
}

#[test]
fn the_largest_frame_passes() {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    let mut peer = Books::new(raw.identity.endpoint());
    let message = peer.write(WorkerId(0), PayloadKind::Data, (16 << 20) - 14, raw.now);
    raw.give(conn, &sequenced(FrameKind::Data, 1, message.payload()));
    assert_eq!(raw.books.taken_from(PEER), [0, 1]);
}
