//! Who may ask.
//!
//! Whoever reaches the address may do everything, and the address is on loopback. But a page of a stranger that is
//! open in a browser of this machine reaches it, too. It sends its `Origin` with everything that could change
//! something. To read answers, it has to come from the same origin, so the name of its own host would have to lead
//! here (*DNS rebinding*); then that name is in `Host`.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

use crate::cluster::api::answer::{ApiError, ErrorCode};
use crate::text::shown;

/// Refuses what a page in a browser may have sent. `own` is the address that is listened on.
pub(super) fn check(uri: &Uri, headers: &HeaderMap, own: IpAddr) -> Result<(), ApiError> {
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
        if !is_own(host, own) {
            let shown = shown(String::from_utf8_lossy(host));
            return forbidden(format!("this is not the host `{shown}`: ask for localhost, or for {own}"));
        }
    }
    Ok(())
}

/// Whether a host, with or without a port, is this one. Any port, because it may be forwarded.
fn is_own(host: &[u8], own: IpAddr) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address == own)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

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
        ];
        own.iter().for_each(|host| assert!(is_own(host.as_bytes(), OWN), "{host}"));
        let others = [
            "",
            "evil.example",
            "evil.example:7070",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.8",
            "[::2]",
            "0.0.0.0",
            "user@localhost",
            "localhost/",
            "local host",
            "127.1",
        ];
        others.iter().for_each(|host| assert!(!is_own(host.as_bytes(), OWN), "{host}"));
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
            super::check(&uri.parse().unwrap(), &headers, OWN).is_ok()
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
