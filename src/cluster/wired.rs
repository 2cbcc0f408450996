//! The runtime of a worker: its share of the executors, and the wire to its peers.
//!
//! Everything is made before executors run: the outbox, then the executors that write to it, then the
//! poller, which empties it and passes incoming payloads to the executors. The driver threads start last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SysRng;
use rand::{Rng, SeedableRng};
use slog::{Drain, Logger};
use smol_str::SmolStr;

use crate::api::TaskError;
use crate::checkpoint::{DirectoryStorage, LeftBehind, WorkerStore};
use crate::clock::Clock;
use crate::cluster::control::WorkerFailure;
use crate::cluster::stats::WorkerStats;
use crate::cluster::worker::{Reports, WorkerRuntime, WorkerSpec};
use crate::ids::WorkerId;
use crate::net::bridge::{Bridge, LinkWatcher};
use crate::net::{
    Direction, Identity, LinkState, Members, Outbox, Poller, PollerHandle, TopologyKey, Wire, outlet,
};
use crate::runtime::end_sequence::{EndCommand, EndProgress};
use crate::runtime::flow::checkpoint::{CheckpointOrder, CheckpointReport};
use crate::runtime::{
    AssembledShare, LocalOptions, MasterHandle, RunningShare, Share, StartError, StopReason,
};
use crate::text::shown;

struct Wired {
    running: RunningShare,
    poller: PollerHandle,
    address: SocketAddr,
    reports: Reports,
    leaving: Arc<AtomicBool>,
    /// The version of the members that were set last, and of those that the poller has applied.
    members_set: AtomicU64,
    membership: Arc<AtomicU64>,
}

/// Starts the runtime of a worker.
///
/// # Errors
/// When the assignment is for another topology, the address of `[net]` cannot be bound, a resource or
/// worker hook of the program fails, or the system refuses a thread.
pub fn start(spec: WorkerSpec, reports: Reports) -> Result<Arc<dyn WorkerRuntime>, WorkerFailure> {
    let WorkerSpec { topology, assignment, worker, incarnation, workers, run, secret, members, net, .. } =
        spec;
    let plan =
        assignment.plan(&topology).ok_or_else(|| "the assignment is one of another topology".to_owned())?;
    let clock = Clock::real();
    let identity = Identity {
        topology: TopologyKey { name: SmolStr::new(topology.name()), run },
        assignment: assignment.version,
        schema: topology.fingerprint(),
        worker,
        incarnation,
    };
    let outbox = Arc::new(Outbox::new(usize::from(workers)));
    let mut outlets = vec![None; usize::from(workers)];
    for peer in assignment.used_workers().into_iter().filter(|peer| *peer != worker) {
        outlets[peer.index()] = Some(outlet(&outbox, peer, net.frame_max));
    }
    let share = Share {
        worker,
        incarnation,
        plan,
        assignment,
        outlets,
        master: Arc::new(Parent(reports.clone())),
        membership: members.version,
    };
    let options =
        LocalOptions { logger: spec.logger.clone(), resources: spec.resources, ..LocalOptions::default() };
    let store = |directory: String| checkpoint_store(&directory, topology.name(), spec.left_behind);
    let checkpoints = spec.checkpoints.map(store);
    let (assembled, ingress) =
        AssembledShare::new(topology, share, clock.clone(), options, checkpoints.transpose()?)
            .map_err(failure)?;
    let watcher = Box::new(Links { reports: reports.clone(), clock: clock.clone() });
    let (membership, members_set) = (Arc::clone(&ingress.membership), AtomicU64::new(members.version));
    let bridge = Bridge::new(ingress, watcher, clock.clone());
    let leaving = Arc::new(AtomicBool::new(false));
    let wire = Wire {
        identity,
        secret,
        seed: rand::rngs::StdRng::try_from_rng(&mut SysRng).map_err(|error| error.to_string())?.next_u64(),
        outbox,
        clock,
        log: until_leaving(spec.logger, Arc::clone(&leaving)),
        options: net,
    };
    let (poller, address) = Poller::bind(wire, Box::new(bridge))
        .map_err(|error| format!("cannot listen for the other workers: {error}"))?;
    poller.set_members(members);
    assembled.listens_at(address);
    let running = assembled.start().map_err(failure)?;
    Ok(Arc::new(Wired { running, poller, address, reports, leaving, members_set, membership }))
}

/// The store in which the tasks of a worker keep their state.
fn checkpoint_store(
    directory: &str,
    topology: &str,
    left_behind: LeftBehind,
) -> Result<WorkerStore, WorkerFailure> {
    match DirectoryStorage::join(directory) {
        Ok(storage) => Ok(WorkerStore::new(Box::new(storage), topology).leaving_behind(left_behind)),
        Err(error) => Err(shown(&error).into()),
    }
}

fn failure(error: StartError) -> WorkerFailure {
    let is_permanent = error.is_fatal();
    WorkerFailure { why: TaskError::from(error).to_string(), is_permanent }
}

/// A log that drops all records once all workers are about to end.
fn until_leaving(log: Logger, leaving: Arc<AtomicBool>) -> Logger {
    let speaks = move |_: &slog::Record<'_>| !leaving.load(Ordering::Relaxed);
    Logger::root(log.filter(speaks).ignore_res(), slog::o!())
}

/// The parent of this worker, as its coordinator sees it.
struct Parent(Reports);

impl MasterHandle for Parent {
    fn look(&self, seen: &EndProgress) {
        self.0.progress(seen.at_rest, seen.live_spouts);
    }

    fn drain(&self) {
        self.0.drain_requested();
    }

    fn stop(&self, reason: &StopReason) {
        self.0.stopped(reason.clone());
    }

    fn checkpoint(&self, report: CheckpointReport) {
        self.0.checkpoint(report);
    }
}

/// Reports to the parent when a connection by which this worker sends to a peer comes up or goes down.
struct Links {
    reports: Reports,
    clock: Clock,
}

impl LinkWatcher for Links {
    fn link(&mut self, peer: WorkerId, direction: Direction, state: &LinkState) {
        if direction == Direction::To {
            self.reports.link(peer, *state == LinkState::Up, self.clock.now());
        }
    }
}

impl WorkerRuntime for Wired {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn members(&self, members: &Members) {
        self.members_set.fetch_max(members.version, Ordering::SeqCst);
        self.poller.set_members(members.clone());
    }

    fn activate(&self) {
        self.running.activate();
    }

    fn deactivate(&self) {
        self.running.deactivate();
    }

    fn carry_out(&self, command: EndCommand) {
        self.running.carry_out(command);
        if command == EndCommand::Drain {
            // A worker that was started while the topology drains has to process what its peers send.
            self.running.activate();
        }
    }

    fn carry_out_order(&self, order: CheckpointOrder) {
        self.running.carry_out_order(order);
    }

    fn leave(&self) {
        // Relaxed: if the flag is seen late, a few more records are logged.
        self.leaving.store(true, Ordering::Relaxed);
    }

    fn progress(&self) -> EndProgress {
        let mut progress = self.running.progress();
        // What an incarnation that is over has sent may come until the poller has applied the members without it.
        progress.at_rest &= self.membership.load(Ordering::SeqCst) >= self.members_set.load(Ordering::SeqCst);
        self.reports.progress(progress.at_rest, progress.live_spouts);
        progress
    }

    fn stats(&self) -> WorkerStats {
        // Read before the counters: once this is 0, the counters include all new messages ever emitted.
        let live_spouts = self.running.progress().live_spouts;
        let unopened = Some(self.running.unopened());
        let stats = WorkerStats::new(live_spouts, self.running.stats(), self.running.latency_counts());
        WorkerStats { unopened, ..stats }
    }

    fn failure(&self) -> Option<String> {
        if !self.poller.is_running() {
            return Some("the thread of its connections has ended".to_owned());
        }
        let is_over = self.running.wait(Duration::ZERO) && !self.leaving.load(Ordering::Relaxed);
        is_over.then(|| "its runtime has ended".to_owned())
    }

    fn wait_closed(&self, at_most: Duration) -> bool {
        let clock = Clock::real();
        let mut deadline = clock.now().after(at_most);
        let mut report_at = deadline;
        let mut withheld = self.running.withheld_time(clock.now());
        loop {
            deadline = deadline.after(withheld.look(clock.now()));
            let seen = self.running.progress();
            if seen.closed >= seen.executors {
                self.running.carry_out(EndCommand::End);
                self.running.end_process();
                return true;
            }
            if clock.now() >= deadline {
                self.running.end_process();
                return false;
            }
            if clock.now() >= report_at {
                self.reports.closes_late();
                report_at = clock.now().after(at_most);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
