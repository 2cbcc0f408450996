//! Whether each member of the ensemble can be used.

use std::time::Duration;

use slog::{Discard, Logger, o};

use crate::cli::doctor::finding::Finding;
use crate::clock::Clock;
use crate::cluster::coordination::zookeeper::{OpenError, ZooKeeperClient};
use crate::cluster::coordination::{Coordination, CoordinationError, NodePath};
use crate::config::ZooKeeperOptions;
use crate::config::units::show_duration;
use crate::text::shown;

pub(super) fn examine(options: &ZooKeeperOptions, timeout: Duration) -> Vec<Finding> {
    let of = |server: &String| examine_member(options, server, timeout);
    options.servers.iter().flat_map(of).collect()
}

/// Tries one member: connects to it alone, and makes a node that vanishes.
fn examine_member(options: &ZooKeeperOptions, server: &str, timeout: Duration) -> Vec<Finding> {
    let check = format!("ZooKeeper {server}");
    let alone = ZooKeeperOptions { servers: vec![server.to_owned()], ..options.clone() };
    match try_member(&alone, timeout) {
        Ok(tried) => tried.findings(&check, options),
        Err(OpenOrCall::Open(error)) => vec![Finding::error(check, shown(&error), "mend what it names")],
        Err(OpenOrCall::Call(error)) => vec![Finding::error(check, shown(&error), advice(&error))],
    }
}

/// What a member did.
struct Tried {
    /// Whether the root of the cluster is there.
    has_root: bool,
    /// How long making and removing a node took.
    took: Duration,
    /// How long sessions last.
    timeout: Duration,
}

/// What can fail.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum OpenOrCall {
    Open(#[from] OpenError),
    Call(#[from] CoordinationError),
}

fn try_member(options: &ZooKeeperOptions, timeout: Duration) -> Result<Tried, OpenOrCall> {
    let (clock, logger) = (Clock::real(), Logger::root(Discard, o!()));
    let open = |options: &ZooKeeperOptions| {
        let client = ZooKeeperClient::open_for_reading(options, &clock, &logger, 0)?;
        Ok::<_, OpenError>(client.with_call_timeout(timeout))
    };
    let mut client = open(options)?;
    let has_root = client.children(&NodePath::root())?.is_some();
    if !has_root {
        // Nothing is left behind, so the node is made beside the root that is to come.
        client = open(&ZooKeeperOptions { root: "/".to_owned(), ..options.clone() })?;
        client.children(&NodePath::root())?;
    }
    let process = std::process::id();
    let node = NodePath::root().child(&format!("squall-doctor-{process}")).expect("it is a name");
    let begun = clock.now();
    client.hold(&node, format!("{{\"process\":{process}}}").as_bytes())?;
    client.release(&node)?;
    Ok(Tried { has_root, took: clock.now().since(begun), timeout: client.session().timeout })
}

impl Tried {
    fn findings(&self, check: &str, options: &ZooKeeperOptions) -> Vec<Finding> {
        let root = match self.has_root {
            true => format!("`{}` is there", options.root),
            false => format!("`{}` is not there yet, the first daemon makes it", options.root),
        };
        let took = self.took.as_millis().max(1);
        let mut findings =
            vec![Finding::ok(check, format!("a node was made and removed in {took} ms; {root}"))];
        if self.timeout != options.session_timeout {
            findings.push(Finding::warning(
                check,
                format!(
                    "its sessions last {}, not {} as `zookeeper.session_timeout` has it",
                    show_duration(self.timeout),
                    show_duration(options.session_timeout)
                ),
                "set `minSessionTimeout`, `maxSessionTimeout` or `tickTime` of the ensemble, or the option",
            ));
        }
        findings
    }
}

fn advice(error: &CoordinationError) -> &'static str {
    match error {
        CoordinationError::Refused(..) => {
            "the nodes belong to another user: see `user` and `password_file` of `[zookeeper]`, and `root`"
        }
        CoordinationError::Away(_) => {
            "see whether it runs, `servers` of `[zookeeper]`, and TLS on both sides"
        }
        _ => "try again, and look at the log of the member",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_lasts_otherwise_is_a_warning() {
        let options = ZooKeeperOptions::default();
        let tried = |timeout| Tried { has_root: false, took: Duration::from_micros(10), timeout };
        let findings = tried(options.session_timeout).findings("ZooKeeper a:1", &options);
        let expected =
            "a node was made and removed in 1 ms; `/squall` is not there yet, the first daemon makes it";
        assert_eq!(findings, [Finding::ok("ZooKeeper a:1", expected)]);
        let findings = tried(Duration::from_secs(4)).findings("ZooKeeper a:1", &options);
        assert!(findings[1].found.contains("its sessions last 4s, not 6s"), "{findings:?}");
    }
}
