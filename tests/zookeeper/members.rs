//! Members of an ensemble that die, freeze and come back.

use std::sync::Arc;
use std::time::Duration;

use squall::cluster::coordination::{Coordination as _, CoordinationError, Notice};

use crate::clients::{Client, changed, new_root, options, path};
use crate::load::Load;
use crate::server::{Servers, Settings};
use crate::wait_until;
use crate::witness::Witness;

/// The place of the member that the client is connected to.
fn in_use(servers: &Servers, client: &Client) -> usize {
    let mut place = None;
    wait_until("the client is connected", || {
        let server = client.server();
        place = servers.addresses().iter().position(|address| Some(address.to_string()) == server);
        place.is_some()
    });
    place.expect("it has been waited for")
}

/// Clients with one tree that use different members.
fn clients_of(servers: &Servers) -> Vec<Arc<Client>> {
    let root = new_root();
    let mut addresses = servers.addresses();
    let client = |_| {
        addresses.rotate_left(1);
        Arc::new(Client::open(&options(&addresses, &root)))
    };
    (0..3).map(client).collect()
}

#[test]
fn members_are_killed_and_frozen_under_load() {
    let mut servers = Servers::three();
    let clients = clients_of(&servers);
    clients[0].hold(&path("/held"), b"own").unwrap();
    let load = Load::start(&clients);
    load.wait_for_more(50);
    for client in &clients {
        let member = in_use(&servers, client);
        servers[member].kill();
        load.wait_for_more(50);
        servers[member].restart();
        servers.wait_until_whole();
        load.wait_for_more(50);
    }
    for client in &clients {
        let member = in_use(&servers, client);
        servers[member].freeze(true);
        wait_until("it is left", || client.server() != Some(servers[member].address().to_string()));
        load.wait_for_more(50);
        servers[member].freeze(false);
        servers.wait_until_whole();
        load.wait_for_more(50);
    }
    let leader = servers.leader();
    servers[leader].kill();
    load.wait_for_more(50);
    servers[leader].restart();
    wait_until("it is held", || clients[0].get(&path("/held")).is_ok_and(|node| node.is_some()));
    let mut witness = Witness::at(servers[leader].address());
    let summary = load.finish(&mut witness);
    assert!(summary.acknowledged >= 650 && summary.not_done == 0, "{summary:?}");
}

#[test]
fn all_members_are_killed_and_restarted() {
    let mut servers = Servers::three();
    let clients = clients_of(&servers);
    clients[0].hold(&path("/held"), b"own").unwrap();
    let load = Load::start(&clients);
    load.wait_for_more(100);
    let session = clients[0].session().number;
    servers.kill_all();
    clients[0].notices().wait_for(&Notice::SessionLost);
    servers.restart_all();
    clients[0].wait_for_session_after(session);
    load.wait_for_more(100);
    clients[1].make("/noticed", b"");
    clients[0].notices().wait_for(&changed("/noticed"));
    clients[1].catch_up().unwrap();
    assert!(clients[1].get(&path("/held")).unwrap().is_some_and(|node| node.is_held && node.data == b"own"));
    let summary = load.finish(&mut Witness::at(servers[0].address()));
    assert_eq!(summary.not_done, 0, "{summary:?}");
}

#[test]
fn without_a_majority_calls_end_and_are_done_when_it_is_back() {
    let mut servers = Servers::three();
    let client =
        Client::with_call_timeout(&options(&servers.addresses(), &new_root()), Duration::from_secs(1));
    client.make_in_the_end("/made", b"a");
    let member = in_use(&servers, &client);
    let others = [(member + 1) % 3, (member + 2) % 3];
    for other in others {
        servers[other].kill();
    }
    wait_until("the session is lost", || !client.session().is_connected);
    let (read, write) = (client.get(&path("/made")), client.create(&path("/later"), b""));
    assert!(matches!(read, Err(CoordinationError::Away(_))), "{read:?}");
    assert!(write.is_err_and(|error| error.is_passing()));
    servers[others[0]].launch();
    wait_until("calls are answered", || client.get(&path("/made")).is_ok_and(|node| node.is_some()));
}

#[test]
fn a_member_whose_disk_is_full_is_left_for_another() {
    let servers = Servers::three_with(Settings { disk_kib: Some(2048), ..Settings::default() });
    let client = Client::of(&servers.addresses());
    client.hold(&path("/held"), b"own").unwrap();
    let full = in_use(&servers, &client);
    servers[full].disk().fill();
    let mut made = 0;
    wait_until("it serves no more", || {
        client.make(&format!("/{made}"), &[b'x'; 20_000]);
        made += 1;
        servers[full].mode().is_none()
    });
    client.make("/last", b"");
    client.catch_up().unwrap();
    assert_eq!(client.children(&path("/")).unwrap().unwrap().len(), made + 2, "nothing is lost");
    wait_until("it is held", || client.get(&path("/held")).is_ok_and(|node| node.is_some()));
}
