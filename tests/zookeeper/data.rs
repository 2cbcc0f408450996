//! A server that has lost its data, has old ones, or has no room for more; data and names of any kind.

use std::time::Duration;

use squall::cluster::coordination::{Coordination as _, CoordinationError, DATA_MAX, Notice, Version};

use crate::clients::{Client, LONG, changed, new_root, options, path, shared};
use crate::server::{Servers, Settings};
use crate::wait_until;
use crate::witness::{Right, Witness};

#[test]
fn a_server_whose_data_are_wiped_is_used_as_a_new_one() {
    let mut servers = Servers::alone();
    let client = Client::of(&servers.addresses());
    client.make("/kept", b"a");
    client.set(&path("/kept"), b"b", Version(0)).unwrap();
    client.hold(&path("/held"), b"own").unwrap();
    client.notices().clear();
    servers.kill_all();
    servers.wipe_all();
    servers.restart_all();
    client.wait_for_session_after(1);
    client.notices().wait_for(&Notice::ReadAgain);
    assert_eq!(client.data("/kept"), None, "what is lost is not there");
    assert_eq!(client.set(&path("/kept"), b"c", Version(1)), Err(CoordinationError::Missing(path("/kept"))));
    assert!(
        client.get(&path("/held")).unwrap().is_some_and(|node| node.is_held),
        "what is held is made again"
    );
    client.catch_up().unwrap();
    client.make("/kept", b"d");
    client.notices().wait_for(&changed("/kept"));
}

#[test]
fn a_server_with_old_data_is_read_as_it_is() {
    let mut servers = Servers::three();
    let client = Client::of(&servers.addresses());
    client.make("/kept", b"old");
    servers.kill_all();
    let copy = servers.copy_all();
    servers.restart_all();
    assert_eq!(client.set(&path("/kept"), b"new", Version(0)), Ok(Version(1)));
    client.make("/second", b"");
    let session = client.session().number;
    client.notices().clear();
    servers.kill_all();
    servers.roll_back_all(&copy);
    servers.restart_all();
    client.wait_for_session_after(session);
    client.notices().wait_for(&Notice::ReadAgain);
    let kept = client.get(&path("/kept")).unwrap().expect("it was there");
    assert_eq!((kept.data.as_slice(), kept.version), (&b"old"[..], Version(0)));
    assert_eq!(client.data("/second"), None);
    // Whoever writes with what it read before the fault is refused.
    let stale = client.set(&path("/kept"), b"newer", Version(1));
    assert_eq!(stale, Err(CoordinationError::Changed(path("/kept"))));
    assert_eq!(client.set(&path("/kept"), b"newer", Version(0)), Ok(Version(1)));
}

#[test]
fn a_disk_that_is_full_loses_nothing_that_was_acknowledged() {
    let mut servers = Servers::alone_with(Settings { disk_kib: Some(2048), ..Settings::default() });
    let options = options(&servers.addresses(), &new_root());
    let client = Client::with_call_timeout(&options, Duration::from_secs(1));
    client.make_in_the_end("/all", b"");
    servers[0].disk().fill();
    let (mut made, mut failed) = (Vec::new(), 0);
    for number in 0_u32.. {
        let node = path(&format!("/all/{number}"));
        match client.create(&node, &[b'x'; 50_000]) {
            Ok(_) => made.push(node),
            Err(error) => {
                assert!(error.is_passing(), "{error}");
                failed += 1;
            }
        }
        if failed == 2 {
            break;
        }
    }
    servers[0].wait_until_ended();
    assert!(!client.session().is_connected);
    servers[0].disk().clear();
    servers[0].restart();
    wait_until("calls are answered", || client.get(&path("/all")).is_ok_and(|node| node.is_some()));
    let mut witness = Witness::at(servers[0].address());
    assert!(made.iter().all(|node| witness.exists(&client.absolute(&node.to_string()))));
}

#[test]
fn data_of_every_size_and_kind_are_read_as_they_were_written() {
    let servers = shared();
    let options = squall::config::ZooKeeperOptions {
        session_timeout: LONG,
        ..options(&servers.addresses(), &new_root())
    };
    let client = Client::open(&options);
    let all_bytes: Vec<u8> = (0..=255).cycle().take(DATA_MAX).collect();
    for (name, data) in [("empty", &[][..]), ("zero", &[0]), ("largest", &all_bytes)] {
        client.make(&format!("/{name}"), data);
        assert!(client.data(&format!("/{name}")).as_deref() == Some(data), "{name}");
    }
    client.hold(&path("/held"), &all_bytes).unwrap();
    client.set(&path("/empty"), &all_bytes, Version(0)).unwrap();
    let node = client.get(&path("/empty")).unwrap().unwrap();
    assert!(node.data == all_bytes && node.version == Version(1));
}

#[test]
fn a_node_with_more_children_than_a_message_of_two_megabytes_has_room_for() {
    let servers = shared();
    let options = squall::config::ZooKeeperOptions {
        session_timeout: LONG,
        ..options(&servers.addresses(), &new_root())
    };
    let client = Client::open(&options);
    client.make("/many", b"");
    let name = |number: usize| format!("{number:0>64}");
    let count = 40_000;
    let paths = (0..count).map(|number| client.absolute(&format!("/many/{}", name(number))));
    Witness::at(servers[0].address()).create_all(paths, &[Right::open()]);
    let children = client.children(&path("/many")).unwrap().unwrap();
    assert_eq!((children.len(), &children[0], &children[count - 1]), (count, &name(0), &name(count - 1)));
    assert_eq!(client.session().number, 1);
}
