//! Runs of simulated topologies whose store may break.

use std::time::Duration;

use super::HOUR;
use super::store::{Done, TestStore};
use crate::api::TopologyStats;
use crate::checkpoint::MemoryStorage;
use crate::testing::SimulatedTopology;

pub(super) fn run_to_end(mut run: SimulatedTopology) -> TopologyStats {
    run.run_to_end(HOUR).unwrap_or_else(|error| panic!("{error}"))
}

/// Until the store breaks, or the run has ended.
pub(super) fn run_until_away(run: &mut SimulatedTopology, store: &TestStore, steps: usize) {
    for _ in 0..steps {
        if store.lock().is_away || run.has_ended() {
            return;
        }
        run.run_steps(1);
    }
}

/// The store breaks at this call, and then the process dies and the run is continued, or the store comes back and the
/// process lives. Returns how the run has ended.
pub(super) fn run_with_a_break(
    (at, done): (usize, Done),
    dies: bool,
    store: &TestStore,
    storage: &MemoryStorage,
    start: impl Fn(u64) -> SimulatedTopology,
) -> TopologyStats {
    store.lock().breaks_at = Some((at, done));
    let mut run = start(1);
    run_until_away(&mut run, store, usize::MAX);
    assert!(store.lock().is_away, "call {at} is made");
    if dies {
        drop(run);
        storage.crash();
        store.lock().is_away = false;
        run = start(2);
    } else {
        run.advance(Duration::from_millis(70));
        store.lock().is_away = false;
    }
    run_to_end(run)
}
