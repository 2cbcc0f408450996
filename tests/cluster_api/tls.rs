//! TLS of the API: who gets through, who is cut, and which certificates are refused.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use squall::clock::Clock;
use squall::cluster::api::{ApiLimits, ApiOptions, ApiServer, ApiTls};
use squall::cluster::operations::OperationError;
use squall::cluster::topologies::TopologyPhase;
use squall::config::NimbusTls;
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::commands::Place;
use crate::fake::{Fake, any_port};
use crate::http::{begin, read, request};

/// An authority, and the files of a nimbus that it has signed.
pub struct Files {
    directory: TempDir,
    authority: Authority,
}

impl Files {
    pub fn new() -> Files {
        let files = Files {
            directory: tempfile::tempdir().expect("a directory"),
            authority: Authority::new("authority"),
        };
        fs::write(files.path("authority.pem"), files.authority.pem()).expect("it is written");
        files.issue(&["127.0.0.1", "nimbus-1.example.org"]);
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn issue(&self, names: &[&str]) {
        let own = self.authority.issue(names);
        fs::write(self.path("nimbus.pem"), own.certificate).expect("it is written");
        fs::write(self.path("nimbus.key"), own.key).expect("it is written");
        self.let_read(0o600);
    }

    fn let_read(&self, mode: u32) {
        fs::set_permissions(self.path("nimbus.key"), fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    fn load(&self, authority: &str) -> Result<ApiTls, String> {
        let path = |name: &str| Some(self.path(name));
        let paths = NimbusTls {
            certificate: path("nimbus.pem"),
            key: path("nimbus.key"),
            authority: path(authority),
        };
        ApiTls::load(&paths, &Clock::real()).map_err(|error| error.to_string())
    }

    pub fn options(&self) -> ApiOptions {
        let tls = Some(self.load("authority.pem").expect("the files are good"));
        ApiOptions { tls, ..ApiOptions::on(any_port()) }
    }

    /// What a client sends over TLS, and all that comes back.
    fn exchange(
        &self,
        server: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
        bytes: &[u8],
    ) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).expect("it is one");
        roots.add(authority).expect("it is an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("they are there")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let connection = ClientConnection::new(Arc::new(config), name).expect("it begins");
        let mut stream = StreamOwned::new(connection, TcpStream::connect(server).expect("it listens"));
        stream.sock.set_read_timeout(Some(Duration::from_secs(60))).expect("it is not zero");
        stream.write_all(bytes)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

// ---- Connections ----

#[test]
fn a_request_over_tls_is_answered_and_one_without_is_not() {
    let (files, fake) = (Files::new(), Fake::new());
    let server = fake.serve_with(files.options());
    let asked = request("GET", "/v1/cluster", b"");
    let answer =
        files.exchange(server.address(), &[&rustls::version::TLS13], &asked).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(server.endpoint(), format!("https://{}", server.address()));
    let named = b"GET /v1/cluster HTTP/1.1\r\nhost: nimbus-1.example.org:7070\r\n\r\n";
    let answer = files.exchange(server.address(), &[&rustls::version::TLS13], named).expect("it is answered");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n"),
        "a name of the certificate is one of the server: {answer}"
    );
    let other = b"GET /v1/cluster HTTP/1.1\r\nhost: nimbus-2.example.org:7070\r\n\r\n";
    let answer = files.exchange(server.address(), &[&rustls::version::TLS13], other).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

    let begun = fake.inside().begun;
    let plain = read(begin(server.address(), &asked));
    assert!(!plain.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&plain));
    let older = files.exchange(server.address(), &[&rustls::version::TLS12], &asked);
    assert!(older.is_err(), "{older:?}");
    assert_eq!(fake.inside().begun, begun, "nothing of that reaches an operation");
}

#[test]
fn who_connects_and_says_nothing_is_cut() {
    let (files, fake) = (Files::new(), Fake::new());
    let limits = ApiLimits { handshake_time: Duration::from_millis(20), ..ApiLimits::default() };
    let server = fake.serve_with(ApiOptions { limits, ..files.options() });
    assert_eq!(read(begin(server.address(), b"")), b"");
    // The length of a record that never comes.
    assert_eq!(read(begin(server.address(), b"\x16\x03\x01\x02\x00")), b"");
}

/// Whoever takes all places for handshakes would otherwise lock out everybody else.
#[test]
fn silent_connections_make_room_for_those_that_speak() {
    let (files, fake) = (Files::new(), Fake::new());
    let hour = Duration::from_secs(3600);
    let limits = ApiLimits { handshakes_max: 2, handshake_time: hour, ..ApiLimits::default() };
    let server = fake.serve_with(ApiOptions { limits, ..files.options() });
    let silent: Vec<TcpStream> = (0..6).map(|_| begin(server.address(), b"")).collect();
    let asked = request("GET", "/v1/cluster", b"");
    let answer =
        files.exchange(server.address(), &[&rustls::version::TLS13], &asked).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for stream in silent.into_iter().take(4) {
        assert_eq!(read(stream), b"", "those that have waited longest are cut");
    }
}

// ---- Certificates ----

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start() {
    let files = Files::new();
    files.load("authority.pem").expect("they are good");
    let check = |authority: &str, expected: &str| {
        let error = files.load(authority).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    };
    check("none.pem", "nimbus.tls.authority: ");
    fs::write(files.path("other.pem"), Authority::new("other").pem()).expect("it is written");
    check("other.pem", "not signed by `authority`");
    files.let_read(0o640);
    check("authority.pem", "others may read it (its mode is 640)");
    files.let_read(0o600);
    fs::write(files.path("nimbus.key"), files.authority.issue(&["127.0.0.1"]).key).expect("it is written");
    check("authority.pem", "the key does not belong to the certificate");
    fs::write(files.path("nimbus.key"), "no key").expect("it is written");
    check("authority.pem", "holds no private key");
    fs::write(files.path("nimbus.pem"), "").expect("it is written");
    check("authority.pem", "holds no certificate");
    let none = ApiTls::load(&NimbusTls::default(), &Clock::real()).expect_err("nothing is named").to_string();
    assert_eq!(none, "nimbus.tls.certificate: a nimbus with `[nimbus.tls]` needs it");
}

#[test]
fn a_certificate_is_for_the_name_that_clients_are_given() {
    let files = Files::new();
    let start = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let options = ApiOptions { names, ..files.options() };
        ApiServer::start(options, Fake::new(), &slog::Logger::root(slog::Discard, slog::o!()))
    };
    let server = start(&["nimbus-1.example.org"]).expect("it is in the certificate");
    let port = server.address().port();
    assert_eq!(server.endpoint(), format!("https://nimbus-1.example.org:{port}"));
    let error = start(&["nimbus-2.example.org"]).expect_err("it is not").to_string();
    assert!(error.contains("not made out to `nimbus-2.example.org`"), "{error}");
    files.issue(&["nimbus-1.example.org"]);
    let error = start(&[]).expect_err("the address is not in it").to_string();
    assert!(error.contains("not made out to `127.0.0.1`"), "{error}");
}

// ---- Commands ----

#[test]
fn commands_ask_over_tls_and_trust_one_authority() {
    let (files, place, fake) = (Files::new(), Place::new(), Fake::new());
    fake.has("words", TopologyPhase::Active);
    let server = fake.serve_with(files.options());
    let endpoint = server.endpoint().to_owned();
    let authority = files.path("authority.pem").display().to_string();
    let list = ["list", "--nimbus", &endpoint];
    let printed = place.squall(&[], &[&list[..], &["--nimbus-authority", &authority]].concat(), 0);
    assert!(printed.stdout.contains("words"), "{}", printed.stdout);
    place.squall(&[], &list, 1).says("--nimbus-authority or SQUALL_NIMBUS_AUTHORITY");
    // The engine's file has it, too.
    let config = files.path("squall.toml").display().to_string();
    fs::write(&config, "nimbus.tls.authority = \"authority.pem\"\n").expect("it is written");
    place.squall_with(&[("SQUALL_CONFIG", &config), ("SQUALL_NIMBUS", &endpoint)], &["status", "words"], 0);
    place.squall_with(&[("SQUALL_CONFIG", &config)], &list, 0);

    let begun = fake.inside().begun;
    fs::write(files.path("other.pem"), Authority::new("other").pem()).expect("it is written");
    let other = files.path("other.pem").display().to_string();
    let printed = place.squall(&[], &[&list[..], &["--nimbus-authority", &other]].concat(), 4);
    printed.says("its certificate is not signed by the authority");
    let by_name = format!("https://localhost:{}", server.address().port());
    let args = ["list", "--nimbus", &by_name, "--nimbus-authority", &authority];
    place.squall(&[], &args, 4).says("its certificate is made out to another host");
    // Nothing is sent before the certificate is trusted, also of what must not be done twice.
    let args = ["restart", "words", "--nimbus", &by_name, "--nimbus-authority", &authority];
    place.squall(&[], &args, 4).says("its certificate is made out to another host");
    let plain = fake.serve();
    let no_tls = format!("https://{}", plain.address());
    let args = ["list", "--nimbus", &no_tls, "--nimbus-authority", &authority];
    place.squall(&[], &args, 4).says("it does not speak TLS");
    assert_eq!(fake.inside().begun, begun, "nothing of that reaches an operation");
}

#[test]
fn the_leader_is_followed_over_tls_and_never_without() {
    let (files, place) = (Files::new(), Place::new());
    let (leading, standing_by) = (Fake::new(), Fake::new());
    leading.has("words", TopologyPhase::Active);
    let leader = leading.serve_with(files.options());
    let other = standing_by.serve_with(files.options());
    let names = |leader: &str| {
        let leader = Some(leader.to_owned());
        standing_by.change(|inside| inside.error = Some(OperationError::NotLeader { leader }));
    };
    let authority = files.path("authority.pem").display().to_string();
    let args = ["status", "words", "--nimbus", other.endpoint(), "--nimbus-authority", &authority];
    names(leader.endpoint());
    place.squall(&[], &args, 0);
    let plain = leading.serve();
    names(&plain.address().to_string());
    place.squall(&[], &args, 4).says("which has no TLS and is not asked");
}
