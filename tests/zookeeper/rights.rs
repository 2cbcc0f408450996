//! Users, rights of nodes, and the root below which a cluster is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use squall::clock::Clock;
use squall::cluster::coordination::zookeeper::ZooKeeperClient;
use squall::cluster::coordination::{Coordination as _, CoordinationError, Version};
use squall::config::ZooKeeperOptions;
use tempfile::TempDir;

use crate::clients::{Client, LONG, Notices, changed, logger, new_root, options, path, shared};
use crate::server::{SUPER_PASSWORD, Servers};
use crate::wait_until;
use crate::witness::{Right, Witness};

/// Files with passwords.
pub struct Passwords(TempDir);

impl Passwords {
    pub fn new() -> Passwords {
        Passwords(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A file with this password, which nobody else may read.
    pub fn file(&self, password: &str) -> PathBuf {
        let file = self.0.path().join(password);
        fs::write(&file, format!("{password}\n")).expect("the directory is ours");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        file
    }
}

/// Options of a user, with sessions that last.
pub fn options_of(servers: &Servers, root: &str, user: &str, password: PathBuf) -> ZooKeeperOptions {
    ZooKeeperOptions {
        session_timeout: LONG,
        user: Some(user.to_owned()),
        password_file: Some(password),
        ..options(&servers.addresses(), root)
    }
}

fn is_refused<T>(result: Result<T, CoordinationError>) -> bool {
    matches!(result, Err(CoordinationError::Refused(..)))
}

#[test]
fn every_node_of_a_user_is_for_that_user_alone() {
    let (servers, passwords) = (shared(), Passwords::new());
    let root = format!("{}/deep/er", new_root());
    let client = Client::open(&options_of(&servers, &root, "squall", passwords.file("right")));
    client.make("/a", b"secret");
    client.make("/a/b", b"");
    client.hold(&path("/held"), b"own").unwrap();
    client.catch_up().unwrap();
    client.set(&path("/a"), b"secret 2", Version(0)).unwrap();
    let mut everyone = Witness::with_user(servers[0].address(), "super", SUPER_PASSWORD);
    let top = root.trim_end_matches("/deep/er");
    let mut nodes = everyone.tree(top);
    nodes.push(top.to_owned());
    assert!(nodes.len() >= 6, "the root and those above, /a, /a/b, /held: {nodes:?}");
    let mut other = Witness::with_user(servers[0].address(), "squall", "wrong");
    for node in &nodes {
        let rights = everyone.rights(node).unwrap();
        let is_own = |right: &Right| right.scheme == "digest" && right.id.starts_with("squall:");
        assert!(rights.len() == 1 && rights.iter().all(is_own), "{node}: {rights:?}");
        assert!(other.get(node).is_err() && other.set(node, b"").is_err(), "{node}");
    }
}

#[test]
fn a_wrong_password_or_no_user_is_refused_and_says_so() {
    let (servers, passwords, root) = (shared(), Passwords::new(), new_root());
    let owner = Client::open(&options_of(&servers, &root, "squall", passwords.file("right")));
    owner.make("/a", b"secret");
    owner.make("/b", b"");
    let wrong = Client::open(&options_of(&servers, &root, "squall", passwords.file("wrong")));
    let nobody =
        Client::open(&ZooKeeperOptions { session_timeout: LONG, ..options(&servers.addresses(), &root) });
    for client in [wrong, nobody] {
        for _ in 0..20 {
            assert!(is_refused(client.get(&path("/a"))));
            assert!(is_refused(client.children(&path("/a"))));
            assert!(is_refused(client.set(&path("/a"), b"", Version(0))));
            assert!(is_refused(client.create(&path("/a/c"), b"")));
            assert!(is_refused(client.hold(&path("/a/c"), b"")));
        }
        assert!(is_refused(client.delete(&path("/b"), Version(0))));
        let why = client.get(&path("/a")).unwrap_err().to_string();
        assert!(why.contains("this user may not do that to node `/a`"), "{why}");
        assert_eq!(client.session().number, 1, "a refusal is an answer: the session goes on");
    }
    assert_eq!(owner.data("/a").as_deref(), Some(&b"secret"[..]));
}

#[test]
fn a_node_that_somebody_has_closed_does_not_disturb_others() {
    let (servers, root) = (shared(), new_root());
    let client =
        Client::open(&ZooKeeperOptions { session_timeout: LONG, ..options(&servers.addresses(), &root) });
    client.make("/closed", b"");
    client.make("/open", b"");
    let mut other = Witness::with_user(servers[0].address(), "somebody", "else");
    other.set_rights(&client.absolute("/closed"), &[Right::authenticated()]).unwrap();
    assert!(is_refused(client.get(&path("/closed"))));
    assert!(is_refused(client.set(&path("/closed"), b"", Version(0))));
    assert_eq!(client.set(&path("/open"), b"", Version(0)), Ok(Version(1)));
    client.notices().clear();
    other.set(&client.absolute("/closed"), b"x").unwrap();
    client.make("/next", b"");
    client.notices().wait_for(&changed("/next"));
    assert_eq!(client.session().number, 1);
}

#[test]
fn a_password_that_others_may_read_is_refused() {
    let (servers, passwords) = (shared(), Passwords::new());
    let open = |file: PathBuf| {
        let (clock, log) = (Clock::real(), logger());
        let options = options_of(&servers, "/squall", "squall", file);
        ZooKeeperClient::open(&options, &clock, &log, 0).map(drop).map_err(|error| error.to_string())
    };
    let file = passwords.file("right");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let why = open(file.clone()).unwrap_err();
    assert!(why.contains("zookeeper.password_file") && why.contains(&*file.to_string_lossy()), "{why}");
    let why = open(file.with_file_name("missing")).unwrap_err();
    assert!(why.contains("zookeeper.password_file") && why.contains("missing"), "{why}");
}

#[test]
fn a_cluster_sees_what_is_below_its_root_and_nothing_else() {
    let servers = shared();
    let top = new_root();
    let client = Client::of(&servers.addresses());
    let deep = Client::open(&options(&servers.addresses(), &format!("{top}/b/c")));
    let whole = Client::open(&options(&servers.addresses(), "/"));
    deep.make("/x", b"deep");
    client.make("/x", b"other");
    assert_eq!(deep.data("/x").as_deref(), Some(&b"deep"[..]));
    assert_eq!(deep.children(&path("/")), Ok(Some(vec!["x".to_owned()])));
    whole.catch_up().unwrap();
    assert_eq!(whole.data(&deep.absolute("/x")).as_deref(), Some(&b"deep"[..]));
    let notices = Notices::of(&deep, "/x");
    let before = whole.get(&path(&deep.absolute("/x"))).unwrap().unwrap().version;
    wait_until("the watch is there", || {
        let _ = client.set(&path("/x"), b"", client.get(&path("/x")).unwrap().unwrap().version);
        !notices.all().is_empty()
    });
    whole.set(&path(&deep.absolute("/x")), b"new", before).unwrap();
    notices.wait_for(&changed("/x"));
    assert_eq!(deep.delete(&path("/x"), Version(1)), Ok(()));
    assert_eq!(client.data("/x"), Some(Vec::new()));
}

#[test]
fn who_only_reads_makes_nothing() {
    let (servers, root) = (shared(), new_root());
    let (clock, log) = (Clock::real(), logger());
    let client =
        ZooKeeperClient::open_for_reading(&options(&servers.addresses(), &root), &clock, &log, 0).unwrap();
    wait_until("calls are answered", || client.get(&path("/a")) == Ok(None));
    assert_eq!(client.children(&path("/")), Ok(None));
    assert!(!Witness::at(servers[0].address()).exists(&root));
}
