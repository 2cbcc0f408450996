//! The state of a run, and the words to workers that every decision may end in.

use crate::clock::Time;
use crate::cluster::control::ToWorker;
use crate::cluster::master::events::{CoreOptions, MasterAction, Note};
use crate::cluster::master::life::{WorkerLife, WorkerPhase};
use crate::cluster::master::link_reports::LinkReports;
use crate::cluster::master::waves::ProgressWaves;
use crate::cluster::stats::WorkerStats;
use crate::ids::WorkerId;
use crate::net::{Endpoint, Members};
use crate::runtime::StopReason;
use crate::runtime::end_sequence::EndSequence;

/// The state of a run.
#[derive(Debug)]
pub struct Core {
    pub(super) options: CoreOptions,
    pub(super) lives: Vec<WorkerLife>,
    /// Of the members.
    pub(super) version: u64,
    /// Whether spouts are to emit.
    pub(super) wanted_active: bool,
    /// Whether all workers have listened at the same time.
    pub(super) all_were_up: bool,
    pub(super) ending: EndSequence,
    pub(super) waves: ProgressWaves,
    /// When the next wave is due.
    pub(super) wave_at: Time,
    /// The round that was asked of the workers and may not be answered.
    pub(super) round: Option<u64>,
    pub(super) link_reports: LinkReports,
    /// Set when all were told to close: by then they are killed.
    pub(super) close_by: Option<Time>,
    /// Whether the workers that had not closed by then were examined, as silent ones are.
    pub(super) late_examined: bool,
    /// Whether those that have closed were told to end.
    pub(super) end_told: bool,
    /// Set when all were killed: by then they are left behind.
    pub(super) dead_by: Option<Time>,
    pub(super) cut_short: bool,
    pub(super) failure: Option<String>,
    /// The first error of a component that waiting cannot mend.
    pub(super) stopped: Option<StopReason>,
    pub(super) is_done: bool,
    /// When the last event came.
    pub(super) heard: Time,
    pub(super) actions: Vec<MasterAction>,
}

impl Core {
    /// A run of which nothing is started yet; the first event starts it.
    pub fn new(options: CoreOptions) -> Core {
        Core {
            lives: (0..)
                .zip(&options.sources)
                .map(|(worker, sources)| WorkerLife::new(WorkerId(worker), *sources))
                .collect(),
            version: 1,
            wanted_active: !options.start_inactive,
            all_were_up: false,
            ending: EndSequence::new(options.bolts, options.drain_timeout),
            waves: ProgressWaves::new(options.sources.len()),
            wave_at: Time::ZERO,
            round: None,
            link_reports: LinkReports::new(),
            close_by: None,
            late_examined: false,
            end_told: false,
            dead_by: None,
            cut_short: false,
            failure: None,
            stopped: None,
            is_done: false,
            heard: Time::ZERO,
            actions: Vec::new(),
            options,
        }
    }

    /// The worker's present life.
    pub fn lives(&self) -> &[WorkerLife] {
        &self.lives
    }

    /// What all workers count.
    pub fn sum(&self) -> WorkerStats {
        let mut sum = WorkerStats::default();
        self.lives.iter().for_each(|life| life.counts.add_to(&mut sum, self.is_done));
        sum
    }

    /// Whether it is over.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    pub(super) fn is_current(&self, who: Endpoint) -> bool {
        self.lives.get(who.worker.index()).is_some_and(|life| life.endpoint() == who && life.has_process())
    }

    /// Kills a worker; its exit does the rest.
    pub(super) fn replace(&mut self, worker: WorkerId, why: String) {
        let life = &mut self.lives[worker.index()];
        if life.listens_to_us() {
            let who = life.endpoint();
            life.phase = WorkerPhase::Killed;
            self.note(Note::Replaced(who, why));
            self.actions.push(MasterAction::Kill(who));
        }
    }

    // ---- Words to workers ----

    pub(super) fn note(&mut self, note: Note) {
        self.actions.push(MasterAction::Note(note));
    }

    pub(super) fn members(&self) -> Members {
        Members { version: self.version, members: self.lives.iter().map(WorkerLife::member).collect() }
    }

    pub(super) fn send(&mut self, index: usize, message: ToWorker) {
        if self.lives[index].listens_to_us() {
            self.actions.push(MasterAction::Send(self.lives[index].endpoint(), message));
        }
    }

    pub(super) fn broadcast(&mut self, message: ToWorker) {
        (0..self.lives.len()).for_each(|index| self.send(index, message.clone()));
    }

    pub(super) fn send_members(&mut self) {
        let members = self.members();
        self.broadcast(ToWorker::Members(members));
    }
}
