//! Which hosts may run workers: those whose supervisors are there, and for a while those whose supervisors are missing.

use std::collections::BTreeMap;
use std::time::Duration;

use smol_str::SmolStr;

use crate::clock::Time;
use crate::cluster::daemons::supervisor::SupervisorRecord;
use crate::cluster::schedule::{Host, HostState, Slot};
use crate::config::{Cpu, Resources, limits};

/// The hosts that a leader knows. Another leader begins with none.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeMap<SmolStr, Known>);

#[derive(Debug)]
struct Known {
    /// What its supervisor has offered; `None`: this leader has not seen it.
    offered: Option<Host>,
    missing_since: Option<Time>,
}

impl Hosts {
    /// Takes note of which supervisors are there at this time. `used`: the slots that have workers, and one slot 0 of each
    /// host that has a master.
    pub fn see(&mut self, supervisors: &[SupervisorRecord], used: &[Slot], now: Time) {
        let offered: BTreeMap<SmolStr, Host> =
            supervisors.iter().map(|supervisor| (SmolStr::new(&supervisor.id), host(supervisor))).collect();
        for slot in used {
            let unseen = Known { offered: None, missing_since: Some(now) };
            self.0.entry(slot.host.clone()).or_insert(unseen);
        }
        for (id, host) in &offered {
            let there = Known { offered: Some(host.clone()), missing_since: None };
            self.0.insert(id.clone(), there);
        }
        for (id, known) in &mut self.0 {
            if !offered.contains_key(id) {
                known.missing_since.get_or_insert(now);
            }
        }
    }

    /// The hosts to place on: those that are there, and those that have been missing for less than `timeout`. What runs on
    /// a missing host stays there, and others come there only if there is no other place.
    pub fn view(&self, used: &[Slot], timeout: Duration, now: Time) -> Vec<Host> {
        let mut hosts = Vec::new();
        for (id, known) in &self.0 {
            match known.missing_since {
                None => hosts.extend(known.offered.clone()),
                Some(since) if now < since.after(timeout) => {
                    let host = known.offered.clone().unwrap_or_else(|| unseen(id, used));
                    hosts.push(Host { state: HostState::Blacklisted, ..host });
                }
                Some(_) => {}
            }
        }
        hosts
    }

    /// Forgets hosts that are gone and have nothing. `used`: as [`see`](Hosts::see).
    pub fn forget(&mut self, used: &[Slot], timeout: Duration, now: Time) {
        let is_gone = |known: &Known| known.missing_since.is_some_and(|since| now >= since.after(timeout));
        self.0.retain(|id, known| !is_gone(known) || used.iter().any(|slot| slot.host == *id));
    }

    /// When the next host is gone that is missing now.
    pub fn next_change(&self, timeout: Duration, now: Time) -> Option<Time> {
        let ends = self.0.values().filter_map(|known| Some(known.missing_since?.after(timeout)));
        ends.filter(|end| *end > now).min()
    }
}

fn host(supervisor: &SupervisorRecord) -> Host {
    Host {
        id: SmolStr::new(&supervisor.id),
        rack: SmolStr::new(&supervisor.rack),
        slots: supervisor.slots,
        resources: supervisor.resources,
        state: HostState::Open,
        taken: Vec::new(),
    }
}

/// A host of which nothing is known but what runs there. It has room for that.
fn unseen(id: &SmolStr, used: &[Slot]) -> Host {
    let numbers = used.iter().filter(|slot| slot.host == *id).map(|slot| slot.number);
    Host {
        id: id.clone(),
        rack: SmolStr::default(),
        slots: numbers.max().unwrap_or(0).saturating_add(1),
        resources: Resources { cpu: Cpu::cores(limits::HOST_CORES_MAX), memory: limits::HOST_MEMORY_MAX },
        state: HostState::Blacklisted,
        taken: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::platform::Platform;
    use crate::config::HostOptions;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    fn supervisor(id: &str) -> SupervisorRecord {
        let HostOptions { rack, slots, resources, .. } = HostOptions::default();
        let (token, started_at) = (String::new(), String::new());
        let platform = Platform::of_this_machine();
        SupervisorRecord { id: id.to_owned(), rack, slots, resources, platform, token, started_at }
    }

    fn slot(host: &str, number: u16) -> Slot {
        Slot { host: host.into(), number }
    }

    fn shown(hosts: &Hosts, used: &[Slot], now: Time) -> Vec<(String, HostState)> {
        let view = hosts.view(used, TIMEOUT, now);
        view.into_iter().map(|host| (host.id.to_string(), host.state)).collect()
    }

    #[test]
    fn a_host_is_gone_after_the_timeout_and_used_again_when_it_is_back() {
        let (open, missing) = (HostState::Open, HostState::Blacklisted);
        let mut hosts = Hosts::default();
        hosts.see(&[supervisor("a"), supervisor("b")], &[], at(0));
        assert_eq!(shown(&hosts, &[], at(0)), [("a".to_owned(), open), ("b".to_owned(), open)]);
        hosts.see(&[supervisor("a")], &[], at(10));
        hosts.see(&[supervisor("a")], &[], at(20));
        assert_eq!(hosts.next_change(TIMEOUT, at(20)), Some(at(40)));
        assert_eq!(shown(&hosts, &[], at(39)), [("a".to_owned(), open), ("b".to_owned(), missing)]);
        assert_eq!(shown(&hosts, &[], at(40)), [("a".to_owned(), open)]);
        assert_eq!(hosts.next_change(TIMEOUT, at(40)), None);
        hosts.see(&[supervisor("a"), supervisor("b")], &[], at(50));
        assert_eq!(shown(&hosts, &[], at(50)), [("a".to_owned(), open), ("b".to_owned(), open)]);
    }

    #[test]
    fn a_leader_that_has_never_seen_a_host_waits_for_it_and_for_as_much_as_runs_there() {
        let used = [slot("a", 2)];
        let mut hosts = Hosts::default();
        hosts.see(&[], &used, at(5));
        let view = hosts.view(&used, TIMEOUT, at(34));
        assert_eq!((view[0].slots, view[0].state), (3, HostState::Blacklisted));
        assert_eq!(hosts.view(&used, TIMEOUT, at(35)), []);
        hosts.see(&[], &used, at(36));
        assert_eq!(hosts.view(&used, TIMEOUT, at(36)), [], "it is not waited for again");
        hosts.forget(&used, TIMEOUT, at(36));
        assert_eq!(hosts.0.len(), 1);
        hosts.forget(&[], TIMEOUT, at(36));
        assert!(hosts.0.is_empty());
    }
}
