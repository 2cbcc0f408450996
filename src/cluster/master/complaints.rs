//! Which worker is cut off, told from who cannot reach whom.
//!
//! A link that is down for long has two ends, and each blames the other. The worker with the most
//! peers on bad links is the one that is cut off, in whichever direction; if two are equal, the one
//! more peers complain of; if these are equal too, somebody has to go, and it is the one with the
//! higher number, so that two looks at the same state agree.
//!
//! Complaints of one cut arrive one after another, so they are gathered for [`GATHER`] before
//! anything is concluded. At most one worker is replaced at a time: its replacement gets as long to
//! connect as any link gets, before complaints are heard again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Time;
use crate::ids::WorkerId;

/// How long complaints are gathered. Workers repeat them more often than that.
pub const GATHER: Duration = Duration::from_millis(1500);

/// Who complains of whom.
#[derive(Debug)]
pub struct Complaints {
    /// (who, of whom).
    standing: BTreeSet<(WorkerId, WorkerId)>,
    /// When it is concluded; [`Time::NEVER`] while nobody complains.
    conclude_at: Time,
    /// Before this nobody is heard.
    deaf_until: Time,
}

impl Complaints {
    /// Nobody complains.
    pub fn new() -> Complaints {
        Complaints { standing: BTreeSet::new(), conclude_at: Time::NEVER, deaf_until: Time::ZERO }
    }

    /// Somebody cannot reach a peer.
    pub fn add(&mut self, who: WorkerId, of: WorkerId, now: Time) {
        if now < self.deaf_until || who == of {
            return;
        }
        self.standing.insert((who, of));
        if self.conclude_at == Time::NEVER {
            self.conclude_at = now.after(GATHER);
        }
    }

    /// The peer can be reached again.
    pub fn withdraw(&mut self, who: WorkerId, of: WorkerId) {
        self.standing.remove(&(who, of));
        if self.standing.is_empty() {
            self.conclude_at = Time::NEVER;
        }
    }

    /// Somebody died: their links begin anew, and so do complaints.
    pub fn forget(&mut self, worker: WorkerId) {
        self.standing.retain(|(who, of)| *who != worker && *of != worker);
        if self.standing.is_empty() {
            self.conclude_at = Time::NEVER;
        }
    }

    /// When [`Complaints::conclude`] has something to say.
    pub fn deadline(&self) -> Time {
        self.conclude_at
    }

    /// Who is to be replaced, if the time has come. Nobody is heard for `quiet` after that.
    pub fn conclude(&mut self, now: Time, quiet: Duration) -> Option<WorkerId> {
        if now < self.conclude_at {
            return None;
        }
        let bad_peers = |worker: WorkerId| -> usize {
            let peers = self.standing.iter().filter_map(|(who, of)| match worker {
                worker if worker == *who => Some(*of),
                worker if worker == *of => Some(*who),
                _ => None,
            });
            peers.collect::<BTreeSet<_>>().len()
        };
        let complaints_of = |worker| self.standing.iter().filter(|(_, of)| *of == worker).count();
        let involved: BTreeSet<WorkerId> = self.standing.iter().flat_map(|(who, of)| [*who, *of]).collect();
        let worst =
            involved.into_iter().max_by_key(|worker| (bad_peers(*worker), complaints_of(*worker), *worker));
        self.standing.clear();
        self.conclude_at = Time::NEVER;
        self.deaf_until = now.after(quiet);
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
    fn check(complaints: &[(u16, u16)], expected: Option<u16>) {
        let mut all = Complaints::new();
        complaints.iter().for_each(|(who, of)| all.add(WorkerId(*who), WorkerId(*of), at(1)));
        assert_eq!(all.conclude(at(2), QUIET), None, "too early");
        assert_eq!(all.conclude(at(3), QUIET), expected.map(WorkerId), "{complaints:?}");
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
    fn complaints_can_be_withdrawn() {
        let mut all = Complaints::new();
        all.add(WorkerId(0), WorkerId(1), at(1));
        all.add(WorkerId(2), WorkerId(1), at(1));
        all.withdraw(WorkerId(0), WorkerId(1));
        assert_ne!(all.deadline(), Time::NEVER);
        all.forget(WorkerId(1));
        assert_eq!((all.deadline(), all.conclude(at(9), QUIET)), (Time::NEVER, None));
    }

    #[test]
    fn one_is_replaced_at_a_time() {
        let mut all = Complaints::new();
        all.add(WorkerId(0), WorkerId(1), at(1));
        assert_eq!(all.conclude(at(3), QUIET), Some(WorkerId(1)));
        all.add(WorkerId(0), WorkerId(2), at(12));
        assert_eq!(all.deadline(), Time::NEVER, "the replacement has time to connect");
        all.add(WorkerId(0), WorkerId(2), at(13));
        assert_eq!(all.conclude(at(15), QUIET), Some(WorkerId(2)));
    }
}
