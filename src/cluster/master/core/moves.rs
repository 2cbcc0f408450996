//! Workers that move to other hosts while the topology runs: their next processes are started there, and all others go on.
//!
//! 1. For the master a worker that moves is one whose process ends and whose next process arrives, as after a death.
//! 2. Supervisors and this master see an assignment at different moments. So whether a worker has moved is known from its
//!    process, which says where it was started. A process that says that it was started for an earlier assignment does not
//!    displace one that was started for a later one (`adoption`).

use super::state::Core;
use crate::ids::WorkerId;

impl Core {
    /// The generation whose workers were to move, if all of them run where they should.
    pub fn moved_to(&self) -> Option<u64> {
        let places = self.places.as_ref()?;
        let is_there = |(worker, host): &(WorkerId, String)| {
            let record = self.workers.get(worker.index());
            // One that does not say where it was started is not waited for.
            record.is_none_or(|it| it.is_up() && (it.started.host.is_empty() || it.started.host == *host))
        };
        places.hosts.iter().all(is_there).then_some(places.generation)
    }
}
