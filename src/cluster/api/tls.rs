//! TLS of the API.
//!
//! 1. TLS 1.3 only, by rustls on ring. Clients present no certificate: they prove who they are by a token, in the request.
//! 2. No session is resumed, so nothing is kept of a connection that has ended.
//! 3. The files are read once, when the server starts. A mistake in them is an error then, and not in the logs of clients:
//!    the certificate must be valid now and belong to the key; if the authority is known, be signed by it; and be made out
//!    to the name that clients are given.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::version::TLS13;
use rustls::{Error, RootCertStore, ServerConfig};

use crate::clock::Clock;
use crate::config::NimbusTls;
use crate::net::tls::{WallClock, describe, read_certificates, read_private_key, unix_time};
use crate::text::shown;

/// The certificate of a server and its key, read and checked.
#[derive(Clone)]
pub struct ApiTls {
    config: Arc<ServerConfig>,
    own: CertificateDer<'static>,
}

/// Why the files of `[nimbus.tls]` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("nimbus.tls.{key}: {why}")]
pub struct ApiTlsError {
    key: &'static str,
    why: String,
}

impl ApiTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which key of `[nimbus.tls]` is missing or names a file that cannot be used, and what is wrong with it.
    pub fn load(paths: &NimbusTls, clock: &Clock) -> Result<ApiTls, ApiTlsError> {
        let missing =
            |key| move || ApiTlsError { key, why: "a nimbus with `[nimbus.tls]` needs it".to_owned() };
        let certificate = paths.certificate.as_deref().ok_or_else(missing("certificate"))?;
        let key = paths.key.as_deref().ok_or_else(missing("key"))?;
        let of = |key, path: &Path| {
            let path = path.display().to_string();
            move |why: String| ApiTlsError { key, why: format!("{path}: {why}") }
        };
        let (of_certificate, of_key) = (of("certificate", certificate), of("key", key));
        let chain = read_certificates(certificate).map_err(&of_certificate)?;
        let Some(own) = chain.first().cloned() else { return Err(of_certificate("it is empty".to_owned())) };
        if let Some(authority) = &paths.authority {
            let of_authority = of("authority", authority);
            let roots = read_roots(authority).map_err(of_authority)?;
            check_signed(&chain, &roots, clock).map_err(|error| of_certificate(describe(&error)))?;
        }
        let key = read_private_key(key).map_err(&of_key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let configured = ServerConfig::builder_with_details(provider, Arc::new(WallClock(clock.clone())))
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = configured.map_err(|error| of_key(describe(&error)))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(ApiTls { config: Arc::new(config), own })
    }

    /// What encrypts connections.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether the certificate is made out to this host, a name or an address without brackets.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let (parsed, name) = (ParsedCertificate::try_from(&self.own), ServerName::try_from(host));
        matches!((parsed, name), (Ok(parsed), Ok(name)) if verify_server_name(&parsed, &name).is_ok())
    }
}

impl fmt::Debug for ApiTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiTls(..)")
    }
}

/// The authorities in a PEM file.
fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| shown(&error))?;
    }
    Ok(roots)
}

fn check_signed(
    chain: &[CertificateDer<'static>],
    roots: &RootCertStore,
    clock: &Clock,
) -> Result<(), Error> {
    let [own, others @ ..] = chain else { return Err(Error::NoCertificatesPresented) };
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(own)?,
        roots,
        others,
        unix_time(clock),
        algorithms,
    )
}
