//! Checks of sessions: how they are numbered, until when they are good, and what calls return without one.

use squall::clock::Time;
use squall::cluster::coordination::{CoordinationError, Version};

use super::{World, call, make, path, text};

pub fn a_call_begins_the_first_session(world: &dyn World) {
    let client = world.client("a");
    let before = client.session();
    assert!(before.number > 0 || before.good_until() == Time::ZERO, "{before:?}");
    assert_eq!(client.get(&path("/a")), Ok(None));
    let session = client.session();
    assert!(session.is_connected && session.number >= 1, "{session:?}");
    assert!(!session.timeout.is_zero());
}

pub fn sessions_are_numbered(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/a"), b"");
    assert_eq!(text(&*other, &path("/a")).as_deref(), Some(""));
    for _ in 0..3 {
        let (number, other_number) = (client.session().number, other.session().number);
        world.expire("a");
        world.wait_until("a new session begins", &mut || {
            client.session().number > number && client.session().is_connected
        });
        assert_eq!(other.session().number, other_number, "the session of another process goes on");
        assert_eq!(call(world, "it is answered", || client.children(&path("/a"))), Ok(Some(Vec::new())));
    }
}

pub fn a_session_is_good_while_it_is_proven(world: &dyn World) {
    let client = world.client("a");
    let before = world.now();
    make(&*client, &path("/a"), b"");
    let session = client.session();
    assert!(session.proven_at >= before && session.proven_at <= world.now(), "{session:?}");
    assert_eq!(session.good_until(), session.proven_at.after(session.timeout * 2 / 3));
    // It is proven without calls of the process, for much longer than a time-out.
    let long_after = session.proven_at.after(session.timeout * 3);
    world.wait_until("the session is proven", &mut || client.session().proven_at >= long_after);
    assert_eq!(client.session().number, session.number);
}

pub fn who_is_cut_off_is_not_answered_and_knows_it(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/a"), b"0");
    world.cut("a");
    world.wait_until("the client notices", &mut || !client.session().is_connected);
    let proven = client.session().proven_at;
    let is_away = |error: CoordinationError| matches!(error, CoordinationError::Away(_));
    assert!(client.get(&path("/a")).is_err_and(is_away));
    assert!(client.children(&path("/a")).is_err_and(is_away));
    assert!(client.catch_up().is_err_and(is_away));
    assert!(client.create(&path("/b"), b"").is_err_and(|error| error.is_passing()));
    assert!(client.set(&path("/a"), b"1", Version(0)).is_err_and(|error| error.is_passing()));
    assert!(client.delete(&path("/a"), Version(0)).is_err_and(|error| error.is_passing()));
    assert!(client.hold(&path("/c"), b"x").is_err_and(|error| error.is_passing()));
    let session = client.session();
    assert_eq!((session.proven_at, session.is_connected), (proven, false), "nothing was answered");
    world.wait_until("it may not act any more", &mut || world.now() > client.session().good_until());
    assert_eq!(text(&*other, &path("/a")).as_deref(), Some("0"));
}

pub fn who_is_healed_is_answered(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/a"), b"0");
    for round in 0..3 {
        world.cut("a");
        world.wait_until("the client notices", &mut || !client.session().is_connected);
        assert!(client.get(&path("/a")).is_err_and(|error| error.is_passing()));
        world.heal("a");
        let written = call(world, "the client is answered", || {
            client.set(&path("/a"), format!("{}", round + 1).as_bytes(), Version(round))
        });
        assert_eq!(written, Ok(Version(round + 1)));
        assert_eq!(text(&*other, &path("/a")), Some(format!("{}", round + 1)));
        assert!(client.session().is_connected);
    }
}

pub fn a_service_that_is_gone_for_long_is_used_again(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/a"), b"0");
    assert_eq!(client.hold(&path("/b"), b"a lives"), Ok(()));
    for name in ["a", "b"] {
        world.cut(name);
    }
    world.wait_until("nobody is connected", &mut || {
        !client.session().is_connected && !other.session().is_connected
    });
    let until = world.now().after(client.session().timeout * 3);
    world.wait_until("a long time passes", &mut || world.now() >= until);
    for name in ["a", "b"] {
        world.heal(name);
    }
    for client in [&client, &other] {
        world.wait_until("what was made is there", &mut || super::has(&**client, &path("/a"), Some(b"0")));
    }
    world.wait_until("what was held is held", &mut || super::has(&*other, &path("/b"), Some(b"a lives")));
}
