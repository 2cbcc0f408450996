//! Handshakes that take longer than their time-out, because one of the two workers is overloaded.
//!
//! 64 workers of a debug build on two busy cores dialed each other again and again: a handshake took longer
//! than its time-out, and each attempt had the same one. So the time-out grows while the peer is alive, and
//! only then.

use std::time::Duration;

use squall::ids::{Incarnation, WorkerId};
use squall::net::frame::FrameKind;
use squall::net::handshake::Refusal;
use squall::net::payload::Taken;
use squall::net::{ConnId, Direction};

use crate::kit::World;
use crate::kit::raw::Raw;

const PEER: WorkerId = WorkerId(1);
/// The default of `handshake_timeout`.
const LEAST: Duration = Duration::from_secs(2);

/// The connection that the mesh makes first.
const FIRST: ConnId = ConnId(1);

/// Lets a handshake time out. Returns how long that took.
#[track_caller]
fn timed_out(raw: &mut Raw, conn: ConnId) -> Duration {
    let start = raw.now;
    loop {
        raw.now = raw.mesh.deadline().max(raw.now);
        raw.mesh.tick(raw.now, &mut raw.books);
        keep_link_up(raw);
        if let Some((why, _)) = raw.closes(conn) {
            assert_eq!(why, "refused: the handshake was not completed in time");
            return raw.now.since(start);
        }
        assert!(raw.now.since(start) < Duration::from_secs(60), "the handshake never times out");
    }
}

/// Lets the connection to the peer receive something, if it is up, so that it is not closed as silent.
fn keep_link_up(raw: &mut Raw) {
    if raw.mesh.is_up(PEER, Direction::To) {
        raw.frames(FIRST);
        raw.give(FIRST, &Taken::default().frame(FrameKind::Taken));
    }
}

/// The mesh dials, and nobody answers.
fn silent(raw: &mut Raw) -> ConnId {
    let conn = raw.dialed();
    raw.mesh.dialed(conn, raw.now);
    raw.frames(conn);
    conn
}

#[test]
fn a_slow_handshake_gets_through_once_its_time_out_has_grown() {
    for seed in 0..20 {
        let mut world = World::new(2, seed);
        world.is_held = [true; 2];
        let start = world.now;
        // Bytes arrive once a second, so the handshake that worker 0 dials takes 2 to 3 seconds.
        while !world.is_linked() {
            let arrival = world.now.after(Duration::from_secs(1));
            while world.now < arrival {
                world.step();
            }
            world.pipes.iter_mut().for_each(|pipe| pipe.is_held = [false; 2]);
            (0..2).for_each(|node| world.turn(node, usize::MAX));
            world.pipes.iter_mut().for_each(|pipe| pipe.is_held = [true; 2]);
            assert!(world.now.since(start) < Duration::from_secs(60), "seed {seed}: dialing never ends");
        }
        let late = world.total(|counts| counts.refused.get("timed-out").copied().unwrap_or_default());
        assert!(late > 0, "seed {seed}: no handshake was late");
        world.settle();
    }
}

#[test]
fn a_dialer_waits_up_to_four_times_as_long_for_a_peer_that_has_proven_itself() {
    let mut raw = Raw::new();
    for factor in [1, 2, 4, 4, 4] {
        let conn = raw.answer();
        assert_eq!(timed_out(&mut raw, conn), factor * LEAST);
    }
    // WELCOME comes late, but in time.
    let conn = raw.answer();
    raw.now = raw.now.after(3 * LEAST);
    raw.mesh.tick(raw.now, &mut raw.books);
    raw.give(conn, &Taken::default().frame(FrameKind::Welcome));
    assert!(raw.mesh.is_up(PEER, Direction::To));
    // Both connections are up: the next handshake gets the shortest time-out again.
    let (link, _) = raw.link_to_mesh();
    for conn in [conn, link] {
        raw.mesh.closed(conn, "reset", raw.now, &mut raw.books);
    }
    let conn = raw.answer();
    assert_eq!(timed_out(&mut raw, conn), LEAST);
}

#[test]
fn an_acceptor_waits_longer_for_a_peer_to_which_its_own_connection_is_up() {
    let mut raw = Raw::new();
    assert_eq!(raw.link_from_mesh(Taken::default()), FIRST);
    for factor in [1, 2, 4, 4] {
        let (conn, _) = raw.greet();
        assert_eq!(timed_out(&mut raw, conn), factor * LEAST);
    }
    let (conn, proof) = raw.greet();
    raw.now = raw.now.after(LEAST / 2);
    for _ in 0..5 {
        raw.now = raw.now.after(LEAST / 2);
        keep_link_up(&mut raw);
        raw.mesh.tick(raw.now, &mut raw.books);
    }
    raw.give(conn, &proof);
    assert!(raw.mesh.is_up(PEER, Direction::From), "PROOF comes late, but in time");
}

#[test]
fn a_side_that_is_refused_for_lateness_waits_longer_too() {
    let mut raw = Raw::new();
    let conn = raw.answer();
    raw.give(conn, &Refusal::TimedOut.frame());
    assert!(raw.closes(conn).is_some());
    let conn = silent(&mut raw);
    assert_eq!(timed_out(&mut raw, conn), 2 * LEAST);
}

#[test]
fn a_silent_peer_gets_no_more_time() {
    let mut raw = Raw::new();
    for _ in 0..4 {
        let conn = silent(&mut raw);
        assert_eq!(timed_out(&mut raw, conn), LEAST);
    }
    // One that has proven itself, and is silent from then on.
    let conn = raw.answer();
    assert_eq!(timed_out(&mut raw, conn), LEAST);
    for factor in [2, 1, 1] {
        let conn = silent(&mut raw);
        assert_eq!(timed_out(&mut raw, conn), factor * LEAST);
    }
}

#[test]
fn a_stranger_gets_no_more_time() {
    let mut raw = Raw::new();
    // As an acceptor that refuses, and as a dialer that names a member and never proves it.
    for _ in 0..4 {
        let conn = silent(&mut raw);
        raw.give(conn, &Refusal::TimedOut.frame());
        assert!(raw.closes(conn).is_some());
        let (conn, _) = raw.greet();
        assert_eq!(timed_out(&mut raw, conn), LEAST);
    }
    // HELLO does not come: nobody knows who that is, even if a member is late.
    for _ in 0..3 {
        let conn = raw.answer();
        timed_out(&mut raw, conn);
    }
    let conn = raw.mesh.accepted(raw.now).expect("there is room");
    assert_eq!(timed_out(&mut raw, conn), LEAST);
}

#[test]
fn the_next_incarnation_of_a_late_peer_begins_with_the_shortest_time_out() {
    let mut raw = Raw::new();
    for _ in 0..3 {
        let conn = raw.answer();
        timed_out(&mut raw, conn);
    }
    raw.member(1, 2);
    raw.identity.incarnation = Incarnation(2);
    let conn = silent(&mut raw);
    assert_eq!(timed_out(&mut raw, conn), LEAST);
}
