//! `[nimbus]` and `[nimbus.tls]`: a nimbus, and who reaches its API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::daemons::id_problems;
use crate::config::limits;
use crate::config::problems::{OptionProblem, Problems};

/// The port of a nimbus if nothing is said about it.
pub const NIMBUS_PORT: u16 = 7070;
/// Names that a nimbus may have.
const NAMES_MAX: usize = 16;
/// Characters of the longest name of a host.
const NAME_MAX: usize = 253;

/// `[nimbus]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NimbusOptions {
    /// `id`: how this nimbus is called. `None`: as its host.
    pub id: Option<String>,
    /// `directory`: where it remembers which cluster it belongs to. `None`: below the user's state directory.
    pub directory: Option<PathBuf>,
    /// `listen`: where its API is reached; port 0: the system chooses.
    pub listen: SocketAddr,
    /// `names`: the host names and addresses by which clients ask for its API. The first one is where other nimbuses send
    /// clients to while this one leads. Without any, that is the address of `listen`.
    pub names: Vec<String>,
    /// `users_file`: the users of the API, and the hashes of their tokens. `None`: anybody may do everything.
    pub users_file: Option<PathBuf>,
    /// `insecure`: whether an address that other machines can reach may be listened on without TLS and users.
    pub insecure: bool,
    /// `supervisor_timeout`: what runs on a host is placed elsewhere when its supervisor was missing for so long.
    pub supervisor_timeout: Duration,
    /// `[nimbus.blacklist]`.
    pub blacklist: BlacklistLimits,
    /// `[nimbus.tls]`; `None`: the API is plain HTTP.
    pub tls: Option<NimbusTls>,
}

/// `[nimbus.blacklist]`: when a host whose supervisor goes away again and again gets no new workers for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlacklistLimits {
    /// `tolerance_count`: so many times are too many; 0: never.
    pub tolerance_count: u32,
    /// `tolerance_time`: the time within which they count.
    pub tolerance_time: Duration,
    /// `resume_time`: the host is used again after this time.
    pub resume_time: Duration,
}

impl Default for BlacklistLimits {
    fn default() -> BlacklistLimits {
        BlacklistLimits {
            tolerance_count: 3,
            tolerance_time: Duration::from_secs(300),
            resume_time: Duration::from_secs(1800),
        }
    }
}

impl BlacklistLimits {
    fn check(&self, problems: &mut Problems) {
        let (key, max) = ("nimbus.blacklist.tolerance_count", limits::TOLERANCE_COUNT_MAX);
        if self.tolerance_count > max {
            let message = format!("`{key}` must be at most {max}, not {}", self.tolerance_count);
            let help = "it is how often a supervisor may go away; 0: as often as it will";
            problems.add(key, None, message, help);
        }
        for (key, time) in [
            ("nimbus.blacklist.tolerance_time", self.tolerance_time),
            ("nimbus.blacklist.resume_time", self.resume_time),
        ] {
            problems.period(key, time, limits::BLACKLIST_TIME_MIN, limits::DURATION_MAX);
        }
    }
}

/// `[nimbus.tls]`: TLS for the API, and for the commands that use it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NimbusTls {
    /// `certificate`: a PEM file with the certificate of the nimbus, and any intermediate ones. Not needed by commands.
    pub certificate: Option<PathBuf>,
    /// `key`: a PEM file with the private key of the certificate, which nobody else may read.
    pub key: Option<PathBuf>,
    /// `authority`: a PEM file with the certificates of the authorities that a nimbus must be signed by. Commands need it.
    pub authority: Option<PathBuf>,
}

impl Default for NimbusOptions {
    fn default() -> NimbusOptions {
        NimbusOptions {
            id: None,
            directory: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, NIMBUS_PORT)),
            names: Vec::new(),
            users_file: None,
            insecure: false,
            supervisor_timeout: Duration::from_secs(30),
            blacklist: BlacklistLimits::default(),
            tls: None,
        }
    }
}

impl NimbusOptions {
    /// Everything that is wrong with these options.
    pub fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = Problems(id_problems("nimbus.id", self.id.as_deref()));
        let (key, timeout) = ("nimbus.supervisor_timeout", self.supervisor_timeout);
        problems.period(key, timeout, limits::SUPERVISOR_TIMEOUT_MIN, limits::DURATION_MAX);
        self.blacklist.check(&mut problems);
        self.check_names(&mut problems);
        if let Some(tls) = &self.tls {
            tls.check(&mut problems);
        }
        self.check_exposure(&mut problems);
        problems.0
    }

    fn check_names(&self, problems: &mut Problems) {
        let key = "nimbus.names";
        for name in self.names.iter().filter(|name| !is_host(name)) {
            let message = format!("`{key}`: \"{name}\" is neither a host name nor an address");
            problems.add(
                key,
                None,
                message,
                "write it without a port, as \"nimbus-1.example.org\" or \"10.0.0.5\"",
            );
        }
        if self.names.len() > NAMES_MAX {
            let message = format!("`{key}` has {} names, and may have {NAMES_MAX}", self.names.len());
            problems.add(key, None, message, "name those by which clients ask for this nimbus");
        }
        if self.names.is_empty() && self.listen.ip().is_unspecified() {
            let message =
                format!("`nimbus.listen` is {}, which is no address that clients can ask", self.listen);
            let help = "name the host or the address by which clients reach this nimbus: `names = \
                        [\"nimbus-1.example.org\"]`";
            problems.add("nimbus.listen", Some(key), message, help);
        }
    }

    /// Whether whoever reaches the address may do everything, or read what others do.
    pub fn is_exposed(&self) -> bool {
        let is_encrypted = self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some());
        let is_safe = is_encrypted && self.users_file.is_some();
        !is_safe && !self.listen.ip().is_loopback()
    }

    fn check_exposure(&self, problems: &mut Problems) {
        if !self.is_exposed() || self.insecure {
            return;
        }
        let has_certificate = self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some());
        let lacks = match (has_certificate, &self.users_file) {
            (false, None) => "neither `[nimbus.tls]` with a certificate nor a `users_file`",
            (false, Some(_)) => "no `[nimbus.tls]` with a certificate",
            _ => "no `users_file`",
        };
        let message = format!(
            "`nimbus.listen` is {}, which other machines can reach, but there is {lacks}: whoever reaches it could run \
             programs on the hosts of the cluster",
            self.listen
        );
        let help = "configure both, or listen on 127.0.0.1 and forward a port with `ssh -L`; `insecure = true` in `[nimbus]` \
                    allows it, for a network that you trust";
        problems.add("nimbus.listen", Some("nimbus.insecure"), message, help);
    }
}

impl NimbusTls {
    fn check(&self, problems: &mut Problems) {
        let pair = [
            ("certificate", "key", &self.certificate, &self.key),
            ("key", "certificate", &self.key, &self.certificate),
        ];
        for (has, lacks, first, second) in pair {
            if first.is_some() && second.is_none() {
                let key = if has == "key" { "nimbus.tls.key" } else { "nimbus.tls.certificate" };
                let message = format!("`[nimbus.tls]` has a `{has}` and no `{lacks}`");
                let help = format!(
                    "for example `{lacks} = \"tls/nimbus.{}\"`",
                    if lacks == "key" { "key" } else { "pem" }
                );
                problems.add(key, None, message, help);
            }
        }
        if self.certificate.is_none() && self.key.is_none() && self.authority.is_none() {
            let help = "a nimbus needs `certificate` and `key`, commands need `authority`";
            problems.add("nimbus.tls", None, "`[nimbus.tls]` is empty".to_owned(), help);
        }
    }
}

/// Whether this can be the host of a request: a name, or an address without brackets.
fn is_host(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    text.parse::<IpAddr>().is_ok()
        || (!text.is_empty() && text.len() <= NAME_MAX && text.chars().all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problems::assert_problems;

    #[track_caller]
    fn check(change: impl Fn(&mut NimbusOptions), expected: &[(&str, &str)]) {
        let mut options = NimbusOptions::default();
        change(&mut options);
        assert_problems(&options.problems(), expected);
    }

    fn listen(options: &mut NimbusOptions, address: &str) {
        options.listen = address.parse().unwrap();
    }

    #[test]
    fn an_address_that_others_reach_needs_tls_and_users() {
        check(|_| {}, &[]);
        check(|o| listen(o, "127.8.0.1:0"), &[]);
        check(|o| listen(o, "[::1]:7070"), &[]);
        let tls = |o: &mut NimbusOptions| {
            let path = || Some(PathBuf::from("a.pem"));
            o.tls = Some(NimbusTls { certificate: path(), key: path(), authority: None });
        };
        let users = |o: &mut NimbusOptions| o.users_file = Some(PathBuf::from("users.toml"));
        let far = |o: &mut NimbusOptions| listen(o, "192.0.2.7:7070");
        check(
            far,
            &[("nimbus.listen", "192.0.2.7:7070, which other machines can reach, but there is neither")],
        );
        check(|o| (far(o), tls(o)).0, &[("nimbus.listen", "there is no `users_file`")]);
        check(
            |o| (far(o), users(o)).0,
            &[("nimbus.listen", "there is no `[nimbus.tls]` with a certificate")],
        );
        check(|o| (far(o), users(o), tls(o)).0, &[]);
        check(|o| (far(o), o.insecure = true).0, &[]);
        // An authority is for commands: with it alone, nothing is encrypted.
        let authority = |o: &mut NimbusOptions| {
            o.tls = Some(NimbusTls { authority: Some(PathBuf::from("a.pem")), ..NimbusTls::default() });
        };
        check(|o| (far(o), users(o), authority(o)).0, &[("nimbus.listen", "there is no `[nimbus.tls]`")]);
    }

    #[test]
    fn clients_need_an_address_that_they_can_ask() {
        let all = |o: &mut NimbusOptions| (listen(o, "0.0.0.0:7070"), o.insecure = true).0;
        check(all, &[("nimbus.listen", "no address that clients can ask")]);
        check(
            |o| (all(o), listen(o, "[::]:7070")).0,
            &[("nimbus.listen", "no address that clients can ask")],
        );
        check(|o| (all(o), o.names = vec!["nimbus-1".to_owned()]).0, &[]);
    }

    #[test]
    fn names_are_those_of_hosts() {
        for text in ["nimbus-1.example.org", "10.0.0.5", "::1"] {
            check(|o| o.names = vec![text.to_owned()], &[]);
        }
        for text in ["", "nimbus:7070", "https://nimbus", "a b", "[::1]", "nimbus/1", "é"] {
            check(
                |o| o.names = vec![text.to_owned()],
                &[("nimbus.names", "neither a host name nor an address")],
            );
        }
        check(|o| o.names = vec!["n".to_owned(); 17], &[("nimbus.names", "17 names, and may have 16")]);
    }

    #[test]
    fn a_certificate_has_a_key() {
        let tls = |certificate: bool, key: bool, authority: bool| {
            let path = |is_there: bool| is_there.then(|| PathBuf::from("a.pem"));
            let tls =
                NimbusTls { certificate: path(certificate), key: path(key), authority: path(authority) };
            move |o: &mut NimbusOptions| o.tls = Some(tls.clone())
        };
        check(tls(true, true, false), &[]);
        check(tls(false, false, true), &[]);
        check(tls(true, false, true), &[("nimbus.tls.certificate", "has a `certificate` and no `key`")]);
        check(tls(false, true, false), &[("nimbus.tls.key", "has a `key` and no `certificate`")]);
        check(tls(false, false, false), &[("nimbus.tls", "`[nimbus.tls]` is empty")]);
    }
}
