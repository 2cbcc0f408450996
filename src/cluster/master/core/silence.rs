//! Workers that are due to be started, and workers that are silent for too long.
//!
//! A worker is overdue if it does not listen within `start_timeout`, or sends nothing for
//! `heartbeat_timeout`. An overdue worker is examined first, because it may only lack processor time on
//! an overloaded machine. The result of the examination decides whether it gets its time again or is
//! replaced.

use super::state::Core;
use crate::clock::Time;
use crate::cluster::control::ToWorker;
use crate::cluster::master::events::{MasterAction, Note};
use crate::cluster::master::worker_record::WorkerPhase;
use crate::config::WorkerOptions;
use crate::ids::WorkerId;
use crate::net::Endpoint;
use crate::runtime::end_sequence::EndCommand;

impl Core {
    pub(super) fn look_at_workers(&mut self, now: Time) {
        for index in 0..self.workers.len() {
            let record = &self.workers[index];
            match record.phase {
                WorkerPhase::Waiting { until } if now >= until && self.can_start(record) => {
                    self.start(index, now);
                }
                WorkerPhase::Starting { .. } | WorkerPhase::Up { .. }
                    if !record.is_examined && self.is_overdue(index, now) =>
                {
                    self.workers[index].is_examined = true;
                    self.actions.push(MasterAction::Examine(self.workers[index].endpoint()));
                }
                _ => {}
            }
        }
    }

    fn start(&mut self, index: usize, now: Time) {
        let record = &mut self.workers[index];
        record.phase = WorkerPhase::Starting { since: now };
        record.last_message_at = now;
        record.has_ended = false;
        record.is_examined = false;
        record.arrived = None;
        let who = record.endpoint();
        let members = self.members();
        self.actions.push(MasterAction::Start(who, members));
        if self.ending.is_draining() {
            self.send(index, ToWorker::Ending(EndCommand::Drain));
        }
    }

    /// Whether a worker should have listened, or sent something, by now.
    fn is_overdue(&self, index: usize, now: Time) -> bool {
        let WorkerOptions { start_timeout, heartbeat_timeout, .. } = self.options.worker;
        let record = &self.workers[index];
        match record.phase {
            WorkerPhase::Starting { since } => now.since(since) >= start_timeout,
            WorkerPhase::Up { .. } => now.since(record.last_message_at) >= heartbeat_timeout,
            WorkerPhase::Waiting { .. } | WorkerPhase::Killed | WorkerPhase::Gone => false,
        }
    }

    /// Handles the result of an examination. While the topology runs: a worker that has sent something
    /// meanwhile is left alone, a worker that was given no processor gets its time again, and any other
    /// is replaced. While all close: a worker that was given no processor extends the deadline for all.
    pub(super) fn examined(&mut self, who: Endpoint, is_starved: bool, now: Time) {
        let index = who.worker.index();
        if !self.is_current(who) || !std::mem::take(&mut self.workers[index].is_examined) {
            return;
        }
        if self.close_by.is_some() {
            if is_starved {
                self.extend_deadline(who, now);
            }
            return;
        }
        if !self.is_overdue(index, now) {
            return;
        }
        let WorkerOptions { start_timeout, .. } = self.options.worker;
        let record = &mut self.workers[index];
        let silence = now.since(record.last_message_at);
        match (&mut record.phase, is_starved) {
            (WorkerPhase::Starting { since }, true) => {
                *since = now;
                self.note(Note::Starved(who));
            }
            (_, true) => {
                record.last_message_at = now;
                self.note(Note::Starved(who));
            }
            (WorkerPhase::Starting { .. }, false) => {
                record.failed_starts += 1;
                self.replace(WorkerId(index as u16), format!("it did not listen within {start_timeout:?}"));
            }
            (_, false) => {
                self.replace(WorkerId(index as u16), format!("it sent nothing for {silence:.1?}"));
            }
        }
    }
}
