//! The runtime of a worker that has no peers: all of the topology, in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cluster::stats::WorkerStats;
use crate::cluster::worker::{Reports, WorkerRuntime, WorkerSpec};
use crate::net::Members;
use crate::runtime::ending::Snapshot;
use crate::runtime::{LocalOptions, RunningTopology};

struct Lone {
    running: RunningTopology,
    round: AtomicU64,
    asked_to_drain: Mutex<bool>,
    reports: Reports,
}

/// Starts it.
///
/// # Errors
/// When there are peers, or the system refuses.
pub fn start(spec: WorkerSpec, reports: Reports) -> Result<Arc<dyn WorkerRuntime>, String> {
    if spec.workers != 1 {
        return Err("several workers are not connected yet".to_owned());
    }
    let mut topology = spec.topology;
    topology.options.start_inactive = true;
    let options = LocalOptions { logger: spec.logger, resources: spec.resources };
    let running = RunningTopology::start(topology, options).map_err(|error| error.to_string())?;
    reports.progress(false, 1);
    Ok(Arc::new(Lone { running, round: AtomicU64::new(0), asked_to_drain: Mutex::new(false), reports }))
}

impl Lone {
    fn has_ended(&self) -> bool {
        self.running.wait(Duration::ZERO)
    }
}

impl WorkerRuntime for Lone {
    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 9))
    }

    fn members(&self, _members: &Members) {}

    fn activate(&self) {
        self.running.activate();
    }

    fn deactivate(&self) {
        self.running.deactivate();
    }

    fn drain(&self) {
        self.running.drain();
    }

    fn ask_holders(&self, round: u64) {
        self.round.store(round, Ordering::SeqCst);
    }

    fn finish(&self, round: u64, _place: usize) {
        self.round.store(round, Ordering::SeqCst);
    }

    fn close(&self) {
        self.running.kill();
    }

    fn snapshot(&self) -> Snapshot {
        let ended = self.has_ended();
        let round = self.round.load(Ordering::SeqCst);
        Snapshot { at_rest: ended, live_spouts: u64::from(!ended), round, ..Snapshot::default() }
    }

    fn stats(&self) -> WorkerStats {
        let ended = self.has_ended();
        self.reports.progress(ended, u64::from(!ended));
        if ended
            && !std::mem::replace(
                &mut *self.asked_to_drain.lock().unwrap_or_else(PoisonError::into_inner),
                true,
            )
        {
            self.reports.drain_requested();
        }
        WorkerStats::new(self.running.stats(), &[], Vec::new())
    }

    fn wait_closed(&self, at_most: Duration) -> bool {
        self.running.wait(at_most)
    }
}
