//! Which hosts lack the secrets of a topology, for people. Where workers may run is decided by the scheduler.

use crate::cluster::schedule::{Host, HostState};
use crate::secrets::SecretName;
use crate::topology::Topology;

/// How many hosts are named.
const HOSTS_NAMED_MAX: usize = 3;

/// What to say of hosts that lack secrets of a topology: each secret that is not on all of them. `None`: no host that may
/// run workers lacks any.
pub(super) fn lacked_secrets(topology: &Topology, hosts: &[Host]) -> Option<String> {
    let usable: Vec<&Host> = usable(hosts).collect();
    let of_secret = |name: &SecretName| {
        let lacking = usable.iter().filter(|host| host.lacks(topology).any(|lacked| lacked == name));
        let lacking: Vec<&str> = lacking.map(|host| host.id.as_str()).collect();
        (!lacking.is_empty()).then(|| format!("{} the secret `{name}`", who_lacks(&lacking, usable.len())))
    };
    let parts: Vec<String> = topology.secrets().filter_map(of_secret).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Why a topology can run nowhere, if no host has all of its secrets.
pub(super) fn nowhere(topology: &Topology, hosts: &[Host]) -> Option<String> {
    // While no host is there, nothing is known of hosts.
    if usable(hosts).next().is_none() || usable(hosts).any(|host| host.lacks(topology).next().is_none()) {
        return None;
    }
    let lacked = lacked_secrets(topology, hosts)?;
    let first = topology
        .secrets()
        .find(|name| usable(hosts).any(|host| host.lacks(topology).any(|it| it == *name)))?;
    Some(format!(
        "no host has all secrets that topology `{}` needs: {lacked}; run `squall secret set {first}` on the hosts that are to \
         run it, each of which reports it within two seconds",
        topology.name()
    ))
}

/// The hosts to which new workers may come.
fn usable(hosts: &[Host]) -> impl Iterator<Item = &Host> {
    hosts.iter().filter(|host| host.state != HostState::Draining && host.slots > 0)
}

/// `no host has`, `host-1 does not have`, `host-1, host-2 and 3 more do not have`.
fn who_lacks(lacking: &[&str], of: usize) -> String {
    let named = lacking.iter().take(HOSTS_NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match lacking.len() {
        all if all == of => "no host has".to_owned(),
        1 => format!("{named} does not have"),
        few if few <= HOSTS_NAMED_MAX => format!("{named} do not have"),
        many => format!("{named} and {} more do not have", many - HOSTS_NAMED_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostOptions;
    use crate::testing::FixedSpout;
    use crate::topology::TopologyBuilder;

    fn topology(secrets: &[&str]) -> Topology {
        let mut builder = TopologyBuilder::new("orders");
        builder.spout("orders", || FixedSpout::new(["id"], Vec::new()));
        secrets.iter().for_each(|name| _ = builder.secret(name.parse().expect("a name")));
        builder.build().expect("it is valid")
    }

    fn host(id: &str, secrets: &[&str]) -> Host {
        let secrets = secrets.iter().map(|name| name.parse().expect("a name")).collect();
        Host { secrets: Some(secrets), ..Host::new(id, &HostOptions::default()) }
    }

    #[test]
    fn a_topology_that_no_host_can_run_is_refused_with_secret_and_hosts() {
        let check = |needs: &[&str], hosts: &[Host], expected: Option<&str>| {
            let why = nowhere(&topology(needs), hosts);
            let why = why.as_deref().map(|why| why.split(';').next().unwrap_or(why));
            assert_eq!(why, expected);
        };
        let all = "no host has all secrets that topology `orders` needs: ";
        check(&[], &[host("a", &[])], None);
        check(&["db"], &[], None);
        check(&["db"], &[host("a", &[]), host("b", &["db"])], None);
        check(&["db"], &[host("a", &[])], Some(&format!("{all}no host has the secret `db`")));
        check(
            &["db", "mq"],
            &[host("a", &["db"]), host("b", &["mq"])],
            Some(&format!("{all}b does not have the secret `db`, a does not have the secret `mq`")),
        );
        let draining = Host { state: HostState::Draining, ..host("b", &["db"]) };
        let expected = format!("{all}no host has the secret `db`");
        check(&["db"], &[host("a", &[]), draining], Some(&expected));
        check(&["db"], &[Host { secrets: None, ..host("a", &[]) }], None);
    }

    #[test]
    fn few_hosts_are_named() {
        let hosts = ["a", "b", "c", "d", "e"].map(|id| host(id, if id == "e" { &["db"] } else { &[] }));
        let lacked = |hosts: &[Host]| lacked_secrets(&topology(&["db"]), hosts);
        assert_eq!(lacked(&hosts).as_deref(), Some("a, b, c and 1 more do not have the secret `db`"));
        assert_eq!(lacked(&hosts[2..]).as_deref(), Some("c, d do not have the secret `db`"));
        assert_eq!(lacked(&hosts[4..]), None);
    }
}
