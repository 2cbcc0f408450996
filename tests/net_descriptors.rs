//! A worker that has no descriptor left. In a process of its own, because the limit is the process's.

#[allow(dead_code, reason = "shared with the tests over sockets, which use more of it")]
#[path = "net_sockets/node.rs"]
mod node;

use std::fs::File;

use node::{introduce, pair, plan, wait_status};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

/// What went wrong elsewhere: a server whose `accept` fails for lack of descriptors either ends, or
/// asks again without a pause, or is never told of the connection again.
#[test]
fn who_cannot_be_accepted_waits_and_links_that_are_up_go_on() {
    let (one, other) = pair(plan(0), plan(1));
    wait_status(&one, |status| status.peers[0].is_up_to && status.peers[0].is_up_from);
    let third = plan(2).start();

    // Who connects needs a descriptor of its own, and takes it before there is none.
    let waiting = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let limit = Rlimit { current: Some(256), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(hoard.len() < 256, "the limit holds");
    let accepted = one.counts().accepted;
    waiting.connect(&one.member.address.unwrap().into()).unwrap();
    introduce(2, &[&third], &[one.member, other.member, third.member]);
    // Whoever dials fails, and dials on.
    wait_status(&third, |status| status.counts.dialed >= 4 && status.counts.links_up == 0);
    for _ in 0..100 {
        one.send(1, b"on a link that is up");
    }
    other.recorder.wait_payloads(100);
    assert_eq!(one.counts().accepted, accepted);

    // The system does not say again that somebody waits.
    third.stop();
    drop(hoard);
    wait_status(&one, |status| status.counts.accepted == accepted + 1);
    let third = plan(2).start();
    introduce(2, &[&one, &third], &[one.member, other.member, third.member]);
    third.send(0, b"there is room again");
    assert_eq!(one.recorder.wait_text(), "there is room again");
}
