//! Checks of held nodes: they are there while their process lives, and a moment longer.

use squall::cluster::coordination::{CoordinationError, NodePath, Notice, Version};

use super::{Heard, World, call, has, make, path, read, text};

pub fn a_held_node_is_there_until_it_is_released(world: &dyn World) {
    let (client, other, a) = (world.client("a"), world.client("b"), path("/a"));
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
    for reader in [&client, &other] {
        let node = read(&**reader, &a).expect("it is there");
        assert_eq!((&*node.data, node.version, node.is_held), (&b"a lives"[..], Version(0), true));
    }
    assert_eq!(other.children(&NodePath::root()), Ok(Some(vec!["a".to_owned()])));
    assert_eq!(client.release(&a), Ok(()));
    assert_eq!(read(&*other, &a), None);
    assert_eq!(client.hold(&a, b"again"), Ok(()));
    assert_eq!(text(&*other, &a).as_deref(), Some("again"));
}

pub fn releasing_what_is_not_held_does_nothing(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/made"), b"made");
    assert_eq!(other.hold(&path("/held"), b"b lives"), Ok(()));
    for name in ["/made", "/held", "/none", "/none/below"] {
        assert_eq!(client.release(&path(name)), Ok(()), "{name}");
    }
    assert_eq!(text(&*client, &path("/made")).as_deref(), Some("made"));
    assert_eq!(text(&*client, &path("/held")).as_deref(), Some("b lives"));
}

pub fn a_held_node_has_no_children(world: &dyn World) {
    let (client, a) = (world.client("a"), path("/a"));
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
    assert_eq!(client.create(&path("/a/b"), b""), Err(CoordinationError::NoChildren(a.clone())));
    assert_eq!(client.hold(&path("/a/b"), b"x"), Err(CoordinationError::NoChildren(a.clone())));
    assert_eq!(client.children(&a), Ok(Some(Vec::new())));
}

pub fn a_held_node_vanishes_with_its_process(world: &dyn World) {
    let (client, other) = (world.client("a"), world.client("b"));
    make(&*client, &path("/dir"), b"");
    assert_eq!(client.hold(&path("/dir/a"), b"a lives"), Ok(()));
    assert_eq!(other.hold(&path("/dir/b"), b"b lives"), Ok(()));
    world.kill("a");
    world.wait_until("the node vanishes", &mut || has(&*other, &path("/dir/a"), None));
    assert_eq!(text(&*other, &path("/dir")).as_deref(), Some(""), "what was made stays");
    assert_eq!(text(&*other, &path("/dir/b")).as_deref(), Some("b lives"));
}

pub fn a_held_node_comes_back_after_a_cut(world: &dyn World) {
    let (client, other, a) = (world.client("a"), world.client("b"), path("/a"));
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
    world.cut("a");
    world.wait_until("the node vanishes", &mut || has(&*other, &a, None));
    world.heal("a");
    world.wait_until("the node comes back", &mut || has(&*other, &a, Some(b"a lives")));
    assert!(read(&*other, &a).is_some_and(|node| node.is_held));
}

/// The client connects again before its earlier session is over. What that session has left behind must not take the
/// node away when it ends.
pub fn a_held_node_outlives_the_session_that_made_it(world: &dyn World) {
    let (client, other, a) = (world.client("a"), world.client("b"), path("/a"));
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
    world.cut("a");
    world.wait_until("the client notices", &mut || !client.session().is_connected);
    world.heal("a");
    call(world, "the client is answered", || client.get(&a)).expect("it may read");
    let until = world.now().after(client.session().timeout * 2);
    world.wait_until("the earlier session is over", &mut || world.now() >= until);
    world.wait_until("the node is there", &mut || has(&*other, &a, Some(b"a lives")));
}

pub fn a_held_node_comes_back_with_the_data_that_replaced_the_first(world: &dyn World) {
    let (client, other, a) = (world.client("a"), world.client("b"), path("/a"));
    assert_eq!(client.hold(&a, b"first"), Ok(()));
    assert_eq!(client.hold(&a, b"second"), Ok(()));
    assert_eq!(text(&*other, &a).as_deref(), Some("second"));
    assert_eq!(client.hold(&a, b"second"), Ok(()), "the same data again");
    let number = client.session().number;
    world.expire("a");
    world.wait_until("the client has a new session", &mut || client.session().number > number);
    world.wait_until("the node comes back", &mut || has(&*other, &a, Some(b"second")));
    assert_eq!(call(world, "it is held", || client.hold(&a, b"third")), Ok(()));
    assert_eq!(text(&*other, &a).as_deref(), Some("third"));
}

pub fn a_held_node_that_was_taken_is_not_held_any_more(world: &dyn World) {
    let (client, other, a) = (world.client("a"), world.client("b"), path("/a"));
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
    let heard = Heard::new(&*client, &path("/elsewhere"));
    world.cut("a");
    world.wait_until("another takes the node", &mut || other.hold(&a, b"b lives").is_ok());
    world.heal("a");
    heard.wait_for(world, &Notice::HeldByOther(a.clone()));
    assert_eq!(text(&*other, &a).as_deref(), Some("b lives"));
    assert_eq!(client.release(&a), Ok(()));
    assert_eq!(text(&*other, &a).as_deref(), Some("b lives"), "it is not the client's to release");
    assert_eq!(client.hold(&a, b"a lives"), Err(CoordinationError::Exists(a.clone())));
    assert_eq!(other.release(&a), Ok(()));
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
}

pub fn a_node_that_another_process_has_is_not_held(world: &dyn World) {
    let (client, other, a) = (world.client("a"), world.client("b"), path("/a"));
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
    assert_eq!(other.hold(&a, b"b lives"), Err(CoordinationError::Exists(a.clone())));
    let number = other.session().number;
    assert_eq!(client.release(&a), Ok(()));
    world.expire("b");
    world.wait_until("the other has a new session", &mut || other.session().number > number);
    assert_eq!(call(world, "it is answered", || other.release(&a)), Ok(()));
    assert_eq!(read(&*client, &a), None, "after an error the node is not held");
}

pub fn a_persistent_node_is_not_held(world: &dyn World) {
    let (client, a) = (world.client("a"), path("/a"));
    make(&*client, &a, b"the same");
    assert_eq!(client.hold(&a, b"the same"), Err(CoordinationError::Exists(a.clone())));
    assert!(read(&*client, &a).is_some_and(|node| !node.is_held));
}

pub fn a_node_without_a_parent_is_not_held(world: &dyn World) {
    let (client, b) = (world.client("a"), path("/a/b"));
    assert_eq!(client.hold(&b, b"a lives"), Err(CoordinationError::Missing(path("/a"))));
    make(&*client, &path("/a"), b"");
    let number = client.session().number;
    world.expire("a");
    world.wait_until("the client has a new session", &mut || client.session().number > number);
    assert_eq!(call(world, "it is answered", || client.children(&path("/a"))), Ok(Some(Vec::new())));
    assert_eq!(client.hold(&b, b"a lives"), Ok(()));
}

/// A process that was killed and started again has the same name, and its earlier session is not over yet.
pub fn what_an_earlier_process_left_behind_is_replaced(world: &dyn World) {
    let (first, other, a) = (world.client("a-1"), world.client("b"), path("/a"));
    assert_eq!(first.hold(&a, b"a lives"), Ok(()));
    world.kill("a-1");
    let second = world.client("a-2");
    assert_eq!(second.hold(&a, b"a lives"), Ok(()));
    let until = world.now().after(second.session().timeout * 2);
    world.wait_until("the session of the first is over", &mut || world.now() >= until);
    world.wait_until("the node is there", &mut || has(&*other, &a, Some(b"a lives")));
    assert_eq!(call(world, "it is released", || second.release(&a)), Ok(()));
    assert_eq!(read(&*other, &a), None);
}

pub fn a_released_node_does_not_come_back(world: &dyn World) {
    let (client, a) = (world.client("a"), path("/a"));
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
    assert_eq!(client.release(&a), Ok(()));
    let number = client.session().number;
    world.expire("a");
    world.wait_until("the client has a new session", &mut || client.session().number > number);
    assert_eq!(call(world, "it is answered", || client.get(&a)), Ok(None));
    // Released while it is cut off, so the release is not answered.
    assert_eq!(client.hold(&a, b"a lives"), Ok(()));
    world.cut("a");
    world.wait_until("the client notices", &mut || !client.session().is_connected);
    assert!(client.release(&a).is_err_and(|error| error.is_passing()));
    world.heal("a");
    world.wait_until("the node vanishes with its session", &mut || has(&*client, &a, None));
}
