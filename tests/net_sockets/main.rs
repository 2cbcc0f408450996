//! Workers that talk over real sockets. The first tests are Storm's of its messaging layer.

mod node;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use node::{Certificates, Plan, Recorder, Way, introduce, noise, pair, plan, vacant, wait_status};
use squall::config::NetOptions;
use squall::ids::{Incarnation, LinkId, WorkerId};
use squall::net::{LinkCredit, Member, PayloadKind, Poller, UNPROVEN_MAX};

// ---- Storm's tests ----

#[test]
fn a_message_arrives_byte_for_byte() {
    let (one, other) = pair(plan(0), plan(1));
    let payload = noise(1000);
    one.send(1, &payload);
    let (from, kind, got) = other.recorder.wait_payloads(1).remove(0);
    assert_eq!((from, kind), (WorkerId(0), PayloadKind::Data));
    assert!(got[..] == payload[..]);
    one.recorder.wait("the payload is taken", |received| (received.settled == 1).then_some(()));
    other.send_kind(0, PayloadKind::Outcomes, b"done");
    assert_eq!(one.recorder.wait_payloads(1)[0].1, PayloadKind::Outcomes);
}

#[test]
fn a_message_arrives_through_tls() {
    let files = Certificates::new();
    let options = NetOptions { tls: Some(files.paths()), ..NetOptions::default() };
    let secure = |worker| Plan { options: options.clone(), ..plan(worker) };
    let (one, other) = pair(secure(0), secure(1));
    one.send(1, b"hello");
    assert_eq!(other.recorder.wait_text(), "hello");
    let payload = noise(2 << 20);
    other.send(0, &payload);
    assert!(one.recorder.wait_payloads(1)[0].2[..] == payload[..]);

    // Who comes without TLS gets no word in.
    let (plain, _) = pair(plan(2), plan(3));
    introduce(2, &[&plain], &[plain.member, one.member]);
    plain.send(0, b"may I?");
    wait_status(&plain, |status| status.counts.dialed >= 3 && !status.peers[0].is_up_to);
    assert_eq!(one.counts().links_up, 2);
}

/// Nothing but the timer ends the wait of what lingers: heartbeats are far away.
#[test]
fn what_lingers_arrives_in_order() {
    let seconds = Duration::from_secs;
    let options = NetOptions {
        linger: Duration::from_millis(100),
        heartbeat: seconds(30),
        silence: seconds(90),
        link_lost: seconds(90),
        ..NetOptions::default()
    };
    let slow = |worker| Plan { options: options.clone(), ..plan(worker) };
    let (one, other) = pair(slow(0), slow(1));
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    for (nth, size) in [10, 10, 10, 100 << 10, 10, 20 << 10, 20 << 10, 10, 10].into_iter().enumerate() {
        let payload = noise(size);
        one.send(1, &payload);
        sent.push(payload);
        // Some while the poller lingers, some after it has slept.
        if nth % 3 != 1 {
            got.extend(other.recorder.wait_payloads(sent.len() - got.len()));
        }
    }
    assert_eq!(got.len(), sent.len());
    assert!(got.iter().zip(&sent).all(|(got, sent)| got.2[..] == sent[..]));
    one.recorder.wait("all are taken", |received| (received.settled == sent.len() as u64).then_some(()));
}

#[test]
fn who_does_not_know_the_secret_is_refused() {
    let (one, other) = pair(plan(0), Plan { secret: [8; 32], ..plan(1) });
    one.send(1, b"psst");
    wait_status(&one, |status| status.counts.refused.values().sum::<u64>() > 0);
    wait_status(&other, |status| status.counts.refused_by_peer.values().sum::<u64>() > 0);
    assert_eq!((one.counts().links_up, other.counts().links_up), (0, 0));
    assert!(other.recorder.received().payloads.is_empty());
}

#[test]
fn two_megabytes_arrive_in_one_piece() {
    let (one, other) = pair(plan(0), plan(1));
    let payload = noise(2 << 20);
    for _ in 0..3 {
        one.send(1, &payload);
    }
    for (_, _, got) in other.recorder.wait_payloads(3) {
        assert!(got[..] == payload[..]);
    }
}

#[test]
fn a_server_may_start_late() {
    let (address, one) = (vacant(), plan(0).start());
    let late = Member { worker: WorkerId(1), incarnation: Incarnation(1), address: Some(address) };
    introduce(1, &[&one], &[one.member, late]);
    one.send(1, b"first");
    wait_status(&one, |status| status.counts.dialed >= 3 && status.peers[0].down_for.is_some());
    assert!(!one.poller.status().unwrap().peers[0].is_up_to);
    let other = plan(1).listen(address).start();
    introduce(1, &[&other], &[one.member, late]);
    assert_eq!(other.recorder.wait_text(), "first");
    wait_status(&one, |status| status.peers[0].is_up_to && status.peers[0].untaken == 0);
}

#[test]
fn a_hundred_thousand_messages_arrive_in_order() {
    const COUNT: u32 = 100_000;
    let (one, other) = pair(plan(0), plan(1));
    for n in 0..COUNT {
        one.send(1, &n.to_le_bytes());
    }
    let got = other.recorder.wait_payloads(COUNT as usize);
    for (n, (_, _, payload)) in (0..COUNT).zip(got) {
        assert_eq!(payload[..], n.to_le_bytes());
    }
    one.recorder.wait("all are taken", |received| (received.settled == u64::from(COUNT)).then_some(()));
    assert_eq!(other.counts().duplicates, 0);
}

#[test]
fn messages_flow_again_after_the_receiver_restarts() {
    let (one, other) = pair(plan(0), plan(1));
    one.send(1, b"to the first life");
    assert_eq!(other.recorder.wait_text(), "to the first life");
    one.recorder.wait("it is taken", |received| (received.settled == 1).then_some(()));
    let mut dead = other.stop();
    one.recorder.wait("the link is down", |received| {
        received.downs.iter().any(|why| why.contains("the test says so")).then_some(())
    });
    one.send(1, b"to nobody");
    (dead.incarnation, dead.address) = (Incarnation(2), None);
    introduce(2, &[&one], &[one.member, dead]);
    let lost = one.recorder.wait("what was lost", |received| received.lost.pop());
    // The credit of the first is out, too: the first life took it and gave none back.
    assert_eq!(lost, (WorkerId(1), 1, vec![LinkCredit { link: LinkId(1), tuples: 2, bytes: 20 }]));
    one.send(1, b"to the second life");
    let other = plan(1).again().start();
    introduce(2, &[&one, &other], &[one.member, other.member]);
    assert_eq!(other.recorder.wait_text(), "to the second life");
}

#[test]
fn messages_flow_again_after_the_sender_restarts() {
    let (one, other) = pair(plan(0), plan(1));
    one.send(1, b"from the first life");
    assert_eq!(other.recorder.wait_text(), "from the first life");
    let second_member = other.member;
    one.stop();
    let one = plan(0).again().start();
    introduce(2, &[&one, &other], &[one.member, second_member]);
    one.send(1, b"from the second life");
    assert_eq!(other.recorder.wait_text(), "from the second life");
    other.send(0, b"answer");
    assert_eq!(one.recorder.wait_text(), "answer");
}

#[test]
fn a_port_can_be_bound_again_at_once() {
    let (one, other) = pair(plan(0), plan(1).listen(vacant()));
    one.send(1, b"once");
    assert_eq!(other.recorder.wait_text(), "once");
    let address = other.member.address.unwrap();
    // This end closes first, so its connections linger on the port.
    other.stop();
    let other = plan(1).again().listen(address).start();
    assert_eq!(other.member.address, Some(address));
    introduce(2, &[&one, &other], &[one.member, other.member]);
    // What is sent before may still be meant for the first life.
    one.recorder.wait("the first incarnation is over", |received| received.lost.pop());
    one.send(1, b"twice");
    assert_eq!(other.recorder.wait_text(), "twice");
}

// ---- Peers that misbehave ----

#[test]
fn a_peer_that_does_not_read_delays_nobody() {
    let (sender, stuck, quick) = (plan(0).start(), plan(1).start(), plan(2).start());
    introduce(1, &[&sender, &stuck, &quick], &[sender.member, stuck.member, quick.member]);
    stuck.recorder.received().is_stuck = true;
    let payload = noise(1 << 20);
    for _ in 0..32 {
        sender.send(1, &payload);
    }
    stuck
        .recorder
        .wait("the first payload holds it", |received| (!received.payloads.is_empty()).then_some(()));
    for n in 0..1000_u32 {
        sender.send(2, &n.to_le_bytes());
        sender.send_kind(2, PayloadKind::Acks, b"ack");
    }
    quick.recorder.wait_payloads(2000);
    assert!(stuck.recorder.received().is_stuck, "it was stuck all the time");
    stuck.recorder.note(|received| received.is_stuck = false);
    for (_, _, got) in stuck.recorder.wait_payloads(32) {
        assert!(got[..] == payload[..]);
    }
}

#[test]
fn acks_overtake_tuples() {
    let (one, other) = pair(plan(0), plan(1));
    wait_status(&one, |status| status.peers[0].is_up_to);
    other.recorder.received().is_stuck = true;
    let payload = noise(1 << 20);
    one.send(1, &payload);
    other.recorder.wait("it is stuck", |received| (!received.payloads.is_empty()).then_some(()));
    for _ in 0..40 {
        one.send(1, &payload);
    }
    one.send_kind(1, PayloadKind::Acks, b"ack");
    wait_status(&one, |status| status.peers[0].untaken == 42);
    other.recorder.note(|received| received.is_stuck = false);
    let got = other.recorder.wait_payloads(42);
    let place = got.iter().position(|(_, kind, _)| *kind == PayloadKind::Acks).unwrap();
    assert!(place < 41, "the ack came last, behind all tuples");
}

#[test]
fn strangers_are_shown_the_door_and_others_come_in() {
    let (one, other) = pair(plan(0), plan(1));
    let address = one.member.address.unwrap();
    let mut babbler = TcpStream::connect(address).unwrap();
    babbler.write_all(&noise(100_000)).or_else(ignore_reset).unwrap();
    let ended = babbler.read_to_end(&mut Vec::new());
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
    wait_status(&one, |status| status.counts.refused.values().sum::<u64>() == 1);

    // Silent ones fill the room for those that have not proven anything, and no more than that.
    let crowd: Vec<_> = (0..UNPROVEN_MAX + 10).map(|_| TcpStream::connect(address).unwrap()).collect();
    wait_status(&one, |status| status.counts.crowded_out >= 10);
    one.send(1, b"links that are up do not care");
    assert!(other.recorder.wait_text().ends_with("do not care"));
    drop(crowd);
    let third = plan(2).start();
    introduce(2, &[&one, &other, &third], &[one.member, other.member, third.member]);
    third.send(0, b"let me in");
    assert_eq!(one.recorder.wait_text(), "let me in");
}

fn ignore_reset(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}

// ---- Connections that break ----

#[test]
fn a_link_that_is_cut_again_and_again_loses_and_repeats_nothing() {
    const COUNT: u32 = 20_000;
    let (one, other) = (plan(0).start(), plan(1).start());
    let way = Way::to(other.member.address.unwrap());
    let over = Member { address: Some(way.address), ..other.member };
    introduce(1, &[&one], &[one.member, over]);
    introduce(1, &[&other], &[one.member, other.member]);
    let payload = noise(1000);
    for n in 0..COUNT {
        let mut bytes = n.to_le_bytes().to_vec();
        bytes.extend_from_slice(&payload[..(n % 1000) as usize]);
        if n == COUNT - 1 {
            // The last is written, and cannot have been taken when the way is cut: it is written again.
            one.recorder
                .wait("all before are taken", |received| (received.settled == u64::from(n)).then_some(()));
            let closed = way.gate.lock().unwrap();
            let written = one.counts().bytes_out + bytes.len() as u64;
            one.send(1, &bytes);
            wait_status(&one, |status| status.counts.bytes_out >= written);
            way.cut();
            drop(closed);
            break;
        }
        one.send(1, &bytes);
        if n % 2000 == 1999 {
            let half = n as usize / 2;
            other.recorder.wait("half of it", |received| (received.payloads.len() >= half).then_some(()));
            way.cut();
        }
    }
    let got = other.recorder.wait_payloads(COUNT as usize);
    for (n, (_, _, got)) in (0..COUNT).zip(got) {
        assert!(got[..4] == n.to_le_bytes() && got[4..] == payload[..(n % 1000) as usize], "at {n}");
    }
    one.recorder.wait("all are taken", |received| (received.settled == u64::from(COUNT)).then_some(()));
    let counts = one.counts();
    assert!(counts.reconnects >= 1 && counts.resent >= 1, "{counts:?}");
}

// ---- The handle ----

#[test]
fn peers_hear_why_a_worker_ends() {
    let (one, other) = pair(plan(0), plan(1));
    wait_status(&one, |status| status.peers[0].is_up_to && status.peers[0].is_up_from);
    other.stop();
    one.recorder.wait("both links are down", |received| {
        let cut = received.downs.iter().filter(|why| why.contains("the test says so"));
        (cut.count() == 2).then_some(())
    });
}

#[test]
fn a_status_is_shown_at_once_when_asked_for() {
    let options = NetOptions {
        heartbeat: Duration::from_secs(60),
        silence: Duration::from_secs(120),
        ..NetOptions::default()
    };
    let (one, other) = pair(Plan { options: options.clone(), ..plan(0) }, Plan { options, ..plan(1) });
    wait_status(&one, |status| status.peers[0].is_up_to && status.peers[0].is_up_from);
    let before = other.recorder.received().statuses;
    one.poller.send_status();
    other.recorder.wait("a status", |received| (received.statuses > before).then_some(()));
}

#[test]
fn an_outbox_has_one_poller() {
    let one = plan(0).start();
    let error = Poller::bind(plan(1).wire(&one.outbox), Box::new(Recorder::default())).unwrap_err();
    assert!(error.to_string().contains("has a poller already"), "{error}");
}

#[test]
fn a_replaced_worker_is_notified() {
    let (one, other) = pair(plan(0), plan(1));
    let next = Member { incarnation: Incarnation(2), address: None, ..one.member };
    introduce(2, &[&one], &[next, other.member]);
    wait_status(&one, |status| status.fenced_by == Some(Incarnation(2)));
    one.send(1, b"from the grave");
    wait_status(&other, |status| !status.peers[0].is_up_from);
    assert!(other.recorder.received().payloads.is_empty());
}
