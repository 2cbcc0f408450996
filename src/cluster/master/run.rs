//! The shared state of a run: its core, its processes and its history.
//!
//! The master's thread writes it, and the handle of the embedder reads it. Both hold [`Shared`].

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::TopologyStats;
use crate::clock::{Clock, Time};
use crate::cluster::master::core::Core;
use crate::cluster::master::worker_record::WorkerRecord;
use crate::cluster::observed::{ComponentError, DatedError, Observed, WorkerObserved};
use crate::cluster::stats::{ProcessStats, WorkersStats, stats_of_all};
use crate::cluster::summary::StatsSummary;
use crate::ids::{Incarnation, WorkerId};
use crate::runtime::ComponentShape;
use crate::runtime::reporting::Reported;
use crate::runtime::savepoint_desk::SavepointDesk;
use crate::tuple::Timestamp;

/// Events that are kept; beyond that, the oldest is dropped.
const HISTORY_MAX: usize = 1 << 16;

/// Something that happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerEvent {
    /// When, since the start of the run.
    pub at: Duration,
    /// The worker.
    pub worker: WorkerId,
    /// Its incarnation at that time.
    pub incarnation: Incarnation,
    /// What happened.
    pub kind: WorkerEventKind,
}

/// What happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEventKind {
    /// Its process was started, with this pid.
    Started(u32),
    /// It listens: it takes part from now on.
    Listening,
    /// It is killed, for this reason, to be replaced.
    Replaced(String),
    /// Its process has ended, in this way.
    Died(String),
    /// The connection by which it sends to this peer came up.
    LinkUp(WorkerId),
    /// The connection by which it sends to this peer went down.
    LinkDown(WorkerId),
}

/// The state that the handle and the master's thread share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    /// Where a thread waits that wants a savepoint.
    pub(super) savepoints: SavepointDesk,
    run: Mutex<Run>,
    on_end: Condvar,
    name: String,
    shapes: Vec<ComponentShape>,
}

/// The state under the lock. Only the master's thread writes it.
pub(super) struct Run {
    pub(super) core: Core,
    /// The process id of each worker that has a process, by worker.
    pub(super) pids: Vec<Option<u32>>,
    pub(super) history: VecDeque<WorkerEvent>,
    /// Set by the master's thread as its last act.
    ended_at: Option<Time>,
}

impl Shared {
    /// The state of a run in which nothing is started yet.
    pub(super) fn new(core: Core, name: String, shapes: Vec<ComponentShape>) -> Shared {
        let pids = vec![None; core.workers().len()];
        let run = Run { core, pids, history: VecDeque::new(), ended_at: None };
        Shared {
            clock: Clock::real(),
            savepoints: SavepointDesk::default(),
            run: Mutex::new(run),
            on_end: Condvar::new(),
            name,
            shapes,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) {
        self.lock().ended_at = Some(self.clock.now());
        self.on_end.notify_all();
    }

    pub(super) fn stats(&self) -> WorkersStats {
        let run = self.lock();
        let elapsed = run.ended_at.unwrap_or_else(|| self.clock.now()).since(Time::ZERO);
        let mut topology = stats_of_all(&run.core.sum(), &self.shapes, elapsed);
        topology.ended = run.ended_at.is_some();
        topology.cut_short = run.core.is_cut_short();
        topology.stopped = run.core.stopped().cloned();
        topology.lost = run.core.lost();
        topology.checkpoints = run.core.checkpoint_stats(run.ended_at.unwrap_or_else(|| self.clock.now()));
        let records = run.core.workers();
        let workers = u16::try_from(records.len()).expect("workers are numbered by u16");
        let up = records.iter().filter(|record| record.is_up());
        let processes = ProcessStats {
            workers,
            up: up.clone().count() as u16,
            restarts: records.iter().map(|record| record.restarts).sum(),
            links: u32::from(workers) * u32::from(workers - 1),
            links_up: up.filter_map(|record| record.beat).map(|beat| u32::from(beat.links_up)).sum(),
        };
        let bug =
            || (run.ended_at.is_some() && !run.core.is_done()).then(|| "squall itself panicked".to_owned());
        let failure = run.core.failure().map(str::to_owned).or_else(bug);
        WorkersStats { topology, processes, failure }
    }

    /// What a master of this epoch answers to observers.
    pub(super) fn observed(&self, epoch: u64) -> Observed {
        let WorkersStats { topology, processes, failure } = self.stats();
        let summary = StatsSummary::new(&self.name, &topology, Some(processes), failure.as_deref());
        let (now, date) = (self.clock.now(), self.clock.wall_nanos());
        let dated = |at: Time| {
            let ago = i64::try_from(now.since(at).as_nanos()).unwrap_or(i64::MAX);
            Timestamp(date.saturating_sub(ago)).to_string()
        };
        let worker = |record: &WorkerRecord| WorkerObserved {
            worker: record.worker.0,
            up: record.is_up(),
            restarts: record.restarts,
            last_end: record
                .last_end
                .as_ref()
                .map(|(why, at)| DatedError { error: why.clone(), at: Some(dated(*at)) }),
            errors: record
                .errors
                .iter()
                .map(|(component, last)| ComponentError {
                    component: component.to_string(),
                    error: last.error.clone(),
                    at: last.at.map(dated),
                })
                .collect(),
        };
        let run = self.lock();
        let has_adopted = run.core.workers().iter().any(|record| record.was_adopted);
        let processes = run.core.workers().iter().map(worker).collect();
        Observed { epoch, has_adopted, summary, processes, left_out: None }
    }

    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let run = self.lock();
        let wait = self.on_end.wait_timeout_while(run, at_most, |run| run.ended_at.is_none());
        wait.unwrap_or_else(PoisonError::into_inner).0.ended_at.is_some()
    }
}

impl Reported for Arc<Shared> {
    fn topology_name(&self) -> &str {
        &self.name
    }

    fn counters(&self) -> TopologyStats {
        self.stats().topology
    }

    fn wait_for_end(&self, at_most: Duration) -> bool {
        self.wait(at_most)
    }
}

impl Run {
    pub(super) fn remember(&mut self, event: WorkerEvent) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }
}
