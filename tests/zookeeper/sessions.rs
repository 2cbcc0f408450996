//! Sessions that end, and connections that break.

use std::sync::Arc;
use std::time::Duration;

use squall::cluster::coordination::{Coordination as _, CoordinationError, Notice};

use crate::clients::{Client, LONG, SHORT, changed, new_root, options, path, shared};
use crate::load::{Load, Summary};
use crate::proxy::{Direction, Proxy};
use crate::server::Servers;
use crate::wait_until;
use crate::witness::Witness;

#[test]
fn a_session_that_the_server_ends_is_followed_by_another() {
    let servers = shared();
    let client = Client::open(&ClientOptions::lasting(&servers));
    client.hold(&path("/held"), b"own").unwrap();
    client.make("/kept", b"a");
    let before = client.session_at(&servers[0], "/held");
    client.notices().clear();
    assert!(Witness::end_session(servers[0].address(), before));
    client.wait_for_session_after(1);
    let after = client.session_at(&servers[0], "/held");
    assert_ne!(after, before, "what is held was made again in the next session");
    assert_eq!(client.notices().all()[..1], [Notice::SessionLost]);
    client.notices().wait_for(&Notice::ReadAgain);
    assert_eq!(client.data("/kept").as_deref(), Some(&b"a"[..]));
}

/// Options with sessions that end only if somebody ends them.
struct ClientOptions;

impl ClientOptions {
    fn lasting(servers: &Servers) -> squall::config::ZooKeeperOptions {
        let options = options(&servers.addresses(), &new_root());
        squall::config::ZooKeeperOptions { session_timeout: LONG, ..options }
    }
}

#[test]
fn what_is_held_moves_to_the_next_session_when_the_connection_was_cut() {
    let servers = shared();
    let proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.hold(&path("/held"), b"own").unwrap();
    let first = client.session_at(&servers[0], "/held");
    proxy.cut();
    client.wait_for_session_after(1);
    // The first session may not be over yet. What it left behind was made again, and does not vanish with it.
    assert_ne!(client.session_at(&servers[0], "/held"), first);
    Witness::end_session(servers[0].address(), first);
    assert!(Witness::at(servers[0].address()).exists(&client.absolute("/held")));
    assert!(client.notices().all().iter().all(|notice| !matches!(notice, Notice::HeldByOther(_))));
}

#[test]
fn cuts_under_load_lose_nothing_and_repeat_nothing() {
    let servers = shared();
    let (proxy, root) = (Proxy::to(servers[0].address()), new_root());
    let clients: Vec<_> =
        (0..3).map(|_| Arc::new(Client::open(&options(&[proxy.address()], &root)))).collect();
    let load = Load::start(&clients);
    for _ in 0..40 {
        load.wait_for_more(10);
        proxy.cut_in_use();
    }
    load.wait_for_more(10);
    let summary = load.finish(&mut Witness::at(servers[0].address()));
    // Every node was made in the end: an answer that is lost is found out.
    let Summary { acknowledged, not_done, uncertain_makes, .. } = summary;
    assert!(acknowledged >= 400 && not_done == 0 && uncertain_makes == 0, "{summary:?}");
}

#[test]
fn writes_whose_answers_are_lost_are_done_once() {
    let servers = shared();
    let (mut proxy, root) = (Proxy::to(servers[0].address()), new_root());
    let client = Arc::new(Client::open(&options(&[proxy.address()], &root)));
    client.make("/count", b"");
    let mut witness = Witness::at(servers[0].address());
    for turn in 1..=5 {
        proxy.freeze_only(Direction::ToClient);
        let writer = {
            let client = Arc::clone(&client);
            std::thread::spawn(move || {
                let data = format!("turn {turn}");
                let before = squall::cluster::coordination::Version(turn - 1);
                let set = client.set(&path("/count"), data.as_bytes(), before);
                (set, client.create(&path(&format!("/made-{turn}")), data.as_bytes()))
            })
        };
        // The server has done it, and its answer does not arrive.
        wait_until("the write is done", || {
            witness.get(&client.absolute("/count")).unwrap().1.version == turn
        });
        proxy.cut();
        proxy.heal();
        let (set, made) = writer.join().unwrap();
        assert_eq!(set.map(|version| version.0), Ok(turn));
        assert_eq!(made.map(|version| version.0), Ok(0));
    }
    let (data, stat) = witness.get(&client.absolute("/count")).unwrap();
    assert_eq!((data.as_slice(), stat.version), (&b"turn 5"[..], 5), "each was done once");
}

#[test]
fn who_gives_up_is_told_whether_it_may_have_been_done() {
    let servers = shared();
    let mut proxy = Proxy::to(servers[0].address());
    let options = ClientOptions::lasting(&servers);
    let options = squall::config::ZooKeeperOptions { servers: vec![proxy.address().to_string()], ..options };
    let client = Client::with_call_timeout(&options, Duration::from_secs(10));
    client.make("/made", b"");
    let mut witness = Witness::at(servers[0].address());
    proxy.freeze_only(Direction::ToClient);
    // Sent, and done, and not answered.
    let uncertain = client.create(&path("/sent"), b"own");
    assert!(matches!(uncertain, Err(CoordinationError::Uncertain(_))), "{uncertain:?}");
    assert!(witness.exists(&client.absolute("/sent")));
    // Behind it, and never sent.
    let away = client.create(&path("/not-sent"), b"own");
    assert!(matches!(away, Err(CoordinationError::Away(_))), "{away:?}");
    proxy.heal();
    wait_until("calls are answered", || client.get(&path("/sent")).is_ok_and(|node| node.is_some()));
    assert_eq!(client.data("/not-sent"), None);
    assert!(!witness.exists(&client.absolute("/not-sent")), "nothing is done after its caller has given up");
}

/// After an answer that is lost the node may be held, and a release ends that, whether or not it is answered.
#[test]
fn a_node_whose_holder_has_given_up_is_released() {
    let servers = shared();
    let mut proxy = Proxy::to(servers[0].address());
    let options = ClientOptions::lasting(&servers);
    let options = squall::config::ZooKeeperOptions { servers: vec![proxy.address().to_string()], ..options };
    let client = Client::with_call_timeout(&options, Duration::from_secs(5));
    client.make_in_the_end("/made", b"");
    let mut witness = Witness::at(servers[0].address());
    proxy.freeze_only(Direction::ToClient);
    let held = client.hold(&path("/held"), b"own");
    assert!(matches!(held, Err(CoordinationError::Uncertain(_))), "{held:?}");
    assert!(witness.exists(&client.absolute("/held")), "the server has made it");
    assert!(client.release(&path("/held")).is_err_and(|error| error.is_passing()));
    proxy.heal();
    wait_until("it is released", || !witness.exists(&client.absolute("/held")));
    wait_until("it can be held", || client.hold(&path("/held"), b"own").is_ok());
    assert!(witness.exists(&client.absolute("/held")));
}

#[test]
fn what_was_released_while_the_connection_was_away_is_not_made_again() {
    let servers = shared();
    let (mut proxy, root) = (Proxy::to(servers[0].address()), new_root());
    let client = Client::with_call_timeout(&options(&[proxy.address()], &root), SHORT);
    let other = Client::open(&options(&servers.addresses(), &root));
    wait_until("it is held", || client.hold(&path("/held"), b"own").is_ok());
    let session = client.session_at(&servers[0], "/held");
    proxy.freeze();
    wait_until("the session is lost", || !client.session().is_connected);
    let released = client.release(&path("/held"));
    assert!(released.is_err_and(|error| error.is_passing()));
    Witness::end_session(servers[0].address(), session);
    wait_until("the node has vanished", || other.data("/held").is_none());
    other.make("/vanished", b"");
    other.notices().wait_for(&changed("/vanished"));
    other.notices().clear();
    let before = client.session().number;
    proxy.heal();
    client.wait_for_session_after(before);
    wait_until("calls are answered", || client.get(&path("/held")) == Ok(None));
    other.make("/last", b"");
    other.notices().wait_for(&changed("/last"));
    assert_eq!(other.notices().count(&changed("/held")), 0, "not even for a moment");
}

#[test]
fn a_server_that_answers_slowly_is_waited_for() {
    let servers = shared();
    let mut proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.make("/made", b"a");
    // A tenth of what ends a session.
    proxy.delay_answers(SHORT / 30);
    for turn in 0..10 {
        client.make(&format!("/made/{turn}"), b"");
    }
    // Longer than what ends a session: no session begins, and nothing is answered, until it is faster.
    proxy.delay_answers(SHORT * 2);
    wait_until("the session is lost", || !client.session().is_connected);
    proxy.heal();
    assert_eq!(client.get(&path("/made")).unwrap().unwrap().data, b"a");
    assert_eq!(client.children(&path("/made")).unwrap().unwrap().len(), 10);
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_left_for_another() {
    let servers = shared();
    let (frozen, well) = (Proxy::to(servers[0].address()), Proxy::to(servers[0].address()));
    frozen.freeze();
    let client = Client::of(&[frozen.address(), well.address()]);
    client.make("/made", b"");
    assert_eq!(client.server(), Some(well.address().to_string()));
    assert!(frozen.accepted() > 0, "it was tried first");
}

#[test]
fn without_a_server_calls_end_and_the_client_waits_for_one() {
    let servers = shared();
    let mut proxy = Proxy::to(servers[0].address());
    proxy.refuse();
    let client =
        Client::with_call_timeout(&options(&[proxy.address()], &new_root()), Duration::from_millis(200));
    for _ in 0..3 {
        let (read, made) = (client.get(&path("/a")), client.create(&path("/a"), b""));
        assert!(matches!(read, Err(CoordinationError::Away(_))), "{read:?}");
        assert!(matches!(made, Err(CoordinationError::Away(_))), "nothing was sent: {made:?}");
    }
    let why = client.get(&path("/a")).unwrap_err().to_string();
    assert!(why.contains(&proxy.address().to_string()) && why.contains("refused"), "{why}");
    assert_eq!((client.session().number, client.server()), (0, None));
    proxy.heal();
    client.wait_for_session_after(0);
    wait_until("calls are answered", || client.get(&path("/a")) == Ok(None));
}

#[test]
fn who_is_cut_off_knows_it_before_others_take_over() {
    let servers = shared();
    let mut proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.hold(&path("/held"), b"own").unwrap();
    let mut witness = Witness::at(servers[0].address());
    proxy.freeze();
    wait_until("the server ends the session", || !witness.exists(&client.absolute("/held")));
    assert!(client.clock.now() > client.session().good_until(), "it does not act any more");
    client.notices().wait_for(&Notice::SessionLost);
    client.notices().clear();
    proxy.heal();
    client.wait_for_session_after(1);
    assert!(witness.exists(&client.absolute("/held")), "it is held again");
    client.notices().wait_for(&Notice::ReadAgain);
    client.make("/held-again", b"");
    client.notices().wait_for(&changed("/held-again"));
}
