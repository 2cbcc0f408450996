//! Time on links: heartbeats, silence, half-open connections, slow strangers.

use std::time::Duration;

use squall::ids::WorkerId;
use squall::net::frame::{Frame, FrameKind};
use squall::net::handshake::Dialing;
use squall::net::{Direction, PayloadKind, Secret};

use crate::kit::World;
use crate::kit::raw::{Raw, sequenced};

const KNOWN_WITHIN: Duration = Duration::from_secs(3);

fn linked(seed: u64) -> World {
    let mut world = World::new(2, seed);
    world.until("links", World::is_linked);
    world
}

fn is_down(world: &World, node: usize, direction: Direction) -> bool {
    !world.nodes[node].mesh.is_up(WorkerId(1 - node as u16), direction)
}

#[test]
fn an_idle_link_speaks_twice_a_second_and_stays_up() {
    let mut world = linked(1);
    let before = world.total(|counts| counts.heartbeats_out);
    world.run(Duration::from_secs(60));
    let heartbeats = world.total(|counts| counts.heartbeats_out) - before;
    assert!((4 * 115..=4 * 120).contains(&heartbeats), "four ends, two a second: {heartbeats}");
    assert_eq!(world.total(|counts| counts.links_up), 4, "the links of the start");
    assert_eq!(world.total(|counts| counts.silences), 0);
}

#[test]
fn a_busy_link_sends_its_status_as_often_as_an_idle_one() {
    let mut world = linked(2);
    let (before, start) = (world.nodes[0].mesh.counts().heartbeats_out, world.now);
    for _ in 0..100 {
        world.send(0, 1, PayloadKind::Data, 10);
        world.run(Duration::from_millis(100));
    }
    let heartbeats = world.nodes[0].mesh.counts().heartbeats_out - before;
    let seconds = world.now.since(start).as_secs();
    assert!((4 * seconds - 4..=4 * seconds + 4).contains(&heartbeats), "{heartbeats} in {seconds} s");
}

#[test]
fn a_connection_that_carries_one_way_only_is_down_for_both_within_3_s() {
    for (end, seed) in [(0, 3), (1, 4)] {
        let mut world = linked(seed);
        world.run(Duration::from_millis(1234));
        // All that goes from one worker to the other is held back, on both connections.
        let dialer_of_0 = world.pipes.iter().map(|pipe| pipe.is_dialed_by(0)).collect::<Vec<_>>();
        for (pipe, by_0) in world.pipes.iter_mut().zip(dialer_of_0) {
            pipe.is_held[if by_0 { end } else { 1 - end }] = true;
        }
        world.is_apart = true;
        let since = world.now;
        let all = [(0, Direction::To), (0, Direction::From), (1, Direction::To), (1, Direction::From)];
        world.until("all four ends", |world| all.iter().all(|(node, way)| is_down(world, *node, *way)));
        assert!(world.now.since(since) <= KNOWN_WITHIN, "{:?}", world.now.since(since));
        world.settle();
    }
}

#[test]
fn a_stopped_worker_is_known_within_3_s_and_resumes() {
    let mut world = linked(5);
    world.send(0, 1, PayloadKind::Data, 10);
    world.nodes[1].is_stopped = true;
    world.send(0, 1, PayloadKind::Data, 10);
    let known = world
        .until("silence", |world| is_down(world, 0, Direction::To) && is_down(world, 0, Direction::From));
    assert!(known <= KNOWN_WITHIN, "{known:?}");
    world.run(Duration::from_secs(3));
    world.nodes[1].is_stopped = false;
    world.settle();
}

#[test]
fn a_worker_that_slept_reads_before_it_judges() {
    let mut world = linked(6);
    // It is away for longer than silence allows, but its peer's words wait for it.
    world.nodes[1].is_stopped = true;
    world.run(Duration::from_millis(1900));
    world.nodes[0].is_stopped = true;
    world.now = world.now.after(Duration::from_secs(5));
    world.nodes.iter_mut().for_each(|node| node.is_stopped = false);
    world.turn(1, usize::MAX);
    assert_eq!(world.nodes[1].mesh.counts().silences, 0);
}

#[test]
fn a_call_without_new_bytes_is_not_hearing() {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    let received = raw.now;
    let mut input = bytes::BytesMut::from(&sequenced(FrameKind::Data, 1, b"tuples")[..25]);
    raw.now = raw.now.after(Duration::from_millis(700));
    raw.mesh.received(conn, &mut input, raw.now, &mut raw.books);
    assert_eq!((raw.now.since(received), input.len()), (Duration::from_millis(700), 25));
    for _ in 0..2 {
        raw.now = raw.now.after(Duration::from_millis(1000));
        raw.mesh.received(conn, &mut input, raw.now, &mut raw.books);
        raw.mesh.tick(raw.now, &mut raw.books);
    }
    assert_eq!(raw.mesh.counts().silences, 1, "part of a frame was received 2 s ago, and nothing since");
}

#[test]
fn statuses_travel_both_ways_at_once_when_asked() {
    let mut world = linked(7);
    world.run(Duration::from_millis(100));
    let asked = world.now;
    let node = &mut world.nodes[0];
    let before = node.mesh.counts().heartbeats_out;
    assert_eq!(before, 2, "each link sent its status when it came up");
    node.mesh.send_status(world.now, &mut node.books);
    world.step();
    world.step();
    let (_, received) = world.nodes[1].books.statuses[&WorkerId(0)];
    assert!(received >= asked && received.since(asked) <= Duration::from_millis(2));
    assert_eq!(world.nodes[0].mesh.counts().heartbeats_out - before, 2, "one on each of its links");
}

#[test]
fn pauses_between_attempts_grow_to_a_second_and_are_never_in_step() {
    let mut world = World::new(2, 8);
    world.is_apart = true;
    world.run(Duration::from_secs(1));
    let early = [0, 1].map(|node| world.nodes[node].mesh.counts().dialed);
    world.run(Duration::from_secs(100));
    let late = [0, 1].map(|node| world.nodes[node].mesh.counts().dialed);
    for (early, late) in early.into_iter().zip(late) {
        assert!((5..40).contains(&early), "{early} in the first second");
        assert!((120..300).contains(&(late - early)), "half a second on average: {}", late - early);
    }
    assert_ne!(early, late);
    world.is_apart = false;
    let waited = world.until("links", World::is_linked);
    assert!(waited < Duration::from_millis(1100), "{waited:?}");
}

#[test]
fn a_stranger_who_dawdles_is_sent_away_in_time() {
    let mut raw = Raw::new();
    let conn = raw.mesh.accepted(raw.now).expect("room");
    let (_, hello) = Dialing::new(&raw.identity, raw.target(), [1; 32]);
    let mut input = bytes::BytesMut::new();
    let start = raw.now;
    // One byte each 50 ms: there is always something new to hear, but never a handshake.
    for byte in hello {
        raw.now = raw.now.after(Duration::from_millis(50));
        input.extend_from_slice(&[byte]);
        raw.mesh.received(conn, &mut input, raw.now, &mut raw.books);
        raw.mesh.tick(raw.now, &mut raw.books);
        if raw.mesh.counts().refused.contains_key("timed-out") {
            break;
        }
    }
    assert_eq!(raw.now.since(start), Duration::from_secs(2));
    assert_eq!(raw.refusal(conn).0, "timed-out");
}

#[test]
fn a_peer_that_never_answers_is_given_up_in_time() {
    let mut raw = Raw::new();
    let conn = raw.dialed();
    raw.mesh.dialed(conn, raw.now);
    let deadline = raw.mesh.deadline();
    assert_eq!(deadline.since(raw.now), Duration::from_secs(2));
    raw.mesh.tick(deadline, &mut raw.books);
    assert_eq!(raw.refusal(conn).0, "timed-out");
    // A connection that is never made counts as no handshake.
    let conn = raw.dialed();
    let deadline = raw.mesh.deadline();
    raw.mesh.tick(deadline, &mut raw.books);
    assert_eq!(raw.closes(conn).map(|(why, _)| why).as_deref(), Some("no connection was made in time"));
}

#[test]
fn after_a_tick_the_next_deadline_lies_ahead() {
    let mut world = linked(9);
    for _ in 0..500 {
        world.send(0, 1, PayloadKind::Data, 1);
        for node in 0..2 {
            world.turn(node, usize::MAX);
            let deadline = world.nodes[node].mesh.deadline();
            assert!(deadline > world.now, "a poller would spin");
        }
        world.now = world.now.after(Duration::from_millis(3));
    }
}

#[test]
fn a_peer_that_reads_nothing_makes_nothing_pile_up() {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    // The test writes but never reads: credit, heartbeats and what was taken stay one frame each.
    let mut peer = crate::kit::Books::new(raw.identity.endpoint());
    for sequence in 1..=2000 {
        let message = peer.write(WorkerId(0), PayloadKind::Data, 0, raw.now);
        raw.give(conn, &sequenced(FrameKind::Data, sequence, message.payload()));
        raw.books.give_back_all();
        raw.now = raw.now.after(Duration::from_millis(10));
        raw.mesh.tick(raw.now, &mut raw.books);
        raw.mesh.send_status(raw.now, &mut raw.books);
        raw.mesh.actions();
    }
    let frames = raw.frames(conn);
    assert!((1..=4).contains(&frames.len()), "{} frames wait", frames.len());
}

#[test]
fn what_could_not_be_sent_is_sent_once_there_is_room() {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    raw.mesh.tick(raw.now, &mut raw.books);
    raw.frames(conn);
    let mut peer = crate::kit::Books::new(raw.identity.endpoint());
    for sequence in 1..=2 {
        let message = peer.write(WorkerId(0), PayloadKind::Data, 0, raw.now);
        raw.give(conn, &sequenced(FrameKind::Data, sequence, message.payload()));
        raw.books.give_back_all();
        // The second time the first words still wait for the transport.
        raw.mesh.tick(raw.now, &mut raw.books);
    }
    assert!(raw.mesh.deadline() > raw.now);
    let kinds = |frames: Vec<Frame>| frames.iter().map(|frame| frame.kind).collect::<Vec<_>>();
    assert_eq!(kinds(raw.frames(conn)), [FrameKind::Taken, FrameKind::Credit]);
    assert!(raw.mesh.deadline() <= raw.now, "the credit of the second does not wait for a heartbeat");
    raw.mesh.tick(raw.now, &mut raw.books);
    assert_eq!(kinds(raw.frames(conn)), [FrameKind::Taken, FrameKind::Credit]);
}

#[test]
fn a_secret_is_not_shown() {
    assert_eq!(format!("{:?}", Secret::new([0x41; 32])), "Secret(..)");
}
