//! That servers, disks, proxies and witnesses do what they say. Without these, a test of a fault could pass because
//! the fault did not happen.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::certificates::{Authority, Identity};
use crate::proxy::{Direction, Proxy};
use crate::server::{SUPER_PASSWORD, Servers, Settings};
use crate::wait_until;
use crate::witness::{BAD_VERSION, NO_AUTH, NO_NODE, NODE_EXISTS, Refusal, Right, Witness};

// ---- Servers ----

#[test]
fn a_server_alone_keeps_its_data_over_a_kill() {
    let mut servers = Servers::alone();
    assert_eq!(servers[0].mode().as_deref(), Some("standalone"));
    let address = servers[0].address();
    Witness::at(address).create("/kept", b"a", &[Right::open()]).unwrap();
    servers[0].kill();
    assert_eq!(servers[0].mode(), None);
    assert!(TcpStream::connect(address).is_err());
    servers[0].restart();
    assert_eq!(Witness::at(address).get("/kept").unwrap().0, b"a");
}

#[test]
fn an_ensemble_elects_again_when_its_leader_is_killed() {
    let mut servers = Servers::three();
    servers.wait_until_whole();
    let leader = servers.leader();
    Witness::at(servers[leader].address()).create("/kept", b"a", &[Right::open()]).unwrap();
    servers[leader].kill();
    let next = servers.leader();
    assert_ne!(next, leader);
    assert_eq!(Witness::at(servers[next].address()).get("/kept").unwrap().0, b"a");
    servers[leader].restart();
    assert_eq!(servers[leader].mode().as_deref(), Some("follower"));
}

#[test]
fn a_frozen_leader_answers_nothing_and_is_left() {
    let mut servers = Servers::three();
    let leader = servers.leader();
    servers[leader].freeze(true);
    assert_eq!(servers[leader].ask("ruok"), None);
    assert_ne!(servers.leader(), leader);
    servers[leader].freeze(false);
    wait_until("it follows", || servers[leader].mode().as_deref() == Some("follower"));
}

#[test]
fn data_are_wiped_and_rolled_back() {
    let mut servers = Servers::three();
    let address = servers[0].address();
    Witness::at(address).create("/first", b"", &[Right::open()]).unwrap();
    servers.kill_all();
    let copy = servers.copy_all();
    servers.restart_all();
    Witness::at(address).create("/second", b"", &[Right::open()]).unwrap();
    servers.kill_all();
    servers.roll_back_all(&copy);
    servers.restart_all();
    assert_eq!(Witness::at(address).children("/").unwrap(), ["first", "zookeeper"]);
    servers.kill_all();
    servers.wipe_all();
    servers.restart_all();
    assert_eq!(Witness::at(address).children("/").unwrap(), ["zookeeper"]);
}

#[test]
fn a_server_whose_disk_is_full_ends_and_comes_back_when_there_is_room() {
    let mut servers = Servers::alone_with(Settings { disk_kib: Some(2048), ..Settings::default() });
    let address = servers[0].address();
    Witness::at(address).create("/kept", b"a", &[Right::open()]).unwrap();
    servers[0].disk().fill();
    let writer = thread::spawn(move || {
        let mut witness = Witness::at(address);
        for number in 0..100 {
            witness.create(&format!("/{number}"), &[b'x'; 100_000], &[Right::open()]).unwrap();
        }
    });
    servers[0].wait_until_ended();
    assert!(writer.join().is_err(), "the connection ends with the server");
    servers[0].disk().clear();
    servers[0].restart();
    assert_eq!(Witness::at(address).get("/kept").unwrap().0, b"a");
}

#[test]
fn a_member_whose_disk_is_full_leaves_an_ensemble_that_goes_on() {
    let servers = Servers::three_with(Settings { disk_kib: Some(2048), ..Settings::default() });
    let leader = servers.leader();
    let full = (leader + 1) % 3;
    servers[full].disk().fill();
    let mut witness = Witness::at(servers[leader].address());
    for number in 0..10 {
        witness.create(&format!("/{number}"), &[b'x'; 20_000], &[Right::open()]).unwrap();
    }
    wait_until("the member serves no more", || servers[full].mode().is_none());
    assert_eq!(witness.children("/").unwrap().len(), 11);
}

/// The process and the directory of a server that is gone.
fn check_nothing_left(process: u32, directory: &Path) {
    assert!(!Path::new(&format!("/proc/{process}")).exists());
    assert!(!directory.exists());
}

#[test]
fn a_test_that_panics_leaves_nothing() {
    let left = Mutex::new(None);
    let test = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut servers = Servers::alone_with(Settings { disk_kib: Some(2048), ..Settings::default() });
        let log = servers[0].log();
        *left.lock().unwrap() = Some((servers[0].process_id(), servers.directory().to_owned()));
        assert!(log.exists());
        servers[0].freeze(true);
        panic::resume_unwind(Box::new("a test that fails"));
    }));
    assert!(test.is_err());
    let (process, directory) = left.into_inner().unwrap().expect("it has been noted");
    check_nothing_left(process, &directory);
}

// ---- TLS ----

/// The answer to `srvr` over TLS.
fn ask_over_tls(address: SocketAddr, trusted: &Authority, shown: Option<&Identity>) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let name = ServerName::from(address.ip());
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    stream.write_all(b"srvr")?;
    let mut answer = [0; 10];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_server_with_tls_asks_for_certificates_where_it_is_set_so() {
    let (authority, other) = (Arc::new(Authority::new("right")), Authority::new("wrong"));
    let settings = Settings { authority: Some(Arc::clone(&authority)), ..Settings::default() };
    let needing = Settings { client_certificates: true, ..settings.clone() };
    let servers = Servers::alone_with(settings);
    assert_eq!(ask_over_tls(servers[0].tls_address(), &authority, None).unwrap(), "Zookeeper ");
    ask_over_tls(servers[0].tls_address(), &other, None).unwrap_err();
    let servers = Servers::alone_with(needing);
    let (right, wrong) = (authority.issue(&["client"]), other.issue(&["client"]));
    assert_eq!(ask_over_tls(servers[0].tls_address(), &authority, Some(&right)).unwrap(), "Zookeeper ");
    ask_over_tls(servers[0].tls_address(), &authority, Some(&wrong)).unwrap_err();
    ask_over_tls(servers[0].tls_address(), &authority, None).unwrap_err();
}

// ---- The witness ----

#[test]
fn a_witness_reads_and_writes_what_the_server_has() {
    let servers = Servers::alone();
    let mut witness = Witness::at(servers[0].address());
    witness.create("/a", b"first", &[Right::open()]).unwrap();
    assert_eq!(witness.create("/a", b"", &[Right::open()]), Err(NODE_EXISTS));
    witness.create("/a/日本", b"", &[Right::open()]).unwrap();
    let (data, before) = witness.get("/a").unwrap();
    assert_eq!((data, before.version, before.owner, before.children), (b"first".to_vec(), 0, 0, 1));
    let after = witness.set("/a", b"second").unwrap();
    assert_eq!((after.version, after.created), (1, before.created));
    assert!(after.written > before.written);
    assert_eq!(witness.tree("/a"), ["/a/日本"]);
    assert_eq!(witness.delete("/a"), Err(Refusal(-111)), "it has children");
    witness.delete("/a/日本").unwrap();
    witness.delete("/a").unwrap();
    assert_eq!(witness.get("/a"), Err(NO_NODE));
    assert_eq!(witness.set_if("/zookeeper", b"", 7), Err(BAD_VERSION));
}

#[test]
fn a_node_of_a_user_is_closed_to_others_but_the_super_user() {
    let servers = Servers::alone();
    let address = servers[0].address();
    let mut owner = Witness::with_user(address, "squall", "word");
    owner.create("/own", b"a", &[Right::authenticated()]).unwrap();
    let rights = owner.rights("/own").unwrap();
    assert_eq!((rights.len(), rights[0].scheme.as_str(), rights[0].permissions), (1, "digest", 31));
    assert!(rights[0].id.starts_with("squall:"), "{}", rights[0].id);
    for mut other in [Witness::at(address), Witness::with_user(address, "squall", "wrong")] {
        assert_eq!(other.get("/own"), Err(NO_AUTH));
        assert_eq!(other.set_rights("/own", &[Right::open()]), Err(NO_AUTH));
    }
    let mut everyone = Witness::with_user(address, "super", SUPER_PASSWORD);
    everyone.set_rights("/own", &[Right::open()]).unwrap();
    assert_eq!(Witness::at(address).get("/own").unwrap().0, b"a");
}

#[test]
fn a_witness_ends_the_session_of_another() {
    let servers = Servers::alone();
    let address = servers[0].address();
    let mut victim = Witness::at(address);
    victim.create_ephemeral("/mine", b"").unwrap();
    assert_eq!(victim.get("/mine").unwrap().1.owner, victim.session());
    assert_eq!(servers[0].only_session(), victim.session());
    assert!(Witness::end_session(address, victim.session()));
    assert!(!Witness::at(address).exists("/mine"));
    assert!(!Witness::end_session(address, victim.session()), "it has ended");
    let reads = panic::catch_unwind(AssertUnwindSafe(|| victim.get("/zookeeper").is_ok()));
    assert!(!matches!(reads, Ok(true)), "a session that has ended reads nothing");
}

// ---- The proxy ----

/// A server that sends back what it gets, until the test ends.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
    stream
}

/// Sends a byte, and returns whether it comes back.
fn comes_back(stream: &mut TcpStream, byte: u8) -> bool {
    let mut answer = [0];
    stream.write_all(&[byte]).is_ok() && stream.read_exact(&mut answer).is_ok() && answer[0] == byte
}

/// Whether nothing is to be read, for as long as it takes another connection of an open proxy to answer often.
fn is_silent(stream: &TcpStream, other: &mut TcpStream) -> bool {
    assert!((0..100).all(|byte| comes_back(other, byte)));
    stream.set_nonblocking(true).unwrap();
    let read = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn a_proxy_cuts_connections_and_takes_others() {
    let proxy = Proxy::to(echo());
    let mut stream = connect(&proxy);
    assert!(comes_back(&mut stream, 1));
    assert_eq!((proxy.accepted(), proxy.open(), proxy.cut()), (1, 1, 1));
    assert!(!comes_back(&mut stream, 2));
    assert!(comes_back(&mut connect(&proxy), 3));
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn a_frozen_proxy_passes_nothing_until_it_heals() {
    let server = echo();
    let (mut proxy, open) = (Proxy::to(server), Proxy::to(server));
    let (mut before, mut other) = (connect(&proxy), connect(&open));
    assert!(comes_back(&mut before, 1));
    proxy.freeze();
    let mut after = connect(&proxy);
    before.write_all(&[2]).unwrap();
    after.write_all(&[3]).unwrap();
    assert!(is_silent(&before, &mut other) && is_silent(&after, &mut other));
    proxy.heal();
    let mut answer = [0];
    before.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [2]);
    after.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [3]);
}

#[test]
fn a_proxy_freezes_one_direction() {
    let (asked, asks) = std::sync::mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The server tells what it gets, and answers it.
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            asked.send(byte[0]).unwrap();
            stream.write_all(&byte).unwrap();
        }
    });
    let (mut proxy, open) = (Proxy::to(address), Proxy::to(echo()));
    let (mut stream, mut other) = (connect(&proxy), connect(&open));
    assert!(comes_back(&mut stream, 1));
    assert_eq!(asks.recv(), Ok(1));
    proxy.freeze_only(Direction::ToClient);
    stream.write_all(&[2]).unwrap();
    assert_eq!(asks.recv_timeout(crate::PATIENCE), Ok(2), "the request arrives");
    assert!(is_silent(&stream, &mut other), "its answer does not");
    proxy.freeze_only(Direction::ToServer);
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [2], "the answer does now");
    stream.write_all(&[3]).unwrap();
    assert!(is_silent(&stream, &mut other));
    assert!(asks.try_recv().is_err(), "the request does not");
    proxy.heal();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [3]);
}

#[test]
fn what_is_cut_while_it_is_frozen_is_lost() {
    let server = echo();
    let mut proxy = Proxy::to(server);
    let mut stream = connect(&proxy);
    assert!(comes_back(&mut stream, 1));
    proxy.freeze();
    stream.write_all(&[2]).unwrap();
    assert_eq!(proxy.cut(), 1);
    proxy.heal();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    assert!(comes_back(&mut connect(&proxy), 3));
}

#[test]
fn a_proxy_refuses_or_hangs_up_until_it_heals() {
    let mut proxy = Proxy::to(echo());
    let mut stream = connect(&proxy);
    assert!(comes_back(&mut stream, 1));
    proxy.refuse();
    assert!(!comes_back(&mut stream, 2));
    assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    proxy.heal();
    assert!(comes_back(&mut connect(&proxy), 3));
    proxy.hang_up();
    assert!(!comes_back(&mut connect(&proxy), 4));
    assert_eq!(proxy.accepted(), 3);
    proxy.heal();
    proxy.delay_answers(Duration::from_millis(1));
    assert!(comes_back(&mut connect(&proxy), 5));
    proxy.lead_to(SocketAddr::from(([127, 0, 0, 1], 1)));
    assert!(!comes_back(&mut connect(&proxy), 6), "nobody listens there");
}

#[test]
fn a_proxy_has_a_name_where_a_test_asks_for_one() {
    let proxy = Proxy::at_localhost(echo());
    let mut stream = TcpStream::connect(("localhost", proxy.address().port())).unwrap();
    assert!(comes_back(&mut stream, 1));
}
