//! `[zookeeper]`: the ensemble by which the processes of a cluster coordinate.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::config::problems::{OptionProblem, Problems};
use crate::ids::is_node_name;

/// `[zookeeper]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZooKeeperOptions {
    /// `servers`: the members of the ensemble, each a host and a port.
    pub servers: Vec<String>,
    /// `root`: the node below which all nodes of this cluster are.
    pub root: String,
    /// `session_timeout`: after so much silence of a process, ZooKeeper deletes what it holds.
    pub session_timeout: Duration,
    /// `connect_timeout`: how long connecting to a member may take, and how long its first answer.
    pub connect_timeout: Duration,
    /// `read_again`: how often everything is read again, whether or not a change was reported.
    pub read_again: Duration,
    /// `user`: the name for digest authentication. `None`: nobody logs in, and nodes are open to all.
    pub user: Option<String>,
    /// `password_file`: the file with the password of `user`. Nobody else may read it.
    pub password_file: Option<PathBuf>,
    /// `insecure`: whether a server on another machine may be used without a user and TLS.
    pub insecure: bool,
    /// `[zookeeper.tls]`; `None`: plain TCP.
    pub tls: Option<ZooKeeperTls>,
}

/// `[zookeeper.tls]`: TLS to the members of the ensemble. Each must present a certificate for the host by which
/// `servers` names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZooKeeperTls {
    /// `authority`: a PEM file with the certificates of the authorities that members may be signed by.
    pub authority: PathBuf,
    /// `certificate`: a PEM file with the certificate that this process presents, if members ask for one.
    pub certificate: Option<PathBuf>,
    /// `key`: a PEM file with the private key of `certificate`.
    pub key: Option<PathBuf>,
}

impl Default for ZooKeeperOptions {
    fn default() -> ZooKeeperOptions {
        ZooKeeperOptions {
            servers: vec!["127.0.0.1:2181".to_owned()],
            root: "/squall".to_owned(),
            session_timeout: Duration::from_secs(6),
            connect_timeout: Duration::from_secs(2),
            read_again: Duration::from_secs(10),
            user: None,
            password_file: None,
            insecure: false,
            tls: None,
        }
    }
}

impl ZooKeeperOptions {
    /// Everything that is wrong with these options.
    pub fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = Problems::default();
        self.check_servers(&mut problems);
        self.check_root(&mut problems);
        let key = "zookeeper.session_timeout";
        problems.period(key, self.session_timeout, limits::SESSION_MIN, limits::SESSION_MAX);
        let key = "zookeeper.connect_timeout";
        problems.period(key, self.connect_timeout, limits::CONNECT_MIN, limits::SESSION_MAX);
        problems.period("zookeeper.read_again", self.read_again, limits::CONNECT_MIN, limits::SESSION_MAX);
        self.check_user(&mut problems);
        if let Some(tls) = &self.tls {
            tls.check(&mut problems);
        }
        problems.0
    }

    fn check_servers(&self, problems: &mut Problems) {
        const KEY: &str = "zookeeper.servers";
        if self.servers.is_empty() {
            problems.add(KEY, None, format!("`{KEY}` is empty"), "name at least one, as \"127.0.0.1:2181\"");
        }
        for server in &self.servers {
            if host_and_port(server).is_none() {
                let message = format!("`{KEY}`: \"{server}\" is not a host and a port");
                problems.add(KEY, None, message, "write it as \"zoo1.example.org:2181\" or \"[::1]:2181\"");
            }
        }
        let is_protected = self.insecure || (self.tls.is_some() && self.user.is_some());
        let far =
            self.servers.iter().find(|server| host_and_port(server).is_some_and(|(host, _)| !is_near(host)));
        if let Some(far) = far
            && !is_protected
        {
            let lacks = match (&self.tls, &self.user) {
                (None, None) => "neither `[zookeeper.tls]` nor a `user`",
                (None, Some(_)) => "no `[zookeeper.tls]`",
                _ => "no `user`",
            };
            problems.add(
                KEY,
                Some("zookeeper.insecure"),
                format!(
                    "`{KEY}` has {far}, which is on another machine, but there is {lacks}: whoever reaches it \
                     could take over the cluster"
                ),
                "configure both; `insecure = true` in `[zookeeper]` allows it, for a network that you trust",
            );
        }
    }

    fn check_root(&self, problems: &mut Problems) {
        let is_path = self.root.strip_prefix('/').is_some_and(|names| names.split('/').all(is_node_name));
        if !is_path && self.root != "/" {
            let message = format!("`zookeeper.root`: \"{}\" is not the path of a node", self.root);
            let help =
                "it begins with `/`, and its names have letters, digits, `_`, `.` and `-`, as \"/squall\"";
            problems.add("zookeeper.root", None, message, help);
        }
    }

    fn check_user(&self, problems: &mut Problems) {
        match (&self.user, &self.password_file) {
            (Some(_), None) => problems.add(
                "zookeeper.user",
                None,
                "`zookeeper.user` has no `password_file`".to_owned(),
                "name a file with the password, which nobody else may read",
            ),
            (None, Some(_)) => problems.add(
                "zookeeper.password_file",
                None,
                "`zookeeper.password_file` has no `user`".to_owned(),
                "name the user whose password this is",
            ),
            _ => {}
        }
        if let Some(user) = &self.user
            && (user.is_empty() || user.contains(':'))
        {
            let message = "`zookeeper.user` must not be empty or contain a colon".to_owned();
            problems.add("zookeeper.user", None, message, "use another name");
        }
    }
}

impl ZooKeeperTls {
    fn check(&self, problems: &mut Problems) {
        if self.authority.as_os_str().is_empty() {
            let message = "`[zookeeper.tls]` has no `authority`".to_owned();
            let help = "for example `authority = \"tls/authority.pem\"`: whom the members must be signed by";
            problems.add("zookeeper.tls.authority", None, message, help);
        }
        let (key, other) = ("zookeeper.tls.key", "zookeeper.tls.certificate");
        match (&self.certificate, &self.key) {
            (Some(_), None) => {
                problems.add(
                    other,
                    None,
                    format!("`{other}` has no `key`"),
                    "name the file of its private key",
                );
            }
            (None, Some(_)) => {
                problems.add(
                    key,
                    None,
                    format!("`{key}` has no `certificate`"),
                    "name the file of its certificate",
                );
            }
            _ => {}
        }
    }
}

/// The host and the port of `host:port`; the host of `[::1]:2181` is `::1`.
pub fn host_and_port(server: &str) -> Option<(&str, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty() && !host.contains([' ', '/'])).then_some((host, port))
}

/// Whether a host is this machine, whatever a name server says.
fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl Fn(&mut ZooKeeperOptions), expected: &[(&str, &str)]) {
        let mut options = ZooKeeperOptions::default();
        change(&mut options);
        let problems = options.problems();
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, (key, message)) in problems.iter().zip(expected) {
            assert_eq!(problem.key, *key);
            assert!(problem.to_string().contains(message), "{problem}");
        }
    }

    fn servers(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn servers_are_hosts_with_ports() {
        assert_eq!(host_and_port("zoo1:2181"), Some(("zoo1", 2181)));
        assert_eq!(host_and_port("[::1]:2181"), Some(("::1", 2181)));
        for wrong in ["zoo1", "::1:2181", "zoo1:", ":2181", "zoo1:0", "zoo1:99999", "a b:1", "zoo1:2181/x"] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
        check(|o| o.servers.clear(), &[("zookeeper.servers", "is empty")]);
        check(
            |o| o.servers = servers(&["zoo"]),
            &[("zookeeper.servers", "\"zoo\" is not a host and a port")],
        );
    }

    #[test]
    fn another_machine_needs_a_user_and_tls() {
        for near in ["localhost:1", "127.0.0.2:1", "[::1]:1"] {
            check(|o| o.servers = servers(&[near]), &[]);
        }
        let far = |o: &mut ZooKeeperOptions| o.servers = servers(&["127.0.0.1:1", "zoo1:2181"]);
        let with_user = |o: &mut ZooKeeperOptions| {
            far(o);
            (o.user, o.password_file) = (Some("squall".into()), Some("password".into()));
        };
        check(far, &[("zookeeper.servers", "neither `[zookeeper.tls]` nor a `user`")]);
        check(
            with_user,
            &[("zookeeper.servers", "has zoo1:2181, which is on another machine, but there is no `[zoo")],
        );
        let tls = |o: &mut ZooKeeperOptions| {
            o.tls = Some(ZooKeeperTls { authority: "a".into(), ..ZooKeeperTls::default() })
        };
        check(|o| (far(o), tls(o)).0, &[("zookeeper.servers", "there is no `user`")]);
        check(|o| (with_user(o), tls(o)).0, &[]);
        check(|o| (far(o), o.insecure = true).0, &[]);
    }

    #[test]
    fn what_belongs_together_is_given_together() {
        check(|o| o.user = Some("a".into()), &[("zookeeper.user", "has no `password_file`")]);
        check(|o| o.password_file = Some("a".into()), &[("zookeeper.password_file", "has no `user`")]);
        let tls = |certificate: bool| ZooKeeperTls {
            authority: "a".into(),
            certificate: certificate.then(|| "c".into()),
            key: (!certificate).then(|| "k".into()),
        };
        check(|o| o.tls = Some(tls(true)), &[("zookeeper.tls.certificate", "has no `key`")]);
        check(|o| o.tls = Some(tls(false)), &[("zookeeper.tls.key", "has no `certificate`")]);
        check(
            |o| (o.user, o.password_file) = (Some("a:b".into()), Some("p".into())),
            &[("zookeeper.user", "contain a colon")],
        );
        check(
            |o| o.tls = Some(ZooKeeperTls::default()),
            &[("zookeeper.tls.authority", "has no `authority`")],
        );
        for wrong in ["squall", "", "/squall/", "//", "/a/../b", "/ä"] {
            check(|o| o.root = wrong.into(), &[("zookeeper.root", "is not the path of a node")]);
        }
        check(|o| o.root = "/".into(), &[]);
        check(|o| o.session_timeout = Duration::ZERO, &[("zookeeper.session_timeout", "at least 1s")]);
    }
}
