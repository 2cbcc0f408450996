//! A topology that is on trial as an upgrade: no nimbus has accepted it yet, and one may roll it back.
//!
//! ```text
//!   restored ─▶ the first checkpoint begins at once ─▶ all parts are taken: held, the trial is passed
//!                                                          └─ accepted ─▶ published, and so are all that follow
//! ```
//!
//! 1. Everything runs, but no checkpoint is published before the topology is accepted. So what is rolled back has
//!    committed nothing, and the topology before finds the checkpoint that this one began with.
//! 2. With checkpoints the trial is passed when all tasks have taken their parts of one: each was opened, has restored its
//!    state and can write it. Without, or if spouts never were to emit, it is passed when all workers are up at once, and
//!    all tasks are opened that are to be.
//! 3. If all go back to the latest checkpoint meanwhile, what is held is dropped, and the trial goes on.

use super::state::Core;
use crate::checkpoint::Manifest;
use crate::cluster::master::events::StoreJob;
use crate::cluster::master::worker_record::WorkerRecord;

impl Core {
    /// Whether the topology is on trial.
    pub fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether a topology that is on trial is up.
    pub fn trial_is_passed(&self) -> bool {
        let Some(trial) = &self.trial else { return false };
        let is_failing = self.failure.is_some() || self.stopped.is_some() || self.close_by.is_some();
        if is_failing || !self.all_were_up {
            return false;
        }
        match &self.checkpoints {
            Some(_) if self.was_activated => trial.held.is_some(),
            Some(checkpoints) => checkpoints.sequence.is_running(),
            None => self.workers.iter().all(|record| record.is_up() && self.is_open(record)),
        }
    }

    /// What a topology that is on trial waits for, for people.
    pub fn trial_waits_for(&self) -> String {
        let down = self.workers.iter().find(|record| !record.is_up());
        let error = |record: &WorkerRecord| {
            let latest = record.errors.iter().max_by_key(|(_, error)| error.at);
            latest.map(|(component, error)| format!("`{component}`: {}", error.error))
        };
        match down {
            Some(record) => match &record.last_end {
                Some((why, _)) => format!("worker {} is not up, and has ended before: {why}", record.worker),
                None => format!("worker {} is not up", record.worker),
            },
            None => match self.workers.iter().find_map(error) {
                Some(error) => format!("not all of its tasks are up; the last error: {error}"),
                None => "not all of its tasks are up".to_owned(),
            },
        }
    }

    fn is_open(&self, record: &WorkerRecord) -> bool {
        !self.was_activated || record.counts.has_opened_all()
    }

    /// The topology stays.
    pub(super) fn accepted(&mut self) {
        let held = self.trial.take().and_then(|trial| trial.held);
        if let Some(manifest) = held {
            self.store(StoreJob::Publish(manifest));
        }
    }

    /// Publishes a checkpoint, or holds it while the topology is on trial.
    pub(super) fn publish(&mut self, manifest: Box<Manifest>) {
        match &mut self.trial {
            Some(trial) => trial.held = Some(manifest),
            None => self.store(StoreJob::Publish(manifest)),
        }
    }

    /// All go back, so what is held is not published.
    pub(super) fn drop_held(&mut self) {
        if let Some(manifest) = self.trial.as_mut().and_then(|trial| trial.held.take()) {
            self.store(StoreJob::Discard(manifest.checkpoint));
        }
    }
}
