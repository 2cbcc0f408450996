//! `[net]`: how the workers of a topology talk to each other.
//!
//! The values, resolved; how they are written in TOML is read elsewhere. All periods are measured
//! by the monotonic clock.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::AutoOr;

/// What `frame_max` may be. The least holds any control frame and a full batch of small tuples; the
/// length field of a frame could say more than the most, but a link would stand still over it.
pub const FRAME_MAX_RANGE: RangeInclusive<usize> = 64 << 10..=1 << 30;

/// `[net]`. [`Default`] is what an empty table means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetOptions {
    /// `listen`: where a worker accepts its peers; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// `insecure`: whether an address that is not loopback may be bound without TLS.
    pub insecure: bool,
    /// `frame_max`: bytes of a frame's payload, at most; within [`FRAME_MAX_RANGE`].
    pub frame_max: usize,
    /// `heartbeat`: a link that wrote nothing for so long writes a heartbeat.
    pub heartbeat: Duration,
    /// `silence`: a link that heard nothing for so long is dead.
    pub silence: Duration,
    /// `handshake_timeout`: how long a connection may take to be made, and how long its handshake.
    pub handshake_timeout: Duration,
    /// `reconnect_min`: the first pause before a link is dialed again is between 0 and this.
    pub reconnect_min: Duration,
    /// `reconnect_max`: the pause doubles with each attempt, up to this.
    pub reconnect_max: Duration,
    /// `link_lost`: a link that is down for longer is reported, so that a worker is replaced.
    pub link_lost: Duration,
    /// `send_buffer`: bytes of the system's buffer per connection; auto leaves it to the system.
    pub send_buffer: AutoOr<usize>,
    /// `receive_buffer`: the same for what comes in.
    pub receive_buffer: AutoOr<usize>,
    /// `[net.tls]`. `None`: plain TCP.
    pub tls: Option<TlsPaths>,
}

/// `[net.tls]`: PEM files for mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPaths {
    /// `certificate`: this worker's certificate, then those that vouch for it.
    pub certificate: PathBuf,
    /// `key`: its private key.
    pub key: PathBuf,
    /// `authority`: who must have signed the certificates of peers.
    pub authority: PathBuf,
    /// `name`: whom the certificates of workers are made out to (a DNS name, or an address), if that
    /// is the same for all. `None`: each to the address at which its worker is dialed.
    pub name: Option<String>,
}

impl Default for NetOptions {
    fn default() -> NetOptions {
        NetOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            insecure: false,
            frame_max: 16 << 20,
            heartbeat: Duration::from_millis(500),
            silence: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(2),
            reconnect_min: Duration::from_millis(10),
            reconnect_max: Duration::from_secs(1),
            link_lost: Duration::from_secs(10),
            send_buffer: AutoOr::Auto,
            receive_buffer: AutoOr::Auto,
            tls: None,
        }
    }
}
