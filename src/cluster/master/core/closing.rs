//! The end of a run: how it begins, and what follows once it is decided.
//!
//! All workers are sent `Close`, close their executors, report that, and wait. When all have reported,
//! all are sent `End`, so that no worker takes the end of a peer for a death. A worker that does not
//! close in time is killed, unless it was given no processor. The master examines the threads that carry
//! messages; a worker itself reports when its executors close late for that reason.

use std::time::Duration;

use super::state::Core;
use crate::clock::Time;
use crate::cluster::control::ToWorker;
use crate::cluster::master::events::{MasterAction, Note};
use crate::cluster::master::worker_record::WorkerRecord;
use crate::net::Endpoint;
use crate::runtime::StopReason;
use crate::runtime::end_sequence::EndCommand;

/// How long workers may take to close in order: their executors have 5 s, and a worker reports before that
/// if they get more.
const CLOSE_MAX: Duration = Duration::from_secs(6);
/// How long workers may take to close when the run is killed.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// How long killed processes may take to die before they are left behind.
const DEATH_MAX: Duration = Duration::from_secs(5);

impl Core {
    /// How many messages were lost because workers died; a lower bound.
    pub fn lost(&self) -> u64 {
        self.workers.iter().map(|record| record.counts.lost(self.is_done)).sum()
    }

    /// Whether `Close` was sent to all workers.
    pub fn is_closing(&self) -> bool {
        self.close_by.is_some()
    }

    /// Whether the end was cut short, so that work may be undone.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short || self.ending.is_cut_short()
    }

    /// Why the run was given up, if it was.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn give_up(&mut self, why: String, now: Time) {
        self.note(Note::GivenUp(why.clone()));
        self.failure.get_or_insert(why);
        self.kill(now);
    }

    /// Why the run was ended, if a component could not go on.
    pub fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    /// A component cannot go on: begins an orderly end. The first such reason is kept.
    pub(super) fn stop(&mut self, who: Endpoint, reason: StopReason, now: Time) {
        if self.stopped.is_none() {
            self.note(Note::Stopped(who, reason.clone()));
            self.stopped = Some(reason);
        }
        self.drain(now);
    }

    /// Begins an orderly end. Workers in their back-off are started now, so that the end does not wait
    /// for the pause.
    pub(super) fn drain(&mut self, now: Time) {
        if !self.ending.is_draining() {
            self.workers.iter_mut().for_each(|record| record.hurry(now));
        }
        self.ending.drain(now);
    }

    pub(super) fn kill(&mut self, now: Time) {
        match self.close_by {
            None => self.ending.kill(),
            Some(by) => {
                self.cut_short = true;
                self.close_by = Some(by.min(now.after(KILL_GRACE)));
            }
        }
    }

    pub(super) fn close(&mut self, now: Time) {
        let grace = if self.ending.is_cut_short() { KILL_GRACE } else { CLOSE_MAX };
        self.close_by = Some(now.after(grace));
        self.waves.begin_again();
        self.broadcast(ToWorker::Ending(EndCommand::Close));
        self.workers.iter_mut().filter(|record| !record.has_process()).for_each(WorkerRecord::leaves);
    }

    pub(super) fn look_at_end(&mut self, close_by: Time, now: Time) {
        if now >= close_by && self.dead_by.is_none() && !self.examine_late() {
            self.cut_short |= self.workers.iter().any(|record| record.has_process() && !record.has_ended);
            self.dead_by = Some(now.after(DEATH_MAX));
            let running = self.with_process();
            self.actions.extend(running.into_iter().map(MasterAction::Kill));
        }
        let mut to_us = self.workers.iter().filter(|record| record.listens_to_us());
        if !self.end_sent && to_us.all(|record| record.has_ended) {
            self.end_sent = true;
            self.broadcast(ToWorker::Ending(EndCommand::End));
        }
        let left = self.with_process();
        let too_late = self.dead_by.is_some_and(|by| now >= by);
        if left.is_empty() || too_late {
            if !left.is_empty() {
                self.note(Note::LeftBehind(left));
            }
            self.is_done = true;
            self.actions.push(MasterAction::Done);
        }
    }
    /// The workers that have a process.
    fn with_process(&self) -> Vec<Endpoint> {
        self.workers.iter().filter(|record| record.has_process()).map(WorkerRecord::endpoint).collect()
    }

    /// Requests an examination of the workers that have not closed in time, once per deadline. Returns
    /// whether a result is still missing. After a kill no worker is examined.
    fn examine_late(&mut self) -> bool {
        if self.is_cut_short() {
            return false;
        }
        if !std::mem::replace(&mut self.late_examined, true) {
            for record in self.workers.iter_mut().filter(|record| record.has_process()) {
                record.is_examined = true;
                self.actions.push(MasterAction::Examine(record.endpoint()));
            }
        }
        self.workers.iter().any(|record| record.is_examined && record.has_process())
    }

    /// A worker that has not closed in time, or its executors, were given no processor: the deadline begins
    /// again.
    pub(super) fn extend_deadline(&mut self, who: Endpoint, now: Time) {
        if self.is_closing() && self.dead_by.is_none() && !self.is_cut_short() {
            self.close_by = Some(now.after(CLOSE_MAX));
            self.late_examined = false;
            self.note(Note::Starved(who));
        }
    }
}
