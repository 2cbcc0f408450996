//! Which hosts may run workers: those whose supervisors are there, and for a while those whose supervisors are missing.
//!
//! A host whose supervisor goes away again and again, or is started again and again, is blacklisted for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smol_str::SmolStr;

use crate::clock::Time;
use crate::cluster::daemons::supervisor::SupervisorRecord;
use crate::cluster::schedule::{Blacklist, BlacklistOptions, Host, HostState, Slot};
use crate::config::{Cpu, Resources, limits};

/// The hosts that a leader knows, and what it holds against them. Another leader begins with none.
#[derive(Debug)]
pub(super) struct Hosts {
    known: BTreeMap<SmolStr, Known>,
    blacklist: Blacklist,
}

#[derive(Debug)]
struct Known {
    /// What its supervisor has offered; `None`: this leader has not seen it.
    offered: Option<Host>,
    /// Which start of the supervisor that was.
    token: SmolStr,
    missing_since: Option<Time>,
}

/// The time, as the blacklist has it.
fn since_start(now: Time) -> Duration {
    now.since(Time::ZERO)
}

impl Hosts {
    pub fn new(blacklist: BlacklistOptions) -> Hosts {
        Hosts { known: BTreeMap::new(), blacklist: Blacklist::new(blacklist) }
    }

    /// Whether this leader has seen it, or something runs there.
    pub fn knows(&self, host: &str) -> bool {
        self.known.contains_key(host)
    }

    /// The hosts that are blacklisted, each with the time at which it is used again.
    pub fn blacklisted(&self, now: Time) -> BTreeMap<SmolStr, Time> {
        let out = self.blacklist.out(since_start(now));
        out.map(|(host, until)| (SmolStr::new(host), Time::ZERO.after(until))).collect()
    }

    /// Takes an operator's word that a host is well again.
    pub fn release(&mut self, host: &str) {
        self.blacklist.release(host);
    }

    /// Takes note of which supervisors are there at this time. `used`: the slots that have workers, and one slot 0 of each
    /// host that has a master.
    pub fn see(&mut self, supervisors: &[SupervisorRecord], used: &[Slot], now: Time) {
        for slot in used {
            let unseen = Known { offered: None, token: SmolStr::default(), missing_since: Some(now) };
            self.known.entry(slot.host.clone()).or_insert(unseen);
        }
        let mut there = BTreeSet::new();
        for supervisor in supervisors {
            let (id, token) = (SmolStr::new(&supervisor.id), SmolStr::new(&supervisor.token));
            let known = Known { offered: Some(host(supervisor)), token, missing_since: None };
            there.insert(id.clone());
            // It went away and came back between two looks.
            let was_started_again = self.known.get(&id).is_some_and(|before| {
                before.offered.is_some() && before.missing_since.is_none() && before.token != known.token
            });
            if was_started_again {
                self.blacklist.fault(&id, since_start(now));
            }
            self.known.insert(id, known);
        }
        for (id, known) in &mut self.known {
            if !there.contains(id) && known.missing_since.is_none() {
                known.missing_since = Some(now);
                self.blacklist.fault(id, since_start(now));
            }
        }
    }

    /// The hosts to place on: those that are there, and those that have been missing for less than `timeout`. What runs on
    /// a missing or a blacklisted host stays there, and others come there only if there is no other place. What runs on
    /// one that is to be empty moves as soon as there is another place. `drained`: whether a host is to be empty.
    pub fn view(
        &self,
        used: &[Slot],
        drained: impl Fn(&str) -> bool,
        timeout: Duration,
        now: Time,
    ) -> Vec<Host> {
        let mut hosts = Vec::new();
        for (id, known) in &self.known {
            let is_missing = match known.missing_since {
                Some(since) if now >= since.after(timeout) => continue,
                missing_since => missing_since.is_some(),
            };
            let host = known.offered.clone().unwrap_or_else(|| unseen(id, used));
            let state = match drained(id) {
                true => HostState::Draining,
                false if is_missing || self.blacklist.is_out(id, since_start(now)) => HostState::Blacklisted,
                false => HostState::Open,
            };
            hosts.push(Host { state, ..host });
        }
        hosts
    }

    /// Forgets hosts that are gone and have nothing. `used`: as [`see`](Hosts::see).
    pub fn forget(&mut self, used: &[Slot], timeout: Duration, now: Time) {
        let is_gone = |known: &Known| known.missing_since.is_some_and(|since| now >= since.after(timeout));
        self.known.retain(|id, known| !is_gone(known) || used.iter().any(|slot| slot.host == *id));
    }

    /// When the next host is gone that is missing now.
    pub fn next_change(&self, timeout: Duration, now: Time) -> Option<Time> {
        let ends = self.known.values().filter_map(|known| Some(known.missing_since?.after(timeout)));
        ends.filter(|end| *end > now).min()
    }
}

fn host(supervisor: &SupervisorRecord) -> Host {
    Host {
        id: SmolStr::new(&supervisor.id),
        rack: SmolStr::new(&supervisor.rack),
        slots: supervisor.slots,
        resources: supervisor.resources,
        secrets: Some(supervisor.secrets.clone()),
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
        secrets: None,
        state: HostState::Blacklisted,
        taken: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostOptions;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    fn supervisor(id: &str) -> SupervisorRecord {
        SupervisorRecord { token: "1".to_owned(), ..SupervisorRecord::new(id, &HostOptions::default()) }
    }

    fn new() -> Hosts {
        Hosts::new(BlacklistOptions::default())
    }

    fn slot(host: &str, number: u16) -> Slot {
        Slot { host: host.into(), number }
    }

    fn shown(hosts: &Hosts, used: &[Slot], now: Time) -> Vec<(String, HostState)> {
        let view = hosts.view(used, |_| false, TIMEOUT, now);
        view.into_iter().map(|host| (host.id.to_string(), host.state)).collect()
    }

    #[test]
    fn a_host_is_gone_after_the_timeout_and_used_again_when_it_is_back() {
        let (open, missing) = (HostState::Open, HostState::Blacklisted);
        let mut hosts = new();
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
        let mut hosts = new();
        hosts.see(&[], &used, at(5));
        let view = hosts.view(&used, |_| false, TIMEOUT, at(34));
        assert_eq!((view[0].slots, view[0].state), (3, HostState::Blacklisted));
        assert_eq!(hosts.view(&used, |_| false, TIMEOUT, at(35)), []);
        hosts.see(&[], &used, at(36));
        assert_eq!(hosts.view(&used, |_| false, TIMEOUT, at(36)), [], "it is not waited for again");
        hosts.forget(&used, TIMEOUT, at(36));
        assert_eq!(hosts.known.len(), 1);
        hosts.forget(&[], TIMEOUT, at(36));
        assert!(hosts.known.is_empty());
    }

    #[test]
    fn a_host_that_is_to_be_empty_is_draining_whether_it_is_there_or_not() {
        let mut hosts = new();
        let state = |hosts: &Hosts, now| {
            let view = hosts.view(&[], |id| id == "a", TIMEOUT, now);
            view.into_iter().map(|host| host.state).collect::<Vec<_>>()
        };
        hosts.see(&[supervisor("a"), supervisor("b")], &[], at(0));
        assert_eq!(state(&hosts, at(0)), [HostState::Draining, HostState::Open]);
        hosts.see(&[supervisor("b")], &[], at(1));
        assert_eq!(state(&hosts, at(1)), [HostState::Draining, HostState::Open]);
        assert_eq!(state(&hosts, at(31)), [HostState::Open]);
    }

    #[test]
    fn a_host_that_goes_away_again_and_again_is_blacklisted_for_a_while() {
        let mut hosts = new();
        let there = supervisor("a");
        for round in 0..3 {
            assert_eq!(hosts.blacklisted(at(20 * round)).len(), 0, "round {round}");
            hosts.see(std::slice::from_ref(&there), &[], at(20 * round));
            hosts.see(&[], &[], at(20 * round + 10));
            hosts.see(&[], &[], at(20 * round + 11));
        }
        hosts.see(&[there], &[], at(60));
        assert_eq!(shown(&hosts, &[], at(60)), [("a".to_owned(), HostState::Blacklisted)]);
        assert_eq!(hosts.blacklisted(at(60)), [("a".into(), at(1850))].into());
        assert_eq!(shown(&hosts, &[], at(1850)), [("a".to_owned(), HostState::Open)]);
        hosts.release("a");
        assert_eq!(shown(&hosts, &[], at(61)), [("a".to_owned(), HostState::Open)]);
    }

    #[test]
    fn a_supervisor_that_is_started_again_between_two_looks_has_been_away_once() {
        let mut hosts = new();
        let start = |token: &str| SupervisorRecord { token: token.to_owned(), ..supervisor("a") };
        for (second, token) in (0..).zip(["1", "2", "3", "3"]) {
            hosts.see(&[start(token)], &[], at(second));
            assert_eq!(shown(&hosts, &[], at(second)), [("a".to_owned(), HostState::Open)], "{second}");
        }
        hosts.see(&[], &[], at(5));
        hosts.see(&[start("4")], &[], at(6));
        assert_eq!(shown(&hosts, &[], at(6)), [("a".to_owned(), HostState::Blacklisted)]);
        // A host that a leader has not seen yet is not known to have been away.
        let mut hosts = new();
        let used = [slot("a", 0)];
        for round in 0..5 {
            hosts.see(&[], &used, at(round));
        }
        assert_eq!(hosts.blacklisted(at(5)), BTreeMap::new());
    }
}
