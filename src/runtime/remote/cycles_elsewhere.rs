//! Which other workers report a full cycle of the topology.
//!
//! An edge that closes a cycle holds the spouts back while it is full (see `link`). Spouts may run in
//! another worker than that edge, so each worker reports the state of its edges with its heartbeats.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::ids::WorkerId;

/// The other workers in which an edge that closes a cycle is full. The ingress writes it, spouts read
/// it at every step.
#[derive(Debug)]
pub struct CyclesElsewhere {
    /// By worker: whether it last reported a full cycle.
    full: Vec<AtomicBool>,
    /// How many of them are `true`.
    count: AtomicUsize,
}

impl CyclesElsewhere {
    /// For this many workers, none of which has reported a full cycle.
    pub fn new(workers: usize) -> CyclesElsewhere {
        let full = (0..workers).map(|_| AtomicBool::new(false)).collect();
        CyclesElsewhere { full, count: AtomicUsize::new(0) }
    }

    /// Notes what a worker reports. Called by one thread.
    pub fn note(&self, worker: WorkerId, full: bool) {
        let Some(before) = self.full.get(worker.index()) else { return };
        // SeqCst, as for everything that decides whether a spout may emit.
        match (before.swap(full, Ordering::SeqCst), full) {
            (false, true) => _ = self.count.fetch_add(1, Ordering::SeqCst),
            (true, false) => _ = self.count.fetch_sub(1, Ordering::SeqCst),
            (false, false) | (true, true) => {}
        }
    }

    /// Whether any worker reports a full cycle.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers 3 and 67 shared a bit: when one of them had room again, spouts went on although the
    /// other was full.
    #[test]
    fn each_of_a_thousand_workers_reports_its_own_part_of_a_cycle() {
        let cycles = CyclesElsewhere::new(1024);
        let check = |worker, full, expected| {
            cycles.note(WorkerId(worker), full);
            assert_eq!(cycles.any(), expected, "{worker} {full}");
        };
        check(3, false, false);
        check(3, true, true);
        check(67, true, true);
        check(67, true, true);
        check(3, false, true);
        check(1023, true, true);
        check(67, false, true);
        check(1023, false, false);
        check(5000, true, false);
    }
}
