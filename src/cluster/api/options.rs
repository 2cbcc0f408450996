//! What a server is started with.

use std::net::SocketAddr;

use crate::clock::Clock;
use crate::cluster::access::UsersFile;
use crate::cluster::api::limits::ApiLimits;
use crate::cluster::api::tls::ApiTls;

/// What an [`ApiServer`](super::ApiServer) is started with.
#[derive(Debug)]
pub struct ApiOptions {
    /// Where it listens; port 0: on any free port.
    pub listen: SocketAddr,
    /// What it allows.
    pub limits: ApiLimits,
    /// The host names and addresses by which it is asked for, beside that of `listen`, those of this machine and those of
    /// the certificate. The first is the one that others are given.
    pub names: Vec<String>,
    /// With which certificate; `None`: plain HTTP.
    pub tls: Option<ApiTls>,
    /// Who may ask; `None`: anybody.
    pub users: Option<UsersFile>,
    /// By which it limits attempts that fail.
    pub clock: Clock,
}

impl ApiOptions {
    /// Plain HTTP for anybody at this address, within the bounds of `squall nimbus`.
    pub fn on(listen: SocketAddr) -> ApiOptions {
        ApiOptions {
            listen,
            limits: ApiLimits::default(),
            names: Vec::new(),
            tls: None,
            users: None,
            clock: Clock::real(),
        }
    }
}
