//! Which worker is cut off, decided from the workers' reports of connections that stay down.
//!
//! Each worker reports the peers to which its connection has been down for `net.link_lost`. A report
//! alone does not show which of the two workers is cut off. The worker with bad connections to the most
//! peers counts as cut off. If two workers are equal in that, it is the one that more peers report. If
//! they are equal in that, too, it is the one with the higher number, so that the decision does not
//! depend on the order of the reports.
//!
//! The reports of one cut arrive one after another, so they are collected for [`GATHER`] before the
//! decision. At most one worker is replaced at a time. Its replacement gets as long to connect as any
//! connection gets, and reports that arrive in that time are ignored.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Time;
use crate::ids::WorkerId;

/// How long reports are collected. Workers repeat them more often than that.
pub const GATHER: Duration = Duration::from_millis(1500);

/// Which worker cannot reach which peer, as reported.
#[derive(Debug)]
pub struct LinkReports {
    /// (the reporting worker, the peer that it cannot reach).
    reported: BTreeSet<(WorkerId, WorkerId)>,
    /// When the decision is made; [`Time::NEVER`] while there is no report.
    decide_at: Time,
    /// Reports that arrive before this are ignored.
    ignored_until: Time,
}

impl LinkReports {
    /// No reports.
    pub fn new() -> LinkReports {
        LinkReports { reported: BTreeSet::new(), decide_at: Time::NEVER, ignored_until: Time::ZERO }
    }

    /// A worker reports that it cannot reach a peer.
    pub fn add(&mut self, who: WorkerId, of: WorkerId, now: Time) {
        if now < self.ignored_until || who == of {
            return;
        }
        self.reported.insert((who, of));
        if self.decide_at == Time::NEVER {
            self.decide_at = now.after(GATHER);
        }
    }

    /// The worker can reach the peer again.
    pub fn withdraw(&mut self, who: WorkerId, of: WorkerId) {
        self.reported.remove(&(who, of));
        if self.reported.is_empty() {
            self.decide_at = Time::NEVER;
        }
    }

    /// A worker died. Its replacement makes new connections, so reports about the old ones are dropped.
    pub fn forget(&mut self, worker: WorkerId) {
        self.reported.retain(|(who, of)| *who != worker && *of != worker);
        if self.reported.is_empty() {
            self.decide_at = Time::NEVER;
        }
    }

    /// When [`LinkReports::decide`] is due.
    pub fn deadline(&self) -> Time {
        self.decide_at
    }

    /// Which worker is to be replaced, if the decision is due. Reports are ignored for `quiet` after it.
    pub fn decide(&mut self, now: Time, quiet: Duration) -> Option<WorkerId> {
        if now < self.decide_at {
            return None;
        }
        let bad_peers = |worker: WorkerId| -> usize {
            let peers = self.reported.iter().filter_map(|(who, of)| match worker {
                worker if worker == *who => Some(*of),
                worker if worker == *of => Some(*who),
                _ => None,
            });
            peers.collect::<BTreeSet<_>>().len()
        };
        let reports_of = |worker| self.reported.iter().filter(|(_, of)| *of == worker).count();
        let involved: BTreeSet<WorkerId> = self.reported.iter().flat_map(|(who, of)| [*who, *of]).collect();
        let worst =
            involved.into_iter().max_by_key(|worker| (bad_peers(*worker), reports_of(*worker), *worker));
        self.reported.clear();
        self.decide_at = Time::NEVER;
        self.ignored_until = now.after(quiet);
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    #[track_caller]
    fn check(reports: &[(u16, u16)], expected: Option<u16>) {
        let mut all = LinkReports::new();
        reports.iter().for_each(|(who, of)| all.add(WorkerId(*who), WorkerId(*of), at(1)));
        assert_eq!(all.decide(at(2), QUIET), None, "too early");
        assert_eq!(all.decide(at(3), QUIET), expected.map(WorkerId), "{reports:?}");
        assert_eq!(all.deadline(), Time::NEVER);
    }

    #[test]
    fn the_worker_that_is_cut_off_goes() {
        check(&[], None);
        check(&[(0, 1), (1, 0)], Some(1));
        check(&[(0, 1)], Some(1));
        check(&[(1, 0)], Some(0));
        // 1 is cut off from all, and sees itself surrounded by the dead.
        check(&[(1, 0), (1, 2), (1, 3), (0, 1), (2, 1), (3, 1)], Some(1));
        // 0 reaches nobody, but is reached.
        check(&[(0, 1), (0, 2)], Some(0));
        // 0 is reached by nobody, but reaches them.
        check(&[(1, 0), (2, 0)], Some(0));
        // Two cuts that have nothing to do with each other: one at a time.
        check(&[(0, 1), (1, 0), (2, 3), (3, 2)], Some(3));
    }

    #[test]
    fn reports_can_be_withdrawn() {
        let mut all = LinkReports::new();
        all.add(WorkerId(0), WorkerId(1), at(1));
        all.add(WorkerId(2), WorkerId(1), at(1));
        all.withdraw(WorkerId(0), WorkerId(1));
        assert_ne!(all.deadline(), Time::NEVER);
        all.forget(WorkerId(1));
        assert_eq!((all.deadline(), all.decide(at(9), QUIET)), (Time::NEVER, None));
    }

    #[test]
    fn one_is_replaced_at_a_time() {
        let mut all = LinkReports::new();
        all.add(WorkerId(0), WorkerId(1), at(1));
        assert_eq!(all.decide(at(3), QUIET), Some(WorkerId(1)));
        all.add(WorkerId(0), WorkerId(2), at(12));
        assert_eq!(all.deadline(), Time::NEVER, "the replacement has time to connect");
        all.add(WorkerId(0), WorkerId(2), at(13));
        assert_eq!(all.decide(at(15), QUIET), Some(WorkerId(2)));
    }
}
