//! What comes of an upgrade that is pending, given what was read. Pure.
//!
//! | state of the generation | time | what is written into the spec |
//! |---|---|---|
//! | up | any | accepted |
//! | refused | any | rolled back: the source before, as the next generation |
//! | anything else | over, or the topology is to be stopped | the same |
//! | anything else | not over | nothing |
//!
//! 1. The time is that of the clock of the nimbus that leads, from when it first saw the upgrade. The next one to lead
//!    begins it anew.
//! 2. A topology that is killed, or has ended, keeps what it has: nothing is decided any more.
//! 3. Accepted and rolled back are writes of the same node, each on condition that it is as it was read. So one of them is
//!    written, once, and a master that has read the one will never find the other.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::topologies::{
    SpecRecord, StateRecord, TopologyId, Upgrade, UpgradeOutcome, UpgradeVerdict, Wanted,
};

/// When each upgrade that is pending is late.
#[derive(Debug, Default)]
pub(super) struct PendingUpgrades {
    late_at: BTreeMap<(TopologyId, u64), Time>,
}

impl PendingUpgrades {
    /// Takes note of all that are pending now.
    pub fn see<'a>(&mut self, specs: impl Iterator<Item = &'a SpecRecord>, now: Time) {
        let mut seen = BTreeMap::new();
        for (key, upgrade) in specs.filter_map(|spec| Some((key_of(spec)?, spec.pending_upgrade()?))) {
            let late_at = now.after(Duration::from_millis(upgrade.timeout_ms));
            let late_at = self.late_at.get(&key).copied().unwrap_or(late_at);
            seen.insert(key, late_at);
        }
        self.late_at = seen;
    }

    /// Whether the upgrade of a topology is late.
    pub fn is_late(&self, spec: &SpecRecord, now: Time) -> bool {
        key_of(spec).and_then(|key| self.late_at.get(&key)).is_some_and(|at| now >= *at)
    }

    /// When the next one is late.
    pub fn next_change(&self) -> Option<Time> {
        self.late_at.values().copied().min()
    }
}

fn key_of(spec: &SpecRecord) -> Option<(TopologyId, u64)> {
    Some((spec.id.clone(), spec.pending_upgrade()?.generation))
}

/// The next spec of a topology whose upgrade is pending, if it is known what comes of it. `otherwise`: why it is rolled
/// back if it is not up.
pub(super) fn judge(
    spec: &SpecRecord,
    state: Option<&StateRecord>,
    otherwise: Option<&str>,
) -> Option<SpecRecord> {
    let upgrade = spec.pending_upgrade()?;
    if spec.wanted == Wanted::Killed {
        return None;
    }
    let state = state.filter(|state| state.generation == upgrade.generation);
    let verdict = state.and_then(|state| state.verdict.as_ref());
    match (verdict, otherwise) {
        (Some(UpgradeVerdict::Up), _) => {
            let accepted = Upgrade { outcome: UpgradeOutcome::Accepted, ..upgrade.clone() };
            Some(SpecRecord { upgrade: Some(accepted), ..spec.clone() })
        }
        (Some(UpgradeVerdict::Refused(why)), _) => Some(rolled_back(spec, upgrade, why.clone())),
        (Some(UpgradeVerdict::Waits(what)), Some(why)) => {
            Some(rolled_back(spec, upgrade, format!("{why}: {what}")))
        }
        (None, Some(why)) => Some(rolled_back(spec, upgrade, why.to_owned())),
        (_, None) => None,
    }
}

fn rolled_back(spec: &SpecRecord, upgrade: &Upgrade, why: String) -> SpecRecord {
    let outcome = UpgradeOutcome::RolledBack(why);
    let dropped = spec.dropped.iter().filter(|dropped| dropped.generation != upgrade.generation);
    SpecRecord {
        source: upgrade.before.clone(),
        generation: spec.generation + 1,
        spreads: false,
        upgrade: Some(Upgrade { outcome, ..upgrade.clone() }),
        dropped: dropped.cloned().collect(),
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::access::TopologyAccess;
    use crate::cluster::topologies::{BlobHash, DroppedState, TopologyBegin, TopologyPhase};

    fn spec() -> SpecRecord {
        let before = BlobHash::of(b"before");
        let outcome = UpgradeOutcome::Pending;
        SpecRecord {
            epoch: 7,
            id: TopologyId::new("words", 1).expect("a name"),
            change: 4,
            owner: String::new(),
            access: TopologyAccess::default(),
            submitted_at: String::new(),
            source: BlobHash::of(b"after"),
            generation: 3,
            spreads: true,
            run: "0".repeat(32),
            begin: TopologyBegin::default(),
            wanted: Wanted::Active,
            savepoint: None,
            log: None,
            upgrade: Some(Upgrade { generation: 3, before, timeout_ms: 60_000, outcome }),
            dropped: [2, 3].map(|generation| DroppedState { generation, names: Vec::new() }).to_vec(),
            ended: None,
        }
    }

    fn state(generation: u64, verdict: Option<UpgradeVerdict>) -> StateRecord {
        let phase = TopologyPhase::Starting;
        StateRecord { epoch: 5, generation, phase, outcome: None, savepoint: None, verdict }
    }

    fn outcome(spec: Option<SpecRecord>) -> Option<UpgradeOutcome> {
        spec.map(|spec| spec.upgrade.expect("it has one").outcome)
    }

    #[test]
    fn what_the_master_of_the_generation_reports_decides() {
        let back = |why: &str| Some(UpgradeOutcome::RolledBack(why.to_owned()));
        let waits = || Some(UpgradeVerdict::Waits("worker 1 is not up".to_owned()));
        let refused = || Some(UpgradeVerdict::Refused("it does not fit".to_owned()));
        let up = || Some(UpgradeVerdict::Up);
        for (generation, verdict, otherwise, expected) in [
            (3, None, None, None),
            (3, waits(), None, None),
            (3, up(), None, Some(UpgradeOutcome::Accepted)),
            (3, up(), Some("late"), Some(UpgradeOutcome::Accepted)),
            (3, refused(), None, back("it does not fit")),
            (3, refused(), Some("late"), back("it does not fit")),
            (3, waits(), Some("late"), back("late: worker 1 is not up")),
            (3, None, Some("late"), back("late")),
            // What the master of another generation says is not about this one.
            (2, up(), None, None),
            (2, refused(), None, None),
            (2, up(), Some("late"), back("late")),
        ] {
            let state = state(generation, verdict);
            let judged = outcome(judge(&spec(), Some(&state), otherwise));
            assert_eq!(judged, expected, "{state:?}, {otherwise:?}");
        }
        assert_eq!(outcome(judge(&spec(), None, Some("late"))), back("late"));
        let killed = SpecRecord { wanted: Wanted::Killed, ..spec() };
        assert_eq!(judge(&killed, None, Some("late")), None, "it ends anyway");
    }

    #[test]
    fn a_roll_back_is_a_generation_with_the_source_before_and_nothing_is_decided_twice() {
        let back = judge(&spec(), None, Some("late")).expect("it is late");
        let generations: Vec<u64> = back.dropped.iter().map(|dropped| dropped.generation).collect();
        assert_eq!((back.generation, back.spreads, generations), (4, false, vec![2]));
        assert_eq!(back.source, BlobHash::of(b"before"));
        assert!(!back.is_upgrade() && !back.has_accepted(3));
        let accepted = judge(&spec(), Some(&state(3, Some(UpgradeVerdict::Up))), None).expect("it is up");
        assert_eq!((accepted.generation, &accepted.source), (3, &BlobHash::of(b"after")));
        assert!(accepted.is_upgrade() && accepted.has_accepted(3));
        for done in [back, accepted] {
            assert_eq!(judge(&done, Some(&state(3, Some(UpgradeVerdict::Up))), Some("late")), None);
        }
    }

    #[test]
    fn the_time_begins_when_this_nimbus_first_sees_it() {
        let at = |seconds| Time::ZERO.after(Duration::from_secs(seconds));
        let (spec, mut pending) = (spec(), PendingUpgrades::default());
        assert!(!pending.is_late(&spec, at(1000)), "it was not seen");
        pending.see([&spec].into_iter(), at(10));
        pending.see([&spec].into_iter(), at(50));
        assert_eq!((pending.is_late(&spec, at(69)), pending.is_late(&spec, at(70))), (false, true));
        assert_eq!(pending.next_change(), Some(at(70)));
        let back = judge(&spec, None, Some("late")).expect("it is late");
        pending.see([&back].into_iter(), at(71));
        assert_eq!(pending.next_change(), None);
    }
}
