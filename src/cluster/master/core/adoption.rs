//! Workers whose processes supervisors start: they arrive, and those that run already are adopted.
//!
//! ```text
//!   a fresh process arrives ─▶ what its worker had before is dead ─▶ it is started as the next incarnation
//!   a living one arrives    ─▶ adopted, while this master waits for those, and if its worker has no process
//!                              fenced otherwise: it ends, and its supervisor starts a fresh one
//! ```
//!
//! 1. A master that is not the first waits until a process of each worker has arrived, for `grace` at most. Until then
//!    it starts nothing and sends no list of members, which would lack workers that run.
//! 2. The incarnation after one that was lost meanwhile is above all that the adopted workers have in their lists.
//! 3. All that the master before had under way is begun again: waves, rounds of the end, checkpoints. If workers were
//!    told to close, that is gone on with.
//! 4. With checkpoints, all tasks go back to the latest one: what was under way is known to nobody.

use super::state::Core;
use crate::clock::Time;
use crate::cluster::control::ToWorker;
use crate::cluster::link::{Arrival, Living, StartedAt, Welcome};
use crate::cluster::master::events::{MasterAction, Note};
use crate::cluster::master::worker_record::{Exit, WorkerPhase, WorkerRecord};
use crate::ids::Incarnation;
use crate::net::Endpoint;
use crate::runtime::end_sequence::EndCommand;
use crate::runtime::flow::checkpoint::CheckpointOrder;

impl Core {
    /// Whether the next incarnation of a worker may be started: there is a process for it, or this side starts one.
    pub(super) fn can_start(&self, record: &WorkerRecord) -> bool {
        self.options.appointment.is_none() || (self.adoption.is_none() && record.arrived.is_some())
    }

    /// A process has arrived.
    pub(super) fn arrived(&mut self, arrival: Arrival, now: Time) {
        let Arrival { worker, process, started, living } = arrival;
        let index = worker.index();
        if index >= self.workers.len() {
            let who = Endpoint { worker, incarnation: Incarnation(0) };
            return self.fence(who, process, format!("this topology has no worker {worker}"));
        }
        let who = self.workers[index].endpoint();
        if self.close_by.is_some() || self.is_done {
            return self.fence(who, process, "the topology is ending".to_owned());
        }
        match living {
            Some(living) if self.may_adopt(index, &living) => {
                self.workers[index].started = started;
                self.adopt(index, process, living, now);
            }
            Some(living) => {
                let why = format!("incarnation {} was given up", living.incarnation);
                self.fence(who, process, why);
            }
            None if self.is_outdated(index, &started) => {
                self.fence(who, process, "a process of a later assignment has its place".to_owned());
            }
            None => {
                if self.workers[index].has_process() {
                    self.exited(who, Exit::Unseen, now);
                }
                if self.close_by.is_some() {
                    return self.fence(who, process, "the topology is ending".to_owned());
                }
                self.workers[index].arrived = Some(process);
                self.workers[index].started = started;
                self.welcome(who, process, Welcome::Fresh);
            }
        }
    }

    /// Whether a process was started for an earlier assignment than that which has the place of the worker: its supervisor
    /// has not seen yet that the worker has moved.
    fn is_outdated(&self, index: usize, started: &StartedAt) -> bool {
        let record = &self.workers[index];
        let is_taken = record.has_process() || record.arrived.is_some();
        is_taken && started.change > 0 && started.change < record.started.change
    }

    /// The connection of a process has ended. While all close, that is how its end is seen.
    pub(super) fn connection_ended(&mut self, who: Endpoint, now: Time) {
        let has_ended = self.is_current(who) && self.workers[who.worker.index()].has_ended;
        if has_ended && self.close_by.is_some() {
            self.exited(who, Exit::Code(0), now);
        }
    }

    fn may_adopt(&self, index: usize, living: &Living) -> bool {
        let record = &self.workers[index];
        let is_of_this_assignment =
            self.options.appointment.is_some_and(|appointment| appointment.assignment == living.assignment);
        self.adoption.is_some() && is_of_this_assignment && !record.has_process() && record.arrived.is_none()
    }

    fn adopt(&mut self, index: usize, process: u64, living: Living, now: Time) {
        let Living { incarnation, assignment: _, address, members, active, was_active, closes } = living;
        if let Some(adoption) = &mut self.adoption {
            adoption.closes |= closes;
            for member in &members.members {
                if let Some(highest) = adoption.highest.get_mut(member.worker.index()) {
                    *highest = member.incarnation.0.max(*highest);
                }
            }
        }
        let is_draining = self.ending.is_draining();
        let record = &mut self.workers[index];
        record.incarnation = incarnation;
        record.errors.adopt();
        record.was_adopted = true;
        record.last_message_at = now;
        (record.active, record.was_active) = (active, was_active);
        record.reads = was_active && !is_draining;
        match address {
            Some(address) => record.comes_up(address, now),
            None => record.phase = WorkerPhase::Starting { since: now },
        }
        let who = record.endpoint();
        self.welcome(who, process, Welcome::Adopted);
        self.note(Note::Adopted(who));
        if is_draining {
            self.send(index, ToWorker::Ending(EndCommand::Drain));
        }
    }

    /// Ends the wait for workers that run, if all have arrived or it took too long.
    pub(super) fn end_adoption(&mut self, now: Time) {
        let Some(adoption) = &mut self.adoption else { return };
        let until = *adoption.until.get_or_insert(now.after(adoption.grace));
        let is_there = |record: &WorkerRecord| record.has_process() || record.arrived.is_some();
        if now < until && !self.workers.iter().all(is_there) {
            return;
        }
        let Some(adoption) = self.adoption.take() else { return };
        for (record, highest) in self.workers.iter_mut().zip(&adoption.highest) {
            if !record.has_process() {
                record.incarnation = Incarnation(highest + 1);
            }
        }
        let was_active = self.workers.iter().any(|record| record.was_active);
        self.all_were_up |= was_active;
        self.was_activated |= was_active;
        if adoption.closes {
            return self.close(now);
        }
        self.ask_anew(now);
        self.send_members();
        self.halt_adopted();
        self.send_active();
    }

    /// Has the adopted workers go back to the latest checkpoint, if checkpoints are taken.
    fn halt_adopted(&mut self) {
        let Some(recovery) = self.checkpoints.as_ref().map(|checkpoints| checkpoints.recovery) else {
            return;
        };
        for index in 0..self.workers.len() {
            // One that does not listen yet is halted, and answers by coming up.
            if self.workers[index].is_up() {
                self.send(index, ToWorker::Checkpoint(CheckpointOrder::Halt { recovery }));
            }
        }
    }

    fn welcome(&mut self, who: Endpoint, process: u64, welcome: Welcome) {
        self.actions.push(MasterAction::Welcome(who, process, welcome));
    }

    fn fence(&mut self, who: Endpoint, process: u64, why: String) {
        self.welcome(who, process, Welcome::Fenced(why));
    }
}
