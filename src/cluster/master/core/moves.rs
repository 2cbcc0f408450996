//! Workers that move to other hosts while the topology runs: their next processes are started there, and all others go on.
//!
//! 1. For the master a worker that moves is one whose process ends and whose next process arrives, as after a death.
//! 2. Supervisors and this master see the new assignment at different moments. So whether a worker has moved is known from
//!    its process, which says for which change of the assignment it was started.

use std::collections::BTreeMap;

use super::state::{Core, MovingWorkers};
use crate::cluster::master::events::Moves;
use crate::cluster::master::worker_record::WorkerRecord;
use crate::ids::WorkerId;

impl Core {
    /// Workers are to move. Those that were to move before and did not yet are to do so all the same.
    pub(super) fn want_moves(&mut self, moves: Moves) {
        let Moves { generation, change, workers } = moves;
        let mut all = self.moving.take().map_or_else(BTreeMap::new, |before| before.workers);
        all.extend(workers.into_iter().map(|worker| (worker, change)));
        self.moving = Some(MovingWorkers { generation, workers: all });
    }

    /// The generation whose workers were to move, if all of them have.
    pub fn moved_to(&self) -> Option<u64> {
        let moving = self.moving.as_ref()?;
        let is_there = |record: &WorkerRecord, change| record.is_up() && record.change >= change;
        let has_moved = |(worker, change): (&WorkerId, &u64)| {
            self.workers.get(worker.index()).is_none_or(|record| is_there(record, *change))
        };
        moving.workers.iter().all(has_moved).then_some(moving.generation)
    }
}
