//! Checks of notices. They are hints: a check waits for those that must come, and only refuses those that must not.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use squall::cluster::coordination::{Coordination, NodePath, Notice, Notify, Version};

use super::{Heard, World, call, make, path};

/// A client that has a session. Before its first one nothing is noticed.
fn connected(world: &dyn World, name: &str) -> Arc<dyn Coordination> {
    let client = world.client(name);
    assert!(client.get(&NodePath::root()).is_ok_and(|root| root.is_some()));
    client
}

pub fn each_change_is_noticed(world: &dyn World) {
    let (client, other, dir, a) = (world.client("a"), world.client("b"), path("/dir"), path("/dir/a"));
    make(&*client, &dir, b"");
    let heard = Heard::new(&*client, &a);
    let changed = Notice::Changed(a.clone());
    make(&*other, &a, b"");
    heard.wait_for(world, &changed);
    assert_eq!(other.set(&a, b"x", Version(0)), Ok(Version(1)));
    heard.wait_for(world, &changed);
    make(&*other, &path("/dir/a/child"), b"");
    let of_child = [changed.clone(), Notice::Changed(path("/dir/a/child"))];
    wait_for_any(world, &heard, &of_child);
    assert_eq!(other.delete(&path("/dir/a/child"), Version(0)), Ok(()));
    wait_for_any(world, &heard, &of_child);
    assert_eq!(other.delete(&a, Version(1)), Ok(()));
    heard.wait_for(world, &changed);
    assert_eq!(client.hold(&a, b"own"), Ok(()));
    heard.wait_for(world, &changed);
}

/// A child that was made or deleted may be reported as a change of the child, of its parent, or of both.
fn wait_for_any(world: &dyn World, heard: &Heard, notices: &[Notice]) {
    world.wait_until(&format!("one of {notices:?}"), &mut || {
        notices.iter().any(|notice| heard.contains(notice))
    });
    heard.take();
}

pub fn changes_below_are_noticed(world: &dyn World) {
    let (client, other) = (connected(world, "a"), world.client("b"));
    let heard = Heard::new(&*client, &path("/dir"));
    make(&*other, &path("/dir"), b"");
    heard.wait_for(world, &Notice::Changed(path("/dir")));
    make(&*other, &path("/dir/a"), b"");
    heard.wait_for(world, &Notice::Changed(path("/dir/a")));
    make(&*other, &path("/dir/a/b"), b"");
    heard.wait_for(world, &Notice::Changed(path("/dir/a/b")));
    assert_eq!(other.set(&path("/dir/a/b"), b"x", Version(0)), Ok(Version(1)));
    heard.wait_for(world, &Notice::Changed(path("/dir/a/b")));
    assert_eq!(other.delete(&path("/dir/a/b"), Version(1)), Ok(()));
    heard.wait_for(world, &Notice::Changed(path("/dir/a/b")));
}

pub fn changes_beside_are_not_noticed(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/dir"), b"");
    let heard = Heard::new(&*client, &path("/dir/a"));
    make(&*other, &path("/dir/ab"), b"");
    make(&*other, &path("/dir/b"), b"");
    assert_eq!(other.set(&path("/dir"), b"x", Version(0)), Ok(Version(1)));
    make(&*other, &path("/dir/a"), b"");
    let mut all = Vec::new();
    world.wait_until("the change of what is watched", &mut || {
        all.extend(heard.take());
        all.contains(&Notice::Changed(path("/dir/a")))
    });
    let is_beside = |notice: &Notice| matches!(notice, Notice::Changed(of) if !of.is_within(&path("/dir/a")));
    assert!(!all.iter().any(is_beside), "{all:?}");
}

pub fn changes_are_noticed_by_all_who_watch(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/a"), b"");
    assert!(other.catch_up().is_ok());
    let heard = [
        Heard::new(&*client, &path("/a")),
        Heard::new(&*client, &path("/a")),
        Heard::new(&*client, &path("/")),
        Heard::new(&*other, &path("/a")),
    ];
    assert_eq!(other.set(&path("/a"), b"x", Version(0)), Ok(Version(1)));
    for heard in &heard {
        heard.wait_for(world, &Notice::Changed(path("/a")));
    }
}

pub fn the_end_of_a_process_is_noticed(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/dir"), b"");
    assert_eq!(other.hold(&path("/dir/b"), b"b lives"), Ok(()));
    let heard = Heard::new(&*client, &path("/dir/b"));
    world.kill("b");
    heard.wait_for(world, &Notice::Changed(path("/dir/b")));
    world.wait_until("the node is gone", &mut || super::has(&*client, &path("/dir/b"), None));
}

pub fn everything_is_to_be_read_again_with_each_session(world: &dyn World) {
    let client = world.client("a");
    let heard = Heard::new(&*client, &path("/a"));
    call(world, "the client is answered", || client.get(&path("/a"))).expect("it may read");
    heard.wait_for(world, &Notice::ReadAgain);
    for _ in 0..2 {
        let number = client.session().number;
        heard.take();
        world.expire("a");
        let mut all = Vec::new();
        world.wait_until("the session is lost, and a new one begins", &mut || {
            all.extend(heard.take());
            let lost = all.iter().position(|notice| *notice == Notice::SessionLost);
            lost.is_some_and(|lost| all[lost..].contains(&Notice::ReadAgain))
        });
        assert!(client.session().number > number);
    }
}

pub fn changes_are_noticed_after_a_new_session(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/a"), b"");
    let heard = Heard::new(&*client, &path("/a"));
    let mut version = Version(0);
    for round in 0..3 {
        let number = client.session().number;
        if round == 1 {
            world.cut("a");
            world.wait_until("the client notices", &mut || !client.session().is_connected);
            world.heal("a");
        } else {
            world.expire("a");
        }
        world.wait_until("a new session begins", &mut || {
            client.session().number > number && heard.contains(&Notice::ReadAgain)
        });
        // What is written before the watches of the new session are set comes with its ReadAgain.
        call(world, "the client is answered", || client.get(&path("/a"))).expect("it may read");
        heard.take();
        version = other.set(&path("/a"), b"x", version).expect("it has this version");
        heard.wait_for(world, &Notice::Changed(path("/a")));
    }
}

pub fn everything_is_to_be_read_again_from_time_to_time(world: &dyn World) {
    let client = world.client("a");
    let heard = Heard::new(&*client, &path("/a"));
    for _ in 0..3 {
        heard.wait_for(world, &Notice::ReadAgain);
    }
    assert!(client.session().number >= 1);
}

pub fn a_dropped_notify_is_not_called(world: &dyn World) {
    let client = world.client("a");
    make(&*client, &path("/a"), b"");
    let calls = Arc::new(Mutex::new(0));
    let sink = Arc::clone(&calls);
    let notify: Arc<Notify> = Arc::new(move |_| *sink.lock().unwrap_or_else(PoisonError::into_inner) += 1);
    client.watch(&path("/a"), &notify);
    let kept = Heard::new(&*client, &path("/a"));
    let gone: Weak<Notify> = Arc::downgrade(&notify);
    drop(notify);
    world.wait_until("nobody calls it any more", &mut || gone.strong_count() == 0);
    let before = *calls.lock().expect("nothing panics with it");
    assert_eq!(client.set(&path("/a"), b"x", Version(0)), Ok(Version(1)));
    kept.wait_for(world, &Notice::Changed(path("/a")));
    assert_eq!(*calls.lock().expect("nothing panics with it"), before);
}

pub fn a_watch_of_what_is_not_there_notices_it(world: &dyn World) {
    let (client, other) = (connected(world, "a"), world.client("b"));
    let heard = Heard::new(&*client, &path("/a/b/c"));
    for name in ["/a", "/a/b", "/a/b/c"] {
        make(&*other, &path(name), b"");
    }
    heard.wait_for(world, &Notice::Changed(path("/a/b/c")));
}
