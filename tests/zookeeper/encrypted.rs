//! TLS to ZooKeeper, with certificates that are right and wrong.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use squall::cluster::coordination::{Coordination as _, CoordinationError};
use squall::config::{ZooKeeperOptions, ZooKeeperTls};
use tempfile::TempDir;

use crate::certificates::{Authority, Identity};
use crate::clients::{Client, new_root, options, path};
use crate::proxy::Proxy;
use crate::server::{Servers, Settings};
use crate::witness::Witness;

/// PEM files.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a temporary directory"))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        fs::write(&file, text).expect("the directory is ours");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("the file is ours");
        file
    }

    /// Options with this authority, and this certificate to present.
    fn options(&self, server: SocketAddr, trusted: &Authority, shown: Option<&Identity>) -> ZooKeeperOptions {
        let tls = ZooKeeperTls {
            authority: self.file("authority.pem", &trusted.pem()),
            certificate: shown.map(|identity| self.file("certificate.pem", &identity.certificate)),
            key: shown.map(|identity| self.file("key.pem", &identity.key)),
        };
        ZooKeeperOptions { tls: Some(tls), ..options(&[server], &new_root()) }
    }
}

fn serving(authority: &Arc<Authority>, change: impl FnOnce(&mut Settings)) -> Servers {
    let mut settings = Settings { authority: Some(Arc::clone(authority)), ..Settings::default() };
    change(&mut settings);
    Servers::alone_with(settings)
}

/// What a client does that gets through: all kinds of calls, and large data.
#[track_caller]
fn check_works(options: &ZooKeeperOptions, servers: &Servers) {
    let client = Client::open(options);
    let data = vec![b'x'; 900_000];
    client.make("/a", &data);
    client.hold(&path("/held"), b"own").unwrap();
    assert!(client.data("/a") == Some(data));
    let mut witness = Witness::at(servers[0].address());
    client.notices().clear();
    witness.set(&client.absolute("/a"), b"new").unwrap();
    client.notices().wait_for(&crate::clients::changed("/a"));
    assert_eq!(witness.get(&client.absolute("/held")).unwrap().0, b"own");
    drop(client);
    assert!(!witness.exists(&format!("{}/held", options.root)), "the session is closed in order");
}

/// The error of a client that does not get through.
#[track_caller]
fn check_refused(options: &ZooKeeperOptions, expected: &[&str]) {
    let client = Client::with_call_timeout(options, Duration::from_secs(2));
    let mut why = String::new();
    crate::wait_until("the reason is known", || match client.get(&path("/")) {
        Err(CoordinationError::Away(reason)) => {
            why = reason;
            expected.iter().any(|expected| why.contains(expected)) || why.contains("in vain")
        }
        other => panic!("it is refused: {other:?}"),
    });
    assert_eq!(client.session().number, 0, "{why}");
}

#[test]
fn tls_as_a_server_has_it_by_itself() {
    let (authority, files) = (Arc::new(Authority::new("right")), Files::new());
    let servers = serving(&authority, |_| ());
    check_works(&files.options(servers[0].tls_address(), &authority, None), &servers);
}

#[test]
fn tls_1_3() {
    let (authority, files) = (Arc::new(Authority::new("right")), Files::new());
    let servers = serving(&authority, |settings| settings.only_tls_1_3 = true);
    check_works(&files.options(servers[0].tls_address(), &authority, None), &servers);
}

#[test]
fn a_server_that_another_authority_has_signed_is_refused() {
    let (authority, other, files) =
        (Arc::new(Authority::new("right")), Authority::new("wrong"), Files::new());
    let servers = serving(&authority, |_| ());
    check_refused(&files.options(servers[0].tls_address(), &other, None), &["UnknownIssuer", "authority"]);
}

#[test]
fn a_server_with_the_certificate_of_another_host_is_refused() {
    let (authority, files) = (Arc::new(Authority::new("right")), Files::new());
    let servers =
        serving(&authority, |settings| settings.certificate_names = vec!["zoo1.example.org".to_owned()]);
    check_refused(
        &files.options(servers[0].tls_address(), &authority, None),
        &["not valid for name", "NotValidForName"],
    );
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_the_right_one_or_refuses() {
    let (authority, other, files) =
        (Arc::new(Authority::new("right")), Authority::new("wrong"), Files::new());
    let servers = serving(&authority, |settings| settings.client_certificates = true);
    let at = servers[0].tls_address();
    let (right, wrong) = (authority.issue(&["worker"]), other.issue(&["worker"]));
    check_works(&files.options(at, &authority, Some(&right)), &servers);
    check_refused(&files.options(at, &authority, None), &["ertificate"]);
    check_refused(&files.options(at, &authority, Some(&wrong)), &["ertificate", "closed"]);
}

#[test]
fn plain_and_encrypted_do_not_meet() {
    let (authority, files) = (Arc::new(Authority::new("right")), Files::new());
    let servers = serving(&authority, |_| ());
    check_refused(&files.options(servers[0].address(), &authority, None), &[""]);
    check_refused(&options(&[servers[0].tls_address()], &new_root()), &[""]);
}

#[test]
fn an_encrypted_connection_is_made_again_after_it_was_cut() {
    let (authority, files) = (Arc::new(Authority::new("right")), Files::new());
    let servers = serving(&authority, |settings| settings.certificate_names = vec!["localhost".to_owned()]);
    let proxy = Proxy::at_localhost(servers[0].tls_address());
    let at = format!("localhost:{}", proxy.address().port());
    let options = ZooKeeperOptions { servers: vec![at], ..files.options(proxy.address(), &authority, None) };
    let client = Client::open(&options);
    for turn in 0..10 {
        client.make(&format!("/{turn}"), b"");
        proxy.cut_in_use();
    }
    assert_eq!(client.children(&path("/")).unwrap().unwrap().len(), 10);
}
