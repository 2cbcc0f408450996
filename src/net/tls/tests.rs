//! Who is let in and who is not; files and their mistakes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::rc::Rc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use super::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Who signs certificates.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    authority_named("squall test authority")
}

fn authority_named(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The files of one worker. Certificates are valid until the end of 2029; clocks start in 2026.
struct Files {
    _dir: TempDir,
    paths: TlsPaths,
}

impl Files {
    fn new(signer: &Authority, trusted: &Authority, names: &[&str]) -> Files {
        Files::with(signer, trusted, names, |_| ())
    }

    fn with(
        signer: &Authority,
        trusted: &Authority,
        names: &[&str],
        change: impl Fn(&mut CertificateParams),
    ) -> Files {
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(2030, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, signer).unwrap();
        Files::holding(&certificate.pem(), &key.serialize_pem(), &trusted.pem())
    }

    fn holding(certificate: &str, key: &str, authority: &str) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let paths = TlsPaths {
            certificate: file("worker.pem", certificate),
            key: file("worker.key", key),
            authority: file("authority.pem", authority),
            name: None,
        };
        Files { _dir: dir, paths }
    }

    #[track_caller]
    fn load(&self, clock: &Clock) -> Tls {
        Tls::load(&self.paths, clock).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn check_refused(&self, expected: &str) {
        let error = Tls::load(&self.paths, &Clock::simulated()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// One end of a pipe that never blocks.
struct End {
    incoming: Rc<RefCell<VecDeque<u8>>>,
    outgoing: Rc<RefCell<VecDeque<u8>>>,
}

fn pipe() -> (End, End) {
    let (a, b) = (Rc::<RefCell<VecDeque<u8>>>::default(), Rc::<RefCell<VecDeque<u8>>>::default());
    (End { incoming: a.clone(), outgoing: b.clone() }, End { incoming: b, outgoing: a })
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { incoming.read(buffer) }
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One side of a connection: what came in, or why it ended.
struct Side {
    session: TlsSession,
    end: End,
    input: BytesMut,
    failure: Option<String>,
}

impl Side {
    fn new(session: TlsSession, end: End) -> Side {
        Side { session, end, input: BytesMut::new(), failure: None }
    }

    fn turn(&mut self) {
        if self.failure.is_none() {
            let read = self.session.read(&mut self.end, &mut self.input);
            let flushed = self.session.write(&mut self.end, &[]);
            self.failure = read.map(drop).and(flushed.map(drop)).err().map(|error| error.to_string());
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.write(&mut self.end, &[IoSlice::new(bytes)]).map(|sent| sent.bytes)
    }
}

/// A dialing and an accepting side that have completed the handshake, and have sent one word of the
/// application each.
fn meet(dialing: &Tls, accepting: &Tls) -> (Side, Side) {
    let (near, far) = pipe();
    let mut client = Side::new(dialing.dial(LOCALHOST).unwrap(), near);
    let mut server = Side::new(accepting.accept().unwrap(), far);
    assert_eq!(client.write(b"hello").unwrap(), 5);
    assert_eq!(server.write(b"welcome").unwrap(), 7);
    for _ in 0..10 {
        client.turn();
        server.turn();
    }
    (client, server)
}

#[track_caller]
fn check_both_refuse(client: &Side, server: &Side, by_client: &str, by_server: &str) {
    for (side, expected) in [(client, by_client), (server, by_server)] {
        let failure = side.failure.as_deref().unwrap_or("none");
        assert!(failure.contains(expected), "{failure:?} instead of {expected:?}");
        assert_eq!(&side.input[..], b"", "nothing of the peer may be believed");
    }
}

#[test]
fn workers_of_one_authority_talk() {
    let (authority, clock) = (authority(), Clock::simulated());
    let one = Files::new(&authority, &authority, &["127.0.0.1"]).load(&clock);
    let other = Files::new(&authority, &authority, &["127.0.0.1"]).load(&clock);
    let (client, server) = meet(&one, &other);
    assert_eq!((client.failure, server.failure), (None, None));
    assert_eq!((&client.input[..], &server.input[..]), (&b"welcome"[..], &b"hello"[..]));
}

#[test]
fn a_megabyte_passes_in_pieces() {
    let (authority, clock) = (authority(), Clock::simulated());
    let tls = Files::new(&authority, &authority, &["127.0.0.1"]).load(&clock);
    let (mut client, mut server) = meet(&tls, &tls);
    server.input.clear();
    let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut sent = 0;
    while server.input.len() < bytes.len() {
        if sent < bytes.len() {
            sent += client.write(&bytes[sent..]).unwrap();
        }
        server.turn();
        assert_eq!(server.failure, None);
    }
    assert!(server.input[..] == bytes[..]);
}

#[test]
fn a_worker_of_another_authority_is_refused_by_both() {
    for name in ["squall test authority", "another"] {
        let (ours, theirs, clock) = (authority(), authority_named(name), Clock::simulated());
        let one = Files::new(&ours, &ours, &["127.0.0.1"]).load(&clock);
        let stranger = Files::new(&theirs, &theirs, &["127.0.0.1"]).load(&clock);
        let (client, server) = meet(&one, &stranger);
        check_both_refuse(&client, &server, "not signed by `authority`", "the peer refuses our certificate");
        let (client, server) = meet(&stranger, &one);
        check_both_refuse(&client, &server, "not signed by `authority`", "the peer refuses our certificate");
    }
}

/// It trusts our authority, so as a client it takes our certificate; we do not take its own.
#[test]
fn a_client_of_another_authority_is_refused_by_the_server() {
    let (ours, theirs, clock) = (authority(), authority(), Clock::simulated());
    let one = Files::new(&ours, &ours, &["127.0.0.1"]).load(&clock);
    let mut trusting = Files::new(&theirs, &theirs, &["127.0.0.1"]);
    let both = format!("{}{}", theirs.pem(), ours.pem());
    let authorities = trusting.paths.authority.with_file_name("both.pem");
    std::fs::write(&authorities, both).unwrap();
    trusting.paths.authority = authorities;
    let (client, server) = meet(&trusting.load(&clock), &one);
    assert!(server.failure.unwrap().contains("not signed by `authority`"));
    assert_eq!(&server.input[..], b"");
    assert!(client.failure.unwrap().contains("the peer refuses our certificate"));
}

#[test]
fn an_expired_certificate_is_refused() {
    let (authority, clock, later) = (authority(), Clock::simulated(), Clock::simulated());
    let here = Files::new(&authority, &authority, &["127.0.0.1"]);
    let peer = Files::new(&authority, &authority, &["127.0.0.1"]);
    let (here, peer) = (here.load(&later), peer.load(&clock));
    later.advance(Duration::from_secs(10 * 365 * 24 * 60 * 60));
    let (client, server) = meet(&here, &peer);
    check_both_refuse(&client, &server, "the certificate has expired", "the peer refuses our certificate");
    let (_, server) = meet(&peer, &here);
    assert!(server.failure.unwrap().contains("the certificate has expired"));
    assert_eq!(&server.input[..], b"");
}

#[test]
fn a_plain_client_is_refused() {
    let (authority, clock) = (authority(), Clock::simulated());
    let tls = Files::new(&authority, &authority, &["127.0.0.1"]).load(&clock);
    let (mut near, far) = pipe();
    let mut server = Side::new(tls.accept().unwrap(), far);
    near.write_all(b"SQLL and whatever a worker without TLS would send").unwrap();
    server.turn();
    assert!(server.failure.unwrap().contains("the peer does not speak TLS"));
    assert_eq!(&server.input[..], b"");
}

#[test]
fn a_client_without_certificate_is_refused() {
    let (authority, clock) = (authority(), Clock::simulated());
    let tls = Files::new(&authority, &authority, &["127.0.0.1"]).load(&clock);
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let anonymous = ClientConfig::builder_with_details(provider, Arc::new(WallClock(clock)))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let anonymous = Tls { client: Arc::new(anonymous), ..tls.clone() };
    let (client, server) = meet(&anonymous, &tls);
    assert!(server.failure.unwrap().contains("the peer shows no certificate"));
    assert_eq!(&server.input[..], b"");
    assert!(client.failure.unwrap().contains("the peer refuses our certificate"));
}

#[test]
fn a_certificate_is_made_out_to_the_address_that_is_dialed_or_to_the_name() {
    let (authority, clock) = (authority(), Clock::simulated());
    let elsewhere = Files::new(&authority, &authority, &["10.0.0.1"]).load(&clock);
    let (client, server) = meet(&elsewhere, &elsewhere);
    check_both_refuse(&client, &server, "made out to another name", "the peer refuses our certificate");

    let mut named = Files::new(&authority, &authority, &["workers.squall"]);
    named.paths.name = Some("workers.squall".into());
    let named = named.load(&clock);
    let (client, server) = meet(&named, &named);
    assert_eq!((client.failure, server.failure), (None, None));
    let (client, _) = meet(&named, &elsewhere);
    assert!(client.failure.unwrap().contains("made out to another name"));
}

#[test]
fn an_end_without_goodbye_is_an_end() {
    let (authority, clock) = (authority(), Clock::simulated());
    let tls = Files::new(&authority, &authority, &["127.0.0.1"]).load(&clock);
    let (mut client, _) = meet(&tls, &tls);
    let mut nothing = io::Cursor::new(Vec::new());
    let read = client.session.read(&mut nothing, &mut client.input).unwrap();
    assert_eq!(read, Received::Ended);
}

#[test]
fn mistakes_in_the_files_are_named() {
    let (ours, theirs) = (authority(), authority());
    let good = Files::new(&ours, &ours, &["127.0.0.1"]);
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (certificate, key, ca) =
        (text(&good.paths.certificate), text(&good.paths.key), text(&good.paths.authority));

    let missing = Files::holding(&certificate, &key, &ca);
    std::fs::remove_file(&missing.paths.key).unwrap();
    missing.check_refused("worker.key: cannot be read: No such file");
    // Nobody writes to the pipe: to open it and wait would be for ever.
    let made = std::process::Command::new("mkfifo").arg(&missing.paths.key).status().unwrap();
    assert!(made.success());
    missing.check_refused("worker.key: cannot be read: it is a pipe, not a regular file");
    Files::holding("", &key, &ca).check_refused("net.tls.certificate: ");
    Files::holding("", &key, &ca).check_refused("worker.pem: it holds no certificate");
    Files::holding(&certificate, &certificate, &ca).check_refused("worker.key: it holds no private key");
    Files::holding(&certificate, &key, &key).check_refused("authority.pem: it holds no certificate");
    Files::holding(&certificate[..certificate.len() - 30], &key, &ca).check_refused("worker.pem: not PEM");
    let strange = KeyPair::generate().unwrap().serialize_pem();
    Files::holding(&certificate, &strange, &ca).check_refused("net.tls.key: ");
    Files::holding(&certificate, &strange, &ca).check_refused("the key does not belong to the certificate");
    Files::holding(&certificate, &key, &theirs.pem())
        .check_refused("worker.pem: the certificate is not signed");

    let check = |change: fn(&mut CertificateParams), expected| {
        Files::with(&ours, &ours, &["127.0.0.1"], change).check_refused(expected);
    };
    check(|params| params.not_after = date_time_ymd(2025, 1, 1), "worker.pem: the certificate has expired");
    check(|params| params.not_before = date_time_ymd(2028, 1, 1), "the certificate is not valid yet");
    check(
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        "must allow the use by servers and by clients",
    );
    let mut named = Files::new(&ours, &ours, &["127.0.0.1"]);
    named.paths.name = Some("workers.squall".into());
    named.check_refused("made out to another name");
    named.paths.name = Some("not a name".into());
    named.check_refused("neither a host name nor an address");
}
