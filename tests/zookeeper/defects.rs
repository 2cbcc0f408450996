//! The known defects of the crate `zookeeper` 0.8.0, and that squall has none of their effects.
//!
//! Each was reproduced with the bare crate. Each test makes the same situation for squall's client. Where squall does
//! not use the part of the crate that fails, such as its election, the test does with squall what that part was for; the
//! elections of squall themselves are in `election.rs`.
//!
//! | defect of the crate                                                                 | test  |
//! |-------------------------------------------------------------------------------------|-------|
//! | Z1: a client that was busy for longer than its session time-out never connects again | [`z1`](z1_a_busy_client_connects_again) |
//! | Z2: watches are not registered again after a reconnect                               | [`z2`](z2_watches_outlive_the_connection) |
//! | Z3: authentication is not repeated after a reconnect                                 | [`z3`](z3_a_user_is_logged_in_after_the_connection_was_cut) |
//! | Z4: a session may expire without a word                                              | [`z4`](z4_the_end_of_a_session_is_reported) |
//! | Z5: a leader keeps its leadership when its session has expired                       | [`z5`](z5_who_led_in_a_session_that_ended_does_not_lead_any_more) |
//! | Z6: a server that is frozen is never left                                            | [`z6`](z6_a_frozen_member_is_left), [`alone`](z6_a_frozen_server_is_used_again_when_it_goes_on) |
//! | Z7: closing blocks while the server is frozen                                        | [`z7`](z7_dropping_a_client_ends_while_its_server_is_frozen) |
//! | Z8: reconnects without a pause, and gives up after the time-out                      | [`z8`](z8_a_server_that_is_away_is_tried_seldom_and_for_ever) |
//! | Z9: a call from a listener never returns                                             | [`z9`](z9_a_call_from_a_receiver_of_notices_ends) |
//! | Z10: a panic in a watcher ends the threads of the client                             | [`z10`](z10_a_receiver_of_notices_that_panics_harms_nobody) |
//! | Z11: an election stops for ever when its node is deleted by somebody else            | [`z11`](z11_a_held_node_that_somebody_deletes_can_be_held_again) |
//! | Z12: an election that is dropped leaks the client, its session and its threads       | [`z12`](z12_clients_that_are_dropped_leave_nothing) |
//! | Z13: removing a watch removes others of the same path                                | [`z13`](z13_a_watch_that_ends_takes_no_other_with_it) |
//! | Z14: paths that are not ASCII panic or make other nodes                              | [`z14`](z14_names_that_are_not_ascii_are_refused_and_those_of_others_are_no_harm) |
//! | Z15: data of more than 1 MiB cost the connection                                     | [`z15`](z15_data_that_are_too_large_are_refused_and_cost_no_connection) |
//! | Z16: each read with a watch adds a callback, and all are called                      | [`z16`](z16_a_change_is_reported_as_often_as_it_is_watched) |
//! | Z17: one unknown host of the list fails all, and only the first address is tried     | [`z17`](z17_a_host_that_is_unknown_is_passed_over) |
//! | Z18: a cache keeps children that were deleted during a reconnect                     | [`z18`](z18_children_that_vanish_while_the_connection_is_away_are_not_reported_any_more) |

use std::fs;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use squall::clock::Clock;
use squall::cluster::coordination::zookeeper::ZooKeeperClient;
use squall::cluster::coordination::{
    Coordination as _, CoordinationError, DATA_MAX, NodePath, Notice, Notify, Version,
};
use squall::config::ZooKeeperOptions;

use crate::clients::{Client, LONG, Notices, SHORT, changed, logger, new_root, options, path, shared};
use crate::processes::in_own_process;
use crate::proxy::Proxy;
use crate::rights::{Passwords, options_of};
use crate::server::Servers;
use crate::witness::{Right, Witness};
use crate::{PATIENCE, wait_until};

#[test]
fn z1_a_busy_client_connects_again() {
    let servers = shared();
    let proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.make("/a", b"1");
    let begin = client.clock.now();
    while client.clock.now() < begin.after(SHORT * 3 / 2) {
        assert_eq!(client.data("/a").as_deref(), Some(&b"1"[..]));
    }
    let session = client.session().number;
    proxy.cut_in_use();
    // The call that finds the connection cut is answered, too.
    assert_eq!(client.data("/a").as_deref(), Some(&b"1"[..]));
    assert!(client.session().number > session);
}

#[test]
fn z2_watches_outlive_the_connection() {
    let servers = shared();
    let proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.make("/a", b"");
    let notices = Notices::of(&client, "/a");
    let mut witness = Witness::at(servers[0].address());
    for turn in 1..=3 {
        let session = client.session().number;
        proxy.cut_in_use();
        client.wait_for_session_after(session);
        // What changed while the connection was away is covered by this.
        notices.wait_for(&Notice::ReadAgain);
        notices.clear();
        witness.set(&client.absolute("/a"), b"new").unwrap();
        notices.wait_for(&changed("/a"));
        let below = format!("/a/{turn}");
        witness.create(&client.absolute(&below), b"", &[Right::open()]).unwrap();
        notices.wait_for(&changed(&below));
    }
}

#[test]
fn z3_a_user_is_logged_in_after_the_connection_was_cut() {
    let (servers, passwords) = (shared(), Passwords::new());
    let proxy = Proxy::to(servers[0].address());
    let options = options_of(&servers, &new_root(), "squall", passwords.file("right"));
    let client = Client::open(&ZooKeeperOptions { servers: vec![proxy.address().to_string()], ..options });
    client.make("/own", b"secret");
    let mut other = Witness::at(servers[0].address());
    for turn in 0..3 {
        proxy.cut_in_use();
        assert_eq!(client.data("/own").as_deref(), Some(&b"secret"[..]));
        client.make(&format!("/own/{turn}"), b"");
        assert!(other.get(&client.absolute(&format!("/own/{turn}"))).is_err(), "it is made for the user");
    }
}

#[test]
fn z4_the_end_of_a_session_is_reported() {
    let servers = shared();
    let mut proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.hold(&path("/held"), b"own").unwrap();
    let first = client.session_at(&servers[0], "/held");
    let mut witness = Witness::at(servers[0].address());
    // The client is idle, and nothing passes until the server has ended the session.
    proxy.freeze();
    wait_until("the session ends", || !witness.exists(&client.absolute("/held")));
    proxy.heal();
    client.notices().wait_for(&Notice::SessionLost);
    client.wait_for_session_after(1);
    assert_ne!(client.session_at(&servers[0], "/held"), first, "the node is held in the new session");
    let notices = client.notices().all();
    let lost = notices.iter().position(|notice| *notice == Notice::SessionLost).expect("it has come");
    client.notices().wait_for(&Notice::ReadAgain);
    wait_until("everything is read again", || client.notices().all()[lost..].contains(&Notice::ReadAgain));
}

#[test]
fn z5_who_led_in_a_session_that_ended_does_not_lead_any_more() {
    let servers = shared();
    let (mut proxy, root) = (Proxy::to(servers[0].address()), new_root());
    let first = Client::open(&options(&[proxy.address()], &root));
    let second = Client::open(&options(&servers.addresses(), &root));
    first.hold(&path("/leader"), b"first").unwrap();
    let taken = second.hold(&path("/leader"), b"second");
    assert_eq!(taken, Err(CoordinationError::Exists(path("/leader"))));
    proxy.freeze();
    wait_until("the second leads", || second.hold(&path("/leader"), b"second").is_ok());
    assert!(first.clock.now() > first.session().good_until(), "the first does not lead any more");
    proxy.heal();
    first.notices().wait_for(&Notice::HeldByOther(path("/leader")));
    first.catch_up().unwrap();
    assert_eq!(first.data("/leader").as_deref(), Some(&b"second"[..]));
    // It does not come back by itself when the second goes.
    second.release(&path("/leader")).unwrap();
    first.catch_up().unwrap();
    assert_eq!(first.data("/leader"), None);
}

#[test]
fn z6_a_frozen_member_is_left() {
    let mut servers = Servers::three();
    let client = Client::of(&servers.addresses());
    client.make("/a", b"1");
    let used = client.server().expect("it is connected");
    let member = servers.addresses().iter().position(|address| address.to_string() == used).unwrap();
    servers[member].freeze(true);
    // Idle or busy, it does not matter: a call that is made now is answered by another member.
    assert_eq!(client.data("/a").as_deref(), Some(&b"1"[..]));
    assert_ne!(client.server(), Some(used));
    servers[member].freeze(false);
}

#[test]
fn z6_a_frozen_server_is_used_again_when_it_goes_on() {
    let mut servers = Servers::alone();
    let client = Client::of(&servers.addresses());
    client.make("/a", b"1");
    servers[0].freeze(true);
    // An idle client notices.
    client.notices().wait_for(&Notice::SessionLost);
    assert!(!client.session().is_connected);
    servers[0].freeze(false);
    client.wait_for_session_after(1);
    assert_eq!(client.data("/a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn z7_dropping_a_client_ends_while_its_server_is_frozen() {
    let servers = shared();
    let proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.make("/a", b"1");
    proxy.freeze();
    let (dropped, drops) = std::sync::mpsc::channel();
    thread::spawn(move || {
        drop(client);
        dropped.send(()).unwrap();
    });
    drops.recv_timeout(PATIENCE).expect("dropping ends");
}

/// The bare crate takes three quarters of a processor while its server is away, and gives up after the time-out of the
/// session. A process of its own, because it is the process whose time is counted.
#[test]
fn z8_a_server_that_is_away_is_tried_seldom_and_for_ever() {
    in_own_process("defects::z8_a_server_that_is_away_is_tried_seldom_and_for_ever", || {
        let servers = Servers::alone();
        let mut proxy = Proxy::to(servers[0].address());
        let client = Client::of(&[proxy.address()]);
        client.make("/a", b"1");
        let used_before = processor_time();
        let (begin, attempts) = (client.clock.now(), proxy.accepted());
        // Much longer than the time-out of a session.
        proxy.hang_up();
        wait_until("it is tried for long", || {
            proxy.accepted() >= attempts + 12 && client.clock.now() > begin.after(SHORT * 5)
        });
        let tried = proxy.accepted() - attempts;
        // Pauses are random, up to 2 s after the first attempts. A slow machine tries more seldom.
        let seconds = client.clock.now().since(begin).as_secs();
        assert!(tried <= 40 + 10 * seconds, "{tried} attempts in {seconds} s");
        proxy.refuse();
        let refused = client.clock.now();
        wait_until("it is refused for long", || client.clock.now() > refused.after(SHORT * 3));
        let used = processor_time().saturating_sub(used_before);
        assert!(used < Duration::from_secs(3), "{used:?} of processor time while the server was away");
        proxy.heal();
        assert_eq!(client.data("/a").as_deref(), Some(&b"1"[..]));
    });
}

/// How long this process was computing.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("it is not negative")
}

#[test]
fn z9_a_call_from_a_receiver_of_notices_ends() {
    let servers = shared();
    let proxy = Proxy::to(servers[0].address());
    let options = options(&[proxy.address()], &new_root());
    let client = Arc::new(Client::with_call_timeout(&options, Duration::from_secs(1)));
    client.make_in_the_end("/a", b"1");
    let result = Arc::new(OnceLock::new());
    let notify: Arc<Notify> = {
        let (client, result) = (Arc::downgrade(&client), Arc::clone(&result));
        Arc::new(move |notice| {
            if let (Notice::SessionLost, Some(client)) = (notice, client.upgrade()) {
                // Nobody should do this, see `Notify`.
                let _ = result.set(client.get(&path("/a")));
            }
        })
    };
    client.watch(&path("/"), &notify);
    wait_until("it is connected", || client.get(&path("/a")).is_ok());
    proxy.cut();
    wait_until("the call ends", || result.get().is_some());
    assert!(matches!(result.get(), Some(Err(CoordinationError::Away(_)))), "{result:?}");
    wait_until("calls are answered", || client.get(&path("/a")).is_ok_and(|node| node.is_some()));
}

#[test]
fn z10_a_receiver_of_notices_that_panics_harms_nobody() {
    let servers = shared();
    let proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.make("/a", b"1");
    let panics = Arc::new(AtomicUsize::new(0));
    let notify: Arc<Notify> = {
        let panics = Arc::clone(&panics);
        Arc::new(move |_| {
            panics.fetch_add(1, Ordering::SeqCst);
            // Prints nothing, unlike `panic!`.
            panic::resume_unwind(Box::new("a receiver that fails"));
        })
    };
    client.watch(&path("/a"), &notify);
    wait_until("it has panicked", || panics.load(Ordering::SeqCst) > 0);
    for turn in 1..=3 {
        let before = panics.load(Ordering::SeqCst);
        client.notices().clear();
        Witness::at(servers[0].address()).set(&client.absolute("/a"), b"x").unwrap();
        client.notices().wait_for(&changed("/a"));
        wait_until("it panics at each notice", || panics.load(Ordering::SeqCst) > before);
        client.make(&format!("/{turn}"), b"");
        // A reconnect notifies it, too.
        let session = client.session().number;
        proxy.cut();
        client.wait_for_session_after(session);
    }
}

#[test]
fn z11_a_held_node_that_somebody_deletes_can_be_held_again() {
    let servers = shared();
    let client = Client::open(&ZooKeeperOptions {
        session_timeout: LONG,
        ..options(&servers.addresses(), &new_root())
    });
    client.hold(&path("/leader"), b"own").unwrap();
    let notices = Notices::of(&client, "/leader");
    notices.wait_for(&Notice::ReadAgain);
    let mut witness = Witness::at(servers[0].address());
    witness.delete(&client.absolute("/leader")).unwrap();
    notices.wait_for(&changed("/leader"));
    client.catch_up().unwrap();
    assert_eq!(client.data("/leader"), None);
    client.hold(&path("/leader"), b"own").unwrap();
    assert_eq!(witness.get(&client.absolute("/leader")).unwrap().0, b"own");
    witness.delete(&client.absolute("/leader")).unwrap();
    witness.create_ephemeral(&client.absolute("/leader"), b"other").unwrap();
    let taken = client.hold(&path("/leader"), b"own");
    assert_eq!(taken, Err(CoordinationError::Exists(path("/leader"))));
    client.release(&path("/leader")).unwrap();
    assert!(witness.exists(&client.absolute("/leader")), "the node of another is not released");
    // Other watches of this client still work.
    notices.clear();
    client.make("/other", b"");
    client.notices().wait_for(&changed("/other"));
}

/// In a process of its own, because its threads and descriptors are counted.
#[test]
fn z12_clients_that_are_dropped_leave_nothing() {
    in_own_process("defects::z12_clients_that_are_dropped_leave_nothing", || {
        let servers = Servers::alone();
        let address = servers[0].address();
        let mut proxy = Proxy::to(address);
        let count = |directory: &str| fs::read_dir(directory).expect("this is Linux").count();
        let (tasks, descriptors) = ("/proc/self/task", "/proc/self/fd");
        let open = |number: usize, at| {
            let client = Client::of(&[at]);
            client.hold(&path("/leader"), number.to_string().as_bytes()).unwrap();
            client
        };
        drop(open(0, address));
        let settled = |what: &str, before: (usize, usize)| {
            let now = || (count(tasks), count(descriptors));
            wait_until(what, || now().0 <= before.0 && now().1 <= before.1);
        };
        // The first client may leave what all share.
        wait_until("its session is closed", || servers[0].sessions().is_empty());
        let before = (count(tasks), count(descriptors));
        for number in 0..20 {
            drop(open(number, address));
        }
        settled("their threads and sockets are gone", before);
        assert_eq!(servers[0].sessions(), Vec::<i64>::new(), "their sessions are closed");
        let mut witness = Witness::at(address);
        let held: Vec<_> = witness.tree("/").into_iter().filter(|node| node.ends_with("/leader")).collect();
        assert_eq!(held, Vec::<String>::new());
        // Those whose server is frozen go, too, once the crate has noticed.
        let frozen: Vec<_> = (0..3).map(|number| open(number, proxy.address())).collect();
        proxy.freeze();
        drop(frozen);
        proxy.refuse();
        settled("the threads and sockets of those who were cut off are gone", before);
    });
}

#[test]
fn z13_a_watch_that_ends_takes_no_other_with_it() {
    let servers = shared();
    let client = Client::of(&servers.addresses());
    client.make("/a", b"");
    let (first, second, third) =
        (Notices::of(&client, "/a"), Notices::of(&client, "/a"), Notices::of(&client, "/a"));
    third.wait_for(&Notice::ReadAgain);
    drop(first);
    let mut witness = Witness::at(servers[0].address());
    witness.set(&client.absolute("/a"), b"1").unwrap();
    second.wait_for(&changed("/a"));
    third.wait_for(&changed("/a"));
    drop(second);
    third.clear();
    witness.create(&client.absolute("/a/b"), b"", &[Right::open()]).unwrap();
    third.wait_for(&changed("/a/b"));
    drop(third);
    // A watch of a node that was watched before.
    let fourth = Notices::of(&client, "/a");
    fourth.wait_for(&Notice::ReadAgain);
    witness.delete(&client.absolute("/a/b")).unwrap();
    fourth.wait_for(&changed("/a/b"));
}

#[test]
fn z14_names_that_are_not_ascii_are_refused_and_those_of_others_are_no_harm() {
    for name in ["/日本/x", "/üñ/é"] {
        assert!(name.parse::<NodePath>().is_err());
        let options = ZooKeeperOptions { root: name.to_owned(), ..ZooKeeperOptions::default() };
        let opened = ZooKeeperClient::open(&options, &Clock::real(), &logger(), 0);
        let why = opened.expect_err("it is no path").to_string();
        assert!(why.contains("zookeeper.root") && why.contains(name), "{why}");
    }
    let servers = shared();
    let client = Client::open(&ZooKeeperOptions {
        session_timeout: LONG,
        ..options(&servers.addresses(), &new_root())
    });
    client.make("/own", b"");
    let mut witness = Witness::at(servers[0].address());
    for node in ["/日本", "/日本/x", "/üñ", "/own/é", "/a b"] {
        witness.create(&client.absolute(node), "é".as_bytes(), &[Right::open()]).unwrap();
    }
    witness.set(&client.absolute("/日本"), b"").unwrap();
    client.make("/last", b"");
    client.notices().wait_for(&changed("/last"));
    client.catch_up().unwrap();
    assert_eq!(client.children(&path("/")), Ok(Some(vec!["last".to_owned(), "own".to_owned()])));
    assert_eq!(client.children(&path("/own")), Ok(Some(Vec::new())));
    assert_eq!(client.session().number, 1);
}

#[test]
fn z15_data_that_are_too_large_are_refused_and_cost_no_connection() {
    let servers = shared();
    let client = Client::open(&ZooKeeperOptions {
        session_timeout: LONG,
        ..options(&servers.addresses(), &new_root())
    });
    let fits = vec![b'x'; DATA_MAX];
    client.make("/a", &fits);
    client.hold(&path("/held"), &fits).unwrap();
    for bytes in [DATA_MAX + 1, 1 << 20, 2 << 20] {
        let data = vec![b'x'; bytes];
        let refused = |at: &str| CoordinationError::TooLarge { path: path(at), bytes };
        assert_eq!(client.create(&path("/b"), &data), Err(refused("/b")));
        assert_eq!(client.set(&path("/a"), &data, Version(0)), Err(refused("/a")));
        assert_eq!(client.hold(&path("/held"), &data), Err(refused("/held")));
    }
    assert_eq!(client.set(&path("/a"), &fits, Version(0)), Ok(Version(1)));
    assert_eq!(client.session().number, 1);
}

#[test]
fn z16_a_change_is_reported_as_often_as_it_is_watched() {
    let servers = shared();
    let client = Client::open(&ZooKeeperOptions {
        session_timeout: LONG,
        ..options(&servers.addresses(), &new_root())
    });
    client.make("/a", b"");
    client.make("/z", b"");
    let notices = Notices::of(&client, "/a");
    for _ in 0..1000 {
        client.data("/a");
        client.children(&path("/a")).unwrap();
    }
    // The node is within two paths that are watched, `/` and `/a`: each may report the change.
    let many: Vec<_> = (0..50).map(|_| Notices::of(&client, "/a")).collect();
    many[49].wait_for(&Notice::ReadAgain);
    notices.clear();
    client.notices().clear();
    let mut witness = Witness::at(servers[0].address());
    witness.set(&client.absolute("/a"), b"1").unwrap();
    witness.set(&client.absolute("/z"), b"1").unwrap();
    client.notices().wait_for(&changed("/z"));
    for receiver in many.iter().chain([&notices, client.notices()]) {
        assert!((1..=2).contains(&receiver.count(&changed("/a"))), "{:?}", receiver.all());
    }
}

#[test]
fn z17_a_host_that_is_unknown_is_passed_over() {
    let servers = shared();
    let proxy = Proxy::at_localhost(servers[0].address());
    let port = proxy.address().port();
    let options = ZooKeeperOptions {
        // `localhost` has several addresses on many machines, and the proxy listens on one of them.
        servers: vec!["nosuch.invalid:2181".to_owned(), format!("localhost:{port}"), "a..b:1".to_owned()],
        insecure: true,
        ..options(&[], &new_root())
    };
    let client = Client::open(&options);
    client.make("/a", b"1");
    assert_eq!(client.server(), Some(format!("localhost:{port}")));
    for _ in 0..3 {
        proxy.cut_in_use();
        assert_eq!(client.data("/a").as_deref(), Some(&b"1"[..]));
    }
}

#[test]
fn z17_members_are_used_in_turn() {
    let servers = shared();
    let proxies: Vec<Proxy> = (0..3).map(|_| Proxy::to(servers[0].address())).collect();
    let addresses: Vec<_> = proxies.iter().map(Proxy::address).collect();
    let client = Client::of(&addresses);
    let mut used = Vec::new();
    for turn in 0..3 {
        client.make(&format!("/{turn}"), b"");
        used.extend(client.server());
        proxies.iter().for_each(|proxy| _ = proxy.cut());
        client.wait_for_session_after(turn + 1);
    }
    used.sort_unstable();
    used.dedup();
    assert!(used.len() > 1, "not only the first of the list: {used:?}");
}

#[test]
fn z18_children_that_vanish_while_the_connection_is_away_are_not_reported_any_more() {
    let servers = shared();
    let mut proxy = Proxy::to(servers[0].address());
    let client = Client::of(&[proxy.address()]);
    client.make("/all", b"");
    for name in ["a", "b", "c"] {
        client.make(&format!("/all/{name}"), b"");
    }
    // What a process does with notices: at each it reads everything again.
    let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (notified, notices) = std::sync::mpsc::channel();
    let notified = Mutex::new(notified);
    let notify: Arc<Notify> = Arc::new(move |notice| {
        let _ = notified.lock().unwrap().send(notice);
    });
    client.watch(&path("/all"), &notify);
    let client = Arc::new(client);
    let reader = {
        let (client, seen, stop) = (Arc::clone(&client), Arc::clone(&seen), Arc::clone(&stop));
        thread::spawn(move || {
            for notice in notices {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                if matches!(notice, Notice::Changed(_) | Notice::ReadAgain) {
                    *seen.lock().unwrap() = client.children(&path("/all")).unwrap().unwrap_or_default();
                }
            }
        })
    };
    wait_until("the children are seen", || *seen.lock().unwrap() == ["a", "b", "c"]);
    proxy.refuse();
    let mut witness = Witness::at(servers[0].address());
    witness.delete(&client.absolute("/all/b")).unwrap();
    witness.create(&client.absolute("/all/d"), b"", &[Right::open()]).unwrap();
    proxy.heal();
    wait_until("what vanished is not seen", || *seen.lock().unwrap() == ["a", "c", "d"]);
    stop.store(true, Ordering::SeqCst);
    drop(notify);
    reader.join().unwrap();
}
