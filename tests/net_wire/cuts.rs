//! Connections that break: at each byte, again and again, with and without what is on its way.

use std::time::Duration;

use squall::net::PayloadKind;

use crate::kit::World;

/// Payloads of both lanes in both directions, the later ones while links come and go.
fn send_some(world: &mut World) {
    for round in 0..3 {
        for (from, to) in [(0, 1), (1, 0)] {
            world.send(from, to, PayloadKind::Data, 20 * round);
            world.send(from, to, PayloadKind::Acks, 5);
            world.send(from, to, PayloadKind::Data, 0);
            world.send(from, to, PayloadKind::Outcomes, 3);
        }
        world.step();
        world.nodes.iter_mut().for_each(|node| node.books.give_back_all());
        world.run(Duration::from_millis(7));
    }
}

/// How many bytes each of the two connections carries when nothing breaks.
fn carried_unbroken() -> u64 {
    let mut world = World::new(2, 1);
    send_some(&mut world);
    world.settle();
    assert_eq!(world.pipes.len(), 2);
    world.pipes.iter().map(|pipe| pipe.carried).max().unwrap_or_default()
}

#[test]
fn a_connection_may_break_at_any_byte() {
    let carried = carried_unbroken();
    assert!(carried > 1000, "all kinds of frames: {carried} bytes");
    for at in 0..carried {
        let mut world = World::new(2, at);
        world.breaks_at = at;
        send_some(&mut world);
        world.settle();
        assert_eq!(world.total(|counts| counts.bad_frames.values().sum()), 0, "a break is no fault");
        assert_eq!(world.total(|counts| counts.refused.values().sum()), 0);
        assert_eq!(world.total(|counts| counts.duplicates), 0, "a resume repeats nothing that was taken");
    }
}

#[test]
fn any_byte_may_change_on_its_way() {
    let carried = carried_unbroken();
    let mut noticed = 0;
    for at in 0..carried {
        let mut world = World::new(2, at);
        world.flips_at = (at, 1 << (at % 8));
        send_some(&mut world);
        let is_past = world.pipes.iter().all(|pipe| pipe.carried <= at);
        world.settle();
        let faults = world.total(|counts| counts.bad_frames.values().chain(counts.refused.values()).sum());
        assert!(faults > 0 || is_past, "byte {at} was changed, and nobody noticed");
        noticed += u64::from(faults > 0);
    }
    assert!(noticed > carried / 2, "only {noticed} of {carried} bytes were changed");
}

#[test]
fn what_is_on_its_way_may_be_lost_at_any_byte() {
    for at in 0..carried_unbroken() {
        let mut world = World::new(2, at);
        let mut cuts = 0;
        for _ in 0..40 {
            world.step();
            if world.now.0.is_multiple_of(3) {
                world.send(0, 1, PayloadKind::Data, 30);
                world.send(1, 0, PayloadKind::Acks, 1);
            }
            while let Some(pipe) = world.pipes.iter().position(|pipe| pipe.carried >= at && cuts < 3) {
                world.cut(pipe, false);
                world.pipes.remove(pipe);
                cuts += 1;
            }
        }
        assert!(cuts > 0 || at > 600);
        world.settle();
    }
}

#[test]
fn a_resume_writes_again_what_was_not_taken_and_nothing_else() {
    let mut world = World::new(2, 3);
    world.until("links", World::is_linked);
    (0..5).for_each(|_| world.send(0, 1, PayloadKind::Data, 100));
    world.turn(0, 0);
    let pipe = world.pipes.iter().position(|pipe| pipe.carried > 900).expect("the payloads were written");
    // The reader gets two frames and a half; then the rest is lost.
    world.turn(1, 134 * 5 / 2 - 36);
    assert_eq!(world.nodes[1].books.taken_from(world.nodes[0].books.own.worker), [0, 2]);
    world.cut(pipe, false);
    world.settle();
    assert_eq!(world.nodes[0].mesh.counts().resent, 3);
    assert_eq!(world.nodes[1].mesh.counts().duplicates, 0);
    assert_eq!(world.total(|counts| counts.reconnects), 2, "one at each end");
}

#[test]
fn a_link_that_breaks_all_the_time_still_gets_on() {
    let mut world = World::new(2, 4);
    (0..200).for_each(|_| world.send(0, 1, PayloadKind::Data, 50));
    // Room for a handshake and a few payloads on each connection.
    world.breaks_at = 900;
    world.until("all payloads", |world| world.nodes[0].books.is_settled());
    assert!(world.total(|counts| counts.reconnects) > 20);
    world.settle();
}

#[test]
fn a_connection_with_something_to_write_is_named_once() {
    let mut world = World::new(2, 6);
    world.until("links", World::is_linked);
    world.run(Duration::from_millis(50));
    (0..9).for_each(|_| world.send(0, 1, PayloadKind::Data, 10));
    let mut ready = Vec::new();
    world.nodes[0].mesh.ready(&mut ready);
    assert_eq!(ready.len(), 1);
    world.nodes[0].mesh.ready(&mut ready);
    assert_eq!(ready.len(), 1, "until there is more");
    world.send(0, 1, PayloadKind::Data, 10);
    world.nodes[0].mesh.ready(&mut ready);
    assert_eq!((ready.len(), ready[0]), (2, ready[1]));
}

#[test]
fn acks_overtake_queued_tuples() {
    let mut world = World::new(2, 5);
    world.until("links", World::is_linked);
    (0..50).for_each(|_| world.send(0, 1, PayloadKind::Data, 10_000));
    world.turn(0, 0);
    (0..50).for_each(|_| world.send(0, 1, PayloadKind::Data, 10_000));
    world.send(0, 1, PayloadKind::Acks, 10);
    world.turn(0, 0);
    // The acks follow what was written before them; all else comes later.
    world.turn(1, 50 * 10_034 + 44 + 20);
    assert_eq!(world.nodes[1].books.taken_from(world.nodes[0].books.own.worker), [1, 50]);
    world.settle();
}
