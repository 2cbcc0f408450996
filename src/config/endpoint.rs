//! Where a nimbus is reached: `HOST:PORT`, or `https://HOST:PORT` with TLS.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// What is wanted instead of something else.
const WANTED: &str =
    "a host and a port are wanted, as in `127.0.0.1:7070`, `[::1]:7070` or `https://nimbus-1:7070`";

/// The address of a nimbus, and whether it is asked over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    is_encrypted: bool,
    /// A host, or `[::1]`, and a port.
    address: String,
}

impl Endpoint {
    /// Whether it is asked over TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether it is on this machine, whatever a name server says.
    pub(crate) fn is_near(&self) -> bool {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The address of a request with this path.
    pub(crate) fn uri(&self, path: &str) -> String {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_encrypted { "https://" } else { "" }, self.address)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        let (is_encrypted, address) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(address), _) => (true, address),
            (None, Some(address)) => (false, address),
            (None, None) => (false, text),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        match address.rsplit_once(':') {
            Some((host, port)) if is_host(host) && is_port(port) => {
                Ok(Endpoint { is_encrypted, address: address.to_owned() })
            }
            _ => Err(WANTED.to_owned()),
        }
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in [
            "127.0.0.1:7070",
            "[::1]:7070",
            "localhost:1",
            "nimbus-1.example.org:7070",
            "https://nimbus-1:7070",
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(text.to_owned()));
        }
        let uri = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.uri("/v1"));
        assert_eq!(uri("http://localhost:7070/"), Ok("http://localhost:7070/v1".to_owned()));
        assert_eq!(uri("https://[::1]:7070"), Ok("https://[::1]:7070/v1".to_owned()));
        for text in [
            "",
            "localhost",
            ":7070",
            "localhost:",
            "localhost:0",
            "localhost:70700",
            "ftp://localhost:7070",
            "https://",
            "https://localhost",
            "https://https://localhost:1",
            "a/b:1",
            "https://a:1/b",
            "user@localhost:7070",
            "https://user:secret@localhost:7070",
            "::1:7070",
            "[::1:7070",
            "a b:1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_on_this_machine_is_known_without_a_name_server() {
        let is_near = |text: &str| text.parse::<Endpoint>().expect("an endpoint").is_near();
        assert!(
            ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "https://127.0.0.1:1"]
                .into_iter()
                .all(is_near)
        );
        assert!(
            !["10.0.0.5:1", "[::2]:1", "localhost.evil.example:1", "https://nimbus:1"]
                .into_iter()
                .any(is_near)
        );
    }
}
