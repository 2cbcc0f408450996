//! Whether a page in a browser asks.
//!
//! A page of a stranger that is open in a browser of an operator may reach the server, too. It sends its `Origin` with
//! everything that could change something. To read answers, it has to come from the same origin, so the name of its own
//! host would have to lead here (*DNS rebinding*); then that name is in `Host`. So a request must ask for this host by a
//! name of its own: one of this machine, the address that is listened on, one that was configured, or one that its
//! certificate is made out to.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

use crate::cluster::api::answer::{ApiError, ErrorCode};
use crate::cluster::api::tls::ApiTls;
use crate::text::shown;

/// By which names the server may be asked for.
#[derive(Clone, Debug)]
pub(super) struct OwnNames {
    /// The address that is listened on.
    pub address: IpAddr,
    /// The names and addresses that were configured.
    pub names: Vec<String>,
    /// Whose certificate has names, too.
    pub tls: Option<ApiTls>,
}

impl OwnNames {
    /// The one that others are given.
    pub fn first(&self) -> String {
        self.names.first().cloned().unwrap_or_else(|| self.address.to_string())
    }

    /// Refuses what a page in a browser may have sent.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let forbidden = |message: String| Err(ApiError::new(ErrorCode::Forbidden, message));
        if headers.contains_key(header::ORIGIN) {
            return forbidden(
                "requests with the header `Origin`, as of pages in a browser, are refused".to_owned(),
            );
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return forbidden("a request names one `Host`".to_owned());
        };
        let named = [Some(host.as_bytes()), uri.authority().map(|authority| authority.as_str().as_bytes())];
        for host in named.into_iter().flatten() {
            if !self.has(host) {
                let shown = shown(String::from_utf8_lossy(host));
                let own = self.first();
                return forbidden(format!(
                    "this is not the host `{shown}`: ask for localhost or for {own}; `nimbus.names` gives it more names"
                ));
            }
        }
        Ok(())
    }

    /// Whether a host, with or without a port, is this one. Any port, because it may be forwarded.
    fn has(&self, host: &[u8]) -> bool {
        let Ok(authority) = Authority::try_from(host) else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match host.parse::<IpAddr>() {
            Ok(address) => {
                let is_named = self.names.iter().any(|name| name.parse() == Ok(address));
                address.is_loopback() || address == self.address || is_named || self.is_certified(host)
            }
            Err(_) => {
                let is_named = self.names.iter().any(|name| name.eq_ignore_ascii_case(host));
                host.eq_ignore_ascii_case("localhost") || is_named || self.is_certified(host)
            }
        }
    }

    fn is_certified(&self, host: &str) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_for(host))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn own() -> OwnNames {
        let names = vec!["nimbus-1.example.org".to_owned(), "10.0.0.5".to_owned()];
        OwnNames { address: [192, 0, 2, 7].into(), names, tls: None }
    }

    #[test]
    fn only_own_names_are_own() {
        let own = [
            "localhost",
            "LOCALHOST:7070",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.8.8.8:1",
            "[::1]:7070",
            "192.0.2.7:7070",
            "Nimbus-1.example.org:7070",
            "10.0.0.5:7070",
        ];
        own.iter().for_each(|host| assert!(super::tests::own().has(host.as_bytes()), "{host}"));
        let others = [
            "",
            "evil.example",
            "evil.example:7070",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.8",
            "nimbus-2.example.org",
            "10.0.0.6",
            "[::2]",
            "0.0.0.0",
            "user@localhost",
            "localhost/",
            "local host",
            "127.1",
        ];
        others.iter().for_each(|host| assert!(!super::tests::own().has(host.as_bytes()), "{host}"));
    }

    #[test]
    fn every_place_that_names_a_host_is_looked_at() {
        let check = |uri: &str, hosts: &[&str], origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            hosts
                .iter()
                .for_each(|host| _ = headers.append(header::HOST, HeaderValue::from_str(host).unwrap()));
            origin.iter().for_each(|origin| {
                _ = headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap())
            });
            own().check(&uri.parse().unwrap(), &headers).is_ok()
        };
        assert!(check("/v1/cluster", &["localhost:7070"], None));
        assert!(check("http://localhost:7070/v1/cluster", &["localhost:7070"], None));
        assert!(!check("http://evil.example/v1/cluster", &["localhost:7070"], None));
        assert!(!check("http://localhost/v1/cluster", &["evil.example"], None));
        assert!(!check("/v1/cluster", &[], None));
        assert!(!check("/v1/cluster", &["localhost", "localhost"], None));
        assert!(!check("/v1/cluster", &["localhost"], Some("http://evil.example")));
        assert!(!check("/v1/cluster", &["localhost"], Some("null")));
    }
}
