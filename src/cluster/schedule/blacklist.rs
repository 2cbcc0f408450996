//! Hosts that fail too often get no new workers for a while.
//!
//! A host is blacklisted when it failed [`count`](BlacklistOptions::count) times within
//! [`within`](BlacklistOptions::within), and for [`resume_after`](BlacklistOptions::resume_after) from the last of these
//! faults. Then it has a clean slate. The clock is the caller's: every call takes the time since some point, the same
//! for all calls.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use smol_str::SmolStr;

use crate::cluster::schedule::view::{ClusterView, HostState};
use crate::config::BlacklistLimits;

/// When a host is blacklisted, and for how long. [`Default`] has Storm's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlacklistOptions {
    /// So many faults are too many; 0: no host is blacklisted.
    pub count: usize,
    /// The time within which they count.
    pub within: Duration,
    /// How long the host is out.
    pub resume_after: Duration,
}

impl From<BlacklistLimits> for BlacklistOptions {
    fn from(limits: BlacklistLimits) -> BlacklistOptions {
        let BlacklistLimits { tolerance_count, tolerance_time, resume_time } = limits;
        BlacklistOptions {
            count: tolerance_count as usize,
            within: tolerance_time,
            resume_after: resume_time,
        }
    }
}

impl Default for BlacklistOptions {
    fn default() -> BlacklistOptions {
        BlacklistLimits::default().into()
    }
}

/// The faults of hosts, and which of them are blacklisted.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use squall::cluster::schedule::{Blacklist, BlacklistOptions};
///
/// let mut blacklist = Blacklist::new(BlacklistOptions::default());
/// let at = Duration::from_secs;
/// blacklist.fault("a", at(0));
/// blacklist.fault("a", at(10));
/// assert!(!blacklist.is_out("a", at(10)));
/// blacklist.fault("a", at(20));
/// assert!(blacklist.is_out("a", at(1819)));
/// assert!(!blacklist.is_out("a", at(1820)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blacklist {
    options: BlacklistOptions,
    /// The latest faults of each host, at most `count`.
    faults: BTreeMap<SmolStr, VecDeque<Duration>>,
    /// Until when each is out.
    out: BTreeMap<SmolStr, Duration>,
}

impl Blacklist {
    /// No faults so far.
    pub fn new(options: BlacklistOptions) -> Blacklist {
        Blacklist { options, faults: BTreeMap::new(), out: BTreeMap::new() }
    }

    /// A host failed: it was gone, or a worker of it could not be started.
    pub fn fault(&mut self, host: &str, now: Duration) {
        self.forget(now);
        if self.options.count == 0 {
            return;
        }
        let host = SmolStr::new(host);
        let faults = self.faults.entry(host.clone()).or_default();
        faults.push_back(now);
        if faults.len() >= self.options.count {
            self.faults.remove(&host);
            self.out.insert(host, now + self.options.resume_after);
        }
    }

    /// Whether a host is blacklisted.
    pub fn is_out(&self, host: &str, now: Duration) -> bool {
        self.out.get(host).is_some_and(|until| now < *until)
    }

    /// The hosts that are blacklisted, each with the time at which it is back.
    pub fn out(&self, now: Duration) -> impl Iterator<Item = (&str, Duration)> {
        let out = self.out.iter().filter(move |(_, until)| now < **until);
        out.map(|(host, until)| (host.as_str(), *until))
    }

    /// Takes an operator's word that a host is well again.
    pub fn release(&mut self, host: &str) {
        self.out.remove(host);
        self.faults.remove(host);
    }

    /// Marks the hosts of a view that are blacklisted. A draining host stays one.
    pub fn mark(&self, view: &mut ClusterView, now: Duration) {
        for host in view.hosts.iter_mut().filter(|host| host.state == HostState::Open) {
            if self.is_out(&host.id, now) {
                host.state = HostState::Blacklisted;
            }
        }
    }

    /// Forgets what does not count any more, so that hosts that are long gone take no room.
    fn forget(&mut self, now: Duration) {
        let oldest = now.saturating_sub(self.options.within);
        self.out.retain(|_, until| now < *until);
        for faults in self.faults.values_mut() {
            faults.retain(|at| *at >= oldest);
        }
        self.faults.retain(|_, faults| !faults.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blacklist(count: usize, within: u64, resume: u64) -> Blacklist {
        Blacklist::new(BlacklistOptions {
            count,
            within: Duration::from_secs(within),
            resume_after: Duration::from_secs(resume),
        })
    }

    fn out(blacklist: &Blacklist, now: u64) -> Vec<&str> {
        blacklist.out(Duration::from_secs(now)).map(|(host, _)| host).collect()
    }

    /// Storm's `TestBadSupervisor` and `TestResumeBlacklist`: two faults within 200 s, out for 300 s, rounds of 10 s.
    #[test]
    fn storm_blacklists_a_host_that_was_gone_twice_and_resumes_it() {
        let mut blacklist = blacklist(2, 200, 300);
        blacklist.fault("host-0", Duration::from_secs(10));
        assert_eq!(out(&blacklist, 10), [""; 0]);
        blacklist.fault("host-0", Duration::from_secs(20));
        assert_eq!(out(&blacklist, 20), ["host-0"]);
        assert_eq!(out(&blacklist, 319), ["host-0"]);
        assert_eq!(out(&blacklist, 320), [""; 0]);
    }

    /// Storm's `TestList`: a second host, whose faults lie 100 s apart, is out too; both resume one after the other.
    #[test]
    fn storm_blacklists_two_hosts_by_their_own_faults() {
        let mut blacklist = blacklist(2, 200, 300);
        let mut fault = |host, round: u64| blacklist.fault(host, Duration::from_secs(round * 10));
        fault("host-0", 1);
        fault("host-0", 2);
        fault("host-1", 21);
        fault("host-1", 31);
        assert_eq!(out(&blacklist, 310), ["host-0", "host-1"]);
        assert_eq!(out(&blacklist, 320), ["host-1"]);
        assert_eq!(out(&blacklist, 610), [""; 0]);
    }

    #[test]
    fn faults_that_are_too_far_apart_do_not_count_together() {
        let mut blacklist = blacklist(3, 300, 1800);
        for at in [0, 151, 302, 453, 604] {
            blacklist.fault("a", Duration::from_secs(at));
            assert_eq!(out(&blacklist, at), [""; 0], "at {at}");
        }
        blacklist.fault("a", Duration::from_secs(605));
        assert_eq!(out(&blacklist, 605), ["a"]);
    }

    #[test]
    fn without_a_count_no_host_is_blacklisted() {
        let mut blacklist = blacklist(0, 300, 1800);
        (0..10).for_each(|at| blacklist.fault("a", Duration::from_secs(at)));
        assert_eq!(out(&blacklist, 10), [""; 0]);
        assert_eq!(blacklist.faults.len(), 0);
    }

    #[test]
    fn an_operator_can_release_a_host_and_hosts_long_gone_are_forgotten() {
        let mut blacklist = blacklist(1, 300, 1800);
        blacklist.fault("a", Duration::ZERO);
        blacklist.release("a");
        assert_eq!(out(&blacklist, 1), [""; 0]);
        let mut blacklist = self::blacklist(2, 300, 1800);
        (0..100).for_each(|n| blacklist.fault(&format!("h{n}"), Duration::from_secs(n * 301)));
        assert_eq!(blacklist.faults.len(), 1);
    }
}
