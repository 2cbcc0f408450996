//! Incarnations of workers: which one is accepted, which one is fenced, and what is handed back when an incarnation ends.

use std::time::Duration;

use squall::clock::Time;
use squall::ids::{Incarnation, WorkerId};
use squall::net::frame::FrameKind;
use squall::net::handshake::Dialing;
use squall::net::payload::Taken;
use squall::net::{Action, ConnId, Direction, LinkState, Member, Members, PayloadKind, UNPROVEN_MAX};

use crate::kit::World;
use crate::kit::raw::{Raw, sequenced};

const PEER: WorkerId = WorkerId(1);

#[test]
fn a_worker_without_an_address_is_waited_for() {
    let mut world = World::new(2, 1);
    world.nodes[1].is_listening = false;
    world.replace(1, false);
    world.nodes[1].is_listening = false;
    world.set_members_of_all();
    (0..3).for_each(|_| world.send(0, 1, PayloadKind::Data, 10));
    let dialed = world.nodes[0].mesh.counts().dialed;
    world.run(Duration::from_secs(20));
    assert_eq!(world.nodes[0].mesh.counts().dialed, dialed, "there is nowhere to dial to");
    assert_eq!(world.nodes[0].mesh.down_since(PEER), None, "and that is no fault of the link");
    assert_eq!(world.nodes[0].mesh.untaken(PEER), (3, 3 * (20 + 14 + 10)));
    let listens = world.now;
    world.nodes[1].is_listening = true;
    world.set_members(0);
    assert_eq!(world.nodes[0].mesh.down_since(PEER), Some(listens));
    world.settle();
    assert_eq!(world.nodes[0].mesh.down_since(PEER), None);
}

#[test]
fn the_end_of_an_incarnation_hands_back_what_was_not_taken() {
    let mut world = World::new(2, 2);
    world.until("links", World::is_linked);
    (0..10).for_each(|_| world.send(0, 1, PayloadKind::Data, 100));
    world.run(Duration::from_millis(20));
    world.nodes[1].books.give_back_all();
    world.run(Duration::from_millis(20));
    // Ten are taken and their credit is back; of these five nothing is.
    (0..5).for_each(|_| world.send(0, 1, PayloadKind::Data, 100));
    world.replace(1, false);
    assert_eq!(world.nodes[0].books.incarnations_lost, 0);
    // The books check in `lost` that what is handed back is exact.
    world.set_members(0);
    assert_eq!(world.nodes[0].books.incarnations_lost, 1);
    assert_eq!(world.nodes[0].mesh.counts().lost, 5);
    (0..4).for_each(|_| world.send(0, 1, PayloadKind::Data, 100));
    world.settle();
    assert_eq!(world.nodes[1].books.taken_from(WorkerId(0)), [0, 4], "the next incarnation begins at 1");
}

#[test]
fn the_end_of_an_incarnation_is_reported_even_if_nothing_is_lost() {
    let mut world = World::new(2, 3);
    world.until("links", World::is_linked);
    world.replace(1, false);
    world.set_members(0);
    assert_eq!((world.nodes[0].books.incarnations_lost, world.nodes[0].mesh.counts().lost), (1, 0));
    let down = |direction| world.nodes[0].books.links[&(PEER, direction)].clone();
    assert_ne!(down(Direction::To), LinkState::Up);
    assert_ne!(down(Direction::From), LinkState::Up);
    world.settle();
}

#[test]
fn a_worker_that_is_no_member_any_more_is_given_up() {
    let mut world = World::new(3, 4);
    world.until("links", World::is_linked);
    world.nodes[2].is_stopped = true;
    world.send(0, 2, PayloadKind::Data, 10);
    let mut members = world.members();
    members.version += 1;
    members.members.pop();
    let node = &mut world.nodes[0];
    node.mesh.set_members(&members, world.now, &mut node.books);
    assert_eq!((node.books.incarnations_lost, node.mesh.counts().lost), (1, 1));
    assert!(!node.mesh.is_up(WorkerId(2), Direction::To) && !node.mesh.is_up(WorkerId(2), Direction::From));
    let dialed = node.mesh.counts().dialed;
    world.run(Duration::from_secs(5));
    assert_eq!(world.nodes[0].mesh.counts().dialed, dialed);
}

#[test]
fn an_older_list_of_members_changes_nothing() {
    let mut world = World::new(2, 5);
    let old = world.members();
    world.replace(1, false);
    world.set_members_of_all();
    world.until("links", World::is_linked);
    let node = &mut world.nodes[0];
    node.mesh.set_members(&old, world.now, &mut node.books);
    let mut same_version = old;
    same_version.version = world.version;
    node.mesh.set_members(&same_version, world.now, &mut node.books);
    assert!(world.is_linked());
    world.settle();
}

#[test]
fn incarnations_never_go_back() {
    let mut raw = Raw::new();
    raw.member(1, 5);
    let member = |incarnation| Member { worker: PEER, incarnation: Incarnation(incarnation), address: None };
    let lists = [(1, vec![]), (1, vec![member(9)]), (3, vec![member(4)])];
    for (version, members) in lists {
        raw.mesh.set_members(&Members { version, members }, raw.now, &mut raw.books);
    }
    assert_eq!(raw.books.incarnations_lost, 1, "the one that was replaced");
    for (incarnation, answer) in [(4, "fenced"), (6, "not-yet")] {
        raw.identity.incarnation = Incarnation(incarnation);
        let conn = raw.mesh.accepted(raw.now).expect("room");
        raw.give(conn, &Dialing::new(&raw.identity, raw.target(), [1; 32]).1);
        assert_eq!(raw.refusal(conn).0, answer);
    }
    raw.identity.incarnation = Incarnation(5);
    raw.link_to_mesh();
}

#[test]
fn a_worker_that_moves_is_dialed_where_it_is() {
    let mut raw = Raw::new();
    let first = raw.link_from_mesh(Taken::default());
    assert!(raw.mesh.is_up(PEER, Direction::To));
    let mut members = Members { version: 9, members: Vec::new() };
    members.members.push(Member {
        worker: PEER,
        incarnation: Incarnation(1),
        address: Some(crate::kit::address(55)),
    });
    raw.mesh.set_members(&members, raw.now, &mut raw.books);
    let actions = raw.mesh.actions();
    assert!(
        matches!(&actions[..], [Action::Close { conn, .. }, Action::Dial { address, .. }]
        if *conn == first && *address == crate::kit::address(55)),
        "{actions:?}"
    );
    assert_eq!(raw.books.incarnations_lost, 0, "it is the same incarnation");
}

#[test]
fn a_newer_incarnation_waits_until_the_parent_names_it() {
    let mut world = World::new(2, 6);
    world.until("links", World::is_linked);
    world.replace(1, false);
    world.set_members(1);
    world.send(1, 0, PayloadKind::Acks, 1);
    world.run(Duration::from_millis(300));
    let not_yet =
        |world: &World| world.nodes[0].mesh.counts().refused.get("not-yet").copied().unwrap_or_default();
    assert!(not_yet(&world) >= 5, "the new incarnation keeps asking: {}", not_yet(&world));
    assert_eq!(world.nodes[1].mesh.counts().refused_by_peer["not-yet"], not_yet(&world));
    world.set_members(0);
    let waited = world.until("links", World::is_linked);
    assert!(waited <= Duration::from_millis(60), "and soon: {waited:?}");
    world.settle();
}

#[test]
fn a_replaced_worker_is_refused_everywhere_and_dials_nobody_once_it_knows() {
    let mut raw = Raw::new();
    let (conn, _) = raw.link_to_mesh();
    raw.member(1, 2);
    assert!(raw.closes(conn).is_some_and(|(why, _)| why.contains("replaced by incarnation 2")));
    raw.give(conn, &sequenced(FrameKind::Data, 1, b"late"));
    assert_eq!(raw.books.taken_from(PEER), [0, 0]);
    let again = raw.mesh.accepted(raw.now).expect("there is room");
    let hello = Dialing::new(&raw.identity, raw.target(), [1; 32]).1;
    raw.give(again, &hello);
    assert_eq!(raw.refusal(again).0, "fenced");

    assert_eq!(raw.mesh.fenced_by(), None);
    raw.member(0, 4);
    assert_eq!(raw.mesh.fenced_by(), Some(Incarnation(4)));
    assert_eq!(raw.mesh.accepted(raw.now), None);
    raw.mesh.tick(raw.now.after(Duration::from_secs(5)), &mut raw.books);
    let dials = raw.mesh.actions().into_iter().filter(|action| matches!(action, Action::Dial { .. }));
    assert_eq!(dials.count(), 0);
    assert_eq!(raw.mesh.deadline(), Time::NEVER);
}

#[test]
fn an_incarnation_that_ends_during_its_handshake_is_refused() {
    let mut raw = Raw::new();
    let (conn, proof) = raw.greet();
    raw.member(1, 2);
    raw.give(conn, &proof);
    assert_eq!(raw.refusal(conn).0, "fenced");
    assert!(!raw.mesh.is_up(PEER, Direction::From));
}

#[test]
fn an_old_connection_ends_when_a_new_one_proves_itself_and_not_before() {
    let mut raw = Raw::new();
    let (old, _) = raw.link_to_mesh();
    let payload = |raw: &mut Raw, index: u64| {
        let Raw { books, .. } = raw;
        let mut peer = crate::kit::Books::new(raw.identity.endpoint());
        let _ = books;
        (0..index).for_each(|_| _ = peer.write(WorkerId(0), PayloadKind::Data, 0, Time::ZERO));
        peer.write(WorkerId(0), PayloadKind::Data, 0, Time::ZERO).payload().to_vec()
    };
    let (first, second) = (payload(&mut raw, 0), payload(&mut raw, 1));
    let (new, proof) = raw.greet();
    raw.give(old, &sequenced(FrameKind::Data, 1, &first));
    assert_eq!(raw.books.taken_from(PEER), [0, 1]);
    assert_eq!(raw.closes(old), None);
    raw.give(new, &proof);
    let (why, last) = raw.closes(old).expect("the old one ends");
    assert_eq!(why, "the peer has a newer connection");
    assert_eq!(last.last().map(|frame| frame.kind), Some(FrameKind::Bye));
    let welcome = raw.frames(new).remove(0);
    assert_eq!(Taken::decode(&welcome.payload), Some(Taken { control: 0, data: 1 }));
    raw.give(old, &sequenced(FrameKind::Data, 2, &second));
    assert_eq!(raw.books.taken_from(PEER), [0, 1], "nothing is heard from an old connection");
    // A repetition is dropped; the next is taken.
    raw.give(new, &[sequenced(FrameKind::Data, 1, &first), sequenced(FrameKind::Data, 2, &second)].concat());
    assert_eq!((raw.books.taken_from(PEER), raw.mesh.counts().duplicates), ([0, 2], 1));
    assert_eq!(raw.mesh.counts().superseded, 1);
}

#[test]
fn unproven_connections_are_bounded_and_the_oldest_makes_room() {
    let mut raw = Raw::new();
    let (linked, _) = raw.link_to_mesh();
    let crowd: Vec<_> = (0..UNPROVEN_MAX).map(|_| raw.mesh.accepted(raw.now).expect("room")).collect();
    raw.mesh.closed(crowd[0], "gone", raw.now, &mut raw.books);
    raw.mesh.closed(crowd[0], "gone twice", raw.now, &mut raw.books);
    raw.mesh.accepted(raw.now).expect("room");
    assert_eq!(raw.mesh.counts().crowded_out, 0);
    raw.mesh.accepted(raw.now).expect("room");
    assert_eq!(raw.mesh.counts().crowded_out, 1);
    let closes: Vec<_> = raw.mesh.actions().into_iter().filter_map(closed).collect();
    assert_eq!(closes, [crowd[1]], "the oldest of those that are there");
    raw.now = raw.now.after(Duration::from_millis(1990));
    raw.give(linked, &sequenced(FrameKind::Heartbeat, 0, &heartbeat()));
    raw.now = raw.now.after(Duration::from_millis(10));
    raw.mesh.tick(raw.now, &mut raw.books);
    assert_eq!(raw.mesh.counts().refused["timed-out"], UNPROVEN_MAX as u64);
    assert!(raw.mesh.accepted(raw.now).is_some());
    assert!(raw.mesh.is_up(PEER, Direction::From), "a link that is up is not touched by it");
}

fn closed(action: Action) -> Option<ConnId> {
    if let Action::Close { conn, .. } = action { Some(conn) } else { None }
}

/// While strangers arrive without end, a peer that has said HELLO is not among those who go: before,
/// all shared 64 places, and a link needed seconds to come back.
#[test]
fn a_crowd_of_strangers_does_not_keep_a_peer_out() {
    let mut raw = Raw::new();
    let crowd = |raw: &mut Raw| {
        (0..3 * UNPROVEN_MAX).for_each(|_| _ = raw.mesh.accepted(raw.now).expect("room"));
    };
    crowd(&mut raw);
    let (conn, proof) = raw.greet();
    crowd(&mut raw);
    raw.give(conn, &proof);
    assert!(raw.mesh.is_up(PEER, Direction::From));
    assert!(!raw.mesh.actions().into_iter().filter_map(closed).any(|gone| gone == conn));
}

/// Somebody who overheard the name of the run cannot fill more than a few places either.
#[test]
fn those_who_send_hello_and_prove_nothing_are_bounded_too() {
    let mut raw = Raw::new();
    let (_, hello) = Dialing::new(&raw.identity, raw.target(), [1; 32]);
    let mut open = 0_i64;
    for _ in 0..200 {
        let conn = raw.mesh.accepted(raw.now).expect("room");
        raw.give(conn, &hello);
        open += 1;
        open -= raw.mesh.actions().into_iter().filter_map(closed).count() as i64;
    }
    assert!(open < 10, "{open}");
}

fn heartbeat() -> Vec<u8> {
    [&1u32.to_le_bytes()[..], &0u64.to_le_bytes()].concat()
}

#[test]
fn a_link_that_gets_nowhere_is_reported_though_it_comes_up() {
    let mut world = World::new(2, 7);
    world.until("links", World::is_linked);
    world.nodes[1].books.refuses = true;
    let start = world.now;
    world.send(0, 1, PayloadKind::Data, 10);
    world.run(Duration::from_secs(12));
    let down = world.nodes[0].mesh.down_since(PEER).expect("it gets nowhere");
    assert!(down.since(start) < Duration::from_millis(100), "since the first refusal");
    let refused = world.nodes[1].mesh.counts().bad_frames["payload"];
    assert!((12..60).contains(&refused), "tried again, with pauses that grow: {refused}");
    assert!(world.nodes[0].books.downs.iter().any(|(_, _, why)| why.contains("refused by the test")));
    world.nodes[1].books.refuses = false;
    world.settle();
}
