//! The state of a run, and the methods by which decisions become actions.

use crate::checkpoint::Manifest;
use crate::clock::Time;
use crate::cluster::control::ToWorker;
use crate::cluster::master::checkpoints::MasterCheckpoints;
use crate::cluster::master::events::{CoreOptions, MasterAction, Note, Places};
use crate::cluster::master::link_reports::LinkReports;
use crate::cluster::master::living_workers::Adoption;
use crate::cluster::master::waves::ProgressWaves;
use crate::cluster::master::worker_record::{WorkerPhase, WorkerRecord};
use crate::cluster::stats::WorkerStats;
use crate::cluster::topologies::TopologyPhase;
use crate::ids::WorkerId;
use crate::net::{Endpoint, Members};
use crate::runtime::StopReason;
use crate::runtime::checkpoint_sequence::CheckpointSequence;
use crate::runtime::end_sequence::EndSequence;

/// Versions and rounds of a master begin above those of the masters before it: its epoch is in the upper bits.
const EPOCH_SHIFT: u32 = 32;

/// What a topology has that is on trial as an upgrade: see `trial`.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// The checkpoint that is published when the topology is accepted.
    pub(super) held: Option<Box<Manifest>>,
}

/// The state of a run.
#[derive(Debug)]
pub struct Core {
    pub(super) options: CoreOptions,
    pub(super) workers: Vec<WorkerRecord>,
    /// The version of the list of members. Each death adds 1.
    pub(super) version: u64,
    /// Whether spouts may emit, by the embedder's last wish.
    pub(super) wanted_active: bool,
    /// Whether spouts rest all the same, because the run stops with a savepoint.
    pub(super) rests: bool,
    /// Whether spouts were ever allowed to emit. From then on the tasks of each worker are opened.
    pub(super) was_activated: bool,
    /// Whether all workers have listened at the same time once. Spouts emit only after that.
    pub(super) all_were_up: bool,
    pub(super) ending: EndSequence,
    /// What decides about checkpoints, if the topology is exactly-once.
    pub(super) checkpoints: Option<MasterCheckpoints>,
    pub(super) waves: ProgressWaves,
    /// When the next wave is due, if `is_to_ask` allows one.
    pub(super) wave_at: Time,
    /// The round of the last request to the workers (to ask holders, or to finish), until they have
    /// answered it or it has become stale.
    pub(super) round: Option<u64>,
    pub(super) link_reports: LinkReports,
    /// Set while a master that is not the first waits for workers that run.
    pub(super) adoption: Option<Adoption>,
    /// Where workers are to run, if that has changed since this master began.
    pub(super) places: Option<Places>,
    /// Set while the topology is on trial as an upgrade.
    pub(super) trial: Option<Trial>,
    /// Set when `Close` is sent to all workers: workers that still run at that time are killed.
    pub(super) close_by: Option<Time>,
    /// Whether the workers that had not closed by `close_by` were examined. Reset when it is extended.
    pub(super) late_examined: bool,
    /// Whether `End` was sent to all workers.
    pub(super) end_sent: bool,
    /// Set when all were killed: processes that still exist at that time are left behind.
    pub(super) dead_by: Option<Time>,
    pub(super) cut_short: bool,
    /// Whether a later master has the store of checkpoints.
    pub(super) is_fenced: bool,
    pub(super) failure: Option<String>,
    /// The first reason why a component could not go on.
    pub(super) stopped: Option<StopReason>,
    pub(super) is_done: bool,
    /// When the last event came. A long gap means that this process did not run.
    pub(super) last_event_at: Time,
    /// The actions of the event that is being handled, in order. Taken at its end.
    pub(super) actions: Vec<MasterAction>,
}

impl Core {
    /// A run in which nothing is started yet. The first event starts it.
    pub fn new(mut options: CoreOptions) -> Core {
        let (checkpoints, first_recovery) = (options.checkpoints.take(), options.first_recovery);
        let epoch = options.appointment.map_or(0, |appointment| appointment.epoch);
        let ending =
            EndSequence::new(options.bolts, options.drain_timeout).with_rounds_after(epoch << EPOCH_SHIFT);
        Core {
            workers: (0..)
                .zip(&options.sources)
                .map(|(worker, sources)| WorkerRecord::new(WorkerId(worker), *sources))
                .collect(),
            version: (epoch << EPOCH_SHIFT) + 1,
            adoption: Adoption::begin(&options),
            wanted_active: !options.start_inactive,
            rests: false,
            was_activated: false,
            all_were_up: false,
            ending: if checkpoints.is_some() { ending.with_last_checkpoint() } else { ending },
            checkpoints: checkpoints.map(|(options, parts, epoch)| {
                MasterCheckpoints::new(CheckpointSequence::new(options, parts, epoch), first_recovery)
            }),
            waves: ProgressWaves::new(options.sources.len()),
            wave_at: Time::ZERO,
            round: None,
            link_reports: LinkReports::new(),
            places: None,
            trial: options.appointment.filter(|it| it.on_trial).map(|_| Trial::default()),
            close_by: None,
            late_examined: false,
            end_sent: false,
            dead_by: None,
            cut_short: false,
            is_fenced: false,
            failure: None,
            stopped: None,
            is_done: false,
            last_event_at: Time::ZERO,
            actions: Vec::new(),
            options,
        }
    }

    /// The workers, by number.
    pub fn workers(&self) -> &[WorkerRecord] {
        &self.workers
    }

    /// The counters of all workers, summed.
    pub fn sum(&self) -> WorkerStats {
        let mut sum = WorkerStats::default();
        self.workers.iter().for_each(|record| record.counts.add_to(&mut sum, self.is_done));
        sum
    }

    /// What the topology does, as its master sees it.
    pub fn phase(&self) -> TopologyPhase {
        match () {
            () if self.is_done => TopologyPhase::Ended,
            () if self.close_by.is_some() || self.ending.is_draining() => TopologyPhase::Ending,
            () if !self.all_were_up => TopologyPhase::Starting,
            () if self.is_on_trial() && !self.trial_is_passed() => TopologyPhase::Starting,
            () if self.wanted_active => TopologyPhase::Active,
            () => TopologyPhase::Inactive,
        }
    }

    /// Whether a later master has the store of checkpoints. Then the end of this run is not that of the topology.
    pub fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// Whether the run is over.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    pub(super) fn is_current(&self, who: Endpoint) -> bool {
        self.workers
            .get(who.worker.index())
            .is_some_and(|record| record.endpoint() == who && record.has_process())
    }

    /// Kills a worker. It is started again when its exit is seen.
    pub(super) fn replace(&mut self, worker: WorkerId, why: String) {
        let record = &mut self.workers[worker.index()];
        if record.listens_to_us() {
            let who = record.endpoint();
            record.phase = WorkerPhase::Killed;
            record.last_end = Some((why.clone(), self.last_event_at));
            self.note(Note::Replaced(who, why));
            self.actions.push(MasterAction::Kill(who));
        }
    }

    // ---- Actions ----

    pub(super) fn note(&mut self, note: Note) {
        self.actions.push(MasterAction::Note(note));
    }

    pub(super) fn members(&self) -> Members {
        Members { version: self.version, members: self.workers.iter().map(WorkerRecord::member).collect() }
    }

    pub(super) fn send(&mut self, index: usize, message: ToWorker) {
        if self.workers[index].listens_to_us() {
            self.actions.push(MasterAction::Send(self.workers[index].endpoint(), message));
        }
    }

    pub(super) fn broadcast(&mut self, message: ToWorker) {
        (0..self.workers.len()).for_each(|index| self.send(index, message.clone()));
    }

    pub(super) fn send_members(&mut self) {
        // Before all that run are known, the list would lack some.
        if self.adoption.is_some() {
            return;
        }
        let members = self.members();
        self.broadcast(ToWorker::Members(members));
    }
}
