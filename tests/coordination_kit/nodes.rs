//! Checks of nodes: how they are made, read, written and deleted, by one client and by several, and who may do it.

use std::collections::BTreeSet;
use std::thread;

use squall::cluster::coordination::{Coordination, CoordinationError, DATA_MAX, Node, NodePath, Version};

use super::{World, make, path, read, text};

pub fn a_node_is_read_as_it_was_made(world: &dyn World) {
    let client = world.client("a");
    for (name, data) in [("/text", &b"storm"[..]), ("/none", b""), ("/bytes", b"\x00\xff\n\"\xc3")] {
        assert_eq!(client.get(&path(name)), Ok(None));
        make(&*client, &path(name), data);
        let node = Node { data: data.to_vec(), version: Version(0), is_held: false };
        assert_eq!(client.get(&path(name)), Ok(Some(node)), "{name}");
    }
}

pub fn a_node_is_made_once_below_one_that_is_there(world: &dyn World) {
    let client = world.client("a");
    make(&*client, &path("/a"), b"first");
    assert_eq!(client.create(&path("/a"), b"second"), Err(CoordinationError::Exists(path("/a"))));
    assert_eq!(text(&*client, &path("/a")).as_deref(), Some("first"));
    assert_eq!(client.create(&path("/b/c"), b""), Err(CoordinationError::Missing(path("/b"))));
    assert_eq!(client.create(&path("/a/b/c"), b""), Err(CoordinationError::Missing(path("/a/b"))));
    make(&*client, &path("/a/b"), b"");
    make(&*client, &path("/a/b/c"), b"");
}

pub fn the_root_is_always_there(world: &dyn World) {
    let (client, root) = (world.client("a"), NodePath::root());
    assert_eq!(client.create(&root, b"x"), Err(CoordinationError::Exists(root.clone())));
    assert!(client.get(&root).expect("it is answered").is_some_and(|node| !node.is_held));
    assert_eq!(client.children(&root), Ok(Some(Vec::new())));
    make(&*client, &path("/a"), b"");
    assert_eq!(client.children(&root), Ok(Some(vec!["a".to_owned()])));
}

pub fn a_write_needs_the_version_that_is_there(world: &dyn World) {
    let (client, a) = (world.client("a"), path("/a"));
    assert_eq!(client.set(&a, b"x", Version(0)), Err(CoordinationError::Missing(a.clone())));
    make(&*client, &a, b"0");
    for wrong in [1, 7, -2, i32::MAX] {
        assert_eq!(client.set(&a, b"x", Version(wrong)), Err(CoordinationError::Changed(a.clone())));
    }
    assert_eq!(client.set(&a, b"1", Version(0)), Ok(Version(1)));
    assert_eq!(client.set(&a, b"x", Version(0)), Err(CoordinationError::Changed(a.clone())));
    assert_eq!(client.set(&a, b"2", Version(1)), Ok(Version(2)));
    let node = read(&*client, &a).expect("it is there");
    assert_eq!((&*node.data, node.version), (&b"2"[..], Version(2)));
}

/// In ZooKeeper the version -1 means any version. Here it is one that no node has.
pub fn every_write_counts_even_of_the_same_data(world: &dyn World) {
    let (client, a) = (world.client("a"), path("/a"));
    make(&*client, &a, b"same");
    assert_eq!(client.set(&a, b"same", Version(0)), Ok(Version(1)));
    assert_eq!(client.set(&a, b"same", Version(1)), Ok(Version(2)));
    assert_eq!(client.set(&a, b"other", Version(-1)), Err(CoordinationError::Changed(a.clone())));
    assert_eq!(client.delete(&a, Version(-1)), Err(CoordinationError::Changed(a.clone())));
    assert_eq!(read(&*client, &a).map(|node| node.version), Some(Version(2)));
}

pub fn a_deletion_needs_the_version_and_no_children(world: &dyn World) {
    let (client, a, b) = (world.client("a"), path("/a"), path("/a/b"));
    assert_eq!(client.delete(&a, Version(0)), Err(CoordinationError::Missing(a.clone())));
    assert_eq!(client.delete(&b, Version(0)), Err(CoordinationError::Missing(b.clone())));
    make(&*client, &a, b"");
    make(&*client, &b, b"");
    assert_eq!(client.set(&b, b"x", Version(0)), Ok(Version(1)));
    assert_eq!(client.delete(&b, Version(0)), Err(CoordinationError::Changed(b.clone())));
    assert_eq!(client.delete(&a, Version(0)), Err(CoordinationError::NotEmpty(a.clone())));
    assert_eq!(client.delete(&b, Version(1)), Ok(()));
    assert_eq!(client.delete(&b, Version(1)), Err(CoordinationError::Missing(b.clone())));
    assert_eq!(client.delete(&a, Version(0)), Ok(()));
    assert_eq!(read(&*client, &a), None);
}

pub fn versions_begin_at_0_again_after_a_deletion(world: &dyn World) {
    let (client, a) = (world.client("a"), path("/a"));
    make(&*client, &a, b"");
    assert_eq!(client.set(&a, b"x", Version(0)), Ok(Version(1)));
    assert_eq!(client.delete(&a, Version(1)), Ok(()));
    make(&*client, &a, b"new");
    assert_eq!(read(&*client, &a).map(|node| node.version), Some(Version(0)));
}

pub fn children_are_sorted_names(world: &dyn World) {
    let client = world.client("a");
    assert_eq!(client.children(&path("/a")), Ok(None));
    make(&*client, &path("/a"), b"");
    assert_eq!(client.children(&path("/a")), Ok(Some(Vec::new())));
    for name in ["b-2", "a", "B", "b.1", "10", "b", "9", "_"] {
        make(&*client, &path("/a").child(name).expect("a name"), b"");
    }
    make(&*client, &path("/a/b/below"), b"");
    make(&*client, &path("/ab"), b"");
    let sorted = ["10", "9", "B", "_", "a", "b", "b-2", "b.1"].map(str::to_owned).to_vec();
    assert_eq!(client.children(&path("/a")), Ok(Some(sorted)));
    assert_eq!(client.delete(&path("/a/B"), Version(0)), Ok(()));
    let rest = ["10", "9", "_", "a", "b", "b-2", "b.1"].map(str::to_owned).to_vec();
    assert_eq!(client.children(&path("/a")), Ok(Some(rest)));
}

pub fn data_have_a_limit(world: &dyn World) {
    let client = world.client("a");
    let (most, more) = (vec![b'm'; DATA_MAX], vec![b'n'; DATA_MAX + 1]);
    let too_large = |name: &str| CoordinationError::TooLarge { path: path(name), bytes: DATA_MAX + 1 };
    make(&*client, &path("/made"), &most);
    assert_eq!(client.create(&path("/more"), &more), Err(too_large("/more")));
    assert_eq!(client.set(&path("/made"), &more, Version(0)), Err(too_large("/made")));
    assert_eq!(client.set(&path("/made"), &most, Version(0)), Ok(Version(1)));
    assert_eq!(client.hold(&path("/held"), &more), Err(too_large("/held")));
    assert_eq!(client.hold(&path("/held"), &most), Ok(()));
    for name in ["/made", "/held"] {
        assert!(read(&*client, &path(name)).is_some_and(|node| node.data == most), "{name}");
    }
    assert_eq!(read(&*client, &path("/more")), None);
}

/// A server may drop the connection of a client that sends too much.
pub fn what_is_too_large_harms_nothing(world: &dyn World) {
    let client = world.client("a");
    make(&*client, &path("/a"), b"");
    let before = client.session().number;
    for bytes in [DATA_MAX + 1, 2 << 20, 8 << 20] {
        let too_large = CoordinationError::TooLarge { path: path("/a"), bytes };
        assert_eq!(client.set(&path("/a"), &vec![0; bytes], Version(0)), Err(too_large));
    }
    assert_eq!(read(&*client, &path("/a")).map(|node| node.version), Some(Version(0)));
    assert_eq!(client.session().number, before);
}

pub fn paths_may_be_as_deep_and_names_as_long_as_they_say(world: &dyn World) {
    let client = world.client("a");
    let mut deep = NodePath::root();
    for name in ["Aa0", "_", ".hidden", "-", "...", "a.b-c_d", "0", &"z".repeat(64)] {
        deep = deep.child(name).expect("a name");
        make(&*client, &deep, name.as_bytes());
    }
    assert_eq!(text(&*client, &deep), Some("z".repeat(64)));
    let above = deep.parent().expect("it is deep");
    assert_eq!(client.children(&above), Ok(Some(vec!["z".repeat(64)])));
}

pub fn of_many_who_make_a_node_one_does(world: &dyn World) {
    let clients: Vec<_> = (0..4).map(|n| world.client(&format!("c{n}"))).collect();
    let dir = path("/race");
    make(&*clients[0], &dir, b"");
    for round in 0..10 {
        let node = dir.child(&round.to_string()).expect("a name");
        let made = all_at_once(&clients, |n, client| client.create(&node, format!("client {n}").as_bytes()));
        let winners: Vec<usize> = (0..made.len()).filter(|n| made[*n].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{made:?}");
        assert_eq!(text(&*clients[0], &node), Some(format!("client {}", winners[0])));
        let lost = Err(CoordinationError::Exists(node.clone()));
        assert!(made.iter().all(|made| *made == Ok(Version(0)) || *made == lost), "{made:?}");
    }
}

pub fn of_many_who_write_a_version_one_does(world: &dyn World) {
    let clients: Vec<_> = (0..4).map(|n| world.client(&format!("c{n}"))).collect();
    let node = path("/race");
    make(&*clients[0], &node, b"");
    for round in 0..10 {
        let written = all_at_once(&clients, |n, client| {
            client.set(&node, format!("client {n} of {round}").as_bytes(), Version(round))
        });
        let winners: Vec<usize> = (0..written.len()).filter(|n| written[*n].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{written:?}");
        assert_eq!(text(&*clients[0], &node), Some(format!("client {} of {round}", winners[0])));
        let lost = Err(CoordinationError::Changed(node.clone()));
        assert!(written.iter().all(|done| *done == Ok(Version(round + 1)) || *done == lost), "{written:?}");
    }
}

pub fn two_clients_count_to_a_hundred(world: &dyn World) {
    let clients = [world.client("a"), world.client("b")];
    let node = path("/count");
    make(&*clients[0], &node, b"0");
    let seen =
        all_at_once(&clients, |_, client| (0..50).map(|_| count_up(client, &node)).collect::<Vec<u32>>());
    assert_eq!(text(&*clients[0], &node).as_deref(), Some("100"));
    let counted: BTreeSet<u32> = seen.into_iter().flatten().collect();
    assert_eq!(counted, (1..=100).collect(), "each number is given out once");
}

/// Adds one to the number in a node. Returns what it is then.
fn count_up(client: &dyn Coordination, node: &NodePath) -> u32 {
    loop {
        let found = read(client, node).expect("it is there");
        let number: u32 = String::from_utf8_lossy(&found.data).parse().expect("a number");
        match client.set(node, (number + 1).to_string().as_bytes(), found.version) {
            Ok(_) => return number + 1,
            Err(CoordinationError::Changed(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn all_at_once<C: AsRef<dyn Coordination> + Sync, T: Send>(
    clients: &[C],
    call: impl Fn(usize, &dyn Coordination) -> T + Sync,
) -> Vec<T> {
    let call = &call;
    thread::scope(|scope| {
        let calls =
            clients.iter().enumerate().map(|(n, client)| scope.spawn(move || call(n, client.as_ref())));
        let calls: Vec<_> = calls.collect();
        calls.into_iter().map(|call| call.join().expect("the call returns")).collect()
    })
}

pub fn a_client_reads_what_it_wrote(world: &dyn World) {
    let (client, a) = (world.client("a"), path("/a"));
    make(&*client, &a, b"0");
    for version in 0..20 {
        let data = format!("{}", version + 1);
        assert_eq!(client.set(&a, data.as_bytes(), Version(version)), Ok(Version(version + 1)));
        let node = client.get(&a).expect("it is answered").expect("it is there");
        assert_eq!((node.data, node.version), (data.into_bytes(), Version(version + 1)));
    }
    assert_eq!(client.delete(&a, Version(20)), Ok(()));
    assert_eq!(client.get(&a), Ok(None));
    assert_eq!(client.children(&NodePath::root()), Ok(Some(Vec::new())));
}

pub fn after_catching_up_a_client_reads_what_others_wrote(world: &dyn World) {
    let (writer, reader, a) = (world.client("writer"), world.client("reader"), path("/a"));
    assert_eq!(reader.get(&a), Ok(None));
    make(&*writer, &a, b"0");
    for version in 0..20 {
        assert_eq!(writer.set(&a, b"x", Version(version)), Ok(Version(version + 1)));
        assert_eq!(reader.catch_up(), Ok(()));
        let node = reader.get(&a).expect("it is answered").expect("it is there");
        assert!(node.version >= Version(version + 1), "{node:?}");
    }
}

pub fn nodes_of_a_user_are_closed_to_others(world: &dyn World) {
    let (ann, ann_too) = (world.client_of("ann-1", "ann"), world.client_of("ann-2", "ann"));
    let (bob, nobody) = (world.client_of("bob", "bob"), world.client("nobody"));
    let (dir, a) = (path("/dir"), path("/dir/a"));
    make(&*ann, &dir, b"");
    make(&*ann, &a, b"ann's");
    for other in [&bob, &nobody] {
        other.catch_up().expect("the service answers");
        refused(other.get(&a), &a);
        refused(other.children(&dir), &dir);
        refused(other.set(&a, b"x", Version(0)), &a);
        refused(other.delete(&a, Version(0)), &a);
        refused(other.create(&path("/dir/b"), b"x"), &path("/dir/b"));
        refused(other.hold(&path("/dir/b"), b"x"), &path("/dir/b"));
    }
    assert_eq!(text(&*ann_too, &a).as_deref(), Some("ann's"));
    assert_eq!(ann_too.set(&a, b"both's", Version(0)), Ok(Version(1)));
    assert_eq!(ann.children(&dir), Ok(Some(vec!["a".to_owned()])));
    assert_eq!(ann_too.delete(&a, Version(1)), Ok(()));
}

pub fn held_nodes_of_a_user_are_closed_to_others(world: &dyn World) {
    let (ann, bob) = (world.client_of("ann", "ann"), world.client_of("bob", "bob"));
    let (dir, a) = (path("/dir"), path("/dir/a"));
    make(&*ann, &dir, b"");
    assert_eq!(ann.hold(&a, b"ann's"), Ok(()));
    bob.catch_up().expect("the service answers");
    refused(bob.set(&a, b"x", Version(0)), &a);
    refused(bob.delete(&a, Version(0)), &a);
    world.expire("ann");
    world.wait_until("ann holds it again", &mut || super::has(&*ann, &a, Some(b"ann's")));
    refused(bob.set(&a, b"x", Version(0)), &a);
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, CoordinationError>, of: &NodePath) {
    match answer {
        Err(CoordinationError::Refused(path, _)) => assert_eq!(path, *of),
        other => panic!("it is not refused: {other:?}"),
    }
}
