//! How commands reach a nimbus: its address, whose certificate it must have, and who asks.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::cli::error::CommandError;
use crate::cli::load::Files;
use crate::cli::topologies::client::{NamedBy, NimbusClient};
use crate::cluster::access::{Token, TokenError};
use crate::cluster::blobs::ReadBlob;
use crate::config::{Endpoint, EngineOptions};
use crate::files::read_private;
use crate::net::tls::read_certificates;
use crate::text::shown;
use crate::topology::declare;

/// Where a nimbus is, if nothing else is said.
pub(in crate::cli) const DEFAULT_ADDRESS: &str = "127.0.0.1:7070";

/// What names a nimbus to commands.
const BY_FLAGS: NamedBy = NamedBy {
    address: "--nimbus or SQUALL_NIMBUS",
    authority: "--nimbus-authority or SQUALL_NIMBUS_AUTHORITY",
};
/// What names it to a supervisor.
const BY_OPTIONS: NamedBy =
    NamedBy { address: "`supervisor.blobs_from`", authority: "`authority` of `[nimbus.tls]`" };

/// Where a nimbus is.
#[derive(clap::Args, Clone, Debug)]
pub(in crate::cli) struct NimbusFlag {
    /// Where a nimbus is reached; several are separated by commas, and the first that answers is asked
    ///
    /// Any nimbus of the cluster will do: one that does not lead names the one that does. With `https://` before it, it is
    /// asked over TLS.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = DEFAULT_ADDRESS,
        env = "SQUALL_NIMBUS",
        hide_env_values = true
    )]
    nimbus: Vec<Endpoint>,

    #[command(flatten)]
    trust: TrustFlags,
}

/// Whom a command trusts, and who it is.
#[derive(clap::Args, Clone, Debug)]
pub(in crate::cli) struct TrustFlags {
    /// The PEM file with the certificates of the authorities that a nimbus asked over TLS must be signed by [default:
    /// `nimbus.tls.authority` of the engine's file that SQUALL_CONFIG names]
    #[arg(long, value_name = "FILE", env = "SQUALL_NIMBUS_AUTHORITY", hide_env_values = true)]
    nimbus_authority: Option<PathBuf>,

    /// The file with your token, as `squall user add` has printed it, which nobody else may read; needed if the nimbus has
    /// users
    #[arg(long, value_name = "FILE", env = "SQUALL_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

/// Bytes of a file with a token.
const TOKEN_FILE_MAX: u64 = 1024;

impl NimbusFlag {
    /// A client of these nimbuses.
    pub(in crate::cli) fn client(&self) -> Result<NimbusClient, CommandError> {
        self.trust.client(self.nimbus.clone())
    }
}

impl TrustFlags {
    /// A client of the nimbuses at these addresses.
    pub(in crate::cli) fn client(&self, endpoints: Vec<Endpoint>) -> Result<NimbusClient, CommandError> {
        let authority = match &self.nimbus_authority {
            Some(file) => Some(file.clone()),
            None if endpoints.iter().any(Endpoint::is_encrypted) => Some(authority_of_engine()?),
            None => None,
        };
        let tls = authority.map(|file| tls_config(&file)).transpose()?;
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        Ok(NimbusClient::new(endpoints, tls, token, BY_FLAGS))
    }
}

/// Reads blobs from the nimbuses that the supervisor of a host is to ask for them. `None`: it is to ask nobody.
pub(in crate::cli) fn blobs_of_nimbuses(engine: &EngineOptions) -> Result<Option<ReadBlob>, CommandError> {
    let options = &engine.supervisor;
    let parsed = options.blobs_from.iter().map(|nimbus| nimbus.parse::<Endpoint>());
    let endpoints: Vec<Endpoint> = parsed.collect::<Result<_, _>>().map_err(CommandError::Refused)?;
    if endpoints.is_empty() {
        return Ok(None);
    }
    let authority = engine.nimbus.tls.as_ref().and_then(|tls| tls.authority.as_deref());
    if authority.is_none() && endpoints.iter().any(Endpoint::is_encrypted) {
        return Err(CommandError::Refused(format!(
            "`supervisor.blobs_from` has a nimbus that is asked over TLS: name the authority that has signed it by {}",
            BY_OPTIONS.authority
        )));
    }
    let tls = authority.map(tls_config).transpose()?;
    let token = options.token_file.as_deref().map(read_token).transpose()?;
    let client = Mutex::new(NimbusClient::new(endpoints, tls, token, BY_OPTIONS));
    Ok(Some(Arc::new(move |hash| {
        let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
        client.blob(hash).map_err(|error| error.to_string())
    })))
}

/// The token in a file that nobody else may read.
fn read_token(file: &Path) -> Result<Token, CommandError> {
    let refused = |why: String| {
        CommandError::Refused(format!("the file with the token, `{}`: {why}", shown(file.display())))
    };
    let bytes = read_private(file, TOKEN_FILE_MAX).map_err(|error| refused(error.to_string()))?;
    // What is wrong with it is said without showing it.
    let token = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
    token.ok_or_else(|| refused(TokenError.to_string()))
}

/// The authority that the engine's file names.
fn authority_of_engine() -> Result<PathBuf, CommandError> {
    let wanted = "name the file with the certificate of its authority by --nimbus-authority or SQUALL_NIMBUS_AUTHORITY";
    let missing = || CommandError::Refused(format!("a nimbus is asked over TLS: {wanted}"));
    let file = env::var("SQUALL_CONFIG").ok().filter(|file| !file.is_empty()).ok_or_else(missing)?;
    let engine = declare::load_engine(&Files, &file).map_err(|errors| {
        let first = errors.diagnostics().first().map(shown).unwrap_or_default();
        CommandError::Refused(format!("the engine's file that SQUALL_CONFIG names has mistakes: {first}"))
    })?;
    engine.nimbus.tls.and_then(|tls| tls.authority).ok_or_else(missing)
}

/// TLS with nimbuses that one of the authorities in this file has signed. No other authority is trusted.
fn tls_config(file: &Path) -> Result<TlsConfig, CommandError> {
    let refused = |why: String| {
        CommandError::Refused(format!("the authority of nimbuses, `{}`: {why}", shown(file.display())))
    };
    let certificates = read_certificates(file).map_err(refused)?;
    check_authorities(&certificates).map_err(refused)?;
    let roots = certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// The client would leave out what it does not understand.
fn check_authorities(certificates: &[CertificateDer<'static>]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    certificates
        .iter()
        .try_for_each(|certificate| roots.add(certificate.clone()).map_err(|error| shown(&error)))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::cluster::topologies::BlobHash;

    /// A nimbus that answers one request, with these bytes, and where it is reached.
    fn answering(bytes: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("it is asked");
            let request = BufReader::new(&stream).lines().map_while(Result::ok);
            request.take_while(|line| !line.is_empty()).for_each(drop);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            stream.write_all(&[head.as_bytes(), bytes].concat()).expect("somebody reads");
        });
        address.to_string()
    }

    fn engine(nimbus: &str) -> EngineOptions {
        let mut engine = EngineOptions::default();
        engine.supervisor.blobs_from = vec![nimbus.to_owned()];
        engine
    }

    #[test]
    fn a_blob_that_comes_damaged_is_an_error() {
        let read = |bytes| {
            let reader = blobs_of_nimbuses(&engine(&answering(bytes))).expect("it is an address");
            reader.expect("nimbuses are asked")(&BlobHash::of(b"the source"))
        };
        assert_eq!(read(b"the source").as_deref(), Ok(&b"the source"[..]));
        let why = read(b"the sauce").unwrap_err();
        assert!(why.contains("came damaged: its 9 bytes have the hash"), "{why}");
    }

    #[test]
    fn what_a_supervisor_needs_to_ask_a_nimbus_is_there_before_it_asks() {
        assert!(blobs_of_nimbuses(&EngineOptions::default()).is_ok_and(|reader| reader.is_none()));
        let refused =
            |engine: &EngineOptions| blobs_of_nimbuses(engine).err().expect("it is refused").to_string();
        let why = refused(&engine("https://nimbus-1:7070"));
        assert!(
            why.contains("name the authority that has signed it by `authority` of `[nimbus.tls]`"),
            "{why}"
        );
        let mut with_token = engine("127.0.0.1:7070");
        with_token.supervisor.token_file = Some("no/such/token".into());
        let why = refused(&with_token);
        assert!(why.contains("the file with the token, `no/such/token`: No such file"), "{why}");
    }

    #[test]
    fn a_supervisor_that_reaches_no_nimbus_names_its_own_option() {
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let reader = blobs_of_nimbuses(&engine(&nobody.expect("a port").to_string())).expect("an address");
        let why = reader.expect("nimbuses are asked")(&BlobHash::of(b"")).unwrap_err();
        assert!(why.contains("name the address of one by `supervisor.blobs_from`"), "{why}");
    }
}
