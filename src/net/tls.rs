//! Mutual TLS between workers, when `[net.tls]` names certificates.
//!
//! A [`TlsSession`] encrypts between a socket and the mesh. The caller passes the socket to each call,
//! and no call waits.
//!
//! ```text
//!   socket ◀─ records ─▶ TlsSession ◀─ bytes ─▶ Mesh: handshake by the secret, frames
//! ```
//!
//! 1. TLS 1.3 only, by rustls on ring. Both sides must present a certificate that is valid now and
//!    signed by `authority`. Any other peer is refused. There is no fallback.
//! 2. The dialer also checks that the certificate is issued for `name`, or, if `name` is not set, for
//!    the address it dials.
//! 3. No session is resumed. So each connection checks the certificates again, and an expired
//!    certificate cannot be used for a new connection.
//! 4. A worker checks its own certificate by the same rules before it binds its address. A mistake is
//!    easier to understand here than in the logs of all peers.
//!
//! TLS proves that the peer is a worker and keeps the bytes secret. The handshake inside TLS proves
//! *which* worker of which topology the peer is.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, Error, RootCertStore,
    ServerConfig, ServerConnection,
};

use super::transfer::{READ_MAX, Received, Sent};
use crate::clock::Clock;
use crate::config::net::TlsPaths;
use crate::files;

/// Bytes that a session may hold for the socket.
const PENDING_MAX: usize = 256 << 10;
/// Bytes of a file of certificates, at most: ten times the size of all authorities that browsers trust.
const PEM_MAX: u64 = 4 << 20;

/// Why the files of `[net.tls]` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("net.tls.{key}: {}: {why}", path.display())]
pub struct TlsError {
    /// The key of `[net.tls]` that names the file.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what it should be.
    pub why: String,
}

/// The certificates of this worker and those it trusts, read and checked.
#[derive(Clone)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// The name that the certificates of dialed peers must have. `None`: the address that is dialed.
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the files, and checks the own certificate by the rules that peers will apply.
    ///
    /// # Errors
    /// When a file cannot be read or used. The error names the file and what is wrong with it.
    pub fn load(paths: &TlsPaths, clock: &Clock) -> Result<Tls, TlsError> {
        let of = |key, path: &PathBuf| {
            let path = path.clone();
            move |why: String| TlsError { key, path: path.clone(), why }
        };
        let of_certificate = of("certificate", &paths.certificate);
        let of_key = of("key", &paths.key);
        let of_authority = of("authority", &paths.authority);
        let name = match &paths.name {
            None => None,
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_| {
                of_certificate(format!("`name` is \"{name}\", which is neither a host name nor an address"))
            })?),
        };
        let chain = read_certificates(&paths.certificate).map_err(&of_certificate)?;
        let key = read_private_key(&paths.key).map_err(&of_key)?;
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(&paths.authority).map_err(&of_authority)? {
            roots.add(certificate).map_err(|error| of_authority(describe(&error)))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        provider.key_provider.load_private_key(key.clone_key()).map_err(|error| of_key(describe(&error)))?;
        let roots = Arc::new(roots);
        check_own(&chain, &roots, &provider, name.as_ref(), clock)
            .map_err(|error| of_certificate(describe(&error)))?;
        let (client, server) =
            configure(chain, key, roots, provider, clock).map_err(|error| of_key(describe(&error)))?;
        Ok(Tls { client: Arc::new(client), server: Arc::new(server), name })
    }

    /// The dialing end of a connection to a peer at this address.
    ///
    /// # Errors
    /// None is known; rustls has a `Result` here.
    pub fn dial(&self, address: IpAddr) -> io::Result<TlsSession> {
        let name = self.name.clone().unwrap_or_else(|| ServerName::from(address));
        let connection = ClientConnection::new(Arc::clone(&self.client), name).map_err(failed)?;
        Ok(TlsSession::new(connection.into(), describe))
    }

    /// The accepting end.
    ///
    /// # Errors
    /// None is known; rustls has a `Result` here.
    pub fn accept(&self) -> io::Result<TlsSession> {
        let connection = ServerConnection::new(Arc::clone(&self.server)).map_err(failed)?;
        Ok(TlsSession::new(connection.into(), describe))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The certificates in a PEM file.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read_file(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = read.map_err(|error| describe_pem(&error))?;
    if certificates.is_empty() {
        return Err("it holds no certificate: \"-----BEGIN CERTIFICATE-----\" is expected".into());
    }
    Ok(certificates)
}

/// The private key in a PEM file that nobody but its owner may read.
pub(crate) fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = files::read_private(path, PEM_MAX).map_err(|error| format!("cannot be read: {error}"))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "it holds no private key: \"-----BEGIN PRIVATE KEY-----\" is expected".into()
        }
        error => describe_pem(&error),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    files::read_regular(path, PEM_MAX).map_err(|error| format!("cannot be read: {error}"))
}

fn describe_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        error => format!("not PEM: {error}"),
    }
}

/// Checks the own certificate as peers will, in either role.
fn check_own(
    chain: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    name: Option<&ServerName<'_>>,
    clock: &Clock,
) -> Result<(), Error> {
    let [own, others @ ..] = chain else { return Err(Error::NoCertificatesPresented) };
    let now = unix_time(clock);
    let parsed = ParsedCertificate::try_from(own)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, now, algorithms)?;
    if let Some(name) = name {
        verify_server_name(&parsed, name)?;
    }
    client_verifier(roots, provider)?.verify_client_cert(own, others, now)?;
    Ok(())
}

fn client_verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

fn configure(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    clock: &Clock,
) -> Result<(ClientConfig, ServerConfig), Error> {
    let time = || Arc::new(WallClock(clock.clone()));
    let verifier = client_verifier(&roots, &provider)?;
    let mut client = ClientConfig::builder_with_details(Arc::clone(&provider), time())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    client.resumption = Resumption::disabled();
    let mut server = ServerConfig::builder_with_details(provider, time())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok((client, server))
}

/// The date for checking whether certificates are valid.
#[derive(Debug)]
pub(crate) struct WallClock(pub(crate) Clock);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(&self.0))
    }
}

/// The date for such checks.
pub(crate) fn unix_time(clock: &Clock) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_nanos(u64::try_from(clock.wall_nanos()).unwrap_or(0)))
}

/// One connection's encryption.
#[derive(Debug)]
pub struct TlsSession {
    connection: Connection,
    /// Puts an error of TLS into words.
    describe: fn(&Error) -> String,
}

impl TlsSession {
    /// A session that begins. `connection` has sent nothing yet. `describe` puts errors into words.
    pub(crate) fn new(mut connection: Connection, describe: fn(&Error) -> String) -> TlsSession {
        connection.set_buffer_limit(Some(PENDING_MAX));
        TlsSession { connection, describe }
    }

    /// Takes what the socket has, decrypts it, and appends it to `input`; after `READ_MAX` bytes
    /// it leaves the rest for the next call.
    ///
    /// # Errors
    /// Errors of the socket and of TLS: the peer's certificate is refused, or the peer breaks the
    /// protocol. An alert to the peer was then written, if the socket took it.
    pub(crate) fn read(
        &mut self,
        socket: &mut (impl Read + Write),
        input: &mut BytesMut,
    ) -> io::Result<Received> {
        let limit = input.len() + READ_MAX;
        while input.len() < limit {
            match self.connection.read_tls(socket) {
                Ok(0) => return Ok(Received::Ended),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Drained),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // An error of the socket while the alert is written would hide the real cause.
                    let _ = self.flush(socket);
                    return Err(failed_as((self.describe)(&error)));
                }
            };
            let start = input.len();
            input.resize(start + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut input[start..])?;
            if state.peer_has_closed() {
                return Ok(Received::Ended);
            }
        }
        Ok(Received::More)
    }

    /// Encrypts what the session has room for and writes what the socket takes. The session may still
    /// hold bytes that it took of `chunks`.
    ///
    /// # Errors
    /// Errors of the socket, and the error that ended the session.
    pub(crate) fn write(&mut self, socket: &mut impl Write, chunks: &[IoSlice<'_>]) -> io::Result<Sent> {
        if !self.flush(socket)? {
            return Ok(Sent { bytes: 0, is_blocked: true });
        }
        let bytes = self.connection.writer().write_vectored(chunks)?;
        let is_flushed = self.flush(socket)?;
        // During the TLS handshake the session keeps what it takes, up to its limit. Only a read, which
        // completes the handshake, lets it write that.
        Ok(Sent { bytes, is_blocked: !is_flushed })
    }

    /// Whether it has bytes for the socket, its own or those of earlier writes.
    pub(crate) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Sends close_notify, so that the peer can distinguish the end of the stream from a cut.
    pub(crate) fn close(&mut self, socket: &mut impl Write) {
        self.connection.send_close_notify();
        // The connection is closed even if the socket does not take close_notify.
        let _ = self.flush(socket);
    }

    /// Writes what the session holds. Returns whether the socket took all of it.
    fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn failed(error: Error) -> io::Error {
    failed_as(describe(&error))
}

fn failed_as(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {why}"))
}

/// The message of an error of rustls, in terms of `[net.tls]` where that is clearer.
pub(crate) fn describe(error: &Error) -> String {
    use CertificateError as Bad;
    let text = match error {
        // `BadSignature`: another authority with the same name has signed it.
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "the certificate is not signed by `authority`"
        }
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => "the certificate has expired",
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "the certificate is not valid yet"
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "the certificate is made out to another name: it needs the address that peers dial, or \
             `name` of `[net.tls]`"
        }
        Error::InvalidCertificate(Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. }) => {
            "the certificate must allow the use by servers and by clients"
        }
        Error::NoCertificatesPresented => "the peer shows no certificate",
        Error::InconsistentKeys(_) => "the key does not belong to the certificate",
        Error::InvalidMessage(_) => "the peer does not speak TLS",
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::DecryptError
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnsupportedCertificate,
        ) => "the peer refuses our certificate",
        _ => return error.to_string(),
    };
    format!("{text} ({error})")
}
