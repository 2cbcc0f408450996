//! `[net]`: the connections between the workers of a topology.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::auto::AutoOr;
use crate::config::limits::{self, DURATION_MAX};
use crate::config::problems::{OptionProblem, Problems};

/// The bounds of `frame_max`. A frame of the smallest size holds any payload that is not tuples; one of
/// the largest size holds one tuple of any size that a topology may allow.
pub const FRAME_MAX_RANGE: RangeInclusive<usize> = limits::FRAME_MIN..=limits::FRAME_MAX;

/// The bounds of the buffers of a socket, if they are set.
const BUFFER_RANGE: RangeInclusive<usize> = limits::SOCKET_BUFFER_MIN..=limits::SOCKET_BUFFER_MAX;

/// `[net]`: how workers listen, dial and watch each other. The parent sends it to every worker as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetOptions {
    /// `listen`: where a worker accepts connections of its peers; port 0: the system chooses.
    pub listen: SocketAddr,
    /// `insecure`: whether an address that others can reach may be bound without `tls`.
    pub insecure: bool,
    /// `frame_max`: the most bytes of the payload of a frame, within [`FRAME_MAX_RANGE`]. If a peer
    /// announces more, its connection is closed before memory is allocated.
    pub frame_max: usize,
    /// `heartbeat`: a connection on which nothing was written for so long writes a heartbeat.
    pub heartbeat: Duration,
    /// `silence`: a connection on which nothing was received for so long counts as dead.
    pub silence: Duration,
    /// `handshake_timeout`: a handshake that takes longer is given up. It grows, up to four times, while
    /// handshakes with a peer that is alive are late.
    pub handshake_timeout: Duration,
    /// `reconnect_min`: the bound of the first pause before a peer is dialed again. Each bound is twice
    /// the one before; a pause is random, from 0 to its bound.
    pub reconnect_min: Duration,
    /// `reconnect_max`: the largest such bound.
    pub reconnect_max: Duration,
    /// `link_lost`: a peer that could not be reached for so long is reported to the parent, which
    /// replaces it.
    pub link_lost: Duration,
    /// `linger`: after a write, how long further tuples and acks may be collected before they are written
    /// together. Enough of them are written earlier. Zero: they are always written at once.
    pub linger: Duration,
    /// `send_buffer`: the size of the kernel's send buffer of each connection; auto: the kernel chooses
    /// and adapts it.
    pub send_buffer: AutoOr<usize>,
    /// `receive_buffer`: the same for the receive buffer.
    pub receive_buffer: AutoOr<usize>,
    /// `[net.tls]`; `None`: plain TCP.
    pub tls: Option<TlsPaths>,
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
            linger: Duration::from_micros(400),
            send_buffer: AutoOr::Auto,
            receive_buffer: AutoOr::Auto,
            tls: None,
        }
    }
}

/// `[net.tls]`: mutual TLS. Both ends of a connection present a certificate that `authority` signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsPaths {
    /// `certificate`: a PEM file with the worker's certificate, and any intermediate certificates up to
    /// the authority's.
    pub certificate: PathBuf,
    /// `key`: a PEM file with the private key of the certificate.
    pub key: PathBuf,
    /// `authority`: a PEM file with the certificates of the authorities that peers may be signed by.
    pub authority: PathBuf,
    /// `name`: the DNS name or address to which the certificates of all workers are issued, if it is the
    /// same for all. `None`: each is issued to the address at which its worker is dialed.
    pub name: Option<String>,
}

impl NetOptions {
    /// Everything that is wrong with these options.
    pub fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = Problems::default();
        problems.size("net.frame_max", self.frame_max, &FRAME_MAX_RANGE);
        self.check_times(&mut problems);
        for (key, size) in
            [("net.send_buffer", self.send_buffer), ("net.receive_buffer", self.receive_buffer)]
        {
            if let AutoOr::Fixed(size) = size {
                problems.size(key, size, &BUFFER_RANGE);
            }
        }
        self.check_exposure(&mut problems);
        if let Some(tls) = &self.tls {
            tls.check(&mut problems);
        }
        problems.0
    }

    fn check_times(&self, problems: &mut Problems) {
        let least = limits::HEARTBEAT_MIN;
        problems.period("net.heartbeat", self.heartbeat, least, limits::HEARTBEAT_MAX);
        problems.twice(("net.silence", self.silence), ("net.heartbeat", self.heartbeat));
        problems.period("net.silence", self.silence, 2 * least, limits::SILENCE_MAX);
        problems.period("net.handshake_timeout", self.handshake_timeout, least, limits::SILENCE_MAX);
        let least = limits::PAUSE_MIN;
        problems.period("net.reconnect_min", self.reconnect_min, least, limits::RECONNECT_MAX);
        problems.period("net.reconnect_max", self.reconnect_max, least, limits::RECONNECT_MAX);
        problems
            .at_least(("net.reconnect_max", self.reconnect_max), ("net.reconnect_min", self.reconnect_min));
        problems.period("net.linger", self.linger, Duration::ZERO, limits::LINGER_MAX);
        problems.period("net.link_lost", self.link_lost, least, DURATION_MAX);
        problems.at_least(("net.link_lost", self.link_lost), ("net.silence", self.silence));
    }

    /// An address that other machines can reach needs TLS, unless `insecure` allows it: without TLS,
    /// tuples are readable on the network.
    fn check_exposure(&self, problems: &mut Problems) {
        if self.listen.ip().is_loopback() || self.tls.is_some() || self.insecure {
            return;
        }
        let message = format!(
            "`net.listen` is {}, which other machines can reach, but there is no `[net.tls]`: tuples would \
             cross the network readable and unprotected against change",
            self.listen
        );
        let help = "configure `[net.tls]`, or listen on 127.0.0.1; `insecure = true` in `[net]` allows it, \
                    for a network that you trust";
        problems.add("net.listen", Some("net.insecure"), message, help);
    }
}

impl TlsPaths {
    fn check(&self, problems: &mut Problems) {
        let paths = [
            ("net.tls.certificate", &self.certificate),
            ("net.tls.key", &self.key),
            ("net.tls.authority", &self.authority),
        ];
        for (key, _) in paths.into_iter().filter(|(_, path)| path.as_os_str().is_empty()) {
            let name = key.trim_start_matches("net.tls.");
            let message = format!("`[net.tls]` has no `{name}`");
            let help = format!("for example `{name} = \"tls/{name}.pem\"`; all three files are needed");
            problems.add(key, None, message, help);
        }
        if self.name.as_ref().is_some_and(String::is_empty) {
            let help = "leave it out, if each certificate is made out to the address of its worker";
            problems.add("net.tls.name", None, "`net.tls.name` is empty".to_owned(), help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problems::assert_problems;

    #[track_caller]
    fn check(change: impl Fn(&mut NetOptions), expected: &[(&str, &str)]) {
        let mut options = NetOptions::default();
        change(&mut options);
        assert_problems(&options.problems(), expected);
    }

    #[test]
    fn only_loopback_is_bound_without_tls() {
        let open = |o: &mut NetOptions| o.listen = "0.0.0.0:7000".parse().unwrap();
        check(|_| {}, &[]);
        check(|o| o.listen = "127.8.0.1:1".parse().unwrap(), &[]);
        check(|o| o.listen = "[::1]:0".parse().unwrap(), &[]);
        check(open, &[("net.listen", "`net.listen` is 0.0.0.0:7000, which other machines can reach")]);
        check(|o| o.listen = "[::]:0".parse().unwrap(), &[("net.listen", "[::]:0")]);
        check(|o| o.listen = "192.0.2.1:0".parse().unwrap(), &[("net.listen", "no `[net.tls]`")]);
        check(
            |o| {
                open(o);
                o.insecure = true;
            },
            &[],
        );
        check(
            |o| {
                open(o);
                let path = PathBuf::from("a.pem");
                o.tls = Some(TlsPaths {
                    certificate: path.clone(),
                    key: path.clone(),
                    authority: path,
                    name: None,
                });
            },
            &[],
        );
    }

    #[test]
    fn all_three_files_of_tls_are_needed() {
        check(
            |o| o.tls = Some(TlsPaths { key: PathBuf::from("key.pem"), ..TlsPaths::default() }),
            &[("net.tls.certificate", "no `certificate`"), ("net.tls.authority", "no `authority`")],
        );
        let path = || PathBuf::from("a.pem");
        let name = Some(String::new());
        check(
            |o| {
                o.tls = Some(TlsPaths {
                    certificate: path(),
                    key: path(),
                    authority: path(),
                    name: name.clone(),
                });
            },
            &[("net.tls.name", "is empty")],
        );
    }

    #[test]
    fn numbers_have_bounds() {
        check(|o| o.frame_max = 1000, &[("net.frame_max", "at least 64KiB, not 1000B")]);
        check(|o| o.frame_max = 1 << 40, &[("net.frame_max", "at most 2GiB, not 1024GiB")]);
        check(|o| o.send_buffer = AutoOr::Fixed(1), &[("net.send_buffer", "at least 4KiB, not 1B")]);
        check(|o| o.receive_buffer = AutoOr::Fixed(4096), &[]);
        check(|o| o.heartbeat = Duration::from_millis(1), &[("net.heartbeat", "at least 10ms, not 1ms")]);
        check(|o| o.heartbeat = Duration::from_secs(2), &[("net.silence", "at least twice `net.heartbeat`")]);
        check(
            |o| o.reconnect_max = Duration::from_millis(5),
            &[("net.reconnect_max", "less than `net.reconnect_min`")],
        );
        check(|o| o.link_lost = Duration::from_secs(1), &[("net.link_lost", "less than `net.silence`")]);
        check(
            |o| o.silence = Duration::from_secs(3600),
            &[("net.silence", "at most 5m, not 1h"), ("net.link_lost", "less than")],
        );
    }

    #[test]
    fn options_travel_as_json() {
        let mut options = NetOptions { send_buffer: AutoOr::Fixed(1 << 20), ..NetOptions::default() };
        options.tls = Some(TlsPaths { key: PathBuf::from("key.pem"), ..TlsPaths::default() });
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<NetOptions>(&text).unwrap(), options);
        assert!(serde_json::from_str::<NetOptions>("{}").is_err(), "a worker is sent every field");
    }
}
