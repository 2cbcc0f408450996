//! TLS to the members of the ensemble, as `[zookeeper.tls]` configures it.
//!
//! 1. TLS 1.3 or 1.2, by rustls on ring: ZooKeeper 3.8 speaks 1.2 unless it is configured otherwise.
//! 2. A member must present a certificate that is valid now, signed by `authority`, and made out to the host by which
//!    `servers` names the member. There is no way to leave this out.
//! 3. The files are read once, when the client is made. A mistake in them is an error then.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::clock::Clock;
use crate::config::ZooKeeperTls;
use crate::net::tls::{TlsSession, WallClock, read_certificates, read_private_key};
use crate::net::transport::Transport;
use crate::text::shown;

/// What is needed to encrypt a connection to a member.
pub(super) struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which key of `[zookeeper.tls]` names a file that cannot be read or used, and what is wrong with it.
    pub fn load(paths: &ZooKeeperTls, clock: &Clock) -> Result<Tls, String> {
        let of = |key: &'static str, path: &Path| {
            let path = path.display().to_string();
            move |why: String| format!("zookeeper.tls.{key}: {path}: {why}")
        };
        let of_authority = of("authority", &paths.authority);
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(&paths.authority).map_err(&of_authority)? {
            roots.add(certificate).map_err(|error| of_authority(shown(&error)))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(WallClock(clock.clone())))
            .with_safe_default_protocol_versions()
            .map_err(|error| shown(&error))?
            .with_root_certificates(roots);
        let mut config = match (&paths.certificate, &paths.key) {
            (Some(certificate), Some(key)) => {
                let chain = read_certificates(certificate).map_err(of("certificate", certificate))?;
                let of_key = of("key", key);
                let key = read_private_key(key).map_err(&of_key)?;
                config.with_client_auth_cert(chain, key).map_err(|error| of_key(shown(&error)))?
            }
            _ => config.with_no_client_auth(),
        };
        // Each connection checks the certificates again.
        config.resumption = Resumption::disabled();
        Ok(Tls { config: Arc::new(config) })
    }

    /// The encryption of a connection to this host.
    ///
    /// # Errors
    /// When the host is neither a name nor an address.
    pub fn dial(&self, host: &str) -> Result<Transport, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("`{}` is neither a host name nor an address", shown(host)))?;
        let connection =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(|error| shown(&error))?;
        Ok(Transport::Tls(Box::new(TlsSession::new(connection.into(), |error| shown(error)))))
    }
}
