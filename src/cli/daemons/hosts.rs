//! Hosts of a cluster as people see them.

use std::time::Duration;

use crate::cluster::operations::{ClusterInfo, HostInfo, HostedInfo};
use crate::text::shown;

/// A host of a cluster, whether its supervisor is there or not.
pub(super) fn find(cluster: ClusterInfo, id: &str) -> Option<HostInfo> {
    let there = cluster.supervisors.into_iter().map(|supervisor| supervisor.host);
    there.chain(cluster.missing).find(|host| host.id == id)
}

/// How a host is.
pub(in crate::cli) fn state(host: &HostInfo) -> String {
    let blacklisted = host.blacklisted_for.map(|seconds| {
        format!("blacklisted for {}", humantime::format_duration(Duration::from_secs(seconds.max(1))))
    });
    let drained = host.drained_since.as_ref().map(|_| match host.runs.is_empty() {
        true => "drained".to_owned(),
        false => "draining".to_owned(),
    });
    let missing = (!host.is_there).then(|| "missing".to_owned());
    let states: Vec<String> = [missing, drained, blacklisted].into_iter().flatten().collect();
    if states.is_empty() { "open".to_owned() } else { states.join(", ") }
}

/// What a topology has on a host, and why it stays there.
pub(in crate::cli) fn hosted(hosted: &HostedInfo) -> String {
    let workers: Vec<String> = hosted.workers.iter().map(u16::to_string).collect();
    let workers = match workers.len() {
        0 => None,
        1 => Some(format!("worker {}", workers[0])),
        _ => Some(format!("workers {}", workers.join(" "))),
    };
    let master = hosted.master.then(|| "master".to_owned());
    let parts: Vec<String> = workers.into_iter().chain(master).collect();
    let short = hosted.short.as_ref().map_or_else(String::new, |short| format!(": {}", shown(short)));
    format!("{} ({}){short}", shown(&hosted.topology), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(workers: &[u16], master: bool) -> HostedInfo {
        HostedInfo { topology: "words".to_owned(), workers: workers.to_vec(), master, short: None }
    }

    #[test]
    fn a_host_is_shown_with_all_that_is_said_about_it() {
        let check = |drained, blacklisted_for, is_there, runs: &[HostedInfo], expected: &str| {
            let drained_since = Some("2026-11-30T08:00:00Z".to_owned()).filter(|_| drained);
            let (id, runs) = ("a".to_owned(), runs.to_vec());
            let host = HostInfo { id, is_there, drained_since, blacklisted_for, runs, ..HostInfo::default() };
            assert_eq!(state(&host), expected);
        };
        check(false, None, true, &[words(&[0], false)], "open");
        check(true, None, true, &[], "drained");
        check(true, None, true, &[words(&[], true)], "draining");
        check(false, Some(90), true, &[], "blacklisted for 1m 30s");
        check(true, Some(0), false, &[], "missing, drained, blacklisted for 1s");
    }

    #[test]
    fn what_is_there_is_named_with_the_reason_why_it_stays() {
        assert_eq!(hosted(&words(&[0, 2], true)), "words (workers 0 2, master)");
        assert_eq!(hosted(&words(&[1], false)), "words (worker 1)");
        let stays = HostedInfo { short: Some("no room".to_owned()), ..words(&[], true) };
        assert_eq!(hosted(&stays), "words (master): no room");
    }
}
